//! Raise a whole ledger on one machine.
//!
//! Real processes, real consensus, real disks, on loopback: for people who want to look, for tests and
//! for benchmarks. Nothing that production depends on is here, and nothing here reaches around the
//! programs people use.

pub mod attack;
pub mod client;
pub mod ending;
pub mod guide;
pub mod join;
pub mod layout;
pub mod options;
pub mod people;
pub mod ports;
pub mod processes;
pub mod raise;
pub mod story;

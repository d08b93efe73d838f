//! Keep one endpoint patched.
//!
//! The agent follows the ledger as a light client, applies what is proven and permitted, judges
//! whether it went well, keeps or rolls back, and writes a receipt. It does not know how blocks are
//! agreed on or stored, and believes no node: what it needs it checks against the genesis file.
//!
//! Read first: [`update`] (the sentence everything else serves), then [`installer`] (exactly old or
//! exactly new), [`follow`] (what is believed of the ledger), [`worker`] and [`daemon`] (what happens
//! when).

pub mod attempt_log;
pub mod attempts;
pub mod cache;
pub mod clock;
pub mod config;
pub mod containers;
pub mod control;
pub mod daemon;
pub mod data;
pub mod doctor;
pub mod download;
pub mod enrolment;
pub mod files;
pub mod follow;
pub mod health;
pub mod installer;
pub mod inventory;
pub mod key;
pub mod own_program;
pub mod package_database;
pub mod parameters;
pub mod probes;
pub mod proofs;
pub mod recalls;
pub mod receipts;
pub mod restart;
pub mod services;
pub mod settled;
pub mod shelf;
pub mod site;
pub mod status;
pub mod turns;
pub mod update;
pub mod waits;
pub mod why;
pub mod worker;

pub use files::FileError;

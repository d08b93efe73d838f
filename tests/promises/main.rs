//! The promises of the whole, asked of real processes: nodes, agents and the command line as people run
//! them, on a ledger of four validators and a site.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a helper of a test may panic and speak as the test may")]

mod accountability;
mod agents;
mod attack;
mod disks;
mod enrolment;
mod guides;
mod help;
mod hostile;
mod inventory;
mod killing;
mod losses;
mod membership;
mod network;
mod scripts;
mod secrets;
mod support;

//! The command line, asked as a person asks it: a command, its exit code, what it says on standard
//! output and on standard error.

#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod archives;
mod double;
mod fixture;
mod hands;

mod artifacts;
mod auditing;
mod catalogue;
mod epochs;
mod genesis;
mod governing;
mod help;
mod hostile;
mod judging;
mod keys;
mod packing;
mod proofs;
mod proposing;
mod publishing;
mod sealing;
mod snapshots;
mod submitting;
mod words;

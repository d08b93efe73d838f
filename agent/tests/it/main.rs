//! What the agent promises, against a ledger with real signatures and proofs.
//!
//! The node is a stand-in (`support::node`): a real gRPC server over TLS on the loopback interface, in
//! front of a chain that `ledger::execution` makes block by block. What an agent verifies is therefore
//! what it would verify anywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may panic as the test may")]
#![allow(clippy::print_stderr, reason = "a test that is left out says so")]

mod applying;
mod archives;
mod bystanders;
mod commands;
mod conformance;
mod containers;
mod control;
mod crash;
mod debian;
mod deltas;
mod doctor;
mod downloads;
mod file_set;
mod following;
mod heads;
mod hostile_images;
mod house;
mod images;
mod inventory;
mod life;
mod missing_tools;
mod own_program;
mod pace;
mod recalls;
mod receipts;
mod refusals;
mod restarts;
mod rollback;
mod room;
mod rpm;
mod scripts;
mod sealing;
mod services;
mod slots;
mod sources;
mod successors;
mod support;
mod vitals;
mod why;
mod windows;

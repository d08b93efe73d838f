//! What the store promises: the chain is on disk, whole, and says so when it is not.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a helper of a test may panic and speak as the test may")]

mod children;
mod corruption;
mod crash;
mod disk;
mod hostile;
mod opening;
mod physical;
mod pruning;
mod queries;
mod snapshots;
mod support;
mod views;

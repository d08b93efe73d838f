//! What consensus promises, asked of real replicas in a simulated world.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, and the models around them")]

mod controls;
mod hostile;
mod sim;
mod simulation;
mod table;
mod traps;

//! What consensus promises, asked of real replicas and of whole members in simulated worlds.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests, and the models around them")]

mod accusations;
mod adversaries;
mod bodies;
mod bounds;
mod controls;
mod false_chains;
mod flood;
mod forks;
mod heights;
mod hostile;
mod judge;
mod ledger_controls;
mod ledger_kept;
mod ledger_sim;
mod ledger_simulation;
mod lockstep;
mod long;
mod lost_leader;
mod lost_words;
mod membership;
mod oracle;
mod own_words;
mod pool;
mod proofs;
mod recovery;
mod room;
mod shadow;
mod sim;
mod simulation;
mod stand;
mod steps;
mod table;
mod traps;
mod twins;
mod voice;

//! Asks of the ledger room what it promises. Prose with a seed: no clocks, no sockets, no chance.
//!
//! Sentence numbers are those of docs/protocol.md.

#![allow(missing_docs, unreachable_pub, reason = "a test suite has no readers outside of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may panic as the test may")]
#![allow(clippy::type_complexity, reason = "tables of functions read better with their types in place")]

mod accountability;
mod block_tree;
mod blocks;
mod bounds;
mod certificate_vectors;
mod certificates;
mod document;
mod door;
mod epochs;
mod execution;
mod forgeries;
mod forks;
mod frames;
mod governance;
mod history_tree;
mod inventories;
mod invitations;
mod moments;
mod near_misses;
mod proof_flips;
mod proof_size;
mod proofs;
mod round_trips;
mod rule_counts;
mod rule_stories;
mod rules;
mod sequences;
mod snapshots;
mod source;
mod state_tree;
mod support;
mod vectors;

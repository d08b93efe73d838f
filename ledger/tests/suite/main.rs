//! Asks of the ledger room what it promises. Prose with a seed: no clocks, no sockets, no chance.
//!
//! Sentence numbers are those of docs/protocol.md.

#![allow(missing_docs, unreachable_pub, reason = "a test suite has no readers outside of it")]

mod block_tree;
mod blocks;
mod certificates;
mod door;
mod epochs;
mod execution;
mod history_tree;
mod proof_flips;
mod proof_size;
mod proofs;
mod round_trips;
mod rule_counts;
mod rules;
mod sequences;
mod source;
mod state_tree;
mod support;
mod vectors;

//! Whole members of the ledger in one thread: the code that ships - replica, pool, bodies, block sync,
//! execution of real transactions - and a light client, over a model of everything around them.
//!
//! Time is a number, the network is a queue, a disk is bytes and a map, and the shell around a member
//! does what the node's does: parses and verifies at the door, takes events up in batches, makes durable
//! what must be before it shows anything. Everything that happens follows from the seed, and is hashed.

pub(crate) mod cast;
mod clients;
pub(crate) mod door;
pub(crate) mod faults;
pub(crate) mod host;
pub(crate) mod invariants;
pub(crate) mod light_client;
pub(crate) mod network;
mod post;
mod shell;
pub(crate) mod surroundings;
pub(crate) mod vault;
mod weather;
pub(crate) mod world;

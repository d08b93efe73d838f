//! A whole cluster in one thread: the real replicas, over a model of everything around them.
//!
//! Time is a number, the network is a queue, a disk is bytes. Everything that happens follows from the
//! seed, and is hashed: the same seed gives the same hash, or something looked at the world.

pub(crate) mod block;
pub(crate) mod chain;
pub(crate) mod disk;
pub(crate) mod faults;
pub(crate) mod host;
pub(crate) mod invariants;
pub(crate) mod journal;
pub(crate) mod network;
pub(crate) mod rng;
pub(crate) mod world;

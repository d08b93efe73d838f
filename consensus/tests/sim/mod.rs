//! A whole cluster in one thread: the real replicas, over a model of everything around them.
//!
//! Time is a number, the network is a queue, a disk is bytes. Everything that happens follows from the
//! seed, and is hashed: the same seed gives the same hash, or something looked at the world.

pub mod block;
pub mod disk;
pub mod faults;
pub mod host;
pub mod invariants;
pub mod network;
pub mod rng;
pub mod world;

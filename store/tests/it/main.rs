//! What the store promises: the chain is on disk, whole, and says so when it is not.

mod children;
mod corruption;
mod crash;
mod disk;
mod opening;
mod physical;
mod queries;
mod support;
mod views;

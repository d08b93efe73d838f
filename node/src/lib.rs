//! Run a member of the ledger.
//!
//! [`consensus::member`] decides (events in, actions out), [`shell`] performs, [`network`] and [`grpc`] are the doors
//! to peers and clients, [`node`] puts them together. This room does not know any organisation's own
//! policy, nor how a patch is installed.

pub mod artifacts;
pub mod config;
pub mod crew;
pub mod desk;
pub mod grpc;
pub mod init;
pub mod inventories;
pub mod network;
pub mod node;
mod origin;
pub mod proof;
pub mod prune;
pub mod replicate;
mod shares;
pub mod shell;
pub mod verifier;

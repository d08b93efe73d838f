//! Speak on the wire.
//!
//! The gRPC services and messages, generated from `proto/`. This room translates and never decides: it
//! knows no rule of the ledger and no socket.

/// Version 1 of the interface.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("countersign.v1");
}

/// The compiled `.proto` files, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Largest gRPC message any program here sends or accepts: a block and its frame.
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

//! Speak on the wire.
//!
//! The gRPC services and messages, generated from `proto/`. This room translates and never decides: it
//! knows no rule of the ledger and no socket.

pub mod lean;
pub mod packed;

pub use prost::Message;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// Version 1 of the interface.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("countersign.v1");
}

/// What a refused call carries in its status details; `None` when the call failed for another reason
/// (a lost connection, say).
#[must_use]
pub fn refusal(status: &tonic::Status) -> Option<v1::Refusal> {
    let details = status.details();
    if details.is_empty() || details.len() > REFUSAL_BYTES_MAX {
        return None;
    }
    v1::Refusal::decode(details).ok().filter(|refusal| !refusal.check.is_empty())
}

/// The status of a refused call, with the refusal inside.
#[must_use]
pub fn refuse(code: tonic::Code, refusal: &v1::Refusal) -> tonic::Status {
    let message = format!("{}: {}", refusal.check, refusal.message);
    tonic::Status::with_details(code, message, refusal.encode_to_vec().into())
}

/// Largest refusal anybody reads: a word, two sentences and a number.
pub const REFUSAL_BYTES_MAX: usize = 8 * 1024;

/// The compiled `.proto` files, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Largest gRPC message any program here sends or accepts: a block and its frame.
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Whether this is a private key in PEM.
#[must_use]
pub fn is_private_key(pem: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(pem).is_ok()
}

/// Whether these are certificates in PEM: one at least, and nothing that is none.
#[must_use]
pub fn are_certificates(pem: &[u8]) -> bool {
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    certificates.next().is_some_and(|first| first.is_ok()) && certificates.all(|other| other.is_ok())
}

/// The certificates in a text in PEM, in DER; `None` when there is none, or something that is none.
#[must_use]
pub fn certificates_from_pem(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all: Vec<_> = all.ok()?.into_iter().map(|certificate| certificate.to_vec()).collect();
    (!all.is_empty()).then_some(all)
}

/// Certificates in DER as a text in PEM.
#[must_use]
pub fn certificates_to_pem(certificates: &[&[u8]]) -> String {
    certificates.iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", *der))).collect()
}

/// Whether TLS could call a host so: a name of the DNS, or an address.
#[must_use]
pub fn is_host(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// Chooses the one implementation of TLS's cryptography for this process. libp2p's QUIC brings a second
/// one along, and with two the library refuses to choose by itself; so every program calls this first.
/// Calling it again changes nothing.
pub fn install_tls_provider() {
    // An error says that it was installed before, by an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

//! Artifacts off the chain: who may upload what to a node.

use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::id::{ChainId, Digest};
use crate::key::{PublicKey, Purpose, SecretKey, Signature, SignatureError};
use crate::moment::Moment;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Artifacts are checked in groups of this many bytes, as they arrive (bao, chunk groups of 2^4
/// BLAKE3 chunks).
pub const GROUP_BYTES: u64 = 16 * 1024;
/// Bytes of the two chaining values of a parent in a hash tree.
pub const PAIR_BYTES: u64 = 64;
/// What follows the name of an artifact in the name of its hash tree.
pub const TREE_SUFFIX: &str = ".tree";

/// Where an artifact lies beneath a directory, or beneath the address of a mirror: protocol.md 7.11.
#[must_use]
pub fn shelf_path(blake3: &Digest) -> String {
    let name = blake3.to_string();
    format!("{}/{name}", &name[..2])
}

/// Bytes of the hash tree of an artifact of this size: protocol.md 7.12.
#[must_use]
pub fn tree_bytes(size: u64) -> u64 {
    size.div_ceil(GROUP_BYTES).saturating_sub(1).saturating_mul(PAIR_BYTES)
}

/// The payload of no bytes, which is everywhere: a delta from it is a payload compressed (protocol.md 7.14).
#[must_use]
pub fn nothing() -> Digest {
    Digest::blake3(&[])
}

/// A publisher's leave to store one artifact on a node: bounded before the first byte arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadGrant {
    /// The ledger it is for.
    pub chain_id: ChainId,
    /// The publisher's key.
    pub publisher: PublicKey,
    /// What the payload must hash to.
    pub blake3: Digest,
    /// How long it is.
    pub size: u64,
    /// From then on it is void.
    pub expires_at_ms: u64,
}

/// A grant and its signature, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedUploadGrant {
    /// The grant.
    pub grant: UploadGrant,
    /// By `grant.publisher`, for the purpose `countersign/v1/upload`.
    pub signature: Signature,
}

impl Canonical for SignedUploadGrant {
    const NAME: &'static str = "upload grant";
    const LIMIT: Limit = Limit::Message;
}

/// Why a grant is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not bytes of a grant.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// For another ledger.
    #[error("upload grant is for chain {0}")]
    WrongChain(ChainId),
    /// Its time is over.
    #[error("upload grant expired at {}, it is {}", Moment(*expires_at_ms), Moment(*now_ms))]
    Expired {
        /// When it expired.
        expires_at_ms: u64,
        /// The judge's clock.
        now_ms: u64,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl UploadGrant {
    /// Signs. The publisher field is set to the key's public half.
    #[must_use]
    pub fn sign(mut self, key: &SecretKey) -> SignedUploadGrant {
        self.publisher = key.public();
        let signature = key.sign(Purpose::Upload, &self.chain_id, &encode(&self));
        SignedUploadGrant { grant: self, signature }
    }
}

impl SignedUploadGrant {
    /// Parses and verifies bytes from outside. Whether the key is a publisher's is for the state to
    /// say.
    ///
    /// # Errors
    /// [`GrantError`] names the first check that failed.
    pub fn verify_bytes(bytes: &[u8], chain: &ChainId, now_ms: u64) -> Result<UploadGrant, GrantError> {
        let Self { grant, signature } = decode(bytes)?;
        if grant.chain_id != *chain {
            return Err(GrantError::WrongChain(grant.chain_id));
        }
        if grant.expires_at_ms <= now_ms {
            return Err(GrantError::Expired { expires_at_ms: grant.expires_at_ms, now_ms });
        }
        grant.publisher.verify(Purpose::Upload, chain, &encode(&grant), &signature)?;
        Ok(grant)
    }
}

/// Hashes a payload as it passes, under both names an artifact has: payloads are larger than memory.
#[derive(Clone, Debug, Default)]
pub struct PayloadHasher {
    blake3: blake3::Hasher,
    sha256: Sha256,
    size: u64,
}

/// What a payload is called by, once all of it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadDigests {
    /// Its length.
    pub size: u64,
    /// Plain BLAKE3.
    pub blake3: Digest,
    /// SHA-256.
    pub sha256: Digest,
}

impl PayloadHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// The digests of all bytes taken.
    #[must_use]
    pub fn finish(self) -> PayloadDigests {
        PayloadDigests {
            size: self.size,
            blake3: Digest(*self.blake3.finalize().as_bytes()),
            sha256: Digest(self.sha256.finalize().into()),
        }
    }
}

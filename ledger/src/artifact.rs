//! Artifacts off the chain: who may upload what to a node.

use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::id::{ChainId, Digest};
use crate::key::{PublicKey, Purpose, SecretKey, Signature, SignatureError};
use serde::{Deserialize, Serialize};

/// Artifacts are checked in groups of this many bytes, as they arrive (bao, chunk groups of 2^4
/// BLAKE3 chunks).
pub const GROUP_BYTES: u64 = 16 * 1024;

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
    #[error("upload grant expired at {expires_at_ms}, it is {now_ms}")]
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

//! Keys and the one signature predicate.
//!
//! `verify`, `verify_strict` and `verify_batch` of ed25519 libraries accept different sets of
//! signatures; two nodes that mix them can fork the ledger. [`PublicKey::verify`] is the only place
//! in the workspace where a signature is judged, and it is strict (RFC 8032 §5.1.7 without the
//! cofactor, small-order keys and non-canonical encodings refused).

use crate::id::{ChainId, from_words, words};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

crate::id::id!(
    /// An ed25519 public key, compressed (RFC 8032 §5.1.5).
    PublicKey
);

/// What a signature is for. Each purpose has its own tag in the signed bytes, so that a signature
/// for one can never be shown as a signature for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A transaction body.
    Transaction,
    /// A consensus proposal.
    Proposal,
    /// A consensus prevote.
    Prevote,
    /// A consensus precommit: what certificates are made of.
    Precommit,
    /// Leave to upload an artifact to a node.
    Upload,
    /// Leave for hosts to enrol themselves.
    Invitation,
    /// A host that was invited.
    Arrival,
    /// What an endpoint says is on it.
    Inventory,
    /// Leave to read what endpoints said is on them.
    InventoryRead,
}

impl Purpose {
    /// The tag, as it stands in the signed bytes (followed by one zero byte).
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Transaction => "countersign/v1/transaction",
            Self::Proposal => "countersign/v1/proposal",
            Self::Prevote => "countersign/v1/prevote",
            Self::Precommit => "countersign/v1/precommit",
            Self::Upload => "countersign/v1/upload",
            Self::Invitation => "countersign/v1/invitation",
            Self::Arrival => "countersign/v1/arrival",
            Self::Inventory => "countersign/v1/inventory",
            Self::InventoryRead => "countersign/v1/inventory-read",
        }
    }

    /// `tag ‖ 0x00 ‖ chain id ‖ body`: the bytes that are signed.
    #[must_use]
    pub fn message(self, chain: &ChainId, body: &[u8]) -> Vec<u8> {
        let tag = self.tag().as_bytes();
        let mut message = Vec::with_capacity(tag.len() + 1 + 32 + body.len());
        message.extend_from_slice(tag);
        message.push(0);
        message.extend_from_slice(chain.as_bytes());
        message.extend_from_slice(body);
        message
    }
}

/// A signature that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature by {key} for {} does not verify", purpose.tag())]
pub struct SignatureError {
    /// The key it was checked against.
    pub key: PublicKey,
    /// The purpose it was checked for.
    pub purpose: Purpose,
}

impl PublicKey {
    /// The one signature predicate of the workspace.
    ///
    /// # Errors
    /// [`SignatureError`] when the key is not a point, is of small order, or the signature is not a
    /// strict ed25519 signature of exactly these bytes for this purpose on this chain.
    pub fn verify(
        &self,
        purpose: Purpose,
        chain: &ChainId,
        body: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.verify_raw(&purpose.message(chain, body), signature)
            .then_some(())
            .ok_or(SignatureError { key: *self, purpose })
    }

    /// The predicate over whole messages; apart so that public test vectors can pin it.
    fn verify_raw(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.point().is_some_and(|key| key.verify_strict(message, &signature).is_ok())
    }

    /// Whether any signature could ever hold under it: a point of the curve, and none of small order (1.17).
    #[must_use]
    pub fn can_sign(&self) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|point| !point.is_weak())
    }

    /// The key as a point of the curve, if it is one. To find it costs a tenth of a verification and
    /// depends on the bytes alone, so each thread remembers the points it met lately.
    fn point(&self) -> Option<VerifyingKey> {
        thread_local! {
            static MET: RefCell<HashMap<PublicKey, VerifyingKey>> = RefCell::default();
        }
        MET.with_borrow_mut(|met| {
            if let Some(known) = met.get(self) {
                return Some(*known);
            }
            let point = VerifyingKey::from_bytes(&self.0).ok()?;
            if met.len() >= POINTS_REMEMBERED_MAX {
                met.clear();
            }
            met.insert(*self, point);
            Some(point)
        })
    }
}

/// Points a thread remembers: some 250 bytes each.
const POINTS_REMEMBERED_MAX: usize = 2_048;

/// An ed25519 signature: 64 raw bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", &hex::encode(self.0)[..12])
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        let (r, s) = self.halves();
        (words(&r), words(&s)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 64];
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            hex::decode_to_slice(text, &mut bytes).map_err(serde::de::Error::custom)?;
        } else {
            let (r, s) = <([u64; 4], [u64; 4])>::deserialize(deserializer)?;
            bytes[..32].copy_from_slice(&from_words(r));
            bytes[32..].copy_from_slice(&from_words(s));
        }
        Ok(Self(bytes))
    }
}

impl Signature {
    fn halves(&self) -> ([u8; 32], [u8; 32]) {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&self.0[..32]);
        s.copy_from_slice(&self.0[32..]);
        (r, s)
    }
}

/// An ed25519 secret key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From a 32-byte seed (RFC 8032 §5.1.5). The caller wipes its copy.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for writing a key file.
    #[must_use]
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a body for one purpose on one chain.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, chain: &ChainId, body: &[u8]) -> Signature {
        Signature(self.0.sign(&purpose.message(chain, body)).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(public: {})", self.public())
    }
}

#[cfg(test)]
mod tests;

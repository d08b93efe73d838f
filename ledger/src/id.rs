//! Ids: 32 bytes each, a type each, lower-case hex for people.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Contexts of BLAKE3 `derive_key` (docs/protocol.md §1): one per kind of hash, so that no bytes can
/// be taken for another kind's.
pub mod context {
    /// Chain ids.
    pub const CHAIN_ID: &str = "countersign/v1/chain-id";
    /// Transaction ids.
    pub const TRANSACTION_ID: &str = "countersign/v1/transaction-id";
    /// Block hashes.
    pub const BLOCK_HASH: &str = "countersign/v1/block-hash";
    /// Patch ids.
    pub const PATCH_ID: &str = "countersign/v1/patch-id";
    /// Hashes of validator sets.
    pub const VALIDATORS_HASH: &str = "countersign/v1/validators-hash";
    /// Leaves of a block's transaction tree.
    pub const BLOCK_LEAF: &str = "countersign/v1/block-leaf";
    /// Nodes of a block's transaction tree.
    pub const BLOCK_NODE: &str = "countersign/v1/block-node";
    /// Root of a block without transactions.
    pub const BLOCK_EMPTY: &str = "countersign/v1/block-empty";
    /// Keys of state records.
    pub const STATE_KEY: &str = "countersign/v1/state-key";
    /// Nodes, leaves and values of the state tree.
    pub const STATE_TREE: &str = "countersign/v1/state-tree";
}

/// BLAKE3 in `derive_key` mode.
#[must_use]
pub fn derive(context: &str, bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key(context, bytes)
}

/// Text that is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits, got {0:?}")]
pub struct ParseIdError(pub String);

/// Makes a newtype over 32 bytes: raw in ledger bytes, hex for people.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &hex::encode(self.0)[..12])
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::id::ParseIdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| $crate::id::ParseIdError(text.chars().take(80).collect()))?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    Ok(Self(<[u8; 32]>::deserialize(deserializer)?))
                }
            }
        }
    };
}
pub(crate) use id;

id!(
    /// One ledger: the hash of its genesis bytes.
    ChainId
);
id!(
    /// One transaction: the hash of its unsigned body.
    TransactionId
);
id!(
    /// One block: the hash of its header.
    BlockHash
);
id!(
    /// One patch: the hash of its manifest.
    PatchId
);
id!(
    /// A plain 32-byte hash: a Merkle root, a digest of outside bytes.
    Digest
);

impl Digest {
    /// Thirty-two zero bytes: "nothing" where a hash is expected.
    pub const ZERO: Self = Self([0; 32]);

    /// Plain BLAKE3 of outside bytes, as `b3sum` prints it. Artifacts are named by it.
    #[must_use]
    pub fn blake3(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl BlockHash {
    /// The parent of the genesis header.
    pub const ZERO: Self = Self([0; 32]);
}

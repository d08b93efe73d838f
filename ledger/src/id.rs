//! Ids: 32 bytes each, a type each, lower-case hex for people.

use blake3::hazmat::{ContextKey, HasherExt as _};
use std::sync::LazyLock;

/// Contexts of BLAKE3 `derive_key` (docs/protocol.md §1): one per kind of hash, so that no bytes can
/// be taken for another kind's.
pub mod context {
    use super::Context;
    use std::sync::LazyLock;

    macro_rules! context {
        ($name:literal) => {
            Context { name: $name, key: LazyLock::new(|| blake3::hazmat::hash_derive_key_context($name)) }
        };
    }

    /// Chain ids.
    pub static CHAIN_ID: Context = context!("countersign/v1/chain-id");
    /// Transaction ids.
    pub static TRANSACTION_ID: Context = context!("countersign/v1/transaction-id");
    /// Block hashes.
    pub static BLOCK_HASH: Context = context!("countersign/v1/block-hash");
    /// Patch ids.
    pub static PATCH_ID: Context = context!("countersign/v1/patch-id");
    /// Hashes of validator sets.
    pub static VALIDATORS_HASH: Context = context!("countersign/v1/validators-hash");
    /// Leaves of a block's transaction tree.
    pub static BLOCK_LEAF: Context = context!("countersign/v1/block-leaf");
    /// Nodes of a block's transaction tree.
    pub static BLOCK_NODE: Context = context!("countersign/v1/block-node");
    /// Root of a block without transactions.
    pub static BLOCK_EMPTY: Context = context!("countersign/v1/block-empty");
    /// Keys of state records.
    pub static STATE_KEY: Context = context!("countersign/v1/state-key");
    /// Nodes, leaves and values of the state tree.
    pub static STATE_TREE: Context = context!("countersign/v1/state-tree");
}

/// BLAKE3 in `derive_key` mode (docs/protocol.md 1.12).
#[must_use]
pub fn derive(context: &'static Context, bytes: &[u8]) -> [u8; 32] {
    *context.hasher().update(bytes).finalize().as_bytes()
}

/// A context of `derive_key`, hashed the first time it is used and not with every use: for short
/// inputs that would be most of the work.
pub struct Context {
    name: &'static str,
    key: LazyLock<ContextKey>,
}

impl Context {
    /// The words.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// A hasher under this context.
    pub(crate) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_from_context_key(&self.key)
    }
}

/// Thirty-two bytes as four little-endian words: the same bytes to the codec, in four steps instead
/// of thirty-two.
pub(crate) fn words(bytes: &[u8; 32]) -> [u64; 4] {
    std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|byte| bytes[word * WORD_BYTES + byte])))
}

/// [`words`] backwards.
pub(crate) fn from_words(words: [u64; 4]) -> [u8; 32] {
    std::array::from_fn(|place| words[place / WORD_BYTES].to_le_bytes()[place % WORD_BYTES])
}

const WORD_BYTES: usize = 8;

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

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serde::Serialize::serialize(&$crate::id::words(&self.0), serializer)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    Ok(Self($crate::id::from_words(<[u64; 4] as serde::Deserialize>::deserialize(deserializer)?)))
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

//! The one door for ledger bytes: everything hashed, signed, stored or received is encoded and
//! decoded here, and nothing else in the workspace names the codec.
//!
//! Layout (docs/protocol.md §1): little-endian, fixed-width integers; lengths are `u64`; enum
//! variants are `u32`; `Option` is one byte 0/1; fields in declaration order, nothing between.
//!
//! The codec alone is not canonical and not safe, so [`decode`] also requires that the input is
//! within the type's limit, that every byte is used, and that encoding the value again gives the
//! same bytes. One value therefore has exactly one encoding, and one encoding exactly one value.

use crate::limits;
use serde::{Serialize, de::DeserializeOwned};

/// A type that may enter the house as bytes.
pub trait Canonical: Serialize + DeserializeOwned {
    /// The noun an error message uses.
    const NAME: &'static str;
    /// Largest accepted encoding.
    const LIMIT: Limit;
}

/// How many bytes an encoding may have. A closed set, because the codec takes its allocation limit
/// as a constant: a claimed length is refused before memory is reserved for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Votes, certificates, single records: [`limits::MESSAGE_BYTES_MAX`].
    Message,
    /// Signed transactions: [`limits::TRANSACTION_BYTES_MAX`].
    Transaction,
    /// Proof files: [`limits::PROOF_BYTES_MAX`].
    Proof,
    /// Blocks and genesis files: [`limits::BLOCK_BYTES_MAX`].
    Block,
    /// What one peer sends another at once: [`limits::FRAME_BYTES_MAX`].
    Frame,
    /// Inventories: [`limits::INVENTORY_BYTES_MAX`].
    Inventory,
}

impl Limit {
    /// The limit in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Message => limits::MESSAGE_BYTES_MAX,
            Self::Transaction => limits::TRANSACTION_BYTES_MAX,
            Self::Proof => limits::PROOF_BYTES_MAX,
            Self::Block => limits::BLOCK_BYTES_MAX,
            Self::Frame => limits::FRAME_BYTES_MAX,
            Self::Inventory => limits::INVENTORY_BYTES_MAX,
        }
    }
}

/// Why bytes were refused at the door.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the type allows.
    #[error("{name}: {actual} bytes, at most {limit} allowed")]
    TooLarge {
        /// What was being read.
        name: &'static str,
        /// Bytes given.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not an encoding of the type, or a bound inside it is broken.
    #[error("{name}: malformed: {detail}")]
    Malformed {
        /// What was being read.
        name: &'static str,
        /// The codec's words.
        detail: String,
    },
    /// Bytes left over after the value.
    #[error("{name}: {extra} bytes after the end")]
    Trailing {
        /// What was being read.
        name: &'static str,
        /// Bytes left over.
        extra: usize,
    },
    /// Decodes, but is not the one encoding of its value.
    #[error("{name}: not the canonical encoding")]
    NotCanonical {
        /// What was being read.
        name: &'static str,
    },
}

impl DecodeError {
    /// The stable word of the check (sentence 1.4).
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "size",
            Self::Malformed { .. } => "malformed",
            Self::Trailing { .. } => "trailing",
            Self::NotCanonical { .. } => "not-canonical",
        }
    }
}

/// `config` with an allocation limit; the limit must be a literal constant for the codec.
macro_rules! config {
    ($limit:expr) => {
        bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<{ $limit }>()
    };
}

/// Most encodings fit: transactions, records and their names, votes.
const USUAL_BYTES: usize = 384;

/// The canonical bytes of a value.
///
/// # Panics
/// Never for types of this crate: writing to memory cannot fail, and no type here has a fallible
/// `Serialize`.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let config = bincode::config::standard().with_little_endian().with_fixed_int_encoding();
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bincode::serde::encode_into_std_write(value, &mut bytes, config)
        .expect("ledger types serialise into memory without failing");
    bytes
}

/// What the codec found, in words of 1.4; ours, where a bound of ours was broken.
fn detail_of(error: bincode::error::DecodeError) -> String {
    use bincode::error::DecodeError as Found;
    match error {
        Found::OtherString(ours) => ours,
        Found::UnexpectedEnd { additional } => format!("the bytes end at least {additional} too early"),
        Found::LimitExceeded | Found::OutsideUsizeRange(_) => "a length is larger than what may be there".to_owned(),
        Found::InvalidBooleanValue(byte) => format!("a byte that must be 0 or 1 is {byte}"),
        Found::UnexpectedVariant { found, .. } => format!("there is no variant {found}"),
        Found::Utf8 { .. } => "a text is not UTF-8".to_owned(),
        other => other.to_string(),
    }
}

/// Parses bytes from outside.
///
/// # Errors
/// [`DecodeError`] names what was being read and which of the door's rules it broke.
pub fn decode<T: Canonical>(bytes: &[u8]) -> Result<T, DecodeError> {
    let name = T::NAME;
    let limit = T::LIMIT.bytes();
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { name, actual: bytes.len(), limit });
    }
    let decoded = match T::LIMIT {
        Limit::Message => bincode::serde::borrow_decode_from_slice(bytes, config!(limits::MESSAGE_BYTES_MAX)),
        Limit::Transaction => bincode::serde::borrow_decode_from_slice(bytes, config!(limits::TRANSACTION_BYTES_MAX)),
        Limit::Proof => bincode::serde::borrow_decode_from_slice(bytes, config!(limits::PROOF_BYTES_MAX)),
        Limit::Block => bincode::serde::borrow_decode_from_slice(bytes, config!(limits::BLOCK_BYTES_MAX)),
        Limit::Frame => bincode::serde::borrow_decode_from_slice(bytes, config!(limits::FRAME_BYTES_MAX)),
        Limit::Inventory => bincode::serde::borrow_decode_from_slice(bytes, config!(limits::INVENTORY_BYTES_MAX)),
    };
    let (value, used): (T, usize) =
        decoded.map_err(|error| DecodeError::Malformed { name, detail: detail_of(error) })?;
    if used != bytes.len() {
        return Err(DecodeError::Trailing { name, extra: bytes.len() - used });
    }
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical { name });
    }
    Ok(value)
}

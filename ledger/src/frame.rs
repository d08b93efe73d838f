//! Values one after the other, on a stream and in a file: each a `u32` length and that many bytes (10.5, 13.1).

use crate::encoding::{Canonical, DecodeError, decode, encode};
use std::io::{self, Read};

/// Bytes of a length.
pub const LENGTH_BYTES: usize = 4;

/// Why there is no value where one should begin.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before it does, or cannot be read.
    #[error("the bytes of a frame cannot be read to their end")]
    Read(#[from] io::Error),
    /// Its length, or what is in it, is none.
    #[error(transparent)]
    Value(#[from] DecodeError),
}

/// A value with its length before it.
///
/// # Panics
/// Never for types of this house: the largest of their limits is far below 4 GiB.
#[must_use]
pub fn frame<T: Canonical>(value: &T) -> Vec<u8> {
    let value = encode(value);
    let length = u32::try_from(value.len()).expect("values with a door are far below 4 GiB");
    [&length.to_le_bytes()[..], &value].concat()
}

/// How many bytes the value has that this length announces.
///
/// # Errors
/// [`DecodeError::TooLarge`] when it has more than its type allows: nobody waits for them, or makes room.
pub fn announced<T: Canonical>(length: [u8; LENGTH_BYTES]) -> Result<usize, DecodeError> {
    let (actual, limit) = (u32::from_le_bytes(length) as usize, T::LIMIT.bytes());
    if actual > limit { Err(DecodeError::TooLarge { name: T::NAME, actual, limit }) } else { Ok(actual) }
}

/// Reads the next value.
///
/// # Errors
/// [`FrameError`]; how far it was read is not told then.
pub fn read<T: Canonical>(from: &mut impl Read) -> Result<T, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    from.read_exact(&mut length)?;
    let length = announced::<T>(length)?;
    // Memory for what has come, not for what is claimed.
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(FrameError::Read(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(decode(&bytes)?)
}

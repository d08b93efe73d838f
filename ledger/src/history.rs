//! The history: one RFC 6962 SHA-256 tree over all finalised transactions.
//!
//! One recent header proves any old transaction with one path, across all validator sets, and the
//! tools of the transparency-log world can read the same log. Positions and stored hashes follow the
//! kept crate `tlog_tiles` (C2SP); a path is verified by our own code, as for the block tree.

use crate::id::Digest;
use crate::merkle::{PathError, follow};
use crate::state::storage::StorageError;
use sha2::{Digest as _, Sha256};
use tlog_tiles::tlog::{self, Hash, HashReader};

/// Reads stored hashes of the history tree. Numbering: C2SP "stored hash index".
pub trait HistoryStorage {
    /// The hash at a stored-hash index; `None` when it was never stored.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no.
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError>;
}

/// Hashes to add to the store, and the root they make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryUpdate {
    /// Stored-hash index of the first of `hashes`; the rest follow without gaps.
    pub first_index: u64,
    /// New stored hashes.
    pub hashes: Vec<Digest>,
    /// Number of leaves afterwards.
    pub size: u64,
    /// Root afterwards.
    pub root: Digest,
}

/// Root of the tree without leaves: SHA-256 of nothing (RFC 6962 §2.1).
#[must_use]
pub fn empty_root() -> Digest {
    Digest(Sha256::digest([]).into())
}

/// Reads from the store, and from hashes about to be stored.
struct Overlay<'a, S> {
    storage: &'a S,
    first: u64,
    added: Vec<Hash>,
}

impl<S: HistoryStorage> HashReader for Overlay<'_, S> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        indexes
            .iter()
            .map(|index| match index.checked_sub(self.first) {
                Some(place) if (place as usize) < self.added.len() => Ok(self.added[place as usize]),
                _ => match self.storage.history_hash(*index) {
                    Ok(Some(Digest(hash))) => Ok(Hash(hash)),
                    Ok(None) => Err(tlog::Error::IndexesNotInTree),
                    Err(_) => Err(tlog::Error::IndexesNotInTree),
                },
            })
            .collect()
    }
}

fn unreadable(error: &tlog::Error) -> StorageError {
    StorageError::new("history", error.to_string())
}

/// Appends leaves to a history of `size` leaves.
///
/// # Errors
/// [`StorageError`] when stored hashes are missing or unreadable.
pub fn append<'a, S: HistoryStorage>(
    storage: &S,
    size: u64,
    leaves: impl IntoIterator<Item = &'a [u8]>,
) -> Result<HistoryUpdate, StorageError> {
    append_hashed(storage, size, leaves.into_iter().map(leaf_hash))
}

/// The same with leaves that were hashed already.
///
/// # Errors
/// [`StorageError`] when stored hashes are missing or unreadable.
pub fn append_hashed<S: HistoryStorage>(
    storage: &S,
    size: u64,
    leaves: impl IntoIterator<Item = Digest>,
) -> Result<HistoryUpdate, StorageError> {
    let first_index = tlog::stored_hash_count(size);
    let mut overlay = Overlay { storage, first: first_index, added: Vec::new() };
    let mut count = size;
    for leaf in leaves {
        let hashes = tlog::stored_hashes_for_record_hash(count, Hash(leaf.0), &overlay);
        let hashes = hashes.map_err(|error| unreadable(&error))?;
        overlay.added.extend(hashes);
        count += 1;
    }
    let root = root_of(count, &overlay)?;
    let hashes = overlay.added.iter().map(|hash| Digest(hash.0)).collect();
    Ok(HistoryUpdate { first_index, hashes, size: count, root })
}

/// Root of the tree of the first `size` leaves.
///
/// # Errors
/// [`StorageError`] when stored hashes are missing or unreadable.
pub fn root<S: HistoryStorage>(storage: &S, size: u64) -> Result<Digest, StorageError> {
    root_of(size, &Overlay { storage, first: u64::MAX, added: Vec::new() })
}

fn root_of<S: HistoryStorage>(size: u64, hashes: &Overlay<'_, S>) -> Result<Digest, StorageError> {
    match size {
        0 => Ok(empty_root()),
        _ => Ok(Digest(tlog::tree_hash(size, hashes).map_err(|error| unreadable(&error))?.0)),
    }
}

/// Hash of a leaf (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest(tlog::record_hash(leaf).0)
}

/// Stored-hash index of a leaf's hash.
#[must_use]
pub fn leaf_position(index: u64) -> u64 {
    tlog::stored_hash_index(0, index)
}

/// The path of leaf `index` in the tree of the first `size` leaves, lowest sibling first.
///
/// # Errors
/// [`StorageError`] when there is no such leaf or stored hashes are missing.
pub fn prove<S: HistoryStorage>(storage: &S, size: u64, index: u64) -> Result<Vec<Digest>, StorageError> {
    if index >= size {
        return Err(StorageError::new("history", format!("no leaf {index} among {size}")));
    }
    let overlay = Overlay { storage, first: u64::MAX, added: Vec::new() };
    let path = tlog::prove_record(size, index, &overlay).map_err(|error| unreadable(&error))?;
    Ok(path.into_iter().map(|hash| Digest(hash.0)).collect())
}

/// Checks that `leaf` is leaf `index` of the history with this root and size (RFC 9162 §2.1.3.2 with
/// the hashes of RFC 6962 §2.1).
///
/// # Errors
/// [`PathError`] names what does not fit.
pub fn verify(root: &Digest, size: u64, index: u64, leaf: &[u8], path: &[Digest]) -> Result<(), PathError> {
    let leaf = Sha256::new().chain_update([0]).chain_update(leaf).finalize().into();
    follow(root, size, index, leaf, path, |left, right| {
        Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
    })
}

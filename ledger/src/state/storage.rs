//! What the state needs from a disk, in the state's own words. `store` implements it over RocksDB;
//! [`MemoryStorage`] holds it in memory for genesis, tests and simulation.

use super::tree::TreeUpdate;
use crate::history::{HistoryStorage, HistoryUpdate};
use crate::id::{Digest, TransactionId};
use crate::state::StateKey;
use std::collections::{BTreeMap, BTreeSet};

/// The disk said no, or what it holds is not what was written. Never a verdict on a transaction: a
/// node that cannot read must stop, not disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {detail}")]
pub struct StorageError {
    /// Which part of the store.
    pub place: &'static str,
    /// What happened.
    pub detail: String,
    /// What a person can do about it, where that is known.
    pub hint: Option<&'static str>,
}

impl StorageError {
    /// Names the part and what happened.
    #[must_use]
    pub fn new(place: &'static str, detail: impl Into<String>) -> Self {
        Self { place, detail: detail.into(), hint: None }
    }

    /// With what a person can do about it.
    #[must_use]
    pub fn with_hint(self, hint: Option<&'static str>) -> Self {
        Self { hint, ..self }
    }
}

/// Reads the newest state.
pub trait StateStorage {
    /// The encoded record under a key.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no.
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError>;

    /// A node of the authenticated tree, under the tree's own key.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no.
    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Whether a transaction was finalised before.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no.
    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError>;
}

/// A state, its tree and a history in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    records: BTreeMap<StateKey, Vec<u8>>,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    history: BTreeMap<u64, Digest>,
    finalised: BTreeSet<TransactionId>,
}

impl MemoryStorage {
    /// Takes in a block's records and tree nodes.
    pub fn write_state(&mut self, update: &TreeUpdate) {
        self.records.extend(update.records.iter().cloned());
        self.nodes.extend(update.nodes.iter().cloned());
        for stale in &update.stale {
            self.nodes.remove(stale);
        }
    }

    /// Takes in the ids of a block's transactions.
    pub fn write_finalised(&mut self, ids: impl IntoIterator<Item = TransactionId>) {
        self.finalised.extend(ids);
    }

    /// Takes in a block's history hashes.
    pub fn write_history(&mut self, update: &HistoryUpdate) {
        self.history.extend((update.first_index..).zip(update.hashes.iter().copied()));
    }
}

impl StateStorage for MemoryStorage {
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.records.get(key).cloned())
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.nodes.get(key).cloned())
    }

    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError> {
        Ok(self.finalised.contains(id))
    }
}

impl HistoryStorage for MemoryStorage {
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError> {
        Ok(self.history.get(&index).copied())
    }
}

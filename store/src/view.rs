//! A view: the chain at one moment.

use crate::column::{Column, numeric};
use crate::commit::PAGE_HASHES;
use crate::database::{Database, Row};
use crate::error::StoreError;
use crate::hot::Hot;
use crate::meta;
use crate::store::hash_in;
use ledger::execution::Tip;
use ledger::history::HistoryStorage;
use ledger::id::{Digest, TransactionId};
use ledger::state::StateKey;
use ledger::state::storage::{StateStorage, StorageError};
use rocksdb::{DBPinnableSlice, Direction, Snapshot};

/// The chain at one moment: all its answers belong to the same tip, whatever is committed meanwhile. Made
/// by [`crate::Store::view`]; state, history and proofs through the ledger's traits, lists through the
/// methods here.
pub struct View<'a> {
    database: &'a Database,
    snapshot: Snapshot<'a>,
    /// A node never changes under its key, so the newest ones serve older moments as well. A check reads
    /// past them.
    nodes: Option<&'a Hot>,
}

impl<'a> View<'a> {
    pub(crate) fn new(database: &'a Database, nodes: Option<&'a Hot>) -> Self {
        Self { database, snapshot: database.snapshot(), nodes }
    }

    /// The end of the chain that all other answers belong to.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn tip(&self) -> Result<Tip, StoreError> {
        let row = self.get(Column::Meta, meta::TIP_KEY)?;
        let row = row.ok_or_else(|| StoreError::row(Column::Meta, meta::TIP_KEY, None, "the row is missing"))?;
        meta::parse_tip(&row)
    }

    /// The height from which on blocks are there whole: 1, unless the chain began with a snapshot or was
    /// pruned. Of older blocks all transactions but receipts are there.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn floor(&self) -> Result<u64, StoreError> {
        meta::parse_floor(self.get(Column::Meta, meta::FLOOR_KEY)?.as_deref())
    }

    pub(crate) fn get(&self, column: Column, key: &[u8]) -> Result<Option<DBPinnableSlice<'a>>, StoreError> {
        self.database.get_at(&self.snapshot, column, key)
    }

    pub(crate) fn scan(
        &self,
        column: Column,
        from: &[u8],
        direction: Direction,
    ) -> impl Iterator<Item = Result<Row, StoreError>> + use<'a> {
        self.database.scan_at(&self.snapshot, column, from, direction)
    }
}

impl StateStorage for View<'_> {
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.get(Column::Records, &key.0)?.map(|row| row.to_vec()))
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        if let Some(Ok(node)) = self.nodes.map(|nodes| nodes.get(key)) {
            return Ok(Some(node));
        }
        Ok(self.get(Column::Nodes, key)?.map(|row| row.to_vec()))
    }

    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError> {
        Ok(self.get(Column::TransactionIds, id.as_bytes())?.is_some())
    }
}

impl HistoryStorage for View<'_> {
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError> {
        let page = self.get(Column::History, &numeric(index / PAGE_HASHES))?;
        Ok(page.and_then(|page| hash_in(&page, index)))
    }
}

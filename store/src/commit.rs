//! One block, one batch: everything a block writes, in all columns, or nothing.

use crate::column::{Column, numeric, place};
use crate::database::Database;
use crate::error::StoreError;
use crate::{index, meta};
use ledger::block::Header;
use ledger::certificate::Certificate;
use ledger::encoding::{decode, encode};
use ledger::execution::{ExecutedBlock, Tip};
use ledger::genesis::GenesisBlock;
use ledger::history::{self, HistoryUpdate};
use ledger::state::tree::{TreeHead, TreeUpdate};
use ledger::state::{Record, RecordKey};
use rocksdb::WriteBatch;

/// Stored hashes of the history in one page.
pub(crate) const PAGE_HASHES: u64 = 256;
/// Bytes of one stored hash.
pub(crate) const HASH_BYTES: usize = 32;

/// A batch that knows the columns.
pub(crate) struct Batch<'a> {
    database: &'a Database,
    rows: WriteBatch,
    /// The block it is for.
    height: u64,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(database: &'a Database, height: u64) -> Self {
        Self { database, rows: WriteBatch::default(), height }
    }

    pub(crate) fn put(&mut self, column: Column, key: &[u8], value: &[u8]) {
        self.rows.put_cf(self.database.column(column), key, value);
        self.note(column, key);
    }

    pub(crate) fn delete(&mut self, column: Column, key: &[u8]) {
        self.rows.delete_cf(self.database.column(column), key);
        self.note(column, key);
    }

    /// A check wants to know which block a row is from.
    fn note(&mut self, column: Column, key: &[u8]) {
        if self.database.is_scratch() {
            let height = numeric(self.height);
            self.rows.put_cf(self.database.column(Column::Written), column.tagged(key), height);
        }
    }

    pub(crate) fn header(&mut self, header: &Header) {
        self.put(Column::Headers, &numeric(header.height), &encode(header));
    }

    pub(crate) fn state(&mut self, update: &TreeUpdate) {
        // In key order, as everything else comes: each is put in beside the one before.
        let mut records: Vec<_> = update.records.iter().collect();
        records.sort_unstable_by_key(|(key, _)| key);
        for (key, record) in records {
            self.put(Column::Records, &key.0, record);
        }
        for (key, node) in &update.nodes {
            self.put(Column::Nodes, key, node);
        }
        for key in &update.stale {
            self.delete(Column::Nodes, key);
        }
    }

    /// Fills the newest page up and begins new ones.
    pub(crate) fn history(&mut self, update: &HistoryUpdate) -> Result<(), StoreError> {
        let mut hashes = update.hashes.as_slice();
        let (mut number, begun) = (update.first_index / PAGE_HASHES, update.first_index % PAGE_HASHES);
        let mut page = if hashes.is_empty() { Vec::new() } else { self.begun_page(number, begun)? };
        while !hashes.is_empty() {
            let room = PAGE_HASHES as usize - page.len() / HASH_BYTES;
            let (fitting, rest) = hashes.split_at(room.min(hashes.len()));
            page.extend(fitting.iter().flat_map(|hash| hash.0));
            self.put(Column::History, &numeric(number), &page);
            page.clear();
            hashes = rest;
            number += 1;
        }
        Ok(())
    }

    /// The page that has its first `hashes` already.
    fn begun_page(&self, number: u64, hashes: u64) -> Result<Vec<u8>, StoreError> {
        if hashes == 0 {
            return Ok(Vec::new());
        }
        let key = numeric(number);
        let page = self.database.get(Column::History, &key)?.map(|page| page.to_vec()).unwrap_or_default();
        let expected = hashes as usize * HASH_BYTES;
        if page.len() != expected {
            let detail = format!("page has {} bytes, must have {expected}", page.len());
            return Err(StoreError::row(Column::History, &key, None, detail));
        }
        Ok(page)
    }

    /// What proofs lead through when the validators change: the set after an epoch header.
    fn epoch(&mut self, executed: &ExecutedBlock) -> Result<(), StoreError> {
        let header = &executed.block.header;
        if header.validators_hash == header.next_validators_hash {
            return Ok(());
        }
        let key = RecordKey::Validators.state_key();
        let broken = |detail: &str| StoreError::row(Column::Records, &key.0, Some(header.height), detail);
        // The sets move on with every block, so one in which they differ has written them.
        let written = executed.state.records.iter().find(|(written, _)| *written == key);
        let (_, record) = written.ok_or_else(|| broken("an epoch header and no new sets"))?;
        let Ok(Record::Validators(upcoming)) = decode(record) else { return Err(broken("not validator sets")) };
        self.put(Column::Epochs, &numeric(header.height), &encode(&upcoming.next));
        Ok(())
    }

    pub(crate) fn tip(&mut self, tip: &Tip) {
        self.put(Column::Meta, meta::TIP_KEY, &meta::tip_value(tip));
    }

    pub(crate) fn into_rows(self) -> WriteBatch {
        self.rows
    }
}

/// The tip of a chain that has only its genesis.
pub(crate) fn genesis_tip(genesis: &GenesisBlock) -> Tip {
    Tip {
        header: genesis.header.clone(),
        tree: TreeHead { version: genesis.state.version, root: genesis.state.root },
        history_root: history::empty_root(),
    }
}

/// What a new store begins with.
pub(crate) fn genesis_batch<'a>(database: &'a Database, genesis: &GenesisBlock) -> Batch<'a> {
    let mut batch = Batch::new(database, 0);
    batch.put(Column::Meta, meta::SCHEMA_KEY, &numeric(meta::SCHEMA));
    batch.put(Column::Meta, meta::CHAIN_ID_KEY, genesis.chain_id.as_bytes());
    batch.put(Column::Meta, meta::GENESIS_KEY, &genesis.genesis.bytes());
    batch.header(&genesis.header);
    batch.state(&genesis.state);
    batch.tip(&genesis_tip(genesis));
    batch
}

/// What a block adds.
pub(crate) fn block_batch(
    database: &Database,
    executed: &ExecutedBlock,
    certificate: &Certificate,
) -> Result<WriteBatch, StoreError> {
    let header = &executed.block.header;
    let (height, first) = (header.height, header.history_size);
    let mut batch = Batch::new(database, height);
    batch.header(header);
    batch.put(Column::Certificates, &numeric(height), &encode(certificate));
    if !executed.transactions.is_empty() {
        batch.put(Column::Spans, &numeric(first), &numeric(height));
    }
    let mut ids = Vec::new();
    for (index, transaction) in (first..).zip(&executed.transactions) {
        batch.put(Column::Transactions, &numeric(index), transaction.bytes());
        ids.push((transaction.id(), index));
    }
    ids.sort_unstable();
    for (id, index) in ids {
        batch.put(Column::TransactionIds, id.as_bytes(), &place(height, index));
    }
    index::write(database, &mut batch, first, &executed.transactions)?;
    batch.epoch(executed)?;
    batch.state(&executed.state);
    batch.history(&executed.history)?;
    batch.tip(&executed.tip());
    Ok(batch.into_rows())
}

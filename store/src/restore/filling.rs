//! A database being filled with what has passed.

use super::RestoreError;
use crate::column::{Column, numeric, place};
use crate::commit::{Batch, genesis_batch};
use crate::database::Database;
use crate::error::StoreError;
use crate::index::Counts;
use crate::store::hash_in;
use crate::{index, meta};
use ledger::block::Header;
use ledger::certificate::Certificate;
use ledger::encoding::{decode, encode};
use ledger::execution::Tip;
use ledger::genesis::GenesisBlock;
use ledger::history::{self, HistoryStorage};
use ledger::id::{Digest, PatchId, TransactionId, context, derive};
use ledger::proof::EpochLink;
use ledger::snapshot::{OUTCOMES, SnapshotError, StateRow};
use ledger::state::storage::{StateStorage, StorageError};
use ledger::state::tree::{self, TreeHead};
use ledger::state::{Record, RecordKey, StateKey};
use ledger::transaction::{Payload, SignedTransaction};

/// The genesis without its state: that of the snapshot takes its place.
pub(super) fn genesis_rows<'a>(database: &'a Database, genesis: &GenesisBlock) -> Batch<'a> {
    let mut bare = genesis.clone();
    (bare.state.records, bare.state.nodes) = (Vec::new(), Vec::new());
    genesis_batch(database, &bare)
}

/// A database being filled.
pub(super) struct Filling<'a> {
    pub(super) database: &'a Database,
}

impl Filling<'_> {
    fn batch(&self, height: u64) -> Batch<'_> {
        Batch::new(self.database, height)
    }

    pub(super) fn write(&self, batch: Batch<'_>) -> Result<(), StoreError> {
        self.database.write(batch.into_rows())
    }

    pub(super) fn before(&self, before: &Header) -> Result<(), StoreError> {
        let mut batch = self.batch(before.height);
        batch.header(before);
        self.write(batch)
    }

    pub(super) fn epoch(&self, link: &EpochLink) -> Result<(), StoreError> {
        let height = link.header.height;
        let mut batch = self.batch(height);
        batch.header(&link.header);
        batch.put(Column::Certificates, &numeric(height), &encode(&link.certificate));
        batch.put(Column::Epochs, &numeric(height), &encode(&link.validators));
        self.write(batch)
    }

    pub(super) fn leaves(&self, size: u64, hashes: Vec<Digest>) -> Result<(), RestoreError> {
        self.leaves_after(size, hashes).map(|_| ())
    }

    /// Adds leaves to a history of so many; gives its root.
    pub(super) fn leaves_after(&self, size: u64, hashes: Vec<Digest>) -> Result<Digest, RestoreError> {
        let update = history::append_hashed(self, size, hashes)?;
        let mut batch = self.batch(0);
        batch.history(&update)?;
        self.write(batch)?;
        Ok(update.root)
    }

    /// A header with transactions of its block, and the rows people ask by. Counts come by themselves.
    pub(super) fn block(
        &self,
        header: &Header,
        certificate: &Certificate,
        transactions: Vec<(u64, SignedTransaction)>,
    ) -> Result<(), StoreError> {
        let height = header.height;
        let mut batch = self.batch(height);
        batch.header(header);
        batch.put(Column::Certificates, &numeric(height), &encode(certificate));
        if !transactions.is_empty() {
            batch.put(Column::Spans, &numeric(header.history_size), &numeric(height));
        }
        for (index, signed) in transactions {
            let id = TransactionId(derive(&context::TRANSACTION_ID, &encode(&signed.transaction)));
            batch.put(Column::Transactions, &numeric(index), &encode(&signed));
            batch.put(Column::TransactionIds, id.as_bytes(), &place(height, index));
            index::list(&mut batch, index, id, &signed.transaction);
        }
        self.write(batch)
    }

    pub(super) fn records(
        &self,
        tree: Option<TreeHead>,
        rows: Vec<StateRow>,
    ) -> Result<Option<TreeHead>, RestoreError> {
        if rows.is_empty() {
            return Ok(tree);
        }
        let records = rows.into_iter().map(|(key, record)| (key, record.to_vec())).collect();
        let update = tree::update(self, tree, records)?;
        let mut batch = self.batch(0);
        batch.state(&update);
        self.write(batch)?;
        Ok(Some(TreeHead { version: update.version, root: update.root }))
    }

    pub(super) fn outcomes(&self, rows: &[(PatchId, [u64; OUTCOMES])]) -> Result<(), StoreError> {
        let mut batch = self.batch(0);
        for (patch, counts) in rows {
            batch.put(Column::Outcomes, patch.as_bytes(), &Counts(*counts).value());
        }
        self.write(batch)
    }

    /// Records that speak of a transaction people and proofs ask for: it must be there, and be that one.
    pub(super) fn has_what_its_records_speak_of(&self) -> Result<(), RestoreError> {
        for row in self.database.scan_all(Column::Records) {
            let (key, record) = row?;
            let broken = |detail: String| StoreError::row(Column::Records, &key, None, detail);
            match decode::<Record>(&record).map_err(|error| broken(error.to_string()))? {
                Record::Patch(patch) => {
                    let named = |payload: &Payload| match payload {
                        Payload::Publish { manifest } => Some(RecordKey::Patch(manifest.id())),
                        _ => None,
                    };
                    self.require(&key, patch.published.index, named)?;
                    for verdict in patch.verdicts.iter() {
                        self.transaction(verdict.position.index)?;
                    }
                }
                Record::Endpoint(endpoint) => {
                    let named = |payload: &Payload| match payload {
                        Payload::Enroll { endpoint, .. } => Some(RecordKey::Endpoint(*endpoint)),
                        _ => None,
                    };
                    self.require(&key, endpoint.enrolled.index, named)?;
                }
                Record::Proposal(proposal) => {
                    self.transaction(proposal.proposed.index)?;
                }
                Record::Conviction(conviction) => {
                    for offence in conviction.offences.iter() {
                        self.transaction(offence.position.index)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn require(
        &self,
        key: &[u8],
        index: u64,
        named: impl Fn(&Payload) -> Option<RecordKey>,
    ) -> Result<(), RestoreError> {
        let signed = self.transaction(index)?;
        match named(&signed.transaction.payload) {
            Some(name) if name.state_key().0 == *key => Ok(()),
            _ => Err(SnapshotError::LeftOut { index }.into()),
        }
    }

    fn transaction(&self, index: u64) -> Result<SignedTransaction, RestoreError> {
        let row = self.database.get(Column::Transactions, &numeric(index))?;
        let row = row.ok_or(SnapshotError::LeftOut { index })?;
        decode(&row).map_err(|_| SnapshotError::Transaction { index }.into())
    }

    pub(super) fn end(&self, tip: &Tip, first_whole: u64) -> Result<(), StoreError> {
        let mut batch = self.batch(tip.header.height);
        batch.tip(tip);
        let header = &tip.header;
        if header.validators_hash != header.next_validators_hash {
            let key = RecordKey::Validators.state_key();
            let broken = || StoreError::row(Column::Records, &key.0, Some(header.height), "not validator sets");
            let record = self.database.get(Column::Records, &key.0)?.ok_or_else(broken)?;
            let Ok(Record::Validators(upcoming)) = decode(&record) else { return Err(broken()) };
            batch.put(Column::Epochs, &numeric(header.height), &encode(&upcoming.next));
        }
        batch.put(Column::Meta, meta::FLOOR_KEY, &numeric(first_whole));
        self.write(batch)
    }
}

impl StateStorage for Filling<'_> {
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.database.get(Column::Records, &key.0)?.map(|row| row.to_vec()))
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.database.get(Column::Nodes, key)?.map(|row| row.to_vec()))
    }

    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError> {
        Ok(self.database.get(Column::TransactionIds, id.as_bytes())?.is_some())
    }
}

impl HistoryStorage for Filling<'_> {
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError> {
        let page = self.database.get(Column::History, &numeric(index / crate::commit::PAGE_HASHES))?;
        Ok(page.and_then(|page| hash_in(&page, index)))
    }
}

//! A store that begins with a snapshot: examined part by part, and there as a whole or not at all.

use crate::column::{Column, numeric, place};
use crate::commit::{Batch, genesis_batch};
use crate::database::{Database, Purpose};
use crate::error::StoreError;
use crate::index::Counts;
use crate::lock::{Lock, file_error};
use crate::store::{Store, clear, draft_of, hash_in, is_free};
use crate::{index, meta};
use ledger::block::Header;
use ledger::certificate::Certificate;
use ledger::encoding::{DecodeError, decode, encode};
use ledger::execution::Tip;
use ledger::genesis::GenesisBlock;
use ledger::history::{self, HistoryStorage};
use ledger::id::{Digest, TransactionId, context, derive};
use ledger::limits;
use ledger::snapshot::{Examination, SnapshotError, SnapshotPart, StateRow};
use ledger::state::storage::{StateStorage, StorageError};
use ledger::state::tree::{self, TreeHead};
use ledger::state::{Record, RecordKey, StateKey};
use ledger::transaction::{Payload, SignedTransaction};
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// Why there is no store made from a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The snapshot is not believed.
    #[error("the snapshot is not believed: {0}")]
    Snapshot(#[from] SnapshotError),
    /// Not bytes of a part.
    #[error("part {number} of the snapshot is none")]
    Part {
        /// Counted from 0.
        number: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// It cannot be read.
    #[error("the snapshot cannot be read to its end")]
    Read(#[source] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StorageError> for RestoreError {
    fn from(error: StorageError) -> Self {
        SnapshotError::from(error).into()
    }
}

/// What a restored store begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Height of the snapshot.
    pub height: u64,
    /// Height from which on all blocks are there whole.
    pub first_whole: u64,
    /// Transactions ever finalised before.
    pub history_size: u64,
}

impl Store {
    /// Makes a store from a snapshot (`docs/protocol.md`, section 13). It is put together beside `path` and
    /// moved there when all of it has passed.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing is at `path` then.
    pub fn restore(path: impl AsRef<Path>, genesis: &GenesisBlock, from: impl Read) -> Result<Restored, RestoreError> {
        let path = path.as_ref();
        if !is_free(path)? {
            return Err(StoreError::AlreadyExists { path: path.to_owned() }.into());
        }
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let draft = draft_of(path);
        fs::create_dir_all(&draft).map_err(|source| file_error(&draft, source))?;
        let _lock = Lock::take(&draft)?;
        clear(&draft)?;
        let restored = restore_into(&Database::create(&draft, Purpose::Keep)?, genesis, parts(from))?;
        fs::rename(&draft, path).map_err(|source| file_error(path, source))?;
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| file_error(parent, source))?;
        Ok(restored)
    }
}

/// The parts of a stream, each bounded before it is read.
pub(crate) fn parts(mut from: impl Read) -> impl Iterator<Item = Result<SnapshotPart, RestoreError>> {
    let (mut number, mut over) = (0, false);
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let part = read_part(&mut from, number);
        number += 1;
        over = !matches!(part, Ok(ref part) if *part != SnapshotPart::End);
        Some(part)
    })
}

fn read_part(from: &mut impl Read, number: u64) -> Result<SnapshotPart, RestoreError> {
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(RestoreError::Read)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > limits::FRAME_BYTES_MAX {
        let (name, limit) = ("part of a snapshot", limits::FRAME_BYTES_MAX);
        return Err(RestoreError::Part { number, source: DecodeError::TooLarge { name, actual: length, limit } });
    }
    // Memory for what has come, not for what is claimed.
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes).map_err(RestoreError::Read)?;
    if bytes.len() < length {
        return Err(RestoreError::Read(io::ErrorKind::UnexpectedEof.into()));
    }
    decode(&bytes).map_err(|source| RestoreError::Part { number, source })
}

/// Examines parts and writes them into an empty database.
pub(crate) fn restore_into(
    database: &Database,
    genesis: &GenesisBlock,
    parts: impl Iterator<Item = Result<SnapshotPart, RestoreError>>,
) -> Result<Restored, RestoreError> {
    let draft = Draft { database };
    let (mut examination, mut tree) = (Examination::new(genesis), None);
    let mut history_root = history::empty_root();
    draft.write(genesis_rows(database, genesis))?;
    for part in parts {
        let part = part?;
        let leaves = examination.leaves();
        examination.take(&draft, &part)?;
        match part {
            SnapshotPart::Epoch(link) => draft.epoch(&link)?,
            SnapshotPart::Leaves(hashes) => draft.leaves(leaves, hashes.into_vec())?,
            SnapshotPart::Kept { header, certificate, transactions } => {
                draft.block(&header, &certificate, transactions.into_vec())?;
            }
            SnapshotPart::Whole { block, certificate } => {
                let first = block.header.history_size;
                let last = examination.header() == Some(&block.header);
                let transactions: Vec<_> = (first..).zip(block.transactions.into_vec()).collect();
                if last {
                    let hashes = transactions.iter().map(|(_, signed)| history::leaf_hash(&encode(signed)));
                    history_root = draft.leaves_after(first, hashes.collect())?;
                }
                draft.block(&block.header, &certificate, transactions)?;
            }
            SnapshotPart::Records(rows) => tree = draft.records(tree, rows.into_vec())?,
            SnapshotPart::Outcomes(rows) => draft.outcomes(&rows)?,
            SnapshotPart::Begin { before, .. } => draft.before(&before)?,
            SnapshotPart::End => {}
        }
    }
    let tree = tree.unwrap_or(TreeHead { version: 0, root: Digest([0; 32]) });
    examination.finish(tree.root)?;
    draft.has_what_its_records_speak_of()?;
    let header = examination.header().cloned().unwrap_or_else(|| genesis.header.clone());
    let restored = Restored {
        height: header.height,
        first_whole: examination.first_whole(),
        history_size: header.history_size_after(),
    };
    draft.end(&Tip { header, tree, history_root }, restored.first_whole)?;
    Ok(restored)
}

/// The genesis without its state: that of the snapshot takes its place.
fn genesis_rows<'a>(database: &'a Database, genesis: &GenesisBlock) -> Batch<'a> {
    let mut bare = genesis.clone();
    (bare.state.records, bare.state.nodes) = (Vec::new(), Vec::new());
    genesis_batch(database, &bare)
}

/// A database being filled.
struct Draft<'a> {
    database: &'a Database,
}

impl Draft<'_> {
    fn batch(&self, height: u64) -> Batch<'_> {
        Batch::new(self.database, height)
    }

    fn write(&self, batch: Batch<'_>) -> Result<(), StoreError> {
        self.database.write(batch.into_rows())
    }

    fn before(&self, before: &Header) -> Result<(), StoreError> {
        let mut batch = self.batch(before.height);
        batch.header(before);
        self.write(batch)
    }

    fn epoch(&self, link: &ledger::proof::EpochLink) -> Result<(), StoreError> {
        let height = link.header.height;
        let mut batch = self.batch(height);
        batch.header(&link.header);
        batch.put(Column::Certificates, &numeric(height), &encode(&link.certificate));
        batch.put(Column::Epochs, &numeric(height), &encode(&link.validators));
        self.write(batch)
    }

    fn leaves(&self, size: u64, hashes: Vec<Digest>) -> Result<(), RestoreError> {
        self.leaves_after(size, hashes).map(|_| ())
    }

    /// Adds leaves to a history of so many; gives its root.
    fn leaves_after(&self, size: u64, hashes: Vec<Digest>) -> Result<Digest, RestoreError> {
        let update = history::append_hashed(self, size, hashes)?;
        let mut batch = self.batch(0);
        batch.history(&update)?;
        self.write(batch)?;
        Ok(update.root)
    }

    /// A header with transactions of its block, and the rows people ask by. Counts come by themselves.
    fn block(
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

    fn records(&self, tree: Option<TreeHead>, rows: Vec<StateRow>) -> Result<Option<TreeHead>, RestoreError> {
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

    fn outcomes(&self, rows: &[(ledger::id::PatchId, [u64; ledger::snapshot::OUTCOMES])]) -> Result<(), StoreError> {
        let mut batch = self.batch(0);
        for (patch, counts) in rows {
            batch.put(Column::Outcomes, patch.as_bytes(), &Counts(*counts).value());
        }
        self.write(batch)
    }

    /// Records that speak of a transaction people and proofs ask for: it must be there, and be that one.
    fn has_what_its_records_speak_of(&self) -> Result<(), RestoreError> {
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

    fn end(&self, tip: &Tip, first_whole: u64) -> Result<(), StoreError> {
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

impl StateStorage for Draft<'_> {
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

impl HistoryStorage for Draft<'_> {
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError> {
        let page = self.database.get(Column::History, &numeric(index / crate::commit::PAGE_HASHES))?;
        Ok(page.and_then(|page| hash_in(&page, index)))
    }
}

//! A store that begins with a snapshot: examined part by part, and there as a whole or not at all.

mod filling;

use crate::database::{Database, Purpose};
use crate::draft::{Draft, is_free};
use crate::error::StoreError;
use crate::store::Store;
use filling::{Filling, genesis_rows};
use ledger::encoding::{DecodeError, encode};
use ledger::execution::Tip;
use ledger::frame::{self, FrameError};
use ledger::genesis::GenesisBlock;
use ledger::history;
use ledger::id::Digest;
use ledger::snapshot::{Examination, SnapshotError, SnapshotPart, Survey};
use ledger::state::storage::StorageError;
use ledger::state::tree::TreeHead;
use std::io::{self, Read, Seek};
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
    /// moved there when all of it has passed. It is read twice: what its header does not prove is refused
    /// before any of it is written.
    ///
    /// # Errors
    /// [`RestoreError`]; nothing is at `path` or beside it then.
    pub fn restore(
        path: impl AsRef<Path>,
        genesis: &GenesisBlock,
        mut from: impl Read + Seek,
    ) -> Result<Restored, RestoreError> {
        let path = path.as_ref();
        if !is_free(path)? {
            return Err(StoreError::AlreadyExists { path: path.to_owned() }.into());
        }
        survey(genesis, parts(&mut from))?;
        from.rewind().map_err(RestoreError::Read)?;
        Draft::begin(path)?
            .complete(|draft| restore_into(&Database::create(draft, Purpose::Keep)?, genesis, parts(from)))
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
    frame::read(from).map_err(|error| match error {
        FrameError::Read(source) => RestoreError::Read(source),
        FrameError::Value(source) => RestoreError::Part { number, source },
    })
}

/// Looks all parts through once, and writes nothing.
fn survey(
    genesis: &GenesisBlock,
    parts: impl Iterator<Item = Result<SnapshotPart, RestoreError>>,
) -> Result<(), RestoreError> {
    let mut survey = Survey::new(genesis);
    for part in parts {
        survey.take(&part?)?;
    }
    Ok(survey.finish()?)
}

/// Examines parts and writes them into an empty database.
pub(crate) fn restore_into(
    database: &Database,
    genesis: &GenesisBlock,
    parts: impl Iterator<Item = Result<SnapshotPart, RestoreError>>,
) -> Result<Restored, RestoreError> {
    let filling = Filling { database };
    let (mut examination, mut tree) = (Examination::new(genesis), None);
    let mut history_root = history::empty_root();
    filling.write(genesis_rows(database, genesis))?;
    for part in parts {
        let part = part?;
        let leaves = examination.leaves();
        examination.take(&filling, &part)?;
        match part {
            SnapshotPart::Epoch(link) => filling.epoch(&link)?,
            SnapshotPart::Leaves(hashes) => filling.leaves(leaves, hashes.into_vec())?,
            SnapshotPart::Kept { header, certificate, transactions } => {
                filling.block(&header, &certificate, transactions.into_vec())?;
            }
            SnapshotPart::Whole { block, certificate } => {
                let first = block.header.history_size;
                let last = examination.header() == Some(&block.header);
                let transactions: Vec<_> = (first..).zip(block.transactions.into_vec()).collect();
                if last {
                    let hashes = transactions.iter().map(|(_, signed)| history::leaf_hash(&encode(signed)));
                    history_root = filling.leaves_after(first, hashes.collect())?;
                }
                filling.block(&block.header, &certificate, transactions)?;
            }
            SnapshotPart::Records(rows) => tree = filling.records(tree, rows.into_vec())?,
            SnapshotPart::Outcomes(rows) => filling.outcomes(&rows)?,
            SnapshotPart::Begin { before, .. } => filling.before(&before)?,
            SnapshotPart::End => {}
        }
    }
    let tree = tree.unwrap_or(TreeHead { version: 0, root: Digest([0; 32]) });
    // First whatever can be named: which transaction is left out, and only then that one is.
    filling.has_what_its_records_speak_of()?;
    examination.finish(tree.root)?;
    let header = examination.header().cloned().unwrap_or_else(|| genesis.header.clone());
    let restored = Restored {
        height: header.height,
        first_whole: examination.first_whole(),
        history_size: header.history_size_after(),
    };
    filling.end(&Tip { header, tree, history_root }, restored.first_whole)?;
    Ok(restored)
}

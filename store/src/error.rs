//! What goes wrong between the chain and the disk.

use crate::column::Column;
use ledger::id::BlockHash;
use ledger::state::storage::StorageError;
use std::path::PathBuf;

/// Why the store did not do what it was asked. `Display` says what happened; [`StoreError::hint`] what a
/// person can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is something where a store was to be made.
    #[error("{} exists already and is not empty", path.display())]
    AlreadyExists {
        /// Where.
        path: PathBuf,
    },
    /// There is no store where one was to be opened.
    #[error("{} is not a store: {detail}", path.display())]
    NotAStore {
        /// Where.
        path: PathBuf,
        /// What is missing.
        detail: &'static str,
    },
    /// Somebody else has the store open.
    #[error("store {} is in use by another process", path.display())]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// The directory cannot be written to.
    #[error("{} cannot be written to: {detail}", path.display())]
    ReadOnly {
        /// Where.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// No room.
    #[error("no room on the disk for {}: {detail}", path.display())]
    DiskFull {
        /// The store.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// Written by another version of this program.
    #[error("store has schema {found}, this program reads schema {expected}")]
    Schema {
        /// Schema on disk.
        found: u64,
        /// Schema of this program.
        expected: u64,
    },
    /// What is on disk is not what was written.
    #[error("corruption: {0}")]
    Corrupt(Box<Corruption>),
    /// The block is not the next one on the tip.
    #[error("block {height} on parent {parent} is not the next on block {tip_height} ({tip})")]
    NotNext {
        /// Height of the block.
        height: u64,
        /// Its parent.
        parent: BlockHash,
        /// Height of the tip.
        tip_height: u64,
        /// Hash of the tip.
        tip: BlockHash,
    },
    /// The certificate is another block's.
    #[error(
        "certificate for block {certified} at height {certified_height} given with block {block} at height {height}"
    )]
    OtherCertificate {
        /// Height of the block.
        height: u64,
        /// Hash of the block.
        block: BlockHash,
        /// Height in the certificate.
        certified_height: u64,
        /// Hash in the certificate.
        certified: BlockHash,
    },
    /// There is no block but the genesis.
    #[error("nothing is final yet but the genesis")]
    NothingFinal,
    /// A commit failed earlier: what of it reached the disk is known only after opening again.
    #[error("an earlier commit failed; the store takes no more blocks until it is opened again")]
    Stopped,
    /// A file operation failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The database failed in another way.
    #[error("database: {detail}")]
    Database {
        /// Its words.
        detail: String,
    },
    /// A record, a node or a hash could not be read.
    #[error(transparent)]
    Unreadable(#[from] StorageError),
}

/// What is on disk is not what was written: where, as far as it can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The column family.
    pub column: Option<&'static str>,
    /// The key in it, in words.
    pub key: Option<String>,
    /// The height of the block concerned.
    pub height: Option<u64>,
    /// The file.
    pub file: Option<String>,
    /// What is wrong.
    pub detail: String,
}

impl std::fmt::Display for Corruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "file {file}: ")?;
        }
        if let Some(column) = self.column {
            write!(f, "column {column}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        if let Some(height) = self.height {
            write!(f, "block {height}: ")?;
        }
        f.write_str(&self.detail)
    }
}

impl StoreError {
    /// A row that is not what it must be.
    pub(crate) fn row(column: Column, key: &[u8], height: Option<u64>, detail: impl Into<String>) -> Self {
        Self::Corrupt(Box::new(Corruption {
            column: Some(column.name()),
            key: Some(column.describe(key)),
            height: height.or_else(|| column.height_of(key)),
            file: None,
            detail: detail.into(),
        }))
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::AlreadyExists { .. } => "open it instead, or choose an empty directory",
            Self::NotAStore { .. } => "check the path; a new store is made from a genesis file",
            Self::Locked { .. } => "stop the other process; one store has one owner",
            Self::ReadOnly { .. } => "check the directory's owner, its mode and the mount",
            Self::DiskFull { .. } => "make room, then start again: no acknowledged block is lost",
            Self::Schema { .. } => "use the program version that wrote the store, or sync a new store from peers",
            Self::Corrupt(_) => {
                "stop the node and run `countersign-node fsck` to see what is affected; move the chain directory away and \
                 start the node: it gets the chain from its peers again"
            }
            Self::Stopped => "see the first error, mend its cause and start again",
            _ => return None,
        })
    }
}

impl From<StoreError> for StorageError {
    /// For the ledger's own readers, which know places, not columns.
    fn from(error: StoreError) -> Self {
        let hint = error.hint();
        match error {
            StoreError::Unreadable(error) => error,
            StoreError::Corrupt(corruption) => {
                Self::new(corruption.column.unwrap_or("store"), corruption.to_string()).with_hint(hint)
            }
            other => Self::new("store", other.to_string()).with_hint(hint),
        }
    }
}

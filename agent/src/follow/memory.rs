//! What the agent remembers of the ledger across restarts: the highest header it ever verified. An
//! older view of the ledger is refused from then on, and the clock is never believed to be before it.

use crate::files::{self, FileError};
use ledger::certificate::FinalizedHeader;
use ledger::id::{BlockHash, ChainId};
use ledger::proof::HostClock;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Largest memory file.
const MEMORY_BYTES_MAX: usize = 4 * 1024;

/// The highest header seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Of which ledger.
    pub chain_id: ChainId,
    /// Its height.
    pub height: u64,
    /// Its time.
    pub time_ms: u64,
    /// Its hash.
    pub hash: BlockHash,
}

/// Why the memory cannot be trusted. Forgetting it quietly would let old views of the ledger in.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not what this agent wrote.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What the parser says.
        detail: String,
    },
    /// Of another ledger.
    #[error("{} remembers ledger {remembered}, the genesis file is of {trusted}", path.display())]
    OtherLedger {
        /// Where.
        path: PathBuf,
        /// The ledger remembered.
        remembered: ChainId,
        /// The ledger trusted.
        trusted: ChainId,
    },
}

/// The memory: newest in the process, and as it stands on the disk.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    newest: Seen,
    durable: Option<Seen>,
}

/// Whether what is remembered can be read, whichever ledger it is of.
///
/// # Errors
/// [`MemoryError`] when it is there and cannot.
pub fn check(path: &Path) -> Result<(), MemoryError> {
    read(path).map(drop)
}

fn read(path: &Path) -> Result<Option<Seen>, MemoryError> {
    let Some(bytes) = files::read_if_there(path, MEMORY_BYTES_MAX)? else { return Ok(None) };
    let damaged = |error: serde_json::Error| MemoryError::Damaged { path: path.to_owned(), detail: error.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

impl Memory {
    /// Reads the memory, or begins one.
    ///
    /// # Errors
    /// [`MemoryError`] when there is one and it is damaged or another ledger's.
    pub fn open(path: &Path, trusted: ChainId) -> Result<Self, MemoryError> {
        let path = path.to_owned();
        let nothing = Seen { chain_id: trusted, height: 0, time_ms: 0, hash: BlockHash::ZERO };
        let Some(seen) = read(&path)? else { return Ok(Self { path, newest: nothing, durable: None }) };
        if seen.chain_id != trusted {
            return Err(MemoryError::OtherLedger { path, remembered: seen.chain_id, trusted });
        }
        Ok(Self { path, newest: seen, durable: Some(seen) })
    }

    /// The highest header seen, durable or not.
    #[must_use]
    pub fn newest(&self) -> Seen {
        self.newest
    }

    /// What a proof is judged by now.
    #[must_use]
    pub fn clock(&self, now_ms: u64, max_age_ms: u64) -> HostClock {
        HostClock { now_ms, max_age_ms, floor_ms: self.newest.time_ms, height_seen: self.newest.height }
    }

    /// Takes note of a verified header.
    pub fn see(&mut self, header: &FinalizedHeader) {
        let (hash, header) = (header.hash(), header.header());
        if header.height > self.newest.height {
            let Seen { chain_id, .. } = self.newest;
            self.newest = Seen { chain_id, height: header.height, time_ms: header.time_ms, hash };
        }
    }

    /// Puts the newest onto the disk. Done before anything is applied: a power cut between must not
    /// let an older view in.
    ///
    /// # Errors
    /// [`FileError`]; then nothing may be applied.
    pub fn persist(&mut self) -> Result<(), FileError> {
        if self.durable != Some(self.newest) {
            let mut bytes = serde_json::to_vec(&self.newest).unwrap_or_default();
            bytes.push(b'\n');
            files::replace(&self.path, &bytes)?;
            self.durable = Some(self.newest);
        }
        Ok(())
    }
}

//! What the agent remembers of the ledger across restarts: the highest header it ever verified. An
//! older view of the ledger is refused from then on, and the clock is never believed to be before it, nor before what
//! has passed since it was heard of.

use crate::clock::Now;
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

/// A time that a quorum signed, and how long the host had run when that was heard of here: it was no earlier then, and
/// time goes on, whatever becomes of the clock that can be set.
#[derive(Clone, Copy, Debug)]
struct Heard {
    time_ms: u64,
    running_ms: u64,
}

impl Heard {
    /// What time it is by now at the least. What runs too fast by less than a thousandth, which no host's oscillator
    /// comes near, takes nobody into the future.
    fn by_now_ms(self, running_ms: u64) -> u64 {
        let since_ms = running_ms.saturating_sub(self.running_ms);
        self.time_ms.saturating_add(since_ms - since_ms / 1000)
    }
}

/// The memory: newest in the process, and as it stands on the disk.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    newest: Seen,
    durable: Option<Seen>,
    /// What says the latest time: a header that is kept back until it is old brings the time back to no one.
    heard: Heard,
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
    /// Reads the memory, or begins one, on a host that has run so long.
    ///
    /// # Errors
    /// [`MemoryError`] when there is one and it is damaged or another ledger's.
    pub fn open(path: &Path, trusted: ChainId, running_ms: u64) -> Result<Self, MemoryError> {
        let path = path.to_owned();
        let nothing = Seen { chain_id: trusted, height: 0, time_ms: 0, hash: BlockHash::ZERO };
        let heard = |seen: Seen| Heard { time_ms: seen.time_ms, running_ms };
        let Some(seen) = read(&path)? else {
            return Ok(Self { path, newest: nothing, durable: None, heard: heard(nothing) });
        };
        if seen.chain_id != trusted {
            return Err(MemoryError::OtherLedger { path, remembered: seen.chain_id, trusted });
        }
        Ok(Self { path, newest: seen, durable: Some(seen), heard: heard(seen) })
    }

    /// The highest header seen, durable or not.
    #[must_use]
    pub fn newest(&self) -> Seen {
        self.newest
    }

    /// What time it is at the least, when the host has run so long: the time of a header, and what has passed since it
    /// was heard of; 0 while none was.
    #[must_use]
    pub fn floor_ms(&self, running_ms: u64) -> u64 {
        match self.newest.height {
            0 => 0,
            _ => self.heard.by_now_ms(running_ms),
        }
    }

    /// What a proof is judged by now.
    #[must_use]
    pub fn clock(&self, Now { now_ms, running_ms }: Now, max_age_ms: u64) -> HostClock {
        let (floor_ms, height_seen) = (self.floor_ms(running_ms), self.newest.height);
        HostClock { now_ms, max_age_ms, floor_ms, height_seen }
    }

    /// Takes note of a verified header.
    pub fn see(&mut self, header: &FinalizedHeader, running_ms: u64) {
        let (hash, header) = (header.hash(), header.header());
        if header.height > self.newest.height {
            let Seen { chain_id, .. } = self.newest;
            self.newest = Seen { chain_id, height: header.height, time_ms: header.time_ms, hash };
            if header.time_ms >= self.heard.by_now_ms(running_ms) {
                self.heard = Heard { time_ms: header.time_ms, running_ms };
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 60 * 60 * 1000;
    const T: u64 = 1_700_000_000_000;

    #[test]
    fn time_goes_on_though_the_clock_is_set_back_and_nobody_says_anything() {
        let heard = Heard { time_ms: T, running_ms: 5 };
        assert_eq!(heard.by_now_ms(5), T);
        assert_eq!(heard.by_now_ms(5 + 25 * HOUR_MS), T + 25 * HOUR_MS - 25 * HOUR_MS / 1000);
        assert_eq!(heard.by_now_ms(0), T, "no host has run for less time than before");
    }

    #[test]
    fn a_memory_without_a_header_knows_no_time() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::open(&directory.path().join("memory.json"), ChainId([7; 32]), 0).unwrap();
        assert_eq!(memory.floor_ms(100 * HOUR_MS), 0);
    }

    #[test]
    fn what_was_heard_before_a_restart_is_the_floor_and_what_has_passed_since_it_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory.json");
        let seen = Seen { chain_id: ChainId([7; 32]), height: 3, time_ms: T, hash: BlockHash::ZERO };
        std::fs::write(&path, serde_json::to_vec(&seen).unwrap()).unwrap();
        let memory = Memory::open(&path, ChainId([7; 32]), 1_000).unwrap();
        // The clock says three days before: however it is set, the floor is what it is.
        let set_back = Now { now_ms: T - 72 * HOUR_MS, running_ms: 1_000 + HOUR_MS };
        let HostClock { now_ms, floor_ms, height_seen, .. } = memory.clock(set_back, 24 * HOUR_MS);
        assert_eq!((now_ms, height_seen), (set_back.now_ms, 3));
        assert_eq!(floor_ms, T + HOUR_MS - HOUR_MS / 1000);
    }
}

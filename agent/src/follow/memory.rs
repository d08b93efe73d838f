//! What the agent remembers of the ledger across restarts: the highest header it ever verified, and the newest change of
//! the validators. An older view of the ledger is refused from then on, and the clock is never believed to be before it, nor before what
//! has passed since it was heard of.

use crate::clock::Now;
use crate::files::{self, FileError};
use ledger::certificate::FinalizedHeader;
use ledger::id::{BlockHash, ChainId};
use ledger::proof::{ChangeSeen, HostClock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Largest memory file.
const MEMORY_BYTES_MAX: usize = 4 * 1024;

/// The highest header seen. What else a later program of the agent writes there is passed over: whoever goes back from that
/// one has to know how far it had seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// The newest change of the validators. In a file of its own: an earlier program of the agent, gone back to, reads the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    chain_id: ChainId,
    change: ChangeSeen,
}

/// The name of that file, beside the other.
pub(crate) const CHANGE_FILE: &str = "validators.json";

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
    /// As it stood on the disk when the agent began: the newest of what was believed before.
    before: Option<Seen>,
    /// What says the latest time: a header that is kept back until it is old brings the time back to no one.
    heard: Heard,
    change: Option<ChangeSeen>,
    change_durable: Option<ChangeSeen>,
}

/// Whether what is remembered can be read, whichever ledger it is of.
///
/// # Errors
/// [`MemoryError`] when it is there and cannot.
pub fn check(path: &Path) -> Result<(), MemoryError> {
    read::<Seen>(path).map(drop)
}

/// The same of the newest change of the validators.
///
/// # Errors
/// [`MemoryError`] when it is there and cannot.
pub(crate) fn check_change(path: &Path) -> Result<(), MemoryError> {
    read::<Change>(path).map(drop)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, MemoryError> {
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
        let change = path.with_file_name(CHANGE_FILE);
        let other_ledger =
            |path: &Path, remembered| MemoryError::OtherLedger { path: path.to_owned(), remembered, trusted };
        let change = match read::<Change>(&change)? {
            Some(seen) if seen.chain_id != trusted => return Err(other_ledger(&change, seen.chain_id)),
            seen => seen.map(|seen| seen.change),
        };
        let change_durable = change;
        let nothing = Seen { chain_id: trusted, height: 0, time_ms: 0, hash: BlockHash::ZERO };
        let heard = |seen: Seen| Heard { time_ms: seen.time_ms, running_ms };
        let Some(seen) = read::<Seen>(&path)? else {
            return Ok(Self {
                path,
                newest: nothing,
                durable: None,
                before: None,
                heard: heard(nothing),
                change,
                change_durable,
            });
        };
        if seen.chain_id != trusted {
            return Err(other_ledger(&path, seen.chain_id));
        }
        let (durable, before) = (Some(seen), Some(seen));
        Ok(Self { path, newest: seen, durable, before, heard: heard(seen), change, change_durable })
    }

    /// The highest header seen, durable or not.
    #[must_use]
    pub fn newest(&self) -> Seen {
        self.newest
    }

    /// The newest change of the validators, durable or not.
    #[must_use]
    pub fn change_seen(&self) -> Option<ChangeSeen> {
        self.change
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
        HostClock { now_ms, max_age_ms, floor_ms, height_seen, change_seen: self.change }
    }

    /// The hash of the header that was believed at the height of this one before the agent began, where that is another
    /// one.
    #[must_use]
    pub fn another_than(&self, header: &FinalizedHeader) -> Option<BlockHash> {
        let before = self.before.filter(|before| before.height == header.header().height)?;
        Some(before.hash).filter(|hash| *hash != header.hash())
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

    /// Takes note of the newest change of the validators.
    pub fn see_change(&mut self, change: Option<ChangeSeen>) {
        self.change = change;
    }

    /// Puts the newest onto the disk. Done before anything is applied: a power cut between must not
    /// let an older view in.
    ///
    /// # Errors
    /// [`FileError`]; then nothing may be applied.
    pub fn persist(&mut self) -> Result<(), FileError> {
        if let Some(change) = self.change.filter(|change| self.change_durable != Some(*change)) {
            let chain_id = self.newest.chain_id;
            write(&self.path.with_file_name(CHANGE_FILE), &Change { chain_id, change })?;
            self.change_durable = self.change;
        }
        if self.durable != Some(self.newest) {
            write(&self.path, &self.newest)?;
            self.durable = Some(self.newest);
        }
        Ok(())
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    files::replace(path, &bytes)
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
    fn what_a_later_program_adds_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory.json");
        let seen = Seen { chain_id: ChainId([7; 32]), height: 3, time_ms: T, hash: BlockHash::ZERO };
        let written = serde_json::to_string(&seen).unwrap().replacen('{', "{\"of_tomorrow\":1,", 1);
        std::fs::write(&path, written).unwrap();
        assert_eq!(Memory::open(&path, seen.chain_id, 0).unwrap().newest(), seen);
        assert!(check(&path).is_ok());
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

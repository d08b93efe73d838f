//! Since when patches are due on this host, and since when it is awake: what windows that were missed
//! and deadlines are counted from. Kept across restarts.

use crate::clock::now_ms;
use crate::files::{self, FileError};
use crate::follow::heads::Heads;
use crate::settled::chain;
use ledger::id::PatchId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Patches remembered.
const PATCHES_MAX: usize = 1024;
/// Largest file.
const WAITS_BYTES_MAX: usize = 256 * 1024;
/// How often it is noted that the host is awake.
const NOTE_MS: u64 = 60 * 1000;
/// Nothing noted for longer than this: the host slept, or the agent did not run.
const ASLEEP_AFTER_MS: u64 = 5 * 60 * 1000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    awake_since_ms: u64,
    awake_at_ms: u64,
    due_since_ms: BTreeMap<PatchId, u64>,
}

/// What was waited for, as it stands on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// Since when the host is awake.
    pub awake_since_ms: u64,
    /// Since when patches are due.
    pub due_since_ms: BTreeMap<PatchId, u64>,
}

/// Reads what was waited for, and takes note of nothing.
///
/// # Errors
/// [`FileError`].
pub fn peek(path: &Path) -> Result<Waited, FileError> {
    let Stored { awake_since_ms, due_since_ms, .. } = read(path)?;
    Ok(Waited { awake_since_ms, due_since_ms })
}

fn read(path: &Path) -> Result<Stored, FileError> {
    let bytes = files::read_if_there(path, WAITS_BYTES_MAX)?;
    let stored = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "what was waited for is not readable, begun anew");
        None
    });
    Ok(stored.unwrap_or_default())
}

/// What is waited for on this host, and since when.
#[derive(Clone, Debug)]
pub struct Waits {
    path: PathBuf,
    stored: Arc<Mutex<Stored>>,
}

impl Waits {
    /// Reads them, or begins.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read. One that makes no sense is begun anew: the worst that
    /// follows is that something waits longer.
    pub fn open(path: &Path, now_ms: u64) -> Result<Self, FileError> {
        let stored = Arc::new(Mutex::new(read(path)?));
        let waits = Self { path: path.to_owned(), stored };
        // A disk that is full keeps no agent from beginning: it may have to go back on it.
        if let Err(error) = waits.awake(now_ms) {
            tracing::warn!(error = chain(&error), "what time it is cannot be noted");
        }
        Ok(waits)
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        // Every change under the lock is whole.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that the host is awake. To be called at least every few minutes: a longer silence
    /// means that it slept.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn awake(&self, now_ms: u64) -> Result<(), FileError> {
        let mut stored = self.stored();
        let Stored { awake_since_ms, awake_at_ms, .. } = *stored;
        let slept = now_ms.saturating_sub(awake_at_ms) > ASLEEP_AFTER_MS;
        if slept || now_ms < awake_at_ms || now_ms - awake_at_ms >= NOTE_MS {
            // A clock that was set back has not been awake in the future.
            stored.awake_since_ms = if slept { now_ms } else { awake_since_ms.min(now_ms) };
            stored.awake_at_ms = now_ms;
            self.save(&stored)?;
        }
        Ok(())
    }

    /// Since when the host is awake.
    #[must_use]
    pub fn awake_since_ms(&self) -> u64 {
        self.stored().awake_since_ms
    }

    /// All of it, as it is now.
    #[must_use]
    pub fn waited(&self) -> Waited {
        let Stored { awake_since_ms, due_since_ms, .. } = self.stored().clone();
        Waited { awake_since_ms, due_since_ms }
    }

    /// Takes note that a patch could be installed here; since when it could.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn due(&self, patch: PatchId, now_ms: u64) -> Result<u64, FileError> {
        let mut stored = self.stored();
        if let Some(since_ms) = stored.due_since_ms.get(&patch) {
            return Ok(*since_ms);
        }
        stored.due_since_ms.insert(patch, now_ms);
        while stored.due_since_ms.len() > PATCHES_MAX {
            let oldest = stored.due_since_ms.iter().min_by_key(|(_, since_ms)| **since_ms);
            let Some(oldest) = oldest.map(|(patch, _)| *patch) else { break };
            stored.due_since_ms.remove(&oldest);
        }
        self.save(&stored)?;
        Ok(now_ms)
    }

    /// Since when patches are due.
    #[must_use]
    pub fn due_since_ms(&self) -> BTreeMap<PatchId, u64> {
        self.stored().due_since_ms.clone()
    }

    fn save(&self, stored: &Stored) -> Result<(), FileError> {
        files::replace(&self.path, &serde_json::to_vec(stored).unwrap_or_default())
    }
}

/// Notes, for ever, that the host is awake, and how high the ledger is: what was seen must be known
/// after a power cut, too, when this host's clock may be wrong.
pub async fn keep_notes(waits: Waits, heads: Arc<Heads>) {
    loop {
        let noted = waits.awake(heads.believed_ms(now_ms())).and_then(|()| heads.persist());
        if let Err(error) = noted {
            tracing::warn!(error = chain(&error), "what time it is cannot be noted");
        }
        tokio::time::sleep(Duration::from_millis(NOTE_MS)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: PatchId = PatchId([7; 32]);
    const MINUTE_MS: u64 = 60_000;

    #[test]
    fn a_host_is_awake_until_nothing_is_heard_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("waits.json");
        let waits = Waits::open(&path, 1_000_000).unwrap();
        for minute in 1..=20 {
            waits.awake(1_000_000 + minute * MINUTE_MS).unwrap();
        }
        assert_eq!(waits.awake_since_ms(), 1_000_000);
        // An agent that is restarted was not asleep; a host that was switched off was.
        let restarted = Waits::open(&path, 1_000_000 + 24 * MINUTE_MS).unwrap();
        assert_eq!(restarted.awake_since_ms(), 1_000_000);
        let woken = Waits::open(&path, 1_000_000 + 90 * MINUTE_MS).unwrap();
        assert_eq!(woken.awake_since_ms(), 1_000_000 + 90 * MINUTE_MS);
        // The clock is set back.
        let back = Waits::open(&path, 500_000).unwrap();
        assert_eq!(back.awake_since_ms(), 500_000);
    }

    #[test]
    fn a_patch_is_due_since_it_was_seen_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("waits.json");
        let waits = Waits::open(&path, 0).unwrap();
        assert_eq!(waits.due(PATCH, 5).unwrap(), 5);
        let again = Waits::open(&path, 9).unwrap();
        assert_eq!(again.due(PATCH, 9).unwrap(), 5);
        for patch in 0..PATCHES_MAX as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&patch.to_le_bytes());
            again.stored().due_since_ms.insert(PatchId(id), 100 + patch);
        }
        again.due(PatchId([9; 32]), 9_999).unwrap();
        assert_eq!(again.due_since_ms().len(), PATCHES_MAX);
        assert!(!again.due_since_ms().contains_key(&PATCH), "the oldest are forgotten");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(Waits::open(&path, 9).unwrap().due_since_ms().is_empty());
    }
}

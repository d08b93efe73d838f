//! What was on this host, and since when: a file for every inventory that was another one than the one before.

use super::Written;
use crate::files::{self, FileError};
use ledger::id::Digest;
use ledger::inventory::Inventory;
use ledger::limits::{INVENTORY_BYTES_MAX, INVENTORY_PACKED_BYTES_MAX};
use proto::packed;
use std::fs;
use std::path::{Path, PathBuf};

/// Inventories kept …
const HELD_MAX: usize = 64;
/// … and their bytes; the newest stays in any case.
const HELD_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// What is behind the name of one.
const SUFFIX: &str = ".packed";
/// Digits of a time in the name of one, so that names sort by time.
const TIME_DIGITS: usize = 16;

/// What was on this host, on its disk.
#[derive(Clone, Debug)]
pub struct History {
    directory: PathBuf,
}

/// One that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Since when.
    pub since_ms: u64,
    /// Which.
    pub digest: Digest,
}

impl Held {
    fn parse(name: &str) -> Option<Self> {
        let (since, digest) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        Some(Self {
            since_ms: since.parse().ok().filter(|_| since.len() == TIME_DIGITS)?,
            digest: digest.parse().ok()?,
        })
    }

    fn name(&self) -> String {
        format!("{:0TIME_DIGITS$}-{}{SUFFIX}", self.since_ms, self.digest)
    }
}

impl History {
    /// The history in a directory, which need not be there.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// All that is kept, the oldest first.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn all(&self) -> Result<Vec<Held>, FileError> {
        Ok(files::names(&self.directory)?.iter().filter_map(|name| Held::parse(name)).collect())
    }

    /// The encoded inventory of this digest, if it is kept and whole.
    #[must_use]
    pub fn bytes(&self, digest: Digest) -> Option<Vec<u8>> {
        let held = self.all().ok()?.into_iter().find(|held| held.digest == digest)?;
        let packed = files::read(&self.directory.join(held.name()), INVENTORY_PACKED_BYTES_MAX).ok()?;
        packed::unpack(&packed, &[]).ok().filter(|bytes| Digest::blake3(bytes) == digest)
    }

    /// The inventory of this digest, if it is kept and whole.
    #[must_use]
    pub fn inventory(&self, digest: Digest) -> Option<Inventory> {
        Inventory::of_bytes(&self.bytes(digest)?, digest).ok()
    }

    /// Takes note of what is on the host now; whether it is another thing than before.
    ///
    /// # Errors
    /// [`FileError`]; one that is too large to travel is too large to be kept, and nothing is kept of it.
    pub(super) fn note(&self, now: &Written, at_ms: u64) -> Result<bool, FileError> {
        debug_assert!(now.bytes.len() <= INVENTORY_BYTES_MAX, "made room for");
        let newest = self.all()?.pop();
        if newest.is_some_and(|newest| newest.digest == now.digest) {
            return Ok(false);
        }
        files::private_dir(&self.directory)?;
        let packed = packed::pack(&now.bytes, &[]);
        let packed = packed.map_err(|error| files::failed("pack", &self.directory)(std::io::Error::other(error)))?;
        // A clock that was set back does not turn history round.
        let since_ms = newest.map_or(at_ms, |newest| at_ms.max(newest.since_ms + 1));
        let held = Held { since_ms, digest: now.digest };
        files::replace(&self.directory.join(held.name()), &packed)?;
        self.forget_oldest()?;
        Ok(true)
    }

    fn forget_oldest(&self) -> Result<(), FileError> {
        let (mut count, mut bytes) = (0, 0_u64);
        for held in self.all()?.iter().rev() {
            let path = self.directory.join(held.name());
            (count, bytes) =
                (count + 1, bytes.saturating_add(fs::metadata(&path).map_or(0, |metadata| metadata.len())));
            if count > 1 && (count > HELD_MAX || bytes > HELD_BYTES_MAX) {
                files::remove(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Written {
        Written { digest: Digest::blake3(text.as_bytes()), bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn what_changed_is_kept_once_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let history = History::at(&directory.path().join("inventory"));
        assert_eq!(history.all().unwrap(), []);
        assert!(history.note(&written("one"), 5).unwrap() && !history.note(&written("one"), 6).unwrap());
        // The clock was set back.
        assert!(history.note(&written("two"), 3).unwrap() && history.note(&written("one"), 4).unwrap());
        let since: Vec<_> = history.all().unwrap().iter().map(|held| held.since_ms).collect();
        assert_eq!(since, [5, 6, 7]);
        assert_eq!(history.bytes(written("two").digest).as_deref(), Some(&b"two"[..]));
        assert_eq!(history.bytes(Digest::ZERO), None);
        for number in 0..HELD_MAX as u64 + 9 {
            history.note(&written(&number.to_string()), 100 + number).unwrap();
        }
        let all = history.all().unwrap();
        assert_eq!((all.len(), all[0].since_ms), (HELD_MAX, 109));
        // What is damaged is not shown as something else.
        fs::write(history.directory.join(all[0].name()), b"damaged").unwrap();
        assert_eq!(history.bytes(all[0].digest), None);
    }
}

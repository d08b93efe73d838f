//! What the artifacts of a node may take of its disk, altogether and for each organisation.

use super::ArtifactError;
use ledger::bounded::Name;
use ledger::id::Digest;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All artifacts: what a server's disk holds beside the chain. People who have more of it say so in the
/// configuration.
const BYTES_MAX: u64 = 1024 * 1024 * 1024 * 1024;
/// Artifacts of one organisation: a quarter of all, and sixteen of the largest there may be.
const PER_ORGANISATION_BYTES_MAX: u64 = BYTES_MAX / 4;
/// Artifacts leave one part in so many of their file system free: the chain grows on the same, and a node
/// whose chain cannot be written stops.
const DISK_PARTS_LEFT_FREE: u64 = 16;
/// … and no more than so much, however large it is: a chain takes months to grow by this, and a large disk that
/// somebody else fills is no reason to refuse a patch.
const LEFT_FREE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Bounds of the store of artifacts.
#[derive(Clone, Copy, Debug)]
pub struct ArtifactLimits {
    /// Bytes altogether.
    pub bytes_max: u64,
    /// Bytes of one organisation.
    pub per_organisation_bytes_max: u64,
    /// Bytes of the disk that are left free for the chain: a sixteenth of it, and no more than this.
    pub left_free_bytes_max: u64,
}

impl Default for ArtifactLimits {
    fn default() -> Self {
        Self {
            bytes_max: BYTES_MAX,
            per_organisation_bytes_max: PER_ORGANISATION_BYTES_MAX,
            left_free_bytes_max: LEFT_FREE_BYTES_MAX,
        }
    }
}

impl ArtifactLimits {
    /// What artifacts leave free of a disk of so many bytes.
    #[must_use]
    pub fn left_free(&self, disk_bytes: u64) -> u64 {
        (disk_bytes / DISK_PARTS_LEFT_FREE).min(self.left_free_bytes_max)
    }
}

/// What is held: stored, or promised to what is on its way.
#[derive(Default)]
struct Held {
    all: u64,
    by_organisation: BTreeMap<Name, u64>,
    /// Of these, what is on its way and may not be on the disk yet.
    on_the_way: u64,
    stored: HashSet<Digest>,
}

/// Counts what is held.
pub(super) struct Quota {
    limits: ArtifactLimits,
    held: Mutex<Held>,
}

/// Room for one artifact. It is given back when this is dropped, unless the artifact was kept.
pub(super) struct Reservation {
    quota: Arc<Quota>,
    organisation: Name,
    bytes: u64,
}

impl Quota {
    pub(super) fn new(limits: ArtifactLimits) -> Self {
        Self { limits, held: Mutex::default() }
    }

    /// Counts what was there before. What lies there without an owner's name counts for the whole only.
    pub(super) fn found(&self, blake3: Digest, bytes: u64, organisation: Option<Name>) {
        let mut held = self.held();
        if held.stored.insert(blake3) {
            held.all = held.all.saturating_add(bytes);
            if let Some(organisation) = organisation {
                let of = held.by_organisation.entry(organisation).or_default();
                *of = of.saturating_add(bytes);
            }
        }
    }

    /// Room for an artifact of an organisation, on the disk with this directory.
    pub(super) fn reserve(
        self: &Arc<Self>,
        organisation: &Name,
        bytes: u64,
        directory: &Path,
    ) -> Result<Reservation, ArtifactError> {
        let mut held = self.held();
        let of = held.by_organisation.get(organisation).copied().unwrap_or(0);
        let most = self.limits.per_organisation_bytes_max;
        if of.saturating_add(bytes) > most {
            let organisation = organisation.clone();
            return Err(ArtifactError::Quota { organisation, held: of, bytes, most });
        }
        let most = self.limits.bytes_max;
        if held.all.saturating_add(bytes) > most {
            return Err(ArtifactError::Full { held: held.all, bytes, most });
        }
        let disk = rustix::fs::statvfs(directory).map_err(std::io::Error::from)?;
        let left_free = self.limits.left_free(disk.f_blocks.saturating_mul(disk.f_frsize));
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(held.on_the_way);
        if free < bytes.saturating_add(left_free) {
            return Err(ArtifactError::DiskFull { free, bytes, left_free });
        }
        held.all += bytes;
        held.on_the_way += bytes;
        *held.by_organisation.entry(organisation.clone()).or_default() += bytes;
        Ok(Reservation { quota: self.clone(), organisation: organisation.clone(), bytes })
    }

    /// What an organisation holds.
    pub(super) fn of(&self, organisation: &Name) -> u64 {
        self.held().by_organisation.get(organisation).copied().unwrap_or(0)
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Whose room it is.
    pub(super) fn organisation(&self) -> &Name {
        &self.organisation
    }

    /// The artifact is stored: its room stays taken. Stored twice, it takes room once.
    pub(super) fn keep(mut self, blake3: Digest) {
        let quota = self.quota.clone();
        let mut held = quota.held();
        if held.stored.insert(blake3) {
            held.on_the_way -= self.bytes;
            // Nothing is left to give back.
            self.bytes = 0;
        }
        drop(held);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut held = self.quota.held();
        held.all -= self.bytes;
        held.on_the_way -= self.bytes;
        if let Some(of) = held.by_organisation.get_mut(&self.organisation) {
            *of -= self.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small disk keeps a part of itself for the chain, a large one no more than the chain could need.
    #[test]
    fn a_share_of_the_disk_is_left_free_up_to_a_ceiling() {
        const GIB: u64 = 1024 * 1024 * 1024;
        let limits = ArtifactLimits::default();
        for (disk, left) in [(0, 0), (16 * GIB, GIB), (64 * GIB, 4 * GIB), (252 * GIB, 4 * GIB), (u64::MAX, 4 * GIB)] {
            assert_eq!(limits.left_free(disk), left, "of {disk} bytes");
        }
        let limits = ArtifactLimits { left_free_bytes_max: 0, ..limits };
        assert_eq!(limits.left_free(252 * GIB), 0, "whoever keeps the chain elsewhere needs none");
    }
}

//! Proof files the agent was offered, the newest of each patch: so that the host itself can say why it
//! has a patch or not, when nobody can be asked any more.
//!
//! `proofs/PATCH.proof`. Nothing is decided by them: whoever reads one verifies it, as any other.

use crate::files::{self, FileError, failed};
use crate::proofs::{self, Offer};
use ledger::id::PatchId;
use ledger::limits;
use ledger::patch::PatchManifest;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Proofs kept of what is not installed: those that were offered last.
const PROOFS_MAX: usize = 64;
/// What follows the patch in a name.
const SUFFIX: &str = ".proof";

/// The proofs kept.
#[derive(Clone, Debug)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// In this directory, which need not be there yet.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Keeps what was offered, if it is at least of the patch that was asked for; and what was offered of these patches,
    /// however long ago.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn keep(&self, offer: &Offer, of_these: &BTreeSet<PatchId>) -> Result<(), FileError> {
        if proofs::claimed_patch(&offer.proof) != Some(offer.patch) {
            return Ok(());
        }
        files::private_dir(&self.0)?;
        files::replace(&self.path(offer.patch), &offer.proof)?;
        let mut all = self.patches()?;
        all.retain(|patch| !of_these.contains(patch));
        all.sort_by_key(|patch| std::cmp::Reverse(self.changed(*patch)));
        all.iter().skip(PROOFS_MAX).try_for_each(|patch| files::remove(&self.path(*patch)))
    }

    /// The patches of which there is one.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn patches(&self) -> Result<Vec<PatchId>, FileError> {
        let names = files::names(&self.0)?.into_iter();
        Ok(names.filter_map(|name| name.strip_suffix(SUFFIX)?.parse().ok()).collect())
    }

    /// The proof of a patch, if there is one.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn proof(&self, patch: PatchId) -> Result<Option<Vec<u8>>, FileError> {
        files::read_if_there(&self.path(patch), limits::PROOF_BYTES_MAX)
    }

    /// What a patch says of itself, from its proof. The patch's name is its digest, so it is that one, whoever wrote the file.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn manifest(&self, patch: PatchId) -> Result<Option<PatchManifest>, FileError> {
        let claimed = self.proof(patch)?.as_deref().and_then(proofs::claimed);
        Ok(claimed.filter(|manifest| manifest.id() == patch))
    }

    fn changed(&self, patch: PatchId) -> Option<SystemTime> {
        let path = self.path(patch);
        fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(failed("examine", &path)).ok()
    }

    fn path(&self, patch: PatchId) -> PathBuf {
        self.0.join(format!("{patch}{SUFFIX}"))
    }
}

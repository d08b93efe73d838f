//! The stages of an update: each is made only from the one before.

use super::install::{Held, Install, Job};
use crate::settled::Refusal;
use ledger::patch::PatchManifest;
use ledger::proof::FinalizedPatch;
use ledger::receipt::{Reason, ReasonCode};
use policy::Permit;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A patch whose bytes are on the host and verified; nothing is changed yet. Made only by
/// [`super::Installer::stage`], from a [`Permit`].
pub struct Staged {
    pub(super) permit: Permit,
    pub(super) kind: Arc<dyn Install>,
    pub(super) held: Vec<Held>,
}

impl Staged {
    /// Takes a proof that was checked after the bytes had come.
    ///
    /// # Errors
    /// [`Refusal`] when it is about another patch.
    pub fn confirm(self, again: &FinalizedPatch) -> Result<Ready, Refusal> {
        match again.id() == self.permit.patch().id() {
            true => Ok(Ready(self)),
            false => Err(Refusal::new(ReasonCode::ProofMalformed, format!("the proof is about patch {}", again.id()))),
        }
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("permit", &self.permit).field("held", &self.held).finish_non_exhaustive()
    }
}

/// What is [`Staged`], and was proven again since: a download may take hours, a recall a second.
#[derive(Debug)]
pub struct Ready(pub(super) Staged);

/// A version that is the installed one, and not judged yet. Made only by [`super::Installer::apply`],
/// from what is [`Ready`]; and again from the journal, when the host has restarted since.
pub struct Applied {
    pub(super) manifest: PatchManifest,
    pub(super) kind: Arc<dyn Install>,
    pub(super) job: Job,
    /// What already went wrong, since the host was first changed.
    pub(super) trouble: Option<Reason>,
    /// It can be judged only when the host has restarted.
    pub(super) needs_restart: bool,
}

impl Applied {
    /// Where the new version runs from.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.kind.runs_from().unwrap_or_else(|| self.job.holding())
    }

    /// What the vendor signed.
    #[must_use]
    pub fn manifest(&self) -> &PatchManifest {
        &self.manifest
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied").field("job", &self.job).field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

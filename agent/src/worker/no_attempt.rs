//! What is asked for, and is no attempt: nothing is begun, and no receipt is written.

use super::Worker;
use crate::files::FileError;
use crate::installer::installs;
use crate::proofs::{self, Offer};
use crate::recalls::Recall;
use ledger::bounded::Version;
use ledger::id::PatchId;
use ledger::proof::{HostClock, ProofBundle, ProofError};
use serde::{Deserialize, Serialize};

/// Why nothing was begun, though nothing went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NoAttempt {
    /// It is there, and its update is over.
    #[error("installed already ({}){}", terminal::escape(.version.as_str()), .recalled.as_ref().map_or_else(String::new, |recall| format!(", but it was {recall}")))]
    InstalledAlready {
        /// The patch.
        patch: PatchId,
        /// The version it brought.
        version: Version,
        /// That it was recalled since.
        recalled: Option<Recall>,
    },
    /// Its hour has not come.
    #[error("{why}; nothing was begun")]
    Waits {
        /// The patch.
        patch: PatchId,
        /// When it comes, if nothing changes.
        until_ms: Option<u64>,
        /// The same for people, and what is in the way.
        why: String,
    },
}

impl NoAttempt {
    /// The patch that was asked for.
    #[must_use]
    pub fn patch(&self) -> PatchId {
        match self {
            Self::InstalledAlready { patch, .. } | Self::Waits { patch, .. } => *patch,
        }
    }

    /// Whether the host has what was asked for, and may have it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self, Self::InstalledAlready { recalled: None, .. })
    }

    /// What to do about it; may be empty.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InstalledAlready { recalled: None, .. } => "",
            Self::InstalledAlready { .. } => "`countersign-agent status` says how to be rid of it",
            Self::Waits { .. } => {
                "`apply --now` waits for no window and no blackout; without, a running agent installs what its nodes \
                 list as approved when the hour comes"
            }
        }
    }
}

impl Worker {
    /// Whether a patch is installed, and its update over, so that there is nothing to do; a file somebody gave must
    /// not be another's or forged for that, but may be old: nothing hangs on it.
    pub(super) async fn is_there_already(
        &mut self,
        patch: PatchId,
        given: Option<&Offer>,
    ) -> Result<Option<NoAttempt>, FileError> {
        if self.site.installer.is_interrupted() {
            return Ok(None);
        }
        let all = installs::all_trees(&self.site.data().installs())?;
        let Some(there) = all.into_values().find(|tree| tree.meta.patch == Some(patch)) else { return Ok(None) };
        if given.is_some_and(|offer| !self.is_of_it(offer)) {
            return Ok(None);
        }
        let recalled = self.site.look_for_recall(patch).await;
        Ok(Some(NoAttempt::InstalledAlready { patch, version: there.meta.version, recalled }))
    }

    /// Whether a file proves the patch it was given for, be it of another day, or be the patch withdrawn since.
    fn is_of_it(&self, offer: &Offer) -> bool {
        let Ok(bundle) = ProofBundle::parse(&offer.proof) else { return false };
        let then = HostClock { max_age_ms: u64::MAX, ..HostClock::at(bundle.header.time_ms) };
        match bundle.verify(&self.site.trust, then) {
            Ok(patch) => patch.id() == offer.patch,
            Err(fault) => {
                matches!(fault, ProofError::Recalled { .. }) && proofs::claimed_patch(&offer.proof) == Some(offer.patch)
            }
        }
    }
}

//! Taking back the last update because somebody at the host says so.
//!
//! It is the same way back as after a failed check, in the same journal: what is interrupted in the
//! middle of it is gone on with. What was tried since and came to nothing is no obstacle. Only what stands by itself can be gone back to: trees do, container images,
//! and images in their slot. Where a patch was put into the place of what was there, that was thrown away when the patch was kept.

use super::Installer;
use super::deadline::Deadline;
use super::ending::version_there;
use super::install::{Install, Job};
use super::installs::{Place, VersionId};
use super::journal::{Journal, Record};
use super::last_kept::{self, LastKept};
use crate::attempt_log::AttemptLog;
use crate::data::DataDir;
use crate::files::FileError;
use crate::recalls::Recall;
use crate::settled::{Settled, reason};
use ledger::bounded::{Product, Version};
use ledger::id::PatchId;
use ledger::patch::InstallerKind;
use ledger::receipt::{Reason, ReasonCode};
use policy::Subscription;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Why the last update cannot be taken back by hand.
#[derive(Debug, thiserror::Error)]
pub enum ByHandError {
    /// There was none.
    #[error("no update was kept here that could be taken back")]
    NoUpdate,
    /// Another one was the last.
    #[error("the last update here was patch {last} of {product}; only that one can be taken back")]
    NotTheLast {
        /// Which.
        last: PatchId,
        /// Of what.
        product: Product,
    },
    /// It is not over.
    #[error("patch {0} is not at its end yet")]
    Open(PatchId),
    /// It came to nothing, or was taken back.
    #[error("patch {patch} is not installed: {there} is")]
    NotInstalled {
        /// Which.
        patch: PatchId,
        /// What is, for people.
        there: String,
    },
    /// Its kind puts things into the place of others.
    #[error("{0} cannot be taken back by hand: what was before was thrown away when they were kept")]
    InPlace(&'static str),
    /// What was before was withdrawn: nothing that was is ever put in place.
    #[error("{version}, which was before, was {recall}; it is not gone back to")]
    Recalled {
        /// Its version.
        version: Version,
        /// The patch that had brought it.
        patch: PatchId,
        /// What the ledger says.
        recall: Recall,
    },
    /// What was before is not there, or not as it was.
    #[error("what was before cannot be gone back to: {0}")]
    NoWayBack(String),
    /// The host's own disk.
    #[error("the host's own disk says no")]
    File(#[from] FileError),
}

/// Why what was taken back by hand was taken back.
pub(super) fn asked() -> Reason {
    reason(ReasonCode::Policy, "taken back by hand, at the host")
}

/// What was installed before the last update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its version; empty when nothing was.
    pub version: Version,
    /// The patch that had brought it; none for a baseline, and for nothing.
    pub patch: Option<PatchId>,
}

/// What would be gone back to by taking back this patch by hand: `None` when it was not the last update, is
/// not over, or is of a kind that is not taken back by hand. Only looked at, beside an agent that may run;
/// whether it is still there as it was is found out when it is done.
#[must_use]
pub fn before(data: &DataDir, patch: PatchId) -> Option<Before> {
    let records = Journal::peek(&data.journal()).ok()?;
    if records.last().is_some_and(|last| *last != Record::Done) {
        return None;
    }
    let kept = last_kept::read(&data.last_kept()).ok()?.into_iter().find(|kept| kept.begun.patch == patch);
    let begun = match (kept, records.first()) {
        (Some(kept), _) => kept.begun,
        (None, Some(Record::Begun(begun))) if begun.patch == patch && !begun.by_hand => begun.clone(),
        _ => return None,
    };
    let place = Place::new(&data.installs(), &Subscription { product: begun.product, channel: begun.channel });
    let stands_alone =
        matches!(begun.kind, InstallerKind::DirectoryTree | InstallerKind::ImageSlot | InstallerKind::Container);
    if !stands_alone || place.current().ok()?.as_ref() != Some(&begun.to) {
        return None;
    }
    let Some(from) = &begun.from else { return Some(Before { version: Version::default(), patch: None }) };
    let meta = place.meta(from).ok()?;
    Some(Before { version: meta.version, patch: meta.patch })
}

/// Whether what was kept last can be read.
///
/// # Errors
/// [`FileError`] when it is there and cannot.
pub fn check(path: &Path) -> Result<(), FileError> {
    last_kept::read(path).map(drop)
}

impl Installer {
    /// The patches that may be taken back by hand: the last one of each product that was kept, and the last update,
    /// however it ended, which is the last of these.
    #[must_use]
    pub fn last_patches(&self) -> Vec<PatchId> {
        let kept = last_kept::read(&self.data.last_kept()).unwrap_or_default();
        let mut patches: Vec<PatchId> = kept.into_iter().map(|kept| kept.begun.patch).collect();
        if let Some(Record::Begun(begun)) = self.journal.records().first() {
            patches.retain(|patch| *patch != begun.patch);
            patches.push(begun.patch);
        }
        patches
    }

    /// The update that could be taken back, if it is this one; nothing else may be under way.
    fn last_update(&self, patch: PatchId) -> Result<LastKept, ByHandError> {
        let records = self.journal.records();
        let kept = last_kept::read(&self.data.last_kept())?.into_iter().find(|kept| kept.begun.patch == patch);
        match (records.first(), kept) {
            (Some(Record::Begun(begun)), _) if self.journal.is_open() => match begun.patch == patch {
                true => Err(ByHandError::Open(patch)),
                false => Err(ByHandError::NotTheLast { last: begun.patch, product: begun.product.clone() }),
            },
            (_, Some(kept)) => Ok(kept),
            (Some(Record::Begun(begun)), None) if begun.patch == patch => {
                Ok(LastKept { begun: begun.clone(), restarted: records.contains(&Record::Restarted) })
            }
            _ => Err(self.another_than(patch)?),
        }
    }

    /// Which one can be taken back instead: that which came after this patch, else the last that was kept.
    fn another_than(&self, patch: PatchId) -> Result<ByHandError, FileError> {
        let mut kept = last_kept::read(&self.data.last_kept())?;
        let after = kept.iter().position(|kept| kept.begun.from == Some(VersionId::of_patch(patch)));
        let last = match after {
            Some(place) => Some(kept.swap_remove(place)),
            None => kept.pop(),
        };
        let named = |LastKept { begun, .. }| ByHandError::NotTheLast { last: begun.patch, product: begun.product };
        Ok(last.map_or(ByHandError::NoUpdate, named))
    }

    async fn way_back(&self, patch: PatchId, log: &mut AttemptLog) -> Result<(Arc<dyn Install>, Job), ByHandError> {
        let LastKept { mut begun, restarted } = self.last_update(patch)?;
        // What runs since the host has restarted is gone only when it has restarted once more. It stands in the first
        // record, or an agent that dies behind that knows nothing of it.
        begun.after_restart = restarted;
        let of = Subscription { product: begun.product.clone(), channel: begun.channel.clone() };
        let place = Place::new(&self.data.installs(), &of);
        let job = Job { begun, place, deadline: Deadline::begin("going back", Duration::MAX) };
        if job.place.current()?.as_ref() != Some(&job.begun.to) {
            let there = Some(version_there(&job)).filter(|there| *there != Version::default());
            let there = there.map_or_else(|| "nothing".to_owned(), |there| there.to_string());
            return Err(ByHandError::NotInstalled { patch, there });
        }
        let kind = self.kinds.even_if_not_offered(&job.begun).filter(|kind| kind.keeps_the_one_before());
        let kind = kind.ok_or(ByHandError::InPlace(policy::kind_words(job.begun.kind)))?;
        let old = self.step(&kind, &job, log, |kind, job, _| kind.check_way_back(job)).await;
        old.unwrap_or_else(|died| Err(died.to_string())).map_err(ByHandError::NoWayBack)?;
        Ok((kind, job))
    }

    /// Takes back the last update, as `run`, because somebody says so.
    ///
    /// # Errors
    /// [`ByHandError`] when nothing was changed.
    pub async fn take_back(&mut self, run: u64, patch: PatchId, log: &mut AttemptLog) -> Result<Settled, ByHandError> {
        self.take_back_because(run, patch, asked(), log).await
    }

    /// The same, for another reason.
    pub(crate) async fn take_back_because(
        &mut self,
        run: u64,
        patch: PatchId,
        against: Reason,
        log: &mut AttemptLog,
    ) -> Result<Settled, ByHandError> {
        let (kind, mut job) = self.way_back(patch, log).await?;
        job.begun.run = run;
        job.begun.by_hand = true;
        // From here on an agent that is interrupted goes on going back.
        self.journal.begin(job.begun.clone())?;
        let affected = self.affected_by(&job.begun);
        let settled = self.restore(&kind, &job, against, &affected, log).await;
        self.note_owed_restart(&*kind, &settled, log);
        Ok(settled)
    }
}

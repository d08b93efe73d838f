//! Updates that can be judged only when the host has restarted: left in place with a note, and taken
//! up again by whichever agent begins after the restart.

use super::Installer;
use super::install::{Install, Job};
use super::journal::Record;
use super::restarts::{BootId, RestartError};
use super::stages::Applied;
use crate::attempt_log::AttemptLog;
use crate::clock::running_ms;
use crate::config::Service;
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, Settled, chain, reason};
use ledger::encoding::{decode, encode};
use ledger::id::PatchId;
use ledger::limits;
use ledger::patch::PatchManifest;
use ledger::receipt::{Outcome, Reason, ReasonCode};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

/// Largest note of a restart that is owed.
const OWED_BYTES_MAX: usize = 1024;

/// A restart that something waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The patch is in place, and judged afterwards. What was not judged by the deadline is taken back.
    ToBeJudged {
        /// The patch.
        patch: PatchId,
        /// By when.
        deadline_ms: u64,
    },
    /// The patch was taken back after the host had restarted for it: what was before is in place, and
    /// runs when it has restarted once more.
    TakenBack {
        /// The patch.
        patch: PatchId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owed {
    patch: PatchId,
    boot_id: BootId,
}

impl Installer {
    /// Gives back what was applied if it can be judged now. What can be judged only when the host has
    /// restarted is left for then, with the journal open.
    pub fn judged_now(&mut self, mut applied: Applied, log: &mut AttemptLog) -> Option<Applied> {
        if !applied.needs_restart || applied.trouble.is_some() {
            return Some(applied);
        }
        match self.leave(&applied) {
            Ok(()) => {
                let when = if applied.kind.hands_over() {
                    "by the agent that it brings"
                } else {
                    "when the host has restarted"
                };
                log.line(&format!("in place; it is judged {when}"));
                None
            }
            Err(error) => {
                applied.trouble = Some(Refusal::from(error).reason);
                Some(applied)
            }
        }
    }

    fn leave(&mut self, applied: &Applied) -> Result<(), FileError> {
        if applied.kind.hands_over() {
            return self.hand_over(applied);
        }
        let boot_id = self.restarts.boot_id()?;
        files::replace(&self.data.restarting(), &encode(applied.manifest()))?;
        self.journal.append(Record::Restarting { boot_id, deadline_ms: self.restarts.deadline_ms(running_ms()) })
    }

    /// The update that is judged when the host has restarted, with its deadline. One that it has
    /// restarted for is not waited for any more, but judged.
    #[must_use]
    pub fn to_be_judged(&self) -> Option<(PatchId, u64)> {
        match (self.journal.records().first(), self.journal.records().last()) {
            (Some(Record::Begun(begun)), Some(Record::Restarting { boot_id, deadline_ms }))
                if self.restarts.boot_id().is_ok_and(|now| now == *boot_id) =>
            {
                Some((begun.patch, *deadline_ms))
            }
            _ => None,
        }
    }

    /// The restart that something waits for.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn awaited_restart(&self) -> Result<Option<Awaited>, FileError> {
        if let Some((patch, deadline_ms)) = self.to_be_judged() {
            return Ok(Some(Awaited::ToBeJudged { patch, deadline_ms }));
        }
        let path = self.data.restart_owed();
        let Some(bytes) = files::read_if_there(&path, OWED_BYTES_MAX)? else { return Ok(None) };
        let owed: Result<Owed, _> = serde_json::from_slice(&bytes);
        match owed {
            Ok(Owed { patch, boot_id }) if self.restarts.boot_id()? == boot_id => {
                Ok(Some(Awaited::TakenBack { patch }))
            }
            // It has restarted since; or nobody can tell what was meant.
            _ => files::remove(&path).map(|()| None),
        }
    }

    /// Has the host restarted.
    ///
    /// # Errors
    /// [`RestartError`]: then it was not.
    pub async fn restart_host(&self) -> Result<(), RestartError> {
        self.restarts.restart().await
    }

    /// Judges what was left for after the restart.
    pub(super) async fn judge_after_restart(
        &mut self,
        kind: &Arc<dyn Install>,
        job: &Job,
        affected: &[Service],
        log: &mut AttemptLog,
    ) -> Settled {
        log.line("the host has restarted: what is in place is judged");
        // First of all: what brings the host down while it comes up, or is judged, must not do so again.
        let mut applied = match self.note_came_up().and_then(|()| self.left(kind, job)) {
            Ok(applied) => applied,
            Err(against) => return self.restore(kind, job, against, affected, log).await,
        };
        self.restart_affected(&mut applied, log).await;
        self.wait_until_up(log).await;
        if applied.trouble.is_none() {
            applied.trouble = self.journal.append(Record::Restarted).err().map(|error| Refusal::from(error).reason);
        }
        self.judge(applied, log).await
    }

    /// Keeps what is in place if it works, and takes it back if it does not.
    pub(super) async fn judge(&mut self, applied: Applied, log: &mut AttemptLog) -> Settled {
        match self.examine(&applied, log).await {
            Ok(()) => self.keep(applied, log).await,
            Err(against) => self.roll_back(applied, against, log).await,
        }
    }

    fn note_came_up(&mut self) -> Result<(), Reason> {
        let boot_id = self.restarts.boot_id();
        let noted = boot_id.and_then(|boot_id| self.journal.append(Record::CameUp { boot_id }));
        noted.map_err(|error| Refusal::from(error).reason)
    }

    /// A host that has only just restarted starts its services still: none of them is judged meanwhile.
    async fn wait_until_up(&self, log: &mut AttemptLog) {
        let wait = self.restarts.until_up();
        if !wait.is_zero() {
            log.line(&format!("the host comes up: judged in {} s", wait.as_secs()));
            tokio::time::sleep(wait).await;
        }
    }

    /// What was put in place before this start, as far as the manifest tells that was left for judging it.
    pub(super) fn left(&self, kind: &Arc<dyn Install>, job: &Job) -> Result<Applied, Reason> {
        let manifest = self.left_manifest(job)?;
        Ok(Applied { manifest, kind: kind.clone(), job: job.clone(), trouble: None, needs_restart: false })
    }

    fn left_manifest(&self, job: &Job) -> Result<PatchManifest, Reason> {
        let path = self.data.restarting();
        let bytes = files::read(&path, limits::TRANSACTION_BYTES_MAX).map_err(|error| Refusal::from(error).reason)?;
        let manifest = decode::<PatchManifest>(&bytes).ok().filter(|manifest| manifest.id() == job.begun.patch);
        let other = || failed("understand", &path)(io::Error::other("it is not the manifest that was left there"));
        manifest.ok_or_else(|| reason(ReasonCode::Interrupted, chain(&other())))
    }

    /// Notes that what was taken back had been judged after a restart: so is what is there now.
    pub(super) fn note_owed_restart(&self, kind: &dyn Install, settled: &Settled, log: &mut AttemptLog) {
        let boot_id = self.restarts.boot_id();
        let ran = self.journal.records().iter().any(|record| match record {
            Record::CameUp { .. } | Record::Restarted => true,
            Record::Begun(begun) => begun.after_restart,
            Record::Restarting { boot_id: before, .. } => boot_id.as_ref().is_ok_and(|now| now != before),
            _ => false,
        });
        let owes = match settled.outcome {
            Outcome::RolledBack => kind.owes_restart().unwrap_or(ran),
            // Whatever else went wrong: it runs what it should not.
            _ => kind.owes_restart() == Some(true),
        };
        if !owes {
            return;
        }
        let noted = boot_id.and_then(|boot_id| {
            let owed = Owed { patch: settled.patch, boot_id };
            files::replace(&self.data.restart_owed(), &serde_json::to_vec(&owed).unwrap_or_default())
        });
        match noted {
            Ok(()) => log.line("the old version runs when the host has restarted once more"),
            Err(error) => tracing::error!(error = chain(&error), "the host should restart, which cannot be noted"),
        }
    }
}

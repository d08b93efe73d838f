//! How an update ends: kept, or taken back.

use super::Installer;
use super::install::{Install, Job};
use super::installs::{self, VersionId};
use super::journal::Record;
use super::stages::Applied;
use crate::attempt_log::AttemptLog;
use crate::config::Service;
use crate::files::FileError;
use crate::settled::{Refusal, Settled, chain, reason};
use ledger::bounded::Version;
use ledger::receipt::Reason;
use std::sync::Arc;

impl Installer {
    /// Keeps what was applied.
    pub async fn keep(&mut self, applied: Applied, log: &mut AttemptLog) -> Settled {
        // For good before the journal says so: a loader that went on counting would go back from what was kept.
        let kept = self.step(&applied.kind, &applied.job, log, |kind, job, _| kind.keep(job)).await;
        let kept = kept.unwrap_or_else(|died| Err(died.into_file_error()));
        if let Err(error) = kept.and_then(|()| self.journal.append(Record::Judged { against: None })) {
            return self.roll_back(applied, Refusal::from(error).reason, log).await;
        }
        self.finish(&applied.kind, &applied.job, log).await
    }

    pub(super) async fn finish(&self, kind: &Arc<dyn Install>, job: &Job, log: &mut AttemptLog) -> Settled {
        log.line("healthy, kept");
        let cleared = self.step(kind, job, log, |kind, job, _| {
            // One of them says no: the other may do all the same, and give room back.
            let (settled, pruned) = (kind.settle(job), prune(job));
            settled.and(pruned)
        });
        if let Err(error) = cleared.await.unwrap_or_else(|died| Err(died.into_file_error())) {
            tracing::warn!(error = chain(&error), "what going back needed, or an old version, is still there");
        }
        Settled::applied(&job.begun)
    }

    /// Puts back what was there before: the host, its services; and makes sure that it is the same.
    pub async fn roll_back(&mut self, applied: Applied, reason: Reason, log: &mut AttemptLog) -> Settled {
        let affected = self.affected(&applied.job.begun, applied.manifest());
        self.restore(&applied.kind, &applied.job, reason, &affected, log).await
    }

    pub(super) async fn restore(
        &mut self,
        kind: &Arc<dyn Install>,
        job: &Job,
        against: Reason,
        affected: &[Service],
        log: &mut AttemptLog,
    ) -> Settled {
        log.line(&format!("rolling back: {against}"));
        // That it was judged healthy may have reached the disk without the agent knowing. Whoever read it
        // after a power cut in the middle of going back would take what is half gone for whole.
        if self.journal.is_in_doubt() {
            self.unfinished = true;
            return self.fail(job, against, "what the journal says cannot be told", log);
        }
        // Back is the safe direction: it is gone even when the journal cannot be written any more. A
        // journal that ends with the switch also leads back; and once it says so, it need not say it again.
        if !matches!(self.journal.records().last(), Some(Record::Judged { against: Some(_) })) {
            self.note(Record::Judged { against: Some(against.clone()) });
        }
        let restored = self.step(kind, job, log, |kind, job, story| kind.restore(job, story)).await;
        let restored = restored.unwrap_or_else(|died| Err(died.to_string()));
        let switch = |()| job.place.switch(job.begun.from.as_ref()).map_err(|error| chain(&error));
        let back = restored.and_then(switch);
        self.unfinished = back.is_err();
        if let Err(trouble) = back {
            return self.fail(job, against, &trouble, log);
        }
        self.note(Record::Restored);
        // Before its services run again: what they write from then on is theirs.
        let same = self.step(kind, job, log, |kind, job, _| kind.prove_old(job)).await;
        let same = same.unwrap_or_else(|died| Err(died.to_string()));
        // What is not as it was is tried once more: what it is made of is still there.
        self.unfinished = same.is_err();
        // Where the old version runs when the host has restarted, so do its services: from what is still running the
        // new one would be started once more.
        let restarted = match kind.owes_restart() {
            Some(true) => Ok(()),
            _ => self.restart(affected, log).await,
        };
        if let Err(trouble) = restarted.map_err(|reason| reason.to_string()).and(same) {
            return self.fail(job, against, &trouble, log);
        }
        self.discard_if_possible(kind, job, log).await;
        log.line("the old version is back, as it was, and so are its services");
        Settled::rolled_back(&job.begun, against)
    }

    pub(super) fn fail(&self, job: &Job, against: Reason, trouble: &str, log: &mut AttemptLog) -> Settled {
        log.line(&format!("ROLLING BACK FAILED: {trouble}"));
        let detail = format!("{}; and rolling back failed: {trouble}", against.detail);
        Settled::failed(&job.begun, reason(against.code, detail), version_there(job))
    }

    /// Throws away what was made of the new version: the host is old.
    pub(super) async fn discard(
        &self,
        kind: &Arc<dyn Install>,
        job: &Job,
        log: &mut AttemptLog,
    ) -> Result<(), FileError> {
        let discarded = self.step(kind, job, log, |kind, job, _| {
            kind.settle(job)?;
            job.place.discard(&job.begun.to)
        });
        discarded.await.unwrap_or_else(|died| Err(died.into_file_error()))
    }

    pub(super) async fn discard_if_possible(&self, kind: &Arc<dyn Install>, job: &Job, log: &mut AttemptLog) {
        if let Err(error) = self.discard(kind, job, log).await {
            tracing::warn!(error = chain(&error), "what was made of the new version is still there");
        }
    }

    /// Throws away what preparing took from a host on which somebody else has decided: its packages are his. Nothing
    /// says any more that the new version is installed; its holding goes with the end of the update.
    pub(super) async fn give_way(
        &mut self,
        kind: &Arc<dyn Install>,
        job: &Job,
        log: &mut AttemptLog,
    ) -> Result<(), FileError> {
        let settled = self.step(kind, job, log, |kind, job, _| {
            kind.settle(job)?;
            match job.place.current()?.as_ref() == Some(&job.begun.to) {
                true => job.place.switch(job.begun.from.as_ref()),
                false => Ok(()),
            }
        });
        settled.await.unwrap_or_else(|died| Err(died.into_file_error()))?;
        self.overtaken = Some((job.place.clone(), job.begun.to.clone()));
        Ok(())
    }

    /// Writes a record whose absence recovery can live with.
    fn note(&mut self, record: Record) {
        if let Err(error) = self.journal.append(record) {
            tracing::error!(error = chain(&error), "the journal cannot be written");
        }
    }
}

/// Removes the versions that nobody goes back to any more.
fn prune(job: &Job) -> Result<(), FileError> {
    let kept: Vec<&VersionId> = [Some(&job.begun.to), job.begun.from.as_ref()].into_iter().flatten().collect();
    job.place.prune(&kept[..kept.len().min(installs::VERSIONS_KEPT)])
}

/// The version that the host says is installed; empty when none is, or nothing can be told.
pub(super) fn version_there(job: &Job) -> Version {
    let there = job.place.current().ok().flatten().and_then(|current| job.place.meta(&current).ok());
    there.map(|meta| meta.version).unwrap_or_default()
}

//! Updates of the agent itself: handed over to the program that the patch brings, which takes them up from the journal.

use super::Installer;
use super::install::{Install, Job};
use super::journal::Record;
use super::stages::Applied;
use crate::attempt_log::AttemptLog;
use crate::config::Service;
use crate::files::{self, FileError};
use crate::own_program::Running;
use crate::own_program::record::Record as Programs;
use crate::settled::{Refusal, Settled, chain};
use ledger::encoding::encode;
use ledger::id::PatchId;
use ledger::receipt::Reason;
use std::sync::Arc;

impl Installer {
    /// The program that runs.
    #[must_use]
    pub fn running(&self) -> &Arc<Running> {
        self.own.running()
    }

    /// Whether another program is to run, as soon as this agent has ended.
    #[must_use]
    pub fn leaves(&self) -> bool {
        self.running().leaves()
    }

    /// Whether this program is on trial, and an update is open that it has to judge.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        let record = Programs::read(&self.data.programs()).ok().flatten();
        record.is_some_and(|record| self.running().is_on_trial(&record))
            && self.open_update().is_some_and(|begun| begun.own_program)
    }

    /// The manifest to judge by and the record first: a program that is to be tried finds both.
    pub(super) fn hand_over(&mut self, applied: &Applied) -> Result<(), FileError> {
        files::replace(&self.data.restarting(), &encode(applied.manifest()))?;
        self.journal.append(Record::HandedOver)?;
        applied.kind.hand_over(&applied.job)
    }

    /// Judges the program that runs, and with it the patch that brought it.
    pub(super) async fn judge_itself(
        &mut self,
        kind: &Arc<dyn Install>,
        job: &Job,
        affected: &[Service],
        log: &mut AttemptLog,
    ) -> Settled {
        log.line("this is the program of the patch, on trial: it judges itself");
        // First of all: one that dies from here on is not asked again.
        let noted = self.journal.append(Record::Restarted).map_err(|error| Refusal::from(error).reason);
        match noted.and_then(|()| self.left(kind, job)) {
            Ok(mut applied) => {
                self.restart_affected(&mut applied, log).await;
                self.judge(applied, log).await
            }
            Err(against) => self.restore(kind, job, against, affected, log).await,
        }
    }

    /// The update that brought a program which was kept and does not come up any more; and why.
    pub(crate) fn fallen(&self) -> Option<(PatchId, Reason)> {
        let (id, against) = self.own.fallen()?;
        let of = self.own.of()?;
        let installed = super::installs::installed(&self.data.installs(), of).map_err(|error| {
            tracing::warn!(error = chain(&error), "it cannot be told which program is installed");
        });
        let installed = installed.ok().flatten().filter(|installed| installed.id == id)?;
        let patch = installed.meta.patch.filter(|patch| !self.journal.is_open() && self.last_patches().contains(patch));
        patch.map(|patch| (patch, against))
    }
}

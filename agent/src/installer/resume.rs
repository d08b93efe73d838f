//! Bringing an interrupted update to its end: what [`super::recover`] decided, done.

use super::Installer;
use super::deadline::Deadline;
use super::ending::version_there;
use super::install::Job;
use super::installs::Place;
use super::journal::{Begun, Record};
use super::last_kept;
use super::recover::{self, Observed, Plan};
use crate::attempt_log::AttemptLog;
use crate::clock::running_ms;
use crate::files::{self, FileError};
use crate::settled::{self, Settled, chain};
use ledger::receipt::{Health, Reason};
use policy::Subscription;
use std::time::Duration;

impl Installer {
    /// Whether an update was begun and not brought to its end.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.journal.is_open()
    }

    /// Whether the last attempt to bring one to its end left the host neither old nor new.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.journal.is_open() && self.unfinished
    }

    /// The update that was begun and not brought to its end.
    #[must_use]
    pub fn open_update(&self) -> Option<&Begun> {
        match self.journal.records().first() {
            Some(Record::Begun(begun)) if self.journal.is_open() => Some(begun),
            _ => None,
        }
    }

    /// Finishes or takes back what was interrupted, and judges what the host had to restart for; how it
    /// ended, if anything was. The host is exactly old or exactly new afterwards, or the update stays
    /// open ([`Installer::is_unfinished`]) and this is to be tried again.
    ///
    /// # Errors
    /// [`FileError`] when it cannot even be seen what is there.
    pub async fn recover(
        &mut self,
        log: impl FnOnce(&Begun) -> AttemptLog,
    ) -> Result<Option<(Settled, AttemptLog)>, FileError> {
        let Some(Record::Begun(begun)) = self.journal.records().first().cloned() else { return Ok(None) };
        if !self.journal.is_open() {
            return Ok(None);
        }
        let of = Subscription { product: begun.product.clone(), channel: begun.channel.clone() };
        let deadline = Deadline::begin("recovery", Duration::MAX);
        let job = Job { place: Place::new(&self.data.installs(), &of), begun, deadline };
        let mut log = log(&job.begun);
        log.line("an update was begun, and is not over");
        let Some(kind) = self.kinds.even_if_not_offered(&job.begun) else {
            let reason = recover::stranded(&format!("this agent knows no {}", policy::kind_words(job.begun.kind)));
            return Ok(Some((self.strand(&job, reason, &mut log), log)));
        };
        let look = self.step(&kind, &job, &mut log, |kind, job, _| kind.look(job)).await;
        let look = look.unwrap_or_else(|died| Err(died.into_file_error()))?;
        let boot_id = self.restarts.boot_id().ok();
        let observed = Observed { current: job.place.current()?, look, boot_id, running_ms: running_ms() };
        let affected = self.affected_by(&job.begun);
        self.unfinished = false;
        self.overtaken = None;
        let settled = match recover::recover(self.journal.records(), &observed) {
            Plan::Nothing => return Ok(None),
            Plan::Await { .. } => {
                log.line("it still waits for the host to restart");
                return Ok(None);
            }
            Plan::Judge { begun } if begun.own_program => self.judge_itself(&kind, &job, &affected, &mut log).await,
            Plan::Judge { .. } => self.judge_after_restart(&kind, &job, &affected, &mut log).await,
            Plan::Finish { .. } => self.finish(&kind, &job, &mut log).await,
            Plan::Discard { begun, reason } => {
                log.line("the old version is in place, what was made of the new one is thrown away");
                self.discard(&kind, &job, &mut log).await?;
                match self.restart_units(&affected, &mut log).await {
                    Ok(()) => Settled::rolled_back(&begun, reason),
                    Err(trouble) => self.fail(&job, reason, &trouble.to_string(), &mut log),
                }
            }
            Plan::RollBack { reason, .. } => self.restore(&kind, &job, reason, &affected, &mut log).await,
            Plan::Overtaken { reason, there, .. } => {
                log.line(&format!("somebody else has decided: {reason}"));
                self.give_way(&kind, &job, &mut log).await?;
                Settled { health: self.health_so_far(), ..Settled::failed(&job.begun, reason, there) }
            }
            Plan::Stranded { reason, .. } => self.strand(&job, reason, &mut log),
        };
        self.note_owed_restart(&*kind, &settled, &mut log);
        Ok(Some((settled, log)))
    }

    /// Leaves everything as it is, for a person: and the update open, so that nothing is put on top of it.
    fn strand(&mut self, job: &Job, reason: Reason, log: &mut AttemptLog) -> Settled {
        log.line(&format!("A PERSON IS NEEDED: {reason}"));
        self.unfinished = true;
        Settled { health: self.health_so_far(), ..Settled::failed(&job.begun, reason, version_there(job)) }
    }

    /// What was judged, as far as the journal knows.
    fn health_so_far(&self) -> Health {
        let judged = self.journal.records().iter().rev().find_map(|record| match record {
            Record::Judged { against } => Some(against),
            _ => None,
        });
        match judged {
            None => Health::NotRun,
            Some(None) => match self.journal.records().first() {
                Some(Record::Begun(begun)) => settled::health_of_kept(begun),
                _ => Health::NotRun,
            },
            Some(Some(against)) => settled::health(against),
        }
    }

    /// Ends the update under way: its receipt is on its way. One that could be neither finished nor
    /// taken back stays open, and is tried again before anything else is.
    ///
    /// # Errors
    /// [`FileError`]; then recovery will say the same again.
    pub fn close(&mut self) -> Result<(), FileError> {
        if !self.journal.is_open() || self.unfinished {
            return Ok(());
        }
        // Before the journal says that it is over: an agent that dies between the two says it once more. What is not
        // noted cannot be taken back by hand after the next attempt; that is no reason to leave an update open.
        if let Err(refusal) = last_kept::note(&self.data.last_kept(), self.journal.records()) {
            tracing::warn!(why = %refusal.reason, "that this update was kept is not noted");
        }
        self.journal.append(Record::Done)?;
        // Not before: as long as the update is open, its holding says what somebody else has changed.
        if let Some((place, version)) = self.overtaken.take()
            && let Err(error) = place.discard(&version)
        {
            tracing::warn!(error = chain(&error), "what was made of the new version is still there");
        }
        files::remove(&self.data.restarting())
    }
}

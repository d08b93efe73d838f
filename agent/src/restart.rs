//! Restarting the host when something waits for that and the house allows it.

use crate::clock::{Now, running_ms};
use crate::files::FileError;
use crate::installer::restarting::Awaited;
use crate::settled::{Settled, chain};
use crate::site::Site;
use ledger::id::PatchId;
use ledger::moment::Moment;
use policy::Reason;
use serde::{Deserialize, Serialize};

/// How often what may not be done yet is looked at again: a house may have changed its mind.
const LOOK_AGAIN_MS: u64 = 15 * 60 * 1000;

/// A restart of the host that something waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartView {
    /// Of which patch.
    pub patch: PatchId,
    /// What waits for it, and for what it waits, for people.
    pub why: String,
    /// By when the patch must be judged, or is taken back; none for one that was taken back.
    pub deadline_ms: Option<u64>,
    /// When it is looked at again, by how long the host has run: nobody sets that clock.
    pub look_again_ms: u64,
}

/// What became of it.
#[derive(Debug)]
pub enum Tended {
    /// Nothing waits for a restart.
    Nothing,
    /// Something does.
    Waits(RestartView),
    /// It did not come in time: the patch was taken back.
    Settled(Settled),
}

impl Site {
    /// Restarts the host if something waits for that and it may be done now; takes back what has waited
    /// too long.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn tend_restart(&mut self) -> Result<Tended, FileError> {
        let now_ms = self.now_ms();
        let (patch, waits, deadline_ms) = match self.installer.awaited_restart()? {
            None => return Ok(Tended::Nothing),
            Some(Awaited::ToBeJudged { deadline_ms, .. }) if deadline_ms <= running_ms() => {
                return Ok(self.recover().await?.map_or(Tended::Nothing, Tended::Settled));
            }
            Some(Awaited::ToBeJudged { patch, deadline_ms }) => {
                let deadline_ms = Now { now_ms, running_ms: running_ms() }.as_set(deadline_ms);
                let waits = format!("in place, judged when the host has restarted (by {})", Moment(deadline_ms));
                (patch, waits, Some(deadline_ms))
            }
            Some(Awaited::TakenBack { patch }) => {
                (patch, "taken back; what was before runs when the host has restarted".to_owned(), None)
            }
        };
        let (for_what, wait_ms) = self.restart_if_permitted(patch, now_ms).await;
        let wait_ms = deadline_ms.map_or(wait_ms, |deadline_ms| wait_ms.min(deadline_ms.saturating_sub(now_ms)));
        let look_again_ms = running_ms().saturating_add(wait_ms);
        Ok(Tended::Waits(RestartView { patch, why: format!("{waits}: {for_what}"), deadline_ms, look_again_ms }))
    }

    /// What the restart waits for, and in how many milliseconds to look again.
    async fn restart_if_permitted(&mut self, patch: PatchId, now_ms: u64) -> (String, u64) {
        let patience_ms = u64::try_from(self.config.reboot.patience.as_millis()).unwrap_or(u64::MAX);
        if let Some((asked_ms, answer)) = &self.restart_asked
            && let since_ms = running_ms().saturating_sub(*asked_ms)
            && since_ms < patience_ms
        {
            return (answer.clone(), patience_ms - since_ms);
        }
        match self.policy().permit_restart(now_ms) {
            Err(reason) => {
                let until_ms = match &reason {
                    Reason::NotYet(wait) => wait.until_ms,
                    _ => None,
                };
                let wait_ms = until_ms.map_or(LOOK_AGAIN_MS, |until_ms| until_ms.saturating_sub(now_ms));
                (reason.to_string(), wait_ms.min(LOOK_AGAIN_MS))
            }
            Ok(()) => {
                tracing::warn!(%patch, command = ?self.config.reboot.command, "the host is restarted");
                let answer = match self.installer.restart_host().await {
                    Ok(()) => format!("asked for at {}", Moment(now_ms)),
                    Err(error) => {
                        tracing::error!(error = chain(&error), "the host is not restarted; it is tried again");
                        chain(&error)
                    }
                };
                self.restart_asked = Some((running_ms(), answer.clone()));
                (answer, patience_ms)
            }
        }
    }
}

//! Updates that could not be brought to their end: said, and tried again.

use super::Worker;
use crate::clock::running_ms;
use crate::files::FileError;
use crate::settled::chain;
use ledger::id::PatchId;
use serde::{Deserialize, Serialize};

/// Wait before it is tried again to bring an update to its end, at first …
const OPEN_RETRY_MS_MIN: u64 = 15_000;
/// … and at the most.
const OPEN_RETRY_MS_MAX: u64 = 10 * 60 * 1000;

/// An update that could not be brought to its end: nothing else is begun before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenView {
    /// Of which patch.
    pub patch: PatchId,
    /// What is in the way, for people.
    pub why: String,
    /// When it is tried again, by how long the host has run: nobody sets that clock.
    pub look_again_ms: u64,
    /// How often it was tried.
    tries: u32,
}

impl Worker {
    /// Tries again, now and then, to bring an update to its end that could not be: a disk that was full
    /// has room again, a lock was let go of, a person has put something right.
    pub async fn tend_open(&mut self) {
        let installer = &self.site.installer;
        if !installer.is_interrupted() || installer.to_be_judged().is_some() {
            self.view.send_if_modified(|view| view.open.take().is_some());
            return;
        }
        let waits = |open: &OpenView| running_ms() < open.look_again_ms;
        if self.view.borrow().open.as_ref().is_some_and(waits) {
            return;
        }
        if let Err(error) = self.bring_to_an_end().await {
            tracing::error!(error = chain(&error), "an update cannot be brought to its end; it is tried again");
        }
    }

    pub(super) async fn bring_to_an_end(&mut self) -> Result<(), FileError> {
        let recovered = self.site.recover().await;
        let why = match &recovered {
            Ok(settled) => settled.as_ref().map(ToString::to_string),
            Err(error) => Some(chain(error)),
        };
        let tries = self.view.borrow().open.as_ref().map_or(0, |open| open.tries).saturating_add(1);
        let wait_ms = (OPEN_RETRY_MS_MIN << (tries - 1).min(20)).min(OPEN_RETRY_MS_MAX);
        let (look_again_ms, installer) = (running_ms().saturating_add(wait_ms), &self.site.installer);
        let waits = installer.to_be_judged().is_some();
        let open = installer.open_update().filter(|_| !waits).map(|begun| begun.patch);
        let view = |patch| OpenView { patch, why: why.unwrap_or_default(), look_again_ms, tries };
        let open = open.map(view);
        self.view.send_modify(|view| {
            view.open = open;
            if let Ok(Some(settled)) = &recovered {
                view.last = Some(settled.clone());
            }
        });
        self.show(None);
        recovered.map(drop)
    }
}

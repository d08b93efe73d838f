//! What somebody at the host asks for.

use super::naming::{as_prefix, full_id, not_obtained, the_one};
use super::{NoAttempt, Worker};
use crate::clock::now_ms;
use crate::files::FileError;
use crate::follow::sources::CallError;
use crate::installer::by_hand::ByHandError;
use crate::installer::installs;
use crate::proofs::{self, Offer};
use crate::settled::Settled;
use crate::site::Site;
use crate::update::Ending;
use ledger::id::PatchId;
use policy::schedule::Wait;
use tokio::sync::oneshot;

/// Somebody asks for something.
pub struct Asked {
    /// For what.
    pub wish: Wish,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Settled, AskError>>,
}

/// What somebody at the host may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That a patch is installed.
    Apply {
        /// Its id, or the beginning of it.
        patch: String,
        /// Its proof file; without one, the nodes are asked.
        proof: Option<Vec<u8>>,
        /// Whether it waits for no window.
        now: bool,
    },
    /// That the last update is taken back.
    TakeBack {
        /// The patch: its id, or the beginning of it.
        patch: String,
    },
}

/// Why there is no verdict on what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Not the beginning of an id.
    #[error("{0:?} is not a patch id, nor the beginning of one")]
    NotAnId(String),
    /// No node knows it.
    #[error("no node knows a patch {0}")]
    UnknownPatch(String),
    /// More than one begins so.
    #[error("more than one patch begins with {0}")]
    Ambiguous(String),
    /// No node can prove it yet: the block that would has not been made.
    #[error("patch {0} cannot be proven yet: no block came after the last decision about it")]
    NotYet(PatchId, #[source] Box<CallError>),
    /// No node could be asked.
    #[error("no node could be asked")]
    NoNode(#[source] Option<CallError>),
    /// Nothing had to be done, or its hour has not come.
    #[error(transparent)]
    NoAttempt(NoAttempt),
    /// There is one when the host has restarted.
    #[error("patch {0} is in place; whether it stays is judged when the host has restarted")]
    AwaitsRestart(PatchId),
    /// There is one when the agent that it brings has tried itself.
    #[error("patch {0} is the agent's own: it is in place, and is tried as soon as it runs")]
    HandedOver(PatchId),
    /// The last update is not taken back.
    #[error("nothing is taken back")]
    ByHand(#[from] ByHandError),
    /// The host's own disk.
    #[error("the host's own disk says no")]
    File(#[from] FileError),
}

impl Worker {
    /// Does what somebody at the host asks for.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn fulfil(&mut self, wish: Wish) -> Result<Settled, AskError> {
        match wish {
            Wish::Apply { patch, proof, now } => self.apply_as_asked(&patch, proof, now).await,
            Wish::TakeBack { patch } => self.take_back(&patch).await,
        }
    }

    /// Takes back the last update of a product that was kept, if it is this one. It waits for no window, as no going back does.
    ///
    /// # Errors
    /// [`AskError`] when nothing was changed.
    pub async fn take_back(&mut self, patch: &str) -> Result<Settled, AskError> {
        let last = self.site.installer.last_patches();
        if last.is_empty() {
            return Err(ByHandError::NoUpdate.into());
        }
        let prefix = as_prefix(patch)?;
        let mut named = last.into_iter().filter(|last| last.to_string().starts_with(&prefix));
        let asked = match (named.next(), named.next()) {
            (Some(only), None) => only,
            _ => self.find(patch).await?,
        };
        self.show(Some(asked));
        let settled = self.site.take_back(asked).await;
        self.show(None);
        if let Ok(settled) = &settled {
            self.view.send_modify(|view| view.last = Some(settled.clone()));
            self.tend_restart().await;
        }
        settled
    }

    /// [`Worker::apply`], now if somebody at the host says so: then it waits for no window, nor does the
    /// restart of the host that it may wait for already.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn apply_as_asked(
        &mut self,
        patch: &str,
        proof: Option<Vec<u8>>,
        now: bool,
    ) -> Result<Settled, AskError> {
        self.site.lift_schedule(now);
        let settled = self.apply(patch, proof).await;
        self.site.lift_schedule(false);
        settled
    }

    /// Brings a patch onto the host because somebody asks for it, whatever was tried before.
    ///
    /// # Errors
    /// [`AskError`] when there is no verdict at all. A refusal is a verdict; that it is installed already, or that
    /// its hour has not come, is none.
    pub async fn apply(&mut self, patch: &str, proof: Option<Vec<u8>>) -> Result<Settled, AskError> {
        if let Ok(patch) = full_id(patch)
            && self.waits_for_restart(patch).await
        {
            return Err(AskError::AwaitsRestart(patch)); // It is in place: no node has to be asked for it.
        }
        if self.site.installer.to_be_judged().is_none() && self.site.installer.is_interrupted() {
            self.bring_to_an_end().await?; // What is installed is known only then.
        }
        let offer = match proof {
            Some(proof) => {
                let patch = match proofs::claimed_patch(&proof).filter(|claimed| claimed.to_string().starts_with(patch))
                {
                    Some(claimed) => claimed,
                    // A proof of something else, or of nothing: refused under the name that was asked for.
                    None => full_id(patch)?,
                };
                let offer = Offer { patch, proof, clock: self.site.heads.clock(now_ms()), asked: true };
                self.site.heed(&offer);
                if let Some(no_attempt) = self.is_there_already(patch, Some(&offer)).await? {
                    return Err(AskError::NoAttempt(no_attempt));
                }
                offer
            }
            None => {
                let patch = self.find(patch).await?;
                if let Some(no_attempt) = self.is_there_already(patch, None).await? {
                    return Err(AskError::NoAttempt(no_attempt));
                }
                let Site { sources, heads, trust, .. } = &self.site;
                let offer = proofs::obtain(patch, true, sources, heads, trust).await;
                offer.map_err(|error| not_obtained(patch, error))?
            }
        };
        self.site.keep_proof(&offer);
        let waits = |wait: Wait| {
            let (until_ms, why) = (wait.until_ms, wait.to_string());
            Err(AskError::NoAttempt(NoAttempt::Waits { patch: offer.patch, until_ms, why }))
        };
        if self.site.installer.to_be_judged().is_none()
            && let Some(wait) = self.site.waits_for(&offer)?
        {
            return waits(wait);
        }
        match self.update(&offer).await? {
            Ending::Settled(settled) => Ok(settled),
            Ending::AwaitsRestart(patch) if self.site.installer.leaves() => Err(AskError::HandedOver(patch)),
            Ending::AwaitsRestart(patch) => Err(AskError::AwaitsRestart(patch)),
            Ending::Waits(wait) => waits(wait),
        }
    }

    /// Whether this patch is in place and waits for the host's restart, which whoever asks for it asks for
    /// as well. Asking for another one does not restart the host.
    pub(super) async fn waits_for_restart(&mut self, patch: PatchId) -> bool {
        let waits = self.site.installer.to_be_judged().is_some_and(|(waiting, _)| waiting == patch);
        if waits {
            self.tend_restart().await;
        }
        waits
    }

    /// The one patch whose id begins so.
    async fn find(&self, prefix: &str) -> Result<PatchId, AskError> {
        if let Ok(patch) = full_id(prefix) {
            return Ok(patch);
        }
        let prefix = as_prefix(prefix)?;
        match self.first_answer(async |source| source.named(&prefix).await).await {
            Ok(named) => the_one(&named, prefix),
            Err(error) => self.installed_one(&prefix)?.ok_or(AskError::NoNode(error)),
        }
    }

    /// The one installed patch whose id begins so: for that no node has to be asked.
    fn installed_one(&self, prefix: &str) -> Result<Option<PatchId>, FileError> {
        let all = installs::all_trees(&self.site.data().installs())?;
        let mut named = all.values().filter_map(|tree| tree.meta.patch).filter(|it| it.to_string().starts_with(prefix));
        Ok(named.next().filter(|_| named.next().is_none()))
    }
}

//! The worker: brings what is approved onto this host, one patch at a time, by itself and when asked.

mod naming;
mod open;

pub use naming::look_up;
use naming::{as_prefix, full_id, not_obtained, the_one};
pub use open::OpenView;

use crate::clock::now_ms;
use crate::files::FileError;
use crate::follow::Pace;
use crate::follow::sources::{CallError, Source, id};
use crate::installer::by_hand::ByHandError;
use crate::proofs::{self, Offer};
use crate::restart::{RestartView, Tended};
use crate::settled::{Settled, chain};
use crate::site::Site;
use crate::update::{Ending, update};
use ledger::bounded::{Name, Product};
use ledger::id::{Digest, PatchId};
use ledger::receipt::Outcome;
use policy::Subscription;
use proto::v1;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

/// Patches of one subscription tried in one pass.
const CANDIDATES_MAX: usize = 16;
/// What waits for its hour is proven again after this: it may have become urgent.
const LOOK_AGAIN_MS_MAX: u64 = 15 * 60 * 1000;
/// The ledger may have many blocks a second; an agent looks less often.
const PASS_INTERVAL_MIN: Duration = Duration::from_millis(250);

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
    /// No node could be asked.
    #[error("no node could be asked")]
    NoNode(#[source] Option<CallError>),
    /// There is one when the host has restarted.
    #[error("patch {0} is in place; whether it stays is judged when the host has restarted")]
    AwaitsRestart(PatchId),
    /// The last update is not taken back.
    #[error("nothing is taken back")]
    ByHand(#[from] ByHandError),
    /// The host's own disk.
    #[error("the host's own disk says no")]
    File(#[from] FileError),
}

/// What the worker does, for those who watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// The patch an update is under way for.
    pub updating: Option<PatchId>,
    /// How the last update ended.
    pub last: Option<Settled>,
    /// What was tried, by patch: how it ended last.
    pub tried: BTreeMap<PatchId, Option<Outcome>>,
    /// What only waits for its hour.
    #[serde(default)]
    pub waiting: BTreeMap<PatchId, Waiting>,
    /// The restart of the host that something waits for.
    #[serde(default)]
    pub restart: Option<RestartView>,
    /// An update that could not be brought to its end yet.
    #[serde(default)]
    pub open: Option<OpenView>,
}

/// A patch that only waits for its hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What it is of.
    pub product: Product,
    /// On which channel.
    pub channel: Name,
    /// When it comes, if nothing changes.
    pub until_ms: Option<u64>,
    /// Why it waits, and until when, for people.
    pub why: String,
    /// When it is looked at again: approvals may make it urgent meanwhile.
    look_again_ms: u64,
}

/// The worker.
pub struct Worker {
    site: Site,
    view: watch::Sender<WorkerView>,
    /// Which node is asked what there is: in turn, so that none of them can keep a patch secret.
    turn: usize,
    /// What only waits for its hour.
    waiting: BTreeMap<PatchId, Waiting>,
}

impl Worker {
    /// Takes over an endpoint that was recovered.
    #[must_use]
    pub fn new(site: Site) -> Self {
        let worker = Self { site, view: watch::channel(WorkerView::default()).0, turn: 0, waiting: BTreeMap::new() };
        worker.show(None);
        worker
    }

    /// What it does, as it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<WorkerView> {
        self.view.subscribe()
    }

    /// The endpoint.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Works until nobody can ask any more: at once when somebody asks, when the ledger has something
    /// new, and now and then anyway.
    pub async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut changed = self.site.heads.watch();
        let mut pace = Pace::new(&self.site.config.ledger, Digest(self.site.key().public().0));
        loop {
            self.tend_restart().await;
            self.tend_open().await;
            let retry =
                self.site.attempts.next_try_ms(now_ms()).map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
            let hour = self.next_look_ms().map(|at| Duration::from_millis(at.saturating_sub(self.site.now_ms())));
            let wait = retry.unwrap_or(Duration::MAX).min(hour.unwrap_or(Duration::MAX)).min(pace.interval());
            tokio::select! {
                biased;
                job = asked.recv() => match job {
                    None => return,
                    Some(Asked { wish, answer }) => {
                        // Whoever asked may be gone; it is done all the same.
                        let _ = answer.send(self.fulfil(wish).await);
                        continue;
                    }
                },
                Ok(()) = changed.changed() => {}
                () = sleep(wait) => {}
            }
            self.pass().await;
            sleep(PASS_INTERVAL_MIN).await;
        }
    }

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

    /// Takes back the last update, if it is this one. It waits for no window, as no going back does.
    ///
    /// # Errors
    /// [`AskError`] when nothing was changed.
    pub async fn take_back(&mut self, patch: &str) -> Result<Settled, AskError> {
        let last = self.site.installer.last_patch().ok_or(ByHandError::NoUpdate)?;
        let prefix = as_prefix(patch)?;
        let asked = if last.to_string().starts_with(&prefix) { last } else { self.find(patch).await? };
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

    /// The moment at which the first of what waits is looked at again.
    fn next_look_ms(&self) -> Option<u64> {
        let view = self.view.borrow();
        let restart = view.restart.as_ref().map(|restart| restart.look_again_ms);
        let open = view.open.as_ref().map(|open| open.look_again_ms);
        self.waiting.values().map(|waiting| waiting.look_again_ms).chain(restart).chain(open).min()
    }

    /// Brings a patch onto the host because somebody asks for it, whatever was tried before.
    ///
    /// # Errors
    /// [`AskError`] when there is no verdict at all. A refusal is a verdict.
    pub async fn apply(&mut self, patch: &str, proof: Option<Vec<u8>>) -> Result<Settled, AskError> {
        if let Ok(patch) = full_id(patch)
            && self.waits_for_restart(patch).await
        {
            return Err(AskError::AwaitsRestart(patch)); // It is in place: no node has to be asked for it.
        }
        let offer = match proof {
            Some(proof) => {
                let patch = match proofs::claimed_patch(&proof).filter(|claimed| claimed.to_string().starts_with(patch))
                {
                    Some(claimed) => claimed,
                    // A proof of something else, or of nothing: refused under the name that was asked for.
                    None => full_id(patch)?,
                };
                Offer { patch, proof, clock: self.site.heads.clock(now_ms()), asked: true }
            }
            None => {
                let patch = self.find(patch).await?;
                let Site { sources, heads, trust, .. } = &self.site;
                let offer = proofs::obtain(patch, true, sources, heads, trust).await;
                offer.map_err(|error| not_obtained(patch, error))?
            }
        };
        self.site.keep_proof(&offer);
        match self.update(&offer).await? {
            Ending::Settled(settled) => Ok(settled),
            Ending::AwaitsRestart(patch) => Err(AskError::AwaitsRestart(patch)),
        }
    }

    async fn update(&mut self, offer: &Offer) -> Result<Ending, FileError> {
        if let Some((patch, _)) = self.site.installer.to_be_judged() {
            self.waits_for_restart(offer.patch).await;
            return Ok(Ending::AwaitsRestart(patch));
        }
        if self.site.installer.is_interrupted() {
            self.bring_to_an_end().await?;
        }
        self.show(Some(offer.patch));
        let ending = update(&mut self.site, offer).await;
        self.show(None);
        match &ending {
            Ok(Ending::Settled(settled)) => self.view.send_modify(|view| view.last = Some(settled.clone())),
            Ok(Ending::AwaitsRestart(_)) => self.tend_restart().await,
            Err(_) => {}
        }
        ending
    }

    /// Whether this patch is in place and waits for the host's restart, which whoever asks for it asks for
    /// as well. Asking for another one does not restart the host.
    async fn waits_for_restart(&mut self, patch: PatchId) -> bool {
        let waits = self.site.installer.to_be_judged().is_some_and(|(waiting, _)| waiting == patch);
        if waits {
            self.tend_restart().await;
        }
        waits
    }

    /// Restarts the host if something waits for that and it may be done now.
    pub async fn tend_restart(&mut self) {
        let tended = self.site.tend_restart().await;
        self.view.send_modify(|view| {
            view.restart = None;
            match tended {
                Ok(Tended::Nothing) => {}
                Ok(Tended::Waits(waits)) => view.restart = Some(waits),
                Ok(Tended::Settled(settled)) => view.last = Some(settled),
                Err(error) => tracing::error!(error = chain(&error), "cannot see to the restart of the host"),
            }
        });
    }

    fn show(&self, updating: Option<PatchId>) {
        let tried = self.site.attempts.all().map(|(patch, tried)| (*patch, tried.outcome)).collect();
        let waiting = self.waiting.clone();
        self.view.send_modify(|view| (view.updating, view.tried, view.waiting) = (updating, tried, waiting));
    }

    /// Looks for approved patches of everything subscribed, and brings the newest onto the host.
    pub async fn pass(&mut self) {
        if self.site.installer.is_interrupted() {
            return; // One after the other.
        }
        let subscriptions: Vec<_> = self.site.config.subscriptions().cloned().collect();
        for of in subscriptions {
            if let Err(error) = self.pass_over(&of).await {
                tracing::error!(product = %of.product, error = chain(&error), "cannot work");
            }
        }
        self.turn = self.turn.wrapping_add(1);
    }

    async fn pass_over(&mut self, of: &Subscription) -> Result<(), FileError> {
        let installed = self.site.host()?.installed(&of.product, &of.channel).map_or(0, |installed| installed.release);
        let old = |patch: &v1::Patch| patch.channel == of.channel.as_str() && patch.release <= installed;
        let listed = self.first_answer(async |source| source.approved(of.product.as_str(), &old).await).await;
        let answered = listed.is_ok();
        let candidates = candidates(listed.unwrap_or_default(), of, installed);
        if answered {
            let is_of = |waiting: &Waiting| waiting.product == of.product && waiting.channel == of.channel;
            self.waiting.retain(|patch, waiting| !is_of(waiting) || candidates.contains(patch));
        }
        for patch in candidates {
            let waits = self.waiting.get(&patch).is_some_and(|waiting| self.site.now_ms() < waiting.look_again_ms);
            if waits || !self.site.attempts.may_try(patch, now_ms()) {
                continue;
            }
            let Site { sources, heads, trust, .. } = &self.site;
            let offer = match proofs::obtain(patch, false, sources, heads, trust).await {
                Ok(offer) => offer,
                Err(error) => {
                    let why = error.as_ref().map(ToString::to_string);
                    tracing::warn!(%patch, why, "no node gives a proof");
                    continue;
                }
            };
            self.site.keep_proof(&offer);
            if self.only_waits(&offer, of)? {
                continue;
            }
            let Ending::Settled(settled) = self.update(&offer).await? else { break };
            tracing::info!(%patch, %settled, "update is over");
            if settled.outcome == Outcome::Applied {
                break; // What is older than that is no longer newer than what is installed.
            }
        }
        Ok(())
    }

    /// Whether an offer only waits for its hour: nothing is begun then, and no receipt written.
    fn only_waits(&mut self, offer: &Offer, of: &Subscription) -> Result<bool, FileError> {
        let waited = self.waiting.remove(&offer.patch);
        let Some(wait) = self.site.waits_for(offer)? else { return Ok(false) };
        let look_again_ms = self.site.now_ms().saturating_add(LOOK_AGAIN_MS_MAX);
        let look_again_ms = wait.until_ms.map_or(look_again_ms, |until_ms| until_ms.min(look_again_ms));
        let (product, channel, why) = (of.product.clone(), of.channel.clone(), wait.to_string());
        if waited.is_none_or(|waited| waited.why != why) {
            tracing::info!(patch = %offer.patch, why, "not yet");
        }
        let waiting = Waiting { product, channel, until_ms: wait.until_ms, why, look_again_ms };
        self.waiting.insert(offer.patch, waiting);
        self.show(None);
        Ok(true)
    }

    /// Asks the nodes in turn until one answers: those first that answered last time, so that nobody
    /// waits for one that is gone.
    async fn first_answer<T>(
        &self,
        ask: impl AsyncFn(&Source) -> Result<T, CallError>,
    ) -> Result<T, Option<CallError>> {
        let (mut trouble, nodes) = (None, self.site.heads.nodes());
        let is_gone = |source: &Source| nodes.iter().any(|node| node.node == source.node() && !node.reachable);
        let mut sources: Vec<_> = self.site.sources.from(self.turn).collect();
        sources.sort_by_key(|source| is_gone(source));
        for source in sources {
            match ask(source).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::debug!(%error, "no answer");
                    trouble = Some(error);
                }
            }
        }
        Err(trouble)
    }

    /// The one patch whose id begins so.
    async fn find(&self, prefix: &str) -> Result<PatchId, AskError> {
        if let Ok(patch) = full_id(prefix) {
            return Ok(patch);
        }
        let prefix = as_prefix(prefix)?;
        let named = self.first_answer(async |source| source.named(&prefix).await).await.map_err(AskError::NoNode)?;
        the_one(&named, prefix)
    }
}

/// Approved patches above what is installed, newest first. What a node lists is believed as far as
/// asking for proofs goes.
fn candidates(listed: Vec<v1::Patch>, of: &Subscription, installed: u64) -> Vec<PatchId> {
    let fits = |patch: &v1::Patch| {
        patch.product == of.product.as_str()
            && patch.channel == of.channel.as_str()
            && patch.release > installed
            && patch.standing == "approved"
    };
    let mut fitting: Vec<_> = listed
        .iter()
        .filter(|patch| fits(patch))
        .filter_map(|patch| Some((patch.release, PatchId(id(&patch.id)?))))
        .collect();
    fitting.sort_unstable_by(|a, b| b.cmp(a));
    fitting.dedup();
    fitting.into_iter().take(CANDIDATES_MAX).map(|(_, patch)| patch).collect()
}

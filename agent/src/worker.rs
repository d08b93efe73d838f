//! The worker: brings what is approved onto this host, one patch at a time, by itself and when asked.

mod asked;
mod installed;
mod naming;
mod no_attempt;
mod open;

pub use asked::{AskError, Asked, Wish};
pub use naming::look_up;
pub use no_attempt::NoAttempt;
pub use open::OpenView;

use crate::clock::running_ms;
use crate::files::FileError;
use crate::follow::Pace;
use crate::follow::sources::{CallError, Listed, Source};
use crate::proofs::{self, Offer};
use crate::restart::{RestartView, Tended};
use crate::settled::{Settled, chain};
use crate::site::Site;
use crate::update::{Ending, update};
use installed::Looks;
use ledger::bounded::{Name, Product};
use ledger::id::{Digest, PatchId};
use ledger::receipt::Outcome;
use policy::Subscription;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// Patches of one subscription tried in one pass.
const CANDIDATES_MAX: usize = 16;
/// What waits for its hour is proven again after this: it may have become urgent.
const LOOK_AGAIN_MS_MAX: u64 = 15 * 60 * 1000;
/// How long a pass asks for proofs that nobody has: a node may list what it likes, and the next pass asks another one.
const SEARCH_MAX: Duration = Duration::from_secs(60);
/// How long until what the host lacked for a kind of patches is looked for again.
const LOOK_FOR_KINDS_AFTER: Duration = Duration::from_secs(5 * 60);
/// The ledger may have many blocks a second; an agent looks less often.
const PASS_INTERVAL_MIN: Duration = Duration::from_millis(250);

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
    /// When it is looked at again, by how long the host has run: approvals may make it urgent meanwhile.
    look_again_ms: u64,
}

/// The worker.
pub struct Worker {
    site: Site,
    view: watch::Sender<WorkerView>,
    /// Which node is asked what there is: in turn, so that none of them can keep a patch secret, and across restarts,
    /// so that none that brings the agent down is the first one each time.
    turn: usize,
    /// What only waits for its hour.
    waiting: BTreeMap<PatchId, Waiting>,
    /// How what is installed stands.
    looks: Looks,
    /// Until when the nodes would like to be left alone, none of which had an answer.
    patience: Option<Instant>,
    /// How long this pass has asked for proofs that nobody had.
    searched: Duration,
    /// When it was looked last for what the host lacks for a kind of patches.
    looked_for_kinds: Instant,
}

impl Worker {
    /// Takes over an endpoint that was recovered.
    #[must_use]
    pub fn new(site: Site) -> Self {
        let view = watch::channel(WorkerView::default()).0;
        let turn = site.starts();
        let (waiting, looks, searched) = (BTreeMap::new(), Looks::default(), Duration::ZERO);
        let looked_for_kinds = Instant::now();
        let worker = Self { site, view, turn, waiting, looks, patience: None, searched, looked_for_kinds };
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

    /// Works until nobody can ask any more, or another program is to run: at once when somebody asks, when the ledger has something
    /// new, and now and then anyway.
    pub async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut changed = self.site.heads.watch();
        let mut pace = Pace::new(&self.site.config.ledger, Digest(self.site.key().public().0));
        // When that is looked at which is new in the ledger: all that is new until then, in one go.
        let mut wakes: Option<Instant> = None;
        loop {
            if self.site.installer.leaves() {
                return;
            }
            self.tend_restart().await;
            self.tend_open().await;
            if self.site.installer.leaves() {
                return;
            }
            let retry = self.site.attempts.next_try_in_ms(running_ms()).map(Duration::from_millis);
            let hour = self.next_look_ms().map(|at| Duration::from_millis(at.saturating_sub(running_ms())));
            let now = Instant::now();
            let woken = wakes.map(|wakes| wakes.saturating_duration_since(now));
            let wait = [retry, hour, woken].into_iter().flatten().fold(pace.interval(), Duration::min);
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
                Ok(()) = changed.changed(), if wakes.is_none() => {
                    let left = self.patience.map(|until| until.saturating_duration_since(Instant::now()));
                    wakes = Some(Instant::now() + pace.wake(left.unwrap_or_default()));
                    continue;
                }
                () = sleep(wait) => {}
            }
            changed.mark_unchanged();
            wakes = None;
            self.pass().await;
            sleep(PASS_INTERVAL_MIN).await;
        }
    }

    /// The moment at which the first of what waits is looked at again, by how long the host has run.
    fn next_look_ms(&self) -> Option<u64> {
        let view = self.view.borrow();
        let restart = view.restart.as_ref().map(|restart| restart.look_again_ms);
        let open = view.open.as_ref().map(|open| open.look_again_ms);
        self.waiting.values().map(|waiting| waiting.look_again_ms).chain(restart).chain(open).min()
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
            Ok(Ending::Settled(settled)) => {
                if settled.outcome == Outcome::Applied {
                    self.proven_just_now(settled.patch);
                }
                self.view.send_modify(|view| view.last = Some(settled.clone()));
            }
            Ok(Ending::AwaitsRestart(_)) => self.tend_restart().await,
            Ok(Ending::Waits(_)) | Err(_) => {}
        }
        ending
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

    /// Looks for approved patches of everything subscribed, and brings the newest onto the host; and looks
    /// after what is installed.
    pub async fn pass(&mut self) {
        (self.patience, self.searched) = (None, Duration::ZERO);
        if self.looked_for_kinds.elapsed() > LOOK_FOR_KINDS_AFTER {
            let kinds = self.site.installer.kinds().clone();
            // A look that breaks off finds nothing.
            let _ = tokio::task::spawn_blocking(move || kinds.look_again()).await;
            self.looked_for_kinds = Instant::now();
        }
        // One after the other.
        if !self.site.installer.is_interrupted() {
            self.pass_over_all().await;
        }
        if let Err(error) = self.follow_installed().await {
            tracing::error!(error = chain(&error), "cannot look after what is installed");
        }
        self.turn = self.turn.wrapping_add(1);
    }

    async fn pass_over_all(&mut self) {
        let subscriptions: Vec<_> = self.site.config.subscriptions().cloned().collect();
        for of in subscriptions {
            if let Err(error) = self.pass_over(&of).await {
                tracing::error!(product = %of.product, error = chain(&error), "cannot work");
            }
            if self.site.installer.leaves() {
                return;
            }
        }
    }

    async fn pass_over(&mut self, of: &Subscription) -> Result<(), FileError> {
        let installed = self.site.host()?.installed(&of.product, &of.channel).map_or(0, |installed| installed.release);
        let listed = self.first_answer(async |source| source.approved(of, installed).await).await;
        if let Err(Some(error)) = &listed
            && let Some(hint) = error.retry_after()
        {
            self.patience = Some(Instant::now() + hint.min(self.site.config.ledger.poll_interval));
        }
        let answered = listed.is_ok();
        if let Ok(listed) = &listed {
            self.hear_of_installed(of, listed)?;
        }
        let candidates = candidates(listed.unwrap_or_default(), installed);
        if answered {
            let is_of = |waiting: &Waiting| waiting.product == of.product && waiting.channel == of.channel;
            self.waiting.retain(|patch, waiting| !is_of(waiting) || candidates.contains(patch));
        }
        for patch in candidates {
            let waits = self.waiting.get(&patch).is_some_and(|waiting| running_ms() < waiting.look_again_ms);
            if waits || !self.site.attempts.may_try(patch, running_ms()) {
                continue;
            }
            // Whoever lists what nobody proves, and takes its time, is not the last to be asked.
            if self.searched > SEARCH_MAX {
                break;
            }
            let Site { sources, heads, trust, .. } = &self.site;
            let began = Instant::now();
            let offer = match proofs::obtain(patch, false, sources, heads, trust).await {
                Ok(offer) => offer,
                Err(error) => {
                    self.searched += began.elapsed();
                    let why = error.as_ref().map(ToString::to_string);
                    tracing::warn!(%patch, why, "no node gives a proof");
                    continue;
                }
            };
            if !proofs::is_worth_an_attempt(&offer, trust) || !is_newer(&offer, of, installed) {
                self.searched += began.elapsed();
                tracing::warn!(%patch, product = %of.product, "listed as approved, and it is not that");
                continue;
            }
            self.site.keep_proof(&offer);
            if self.only_waits(&offer, of)? {
                continue;
            }
            let settled = match self.update(&offer).await? {
                Ending::Settled(settled) => settled,
                Ending::AwaitsRestart(_) => break,
                // Its hour passed while it was made ready; the next pass takes note of until when it waits.
                Ending::Waits(_) => continue,
            };
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
        let until_ms = |until_ms: u64| until_ms.saturating_sub(self.site.now_ms());
        let wait_ms = wait.until_ms.map_or(LOOK_AGAIN_MS_MAX, until_ms).min(LOOK_AGAIN_MS_MAX);
        let look_again_ms = running_ms().saturating_add(wait_ms);
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
    /// waits for one that is gone. Where none does, what the one says that may be asked again first.
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
                    let again = |error: &CallError| error.retry_after().unwrap_or(Duration::MAX);
                    trouble = trouble.filter(|known| again(known) < again(&error)).or(Some(error));
                }
            }
        }
        Err(trouble)
    }
}

/// Whether what is offered is what it was listed as: a newer release of this product, on this channel.
fn is_newer(offer: &Offer, of: &Subscription, installed: u64) -> bool {
    proofs::claimed(&offer.proof).is_some_and(|manifest| {
        (&manifest.product, &manifest.channel) == (&of.product, &of.channel) && manifest.release > installed
    })
}

/// Approved patches above what is installed, newest first. What a node lists is believed as far as
/// asking for proofs goes.
fn candidates(mut listed: Vec<Listed>, installed: u64) -> Vec<PatchId> {
    listed.retain(|listed| listed.release > installed);
    listed.sort_unstable_by_key(|listed| Reverse((listed.release, listed.patch)));
    listed.dedup();
    listed.into_iter().take(CANDIDATES_MAX).map(|listed| listed.patch).collect()
}

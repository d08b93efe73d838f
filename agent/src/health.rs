//! Health between updates: whether what is installed goes on working. What was kept is not taken back by this: it is said,
//! here and to the nodes, and people decide.

use crate::clock::now_ms;
use crate::config::Service;
use crate::data::DataDir;
use crate::follow::Pace;
use crate::installer::installs::{self, InstalledTree, VersionId};
use crate::installer::under_way::{UnderWay, under_way};
use crate::inventory::Gatherer;
use crate::probes::{At, Prober};
use crate::services::{Phase, ServiceView, Services};
use crate::settled::chain;
use crate::shelf::Shelf;
use crate::site::Site;
use crate::turns::Turns;
use futures::future::{FutureExt as _, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use ledger::bounded::{Name, Product};
use ledger::id::Digest;
use ledger::patch::{InstallerKind, PatchManifest};
use policy::Subscription;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// By how much a look strays from its interval, so that the hosts of a machine do not look in step.
const JITTER_PERCENT: u64 = 10;
/// For so many intervals it is said that a service died, though it runs again: whoever looks every few minutes sees it, and
/// one that dies again and again is not well in between.
const DEATH_SHOWN_INTERVALS: u32 = 5;

/// How something installed does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Its product.
    pub product: Product,
    /// Its channel.
    pub channel: Name,
    /// Since when it does so, as far as somebody looked.
    pub since_ms: u64,
    /// The first check that failed, and how; nothing while all pass.
    pub trouble: Option<String>,
}

/// What was seen last of everything installed.
#[derive(Clone, Debug, Default)]
pub struct Vitals(Arc<Mutex<BTreeMap<Subscription, HealthView>>>);

impl Vitals {
    /// Of each that was looked at.
    #[must_use]
    pub fn all(&self) -> Vec<HealthView> {
        self.seen().values().cloned().collect()
    }

    /// Takes note of what was seen; whether that is another thing than before.
    fn note(&self, of: &Subscription, trouble: Option<String>, now_ms: u64) -> bool {
        let mut seen = self.seen();
        if let Some(before) = seen.get_mut(of)
            && before.trouble.is_some() == trouble.is_some()
        {
            // It is the same trouble, whatever it is called now.
            before.trouble = trouble;
            return false;
        }
        let is_news = trouble.is_some() || seen.contains_key(of);
        let (product, channel) = (of.product.clone(), of.channel.clone());
        seen.insert(of.clone(), HealthView { product, channel, since_ms: now_ms, trouble });
        is_news
    }

    /// What is not installed any more does not do anything; whether something of it did not work.
    fn forget_all_but(&self, installed: &BTreeSet<Subscription>) -> bool {
        let mut seen = self.seen();
        let was_ill = seen.iter().any(|(of, view)| !installed.contains(of) && view.trouble.is_some());
        seen.retain(|of, _| installed.contains(of));
        was_ill
    }

    /// The lock's holder only moves values, so a panic elsewhere cannot have left it half-way.
    fn seen(&self) -> MutexGuard<'_, BTreeMap<Subscription, HealthView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after what is installed.
pub struct Monitor {
    data: DataDir,
    prober: Prober,
    services: Arc<Services>,
    gatherer: Gatherer,
    turns: Turns,
    every: Duration,
    /// How each service had died when it was looked at last.
    deaths: BTreeMap<Name, Deaths>,
    seen: BTreeMap<Subscription, Seen>,
    /// The agent's own program is not asked: that it looks says that it works.
    own_program: Option<Subscription>,
}

/// How often a service died, and when it did last.
#[derive(Debug, Default)]
struct Deaths {
    known: u32,
    last: Option<Instant>,
}

/// What was seen of something installed.
#[derive(Debug, Default)]
struct Seen {
    id: Option<VersionId>,
    /// What is wrong with its services, or with what is known of it.
    trouble: Option<String>,
    /// What its checks said last; nothing before they said anything.
    checked: Option<Option<String>>,
    is_being_checked: bool,
}

/// What checks said, of which version.
struct Checked {
    of: Subscription,
    id: VersionId,
    trouble: Option<String>,
}

type Checks = FuturesUnordered<LocalBoxFuture<'static, Checked>>;

impl Monitor {
    /// Of this endpoint; what it sees is told with what is gathered of its host.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        Self {
            data: DataDir::at(site.config.data_dir.clone()),
            prober: site.installer.prober().for_watching(),
            services: site.installer.services().clone(),
            gatherer: site.inventory.clone(),
            turns: site.turns.clone(),
            every: site.config.health.watch,
            deaths: BTreeMap::new(),
            seen: BTreeMap::new(),
            own_program: site.config.own_program.as_ref().map(|own| own.of.clone()),
        }
    }

    /// Looks for ever, now and then; never where that is no time. An update ends the look that is under way: it asks for
    /// itself.
    pub async fn run(mut self, seed: Digest) {
        if self.every.is_zero() {
            return std::future::pending().await;
        }
        let (turns, mut pace) = (self.turns.clone(), Pace::of(self.every, JITTER_PERCENT, seed));
        loop {
            turns.rest().await;
            let _never: Option<Infallible> = turns.look(self.watch(&mut pace)).await;
            self.seen.values_mut().for_each(|seen| seen.is_being_checked = false);
        }
    }

    /// Looks at once, and then now and then. A check that takes its time holds nothing else up.
    async fn watch(&mut self, pace: &mut Pace) -> Infallible {
        let (mut checks, mut next) = (Checks::new(), Instant::now());
        loop {
            tokio::select! {
                () = sleep_until(next) => {
                    next = Instant::now() + pace.interval();
                    self.look(&checks);
                }
                Some(checked) = checks.next(), if !checks.is_empty() => self.hear(checked),
            }
        }
    }

    /// Looks at everything installed, and begins to ask what is not being asked.
    fn look(&mut self, checks: &Checks) {
        let open = match under_way(&self.data.journal()) {
            Ok(open) => open,
            Err(error) => return self.say_of_all(&chain(&error)),
        };
        let all = match installs::each(&self.data.installs()) {
            Ok(all) => all,
            Err(error) => return self.say_of_all(&chain(&error)),
        };
        let mut there = BTreeSet::new();
        for (of, found) in all {
            if self.own_program.as_ref() == Some(&of) {
                continue;
            }
            let is_open = |open: &&UnderWay| open.begun.product == of.product && open.begun.channel == of.channel;
            match (open.as_ref().filter(is_open), found) {
                // It is in place, and is judged later.
                (Some(open), _) if open.is_judged_later => {}
                (Some(open), _) => self.say(&of, Some(open.said.clone())),
                (None, Ok(None)) => continue,
                (None, Err(error)) => self.say(&of, Some(chain(&error))),
                (None, Ok(Some(installed))) => self.look_at(&of, installed, checks),
            }
            there.insert(of);
        }
        self.seen.retain(|of, _| there.contains(of));
        if self.gatherer.vitals.forget_all_but(&there) {
            self.gatherer.want();
        }
    }

    fn look_at(&mut self, of: &Subscription, installed: InstalledTree, checks: &Checks) {
        let (manifest, unknown) = match self.manifest(&installed) {
            Ok(manifest) => (manifest, None),
            Err(why) => (None, Some(why)),
        };
        let trouble = self.trouble_of_services(of, manifest.as_ref()).or(unknown);
        let seen = self.seen.entry(of.clone()).or_default();
        if seen.id.as_ref() != Some(&installed.id) {
            *seen = Seen { id: Some(installed.id.clone()), is_being_checked: seen.is_being_checked, ..Seen::default() };
        }
        if !seen.is_being_checked {
            seen.is_being_checked = true;
            checks.push(check(self.prober.clone(), of.clone(), installed, manifest).boxed_local());
        }
        self.say(of, trouble);
    }

    fn hear(&mut self, Checked { of, id, trouble }: Checked) {
        let Some(seen) = self.seen.get_mut(&of) else { return };
        seen.is_being_checked = false;
        // Another version may be there by now.
        if seen.id.as_ref() == Some(&id) {
            seen.checked = Some(trouble);
            let trouble = seen.trouble.clone();
            self.say(&of, trouble);
        }
    }

    /// Takes note of what is wrong with something installed beside what its checks say, and tells if that is news.
    fn say(&mut self, of: &Subscription, trouble: Option<String>) {
        let seen = self.seen.entry(of.clone()).or_default();
        seen.trouble = trouble;
        let trouble = match (&seen.trouble, &seen.checked) {
            (Some(trouble), _) | (None, Some(Some(trouble))) => Some(trouble.clone()),
            (None, Some(None)) => None,
            // Nobody knows yet.
            (None, None) => return,
        };
        if self.gatherer.vitals.note(of, trouble.clone(), now_ms()) {
            match trouble {
                Some(why) => tracing::warn!(product = %of.product, channel = %of.channel, why, "does not work"),
                None => tracing::info!(product = %of.product, channel = %of.channel, "works again"),
            }
            self.gatherer.want();
        }
    }

    /// What cannot be read of the agent's own is wrong with everything it looks after.
    fn say_of_all(&mut self, why: &str) {
        let all: Vec<Subscription> = self.seen.keys().cloned().collect();
        all.iter().for_each(|of| self.say(of, Some(why.to_owned())));
    }

    /// What is wrong with the services of something installed, those that its manifest names included.
    fn trouble_of_services(&mut self, of: &Subscription, manifest: Option<&PatchManifest>) -> Option<String> {
        let is_of = |service: &&Service| {
            service.of == *of || manifest.is_some_and(|manifest| manifest.services.contains(&service.name))
        };
        let services = self.services.clone();
        let of_it: Vec<&Service> = services.all().iter().filter(is_of).collect();
        let views = services.views();
        // Each is looked at: how often it died is counted from here.
        let troubles = of_it.into_iter().filter_map(|service| {
            let view = views.iter().find(|view| view.service == service.name)?;
            self.trouble_of_service(service, view)
        });
        troubles.reduce(|first, _| first)
    }

    /// What is wrong with a service: that it does not run, or died lately. One whose own product is not installed has
    /// nothing to run.
    fn trouble_of_service(&mut self, service: &Service, view: &ServiceView) -> Option<String> {
        let ServiceView { phase, deaths, last_end, .. } = view;
        let count = self.deaths.entry(service.name.clone()).or_default();
        if *deaths != count.known {
            count.last = if *deaths > 0 { Some(Instant::now()) } else { None };
            count.known = *deaths;
        }
        let died_lately = count.last.is_some_and(|last| last.elapsed() < self.every * DEATH_SHOWN_INTERVALS);
        let has_nothing_to_run =
            *phase == Phase::Stopped && matches!(installs::installed(&self.data.installs(), &service.of), Ok(None));
        let how = last_end.as_deref().unwrap_or("it does not run");
        let is_ill = (*phase != Phase::Running && !has_nothing_to_run) || died_lately;
        is_ill.then(|| format!("service {}: {how}", service.name))
    }

    /// The manifest of what a patch brought, from the proof that was kept of it; none of a baseline.
    fn manifest(&self, installed: &InstalledTree) -> Result<Option<PatchManifest>, String> {
        let Some(patch) = installed.meta.patch else { return Ok(None) };
        let manifest = Shelf::at(&self.data.proofs()).manifest(patch).map_err(|error| chain(&error))?;
        manifest.map(Some).ok_or_else(|| format!("its checks are not known: there is no proof of patch {patch} here"))
    }
}

/// Makes the checks of something installed.
async fn check(prober: Prober, of: Subscription, installed: InstalledTree, manifest: Option<PatchManifest>) -> Checked {
    let checks = manifest.map(|manifest| manifest.health.into_vec()).unwrap_or_default();
    let tree = installed.tree.as_path();
    let at = if installed.meta.kind == InstallerKind::Container { At::Container(tree) } else { At::Host(tree) };
    let trouble = prober.look(&checks, at).await.err().map(|failure| failure.to_string());
    Checked { of, id: installed.id, trouble }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_is_news_when_it_breaks_and_when_it_works_again() {
        let of = Subscription { product: "acme/widget".parse().unwrap(), channel: Name::new("stable").unwrap() };
        let vitals = Vitals::default();
        let view = || vitals.all().pop().unwrap();
        assert!(!vitals.note(&of, None, 1), "that something works is no news");
        assert!(vitals.note(&of, Some("port 80: refused".to_owned()), 2));
        assert!(!vitals.note(&of, Some("port 80: timed out".to_owned()), 3), "it still does not");
        assert_eq!((view().since_ms, view().trouble.as_deref()), (2, Some("port 80: timed out")));
        assert!(vitals.note(&of, None, 4));
        assert_eq!((view().since_ms, view().trouble), (4, None));
        // What does not work at the first look is news, too.
        let vitals = Vitals::default();
        assert!(vitals.note(&of, Some("port 80: refused".to_owned()), 1));
    }
}

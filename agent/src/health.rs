//! Health between updates: whether what is installed goes on working. What was kept is not taken back by this: it is said,
//! here and to the nodes, and people decide.

use crate::clock::now_ms;
use crate::config::{Config, Service};
use crate::data::DataDir;
use crate::follow::Pace;
use crate::installer::installs::{self, InstalledTree, VersionId};
use crate::installer::under_way::under_way;
use crate::inventory::Gatherer;
use crate::probes::{At, Prober};
use crate::proofs;
use crate::services::{Phase, ServiceView, Services};
use crate::settled::chain;
use crate::shelf::Shelf;
use ledger::bounded::{Name, Product};
use ledger::id::Digest;
use ledger::patch::{InstallerKind, PatchManifest};
use policy::Subscription;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// By how much a look strays from its interval, so that the hosts of a machine do not look in step.
const JITTER_PERCENT: u64 = 10;

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
    /// How often each service had died when it was looked at last.
    deaths: BTreeMap<Name, u32>,
    /// The agent's own program is not asked: that it looks says that it works.
    own_program: Option<Subscription>,
}

impl Monitor {
    /// Of this host; what it sees is told with what the gatherer gathers.
    #[must_use]
    pub fn new(config: &Config, prober: &Prober, services: Arc<Services>, gatherer: Gatherer) -> Self {
        let own_program = config.own_program.as_ref().map(|own| own.of.clone());
        let data = DataDir::at(config.data_dir.clone());
        Self { data, prober: prober.for_watching(), services, gatherer, deaths: BTreeMap::new(), own_program }
    }

    /// Looks for ever, so often; never where that is no time.
    pub async fn run(mut self, every: Duration, seed: Digest) {
        if every.is_zero() {
            return std::future::pending().await;
        }
        let mut pace = Pace::of(every, JITTER_PERCENT, seed);
        loop {
            tokio::time::sleep(pace.interval()).await;
            self.look().await;
        }
    }

    /// Looks once at everything installed. While an update is under way nothing is looked at: it asks for itself.
    async fn look(&mut self) {
        let Some(all) = self.settled() else { return };
        self.gatherer.vitals.seen().retain(|of, _| all.contains_key(of));
        for (of, installed) in &all {
            if self.own_program.as_ref() == Some(of) {
                continue;
            }
            let trouble = self.trouble(of, installed).await;
            // What an update replaces meanwhile is not what was asked.
            let is_still = |now: &BTreeMap<_, InstalledTree>| now.get(of).map(id) == Some(id(installed));
            if !self.settled().is_some_and(|now| is_still(&now)) {
                return;
            }
            if self.gatherer.vitals.note(of, trouble.clone(), now_ms()) {
                match trouble {
                    Some(why) => tracing::warn!(product = %of.product, channel = %of.channel, why, "does not work"),
                    None => tracing::info!(product = %of.product, channel = %of.channel, "works again"),
                }
                self.gatherer.want();
            }
        }
    }

    /// What is installed, if no update is under way. What cannot be read is said by those who look after it.
    fn settled(&self) -> Option<BTreeMap<Subscription, InstalledTree>> {
        if !under_way(&self.data.journal()).is_ok_and(|under_way| under_way.is_none()) {
            return None;
        }
        let each = installs::each(&self.data.installs()).ok()?.into_iter();
        Some(each.filter_map(|(of, found)| Some((of, found.ok().flatten()?))).collect())
    }

    /// What is wrong with something installed: with a service of it, or by a check of its manifest or of this house.
    async fn trouble(&mut self, of: &Subscription, installed: &InstalledTree) -> Option<String> {
        let manifest = self.manifest(installed);
        let named = |service: &Service| manifest.as_ref().is_some_and(|it| it.services.contains(&service.name));
        let services: Vec<Name> = self
            .services
            .all()
            .iter()
            .filter(|service| service.of == *of || named(service))
            .map(|service| service.name.clone())
            .collect();
        let views = self.services.views();
        // Each is looked at: how often it died is counted from here.
        let failed =
            views.iter().filter(|view| services.contains(&view.service)).filter_map(|view| self.service_trouble(view));
        if let Some(trouble) = failed.collect::<Vec<_>>().into_iter().next() {
            return Some(trouble);
        }
        let checks = manifest.map(|manifest| manifest.health.into_vec()).unwrap_or_default();
        let tree = installed.tree.as_path();
        let at = if installed.meta.kind == InstallerKind::Container { At::Container(tree) } else { At::Host(tree) };
        self.prober.look(&checks, at).await.err().map(|failure| failure.to_string())
    }

    /// What is wrong with a service: that it does not run, or did not all the time since it was looked at last.
    fn service_trouble(&mut self, view: &ServiceView) -> Option<String> {
        let ServiceView { service, phase, deaths, last_end, .. } = view;
        let known = self.deaths.insert(service.clone(), *deaths).unwrap_or(*deaths);
        let how = last_end.as_deref().unwrap_or("it does not run");
        let died = *deaths > known;
        (*phase != Phase::Running || died).then(|| format!("service {service}: {how}"))
    }

    /// The manifest of what a patch brought, from the proof that was kept of it. The patch's name is its digest, so it is
    /// that one, whoever wrote the file.
    fn manifest(&self, installed: &InstalledTree) -> Option<PatchManifest> {
        let patch = installed.meta.patch?;
        let proof = Shelf::at(&self.data.proofs()).proof(patch).unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "a proof that was kept cannot be read: its checks are not made");
            None
        });
        proofs::claimed(&proof?).filter(|manifest| manifest.id() == patch)
    }
}

fn id(installed: &InstalledTree) -> &VersionId {
    &installed.id
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

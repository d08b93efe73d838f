//! The services an update is for: stopped and started from what is installed then.
//!
//! A service that is only to be there again, because the agent is, runs from what was judged: what is
//! installed, and while an update of its product is open, the version before. That one stands by itself
//! where versions are trees of their own. Where a patch was put into the place of what was there, there
//! is nothing else to start: then what waits for a restart of the host is started, as it would be by
//! anybody; and what is neither old nor new is not, until it is one of them. Of a first installation
//! nothing is started before it was judged.

use super::Installer;
use super::installs::{self, InstalledTree, Place};
use super::journal::{Begun, Record};
use crate::attempt_log::AttemptLog;
use crate::config::Service;
use crate::files::FileError;
use crate::settled::{Refusal, chain, reason};
use crate::shelf::Shelf;
use ledger::bounded::Name;
use ledger::patch::PatchManifest;
use ledger::receipt::{Reason, ReasonCode};
use std::path::PathBuf;

impl Installer {
    /// Starts every service that no open update has to do with and that does not run yet.
    pub async fn start_other_services(&self) {
        let open = self.open_update();
        let is_other = |service: &Service| open.is_none_or(|begun| !is_of(service, begun));
        self.start_those(is_other).await;
    }

    /// Starts every service that does not run yet, from what was judged.
    pub async fn start_services(&self) {
        self.start_those(|_| true).await;
    }

    async fn start_those(&self, which: impl Fn(&Service) -> bool) {
        for service in self.services.all() {
            if !which(service) || self.services.looks_after(service) {
                continue;
            }
            let started = match self.judged_tree(service) {
                Ok(None) => continue,
                Ok(tree) => self.services.begin(service, tree.as_deref()).await.map_err(|error| error.to_string()),
                Err(error) => Err(chain(&error)),
            };
            if let Err(trouble) = started {
                tracing::warn!(trouble, "a service does not start; it is tried again");
            }
        }
    }

    /// Where a service runs from that nobody is judging.
    fn judged_tree(&self, service: &Service) -> Result<Option<PathBuf>, FileError> {
        let installs = self.data.installs();
        let installed = || installs::installed(&installs, &service.of).map(|there| there.map(|there| there.tree));
        let Some(begun) = self.open_update().filter(|begun| is_of(service, begun)) else { return installed() };
        let records = self.journal.records();
        let is_settled = |record: &Record| matches!(record, Record::Judged { against: None } | Record::Restored);
        if !records.contains(&Record::Switching) || records.iter().any(is_settled) {
            return installed();
        }
        let Some(from) = &begun.from else { return Ok(None) };
        let place = Place::new(&installs, &service.of);
        match place.meta(from)?.runs_from {
            None => Ok(Some(place.tree(from)).filter(|tree| tree.is_dir())),
            Some(in_place) if self.to_be_judged().is_some() => Ok(Some(in_place)),
            Some(_) => Ok(None),
        }
    }

    /// The services a switch is for: those of its product, and those its manifest names.
    pub(super) fn affected(&self, begun: &Begun, manifest: &PatchManifest) -> Vec<Service> {
        let named = |service: &Service| manifest.services.contains(&service.name);
        self.services.all().iter().filter(|service| is_of(service, begun) || named(service)).cloned().collect()
    }

    /// The same when only the journal knows of the update: what its manifest says, the proof that was kept of it says.
    pub(super) fn affected_by(&self, begun: &Begun) -> Vec<Service> {
        match Shelf::at(&self.data.proofs()).manifest(begun.patch) {
            Ok(Some(manifest)) => self.affected(begun, &manifest),
            // Those of its product all the same.
            Ok(None) | Err(_) => self.services.all().iter().filter(|service| is_of(service, begun)).cloned().collect(),
        }
    }

    /// Says which services a manifest names that nobody restarts here.
    pub(super) fn say_who_is_unknown(&self, manifest: &PatchManifest, log: &mut AttemptLog) {
        let is_known = |name: &Name| self.services.all().iter().any(|service| service.name == *name);
        for name in manifest.services.iter().filter(|name| !is_known(name)) {
            log.line(&format!("service {name}, which the patch names, is none of this agent's: it is not restarted"));
        }
    }

    /// Restarts services from what is installed now.
    pub(super) async fn restart(&self, services: &[Service], log: &mut AttemptLog) -> Result<(), Reason> {
        for service in services {
            log.line(&format!("restarting service {}", service.name));
            self.restart_one(service).await?;
        }
        Ok(())
    }

    /// Restarts what goes on without an agent, if it may have been started from what is gone again: the way back ended before
    /// it came to that.
    pub(super) async fn restart_units(&self, affected: &[Service], log: &mut AttemptLog) -> Result<(), Reason> {
        let may_have_been_started = self.journal.records().contains(&Record::Switching);
        let units: Vec<_> = affected.iter().filter(|service| service.unit.is_some()).cloned().collect();
        if may_have_been_started { self.restart(&units, log).await } else { Ok(()) }
    }

    async fn restart_one(&self, service: &Service) -> Result<(), Reason> {
        let installed = installs::installed(&self.data.installs(), &service.of);
        let installed: Option<InstalledTree> = installed.map_err(|error| Refusal::from(error).reason)?;
        let tree = installed.map(|installed| installed.tree);
        let restarted = self.services.restart(service, tree.as_deref()).await;
        restarted.map_err(|error| reason(ReasonCode::ServiceFailed, error))
    }
}

/// Whether a service runs what an update is about.
fn is_of(service: &Service, begun: &Begun) -> bool {
    service.of.product == begun.product && service.of.channel == begun.channel
}

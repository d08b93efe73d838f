//! The services an update is for: stopped and started from what is installed then.

use super::Installer;
use super::installs::{self, InstalledTree};
use super::journal::Begun;
use crate::attempt_log::AttemptLog;
use crate::config::Service;
use crate::settled::{Refusal, reason};
use ledger::patch::PatchManifest;
use ledger::receipt::{Reason, ReasonCode};

impl Installer {
    /// Starts every service of what is installed that does not run yet.
    pub async fn start_services(&self) {
        let running: Vec<_> = self.services.views().into_iter().filter(|view| view.tree.is_some()).collect();
        for service in self.services.all() {
            if running.iter().any(|view| view.service == service.name) {
                continue;
            }
            if let Err(reason) = self.restart_one(service).await {
                tracing::warn!(%reason, "a service does not start; it is tried again");
            }
        }
    }

    /// The services a switch is for: those of its product, and those its manifest names.
    pub(super) fn affected(&self, begun: &Begun, manifest: &PatchManifest) -> Vec<Service> {
        let of = |service: &&Service| service.of.product == begun.product && service.of.channel == begun.channel;
        let named = |service: &&Service| manifest.services.contains(&service.name);
        self.services.all().iter().filter(|service| of(service) || named(service)).cloned().collect()
    }

    /// Restarts services from what is installed now.
    pub(super) async fn restart(&self, services: &[Service], log: &mut AttemptLog) -> Result<(), Reason> {
        for service in services {
            log.line(&format!("restarting service {}", service.name));
            self.restart_one(service).await?;
        }
        Ok(())
    }

    async fn restart_one(&self, service: &Service) -> Result<(), Reason> {
        let installed = installs::installed(&self.data.installs(), &service.of);
        let installed: Option<InstalledTree> = installed.map_err(|error| Refusal::from(error).reason)?;
        let tree = installed.map(|installed| installed.tree);
        let restarted = self.services.restart(service, tree.as_deref()).await;
        restarted.map_err(|error| reason(ReasonCode::ServiceFailed, error))
    }
}

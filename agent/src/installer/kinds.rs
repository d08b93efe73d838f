//! The kinds of patches there are, and which of them this host can install.

use super::debian::Debian;
use super::directory_tree::DirectoryTree;
use super::file_set::FileSet;
use super::install::Install;
use super::packages::Packages;
use super::rpm::RpmPackages;
use crate::config;
use crate::settled::Refusal;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::ReasonCode;
use policy::Offered;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Every kind a manifest can name.
const ALL: [InstallerKind; 7] = [
    InstallerKind::DirectoryTree,
    InstallerKind::Debian,
    InstallerKind::Rpm,
    InstallerKind::ImageSlot,
    InstallerKind::FileSet,
    InstallerKind::Container,
    InstallerKind::Script,
];

/// A kind, and what this host lacks for it.
struct Known {
    install: Arc<dyn Install>,
    lacks: Option<String>,
}

/// The kinds this agent knows, each looked at once: at the start.
pub struct Kinds(BTreeMap<InstallerKind, Known>);

/// A kind as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindStatus {
    /// Which.
    pub kind: InstallerKind,
    /// What this host lacks for it; offered when nothing.
    pub lacks: Option<String>,
}

impl fmt::Display for KindStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.lacks {
            None => write!(f, "{}", policy::kind_words(self.kind)),
            Some(lacks) => write!(f, "no {}: {lacks}", policy::kind_words(self.kind)),
        }
    }
}

impl Kinds {
    /// Every kind registers itself here, with what it needs of the host.
    #[must_use]
    pub fn of(config: &config::Installers) -> Self {
        Self::from_all(vec![
            Arc::new(DirectoryTree::default()),
            Arc::new(Packages(Debian::new(&config.debian))),
            Arc::new(Packages(RpmPackages::new(&config.rpm))),
            Arc::new(FileSet::new(&config.file_set)),
        ])
    }

    fn from_all(all: Vec<Arc<dyn Install>>) -> Self {
        let known = |install: Arc<dyn Install>| (install.kind(), Known { lacks: install.lacks(), install });
        Self(all.into_iter().map(known).collect())
    }

    /// Every kind there is, for `status` and for the log at the start.
    #[must_use]
    pub fn statuses(&self) -> Vec<KindStatus> {
        let lacks = |kind| match self.0.get(&kind) {
            Some(known) => known.lacks.clone(),
            None => Some("this agent has no installer for them".to_owned()),
        };
        ALL.iter().map(|kind| KindStatus { kind: *kind, lacks: lacks(*kind) }).collect()
    }

    /// What the host offers, as house law looks at it.
    #[must_use]
    pub fn offered(&self) -> BTreeMap<InstallerKind, Offered> {
        let offered = |status: KindStatus| (status.kind, status.lacks.map_or(Offered::Yes, Offered::No));
        self.statuses().into_iter().map(offered).collect()
    }

    /// Whether a manifest can be one of its kind, before anything is fetched.
    ///
    /// # Errors
    /// [`Refusal`] says what it cannot be.
    pub fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        self.offered_one(manifest.installer)?.plan(manifest)
    }

    /// A kind that is offered.
    pub(super) fn offered_one(&self, kind: InstallerKind) -> Result<Arc<dyn Install>, Refusal> {
        let found = self.0.get(&kind).filter(|known| known.lacks.is_none());
        let missing = || format!("this host has no installer for {}", policy::kind_words(kind));
        found.map(|known| known.install.clone()).ok_or_else(|| Refusal::new(ReasonCode::InstallerMissing, missing()))
    }

    /// A kind to bring an interrupted update to its end with: its tool may be gone meanwhile, and it
    /// will say so itself.
    pub(super) fn even_if_not_offered(&self, kind: InstallerKind) -> Option<Arc<dyn Install>> {
        self.0.get(&kind).map(|known| known.install.clone())
    }
}

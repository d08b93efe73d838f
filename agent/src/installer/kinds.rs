//! The kinds of patches there are, and which of them this host can install.

use super::container::Container;
use super::debian::Debian;
use super::directory_tree::DirectoryTree;
use super::file_set::FileSet;
use super::images::Images;
use super::install::Install;
use super::journal::Begun;
use super::own_program::OwnProgram;
use super::packages::Packages;
use super::rpm::RpmPackages;
use super::script::Script;
use crate::config;
use crate::settled::Refusal;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::ReasonCode;
use policy::Offered;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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

/// A kind, and what this host lacks for it, as it was looked at last.
struct Known {
    install: Arc<dyn Install>,
    lacks: Mutex<Option<String>>,
}

impl Known {
    fn lacks(&self) -> Option<String> {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The kinds this agent knows, looked at when it begins; and those that the house wants and the host lacks, now and then.
pub struct Kinds {
    known: BTreeMap<InstallerKind, Known>,
    /// For the agent's own program, where the kinds are those of an agent.
    own: Option<Arc<OwnProgram>>,
    wanted: BTreeSet<InstallerKind>,
}

/// How long looking at what a kind needs may take: a disk may never answer.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);

/// A kind as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindStatus {
    /// Which.
    pub kind: InstallerKind,
    /// What this host lacks for it; offered when nothing.
    pub lacks: Option<String>,
    /// Whether the house wants it here.
    #[serde(default = "always")]
    pub wanted: bool,
}

/// Older agents do not say.
fn always() -> bool {
    true
}

impl KindStatus {
    /// Whether it is of interest to people: it can be installed here, or it cannot and was asked for.
    #[must_use]
    pub fn is_of_interest(&self) -> bool {
        self.lacks.is_none() || self.wanted
    }
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
    /// Every kind registers itself here, with what it needs of the host. `program` is the agent's own.
    #[must_use]
    pub fn of(config: &config::Installers, program: &Path) -> Self {
        let all: Vec<Arc<dyn Install>> = vec![
            Arc::new(DirectoryTree::default()),
            Arc::new(Packages(Debian::new(&config.debian))),
            Arc::new(Packages(RpmPackages::new(&config.rpm))),
            Arc::new(FileSet::of(InstallerKind::FileSet, &config.file_set.root, &config.file_set.directories)),
            Arc::new(Images::new(&config.images)),
            Arc::new(Container::new(&config.containers)),
            Arc::new(Script::new(&config.scripts, program)),
        ];
        let lacks = looked_at(all.iter().map(look), LOOK_PATIENCE).into_iter().map(Mutex::new);
        let known = all.into_iter().zip(lacks).map(|(install, lacks)| (install.kind(), Known { install, lacks }));
        Self { known: known.collect(), own: None, wanted: ALL.into_iter().filter(|kind| config.wants(*kind)).collect() }
    }

    /// With the agent's own program, which is a tree by itself.
    #[must_use]
    pub(super) fn with_own(self, own: Arc<OwnProgram>) -> Self {
        Self { own: Some(own), ..self }
    }

    /// Looks once more for what the house wants and the host lacked: a disk may come late, and whoever knows the users may
    /// not answer while a host starts. Blocking, and not for long.
    pub fn look_again(&self) {
        let is_missing = |kind: &InstallerKind, known: &Known| self.wanted.contains(kind) && known.lacks().is_some();
        let missing: Vec<_> = self.known.iter().filter(|(kind, known)| is_missing(kind, known)).collect();
        let found = looked_at(missing.iter().map(|(_, known)| look(&known.install)), LOOK_PATIENCE);
        for ((kind, known), lacks) in missing.into_iter().zip(found) {
            if lacks.is_none() {
                tracing::info!("installs {}", policy::kind_words(*kind));
            }
            *known.lacks.lock().unwrap_or_else(PoisonError::into_inner) = lacks;
        }
    }

    /// Every kind there is, for `status` and for the log at the start.
    #[must_use]
    pub fn statuses(&self) -> Vec<KindStatus> {
        let lacks = |kind| match self.known.get(&kind) {
            Some(known) => known.lacks(),
            None => Some("this agent has no installer for them".to_owned()),
        };
        let status = |kind| KindStatus { kind, lacks: lacks(kind), wanted: self.wanted.contains(&kind) };
        ALL.into_iter().map(status).collect()
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
        self.offered_one(manifest)?.plan(manifest)
    }

    /// What installs a manifest of a kind that is offered.
    pub(super) fn offered_one(&self, manifest: &PatchManifest) -> Result<Arc<dyn Install>, Refusal> {
        let kind = manifest.installer;
        if let Some(own) = self.own.as_ref().filter(|own| own.is_of(manifest)) {
            return own.check_kind(kind).map(|()| own.clone() as Arc<dyn Install>);
        }
        let found = self.known.get(&kind).filter(|known| known.lacks().is_none());
        let missing = || format!("this host has no installer for {}", policy::kind_words(kind));
        found.map(|known| known.install.clone()).ok_or_else(|| Refusal::new(ReasonCode::InstallerMissing, missing()))
    }

    /// A kind to bring an interrupted update to its end with: its tool may be gone meanwhile, and it
    /// will say so itself.
    pub(super) fn even_if_not_offered(&self, begun: &Begun) -> Option<Arc<dyn Install>> {
        if begun.own_program {
            return self.own.clone().map(|own| own as Arc<dyn Install>);
        }
        self.known.get(&begun.kind).map(|known| known.install.clone())
    }
}

fn look(install: &Arc<dyn Install>) -> impl FnOnce() -> Option<String> + Send + 'static {
    let install = install.clone();
    move || install.lacks()
}

/// What each look finds lacking. Each has a thread of its own, and all of them together an end in time: whoever waits
/// for this does nothing else, and a network file system whose server is gone may hold a look for ever.
fn looked_at<L>(looks: impl Iterator<Item = L>, patience: Duration) -> Vec<Option<String>>
where
    L: FnOnce() -> Option<String> + Send + 'static,
{
    let begin = |look: L| {
        let (say, said) = mpsc::channel();
        let thread = thread::Builder::new().name("look".to_owned());
        // Nobody may be waiting any more.
        thread.spawn(move || drop(say.send(look()))).map(|_| said)
    };
    let begun: Vec<_> = looks.map(begin).collect();
    let until = Instant::now() + patience;
    let end = |begun: io::Result<mpsc::Receiver<Option<String>>>| match begun {
        Err(error) => Some(format!("no thread to look with: {error}")),
        Ok(said) => match said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(lacks) => lacks,
            Err(RecvTimeoutError::Timeout) => Some(format!("looking for it was not over after {patience:?}")),
            Err(RecvTimeoutError::Disconnected) => Some("looking for it broke off".to_owned()),
        },
    };
    begun.into_iter().map(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_hangs_holds_up_nobody_for_ever() {
        let (answer, hangs) = mpsc::channel::<()>();
        let hang: Box<dyn FnOnce() -> Option<String> + Send> =
            Box::new(move || hangs.recv().err().map(|_| String::new()));
        let looks = [hang, Box::new(|| None), Box::new(|| Some("a tool".to_owned()))];
        let late = Some("looking for it was not over after 200ms".to_owned());
        assert_eq!(looked_at(looks.into_iter(), Duration::from_millis(200)), [late, None, Some("a tool".to_owned())]);
        drop(answer);
    }

    #[test]
    fn people_hear_of_what_can_be_installed_and_of_what_they_asked_for() {
        let status = |lacks: Option<&str>, wanted| KindStatus {
            kind: InstallerKind::Rpm,
            lacks: lacks.map(str::to_owned),
            wanted,
        };
        assert!(status(None, true).is_of_interest() && status(None, false).is_of_interest());
        assert!(status(Some("rpm"), true).is_of_interest() && !status(Some("rpm"), false).is_of_interest());
    }
}

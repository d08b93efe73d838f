//! An endpoint in a directory of its own.

use super::PATIENCE;
use super::archive::snapshot;
use super::node::{Node, World};
use agent::clock::now_ms;
use agent::config::Config;
use agent::data::{DataDir, DataError};
use agent::installer::journal::Observer;
use agent::installer::{self, installs};
use agent::key;
use agent::settled::Settled;
use agent::site::Site;
use agent::worker::{AskError, NoAttempt, Worker};
use ledger::bounded::{List, Name, Product, Version};
use ledger::id::{Digest, PatchId};
use ledger::key::SecretKey;
use ledger::patch::{Artifact, HealthCheck, InstallerKind, PatchManifest, PayloadEncoding, Probe};
use policy::Subscription;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

/// The agent's program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-agent");

/// What every test host follows.
pub(crate) fn widget() -> Subscription {
    Subscription { product: Product::new("acme/widget").unwrap(), channel: Name::new("stable").unwrap() }
}

/// Sources are left soon: no test waits for a real network.
const DOWNLOAD: &str = "patience_ms = 400\nminimum_bytes_per_s = 1000";

/// A host.
pub(crate) struct Endpoint {
    pub(crate) directory: TempDir,
    pub(crate) key: SecretKey,
    nodes: Vec<String>,
    extra: String,
    /// Fields before all sections.
    pub(crate) top: String,
    /// Further fields of `[ledger]`.
    pub(crate) ledger: String,
    /// `[download]`.
    pub(crate) download: String,
}

impl Endpoint {
    /// Enrolled, following these nodes; `extra` is appended to its configuration.
    pub(crate) fn new(world: &Arc<World>, nodes: &[&Node], extra: &str) -> Self {
        let key = key::generate().unwrap();
        world.change(|ledger| {
            ledger.enroll(key.public());
            ledger.settle();
        });
        Self::not_enrolled(world, nodes, extra, key)
    }

    pub(crate) fn not_enrolled(world: &Arc<World>, nodes: &[&Node], extra: &str, key: SecretKey) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let nodes = nodes.iter().map(|node| node.address.clone()).collect();
        let endpoint = Self {
            directory,
            key,
            nodes,
            extra: extra.to_owned(),
            top: String::new(),
            ledger: String::new(),
            download: DOWNLOAD.to_owned(),
        };
        let genesis = world.ledger().scenario.genesis().genesis.bytes();
        std::fs::write(endpoint.path("genesis"), genesis).unwrap();
        std::fs::write(endpoint.path("ca.pem"), &world.ca_pem).unwrap();
        key::write(&endpoint.path("endpoint.key"), &endpoint.key, None).unwrap();
        endpoint.configure("");
        endpoint
    }

    /// Waits for its downloads as long as it takes: how quick they are is no matter here.
    pub(crate) fn patient(mut self) -> Self {
        self.download = "patience_ms = 60000".to_owned();
        self.configure("");
        self
    }

    /// Writes the configuration, with more appended.
    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            r#"
            data_dir = "data"
            {}
            [ledger]
            nodes = {:?}
            ca = "ca.pem"
            genesis = "genesis"
            poll_interval_ms = 200
            {}
            [host]
            name = "host"
            [[subscriptions]]
            product = "acme/widget"
            channel = "stable"
            [download]
            {}
            {}
            {more}
            "#,
            self.top, self.nodes, self.ledger, self.download, self.extra
        );
        std::fs::write(self.config_path(), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.path("agent.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn config(&self) -> Config {
        Config::read(&self.config_path()).unwrap()
    }

    /// Takes an archive as what is installed today.
    pub(crate) fn adopt(&self, version: &str, release: u64, archive: &[u8]) {
        let tar = self.path("baseline.tar");
        std::fs::write(&tar, archive).unwrap();
        let version = Version::new(version).unwrap();
        installer::adopt(&self.data().join("installs"), &widget(), version, release, &tar).unwrap();
    }

    pub(crate) fn open_observed(&self, observer: Observer) -> Site {
        // What an agent was about to start when it was killed holds its lock until it has begun, or is gone, too.
        let data = DataDir::at(self.data());
        let began = Instant::now();
        while matches!(data.lock(), Err(DataError::InUse(_))) && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        Site::open(self.config(), PROGRAM.into(), observer).unwrap()
    }

    pub(crate) fn open(&self) -> Site {
        self.open_observed(Box::new(|_, _| {}))
    }

    /// An agent that has just begun and heard the newest heads.
    pub(crate) async fn worker(&self) -> Worker {
        let mut site = self.open();
        site.recover().await.unwrap();
        hear(&site).await;
        Worker::new(site)
    }

    /// Asks for a patch, as a person would; the verdict.
    pub(crate) async fn apply(&self, patch: PatchId) -> Settled {
        let mut worker = self.worker().await;
        let settled = worker.apply(&patch.to_string(), None).await.unwrap();
        worker.site().sender().send_all().await.unwrap();
        worker.site().installer.services().stop_all().await;
        settled
    }

    /// Asks for a patch, as a person would, for which nothing is begun; why not. No receipt comes of it.
    pub(crate) async fn no_attempt(&self, patch: PatchId) -> NoAttempt {
        let mut worker = self.worker().await;
        let answer = worker.apply(&patch.to_string(), None).await;
        assert_eq!(worker.site().receipts.waiting().unwrap(), 0, "{answer:?}");
        match answer {
            Err(AskError::NoAttempt(no_attempt)) => no_attempt,
            answer => panic!("{answer:?}"),
        }
    }

    /// What is installed.
    pub(crate) fn installed(&self) -> Option<installs::InstalledTree> {
        installs::installed(&self.data().join("installs"), &widget()).unwrap()
    }

    pub(crate) fn version(&self) -> Option<String> {
        self.installed().map(|installed| installed.meta.version.to_string())
    }

    /// Everything in the installed tree.
    pub(crate) fn tree(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        self.installed().map(|installed| snapshot(&installed.tree)).unwrap_or_default()
    }
}

/// Takes in the newest head of every node.
pub(crate) async fn hear(site: &Site) {
    for (place, source) in site.sources.all().iter().enumerate() {
        if let Ok(head) = source.head().await {
            let _ = site.heads.take(place, &head, now_ms());
        }
    }
}

/// A manifest of the widget that installs an archive.
pub(crate) fn manifest(world: &World, release: u64, archive: &[u8]) -> PatchManifest {
    let mut hasher = ledger::artifact::PayloadHasher::default();
    hasher.update(archive);
    let digests = hasher.finish();
    let mut manifest = world.ledger().scenario.manifest(release);
    manifest.artifacts = List::new(vec![Artifact {
        name: Name::new("tree.tar").unwrap(),
        size: digests.size,
        blake3: digests.blake3,
        sha256: digests.sha256,
        encoding: PayloadEncoding::Identity,
        delta_from: None,
    }])
    .unwrap();
    manifest
}

/// Publishes and approves a release that installs an archive, changed by `change` before it is signed.
pub(crate) fn approved(
    world: &World,
    release: u64,
    archive: Vec<u8>,
    change: impl FnOnce(&mut PatchManifest),
) -> PatchId {
    let mut manifest = manifest(world, release, &archive);
    change(&mut manifest);
    world.store(archive);
    world.change(|ledger| ledger.approved(manifest))
}

/// Publishes and approves a release with these artifacts.
pub(crate) fn approved_set(
    world: &World,
    release: u64,
    kind: InstallerKind,
    artifacts: Vec<(String, Vec<u8>)>,
    change: impl FnOnce(&mut PatchManifest),
) -> PatchId {
    let one = |(name, bytes): &(String, Vec<u8>)| {
        let artifact = manifest(world, release, bytes).artifacts[0].clone();
        Artifact { name: Name::new(name.clone()).unwrap(), ..artifact }
    };
    let mut manifest = world.ledger().scenario.manifest(release);
    manifest.artifacts = List::new(artifacts.iter().map(one).collect()).unwrap();
    manifest.installer = kind;
    change(&mut manifest);
    artifacts.into_iter().for_each(|(_, bytes)| world.store(bytes));
    world.change(|ledger| ledger.approved(manifest))
}

/// A probe that runs a command of the tree and wants to hear a text.
pub(crate) fn says(command: &str, expected: &str) -> HealthCheck {
    let arguments = command.split(' ').map(|word| ledger::bounded::Text::new(word).unwrap()).collect();
    let expect = Some(ledger::bounded::Text::new(expected).unwrap());
    let probe = Probe::Command { arguments: List::new(arguments).unwrap(), expect };
    HealthCheck { probe, timeout_ms: 10_000, attempts: 1, interval_ms: 10 }
}

/// Digest of nothing in particular.
pub(crate) fn digest(text: &str) -> Digest {
    Digest::blake3(text.as_bytes())
}

/// A file that must not change.
pub(crate) fn canary(path: &Path) -> impl Fn() + use<> {
    std::fs::write(path, "untouched").unwrap();
    let path = path.to_owned();
    move || assert_eq!(std::fs::read_to_string(&path).unwrap(), "untouched", "{}", path.display())
}

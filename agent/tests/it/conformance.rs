//! One suite for every kind of patch: what an agent promises whatever it installs.
//!
//! Each test is one generic function over a `Bench`: a kind, a host to try it on, and releases for it.
//! Where a host of a kind cannot be had, its tests say so in one line and pass.

mod disks;
mod kills;

use crate::support::bench::{Bench, Files, InPlace, Packages, RealPackages, Rpms, Snapshot, Tree, differences};
use crate::support::containers::Images;
use crate::support::disk::Mount;
use crate::support::endpoint::{Endpoint, approved_set, canary, hear, says};
use crate::support::images::ImageSlots;
use crate::support::left_out;
use crate::support::node::{Node, World};
use crate::support::scripts::Scripts;
use crate::support::tricks::{Trick, tricks};
use agent::installer::journal::{Moment, Record};
use agent::settled::Settled;
use agent::site::Site;
use agent::worker::{AskError, Worker};
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::receipt::{Health, Outcome, ReasonCode, Receipt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Room for everything of the agent's own.
const DATA_MEGABYTES: usize = 256;
/// A reason that cannot be: no release is this one.
const NEVER: u64 = 99;

/// A ledger with two releases: of the second there is a healthy one and one that never is.
struct Case {
    world: Arc<World>,
    node: Node,
    first: PatchId,
    healthy: PatchId,
    sick: PatchId,
}

/// A host that has the first release.
struct Host<B> {
    bench: B,
    endpoint: Endpoint,
    mount: Option<Mount>,
}

/// A disk of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// What patches change.
    Target,
    /// Where the agent has all of its own: journal, holding, receipts, logs, downloads.
    Data,
}

impl Disk {
    fn of<B: Bench>(self, bench: &B, endpoint: &Endpoint) -> PathBuf {
        match self {
            Self::Target => bench.target(endpoint),
            Self::Data => endpoint.data(),
        }
    }

    fn megabytes<B: Bench>(self) -> usize {
        match self {
            Self::Target => B::MEGABYTES,
            Self::Data => DATA_MEGABYTES,
        }
    }
}

impl Case {
    async fn new<B: Bench>() -> Option<Self> {
        let bench = match B::new() {
            Ok(bench) => bench,
            Err(why) => {
                left_out(&why);
                return None;
            }
        };
        let world = World::new();
        let node = world.node().await;
        let release = |number: u64, of: u64, probe: u64| {
            let probe = bench.probe(probe);
            approved_set(&world, number, bench.kind(), bench.artifacts(of), |manifest| {
                manifest.health = List::new(vec![probe]).unwrap();
                manifest.reboot = bench.reboot();
            })
        };
        let (first, healthy, sick) = (release(1, 1, 1), release(2, 2, 2), release(3, 2, NEVER));
        Some(Self { world, node, first, healthy, sick })
    }

    async fn host<B: Bench>(&self, on_a_small_disk: bool) -> Host<B> {
        self.host_with::<B>(on_a_small_disk.then_some(Disk::Target)).await
    }

    /// A host on which one of its disks is small.
    async fn host_with<B: Bench>(&self, small: Option<Disk>) -> Host<B> {
        let mut bench = B::new().expect("there was one a moment ago");
        let endpoint = Endpoint::new(&self.world, &[&self.node], &bench.config()).patient();
        let mount = small.and_then(|disk| Mount::small(&disk.of(&bench, &endpoint), disk.megabytes::<B>()));
        bench.build(&endpoint);
        let host = Host { bench, endpoint, mount };
        let settled = host.apply(self.first).await;
        assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
        host
    }

    /// The two states a host may be in, from hosts nothing happened to.
    async fn states<B: Bench>(&self) -> (Snapshot, Snapshot) {
        let host = self.host::<B>(false).await;
        let old = host.snapshot();
        let settled = host.apply(self.healthy).await;
        assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
        (old, host.snapshot())
    }
}

impl<B: Bench> Host<B> {
    fn snapshot(&self) -> Snapshot {
        self.bench.snapshot(&self.endpoint)
    }

    #[track_caller]
    fn is(&self, expected: &Snapshot, what: &str) {
        let differences = differences(expected, &self.snapshot());
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }

    /// Asks for a patch, as a person would; the verdict, which some kinds have when the host has restarted.
    async fn apply(&self, patch: PatchId) -> Settled {
        let mut worker = self.endpoint.worker().await;
        let answer = worker.apply(&patch.to_string(), None).await;
        worker.site().sender().send_all().await.unwrap();
        worker.site().installer.services().stop_all().await;
        drop(worker);
        match answer {
            Err(AskError::AwaitsRestart(_)) if self.bench.restarts() => {
                let (mut site, settled) = self.begins().await;
                site = self.rests(site).await;
                site.sender().send_all().await.unwrap();
                settled.expect("it is judged now")
            }
            answer => answer.unwrap(),
        }
    }

    /// An agent begins; what it brings to an end.
    async fn begins(&self) -> (Site, Option<Settled>) {
        let mut site = self.endpoint.open();
        let settled = site.recover().await.unwrap();
        (site, settled)
    }

    /// Restarts the host as long as something waits for that.
    async fn rests(&self, mut site: Site) -> Site {
        while site.installer.awaited_restart().unwrap().is_some() && self.bench.restarts() {
            drop(site);
            site = self.begins().await.0;
        }
        site
    }

    async fn send_receipts(&self) {
        let site = self.rests(self.begins().await.0).await;
        site.sender().send_all().await.unwrap();
    }

    /// An agent begins anew, brings to an end what is open, and tells it.
    async fn comes_to_its_end(&self, what: &str) {
        let site = self.rests(self.begins().await.0).await;
        assert!(!site.installer.is_interrupted(), "{what}");
        site.sender().send_all().await.unwrap();
        site.installer.services().stop_all().await;
    }

    /// What must be true of a host whatever happened to it: exactly old or exactly new, and its receipt
    /// says which.
    async fn check(&self, case: &Case, (old, new): &(Snapshot, Snapshot), receipts: usize, what: &str) -> Outcome {
        self.comes_to_its_end(what).await;
        let written = &case.world.receipts()[receipts..];
        let [receipt] = written else { panic!("{what}: {} receipts", written.len()) };
        self.is_as_told(receipt, (old, new), what)
    }

    /// The same where it may have stood open for a while, which has a receipt of its own.
    async fn check_end(&self, case: &Case, (old, new): &(Snapshot, Snapshot), receipts: usize, what: &str) -> Outcome {
        self.comes_to_its_end(what).await;
        let written = &case.world.receipts()[receipts..];
        let Some((receipt, open)) = written.split_last() else { panic!("{what}: no receipt") };
        assert!(open.len() <= 1 && open.iter().all(|open| open.outcome == Outcome::Failed), "{what}: {open:?}");
        self.is_as_told(receipt, (old, new), what)
    }

    fn is_as_told(&self, receipt: &Receipt, (old, new): (&Snapshot, &Snapshot), what: &str) -> Outcome {
        let version = self.endpoint.version().unwrap_or_default();
        assert_eq!(receipt.to_version.as_str(), version, "{what}: {receipt:?}");
        match receipt.outcome {
            Outcome::Applied => self.is(new, what),
            Outcome::RolledBack | Outcome::Refused => self.is(old, what),
            other => panic!("{what}: {other}: {:?}", receipt.reason),
        }
        receipt.outcome
    }
}

fn code(settled: &Settled) -> Option<ReasonCode> {
    settled.reason.as_ref().map(|reason| reason.code)
}

async fn applies_and_rolls_back<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let host = case.host::<B>(false).await;
    let old = host.snapshot();

    let settled = host.apply(case.sick).await;
    assert_eq!((settled.outcome, settled.health), (Outcome::RolledBack, Health::Failed), "{settled}");
    assert_eq!((code(&settled), settled.to_version.as_str()), (Some(ReasonCode::HealthFailed), "1.0.1"));
    host.is(&old, "rolled back");

    let settled = host.apply(case.healthy).await;
    assert_eq!((settled.outcome, settled.health), (Outcome::Applied, Health::Passed), "{settled}");
    assert_eq!((settled.from_version.as_str(), settled.to_version.as_str()), ("1.0.1", "1.0.2"));
    let new = host.snapshot();
    assert_ne!(new, old);

    // Once more is nothing to do, and nothing to tell.
    assert!(host.endpoint.no_attempt(case.healthy).await.is_well());
    host.is(&new, "applied twice");
    let told: Vec<_> = case.world.receipts().iter().map(|receipt| receipt.outcome).collect();
    assert_eq!(told, [Outcome::Applied, Outcome::RolledBack, Outcome::Applied]);
}

async fn taken_back_to_nothing<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let mut bench = B::new().unwrap();
    let endpoint = Endpoint::new(&case.world, &[&case.node], &bench.config()).patient();
    bench.build(&endpoint);
    let host = Host { bench, endpoint, mount: None };
    let before = host.snapshot();
    let settled = host.apply(case.sick).await;
    assert_eq!((settled.outcome, settled.to_version.as_str()), (Outcome::RolledBack, ""), "{settled}");
    host.is(&before, "a first installation");
}

/// Somebody writes into the downloaded artifact after it was verified.
async fn swapped_between_check_and_use<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let host = case.host::<B>(false).await;
    let old = host.snapshot();
    let downloads = host.endpoint.data().join("downloads");
    let site = host.endpoint.open_observed(Box::new(move |moment, record| {
        if moment == Moment::After && matches!(record, Record::Begun(_)) {
            for entry in std::fs::read_dir(&downloads).unwrap() {
                let path = entry.unwrap().path();
                let mut bytes = std::fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                // Through the name that is there: the file the agent holds open is this one.
                std::fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))
                    .unwrap();
            }
        }
    }));
    hear(&site).await;
    let mut worker = Worker::new(site);
    let settled = worker.apply(&case.healthy.to_string(), None).await.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, Some(ReasonCode::ArtifactDigest)), "{settled}");
    host.is(&old, "refused");
}

/// A step that takes longer than it may: counted from the record that announces it.
async fn what_takes_too_long_is_not_done<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let host = case.host::<B>(false).await;
    let old = host.snapshot();
    type At = fn(&Record) -> bool;
    let steps: [(&str, At, &str); 2] = [
        ("prepare", |record| matches!(record, Record::Begun(_)), "preparing the new version was not over after 1ms"),
        ("put", |record| *record == Record::Switching, "putting the new version in place was not over after 1ms"),
    ];
    for (step, at, evidence) in steps {
        host.endpoint.configure(&format!("[installers]\n{step}_deadline_ms = 1\n"));
        let site = host.endpoint.open_observed(Box::new(move |moment, record| {
            let announced = Instant::now();
            while moment == Moment::After && at(record) && announced.elapsed() < Duration::from_millis(2) {}
        }));
        hear(&site).await;
        let mut worker = Worker::new(site);
        let settled = worker.apply(&case.healthy.to_string(), None).await.unwrap();
        assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, Some(ReasonCode::InstallFailed)), "{settled}");
        assert!(settled.to_string().contains(evidence), "{settled}");
        assert!(!worker.site().installer.is_interrupted());
        host.is(&old, step);
    }
    host.endpoint.configure("");
    let settled = host.apply(case.healthy).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

/// Somebody puts a file of his own into a directory that only the new version has. Going back leaves it where it
/// is, and does not stumble over it.
async fn what_somebody_put_into_a_new_directory_stays<B: InPlace>() {
    let Some(case) = Case::new::<B>().await else { return };
    let host = case.host::<B>(false).await;
    let place = host.bench.new_directory(2);
    let old = host.snapshot();
    let foreign = format!("{place}/foreign");
    let patch = approved_set(&case.world, 4, host.bench.kind(), host.bench.artifacts(2), |manifest| {
        manifest.health = List::new(vec![says(&format!("/usr/bin/touch {{tree}}/{foreign}"), "never")]).unwrap();
    });
    let settled = host.apply(patch).await;
    assert_eq!((settled.outcome, settled.to_version.as_str()), (Outcome::RolledBack, "1.0.1"), "{settled}");
    assert!(!host.endpoint.open().installer.is_interrupted());
    let mut left = host.snapshot();
    assert!(left.remove(&foreign).is_some() && left.remove(&place).is_some(), "nobody took it away");
    let differences = differences(&old, &left);
    assert!(differences.is_empty(), "{differences:#?}");
    let newer = approved_set(&case.world, 5, host.bench.kind(), host.bench.artifacts(2), |manifest| {
        manifest.health = List::new(vec![host.bench.probe(2)]).unwrap();
    });
    assert_eq!(host.apply(newer).await.outcome, Outcome::Applied, "and is in nobody's way");
}

macro_rules! conformance {
    ($($kind:ident: $bench:ty,)*) => { $(
        mod $kind {
            use super::*;

            #[tokio::test]
            async fn applies_and_rolls_back() {
                super::applies_and_rolls_back::<$bench>().await;
            }

            #[tokio::test]
            async fn what_was_never_there_is_taken_back_to_nothing() {
                super::taken_back_to_nothing::<$bench>().await;
            }

            #[tokio::test]
            async fn killed_at_every_step_it_is_exactly_old_or_exactly_new() {
                kills::killed_at_every_step::<$bench>().await;
            }

            #[tokio::test]
            async fn killed_at_random_it_is_exactly_old_or_exactly_new() {
                kills::killed_at_random::<$bench>().await;
            }

            #[tokio::test]
            async fn a_full_or_read_only_disk_is_survived() {
                disks::on_a_bad_disk::<$bench>().await;
            }

            #[tokio::test]
            async fn what_is_unhealthy_is_taken_back_as_soon_as_its_disk_is_well_again() {
                disks::going_back_on_a_bad_disk::<$bench>().await;
            }

            #[tokio::test]
            async fn with_no_room_of_its_own_it_is_exactly_old_or_exactly_new() {
                disks::with_no_room_of_its_own::<$bench>().await;
            }

            #[tokio::test]
            async fn what_takes_too_long_is_not_done() {
                super::what_takes_too_long_is_not_done::<$bench>().await;
            }

            #[tokio::test]
            async fn what_was_verified_is_what_is_applied() {
                super::swapped_between_check_and_use::<$bench>().await;
            }
        }
    )* };
}

/// Whatever an archive tries, nothing of it is anywhere, and the refusal says what it was.
async fn hostile_archives_come_to_nothing<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let host = case.host::<B>(false).await;
    let old = host.snapshot();
    let outside = tempfile::tempdir().unwrap();
    let aim = outside.path().join("aim");
    let check = canary(&aim);
    let name = host.bench.artifacts(1)[0].0.clone();
    for (number, Trick { what, archive, evidence }) in (10..).zip(tricks(aim.to_str().unwrap())) {
        let artifacts = vec![(name.clone(), archive)];
        let patch = approved_set(&case.world, number, host.bench.kind(), artifacts, |manifest| {
            manifest.health = List::new(vec![host.bench.probe(NEVER)]).unwrap();
        });
        let settled = host.apply(patch).await;
        assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, Some(ReasonCode::ArchiveUnsafe)), "{what}");
        assert!(settled.to_string().contains(evidence), "{what}: {settled}");
        host.is(&old, what);
        check();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "{what}");
    }
    assert_eq!(host.apply(case.healthy).await.outcome, Outcome::Applied, "and nothing is left that is in the way");
}

/// What only kinds promise that unpack an archive as a tree; packages and images have rules, and tests, of their own.
macro_rules! conformance_of_archives {
    ($($kind:ident: $bench:ty,)*) => { $(
        mod $kind {
            #[tokio::test]
            async fn hostile_archives_come_to_nothing() {
                super::hostile_archives_come_to_nothing::<$bench>().await;
            }
        }
    )* };
}

conformance_of_archives! {
    directory_tree_archives: crate::support::bench::Tree,
    file_set_archives: crate::support::bench::Files,
    script_archives: crate::support::scripts::Scripts,
}

/// What only kinds promise that change the host in place: of the others, nothing is where somebody could put something.
macro_rules! conformance_in_place {
    ($($kind:ident: $bench:ty,)*) => { $(
        mod $kind {
            #[tokio::test]
            async fn what_somebody_put_into_a_new_directory_stays() {
                super::what_somebody_put_into_a_new_directory_stays::<$bench>().await;
            }
        }
    )* };
}

conformance_in_place! {
    debian_in_place: crate::support::bench::Packages,
    rpm_in_place: crate::support::bench::Rpms,
    file_set_in_place: crate::support::bench::Files,
    scripts_in_place: crate::support::scripts::Scripts,
}

conformance! {
    directory_tree: Tree,
    debian: Packages,
    debian_for_real: RealPackages,
    rpm: Rpms,
    file_set: Files,
    image_slots: ImageSlots,
    containers: Images,
    scripts: Scripts,
}

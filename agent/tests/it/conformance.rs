//! One suite for every kind of patch: what an agent promises whatever it installs.
//!
//! Each test is one generic function over a `Bench`: a kind, a host to try it on, and releases for it.
//! Where a host of a kind cannot be had, its tests say so in one line and pass.

use crate::crash::{CHILD, child};
use crate::support::bench::{Bench, Files, InPlace, Packages, RealPackages, Rpms, Snapshot, Tree, differences};
use crate::support::containers::Images;
use crate::support::disk::{Mount, Squeeze};
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
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::Dice;

/// How many random moments each kind is killed at.
const KILLS: &str = "COUNTERSIGN_KILLS";
const KILLS_DEFAULT: usize = 4;
/// From so many on, that next to none of them was within an update is no chance.
const KILLS_THAT_TELL: usize = 100;
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

async fn killed_at_every_step<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    for patch in [case.healthy, case.sick] {
        let mut host = case.host::<B>(false).await;
        // How many places there are before the host restarts, for kinds that need it.
        let mut before_restart = None;
        for place in 0.. {
            let receipts = case.world.receipts().len();
            let mut died = false;
            if before_restart.is_none_or(|before| place < before) {
                died = child(&host.endpoint, Some(patch), place).await;
                if !died && host.endpoint.open().installer.to_be_judged().is_some() {
                    before_restart = Some(place);
                }
            } else {
                assert!(!child(&host.endpoint, Some(patch), usize::MAX).await);
            }
            if !died && let Some(before) = before_restart {
                host.bench.restarts();
                died = child(&host.endpoint, None, place - before).await;
            }
            if !died {
                assert!(place >= 12, "before and after each record");
                break;
            }
            // Half of the time the power fails: then it is the boot loader's turn first.
            if place % 2 == 1 {
                host.bench.restarts();
            }
            // The very first place is before anything was written: nothing happened.
            if place > 0 {
                let outcome = host.check(&case, &states, receipts, &format!("place {place}")).await;
                assert!(patch == case.healthy || outcome != Outcome::Applied, "what is not healthy is not kept");
                if outcome == Outcome::Applied {
                    host = case.host::<B>(false).await;
                }
            }
        }
    }
}

/// Half of the time the whole machine loses power; otherwise only the agent dies, and what it had
/// started goes on.
async fn killed_at_random<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    let mut host = case.host::<B>(false).await;
    let unhindered = Instant::now();
    assert!(!run_child(&host.endpoint, Some(case.sick), false, Duration::MAX).await);
    let longest = u64::try_from(unhindered.elapsed().as_millis()).unwrap();
    let kills = std::env::var(KILLS).ok().map_or(KILLS_DEFAULT, |kills| kills.parse().unwrap());
    let (mut dice, mut within) = (Dice::new(7), 0);
    for round in 0..kills {
        let (power_cut, after_ms) = (round % 2 == 1, dice.below(longest + 1));
        let patch = if dice.below(2) == 0 { case.healthy } else { case.sick };
        host.send_receipts().await;
        let receipts = case.world.receipts().len();
        let what = format!("round {round}, after {after_ms} of {longest} ms, power cut {power_cut}");
        let after = Duration::from_millis(after_ms);
        let mut died = run_child(&host.endpoint, Some(patch), power_cut, after).await;
        if !died && host.endpoint.open().installer.to_be_judged().is_some() && host.bench.restarts() {
            let after = Duration::from_millis(dice.below(longest + 1));
            died = run_child(&host.endpoint, None, power_cut, after).await;
        }
        if power_cut {
            host.bench.restarts();
        }
        let began = journal_is_open(&host.endpoint);
        within += usize::from(died && began);
        host.send_receipts().await;
        if died && !began && case.world.receipts().len() == receipts {
            // Whatever is done has a receipt before it is over: this one was not begun.
            host.is(&states.0, &what);
        } else {
            // Killed or not, and whenever: it ended, and its receipt says how.
            let outcome = host.check(&case, &states, receipts, &what).await;
            assert!(patch == case.healthy || outcome != Outcome::Applied, "{what}: what is not healthy is not kept");
            assert!(died || patch == case.sick || outcome == Outcome::Applied, "{what}: nothing was in its way");
        }
        if host.snapshot() != states.0 {
            host = case.host::<B>(false).await;
        }
    }
    assert!(kills < KILLS_THAT_TELL || within >= kills / 10, "{within} of {kills} moments were within an update");
}

fn journal_is_open(endpoint: &Endpoint) -> bool {
    let journal = agent::installer::journal::Journal::open(&endpoint.data().join("journal"), Box::new(|_, _| {}));
    journal.unwrap().is_open()
}

/// An agent in a process of its own, killed after a while; whether it died of that.
async fn run_child(endpoint: &Endpoint, patch: Option<PatchId>, power_cut: bool, after: Duration) -> bool {
    let patch = patch.map(|patch| patch.to_string()).unwrap_or_default();
    let alone = power_cut && crate::support::disk::is_root();
    let mut command = if alone {
        // With its first process dies everything in a namespace.
        let mut command = tokio::process::Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(std::env::current_exe().unwrap());
        command
    } else {
        tokio::process::Command::new(std::env::current_exe().unwrap())
    };
    let orders = format!("{}|{patch}|{}", endpoint.config_path().display(), usize::MAX);
    command.args(["--exact", "crash::the_child"]).env(CHILD, orders).kill_on_drop(true);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    match tokio::time::timeout(after, child.wait()).await {
        Ok(status) => {
            assert!(status.unwrap().success());
            false
        }
        Err(_) => {
            child.kill().await.unwrap();
            // Whoever is left of a namespace dies a moment later: the lock says when.
            let lock = std::fs::File::create(endpoint.data().join("lock")).unwrap();
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
            true
        }
    }
}

/// A disk that is full, or read-only, from some step on. When it is well again, so is the host.
async fn on_a_bad_disk<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    let mut host = case.host::<B>(true).await;
    if host.mount.is_none() {
        return left_out("only root may mount a small disk");
    }
    type At = fn(&Record) -> bool;
    let steps: [(&str, At); 2] = [
        ("from the beginning", |record| matches!(record, Record::Begun(_))),
        ("when all is prepared", |record| *record == Record::Switching),
    ];
    let squeezes = [0, 16 << 10, 64 << 10, 256 << 10].map(Squeeze::FullBut).into_iter().chain([Squeeze::ReadOnly]);
    for (squeeze, (when, at)) in squeezes.flat_map(|squeeze| steps.map(|step| (squeeze, step))) {
        let what = format!("{squeeze:?} {when}");
        let receipts = case.world.receipts().len();
        let (disk, done) = (host.bench.target(&host.endpoint), Arc::new(AtomicBool::new(false)));
        let (on, squeezed) = (disk.clone(), done.clone());
        let site = host.endpoint.open_observed(Box::new(move |moment, record| {
            if moment == Moment::After && at(record) && !squeezed.load(Ordering::SeqCst) {
                squeezed.store(squeeze.on(&on), Ordering::SeqCst);
            }
        }));
        hear(&site).await;
        let mut worker = Worker::new(site);
        let verdict = worker.apply(&case.healthy.to_string(), None).await;
        assert!(done.load(Ordering::SeqCst), "{what}");
        squeeze.off(&disk);
        drop(worker);
        host.check(&case, &states, receipts, &format!("{what}: {verdict:?}")).await;
        if host.snapshot() != states.0 {
            drop(host);
            host = case.host::<B>(true).await;
        }
    }
    let settled = host.apply(case.healthy).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    host.is(&states.1, "the disk is well again");
}

/// What patches change is full, or read-only, from when an update is judged and found unhealthy: going back may not be
/// possible then. It is as soon as the disk is well again, and it is all of it.
async fn going_back_on_a_bad_disk<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    let host = case.host::<B>(true).await;
    if host.mount.is_none() {
        return left_out("only root may mount a small disk");
    }
    for squeeze in [0, 64 << 10].map(Squeeze::FullBut).into_iter().chain([Squeeze::ReadOnly]) {
        let what = format!("{squeeze:?} when it is judged");
        host.send_receipts().await;
        let receipts = case.world.receipts().len();
        let (disk, done) = (host.bench.target(&host.endpoint), Arc::new(AtomicBool::new(false)));
        let (on, squeezed) = (disk.clone(), done.clone());
        let site = host.endpoint.open_observed(Box::new(move |moment, record| {
            if moment == Moment::After && matches!(record, Record::Judged { .. }) && !squeezed.load(Ordering::SeqCst) {
                squeezed.store(squeeze.on(&on), Ordering::SeqCst);
            }
        }));
        hear(&site).await;
        let mut worker = Worker::new(site);
        let verdict = worker.apply(&case.sick.to_string(), None).await;
        worker.site().installer.services().stop_all().await;
        if done.load(Ordering::SeqCst) {
            squeeze.off(&disk);
        } else {
            // It waits for a restart of the host and is judged behind that; or nothing lets the disk be made so.
            let is_read_only = squeeze == Squeeze::ReadOnly;
            assert!(is_read_only || matches!(verdict, Err(AskError::AwaitsRestart(_))), "{what}: {verdict:?}");
        }
        drop(worker);
        let outcome = host.check_end(&case, &states, receipts, &format!("{what}: {verdict:?}")).await;
        assert_eq!(outcome, Outcome::RolledBack, "{what}");
        host.is(&states.0, &what);
    }
    let settled = host.apply(case.healthy).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    host.is(&states.1, "the disk is well again");
}

/// The disk with everything of the agent's own is full from some step on: its journal, what it prepares, its receipts. As
/// soon as there is room again, the next start brings to an end what could not be. (It cannot be made read-only under an
/// agent that has its journal open for writing: the kernel says no.)
async fn with_no_room_of_its_own<B: Bench>() {
    let Some(case) = Case::new::<B>().await else { return };
    let states = case.states::<B>().await;
    let mut host = case.host_with::<B>(Some(Disk::Data)).await;
    if host.mount.is_none() {
        return left_out("only root may mount a small disk");
    }
    type At = fn(&Record) -> bool;
    let steps: [(&str, At); 3] = [
        ("from the beginning", |record| matches!(record, Record::Begun(_))),
        ("when all is prepared", |record| *record == Record::Switching),
        ("when it is judged", |record| matches!(record, Record::Judged { .. })),
    ];
    for (left, (when, at)) in [0, 8 << 10, 64 << 10].into_iter().flat_map(|left| steps.map(|step| (left, step))) {
        for patch in [case.sick, case.healthy] {
            let what = format!("full but {left} {when}, {}", if patch == case.sick { "sick" } else { "healthy" });
            host.send_receipts().await;
            let receipts = case.world.receipts().len();
            let (disk, done) = (host.endpoint.data(), Arc::new(AtomicBool::new(false)));
            let (on, squeezed, squeeze) = (disk.clone(), done.clone(), Squeeze::FullBut(left));
            let site = host.endpoint.open_observed(Box::new(move |moment, record| {
                if moment == Moment::After && at(record) && !squeezed.load(Ordering::SeqCst) {
                    squeezed.store(squeeze.on(&on), Ordering::SeqCst);
                }
            }));
            hear(&site).await;
            let mut worker = Worker::new(site);
            let verdict = worker.apply(&patch.to_string(), None).await;
            worker.site().installer.services().stop_all().await;
            drop(worker);
            if !done.load(Ordering::SeqCst) {
                // It waits for a restart of the host, and is judged behind that.
                assert!(matches!(verdict, Err(AskError::AwaitsRestart(_))), "{what}: {verdict:?}");
            } else {
                squeeze.off(&disk);
            }
            let outcome = host.check(&case, &states, receipts, &format!("{what}: {verdict:?}")).await;
            assert!(patch == case.healthy || outcome != Outcome::Applied, "{what}: what is not healthy is not kept");
            if host.snapshot() != states.0 {
                drop(host);
                host = case.host_with::<B>(Some(Disk::Data)).await;
            }
        }
    }
    let settled = host.apply(case.healthy).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    host.is(&states.1, "there is room again");
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
                super::killed_at_every_step::<$bench>().await;
            }

            #[tokio::test]
            async fn killed_at_random_it_is_exactly_old_or_exactly_new() {
                super::killed_at_random::<$bench>().await;
            }

            #[tokio::test]
            async fn a_full_or_read_only_disk_is_survived() {
                super::on_a_bad_disk::<$bench>().await;
            }

            #[tokio::test]
            async fn what_is_unhealthy_is_taken_back_as_soon_as_its_disk_is_well_again() {
                super::going_back_on_a_bad_disk::<$bench>().await;
            }

            #[tokio::test]
            async fn with_no_room_of_its_own_it_is_exactly_old_or_exactly_new() {
                super::with_no_room_of_its_own::<$bench>().await;
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

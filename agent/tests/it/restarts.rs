//! Patches that the host has to restart for: judged afterwards, whatever happens in between.

use crate::crash::{Tree, child};
use crate::support::archive::{Archive, tree_of};
use crate::support::endpoint::{Endpoint, approved, approved_set, says};
use crate::support::node::{Node, World};
use agent::settled::Settled;
use agent::status::Status;
use agent::worker::{AskError, Worker};
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::patch::{InstallerKind, Reboot};
use ledger::receipt::{Health, Outcome, ReasonCode};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A window that opens on the first leap day of the next century.
pub(crate) const SHUT: &str = "[[windows]]\nname = \"far\"\nrrule = \"FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29\"\nfrom = \"2100-01-01\"\n\
                    start = \"02:00\"\nduration = \"1h\"\n";

/// Shut now, and for some hours: soon enough for what waits to be judged.
pub(crate) fn shut_for_hours() -> String {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    let hour = (agent::clock::now_ms() / HOUR_MS + 12) % 24;
    format!("[[windows]]\nname = \"later\"\nrrule = \"FREQ=DAILY\"\nstart = \"{hour:02}:00\"\nduration = \"1h\"\n")
}

/// A host that says how often it was asked to restart, and restarts when the test says so.
pub(crate) struct House {
    pub(crate) world: Arc<World>,
    pub(crate) node: Node,
    pub(crate) endpoint: Endpoint,
    boots: u32,
}

impl House {
    pub(crate) async fn new() -> Self {
        let world = World::new();
        let node = world.node().await;
        Self::of(world, node)
    }

    fn of(world: Arc<World>, node: Node) -> Self {
        let endpoint = Endpoint::new(&world, &[&node], "");
        endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
        let mut house = Self { world, node, endpoint, boots: 0 };
        std::fs::create_dir_all(house.root().join("run")).unwrap();
        house.restarts();
        house
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.endpoint.path("root")
    }

    /// The kernel starts.
    pub(crate) fn restarts(&mut self) {
        self.boots += 1;
        let random = self.root().join("proc/sys/kernel/random");
        std::fs::create_dir_all(&random).unwrap();
        std::fs::write(random.join("boot_id"), format!("00000000-0000-4000-8000-{:012}\n", self.boots)).unwrap();
        // It has run long enough to count as up.
        std::fs::write(self.root().join("proc/uptime"), "1000.00 2000.00\n").unwrap();
    }

    /// `[reboot]`, and more; it is asked for by a program that only notes it.
    pub(crate) fn allows(&self, when: &str, reboot: &str, more: &str) {
        let calls = self.endpoint.path("calls");
        let (root, call) = (self.root(), format!("echo restart >> {}", calls.display()));
        self.endpoint.configure(&format!(
            "[reboot]\nwhen = \"{when}\"\ncommand = [\"/bin/sh\", \"-c\", \"{call}\"]\nroot = \"{}\"\n{reboot}\n{more}",
            root.display()
        ));
    }

    /// How often it was asked to restart.
    pub(crate) fn asked(&self) -> usize {
        std::fs::read_to_string(self.endpoint.path("calls")).unwrap_or_default().lines().count()
    }

    /// The second release; healthy when it says what it is expected to.
    pub(crate) fn patch(&self, reboot: Reboot, expected: &str) -> PatchId {
        approved(&self.world, 2, tree_of("1.0.2"), |manifest| {
            manifest.reboot = reboot;
            manifest.health = List::new(vec![says("{tree}/bin/version", expected)]).unwrap();
        })
    }

    /// An agent begins; what it brings to an end.
    pub(crate) async fn begins(&self) -> (Worker, Option<Settled>) {
        let mut site = self.endpoint.open();
        let settled = site.recover().await.unwrap();
        crate::support::endpoint::hear(&site).await;
        (Worker::new(site), settled)
    }
}

pub(crate) async fn ask(worker: &mut Worker, patch: PatchId) -> Result<Settled, AskError> {
    worker.apply(&patch.to_string(), None).await
}

pub(crate) fn awaits(answer: &Result<Settled, AskError>) -> Option<PatchId> {
    match answer {
        Err(AskError::AwaitsRestart(patch)) => Some(*patch),
        _ => None,
    }
}

pub(crate) fn status(worker: &Worker) -> Status {
    let site = worker.site();
    let shown = agent::status::Shown {
        vitals: agent::health::Vitals::default(),
        config: site.config.clone(),
        endpoint: site.key().public(),
        heads: site.heads.clone(),
        services: site.installer.services().clone(),
        receipts: site.receipts.clone(),
        work: worker.watch(),
        origins: site.origins.clone(),
        cache: site.cache.clone(),
        kinds: worker.site().installer.kinds().clone(),
        running: site.installer.running().clone(),
        cannot_update: None,
    };
    shown.status()
}

#[tokio::test]
async fn what_needs_a_restart_is_judged_after_it() {
    let mut house = House::new().await;
    house.allows("now", "", "");
    let patch = house.patch(Reboot::Required, "1.0.2");
    let (mut worker, _) = house.begins().await;
    assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch));
    assert_eq!((house.endpoint.version().as_deref(), house.asked()), (Some("1.0.2"), 1));
    let text = status(&worker).to_string();
    assert!(
        text.contains(&format!("restart    patch {patch}: in place, judged when the host has restarted")),
        "{text}"
    );

    // Nothing else is installed before, and the host is not asked again while it may be going down.
    let next = approved(&house.world, 3, tree_of("1.0.3"), |_| {});
    assert_eq!(awaits(&ask(&mut worker, next).await), Some(patch));
    worker.pass().await;
    worker.tend_restart().await;
    assert_eq!((house.endpoint.version().as_deref(), house.asked()), (Some("1.0.2"), 1));
    worker.site().sender().send_all().await.unwrap();
    assert!(house.world.receipts().is_empty(), "there is no verdict yet");

    // An agent that begins anew on a host that has not restarted waits on, and asks again.
    drop(worker);
    let (mut worker, settled) = house.begins().await;
    assert!(settled.is_none() && worker.site().installer.is_interrupted());
    worker.tend_restart().await;
    assert_eq!(house.asked(), 2);

    drop(worker);
    house.restarts();
    let (mut worker, settled) = house.begins().await;
    let settled = settled.unwrap();
    assert_eq!((settled.outcome, settled.health), (Outcome::Applied, Health::Passed), "{settled}");
    worker.tend_restart().await;
    assert!(worker.watch().borrow().restart.is_none());
    worker.site().sender().send_all().await.unwrap();
    let receipts = house.world.receipts();
    assert_eq!((receipts.len(), receipts[0].outcome, receipts[0].patch), (1, Outcome::Applied, patch));
    assert_eq!(ask(&mut worker, next).await.unwrap().outcome, Outcome::Applied, "now it is the next one's turn");
    assert_eq!(house.asked(), 2);
}

#[tokio::test]
async fn what_is_not_healthy_after_the_restart_is_taken_back_and_the_host_restarts_once_more() {
    let mut house = House::new().await;
    house.allows("now", "", "");
    let old = house.endpoint.tree();
    let patch = house.patch(Reboot::Required, "something else");
    let (mut worker, _) = house.begins().await;
    assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch));
    drop(worker);
    house.restarts();
    let (mut worker, settled) = house.begins().await;
    let settled = settled.unwrap();
    let code = settled.reason.as_ref().map(|reason| reason.code);
    assert_eq!((settled.outcome, code), (Outcome::RolledBack, Some(ReasonCode::HealthFailed)), "{settled}");
    assert!(house.endpoint.tree() == old);
    worker.tend_restart().await;
    assert_eq!(house.asked(), 2);
    let why = worker.watch().borrow().restart.clone().unwrap().why;
    assert!(why.starts_with("taken back; what was before runs when the host has restarted: asked for at "), "{why}");

    drop(worker);
    house.restarts();
    let (mut worker, settled) = house.begins().await;
    worker.tend_restart().await;
    assert!(settled.is_none() && worker.watch().borrow().restart.is_none());
    assert_eq!(house.asked(), 2);
}

/// What was begun when its house still ran commands of manifests runs none when it runs none any more.
#[tokio::test]
async fn what_brings_commands_is_taken_back_when_the_house_runs_none_after_the_restart() {
    let mut house = House::new().await;
    house.allows("now", "", "");
    let ran = house.endpoint.path("ran");
    let patch = approved(&house.world, 2, tree_of("1.0.2"), |manifest| {
        manifest.reboot = Reboot::Required;
        manifest.health = List::new(vec![says(&format!("/usr/bin/env touch {}", ran.display()), "")]).unwrap();
    });
    let (mut worker, _) = house.begins().await;
    assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch));
    drop(worker);
    house.allows("now", "", "[health]\nmanifest_commands = false");
    house.restarts();
    let (_, settled) = house.begins().await;
    let settled = settled.unwrap();
    assert_eq!((settled.outcome, ran.exists()), (Outcome::RolledBack, false), "{settled}");
    assert!(settled.to_string().contains("this house runs no commands of manifests"), "{settled}");
    assert_eq!(house.endpoint.version().as_deref(), Some("1.0.1"));
}

#[tokio::test]
async fn the_restart_waits_for_a_window_however_urgent_the_patch_is() {
    let mut house = House::new().await;
    let window = shut_for_hours();
    house.allows("window", "", &format!("[schedule]\nurgent = [\"important\"]\n{window}"));
    let patch = house.patch(Reboot::Required, "1.0.2");
    let (mut worker, _) = house.begins().await;
    assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch), "it is installed at once");
    assert_eq!(house.asked(), 0);
    let why = worker.watch().borrow().restart.clone().unwrap().why;
    assert!(why.contains("waits until ") && why.ends_with("because no window is open"), "{why}");

    // It restarts all the same: somebody pulled the plug.
    drop(worker);
    house.restarts();
    let (_, settled) = house.begins().await;
    assert_eq!(settled.unwrap().outcome, Outcome::Applied);
    assert_eq!(house.asked(), 0);
}

#[tokio::test]
async fn whoever_stands_at_the_host_waits_for_no_window() {
    let house = House::new().await;
    house.allows("window", "", SHUT);
    let patch = house.patch(Reboot::Required, "1.0.2");
    let (mut worker, _) = house.begins().await;
    let answer = worker.apply_as_asked(&patch.to_string(), None, true).await;
    assert_eq!((awaits(&answer), house.asked()), (Some(patch), 1));
}

/// Else it would be in place, be taken back, and be tried again, until it is given up before its window comes.
#[tokio::test]
async fn what_could_not_restart_in_time_is_not_begun() {
    let house = House::new().await;
    house.allows("window", "", &format!("[schedule]\nurgent = [\"important\"]\n{SHUT}"));
    let patch = house.patch(Reboot::Required, "1.0.2");
    let (mut worker, _) = house.begins().await;
    worker.pass().await;
    let waiting = worker.watch().borrow().waiting[&patch].why.clone();
    let expected = "waits until 2104-02-29 02:00 UTC, because the host may not restart for it soon enough";
    assert_eq!(waiting, expected);
    assert_eq!(house.endpoint.version().as_deref(), Some("1.0.1"));
    assert!(house.world.receipts().is_empty(), "it is no attempt");
    // What needs no restart does not wait for one.
    let other = approved(&house.world, 3, tree_of("1.0.3"), |_| {});
    assert_eq!(ask(&mut worker, other).await.unwrap().outcome, Outcome::Applied);
}

#[tokio::test]
async fn a_restart_that_does_not_come_in_time_takes_the_patch_back() {
    let house = House::new().await;
    let files = format!("[installers.file-set]\nroot = \"{}\"\ndirectories = [\"/run\"]", house.root().display());
    let schedule = format!("[schedule]\nurgent = [\"important\"]\n{SHUT}");
    house.allows("window", "deadline = \"1ms\"", &format!("{files}\n{schedule}"));
    std::fs::remove_dir_all(house.endpoint.data().join("installs")).unwrap();
    // That it needs a restart is known only when it is in place.
    let asks = Archive::new().file("run/reboot-required", "*** System restart required ***\n").bytes();
    let artifacts = vec![("files.tar".to_owned(), asks)];
    let patch = approved_set(&house.world, 2, InstallerKind::FileSet, artifacts, |manifest| {
        manifest.reboot = Reboot::IfNeeded;
        manifest.health = List::default();
    });
    let (mut worker, _) = house.begins().await;
    let answer = ask(&mut worker, patch).await;
    assert_eq!(awaits(&answer), Some(patch), "{answer:?}");
    let taken_back = async {
        while worker.site().installer.is_interrupted() {
            worker.tend_restart().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken_back).await.unwrap();
    let last = worker.watch().borrow().last.clone().unwrap();
    let detail = last.reason.clone().unwrap();
    assert_eq!((last.outcome, detail.code), (Outcome::RolledBack, ReasonCode::Interrupted), "{last}");
    assert!(detail.detail.as_str().contains("the host was not restarted in time"), "{last}");
    assert!(!house.root().join("run/reboot-required").exists() && house.asked() == 0);
    worker.tend_restart().await;
    assert!(worker.watch().borrow().restart.is_none(), "what never ran needs no restart to be gone");
}

#[tokio::test]
async fn a_command_that_fails_is_shown_and_tried_again() {
    let house = House::new().await;
    let broken = house.endpoint.path("broken");
    house.endpoint.configure(&format!(
        "[reboot]\nwhen = \"now\"\npatience = \"1ms\"\ncommand = [\"{}\"]\nroot = \"{}\"",
        broken.display(),
        house.root().display()
    ));
    let patch = house.patch(Reboot::Required, "1.0.2");
    let (mut worker, _) = house.begins().await;
    assert_eq!(awaits(&ask(&mut worker, patch).await), Some(patch));
    let why = worker.watch().borrow().restart.clone().unwrap().why;
    assert!(why.contains("cannot restart the host: cannot start broken: No such file"), "{why}");
    std::fs::write(&broken, format!("#!/bin/sh\necho restart >> {}\n", house.endpoint.path("calls").display()))
        .unwrap();
    std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let asked = async {
        while house.asked() == 0 {
            worker.tend_restart().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap();
}

#[tokio::test]
async fn if_needed_means_that_the_host_asks_for_it_because_of_this_patch() {
    for (when, brings, asked) in [("now", true, true), ("now", false, false), ("never", true, false)] {
        let mut house = House::new().await;
        let files = format!("[installers.file-set]\nroot = \"{}\"\ndirectories = [\"/run\"]", house.root().display());
        house.allows(when, "", &files);
        // Somebody else's update asked for a restart before.
        std::fs::write(house.root().join("run/reboot-required"), "*** System restart required ***\n").unwrap();
        let name = if brings { "run/reboot-required" } else { "run/something-else" };
        let set = Archive::new().file(name, "*** for the new kernel ***\n").bytes();
        let what = format!("{when}, brings {brings}");
        std::fs::remove_dir_all(house.endpoint.data().join("installs")).unwrap();
        let patch =
            approved_set(&house.world, 2, InstallerKind::FileSet, vec![("files.tar".to_owned(), set)], |manifest| {
                manifest.reboot = Reboot::IfNeeded;
                manifest.health = List::default();
            });
        let (mut worker, _) = house.begins().await;
        let answer = ask(&mut worker, patch).await;
        assert_eq!((awaits(&answer).is_some(), house.asked()), (asked, usize::from(asked)), "{what}");
        let text = status(&worker).to_string();
        assert!(text.contains("RESTART    this host asks to be restarted ("), "{what}: {text}");
        drop(worker);
        if asked {
            house.restarts();
            assert_eq!(house.begins().await.1.unwrap().outcome, Outcome::Applied, "{what}");
        } else {
            assert_eq!(answer.unwrap().outcome, Outcome::Applied, "{what}");
        }
    }
}

/// What must be true of a host whatever happened to it.
async fn check(house: &mut House, trees: &(Tree, Tree), receipts: usize, healthy: bool, what: &str) -> bool {
    let (worker, _) = house.begins().await;
    let waits = worker.site().installer.to_be_judged().is_some();
    drop(worker);
    if waits {
        assert_eq!(house.endpoint.version().as_deref(), Some("1.0.2"), "{what}");
        house.restarts();
    }
    let (worker, _) = house.begins().await;
    assert!(!worker.site().installer.is_interrupted(), "{what}");
    worker.site().sender().send_all().await.unwrap();
    let (version, tree) = (house.endpoint.version().unwrap(), house.endpoint.tree());
    assert!(tree == if version == "1.0.2" { trees.1.clone() } else { trees.0.clone() }, "{what}: {version} is mixed");
    assert!(healthy || version == "1.0.1", "{what}: what is not healthy is not kept");
    let written = &house.world.receipts()[receipts..];
    let [receipt] = written else { panic!("{what}: {} receipts", written.len()) };
    let expected = if version == "1.0.2" { Outcome::Applied } else { Outcome::RolledBack };
    assert_eq!((receipt.outcome, receipt.to_version.as_str()), (expected, version.as_str()), "{what}");
    expected == Outcome::Applied
}

#[tokio::test]
async fn killed_anywhere_before_or_after_the_restart_the_host_is_exactly_old_or_exactly_new() {
    for healthy in [true, false] {
        let mut house = House::new().await;
        let patch = house.patch(Reboot::Required, if healthy { "1.0.2" } else { "something else" });
        let trees = {
            let old = house.endpoint.tree();
            let new = Endpoint::new(&house.world, &[&house.node], "");
            new.adopt("1.0.2", 2, &tree_of("1.0.2"));
            (old, new.tree())
        };
        // Begun, prepared, switching, switched, restarting; then, by another agent: came up, restarted,
        // judged, (restored,) done. The power fails, or only the agent does.
        let (before, after) = (10, if healthy { 8 } else { 10 });
        for power_fails in [true, false] {
            for (kill, place) in (1..=before).map(|place| (0, place)).chain((0..=after).map(|place| (1, place))) {
                let what = format!("healthy {healthy}, kill {kill}, place {place}, power fails {power_fails}");
                let House { world, node, .. } = house;
                house = House::of(world, node);
                house.allows("now", "", "");
                let receipts = house.world.receipts().len();
                if kill == 0 {
                    assert_eq!(child(&house.endpoint, Some(patch), place).await, place < before, "{what}");
                } else {
                    assert!(!child(&house.endpoint, Some(patch), usize::MAX).await, "{what}");
                    house.restarts();
                    assert_eq!(child(&house.endpoint, None, place).await, place < after, "{what}");
                }
                if power_fails {
                    house.restarts();
                }
                let new = check(&mut house, &trees, receipts, healthy, &what).await;
                // An agent that is restarted while the host comes up goes on where it was.
                let coming_up = kill == 1 && (1..=2).contains(&place);
                assert!(!coming_up || new == (healthy && !power_fails), "{what}");
            }
        }
    }
}

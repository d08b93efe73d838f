//! `kill -9` at every step of an update, and at every step of recovering from that: the host is exactly
//! old or exactly new afterwards, and the receipt says which.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved, says};
use crate::support::node::World;
use agent::config::Config;
use agent::installer::journal::{Moment, Observer, Record};
use agent::site::Site;
use agent::worker::{AskError, Worker};
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::receipt::{Outcome, ReasonCode};
use rustix::process::{Signal, getpid, kill_process};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which configuration the child works with, which patch it is asked for, and at which place it dies.
pub(crate) const CHILD: &str = "COUNTERSIGN_TEST_CHILD";

/// Counts places: before and after each record. At place `die_at` the process kills itself.
fn deadly(die_at: usize) -> Observer {
    let place = AtomicUsize::new(0);
    Box::new(move |_: Moment, _: &Record| {
        if place.fetch_add(1, Ordering::SeqCst) == die_at {
            kill_process(getpid(), Signal::KILL).unwrap();
            loop {
                std::thread::park();
            }
        }
    })
}

/// Not a test by itself: an agent in a process of its own, which the tests below start and which dies
/// where they say.
#[tokio::test]
async fn the_child() {
    let Ok(orders) = std::env::var(CHILD) else { return };
    let [config, patch, die_at] = orders.split('|').collect::<Vec<_>>()[..] else { panic!("{orders}") };
    // A host with a program of its own says what that is.
    let own = Path::new(config).with_file_name("countersign-agent");
    let program = if own.exists() { own } else { PROGRAM.into() };
    let config = Config::read(Path::new(config)).unwrap();
    let mut site = Site::open(config, program, deadly(die_at.parse().unwrap())).unwrap();
    site.recover().await.unwrap();
    if let Some(patch) = patch.strip_prefix(BACK) {
        let _ = Worker::new(site).take_back(patch).await.unwrap();
    } else if !patch.is_empty() {
        match Worker::new(site).apply(patch, None).await {
            Ok(_) | Err(AskError::AwaitsRestart(_) | AskError::HandedOver(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What stands before a patch that is to be taken back.
const BACK: &str = "back ";

/// Starts the child, which takes a patch back; whether it died where it was told to.
pub(crate) async fn child_takes_back(endpoint: &Endpoint, patch: PatchId, die_at: usize) -> bool {
    child_with_orders(endpoint, &format!("{BACK}{patch}"), die_at).await
}

/// Starts the child; whether it died where it was told to.
pub(crate) async fn child(endpoint: &Endpoint, patch: Option<PatchId>, die_at: usize) -> bool {
    child_with_orders(endpoint, &patch.map(|patch| patch.to_string()).unwrap_or_default(), die_at).await
}

async fn child_with_orders(endpoint: &Endpoint, patch: &str, die_at: usize) -> bool {
    let status = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::the_child"])
        .env(CHILD, format!("{}|{patch}|{die_at}", endpoint.config_path().display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .unwrap();
    assert!(status.success() || status.signal() == Some(Signal::KILL.as_raw()), "{status}");
    !status.success()
}

struct Case {
    world: Arc<World>,
    patch: PatchId,
    healthy: bool,
}

impl Case {
    async fn new(healthy: bool) -> (Self, crate::support::node::Node) {
        let world = World::new();
        let node = world.node().await;
        let patch = approved(&world, 2, tree_of("1.0.2"), |manifest| {
            let expected = if healthy { "1.0.2" } else { "something else" };
            manifest.health = List::new(vec![says("{tree}/bin/version", expected)]).unwrap();
        });
        (Self { world, patch, healthy }, node)
    }

    /// What must be true of a host whatever happened to it.
    async fn check(&self, endpoint: &Endpoint, old: &Tree, new: &Tree, what: &str) {
        let receipts = self.world.receipts().len();
        let mut site = endpoint.open();
        site.recover().await.unwrap();
        assert!(!site.installer.is_interrupted(), "{what}");
        let (tree, version) = (endpoint.tree(), endpoint.version().unwrap());
        let is_new = version == "1.0.2";
        assert!(tree == if is_new { new.clone() } else { old.clone() }, "{what}: {version} is mixed");
        assert!(self.healthy || !is_new, "{what}: what is not healthy is not kept");
        let versions = endpoint.installed().unwrap().tree.parent().unwrap().to_owned();
        let partial = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".partial");
        let left: Vec<_> =
            std::fs::read_dir(versions).unwrap().map(|entry| entry.unwrap().file_name()).filter(partial).collect();
        assert!(left.is_empty(), "{what}: {left:?}");

        site.sender().send_all().await.unwrap();
        let written = &self.world.receipts()[receipts..];
        let [receipt] = written else { panic!("{what}: {} receipts", written.len()) };
        let reason = receipt.reason.as_ref().map(|reason| reason.code);
        match receipt.outcome {
            Outcome::Applied => assert!(is_new && reason.is_none(), "{what}"),
            Outcome::RolledBack => {
                assert!(!is_new, "{what}");
                let expected = [ReasonCode::Interrupted, ReasonCode::HealthFailed];
                assert!(expected.contains(&reason.unwrap()), "{what}: {reason:?}");
            }
            other => panic!("{what}: {other}"),
        }
        assert_eq!(receipt.to_version.as_str(), version, "{what}");
    }
}

pub(crate) type Tree = std::collections::BTreeMap<String, (u32, Vec<u8>)>;

/// The two trees there may be.
async fn trees(world: &Arc<World>, node: &crate::support::node::Node) -> (Tree, Tree) {
    let endpoint = Endpoint::new(world, &[node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let old = endpoint.tree();
    let endpoint = Endpoint::new(world, &[node], "");
    endpoint.adopt("1.0.2", 2, &tree_of("1.0.2"));
    (old, endpoint.tree())
}

#[tokio::test]
async fn killed_anywhere_the_host_is_exactly_old_or_exactly_new() {
    for healthy in [true, false] {
        let (case, node) = Case::new(healthy).await;
        let (old, new) = trees(&case.world, &node).await;
        let mut place = 0;
        loop {
            let endpoint = Endpoint::new(&case.world, &[&node], "");
            endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
            let died = child(&endpoint, Some(case.patch), place).await;
            // The very first place is before anything was written: nothing happened.
            if died && place > 0 {
                case.check(&endpoint, &old, &new, &format!("healthy {healthy}, place {place}")).await;
            }
            if !died {
                break;
            }
            place += 1;
        }
        // Begun, prepared, switching, switched, judged, (restored,) done: before and after each.
        assert_eq!(place, if healthy { 12 } else { 14 });
    }
}

#[tokio::test]
async fn killed_while_recovering_it_recovers_from_that() {
    let (case, node) = Case::new(true).await;
    let (old, new) = trees(&case.world, &node).await;
    // After the switch, before health was judged: recovery has to switch back.
    let after_switched = 7;
    let mut place = 0;
    loop {
        let endpoint = Endpoint::new(&case.world, &[&node], "");
        endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
        assert!(child(&endpoint, Some(case.patch), after_switched).await);
        assert_eq!(endpoint.version().as_deref(), Some("1.0.2"), "switched, and nobody knows whether it is healthy");
        if !child(&endpoint, None, place).await {
            break;
        }
        // After the very last record there is nothing left to recover, and the receipt waits.
        if place < 5 {
            case.check(&endpoint, &old, &new, &format!("recovery, place {place}")).await;
            assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
        }
        place += 1;
    }
    // Judged, restored, done: before and after each.
    assert_eq!(place, 6);
}

#[tokio::test]
async fn what_was_interrupted_is_tried_again() {
    let (case, node) = Case::new(true).await;
    let endpoint = Endpoint::new(&case.world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    assert!(child(&endpoint, Some(case.patch), 5).await);
    let settled = endpoint.apply(case.patch).await;
    assert_eq!((settled.outcome, endpoint.version().as_deref()), (Outcome::Applied, Some("1.0.2")));
    let receipts = case.world.receipts();
    let told: Vec<_> = receipts.iter().map(|receipt| (receipt.attempt, receipt.outcome)).collect();
    assert_eq!(told, [(1, Outcome::RolledBack), (2, Outcome::Applied)]);
}

//! What is believed of the ledger, and what is not.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved, hear, manifest, says, widget};
use crate::support::ledger::Ledger;
use crate::support::node::World;
use crate::support::{PATIENCE, eventually};
use agent::follow::sources::CallCause;
use ledger::bounded::List;
use ledger::proof::ProofBundle;
use ledger::receipt::{Outcome, ReasonCode};
use std::process::Stdio;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// An agent that runs, in a thread of its own.
pub(crate) struct Daemon {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Daemon {
    pub(crate) fn start(endpoint: &Endpoint) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let config = endpoint.config();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let until = async move { drop(stopped.await) };
            let agent = agent::daemon::run(config, PROGRAM.into(), Box::new(|_, _| {}), until);
            runtime.block_on(agent).unwrap();
        });
        Self { stop, thread }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        let ended = tokio::task::spawn_blocking(|| self.thread.join());
        tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap();
    }
}

/// Waits until a version is installed and its receipt final.
pub(crate) async fn applied(world: &World, endpoint: &Endpoint, version: &str) {
    let receipts = async || world.receipts().iter().find(|receipt| receipt.to_version.as_str() == version).cloned();
    let receipt = eventually(version, receipts).await;
    assert_eq!(receipt.outcome, Outcome::Applied);
    assert_eq!(endpoint.version().as_deref(), Some(version));
}

#[tokio::test]
async fn what_is_approved_is_applied_without_hands_and_a_dead_node_stalls_nobody() {
    let world = World::new();
    let good = world.node().await;
    // A port nobody listens on, and one where nobody answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mute, gone) = (good.at(silent.local_addr().unwrap()), good.at(closed.local_addr().unwrap()));
    drop(closed);
    let endpoint = Endpoint::new(&world, &[&gone, &mute, &good], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let daemon = Daemon::start(&endpoint);
    approved(&world, 2, tree_of("1.0.2"), |manifest| {
        manifest.health = List::new(vec![says("{tree}/bin/version", "1.0.2")]).unwrap();
    });
    applied(&world, &endpoint, "1.0.2").await;
    // Without a stream of heads, it asks.
    good.behave(|manners| manners.no_watch = true);
    approved(&world, 3, tree_of("1.0.3"), |_| {});
    applied(&world, &endpoint, "1.0.3").await;
    daemon.stop().await;
}

/// It has the newest header, so it is asked first; and it leaves the approvals out.
#[tokio::test]
async fn a_node_that_keeps_approvals_to_itself_stops_no_patch() {
    let world = World::new();
    let (liar, honest) = (world.node().await, world.node().await);
    let endpoint = Endpoint::new(&world, &[&liar, &honest], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let whole = world.ledger().proof(patch).unwrap();
    let stripped = ProofBundle { approvals: List::default(), ..whole };
    liar.behave(|manners| manners.proof = Some(stripped.bytes()));
    let settled = endpoint.worker().await.apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Applied, "{settled:?}");
    assert!(liar.asked().proofs > 0);
    // Where nobody shows more, that is what is told.
    let patch = approved(&world, 2, tree_of("2"), |_| {});
    let stripped = ProofBundle { approvals: List::default(), ..world.ledger().proof(patch).unwrap() };
    for node in [&liar, &honest] {
        node.behave(|manners| manners.proof = Some(stripped.bytes()));
    }
    let settled = endpoint.worker().await.apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(settled.reason.unwrap().code, ReasonCode::ApprovalRule);
}

/// They are no attempts, have no receipts, and take nothing from what is true.
#[tokio::test]
async fn patches_that_a_node_made_up_or_listed_as_others_are_no_attempts() {
    let world = World::new();
    let liar = world.node().await;
    let endpoint = Endpoint::new(&world, &[&liar], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    let told = world.receipts().len();
    // Published, and nothing more; shown with the records of one that is approved.
    let next = world.change(|ledger| {
        let manifest = ledger.scenario.manifest(2);
        let next = ledger.publish(manifest);
        ledger.settle();
        next
    });
    let [made_up, whole] = [next, patch].map(|patch| world.ledger().proof(patch).unwrap());
    let made_up = ProofBundle { state: whole.state, ..made_up };
    liar.behave(|manners| (manners.lists_all_as_approved, manners.proof) = (true, Some(made_up.bytes())));
    let mut worker = endpoint.worker().await;
    for _ in 0..3 {
        worker.pass().await;
    }
    assert!(liar.asked().proofs > 0);
    assert_eq!((world.receipts().len(), worker.site().receipts.waiting().unwrap()), (told, 0));
    assert!(worker.site().attempts.all().all(|(tried, _)| *tried == patch), "it is no attempt");
    // Somebody who asks for it is told.
    let settled = worker.apply(&next.to_string(), None).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Refused, "{settled}");
}

#[tokio::test]
async fn a_node_without_a_place_for_a_stream_is_asked_and_followed_as_soon_as_it_has_one() {
    let world = World::new();
    let node = world.node().await;
    node.behave(|manners| manners.no_place = true);
    let endpoint = Endpoint::new(&world, &[&node], "");
    let daemon = Daemon::start(&endpoint);
    approved(&world, 1, tree_of("1"), |_| {});
    applied(&world, &endpoint, "1.0.1").await;
    assert!(node.asked().heads > 0 && node.asked().streams == 0, "{:?}", node.asked());
    node.behave(|manners| manners.no_place = false);
    eventually("a stream", async || (node.asked().streams > 0).then_some(())).await;
    approved(&world, 2, tree_of("2"), |_| {});
    applied(&world, &endpoint, "1.0.2").await;
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_final_wakes_and_what_makes_it_provable_wakes_again_and_a_heartbeat_wakes_nobody() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let site = endpoint.open();
    hear(&site).await;
    let mut changed = site.heads.watch();
    for (what, wakes) in [("a transaction", true), ("the block that seals it", true), ("a heartbeat", false)] {
        world.change(|ledger| {
            if what == "a transaction" {
                ledger.enroll(agent::key::generate().unwrap().public());
            }
            assert!(ledger.block().is_empty());
        });
        hear(&site).await;
        assert_eq!(changed.has_changed().unwrap(), wakes, "{what}");
        changed.mark_unchanged();
    }
}

#[tokio::test]
async fn what_somebody_asked_for_too_early_is_applied_as_soon_as_it_is_approved() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let manifest = manifest(&world, 1, &tree_of("1"));
    world.store(tree_of("1"));
    let patch = world.change(|ledger| {
        let patch = ledger.publish(manifest);
        ledger.block();
        ledger.approve("bank", patch);
        ledger.settle();
        patch
    });
    let mut worker = endpoint.worker().await;
    let settled = worker.apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(settled.reason.unwrap().code, ReasonCode::ApprovalRule);
    world.change(|ledger| {
        ledger.approve("clinic", patch);
        ledger.settle();
    });
    hear(worker.site()).await;
    worker.pass().await;
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
}

#[tokio::test]
async fn a_proof_that_is_one_block_away_is_waited_for() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let manifest = manifest(&world, 1, &tree_of("1"));
    world.store(tree_of("1"));
    world.change(|ledger| {
        let patch = ledger.publish(manifest);
        ledger.block();
        ledger.approve("bank", patch);
        ledger.approve("clinic", patch);
        assert!(ledger.block().is_empty());
    });
    // Approved, and not yet provable: the stream of heads says when.
    let daemon = Daemon::start(&endpoint);
    eventually("its question", async || (node.asked().proofs > 0).then_some(())).await;
    assert!(endpoint.installed().is_none());
    world.change(Ledger::block);
    applied(&world, &endpoint, "1.0.1").await;
    daemon.stop().await;
}

#[tokio::test]
async fn one_node_that_hides_a_patch_does_not_keep_it_away() {
    let (world, hidden) = (World::new(), World::new());
    let (honest, hiding) = (world.node().await, hidden.node().await);
    let endpoint = Endpoint::new(&world, &[&hiding, &honest], "");
    // The node that hides serves another ledger altogether, behind the same name.
    std::fs::write(endpoint.path("ca.pem"), format!("{}{}", world.ca_pem, hidden.ca_pem)).unwrap();
    approved(&world, 1, tree_of("1"), |_| {});
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    worker.pass().await;
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
    let nodes = worker.site().heads.nodes();
    assert!(nodes[0].height == 0 && nodes[1].height > 0, "{nodes:?}");
}

/// An empty patch takes 2 bytes on the wire and some 580 in memory: what would be made of this many is more than an agent
/// may take, by far.
const EMPTY_ENTRIES: usize = 500_000;
/// What an agent, built without optimisation and with all that it runs on, never comes near.
const RESIDENT_KIB_MAX: u64 = 160 * 1024;

#[tokio::test]
async fn a_node_that_answers_with_more_than_was_asked_for_is_refused_by_name() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let site = endpoint.open();
    let source = &site.sources.all()[0];
    assert_eq!(source.approved(&widget(), 0).await.unwrap().len(), 1);
    node.behave(|manners| manners.lists_empty = EMPTY_ENTRIES);
    let asked = [
        source.approved(&widget(), 0).await.map(drop),
        source.named("00").await.map(drop),
        source.last_attempt(endpoint.key.public(), patch).await.map(drop),
        source.epochs(0).await.map(drop),
    ];
    for refused in asked {
        assert_eq!(refused.unwrap_err().cause, CallCause::Malformed(proto::lean::TOO_MANY));
    }
    // What is not looked at takes nothing, however much of it there is.
    assert_eq!(source.node_key().await.unwrap().len(), 32);
}

/// Killed for its memory, an agent would begin with the same node again, and never come to another one.
#[tokio::test]
async fn a_node_that_answers_with_more_than_was_asked_for_takes_no_memory_and_stops_nothing() {
    let world = World::new();
    let (hostile, honest) = (world.node().await, world.node().await);
    hostile.behave(|manners| manners.lists_empty = EMPTY_ENTRIES);
    let endpoint = Endpoint::new(&world, &[&hostile, &honest], "");
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(endpoint.config_path()).stderr(Stdio::null()).kill_on_drop(true);
    let agent = command.spawn().unwrap();
    // Which of two nodes is asked first is whoever was reached first: the hostile one was asked before there is anything.
    eventually("the hostile node is asked", async || (hostile.asked().lists > 0).then_some(())).await;
    approved(&world, 1, tree_of("1.0.1"), |_| {});
    applied(&world, &endpoint, "1.0.1").await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < RESIDENT_KIB_MAX, "{peak_kib} KiB");
}

#[tokio::test]
async fn another_node_is_asked_first_after_every_start() {
    let world = World::new();
    let endpoint = Endpoint::new(&world, &[&world.node().await], "");
    for start in 0..3 {
        assert_eq!(endpoint.open().starts(), start);
    }
    std::fs::write(endpoint.data().join("starts"), "no number").unwrap();
    assert_eq!(endpoint.open().starts(), 0);
}

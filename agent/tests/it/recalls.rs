//! A patch that runs here is recalled: the host is told, by proof, wherever somebody looks.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved};
use crate::support::node::World;
use agent::worker::{AskError, NoAttempt, Worker};
use ledger::id::PatchId;
use ledger::receipt::{Outcome, ReasonCode};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

const SAID: &str = "acme/widget 1.0.2 was recalled: it eats data";

struct Ended {
    code: i32,
    out: String,
    err: String,
}

async fn agent(endpoint: &Endpoint, arguments: &[&str]) -> Ended {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(arguments).arg("--config").arg(endpoint.config_path()).env_remove("COUNTERSIGN_LOG");
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

fn recall(world: &World, patch: PatchId) {
    world.change(|ledger| {
        ledger.recall(patch);
        ledger.settle();
    });
}

/// A host that runs release 2, which replaced a baseline.
async fn installed(world: &Arc<World>, endpoint: &Endpoint) -> PatchId {
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(world, 2, tree_of("1.0.2"), |_| {});
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    patch
}

fn known(worker: &Worker, patch: PatchId) -> Option<String> {
    worker.site().recalls.of(patch).map(ToString::to_string)
}

#[tokio::test]
async fn a_host_that_runs_what_was_recalled_says_so_wherever_somebody_looks() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = installed(&world, &endpoint).await;
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    assert_eq!(known(&worker, patch), None);
    recall(&world, patch);
    worker.pass().await;
    assert_eq!(known(&worker, patch).as_deref(), Some("recalled: it eats data"));
    assert_eq!(endpoint.version().as_deref(), Some("1.0.2"), "what to do about it is the operator's decision");
    drop(worker);

    // It is on the disk: no node has to answer any more.
    node.behave(|manners| manners.proof = Some(b"no proof".to_vec()));
    let back = format!("`countersign-agent rollback {}` (back to 1.0.1)", &patch.to_string()[..12]);
    let status = agent(&endpoint, &["status"]).await;
    let line = format!("RECALLED   {SAID}; install another version, or {back}\n");
    assert!(status.code == 0 && status.out.contains(&line), "{}", status.out);
    let status = agent(&endpoint, &["status", "-o", "json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    let recalled = &status["installed"][0]["recalled"];
    assert_eq!(recalled["reason"], "it eats data", "{status}");
    assert!(recalled["height"].as_u64().is_some() && recalled["hint"].as_str().unwrap().contains(&back), "{status}");

    let doctor = agent(&endpoint, &["doctor"]).await;
    assert!(doctor.code == 1 && doctor.out.contains(&format!("FAIL  RECALLED      {SAID}\n")), "{}", doctor.out);
    assert!(doctor.out.contains("hint: install another version, or `countersign-agent rollback"), "{}", doctor.out);

    let why = agent(&endpoint, &["why", &patch.to_string()]).await;
    let answer =
        format!("answer     it is installed, but it was recalled: it eats data; install another version, or {back}");
    assert!(why.code == 1 && why.out.contains(&answer), "{}", why.out);
    let why = agent(&endpoint, &["why", &patch.to_string(), "-o", "json"]).await;
    let why: serde_json::Value = serde_json::from_str(&why.out).unwrap();
    assert_eq!((&why["installed"], &why["well"]), (&true.into(), &false.into()), "{why}");
    assert_eq!(why["recalled"]["reason"], "it eats data", "{why}");

    // Going back ends it.
    node.behave(|manners| manners.proof = None);
    let ended = agent(&endpoint, &["rollback", &patch.to_string()]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(!agent(&endpoint, &["status"]).await.out.contains("RECALLED"));
    let doctor = agent(&endpoint, &["doctor"]).await;
    assert!(doctor.code == 0 && !doctor.out.contains("RECALLED"), "{}", doctor.out);
}

#[tokio::test]
async fn a_doctor_asks_the_nodes_himself_and_leaves_nothing_behind() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = installed(&world, &endpoint).await;
    let doctor = agent(&endpoint, &["doctor"]).await;
    assert!(doctor.code == 0 && doctor.out.contains("one patch, proven not to be recalled"), "{}", doctor.out);
    recall(&world, patch);
    let doctor = agent(&endpoint, &["doctor"]).await;
    assert!(doctor.code == 1 && doctor.out.contains(SAID), "{}", doctor.out);
    assert!(!endpoint.data().join("recalls.json").exists(), "a doctor changes nothing");
}

/// A list is a node's word; so is what it says of the reason.
#[tokio::test]
async fn a_recall_is_believed_by_its_proof_alone_and_no_list_can_hide_it_for_ever() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = installed(&world, &endpoint).await;
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    let other = approved(&world, 3, tree_of("1.0.3"), |_| {});
    // The node shows a final transaction that is another's recall.
    recall(&world, other);
    let of_another = world.ledger().recall_of(other).unwrap();
    recall(&world, patch);
    node.behave(|manners| manners.recall_shown = Some(of_another));
    worker.pass().await;
    let said = known(&worker, patch).unwrap();
    assert!(said.starts_with("recalled at height ") && said.contains("no node has shown"), "{said}");
    drop(worker);
    node.behave(|manners| manners.recall_shown = None);

    // An agent that begins asks anew, whatever the lists say: they still have it as approved.
    node.behave(|manners| manners.lists_all_as_approved = true);
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    assert_eq!(known(&worker, patch).as_deref(), Some("recalled: it eats data"));

    // And one that says so of what was not recalled has no proof of it.
    let next = approved(&world, 4, tree_of("1.0.4"), |_| {});
    assert_eq!(worker.apply(&next.to_string(), None).await.unwrap().outcome, Outcome::Applied);
    let of_the_recalled = world.ledger().proof(patch).unwrap().bytes();
    node.behave(|manners| (manners.proof, manners.lists_all_as_approved) = (Some(of_the_recalled), false));
    worker.pass().await;
    assert_eq!(known(&worker, next), None);
}

#[tokio::test]
async fn nothing_is_taken_back_to_what_was_recalled() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let recalled = installed(&world, &endpoint).await;
    let next = approved(&world, 3, tree_of("1.0.3"), |_| {});
    assert_eq!(endpoint.apply(next).await.outcome, Outcome::Applied);
    recall(&world, recalled);
    let receipts = world.receipts().len();
    let ended = agent(&endpoint, &["rollback", &next.to_string()]).await;
    assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{}", ended.err);
    let said = "because: 1.0.2, which was before, was recalled: it eats data; it is not gone back to";
    assert!(ended.err.contains(said) && ended.err.contains("hint: install another version"), "{}", ended.err);
    assert_eq!((endpoint.version().as_deref(), world.receipts().len()), (Some("1.0.3"), receipts));

    // Nor is that advised to whoever runs what was recalled as well.
    recall(&world, next);
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    drop(worker);
    let status = agent(&endpoint, &["status"]).await;
    assert!(status.out.contains("it eats data; install another version\n"), "{}", status.out);
}

#[tokio::test]
async fn without_a_node_to_ask_going_back_is_the_safe_direction() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    installed(&world, &endpoint).await;
    let next = approved(&world, 3, tree_of("1.0.3"), |_| {});
    assert_eq!(endpoint.apply(next).await.outcome, Outcome::Applied);
    node.behave(|manners| (manners.proof, manners.no_submit) = (Some(b"no proof".to_vec()), Some("mempool-full")));
    let mut worker = endpoint.worker().await;
    assert_eq!(worker.take_back(&next.to_string()).await.unwrap().outcome, Outcome::RolledBack);
    assert_eq!(endpoint.version().as_deref(), Some("1.0.2"));
}

/// Nodes that take the question and say nothing do not keep a host on what its people want to leave.
#[tokio::test]
async fn nodes_that_say_nothing_do_not_hold_up_going_back() {
    let world = World::new();
    let nodes = [world.node().await, world.node().await, world.node().await, world.node().await];
    let endpoint = Endpoint::new(&world, &nodes.each_ref(), "");
    installed(&world, &endpoint).await;
    let next = approved(&world, 3, tree_of("1.0.3"), |_| {});
    assert_eq!(endpoint.apply(next).await.outcome, Outcome::Applied);
    for node in &nodes {
        node.behave(|manners| manners.silent = true);
    }
    let mut worker = endpoint.worker().await;
    let back = tokio::time::timeout(Duration::from_secs(15), worker.take_back(&next.to_string())).await;
    assert_eq!(back.expect("it waits for every node").unwrap().outcome, Outcome::RolledBack);
    assert_eq!(endpoint.version().as_deref(), Some("1.0.2"));
}

/// Somebody carries proofs to a host that no node reaches: the one that shows the recall first, and then one of before.
#[tokio::test]
async fn a_proof_of_before_a_recall_is_not_taken_after_one_that_shows_it() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    node.behave(|manners| manners.silent = true);
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let proof = || world.ledger().proof(patch).unwrap().bytes();
    let before = proof();
    recall(&world, patch);
    let shows_it = proof();
    for (proof, reason) in [(shows_it, ReasonCode::Recalled), (before, ReasonCode::HeightBelowSeen)] {
        // Each by a process of its own: what was learnt is on the disk.
        let settled = endpoint.worker().await.apply(&patch.to_string(), Some(proof)).await.unwrap();
        assert_eq!(settled.reason.as_ref().map(|told| told.code), Some(reason), "{settled:?}");
    }
}

/// The host has it, and no node says that it was recalled.
#[tokio::test]
async fn a_proof_that_somebody_gives_brings_the_recall_of_what_runs_here() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = installed(&world, &endpoint).await;
    node.behave(|manners| manners.silent = true);
    recall(&world, patch);
    let proof = world.ledger().proof(patch).unwrap().bytes();
    let mut worker = endpoint.worker().await;
    let answer = worker.apply(&patch.to_string(), Some(proof)).await;
    assert!(
        matches!(answer, Err(AskError::NoAttempt(NoAttempt::InstalledAlready { recalled: Some(_), .. }))),
        "{answer:?}"
    );
    assert!(known(&worker, patch).is_some());
    drop(worker);
    assert!(known(&endpoint.worker().await, patch).is_some(), "also after a start");
}

/// The proof of a patch, certified by less than a quorum.
fn signed_by_two(world: &World, patch: PatchId) -> Vec<u8> {
    let ledger = world.ledger();
    let mut proof = ledger.proof(patch).unwrap();
    proof.certificate = ledger.scenario.certificate_by(&proof.header, &ledger.scenario.validators()[..2]);
    proof.bytes()
}

/// Nothing is said of what this host never had, and a stranger's word is none.
#[tokio::test]
async fn a_recall_of_what_is_not_here_is_no_news() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = installed(&world, &endpoint).await;
    let other = approved(&world, 3, tree_of("1.0.3"), |_| {});
    recall(&world, other);
    recall(&world, patch);
    let of_other = world.ledger().proof(other).unwrap().bytes();
    let forged = signed_by_two(&world, patch);
    node.behave(|manners| manners.silent = true);
    let mut worker = endpoint.worker().await;
    worker.apply(&other.to_string(), Some(of_other)).await.unwrap();
    drop(worker.apply(&patch.to_string(), Some(forged)).await);
    assert_eq!((known(&worker, other), known(&worker, patch)), (None, None));
}

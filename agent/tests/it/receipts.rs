//! Receipts reach the ledger, once, whatever nodes and disks do.

use crate::following::{Daemon, applied};
use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, approved, hear};
use crate::support::eventually;
use crate::support::ledger::Ledger;
use crate::support::node::World;
use ledger::receipt::Outcome;
use ledger::transaction::SignedTransaction;

#[tokio::test]
async fn receipts_outlive_restarts_and_nodes_that_have_no_room() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    node.behave(|manners| manners.no_submit = Some("mempool-full"));
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let daemon = Daemon::start(&endpoint);
    // Judged: what is only installed would be taken back after the restart, with a receipt of its own.
    eventually("a receipt that is sent", async || (node.asked().submits > 0).then_some(())).await;
    daemon.stop().await;
    assert!(world.receipts().is_empty() && endpoint.installed().is_some());

    let daemon = Daemon::start(&endpoint);
    node.behave(|manners| manners.no_submit = None);
    applied(&world, &endpoint, "1.0.1").await;
    daemon.stop().await;
    assert_eq!(world.receipts().len(), 1);

    // An agent that lost its memory of receipts goes on with the number the ledger knows.
    std::fs::remove_file(endpoint.data().join("attempts.json")).unwrap();
    std::fs::remove_dir_all(endpoint.data().join("receipts")).unwrap();
    let mut worker = endpoint.worker().await;
    assert_eq!(worker.take_back(&patch.to_string()).await.unwrap().outcome, Outcome::RolledBack);
    worker.site().sender().send_all().await.unwrap();
    assert_eq!(world.receipts().last().unwrap().attempt, 2);
}

/// "It is final", said the node, and threw it away: whoever could do that could hide a failure. Of such a node
/// nothing is believed but a proof.
#[tokio::test]
async fn no_node_can_hide_a_receipt() {
    let world = World::new();
    let (thief, honest) = (world.node().await, world.node().await);
    thief.behave(|manners| manners.swallows = true);
    let endpoint = Endpoint::new(&world, &[&thief, &honest], "");
    approved(&world, 1, tree_of("1"), |_| {});
    let daemon = Daemon::start(&endpoint);
    applied(&world, &endpoint, "1.0.1").await;
    daemon.stop().await;
    // And with nobody else to ask, it waits.
    let alone = Endpoint::new(&world, &[&thief], "");
    let patch = world.ledger().patches[0];
    let mut worker = alone.worker().await;
    worker.apply(&patch.to_string(), None).await.unwrap();
    worker.site().sender().send_all().await.unwrap_err();
    assert_eq!(worker.site().receipts.waiting().unwrap(), 1);
}

/// What is wrong with a receipt in the eyes of one node is that node's word.
#[tokio::test]
async fn no_node_can_refuse_a_receipt_for_the_others() {
    let world = World::new();
    let (liar, honest) = (world.node().await, world.node().await);
    liar.behave(|manners| manners.no_submit = Some("unknown-key"));
    let endpoint = Endpoint::new(&world, &[&liar, &honest], "");
    approved(&world, 1, tree_of("1"), |_| {});
    let daemon = Daemon::start(&endpoint);
    applied(&world, &endpoint, "1.0.1").await;
    daemon.stop().await;
}

/// An id that was mistyped is no patch: nobody takes the refusal, and it waits for nobody.
#[tokio::test]
async fn a_refusal_of_what_no_node_knows_is_given_up_and_one_node_alone_cannot_say_so() {
    let world = World::new();
    let (silent, honest) = (world.node().await, world.node().await);
    let endpoint = Endpoint::new(&world, &[&silent, &honest], "");
    silent.behave(|manners| manners.no_submit = Some("mempool-full"));
    let none = "ab".repeat(32);
    let mut worker = endpoint.worker().await;
    let settled = worker.apply(&none, Some(Vec::new())).await.unwrap();
    assert_eq!(settled.outcome, Outcome::Refused);
    let sender = worker.site().sender();
    sender.send_all().await.unwrap_err();
    assert_eq!(worker.site().receipts.waiting().unwrap(), 1, "one of them has not said so");
    silent.behave(|manners| manners.no_submit = None);
    sender.send_all().await.unwrap();
    assert_eq!(worker.site().receipts.waiting().unwrap(), 0);
    assert!(world.receipts().is_empty());
}

/// Nor can one ask for so much patience that nobody is asked any more: what it asks for is for itself.
#[tokio::test]
async fn no_node_can_silence_a_host_by_asking_for_patience() {
    let world = World::new();
    let (honest, hostile) = (world.node().await, world.node().await);
    let hours_ms = 10 * 60 * 60 * 1000;
    hostile.behave(|manners| {
        (manners.no_submit, manners.retry_after_ms, manners.behind) = (Some("quota"), Some(hours_ms), 1);
    });
    // It has no room once, and the hostile one is the last to be asked.
    honest.behave(|manners| manners.no_submit = Some("mempool-full"));
    let endpoint = Endpoint::new(&world, &[&honest, &hostile], "");
    approved(&world, 1, tree_of("1"), |_| {});
    let daemon = Daemon::start(&endpoint);
    eventually("both have refused it", async || (hostile.asked().submits > 0).then_some(())).await;
    honest.behave(|manners| manners.no_submit = None);
    applied(&world, &endpoint, "1.0.1").await;
    assert_eq!(hostile.asked().submits, 1, "and what it asks for it is given, for a while");
    daemon.stop().await;
}

#[tokio::test]
async fn an_answer_that_got_lost_is_not_a_second_receipt() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    endpoint.apply(patch).await;
    assert_eq!(world.receipts().len(), 1);
    // The ledger has it; the agent was killed before it heard so.
    let receipts = endpoint.data().join("receipts");
    let sent = std::fs::read_dir(receipts.join("sent")).unwrap().next().unwrap().unwrap();
    let name = sent.file_name().into_string().unwrap();
    std::fs::rename(sent.path(), receipts.join(&name)).unwrap();
    let waiting = format!(
        r#"{{"settled":{{"run":1,"patch":"{patch}","from_version":"","to_version":"1.0.1","outcome":"applied",
        "reason":null,"health":"passed"}},"log_digest":"{}","ended_at_ms":1}}"#,
        "00".repeat(32)
    );
    std::fs::write(receipts.join(name.replace(".tx", ".json")), waiting).unwrap();
    let worker = endpoint.worker().await;
    worker.site().sender().send_all().await.unwrap();
    assert_eq!(world.receipts().len(), 1);
    assert_eq!(worker.site().receipts.waiting().unwrap(), 0);
}

/// Nor is a word that what was signed first can never be final any more, when it becomes so through another node.
#[tokio::test]
async fn what_is_said_to_have_expired_and_becomes_final_is_not_told_twice() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let mut worker = endpoint.worker().await;
    worker.apply(&patch.to_string(), None).await.unwrap();
    let sender = worker.site().sender();
    let signed = endpoint.data().join("receipts").join(format!("00000001-{patch}.tx"));
    node.behave(|manners| manners.no_submit = Some("quota"));
    sender.send_all().await.unwrap_err();
    let first = std::fs::read(&signed).unwrap();
    world.change(Ledger::settle);
    hear(worker.site()).await;
    node.behave(|manners| manners.no_submit = Some("expired"));
    sender.send_all().await.unwrap_err();
    assert_ne!(std::fs::read(&signed).unwrap(), first, "it was signed anew");

    world.change(|ledger| {
        let chain_id = ledger.scenario.chain_id();
        ledger.offer(SignedTransaction::verify_bytes(&first, &chain_id).unwrap());
        ledger.block()
    });
    node.behave(|manners| manners.no_submit = None);
    sender.send_all().await.unwrap();
    let told: Vec<_> = world.receipts().iter().map(|receipt| (receipt.attempt, receipt.outcome)).collect();
    assert_eq!(told, [(1, Outcome::Applied)]);
    assert_eq!(worker.site().receipts.waiting().unwrap(), 0);

    // Power went between the note that it is final and the end of the waiting.
    let sent = endpoint.data().join("receipts/sent").join(format!("00000001-{patch}.tx"));
    assert_eq!(std::fs::read(&sent).unwrap(), first, "the one that is final is kept");
    let waiting = format!("00000001-{patch}.json");
    std::fs::write(endpoint.data().join("receipts").join(&waiting), "{}").unwrap();
    let submits = node.asked().submits;
    sender.send_all().await.unwrap();
    assert_eq!((node.asked().submits, worker.site().receipts.waiting().unwrap()), (submits, 0));
}

/// A count that was lost begins behind everything that was ever told: else the receipt of an attempt would be taken for
/// one that was sent, and never be written.
#[tokio::test]
async fn a_count_that_was_lost_suppresses_no_receipt() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1.0.1"), |_| {});
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    for damage in ["{", "{\"runs\":0,\"patches\":{}}"] {
        std::fs::write(endpoint.data().join("attempts.json"), damage).unwrap();
        let told = world.receipts().len();
        let settled = endpoint.worker().await.take_back(&patch.to_string()).await;
        let settled = match settled {
            Ok(settled) => settled,
            Err(_) => endpoint.apply(patch).await,
        };
        assert!(settled.run > 1, "{settled:?}");
        endpoint.worker().await.site().sender().send_all().await.unwrap();
        assert_eq!(world.receipts().len(), told + 1, "{damage}: {settled}");
    }
}

/// What another program of the agent wrote, and this one cannot read, is not this one's to throw away.
#[tokio::test]
async fn a_receipt_that_cannot_be_read_is_kept_for_whoever_can() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    node.behave(|manners| manners.no_submit = Some("quota"));
    let patch = approved(&world, 1, tree_of("1.0.1"), |_| {});
    let mut worker = endpoint.worker().await;
    worker.apply(&patch.to_string(), None).await.unwrap();
    let receipts = endpoint.data().join("receipts");
    let name = format!("00000001-{patch}.json");
    let written = std::fs::read_to_string(receipts.join(&name)).unwrap();
    // As a later program would write it.
    std::fs::write(receipts.join(&name), written.replacen('{', "{\"of_tomorrow\": 1,", 1)).unwrap();
    node.behave(|manners| manners.no_submit = None);
    worker.site().sender().send_all().await.unwrap();
    assert!(world.receipts().is_empty() && worker.site().receipts.waiting().unwrap() == 0);
    drop(worker);
    // Whoever can read it sends it.
    let aside = receipts.join("unreadable").join(&name);
    assert!(std::fs::read_to_string(&aside).unwrap().contains("of_tomorrow"));
    std::fs::write(&aside, written).unwrap();
    endpoint.worker().await.site().sender().send_all().await.unwrap();
    assert_eq!(world.receipts().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_enrolled_later_delivers_its_receipts_then() {
    let world = World::new();
    let node = world.node().await;
    world.change(Ledger::settle);
    let endpoint = Endpoint::not_enrolled(&world, &[&node], "", agent::key::generate().unwrap());
    approved(&world, 1, tree_of("1"), |_| {});
    let mut worker = endpoint.worker().await;
    worker.pass().await;
    let sender = worker.site().sender();
    assert!(sender.send_all().await.unwrap_err().to_string().contains("unknown-key"));
    world.change(|ledger| {
        ledger.enroll(endpoint.key.public());
        ledger.settle();
    });
    sender.send_all().await.unwrap();
    assert_eq!(world.receipts().len(), 1);
}

/// A receipt with a number too high is no use today, and would be one more receipt of the same attempt as soon as the
/// right one is final: whoever has it could bring it in.
#[tokio::test]
async fn no_number_of_a_receipt_is_believed_without_proof() {
    let world = World::new();
    let (hostile, honest) = (world.node().await, world.node().await);
    let endpoint = Endpoint::new(&world, &[&hostile, &honest], "");
    let [first, second] = [1, 2].map(|release| approved(&world, release, tree_of(&format!("1.0.{release}")), |_| {}));
    assert_eq!(endpoint.apply(first).await.outcome, Outcome::Applied);
    hostile.behave(|manners| manners.more_attempts = 1);
    let before = hostile.asked().submits;
    for patch in [second, first] {
        let mut worker = endpoint.worker().await;
        worker.apply(&patch.to_string(), None).await.unwrap();
        worker.site().sender().send_all().await.unwrap();
    }
    let told: Vec<_> = world.receipts().iter().map(|receipt| (receipt.patch, receipt.attempt)).collect();
    assert_eq!(told, [(first, 1), (second, 1), (first, 2)]);
    // Where it names no transaction it has said nothing, and where the one it names has another number it is not believed.
    assert_eq!(hostile.asked().submits, before + 1, "nothing was signed by its word");
}

//! What is believed of the ledger, and what is not.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved, hear, manifest, says, widget};
use crate::support::ledger::Ledger;
use crate::support::node::World;
use crate::support::{PATIENCE, eventually};
use agent::clock::now_ms;
use agent::follow::heads::{Disbelief, Freshness};
use agent::follow::light::HeadError;
use agent::follow::sources::CallCause;
use agent::site::Site;
use ledger::block::Header;
use ledger::bounded::List;
use ledger::certificate::{Certificate, CertificateError};
use ledger::encoding::encode;
use ledger::fork::{EvidenceFile, Exhibit, HeadFile};
use ledger::proof::TrustRoot;
use ledger::receipt::{Outcome, ReasonCode};
use proto::v1;
use std::process::Stdio;
use std::thread::JoinHandle;
use tests::Scenario;
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

#[tokio::test]
async fn an_older_view_of_the_ledger_is_refused_after_a_restart_too() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let first = approved(&world, 1, tree_of("1"), |_| {});
    assert_eq!(endpoint.apply(first).await.outcome, Outcome::Applied);
    // What was verified before the update is remembered, though the agent was never told to stop.
    let second = approved(&world, 2, tree_of("2"), |_| {});
    let old = world.ledger().proof(second).unwrap().bytes();
    world.change(Ledger::settle);
    let site = endpoint.open();
    hear(&site).await;
    site.heads.persist().unwrap();
    drop(site);

    // Another node, or another day: the state of an hour ago, with everything signed.
    node.behave(|manners| (manners.behind, manners.proof) = (3, Some(old)));
    let mut worker = endpoint.worker().await;
    let settled = worker.apply(&second.to_string(), None).await.unwrap();
    assert_eq!(settled.reason.unwrap().code, ReasonCode::HeightBelowSeen);
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
}

#[tokio::test]
async fn silence_becomes_stale() {
    let world = World::new();
    let node = world.node().await;
    let mut endpoint = Endpoint::new(&world, &[&node], "");
    let site = endpoint.open();
    assert_eq!(site.heads.freshness(now_ms()), Freshness::Unknown);
    hear(&site).await;
    assert_eq!(site.heads.freshness(now_ms()), Freshness::Fresh);
    let day = site.config.ledger.max_age_ms;
    assert_eq!(site.heads.freshness(now_ms() + day + 1_000), Freshness::Stale);
    drop(site);
    // And then nothing is applied, though everything is signed.
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    endpoint.ledger = "max_age_ms = 1".to_owned();
    endpoint.configure("");
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let settled = endpoint.apply(patch).await;
    assert_eq!(settled.reason.unwrap().code, ReasonCode::Stale);
    assert!(endpoint.installed().is_none());
}

fn head(header: &Header, certificate: &Certificate) -> v1::Head {
    v1::Head { height: header.height, header: encode(header), certificate: encode(certificate), ..Default::default() }
}

#[tokio::test]
async fn two_certified_headers_at_one_height_stop_everything_and_name_who_signed_both() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node, &node], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let mut worker = endpoint.worker().await;
    let (header, scenario) = world.tip();
    let other = Header { time_ms: header.time_ms + 1, ..header.clone() };
    let culprits = &scenario.validators()[1..];
    let forged = head(&other, &scenario.certificate_by(&other, culprits));
    let disbelief = worker.site().heads.take(1, &forged, now_ms() + 10).unwrap_err();
    let Disbelief::Split { height, evidence } = disbelief else { panic!("{disbelief}") };
    assert_eq!(height, header.height);

    // Anybody can check it with the genesis file alone.
    let trust = TrustRoot::parse(&scenario.genesis().genesis.bytes()).unwrap();
    let exhibit = EvidenceFile::parse(&std::fs::read(&evidence).unwrap(), &trust).unwrap();
    let Exhibit::Fork(fork) = exhibit else { panic!("{exhibit:?}") };
    let proven = fork.verify(&trust).unwrap();
    let mut named: Vec<_> = proven.culprits().iter().map(|culprit| culprit.key).collect();
    let mut expected: Vec<_> = culprits.iter().map(ledger::key::SecretKey::public).collect();
    named.sort();
    expected.sort();
    assert_eq!(named, expected);

    // Nothing is applied any more, also after a restart, until a person has cleared it up.
    let settled = worker.apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(settled.reason.as_ref().unwrap().code, ReasonCode::Policy);
    assert!(settled.to_string().contains("split"), "{settled}");
    drop(worker);
    assert_eq!(endpoint.apply(patch).await.reason.unwrap().code, ReasonCode::Policy);
    std::fs::remove_file(evidence).unwrap();
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
}

/// What a quorum signed at the height that was remembered is that header or a lie, also after a restart.
#[tokio::test]
async fn another_header_at_the_height_that_was_remembered_stops_everything_after_a_restart() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let site = endpoint.open();
    hear(&site).await;
    site.heads.persist().unwrap();
    drop(site);
    let (header, scenario) = world.tip();
    let other = Header { time_ms: header.time_ms + 1, ..header.clone() };
    let forged = head(&other, &scenario.certificate(&other));
    // Also when it comes behind newer ones.
    world.change(Ledger::settle);
    let site = endpoint.open();
    hear(&site).await;
    let disbelief = site.heads.take(0, &forged, now_ms() + 10).unwrap_err();
    let Disbelief::Remembered { height, remembered, evidence } = disbelief else { panic!("{disbelief}") };
    assert_eq!((height, remembered), (header.height, header.hash()));
    let said = site.heads.take(0, &forged, now_ms() + 10).unwrap_err().to_string();
    assert!(said.contains("certificate was not kept"), "{said}");
    assert_eq!(site.heads.take(0, &head(&header, &scenario.certificate(&header)), now_ms()).unwrap(), height);
    drop(site);

    // What was shown can be held against what any node has, by whoever has the genesis file.
    let trust = TrustRoot::parse(&scenario.genesis().genesis.bytes()).unwrap();
    let kept: HeadFile = ledger::encoding::decode(&std::fs::read(&evidence).unwrap()).unwrap();
    assert_eq!(kept.verify(&trust).unwrap().hash(), other.hash());
    let refused = endpoint.apply(patch).await;
    assert_eq!(refused.reason.as_ref().unwrap().code, ReasonCode::Policy);
    assert!(refused.to_string().contains("audit fork"), "{refused}");
    std::fs::remove_file(evidence).unwrap();
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
}

/// A disk that is full is no reason to apply what a split ledger shows.
#[tokio::test]
async fn a_split_whose_evidence_cannot_be_written_stops_everything_all_the_same() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let mut worker = endpoint.worker().await;
    let (header, scenario) = world.tip();
    let other = Header { time_ms: header.time_ms + 1, ..header.clone() };
    let forged = head(&other, &scenario.certificate(&other));
    let place = endpoint.data().join("evidence");
    std::fs::remove_dir(&place).unwrap();
    let disbelief = worker.site().heads.take(0, &forged, now_ms() + 10).unwrap_err();
    assert!(matches!(disbelief, Disbelief::Evidence(_)), "{disbelief}");
    let settled = worker.apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(settled.reason.as_ref().unwrap().code, ReasonCode::Policy);
    // And it is written as soon as it can be.
    std::fs::create_dir(&place).unwrap();
    let disbelief = worker.site().heads.take(0, &forged, now_ms() + 10).unwrap_err();
    assert!(matches!(disbelief, Disbelief::Split { .. }), "{disbelief}");
    drop(worker);
    assert_eq!(endpoint.apply(patch).await.reason.unwrap().code, ReasonCode::Policy);
}

#[tokio::test]
async fn heads_without_a_quorum_or_from_the_future_are_not_believed() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let site: Site = endpoint.open();
    let (header, scenario) = world.tip();
    let certificate = scenario.certificate(&header);

    let minority = scenario.certificate_by(&header, &scenario.validators()[..2]);
    let few = site.heads.take(0, &head(&header, &minority), now_ms()).unwrap_err();
    assert!(matches!(few, Disbelief::Head(HeadError::Certificate(CertificateError::NoQuorum { .. }))), "{few}");
    let other = Header { height: header.height + 1, ..header.clone() };
    let of_another = site.heads.take(0, &head(&other, &certificate), now_ms()).unwrap_err();
    assert!(matches!(of_another, Disbelief::Head(HeadError::Certificate(_))), "{of_another}");
    let foreign = Scenario::new(9).genesis().header.clone();
    let foreign = Header { height: 3, ..foreign };
    let stranger = site.heads.take(0, &head(&foreign, &certificate), now_ms()).unwrap_err();
    assert!(matches!(stranger, Disbelief::Head(HeadError::WrongChain { .. })), "{stranger}");
    for garbage in [
        v1::Head { height: 1, ..Default::default() },
        v1::Head { certificate: vec![1; 9], ..head(&header, &certificate) },
    ] {
        assert!(matches!(site.heads.take(0, &garbage, now_ms()), Err(Disbelief::Head(HeadError::Decode(_)))));
    }
    // A clock three days slow: the header is certified and still does not become the floor.
    let slow = now_ms() - 3 * 24 * 60 * 60 * 1000;
    let ahead = site.heads.take(0, &head(&header, &certificate), slow).unwrap_err();
    assert!(matches!(ahead, Disbelief::ClockBehind { .. }), "{ahead}");
    assert_eq!(site.heads.newest().height, 0);
    assert!(site.heads.nodes()[0].trouble.as_ref().unwrap().contains("ahead"));

    assert_eq!(site.heads.take(0, &head(&header, &certificate), now_ms()).unwrap(), header.height);
    assert_eq!(site.heads.newest().height, header.height);
    assert!(site.heads.nodes()[0].trouble.is_none());
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

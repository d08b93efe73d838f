//! Which heads of the ledger are believed, and what two that differ come to.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, approved, hear};
use crate::support::eventually;
use crate::support::ledger::Ledger;
use crate::support::node::World;
use agent::clock::now_ms;
use agent::follow::heads::{Disbelief, Freshness};
use agent::follow::light::HeadError;
use agent::site::Site;
use ledger::block::Header;
use ledger::certificate::{Certificate, CertificateError};
use ledger::encoding::encode;
use ledger::fork::{EvidenceFile, Exhibit, HeadFile};
use ledger::proof::TrustRoot;
use ledger::receipt::{Outcome, ReasonCode};
use proto::v1;
use tests::Scenario;

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
    let newest_ms = world.tip().0.time_ms;
    eventually("a header of some moments ago", async || (now_ms() > newest_ms + 2).then_some(())).await;
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

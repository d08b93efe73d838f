//! Validators change: a host believes those who are, by the word of those who were, and nobody who was replaced.

use crate::following::{Daemon, applied};
use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved};
use crate::support::eventually;
use crate::support::ledger::Ledger;
use crate::support::node::World;
use agent::follow::light::{HeadError, LightClient};
use agent::site::Site;
use ledger::block::Header;
use ledger::bounded::{List, Name};
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::encode;
use ledger::key::{Purpose, SecretKey};
use ledger::proof::{ChangeSeen, EpochError, EpochLink, HostClock, TrustRoot};
use ledger::receipt::{Outcome, ReasonCode};
use ledger::validators::{Validator, ValidatorSet};
use tests::Scenario;

/// A chain of headers whose validators change, without anything else in it.
struct Eras {
    scenario: Scenario,
    sets: Vec<(ValidatorSet, Vec<SecretKey>)>,
}

impl Eras {
    fn new() -> Self {
        let scenario = Scenario::new(1);
        let first = (scenario.genesis().genesis.validators.clone(), scenario.validators().to_vec());
        let later = (1u8..=2).map(|era| {
            let keys: Vec<_> = (0u8..4).map(|place| SecretKey::from_seed(&[10 * era + place; 32])).collect();
            let organisation = Name::new("bank").unwrap();
            let validator = |key: &SecretKey| Validator { key: key.public(), organisation: organisation.clone() };
            (ValidatorSet::new(keys.iter().map(validator).collect()).unwrap(), keys)
        });
        Self { sets: std::iter::once(first).chain(later).collect(), scenario }
    }

    fn header(&self, height: u64, era: usize, next: usize) -> Header {
        let (validators_hash, next_validators_hash) = (self.sets[era].0.hash(), self.sets[next].0.hash());
        Header {
            height,
            time_ms: height,
            validators_hash,
            next_validators_hash,
            ..self.scenario.genesis().header.clone()
        }
    }

    fn certificate(&self, header: &Header, era: usize) -> Certificate {
        let (set, keys) = &self.sets[era];
        let body = VoteBody { height: header.height, round: 0, block: Some(header.hash()) }.bytes();
        let sign = |key: &SecretKey| (key.public(), key.sign(Purpose::Precommit, &self.scenario.chain_id(), &body));
        Certificate::assemble(header.height, 0, header.hash(), &keys.iter().map(sign).collect::<Vec<_>>(), set)
    }

    /// The link from one era to the next at a height, certified by `by`.
    fn link(&self, height: u64, era: usize, by: usize) -> EpochLink {
        let header = self.header(height, era, era + 1);
        EpochLink { certificate: self.certificate(&header, by), validators: self.sets[era + 1].0.clone(), header }
    }

    fn believes(&self, light: &LightClient, height: u64, era: usize) -> bool {
        let header = self.header(height, era, era);
        light.verify(&encode(&header), &encode(&self.certificate(&header, era))).is_ok()
    }
}

#[test]
fn validators_change_only_by_the_word_of_those_before_and_the_old_ones_fall_silent() {
    let eras = Eras::new();
    let mut light = LightClient::new(eras.scenario.genesis(), None);
    let unknown = eras.header(30, 2, 2);
    let error = light.verify(&encode(&unknown), &encode(&eras.certificate(&unknown, 2))).unwrap_err();
    assert!(error.is_of_a_later_set(), "{error}");

    let good = [eras.link(10, 0, 0), eras.link(20, 1, 1)];
    let with = |change: &dyn Fn(&mut EpochLink)| {
        let mut links = good.to_vec();
        change(&mut links[1]);
        links
    };
    for (what, links) in [
        ("signed by the new set only", with(&|link| *link = eras.link(20, 1, 2))),
        ("another set than named", with(&|link| link.validators = eras.sets[0].0.clone())),
        ("heights do not grow", with(&|link| *link = eras.link(10, 1, 1))),
        ("without the first link", good[1..].to_vec()),
        ("changes nothing", {
            let header = eras.header(20, 1, 1);
            with(&|link| (link.header, link.certificate) = (header.clone(), eras.certificate(&header, 1)))
        }),
    ] {
        let error = light.learn(&links).expect_err(what);
        assert!(matches!(error, HeadError::Epoch { .. }), "{what}: {error}");
    }
    assert!(matches!(
        light.learn(&with(&|link| link.validators = eras.sets[0].0.clone())),
        Err(HeadError::Epoch { link: 1, problem: EpochError::WrongSet })
    ));

    assert_eq!(light.learn(&good), Ok(2));
    assert_eq!(light.learn(&good[..1]), Ok(0), "a shorter chain takes nothing away");
    for (height, era, believed) in
        [(10, 0, true), (11, 0, false), (11, 1, true), (20, 1, true), (21, 1, false), (21, 2, true), (1_000, 0, false)]
    {
        assert_eq!(eras.believes(&light, height, era), believed, "height {height}, era {era}");
    }
}

#[test]
fn after_a_restart_too_nobody_who_was_replaced_is_believed() {
    let eras = Eras::new();
    let (second, third) = (eras.link(10, 0, 0), eras.link(20, 1, 1));
    let seen = ChangeSeen::of(&third);
    let mut light = LightClient::new(eras.scenario.genesis(), Some(seen));
    // Nobody has shown yet who came after whom. It knows enough to believe none of those who went.
    let unshown = eras.header(21, 0, 0);
    let error = light.verify(&encode(&unshown), &encode(&eras.certificate(&unshown, 0))).unwrap_err();
    assert!(error == HeadError::ChangeNotShown { above: 20 } && error.is_of_a_later_set(), "{error}");
    assert!(eras.believes(&light, 10, 0), "what was before that change is not touched by it");

    // Those of the second set name others than they did: at the same height, past it, or straight from the first.
    let link = |height: u64, from: usize, to: usize| {
        let header = eras.header(height, from, to);
        EpochLink { certificate: eras.certificate(&header, from), validators: eras.sets[to].0.clone(), header }
    };
    for (what, links, at) in [
        ("others at the same height", vec![second.clone(), link(20, 1, 0)], 1),
        ("others above it", vec![second.clone(), link(25, 1, 0)], 1),
        ("straight to those of today, and too late", vec![link(21, 0, 2)], 0),
    ] {
        let error = light.learn(&links).expect_err(what);
        assert_eq!(error, HeadError::Epoch { link: at, problem: EpochError::PastSeen { above: 20 } }, "{what}");
    }
    // A change that was never seen, on the way to the one that was, takes nobody past it.
    let mut misled = light.clone();
    assert_eq!(misled.learn(&[link(15, 0, 1)]), Ok(1));
    assert!(misled.change_seen() == Some(seen) && !eras.believes(&misled, 21, 1));
    assert_eq!(light.learn(&[second, third]), Ok(2));
    assert!(eras.believes(&light, 21, 2) && !eras.believes(&light, 21, 0) && !eras.believes(&light, 21, 1));
}

/// The genesis file is where every host begins: who is named there could sign for ever, were it not known who came after.
#[tokio::test]
async fn validators_who_were_replaced_prove_nothing_to_a_host_that_saw_their_successors() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    for _ in 0..4 {
        world.change(|ledger| {
            ledger.rotate_validator();
            ledger.settle();
        });
    }
    world.change(Ledger::block);
    let first = approved(&world, 1, tree_of("1.0.1"), |_| {});
    let second = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let forged = {
        let ledger = world.ledger();
        let mut forged = ledger.proof(second).unwrap();
        let of_genesis = ledger.scenario.genesis().genesis.validators.hash();
        forged.epochs = List::default();
        forged.header.height += 100;
        (forged.header.validators_hash, forged.header.next_validators_hash) = (of_genesis, of_genesis);
        forged.certificate = ledger.scenario.certificate(&forged.header);
        let trust = TrustRoot::parse(&ledger.scenario.genesis().genesis.bytes()).unwrap();
        let clock = HostClock::at(forged.header.time_ms);
        assert!(forged.verify(&trust, clock).is_ok(), "who knows only the genesis file cannot know better");
        forged
    };
    assert_eq!(endpoint.apply(first).await.outcome, Outcome::Applied);

    let by_hand = Some(forged.bytes());
    node.behave(|manners| manners.proof = Some(forged.bytes()));
    let mut running = endpoint.worker().await;
    for proof in [None, by_hand.clone()] {
        let settled = running.apply(&second.to_string(), proof).await.unwrap();
        assert_eq!(settled.reason.as_ref().unwrap().code, ReasonCode::EpochChain, "{settled}");
    }
    drop(running);
    // Begun anew, with no node to ask: what was seen is on the disk.
    let alone = Site::open(endpoint.config(), PROGRAM.into(), Box::new(|_, _| {})).unwrap();
    let settled = agent::worker::Worker::new(alone).apply(&second.to_string(), by_hand).await.unwrap();
    assert_eq!(settled.reason.as_ref().unwrap().code, ReasonCode::EpochChain, "{settled}");
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));

    node.behave(|manners| manners.proof = None);
    assert_eq!(endpoint.apply(second).await.outcome, Outcome::Applied);
}

#[tokio::test]
async fn an_agent_that_slept_while_every_validator_changed_catches_up_from_the_genesis_file() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    // Seven changes: every one of the four, and three of them again.
    for _ in 0..7 {
        world.change(|ledger| {
            ledger.rotate_validator();
            ledger.settle();
        });
    }
    world.change(Ledger::block);
    let daemon = Daemon::start(&endpoint);
    // Two sets an answer: it asks for more only as long as it believes what it gets.
    eventually("its questions", async || (node.asked().epochs >= 5).then_some(())).await;
    approved(&world, 1, tree_of("1"), |_| {});
    applied(&world, &endpoint, "1.0.1").await;
    daemon.stop().await;
}

//! More ledgers that are built wrong on purpose: members whose own chain tells them what the ledger does not say, pools
//! and timers that are not what they should be, endpoints that believe. Each must be caught by the invariant it breaks.
//!
//! Three invariants no flaw around a member fires, because the member would have to be another program: `BadEvidence` and
//! `BadAccusation` (whoever shows evidence, or takes an accusation, checks it with the predicate the invariant asks), and
//! `Alarm` (its words are those of a member that finds its own core broken). They are asked directly, below and in
//! `controls.rs`.

use crate::adversaries::equivocator::Equivocator;
use crate::adversaries::silent::Silent;
use crate::controls::first_of;
use crate::ledger_sim::cast::{Cast, secret};
use crate::ledger_sim::host::Flaws;
use crate::ledger_sim::invariants::Violation;
use crate::ledger_sim::light_client::LightClient;
use crate::ledger_sim::vault::Vault;
use crate::ledger_sim::world::World;
use consensus::{Evidence, SignedVote, VoteKind};
use ledger::bounded::Name;
use ledger::certificate::VoteBody;
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::state::StateView as _;
use ledger::state::record::{KeyOwner, KeyStatus, Record, RecordKey, Role};
use ledger::transaction::{Payload, SignedTransaction};
use tests::VENDOR;

/// Seeds tried before a flaw counts as overlooked.
const SEEDS: u64 = 8;
const UNTIL_US: u64 = 5_000_000;

/// What one seed with a flaw came to: a violation of the kind that is looked for, whatever else was noticed before.
fn caught(flaw: &str, is_it: fn(&Violation) -> bool, mut play: impl FnMut(u64) -> World) {
    let found = first_of(flaw, SEEDS, |seed| play(seed).around.watch.all().into_iter().find(is_it));
    assert!(found.is_some(), "{flaw}: overlooked");
}

/// A ledger that goes on after the first thing that is wrong, with clients.
fn flawed(seed: u64, flaw: impl Fn(&mut Vault)) -> World {
    let mut world = World::new(4, seed);
    world.goes_on = true;
    world.submit_every_us = 45_000;
    for host in &world.hosts {
        flaw(&mut host.vault.0.borrow_mut());
    }
    world.boot(1_000_000);
    world
}

fn played(mut world: World) -> World {
    world.run(UNTIL_US, |_| false);
    world
}

#[test]
fn the_same_ledgers_without_a_flaw_are_sound() {
    let mut world = flawed(0, |_| {});
    let operators = world.cast.enrolments(40);
    operators.into_iter().for_each(|transaction| world.offer(0, transaction));
    world.run(UNTIL_US, |_| false);
    world.heal();
    world.goes_on = false;
    world.run(UNTIL_US + 1_000_000, |_| false);
    let forbidden = |violation: &Violation| matches!(violation, Violation::Forbidden { .. });
    let others: Vec<_> = world.around.watch.all().into_iter().filter(|violation| !forbidden(violation)).collect();
    assert_eq!(others, vec![], "enrolments nobody planned are all there is to say");
}

/// All of them believe that a stranger publishes for the vendor: what the stranger signs becomes final, and no chain
/// that starts at the same genesis can execute it.
#[test]
fn a_ledger_that_takes_a_stranger_for_a_publisher_is_caught() {
    let stranger = secret("stranger").public();
    let owner = KeyOwner { organisation: Name::new(VENDOR).unwrap(), role: Role::Publisher, status: KeyStatus::Active };
    let play = |seed| {
        let mut world = World::new(4, seed);
        world.goes_on = true;
        for host in &world.hosts {
            host.vault.0.borrow_mut().lie(&RecordKey::Key(stranger), Some(Record::Key(owner.clone())));
        }
        world.boot(1_000_000);
        world.run(500_000, |_| false);
        world.offer(0, world.cast.forbidden[0].clone());
        played(world)
    };
    caught("a stranger may publish", |violation| matches!(violation, Violation::Forbidden { .. }), play);
    caught("a stranger may publish", |violation| matches!(violation, Violation::Roots { .. }), play);
}

/// Who equivocated is convicted, and nobody remembers: it is convicted again.
fn with_an_equivocator(seed: u64, forgets_finality: bool) -> World {
    let mut world = World::new(4, seed);
    world.goes_on = true;
    world.add_adversary(0, Box::<Equivocator>::default());
    let liar = world.hosts[0].person.validator.as_ref().unwrap().public();
    for host in &world.hosts {
        let mut vault = host.vault.0.borrow_mut();
        vault.lie(&RecordKey::Conviction(liar), None);
        vault.forgets_finality = forgets_finality;
    }
    world.submit_every_us = 45_000;
    world.boot(1_000_000);
    world
}

#[test]
fn a_ledger_that_forgets_convictions_is_caught() {
    let play = |seed| played(with_an_equivocator(seed, false));
    caught("convictions forgotten", |violation| matches!(violation, Violation::ConvictedTwice { .. }), play);
}

/// Most transactions cannot be executed twice, whether they are known to be final or not; an accusation can, where nobody
/// remembers the conviction.
#[test]
fn a_ledger_that_forgets_what_is_final_is_caught() {
    let play = |seed| {
        let mut world = with_an_equivocator(seed, true);
        for _ in 0..10 {
            world.run(world.around.now_us + 300_000, |_| false);
            let (chain, leaves) = (world.cast.chain_id(), world.hosts[1].vault.look().leaves.clone());
            let again = leaves.iter().filter_map(|bytes| SignedTransaction::verify_bytes(bytes, &chain).ok());
            let again: Vec<_> = again.filter(|it| matches!(it.payload(), Payload::Accuse { .. })).take(4).collect();
            again.into_iter().for_each(|transaction| world.offer(1, transaction));
        }
        world
    };
    caught("finality forgotten", |violation| matches!(violation, Violation::FinalisedTwice { .. }), play);
}

/// The chains of these members say from now on that a key is revoked.
fn call_revoked(world: &World, members: std::ops::Range<usize>, key: PublicKey) {
    for member in members {
        let mut vault = world.hosts[member].vault.0.borrow_mut();
        let owner = vault.memory.key_owner(key).unwrap().unwrap();
        let revoked = KeyOwner { status: KeyStatus::Revoked, ..owner };
        vault.lie(&RecordKey::Key(key), Some(Record::Key(revoked)));
    }
}

/// A transaction is offered to this member, and when all is so far, some chains call its signer revoked.
fn played_with_a_key_called_revoked(
    seed: u64,
    offered_to: usize,
    members: std::ops::Range<usize>,
    is_so_far: impl Fn(&World, TransactionId) -> bool,
) -> World {
    let mut world = World::new(4, seed);
    world.goes_on = true;
    world.boot(1_000_000);
    world.run(300_000, |_| false);
    let transaction = world.cast.jobs[0].transaction.clone();
    world.offer(offered_to, transaction.clone());
    world.run(UNTIL_US, |world| is_so_far(world, transaction.id()));
    call_revoked(&world, members, transaction.signer());
    played(world)
}

/// What waits in the pools becomes wrong to everybody.
#[test]
fn members_that_drop_what_is_valid_are_caught() {
    let waits = |world: &World, id: TransactionId| {
        world.hosts[0].member.as_ref().is_some_and(|member| member.mempool().contains(&id))
    };
    let play = |seed| played_with_a_key_called_revoked(seed, 0, 0..6, waits);
    caught("a valid key called revoked", |violation| matches!(violation, Violation::ValidDropped { .. }), play);
}

/// One of them finds the others' blocks wrong, which a quorum signed.
#[test]
fn a_member_that_calls_finalised_blocks_false_is_caught() {
    let play = |seed| played_with_a_key_called_revoked(seed, 1, 0..1, |_, _| true);
    caught("a valid key called revoked", |it| matches!(it, Violation::HonestDisconnected { .. }), play);
}

#[test]
fn a_pool_without_bounds_is_caught() {
    let play = |seed| {
        let mut world = World::new(4, seed);
        world.goes_on = true;
        world.hosts[0].flaws = Flaws { endless_pool: true, ..Flaws::default() };
        world.boot(1_000_000);
        world.run(300_000, |_| false);
        let many = world.cast.enrolments(400);
        many.into_iter().for_each(|transaction| world.offer(0, transaction));
        world.run(600_000, |_| false);
        world
    };
    caught("a pool without bounds", |violation| matches!(violation, Violation::Memory { .. }), play);
}

#[test]
fn members_without_timers_stand_still_and_are_caught() {
    let play = |seed| {
        let mut world = World::new(4, seed);
        world.hosts.iter_mut().for_each(|host| host.flaws = Flaws { no_timers: true, ..Flaws::default() });
        world.boot(500_000);
        world.run(1_000_000, |_| false);
        world.heal();
        world.expect_progress(3, 10_000_000);
        world
    };
    caught("no timers", |violation| matches!(violation, Violation::NoProgress(_)), play);
}

/// One of four shows headers of its own to endpoints.
fn with_a_liar(seed: u64, flaw: fn(&mut LightClient)) -> World {
    let mut world = World::new(4, seed);
    world.add_adversary(0, Box::new(Silent { to_all: false }));
    world.submit_every_us = 45_000;
    flaw(&mut world.light_client);
    world.boot(1_000_000);
    world.run(2 * UNTIL_US, |_| false);
    world
}

#[test]
fn an_endpoint_that_takes_any_header_is_caught() {
    assert_eq!(first_of("none", 2, |seed| with_a_liar(seed, |_| {}).around.watch.all().first().cloned()), None);
    let play = |seed| with_a_liar(seed, |client| client.credulous = true);
    caught("headers taken without certificates", |it| matches!(it, Violation::LightClient { .. }), play);
    caught("headers of blocks far ahead taken", |it| matches!(it, Violation::LightClientAhead { .. }), play);
}

#[test]
fn an_endpoint_with_the_genesis_of_another_ledger_is_caught() {
    let play = |seed| with_a_liar(seed, |client| *client = LightClient::new(Cast::of(7)));
    caught("the genesis of another ledger", |it| matches!(it, Violation::Unprovable(_)), play);
}

/// See above: asked directly.
#[test]
fn an_accusation_that_convicts_nobody_is_noticed() {
    let mut world = World::new(4, 1);
    let key = world.hosts[0].person.validator.clone().unwrap();
    let vote = |round| {
        let body = VoteBody { height: 1, round, block: None };
        SignedVote::sign(VoteKind::Prevote, body, &key, &world.cast.chain_id())
    };
    let evidence = Evidence::Votes(vote(0), vote(1));
    world.around.watch.the_ledger_convicts_only_keys_that_did_it_and_once(&evidence, 1);
    let found = first_of("two votes of two rounds on the ledger", 1, |_| {
        world.around.watch.all().into_iter().find(|violation| matches!(violation, Violation::BadAccusation { .. }))
    });
    assert!(found.is_some(), "{:?}", world.around.watch.all());
}

#[test]
fn an_alarm_that_means_a_bug_is_noticed() {
    let mut world = World::new(4, 1);
    world.around.watch.no_alarm_is_a_bug(0, "a peer was disconnected");
    assert_eq!(world.around.watch.all(), vec![]);
    let alarm = consensus::Alarm::CoreBrokeOff("it counted wrong".to_owned());
    world.around.watch.no_alarm_is_a_bug(0, &alarm.to_string());
    let found = first_of("the core breaks off", 1, |_| world.around.watch.all().first().cloned());
    assert!(matches!(found, Some(Violation::Alarm { .. })), "{found:?}");
}

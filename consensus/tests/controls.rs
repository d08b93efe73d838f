//! Clusters that are built wrong on purpose. Each must be caught: a simulation that never finds anything
//! is no evidence.

use crate::oracle::QUORUM;
use crate::shadow::Shadow;
use crate::sim::block::{Block, CHAIN, secret, set_of};
use crate::sim::faults;
use crate::sim::host::{Flaws, Sets};
use crate::sim::invariants::Violation;
use crate::sim::network::Packet;
use crate::sim::rng::Rng;
use crate::sim::world::World;
use consensus::{Evidence, Kept, SignedVote, VoteKind};
use ledger::certificate::{Certificate, VoteBody};
use std::fmt::{Debug, Display};
use std::rc::Rc;

/// Seeds tried before a flaw counts as overlooked.
const SEEDS: u64 = 40;

/// Plays until the invariants notice something, and says what: one line for each flaw that was caught.
pub(crate) fn first_of<V: Debug + Display>(
    flaw: &str,
    seeds: u64,
    mut play: impl FnMut(u64) -> Option<V>,
) -> Option<V> {
    let (seed, violation) = (0..seeds).find_map(|seed| play(seed).map(|violation| (seed, violation)))?;
    let invariant = format!("{violation:?}");
    let invariant = invariant.trim_start_matches("Voting(").split([' ', '(', '{']).next().unwrap_or_default();
    println!("control \"{flaw}\", seed {seed}, caught by {invariant}: {violation}");
    Some(violation)
}

fn first_violation(flaw: &str, play: impl Fn(u64) -> World) -> Option<Violation> {
    first_of(flaw, SEEDS, |seed| play(seed).watch.violations.first().cloned())
}

/// A cluster whose hosts lose power all the time.
fn restless(seed: u64, flaws: Flaws) -> World {
    let mut rng = Rng::new(seed);
    let mut world = World::calm(4, rng.next());
    for host in &mut world.hosts {
        host.flaws = flaws;
        host.batches = rng.once_in(2);
    }
    world.plan(faults::restless(&mut rng, 4, 4_000_000));
    world.boot();
    world.run(4_000_000, |_| false);
    world
}

#[test]
fn a_cluster_without_flaws_survives_the_same() {
    assert_eq!(first_violation("none", |seed| restless(seed, Flaws::default())), None);
}

#[test]
fn the_guard_alone_prevents_double_signing_when_the_log_is_lost() {
    assert_eq!(first_violation("log lost", |seed| restless(seed, Flaws { no_log: true, ..Flaws::default() })), None);
}

#[test]
fn without_guard_and_log_a_replica_signs_twice_and_is_caught() {
    let flaws = Flaws { no_guard: true, no_log: true, ..Flaws::default() };
    let violation = first_violation("guard off, log lost", |seed| restless(seed, flaws));
    assert!(matches!(violation, Some(Violation::DoubleSign { .. })), "{violation:?}");
}

#[test]
fn without_syncing_before_sending_a_replica_signs_twice_and_is_caught() {
    let flaws = Flaws { no_sync: true, ..Flaws::default() };
    let violation = first_violation("sent before synced", |seed| restless(seed, flaws));
    assert!(matches!(violation, Some(Violation::DoubleSign { .. })), "{violation:?}");
}

/// Two of four keys used by two hosts each, and the two honest ones on different sides: more liars than
/// the protocol bears.
#[test]
fn more_than_a_third_of_liars_break_agreement_and_are_caught() {
    let violation = first_violation("twins of f + 1", |seed| {
        let mut world = World::calm(4, seed);
        for liar in [0, 1] {
            world.add_twin(liar);
        }
        // Hosts 0, 1, 2 on one side; 4, 5 (their twins) and 3 on the other.
        let (one, other) = ([0, 1, 2], [4, 5, 3]);
        for (side, liars) in [(one, [0, 1]), (other, [4, 5])] {
            for host in side {
                for (liar, key) in liars.into_iter().zip([0, 1].map(|n| secret(n).public())) {
                    world.take_side(host, key, liar);
                }
            }
        }
        world.network.part(&one.into_iter().collect(), 6, false);
        world.boot();
        world.run(10_000_000, |_| false);
        world
    });
    assert!(matches!(violation, Some(Violation::Agreement { .. })), "{violation:?}");
}

/// Hosts that take any certificate, and one validator that makes one of its own signature alone.
#[test]
fn a_host_that_does_not_count_signatures_is_caught() {
    let keys: Vec<_> = (0..4).map(secret).collect();
    let forge = |world: &mut World| {
        let height = world.hosts[1].next_height();
        let parent = world.hosts[1].disk.chain.last().map(|(block, _)| block.hash()).unwrap();
        let block = Block { height, parent, nonce: 666, good: true };
        let body = VoteBody { height, round: 0, block: Some(block.hash()) };
        let own = SignedVote::sign(VoteKind::Precommit, body, &keys[0], &CHAIN);
        let certificate = Certificate::assemble(height, 0, block.hash(), &[(own.voter, own.signature)], &set_of(&keys));
        world.send(0, keys[1].public(), Packet::Blocks(vec![(block, certificate)]));
    };
    for (no_check, expected) in [(false, false), (true, true)] {
        let sets = Sets(Rc::new(vec![(0, set_of(&keys))]));
        let mut world = World::with_sets(4, sets, 200_000, 1);
        world.hosts[1].flaws = Flaws { no_check, ..Flaws::default() };
        world.boot();
        world.run(10_000_000, |world| world.lowest() >= 3);
        forge(&mut world);
        let until_us = world.now_us + 2_000_000;
        world.run(until_us, |_| false);
        let found = first_of("signatures not counted", 1, |_| world.watch.violations.first().cloned());
        let caught = matches!(found, Some(Violation::Certificate { .. }));
        assert_eq!(caught, expected, "no_check: {no_check}, {:?}", world.watch.violations);
    }
}

/// Two and two, and each pair takes itself for all: half of the validators count as a quorum. (The formula itself is one
/// for the whole house, and is weakened in a core of our own: `oracle.rs`.)
#[test]
fn a_half_that_counts_as_a_quorum_breaks_agreement_and_is_caught() {
    let violation = first_violation("quorum of two", |seed| {
        let mut world = World::calm(4, seed);
        for (host, pair) in [(0, [0, 1]), (1, [0, 1]), (2, [2, 3]), (3, [2, 3])] {
            world.hosts[host].sets = Sets(Rc::new(vec![(0, set_of(&pair.map(secret)))]));
        }
        world.boot();
        world.run(10_000_000, |_| false);
        world
    });
    assert!(matches!(violation, Some(Violation::Agreement { .. })), "{violation:?}");
}

/// Calm weather, hosts with a flaw, and the first of them means harm: every block it builds is bad.
fn bad_blocks(seed: u64, flaws: Flaws) -> World {
    let mut world = World::calm(4, seed);
    for host in &mut world.hosts {
        host.flaws = flaws;
    }
    world.distrust(0);
    world.hosts[0].flaws.builds_bad_blocks = true;
    world.boot();
    world.run(3_000_000, |_| false);
    world
}

/// What the core does in `ProposalOnly`: it calls every proposal valid, and never asks. (That it is not in this mode is
/// what the tests of trap 1 hold.)
#[test]
fn blocks_that_nobody_judges_are_decided_and_caught() {
    assert_eq!(first_violation("none", |seed| bad_blocks(seed, Flaws::default())), None);
    let flaws = Flaws { judges_nothing: true, ..Flaws::default() };
    let violation = first_violation("nothing judged, as in ProposalOnly", |seed| bad_blocks(seed, flaws));
    assert!(matches!(violation, Some(Violation::BadBlock { .. })), "{violation:?}");
}

/// One of four with a flaw, in calm weather, for a while; then it must have moved on.
fn calm(seed: u64, flaws: Flaws) -> World {
    let mut world = World::calm(4, seed);
    world.hosts[1].flaws = flaws;
    world.boot();
    world.run(1_000_000, |_| false);
    world.expect_progress(3, 5_000_000);
    world.expect_no_alarm_without_a_crash();
    world
}

#[test]
fn a_replica_that_signs_for_another_chain_is_refused_and_caught() {
    assert_eq!(first_violation("none", |seed| calm(seed, Flaws::default())), None);
    let flaws = Flaws { other_chain: true, ..Flaws::default() };
    let violation = first_violation("signs for another chain", |seed| calm(seed, flaws));
    assert!(matches!(violation, Some(Violation::HonestRefused { .. })), "{violation:?}");
}

#[test]
fn a_node_that_changes_its_mind_about_a_block_is_caught() {
    let flaws = Flaws { fickle: true, ..Flaws::default() };
    let violation = first_violation("verdicts change", |seed| calm(seed, flaws));
    assert!(matches!(violation, Some(Violation::Alarm(_))), "{violation:?}");
}

/// Two of four whose timers do not run out, and one that is not there.
#[test]
fn replicas_without_timers_stand_still_and_are_caught() {
    let silent = |flaws: Flaws| {
        move |seed: u64| {
            let mut world = World::calm(4, seed);
            for host in &mut world.hosts[1..] {
                host.flaws = flaws;
            }
            world.distrust(0);
            world.network.part(&[0].into_iter().collect(), 4, false);
            world.boot();
            world.expect_progress(5, 10_000_000);
            world
        }
    };
    assert_eq!(first_violation("none", silent(Flaws::default())), None);
    let violation = first_violation("no timers", silent(Flaws { no_timers: true, ..Flaws::default() }));
    assert!(matches!(violation, Some(Violation::NoProgress(_))), "{violation:?}");
}

/// A key on two machines, and nobody has said that its owner means harm: who hears both accuses it.
#[test]
fn evidence_against_somebody_honest_is_caught() {
    let twins = |seed: u64, trusted: bool| {
        let mut world = World::calm(4, seed);
        world.add_twin(0);
        world.twins_hear_all = true;
        if trusted {
            world.watch.honest.insert(secret(0).public());
        }
        world.boot();
        world.run(3_000_000, |_| false);
        world
    };
    assert_eq!(first_violation("none", |seed| twins(seed, false)), None);
    let accused = |violation: &Violation| matches!(violation, Violation::HonestAccused(_));
    let violation = first_of("a key on two machines, called honest", SEEDS, |seed| {
        twins(seed, true).watch.violations.into_iter().find(accused)
    });
    assert!(violation.is_some());
}

/// An oracle that counts wrong by one, behind every replica.
#[test]
fn an_oracle_whose_quorum_is_2f_says_something_else_and_is_caught() {
    let followed = |seed: u64, quorum: usize| {
        let mut world = World::calm(4, seed);
        world.hosts.iter_mut().for_each(|host| host.shadow = Some(Shadow::with_quorum(host.me(), quorum)));
        world.boot();
        world.run(1_000_000, |_| false);
        world
    };
    assert_eq!(first_violation("none", |seed| followed(seed, QUORUM)), None);
    let violation = first_violation("an oracle with a quorum of 2f", |seed| followed(seed, QUORUM - 1));
    assert!(matches!(violation, Some(Violation::Differs(_))), "{violation:?}");
}

/// No host built wrong around a replica makes one of these: a replica checks its evidence itself before it shows it, and
/// bounds what it keeps. So the two are asked directly.
#[test]
fn more_than_a_replica_may_keep_is_noticed() {
    let mut world = World::calm(4, 1);
    let kept = |count| vec![Kept { what: "proposals", count: 1, most: 2 }, Kept { what: "votes", count, most: 2 }];
    world.watch.memory_stays_bounded(kept(2));
    assert_eq!(world.watch.violations, vec![]);
    world.watch.memory_stays_bounded(kept(3));
    let found = first_of("one vote too many kept", 1, |_| world.watch.violations.first().cloned());
    assert_eq!(found, Some(Violation::Memory(3, "votes", 2)));
}

#[test]
fn evidence_that_does_not_check_is_noticed() {
    let keys: Vec<_> = (0..4).map(secret).collect();
    let vote = |round| {
        let body = VoteBody { height: 1, round, block: None };
        SignedVote::sign(VoteKind::Prevote, body, &keys[0], &CHAIN)
    };
    let mut world = World::calm(4, 1);
    world.watch.evidence_names_only_who_did_it(&Evidence::Votes(vote(0), vote(1)));
    let found = first_of("two votes of two rounds as evidence", 1, |_| world.watch.violations.first().cloned());
    assert!(matches!(found, Some(Violation::BadEvidence(_))), "{found:?}");
}

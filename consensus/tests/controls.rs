//! Clusters that are built wrong on purpose. Each must be caught: a simulation that never finds anything
//! is no evidence.

use crate::sim::block::{Block, CHAIN, secret, set_of};
use crate::sim::faults;
use crate::sim::host::{Flaws, Sets};
use crate::sim::invariants::Violation;
use crate::sim::network::Packet;
use crate::sim::rng::Rng;
use crate::sim::world::World;
use consensus::{SignedVote, VoteKind};
use ledger::certificate::{Certificate, VoteBody};
use std::rc::Rc;

/// Seeds tried before a flaw counts as overlooked.
const SEEDS: u64 = 40;

/// Plays until the invariants notice something, and says what.
fn first_violation(play: impl Fn(u64) -> World) -> Option<Violation> {
    (0..SEEDS).find_map(|seed| play(seed).watch.violations.first().cloned())
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
    assert_eq!(first_violation(|seed| restless(seed, Flaws::default())), None);
}

#[test]
fn the_guard_alone_prevents_double_signing_when_the_log_is_lost() {
    assert_eq!(first_violation(|seed| restless(seed, Flaws { no_log: true, ..Flaws::default() })), None);
}

#[test]
fn without_guard_and_log_a_replica_signs_twice_and_is_caught() {
    let flaws = Flaws { no_guard: true, no_log: true, ..Flaws::default() };
    let violation = first_violation(|seed| restless(seed, flaws));
    assert!(matches!(violation, Some(Violation::DoubleSign { .. })), "{violation:?}");
}

#[test]
fn without_syncing_before_sending_a_replica_signs_twice_and_is_caught() {
    let flaws = Flaws { no_sync: true, ..Flaws::default() };
    let violation = first_violation(|seed| restless(seed, flaws));
    assert!(matches!(violation, Some(Violation::DoubleSign { .. })), "{violation:?}");
}

/// Two of four keys used by two hosts each, and the two honest ones on different sides: more liars than
/// the protocol bears.
#[test]
fn more_than_a_third_of_liars_break_agreement_and_are_caught() {
    let violation = first_violation(|seed| {
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
        let caught = world.watch.violations.iter().any(|violation| matches!(violation, Violation::Certificate { .. }));
        assert_eq!(caught, expected, "no_check: {no_check}, {:?}", world.watch.violations);
    }
}

/// Two and two, and each pair takes itself for all: half of the validators count as a quorum.
#[test]
fn a_half_that_counts_as_a_quorum_breaks_agreement_and_is_caught() {
    let violation = first_violation(|seed| {
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

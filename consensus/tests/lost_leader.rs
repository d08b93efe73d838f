//! What the loss of a leader costs: the wait for its proposal, and no wait after that.

use crate::adversaries::silent::Silent;
use crate::ledger_sim::world::World;
use crate::table::{Table, X, said};
use consensus::{Effect, Timeouts, TimerKind, VoteKind};
use ledger::id::BlockHash;

const H: u64 = 8;

/// How long the last vote is waited for, if it is, after these precommits of two others.
fn wait_after(precommits: [Option<BlockHash>; 2]) -> Option<u64> {
    let mut table = Table::of(4, 1);
    table.start(H);
    assert_eq!(said(&table.ring(H, 0, TimerKind::Propose)), vec![(VoteKind::Prevote, 0, None)]);
    table.hear_vote(table.prevote(2, H, 0, None));
    let effects = table.hear_vote(table.prevote(3, H, 0, None));
    assert_eq!(said(&effects), vec![(VoteKind::Precommit, 0, None)]);
    let mut effects = table.hear_vote(table.precommit(2, H, 0, precommits[0]));
    effects.extend(table.hear_vote(table.precommit(3, H, 0, precommits[1])));
    effects.iter().find_map(|effect| match effect {
        Effect::Schedule { timer, after_ms } if timer.kind == TimerKind::Precommit => Some(*after_ms),
        _ => None,
    })
}

#[test]
fn when_a_quorum_precommits_nothing_the_round_is_over_at_once() {
    assert_eq!(wait_after([None, None]), Some(0));
}

/// There may be a quorum for a block yet.
#[test]
fn as_long_as_a_block_may_have_a_quorum_it_is_waited_for() {
    assert_eq!(wait_after([Some(X), None]), Some(200));
    assert_eq!(wait_after([Some(X), Some(X)]), Some(200));
}

/// A millisecond.
const MS_US: u64 = 1_000;
/// How long the ledgers run: as long as clients have something to submit.
const RUN_MS: u64 = 3_000;

/// Whole members with transactions to finalise all the time, one of whom never proposes. Every wait of the others for a
/// block, in milliseconds of simulated time, but for the first blocks, while they get to know each other.
fn waits_without(silent: usize, seed: u64) -> Vec<u64> {
    let mut world = World::new(4, seed);
    world.add_adversary(silent, Box::new(Silent { to_all: true }));
    world.submit_every_us = 20 * MS_US;
    world.boot(60_000 * MS_US);
    let witness = (silent + 1) % 4;
    let (mut waits, mut since_ms) = (Vec::new(), 0);
    let mut height = 0;
    for now_ms in 1..=RUN_MS {
        world.run(now_ms * MS_US, |_| false);
        let reached = world.hosts[witness].vault.look().height();
        if reached > height {
            waits.push(now_ms - since_ms);
            (height, since_ms) = (reached, now_ms);
        }
    }
    assert_eq!(world.around.watch.all(), vec![]);
    waits.split_off(3)
}

/// One and a half times the timeout for everything: the wait for its proposal, the votes that there is none, and the next
/// one's block.
#[test]
fn a_lost_leader_costs_at_most_half_as_much_again_as_the_wait_for_its_proposal() {
    let timeout_ms = Timeouts::default().propose_ms;
    let mut lost = 0;
    for seed in 0..16 {
        let waits = waits_without(seed as usize % 4, seed);
        let worst_ms = waits.iter().max().copied().unwrap();
        assert!(2 * worst_ms <= 3 * timeout_ms, "seed {seed}: {worst_ms} ms, of {waits:?}");
        lost += waits.iter().filter(|wait_ms| **wait_ms >= timeout_ms).count();
    }
    println!("{lost} leaders were lost");
    assert!(lost >= 40, "only {lost}");
}

//! What the loss of a leader costs: the wait for its proposal, and no wait after that.

use crate::table::{Table, X, said};
use consensus::{Effect, TimerKind, VoteKind};
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

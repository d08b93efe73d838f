//! When a validator may speak: it listens first, and keeps silent where it has forgotten what it said.

use crate::stand::{Disk, Stand, public};
use consensus::member::{Action, Alarm, Event, PEER_VERSION, PeerMessage, SILENCE_MS};
use consensus::{GuardRecord, Message, Signed, SignedVote, VoteKind};
use ledger::certificate::VoteBody;
use std::collections::BTreeSet;

/// Blocks of a stand are so far apart.
const BLOCK_MS: u64 = 1_000;

/// Whether the height after the tip begins when it is due.
fn begins(stand: &mut Stand) -> bool {
    let height = stand.vault.look().height() + 1;
    let actions = stand.step(Event::Due(Alarm::NextHeight { height }));
    actions.iter().any(|action| matches!(action, Action::Schedule { alarm: Alarm::Consensus(_), .. }))
}

fn says_that_it_forgot(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Alarm(what) if what.contains("does not know of it")))
}

/// One that started alone, and then hears these heights of the others.
fn told(heights: &[u64]) -> Stand {
    let mut stand = Stand::of(Stand::in_turn_of_all(3), BTreeSet::new());
    for (turn, height) in (0..).zip(heights) {
        let other = Stand::in_turn_of_all(turn);
        stand.step(Event::Connected { peer: other.node.public() });
        let chain = stand.cast.chain_id();
        let validator = Some(public(other));
        stand.say(other, PeerMessage::Hello { version: PEER_VERSION, chain, height: *height, validator });
    }
    stand
}

#[test]
fn it_begins_when_it_has_heard_a_quorum_and_nobody_came_with_more() {
    for (heights, expected) in [
        (vec![], false),
        (vec![0], false),
        (vec![0, 0], true),
        (vec![0, 0, 0], true),
        // Somebody has a block that is not here; whoever says so in vain is not waited for (below).
        (vec![7, 0], false),
        (vec![0, 7, 0], false),
        (vec![1, 1, 1], false),
    ] {
        assert_eq!(begins(&mut told(&heights)), expected, "{heights:?}");
    }
}

#[test]
fn who_boasts_of_blocks_and_does_not_send_them_keeps_nobody_silent() {
    let mut stand = told(&[7, 0, 0]);
    assert!(!begins(&mut stand));
    stand.step(Event::Due(Alarm::Sync));
    assert!(begins(&mut stand));
}

#[test]
fn who_is_behind_speaks_when_it_has_caught_up_with_what_it_knows_of() {
    let others = told(&[1, 1]);
    let me = public(Stand::in_turn_of_all(3));
    let mut stand = others;
    let block = stand.finalise_without(me, Vec::new());
    assert!(!says_that_it_forgot(&block));
    assert!(begins(&mut stand));
}

/// The guard is empty, and the first block that comes by sync has this key's signature.
#[test]
fn who_finds_words_of_its_own_that_it_does_not_know_is_silent_for_a_while_and_then_speaks() {
    let (mut stand, _) = Stand::in_a_circle();
    assert!(says_that_it_forgot(&stand.finalise(Vec::new())));
    // It has caught up with everybody now, at the time of that block.
    for block in 1..=SILENCE_MS / BLOCK_MS {
        assert!(!begins(&mut stand), "{block} s before");
        assert!(!says_that_it_forgot(&stand.finalise(Vec::new())), "it is said once");
    }
    // That block is exactly so much later, and may be older than it by a clock's error.
    assert!(!begins(&mut stand));
    stand.finalise(Vec::new());
    assert!(begins(&mut stand));
}

/// A guard that has this word, and no other; then a block comes that everybody precommitted.
fn with_a_word(kind: VoteKind, knows_the_block: bool, round: u32) -> bool {
    let me = Stand::in_turn_of_all(3);
    let (mut twin, _) = Stand::in_a_circle();
    twin.finalise(Vec::new());
    let block = knows_the_block.then(|| twin.vault.look().tip.header.hash());
    let body = VoteBody { height: 1, round, block };
    let vote = SignedVote::sign(kind, body, me.validator.as_ref().unwrap(), &twin.cast.chain_id());
    let guard = vec![GuardRecord { slot: 0, signed: Signed::Vote(vote), binding: None }];
    let mut stand = Stand::again(me, Disk { guard, ..Disk::default() });
    for other in (0..3).map(Stand::in_turn_of_all) {
        stand.greet(other, Some(public(other)));
    }
    let is_silent = says_that_it_forgot(&stand.finalise(Vec::new()));
    assert_eq!(begins(&mut stand), !is_silent);
    is_silent
}

#[test]
fn who_knows_the_very_word_is_not_silent_and_who_knows_another_one_is() {
    assert!(!with_a_word(VoteKind::Precommit, true, 0));
    assert!(with_a_word(VoteKind::Prevote, true, 0));
    assert!(with_a_word(VoteKind::Precommit, false, 0));
    assert!(with_a_word(VoteKind::Precommit, true, 1), "it was said in round 0");
    assert!(!with_a_word(VoteKind::Precommit, false, 9), "a guard need not have rounds so long ago");
}

/// It decides by the others' votes and its own of an earlier life, without having said anything in this one.
#[test]
fn words_of_its_own_in_a_certificate_that_it_decides_by_count_as_well() {
    let (mut stand, others) = Stand::in_a_circle();
    let me = Stand::in_turn_of_all(3);
    let executed = stand.block(others[0], stand.now.wall_ms);
    let header = &executed.block.header;
    stand.hear_body(others[0], header, &[]);
    let certificate = stand.certificate(&[others[0], others[1], me], header.hash());
    let actions = stand.say(others[0], PeerMessage::Consensus(Message::Decided(certificate)));
    assert!(says_that_it_forgot(&actions), "{actions:?}");
    // What it was told is not written: it would pass for known after a restart. Block sync brings the block.
    assert!(
        !actions.iter().any(|action| matches!(action, Action::WriteGuard(_) | Action::AppendLog(_))),
        "{actions:?}"
    );
    assert!(!begins(&mut stand));
}

/// Two machines with one key, or one that forgot in the middle of a height: another hands on what the key said.
#[test]
fn words_of_its_own_that_others_hand_on_silence_it_at_once() {
    let (mut stand, others) = Stand::in_a_circle();
    let me = Stand::in_turn_of_all(3);
    assert!(begins(&mut stand));
    let own = stand.vote(me, VoteKind::Prevote, None);
    let actions = stand.say(others[0], PeerMessage::Consensus(Message::Vote(own)));
    assert!(says_that_it_forgot(&actions), "{actions:?}");
    let executed = stand.block(others[0], stand.now.wall_ms);
    let mut actions = stand.hear_block(others[0], &executed.block.header, &[]);
    for other in &others {
        actions.extend(stand.hear_vote(other, VoteKind::Prevote, executed.block.header.hash()));
    }
    let leaves = |action: &&Action| matches!(action, Action::Send { message: PeerMessage::Consensus(_), .. });
    let left: Vec<_> = actions.iter().filter(leaves).collect();
    assert!(left.is_empty(), "not even what it said before, nor in a quorum with others: {left:?}");
    assert!(!begins(&mut stand));
}

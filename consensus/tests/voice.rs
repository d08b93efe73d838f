//! When a validator may speak: it listens first, and keeps silent where it has forgotten what it said.

use crate::stand::{Disk, Stand, public, votes};
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
fn it_begins_when_it_has_heard_a_quorum_and_is_as_far_as_one_that_is_honest() {
    for (heights, expected) in [
        (vec![], false),
        (vec![0], false),
        (vec![0, 0], true),
        (vec![0, 0, 0], true),
        // One of four may lie, and boast.
        (vec![7, 0], true),
        (vec![0, 7, 0], true),
        // Two that say so are not both liars.
        (vec![7, 7], false),
        (vec![1, 7, 0], false),
        (vec![1, 1, 1], false),
    ] {
        assert_eq!(begins(&mut told(&heights)), expected, "{heights:?}");
    }
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
    for block in 2..=SILENCE_MS / BLOCK_MS {
        assert!(!begins(&mut stand), "before block {block}");
        assert!(!says_that_it_forgot(&stand.finalise(Vec::new())), "it is said once");
    }
    // That block is exactly so much later than the start, and may be older than it by a clock's error.
    assert!(!begins(&mut stand));
    stand.finalise(Vec::new());
    assert!(begins(&mut stand));
}

#[test]
fn who_knows_all_it_said_is_not_silent() {
    let (stand, others) = Stand::in_a_circle();
    let me = Stand::in_turn_of_all(3);
    let body = VoteBody { height: 1, round: 0, block: None };
    let vote = SignedVote::sign(VoteKind::Prevote, body, me.validator.as_ref().unwrap(), &stand.cast.chain_id());
    let guard = vec![GuardRecord { slot: 0, signed: Signed::Vote(vote), binding: None }];
    let mut stand = Stand::again(me, Disk { guard, ..Disk::default() });
    for other in &others {
        stand.greet(other, Some(public(other)));
    }
    assert!(!says_that_it_forgot(&stand.finalise(Vec::new())));
    assert!(begins(&mut stand));
    // Of the next height it knows nothing.
    assert!(says_that_it_forgot(&stand.finalise(Vec::new())));
    assert!(!begins(&mut stand));
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
    assert!(actions.iter().any(|action| matches!(action, Action::Finalised(_))), "{actions:?}");
    assert!(says_that_it_forgot(&actions), "{actions:?}");
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
    assert_eq!(votes(&actions), vec![], "not even what it said before");
    assert!(!begins(&mut stand));
}

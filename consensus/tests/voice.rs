//! When a validator may speak: it listens first.

use crate::ledger_sim::cast::{Cast, Person};
use crate::stand::{Disk, Stand, bodies_said, parting, public};
use consensus::member::{Action, Alarm, Event, Memory, PeerMessage, SILENCE_MS};
use consensus::{Message, SignedVote, VoteKind};
use ledger::certificate::VoteBody;
use ledger::governance::Change;
use ledger::validators::ValidatorSet;

/// Blocks of a stand are so far apart.
pub(crate) const BLOCK_MS: u64 = 1_000;
/// Who was asked for blocks has so long for the first.
const REQUEST_MS: u64 = 3_000;
/// Whoever lets that pass so often in a row is not believed to be ahead.
const VAIN_WAITS_MAX: usize = 3;

/// The member on the stand.
pub(crate) fn me() -> &'static Person {
    Stand::in_turn_of_all(3)
}

/// Whether the height after the tip begins when it is due.
pub(crate) fn begins(stand: &mut Stand) -> bool {
    let height = stand.vault.look().height() + 1;
    let actions = stand.step(Event::Due(Alarm::NextHeight { height }));
    actions.iter().any(|action| matches!(action, Action::Schedule { alarm: Alarm::Consensus(_), .. }))
}

pub(crate) fn says_that_it_forgot(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Alarm(what) if what.contains("does not know of it")))
}

/// What is written of the silence.
pub(crate) fn written(actions: &[Action]) -> Vec<bool> {
    actions.iter().filter_map(|action| if let Action::KeepSilence(is) = action { Some(*is) } else { None }).collect()
}

/// One that remembers so much, started alone, and then hears these heights of the others.
pub(crate) fn told_with(memory: Memory, heights: &[u64]) -> Stand {
    let mut stand = Stand::again(me(), Disk { memory: Some(memory), ..Disk::default() });
    for (turn, height) in (0..).zip(heights) {
        let other = Stand::in_turn_of_all(turn);
        stand.greet_from(other, Some(public(other)), *height);
    }
    stand
}

pub(crate) fn told(heights: &[u64]) -> Stand {
    told_with(Memory::Whole, heights)
}

/// Who was asked for blocks lets the time pass.
pub(crate) fn ask_in_vain(stand: &mut Stand, times: usize) {
    for _ in 0..times {
        stand.wait(REQUEST_MS);
        stand.step(Event::Due(Alarm::Sync));
    }
}

/// So many blocks come by sync, in which this key has no part.
pub(crate) fn blocks_of_others(stand: &mut Stand, count: u64) {
    for _ in 0..count {
        stand.finalise_without(public(me()), Vec::new());
    }
}

// Listening.

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
fn two_nodes_of_a_validator_are_one_and_a_second_machine_with_its_own_key_is_none_of_the_others() {
    let cast = Cast::of(4);
    let twin_of = |person: &Person| {
        let place = cast.validators.iter().position(|one| public(one) == public(person)).unwrap();
        &cast.twins[place]
    };
    let other = Stand::in_turn_of_all(0);
    for (twin, key) in [(twin_of(other), public(other)), (twin_of(me()), public(me()))] {
        let mut stand = told(&[0]);
        stand.greet(twin, Some(key));
        assert!(stand.member.is_validator_node(&twin.node.public()));
        assert!(!begins(&mut stand));
    }
}

#[test]
fn a_quorum_is_one_of_those_who_validate_now() {
    let mut stand = told(&[0, 0]);
    let (gone, stays) = (Stand::in_turn_of_all(0), Stand::in_turn_of_all(2));
    let left: Vec<_> = stand.cast.set().validators().iter().filter(|one| one.key != public(gone)).cloned().collect();
    let change = stand.decision(Change::SetValidators { validators: ValidatorSet::new(left).unwrap() });
    stand.finalise_without(public(me()), change);
    blocks_of_others(&mut stand, 1);
    // Listens as if it had started here: of the three who validate, one is connected, and one who did.
    stand.step(Event::Disconnected { peer: stays.node.public() });
    let mut again = stand.restarted(me(), Memory::Whole);
    for other in [gone, Stand::in_turn_of_all(1)] {
        again.greet_from(other, Some(public(other)), 2);
    }
    assert!(!begins(&mut again));
    again.greet_from(stays, Some(public(stays)), 2);
    assert!(begins(&mut again));
}

/// A block fixes who validates in the height after the next: in the next those do who did before.
#[test]
fn whoever_is_about_to_go_validates_once_more() {
    let changed = |stays: [u32; 2]| {
        let mut stand = told(&[0, 0]);
        let stays = stays.map(|turn| public(Stand::in_turn_of_all(turn)));
        let left = stand.cast.set().validators().iter().filter(|one| stays.contains(&one.key)).cloned().collect();
        let change = stand.decision(Change::SetValidators { validators: ValidatorSet::new(left).unwrap() });
        stand.finalise_without(public(me()), change);
        stand.restarted(me(), Memory::Whole)
    };
    let [goes, stays] = [0, 1].map(Stand::in_turn_of_all);
    let mut stand = changed([1, 3]);
    stand.greet_from(stays, Some(public(stays)), 1);
    assert!(!begins(&mut stand), "two of two would be a quorum, two of four are none");
    stand.greet_from(goes, Some(public(goes)), 1);
    assert!(begins(&mut stand));
    let body = VoteBody { height: 2, round: 0, block: None };
    let key = goes.validator.as_ref().unwrap();
    let vote = SignedVote::sign(VoteKind::Prevote, body, key, &stand.cast.chain_id());
    let actions = stand.say(goes, PeerMessage::Consensus(Message::Vote(vote)));
    assert_eq!(parting(&actions), None, "it has a vote");
    // The member itself.
    let mut stand = changed([0, 1]);
    for other in [goes, stays] {
        stand.greet_from(other, Some(public(other)), 1);
    }
    assert!(begins(&mut stand));
    blocks_of_others(&mut stand, 1);
    assert!(!begins(&mut stand));
}

#[test]
fn who_boasts_of_blocks_and_never_sends_one_keeps_nobody_silent_for_long() {
    let mut stand = told(&[7, 0, 0]);
    ask_in_vain(&mut stand, VAIN_WAITS_MAX - 1);
    assert!(!begins(&mut stand), "it may have been busy");
    // The alarm rings for other reasons, too; that is no time to deliver.
    stand.step(Event::Due(Alarm::Sync));
    assert!(!begins(&mut stand));
    ask_in_vain(&mut stand, 1);
    assert!(begins(&mut stand));
}

#[test]
fn every_block_gives_who_was_asked_new_time() {
    let mut stand = told(&[7, 0, 0]);
    ask_in_vain(&mut stand, VAIN_WAITS_MAX - 1);
    stand.wait(REQUEST_MS);
    blocks_of_others(&mut stand, 1);
    stand.step(Event::Due(Alarm::Sync));
    ask_in_vain(&mut stand, VAIN_WAITS_MAX - 1);
    assert!(!begins(&mut stand));
    ask_in_vain(&mut stand, 1);
    assert!(begins(&mut stand));
}

#[test]
fn so_many_that_one_of_them_is_honest_are_waited_for_whatever_they_send() {
    let mut stand = told(&[7, 7, 0]);
    ask_in_vain(&mut stand, 10 * VAIN_WAITS_MAX);
    assert!(!begins(&mut stand));
}

/// Three bear no liar: each of them is one of those who are believed.
#[test]
fn of_three_validators_the_only_one_that_is_ahead_is_waited_for_whatever_it_sends() {
    for (heights, expected) in [([2, 2], true), ([7, 2], false), ([2, 7], false)] {
        let mut stand = told(&[0, 0]);
        let gone = public(Stand::in_turn_of_all(2));
        let left = stand.cast.set().validators().iter().filter(|one| one.key != gone).cloned().collect();
        let change = stand.decision(Change::SetValidators { validators: ValidatorSet::new(left).unwrap() });
        stand.finalise_without(public(me()), change);
        blocks_of_others(&mut stand, 1);
        let mut again = stand.restarted(me(), Memory::Whole);
        for (turn, height) in (0..).zip(heights) {
            let other = Stand::in_turn_of_all(turn);
            again.greet_from(other, Some(public(other)), height);
        }
        ask_in_vain(&mut again, 10 * VAIN_WAITS_MAX);
        assert_eq!(begins(&mut again), expected, "{heights:?}");
    }
}

#[test]
fn a_line_that_broke_is_forgiven_and_who_comes_and_goes_is_not_waited_for_without_end() {
    let other = Stand::in_turn_of_all(0);
    let mut stand = told(&[7, 0]);
    for times in 1..=VAIN_WAITS_MAX {
        stand.step(Event::Disconnected { peer: other.node.public() });
        stand.greet_from(other, Some(public(other)), 7);
        assert_eq!(begins(&mut stand), times == VAIN_WAITS_MAX, "{times}");
    }
}

#[test]
fn who_is_gone_is_not_waited_for() {
    let mut stand = told(&[7, 0, 0]);
    assert!(!begins(&mut stand));
    stand.step(Event::Disconnected { peer: Stand::in_turn_of_all(0).node.public() });
    assert!(begins(&mut stand));
}

#[test]
fn what_a_peer_came_with_is_what_it_said_first() {
    let mut stand = told(&[7, 0, 0]);
    let other = Stand::in_turn_of_all(0);
    stand.greet_from(other, Some(public(other)), 0);
    assert!(!begins(&mut stand));
}

/// A set of validators may be an old one where a disk was set back; members' other nodes know better.
#[test]
fn whoever_is_a_member_and_came_with_more_is_waited_for() {
    let mut stand = told(&[0, 0, 0]);
    let mut listening = told(&[]);
    let observer = &Cast::of(4).observers[0];
    listening.greet_from(observer, None, 7);
    for turn in 0..3 {
        let other = Stand::in_turn_of_all(turn);
        listening.greet_from(other, Some(public(other)), 0);
    }
    assert!(begins(&mut stand));
    assert!(!begins(&mut listening));
    ask_in_vain(&mut listening, VAIN_WAITS_MAX);
    assert!(begins(&mut listening));
}

/// It is not asked for blocks any more, so it cannot be caught without them.
#[test]
fn whose_key_was_retired_is_not_waited_for() {
    let mut stand = told(&[1, 1]);
    let observer = &Cast::of(4).observers[0];
    stand.greet_from(observer, None, 7);
    let retires = stand.decision(Change::RetireKey { key: observer.node.public() });
    assert!(!begins(&mut stand));
    stand.finalise_without(public(me()), retires);
    assert!(begins(&mut stand));
}

#[test]
fn who_is_behind_speaks_when_it_has_caught_up_with_what_it_knows_of() {
    let mut stand = told(&[1, 1]);
    assert!(!begins(&mut stand));
    let block = stand.finalise_without(public(me()), Vec::new());
    assert!(!says_that_it_forgot(&block));
    assert!(begins(&mut stand));
}

/// It has every block that was made since this one started, and each comes in time.
#[test]
fn who_boasts_and_sends_what_others_make_keeps_nobody_silent_under_load() {
    let mut stand = told(&[1_000_000, 0, 0]);
    blocks_of_others(&mut stand, SILENCE_MS / BLOCK_MS);
    assert!(!begins(&mut stand));
    blocks_of_others(&mut stand, 1);
    assert!(begins(&mut stand));
}

#[test]
fn who_sent_a_false_block_is_not_believed_to_be_ahead_when_it_comes_again() {
    let other = Stand::in_turn_of_all(0);
    let mut stand = told(&[7, 0]);
    let (mut twin, _) = Stand::in_a_circle();
    let block = twin.block(other, twin.now.wall_ms).block;
    let certificate = twin.certificate(&[other], block.header.hash());
    let peer = other.node.public();
    stand.step(Event::Synced { peer, block, transactions: Vec::new(), certificate });
    stand.step(Event::Disconnected { peer });
    stand.greet_from(other, Some(public(other)), 7);
    assert!(begins(&mut stand));
    assert!(begins(&mut twin));
}

/// No height begins by itself for who listens: it looks whether it may speak whenever there is one less to wait for.
#[test]
fn who_listens_begins_as_soon_as_nobody_is_left_to_wait_for() {
    let plans = |actions: &[Action]| {
        actions.iter().any(|action| matches!(action, Action::Schedule { alarm: Alarm::NextHeight { .. }, .. }))
    };
    let boaster = Stand::in_turn_of_all(0);
    let mut stand = told(&[7, 0, 0]);
    assert!(plans(&stand.step(Event::Disconnected { peer: boaster.node.public() })), "it is gone");
    let mut stand = told(&[7, 0, 0]);
    for times in 1..=VAIN_WAITS_MAX {
        stand.wait(REQUEST_MS);
        assert_eq!(plans(&stand.step(Event::Due(Alarm::Sync))), times == VAIN_WAITS_MAX, "{times}");
    }
}

/// What was judged before a restart is judged: a machine that starts with a clock that is behind gives the body to whoever asks,
/// or else a block that all are bound to, and whose power went everywhere at once, would be lost until they start again.
#[test]
fn a_body_that_was_kept_outlives_a_start_with_a_clock_that_is_behind() {
    let (mut stand, others) = Stand::in_a_circle();
    stand.wait(10_000);
    let header = stand.block(others[0], stand.now.wall_ms).block.header;
    let kept = |action: &Action| if let Action::KeepBody(kept) = action { Some(kept.block.clone()) } else { None };
    let bodies: Vec<_> = stand.hear_block(others[0], &header, &[]).iter().filter_map(kept).collect();
    assert_eq!(bodies.len(), 1);
    let mut again = Stand::again(me(), Disk { bodies, ..Disk::default() });
    assert!(again.now.wall_ms + 2_000 < header.time_ms);
    for person in &others {
        again.greet(person, Some(public(person)));
    }
    let answer = again.say(others[1], PeerMessage::WantBody { block: header.hash() });
    assert_eq!(bodies_said(&answer), [header.hash()]);
}

//! A quorum made another history final than this node's: the node finds out who signed both, and names nobody else.

use crate::ledger_sim::cast::{Cast, Person};
use crate::stand::{Stand, asked_for_blocks, caught, parting, public};
use crate::voice::begins;
use consensus::member::{Action, Alarm, Event, LOOK_BACK_MAX, Memory, Parting, PeerMessage, To};
use consensus::{SignedVote, VoteKind};
use ledger::block::Block;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::decode;
use ledger::governance::Change;
use ledger::key::PublicKey;
use std::collections::BTreeSet;

/// The node that shows its history.
fn stranger() -> &'static Person {
    &Cast::of(4).observers[1]
}

/// A ledger that is about to part in two.
fn parting_ways() -> Stand {
    let mut stand = Stand::of(&Cast::of(4).observers[0], BTreeSet::new());
    stand.finalise(Vec::new());
    stand
}

/// This node's history after the first block: the first three validators made it.
fn ours(height: u64) -> Stand {
    let mut stand = parting_ways();
    while stand.vault.look().height() < height {
        stand.finalise_without(public(&Cast::of(4).validators[3]), Vec::new());
    }
    stand.greet(stranger(), None);
    stand
}

/// The blocks of the other history, from the first.
fn theirs(height: u64) -> Vec<Block> {
    let mut stand = parting_ways();
    stand.wait(7);
    while stand.vault.look().height() < height {
        stand.finalise(Vec::new());
    }
    let vault = stand.vault.look();
    vault.blocks.iter().map(|(bytes, _)| decode(bytes).unwrap()).collect()
}

/// A block of it comes, made final in a round by some of the four.
fn comes(stand: &mut Stand, block: &Block, round: u32, signers: &[usize]) -> Vec<Action> {
    comes_of(stranger(), stand, block, round, signers)
}

/// It comes of this one.
fn comes_of(person: &Person, stand: &mut Stand, block: &Block, round: u32, signers: &[usize]) -> Vec<Action> {
    let cast = Cast::of(4);
    let (height, hash) = (block.header.height, block.header.hash());
    let body = VoteBody { height, round, block: Some(hash) };
    let vote = |place: &usize| {
        let key = cast.validators[*place].validator.as_ref().unwrap();
        SignedVote::sign(VoteKind::Precommit, body, key, &cast.chain_id())
    };
    let signed: Vec<_> = signers.iter().map(vote).map(|vote| (vote.voter, vote.signature)).collect();
    let certificate = Certificate::assemble(height, round, hash, &signed, cast.set());
    let peer = person.node.public();
    stand.step(Event::Synced { peer, block: block.clone(), transactions: Vec::new(), certificate })
}

/// The block that is asked for.
fn asked(actions: &[Action]) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        Action::Send { to: To::Peer(peer), message: PeerMessage::WantBlocks { from, count: 1 } }
            if *peer == stranger().node.public() =>
        {
            Some(*from)
        }
        _ => None,
    })
}

fn has_parted(actions: &[Action]) -> bool {
    matches!(parting(actions), Some(Parting::Fault(_)))
}

fn accusations(stand: &Stand) -> usize {
    stand.member.evidence_kept()
}

#[test]
fn exactly_those_who_signed_two_histories_in_one_round_are_named_and_accused() {
    let (mut stand, other) = (ours(3), theirs(4));
    let shown = comes(&mut stand, &other[3], 0, &[1, 2, 3]);
    assert_eq!((asked(&shown), has_parted(&shown)), (Some(3), false), "{shown:?}");
    let found = comes(&mut stand, &other[2], 0, &[1, 2, 3]);
    let both: BTreeSet<PublicKey> = [1, 2].map(|place: usize| public(&Cast::of(4).validators[place])).into();
    assert_eq!(caught(&found).into_iter().collect::<BTreeSet<_>>(), both);
    assert!(found.iter().any(|action| matches!(action, Action::KeepEvidence(kept) if kept.len() == 1)), "{found:?}");
    let is_gossip = |a: &Action| matches!(a, Action::Send { message: PeerMessage::Transactions(_), .. });
    assert!(found.iter().any(is_gossip), "others are told: {found:?}");
    assert!(has_parted(&found) && accusations(&stand) == 1);
    // The same history again teaches nothing.
    stand.greet(stranger(), None);
    comes(&mut stand, &other[3], 0, &[1, 2, 3]);
    let again = comes(&mut stand, &other[2], 0, &[1, 2, 3]);
    assert_eq!((caught(&again), has_parted(&again)), (vec![], true));
    // And the ledger goes on, with the accusation in its next block.
    let waiting = stand.member.mempool().len();
    assert_eq!(waiting, 1);
}

#[test]
fn where_rounds_differ_nobody_is_named_and_the_block_before_is_looked_at() {
    let (mut stand, other) = (ours(4), theirs(5));
    assert_eq!(asked(&comes(&mut stand, &other[4], 2, &[1, 2, 3])), Some(4));
    for height in [4, 3] {
        let actions = comes(&mut stand, &other[height - 1], 2, &[1, 2, 3]);
        assert_eq!((caught(&actions), asked(&actions)), (vec![], Some(height as u64 - 1)));
    }
    let found = comes(&mut stand, &other[1], 0, &[0, 2, 3]);
    let both: BTreeSet<PublicKey> = [0, 2].map(|place: usize| public(&Cast::of(4).validators[place])).into();
    assert_eq!(caught(&found).into_iter().collect::<BTreeSet<_>>(), both);
}

#[test]
fn where_the_two_are_one_again_nothing_is_found_and_nobody_is_asked_any_more() {
    let (mut stand, other) = (ours(2), theirs(3));
    comes(&mut stand, &other[2], 1, &[1, 2, 3]);
    assert_eq!(asked(&comes(&mut stand, &other[1], 1, &[1, 2, 3])), Some(1));
    let same = comes(&mut stand, &other[0], 0, &[0, 1, 2]);
    assert_eq!((caught(&same), asked(&same), has_parted(&same)), (vec![], None, true));
    assert_eq!(accusations(&stand), 0);
}

/// A certificate that proves nothing convicts nobody.
#[test]
fn a_forged_block_of_the_past_names_nobody() {
    for signers in [&[1, 2][..], &[]] {
        let (mut stand, other) = (ours(3), theirs(4));
        comes(&mut stand, &other[3], 0, &[1, 2, 3]);
        let actions = comes(&mut stand, &other[2], 0, signers);
        assert_eq!((caught(&actions), has_parted(&actions), accusations(&stand)), (vec![], true, 0));
    }
}

/// Two blocks of one height that other validators made say who signed both; today's set cannot tell.
#[test]
fn past_a_change_of_validators_nothing_is_claimed() {
    let cast = Cast::of(4);
    let (mut stand, other) = (ours(3), theirs(5));
    let leaver = &cast.validators[3];
    let change = Change::RevokeKey { key: public(leaver) };
    let decision = stand.decision(change);
    stand.finalise_without(public(leaver), decision);
    let actions = comes(&mut stand, &other[4], 0, &[0, 1, 2]);
    assert_eq!(asked(&actions), Some(4), "{actions:?}");
    stand.finalise_without(public(leaver), Vec::new());
    let actions = comes(&mut stand, &other[3], 0, &[0, 1, 2]);
    assert_eq!((caught(&actions), asked(&actions), has_parted(&actions)), (vec![], None, true), "{actions:?}");
}

#[test]
fn who_does_not_answer_is_left_and_who_leaves_is_forgotten() {
    let (mut stand, other) = (ours(3), theirs(4));
    comes(&mut stand, &other[3], 0, &[1, 2, 3]);
    assert!(has_parted(&stand.step(Event::Due(Alarm::LookBack))));
    assert_eq!(caught(&comes(&mut stand, &other[2], 0, &[1, 2, 3])), vec![], "it was too late");

    let (mut stand, other) = (ours(3), theirs(4));
    comes(&mut stand, &other[3], 0, &[1, 2, 3]);
    stand.step(Event::Disconnected { peer: stranger().node.public() });
    assert_eq!(caught(&comes(&mut stand, &other[2], 0, &[1, 2, 3])), vec![]);
    assert!(stand.step(Event::Due(Alarm::LookBack)).is_empty());
    stand.greet(stranger(), None);
    assert_eq!(asked(&comes(&mut stand, &other[3], 0, &[1, 2, 3])), Some(3), "another time");
}

/// Whoever is looked at goes on saying its hello, and that it is ahead: it is asked for nothing else meanwhile, and stays.
#[test]
fn what_it_says_meanwhile_does_not_end_it() {
    let (mut stand, other) = (ours(3), theirs(4));
    comes(&mut stand, &other[3], 0, &[1, 2, 3]);
    stand.wait(1_000);
    for actions in [
        stand.greet_from(stranger(), None, 4),
        stand.say(stranger(), PeerMessage::Status { height: 4 }),
        comes(&mut stand, &other[3], 0, &[1, 2, 3]),
    ] {
        assert_eq!((asked(&actions), asked_for_blocks(&actions), parting(&actions)), (None, vec![], None));
    }
    assert_eq!(caught(&comes(&mut stand, &other[2], 0, &[1, 2, 3])).len(), 2);
}

#[test]
fn it_looks_back_so_far_and_no_further() {
    let depth = LOOK_BACK_MAX + 3;
    let (mut stand, other) = (ours(depth), theirs(depth + 1));
    let mut next = asked(&comes(&mut stand, &other[depth as usize], 1, &[1, 2, 3]));
    let mut steps = 0;
    while let Some(height) = next {
        steps += 1;
        next = asked(&comes(&mut stand, &other[height as usize - 1], 1, &[1, 2, 3]));
    }
    assert_eq!((steps, accusations(&stand)), (LOOK_BACK_MAX, 0));
}

/// It has no block for this node, and what it shows the first one shows as well. If it stayed, it would be asked for the same
/// block again and again.
#[test]
fn of_two_with_another_history_one_is_looked_at_and_the_other_is_left() {
    let (mut stand, other) = (ours(3), theirs(4));
    let second = &Cast::of(4).validators[0];
    stand.greet_from(second, None, 4);
    comes(&mut stand, &other[3], 0, &[1, 2, 3]);
    let actions = comes_of(second, &mut stand, &other[3], 0, &[1, 2, 3]);
    let left = actions.iter().filter_map(|a| if let Action::Disconnect { peer, .. } = a { Some(*peer) } else { None });
    assert_eq!((left.collect::<Vec<_>>(), has_parted(&actions)), (vec![second.node.public()], true), "{actions:?}");
    assert_eq!(asked_for_blocks(&actions), vec![], "nobody who has been sent away is asked");
    let gone = stand.step(Event::Disconnected { peer: second.node.public() });
    assert_eq!(asked_for_blocks(&gone), vec![]);
    assert_eq!(caught(&comes(&mut stand, &other[2], 0, &[1, 2, 3])).len(), 2, "the first is looked at still");
}

/// Whoever shows another history and then says nothing is not looked at for ever.
#[test]
fn each_block_of_another_history_is_waited_for_for_a_while() {
    let (mut stand, other) = (ours(4), theirs(5));
    for height in [5, 4, 3] {
        let actions = comes(&mut stand, &other[height - 1], 1, &[1, 2, 3]);
        let rings = |a: &&Action| matches!(a, Action::Schedule { alarm: Alarm::LookBack, after_ms: 3_000 });
        assert_eq!(asked(&actions), Some(height as u64 - 1));
        assert_eq!(actions.iter().filter(rings).count(), 1, "{actions:?}");
    }
}

/// What the one with another history was asked for does not come. Others may have it.
#[test]
fn what_was_expected_of_another_history_is_asked_of_somebody_else_at_once() {
    let (mut stand, other) = (ours(3), theirs(4));
    let second = &Cast::of(4).validators[0];
    stand.say(stranger(), PeerMessage::Status { height: 5 });
    stand.greet_from(second, Some(public(second)), 4);
    let actions = comes(&mut stand, &other[3], 0, &[1, 2, 3]);
    assert_eq!(asked(&actions), Some(3));
    assert!(asked_for_blocks(&actions).contains(&second.node.public()), "{actions:?}");
}

/// Whoever has another history has no block that this node waits for, however far ahead it is: it keeps no validator that was
/// started again from speaking.
#[test]
fn who_comes_ahead_with_another_history_keeps_nobody_silent() {
    let [me, others @ ..] = &Cast::of(4).validators[..3] else { panic!("four validators") };
    let (mut stand, other) = (ours(3).restarted(me, Memory::Whole), theirs(7));
    stand.greet_from(stranger(), None, 7);
    others.iter().for_each(|person| drop(stand.greet_from(person, Some(public(person)), 3)));
    assert!(!begins(&mut stand), "there may be a block that is not here");
    comes(&mut stand, &other[3], 0, &[1, 2, 3]);
    assert!(begins(&mut stand));
}

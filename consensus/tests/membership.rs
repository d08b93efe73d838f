//! Who is heard, taught or refused while members and their keys change.

use crate::ledger_sim::cast::{Cast, Person, secret};
use crate::stand::{Stand, asked_for_blocks, parting, public};
use crate::voice::begins;
use consensus::member::{Action, Admittance, Alarm, Event, Parting, PeerMessage, To, has_left};
use consensus::{Message, VoteKind};
use ledger::bounded::Name;
use ledger::governance::Change;
use ledger::state::StateView as _;
use ledger::state::record::Role;
use ledger::validators::ValidatorSet;
use std::collections::BTreeSet;
use tests::APPROVERS;

/// A member that has met another.
fn beside(me: &Person, other: &Person) -> Stand {
    let mut stand = Stand::of(me, BTreeSet::new());
    stand.greet(other, Some(public(other)));
    assert!(stand.member.is_validator_node(&other.node.public()));
    stand
}

fn admittance(stand: &Stand, person: &Person) -> Admittance {
    Admittance::of(&stand.vault, &BTreeSet::new(), person.node.public()).unwrap()
}

/// The sets of the next two heights are fixed when an organisation leaves: without its vote there may be no quorum
/// for them.
#[test]
fn the_node_of_who_leaves_is_heard_as_long_as_its_vote_is_needed_and_then_taught() {
    let cast = Cast::of(4);
    let leaver = &cast.validators[3];
    let mut stand = beside(&cast.validators[0], leaver);
    let peer = leaver.node.public();
    stand.say(leaver, PeerMessage::Status { height: 9 });
    let leaves = stand.decision(Change::RemoveOrganisation { name: Name::new(APPROVERS[2]).unwrap() });
    stand.finalise(leaves);
    assert_eq!(admittance(&stand, leaver), Admittance::Heard);
    assert!(stand.member.is_validator_node(&peer), "it votes in height 2");
    let actions = stand.finalise(Vec::new());
    assert_eq!(admittance(&stand, leaver), Admittance::Taught);
    assert!(!stand.member.is_validator_node(&peer), "and in height 3 no more");
    assert_eq!(parting(&actions), None, "it may not have heard");
    // It says that it has nine blocks, and is asked for none of them.
    let asked = |actions: &[Action]| {
        let asks = |a: &Action| matches!(a, Action::Send { to: To::Peer(to), message: PeerMessage::WantBlocks { .. } } if *to == peer);
        actions.iter().any(asks)
    };
    assert!(!asked(&actions) && !asked(&stand.finalise(Vec::new())));
    assert!(!asked(&stand.step(Event::Due(Alarm::Sync))), "and not again either");
    // Whatever it says, only its questions for blocks are answered, until it has them all.
    let good = cast.jobs[0].transaction.clone();
    stand.step(Event::Gossiped { peer, transactions: vec![good.clone()] });
    assert!(!stand.member.mempool().contains(&good.id()));
    let answer = stand.say(leaver, PeerMessage::WantBlocks { from: 1, count: 9 });
    assert!(matches!(answer.as_slice(), [Action::SendBlocks { from: 1, count: 9, .. }]), "{answer:?}");
    let answer = stand.say(leaver, PeerMessage::Status { height: 50 });
    assert_eq!(parting(&answer), Some(&Parting::Taught));
    assert!(!asked(&answer), "{answer:?}");
}

/// It comes into the set with the very block that retires its last node key: it is needed in two heights, and would not
/// come back from where it is only taught.
#[test]
fn the_node_of_who_is_about_to_vote_is_heard_although_its_key_is_retired() {
    let cast = Cast::of(4);
    let coming = &cast.validators[3];
    let mut stand = beside(&cast.validators[0], coming);
    let all = cast.set().validators().to_vec();
    let without = all.iter().filter(|one| one.key != public(coming)).cloned().collect();
    let set = |validators| Change::SetValidators { validators: ValidatorSet::new(validators).unwrap() };
    let without = stand.decision(set(without));
    stand.finalise(without);
    stand.finalise(Vec::new());
    let organisation = stand.vault.organisation(&Name::new(APPROVERS[2]).unwrap()).unwrap().unwrap();
    let nodes = organisation.keys.iter().filter(|member| member.role == Role::Node).map(|member| member.key);
    let changes = std::iter::once(set(all)).chain(nodes.map(|key| Change::RetireKey { key }));
    let decision = stand.decision_of(changes.collect());
    stand.finalise(decision);
    for height in 3..5 {
        assert_eq!((stand.vault.look().height(), admittance(&stand, coming)), (height, Admittance::Heard));
        assert!(stand.member.is_validator_node(&coming.node.public()));
        stand.finalise(Vec::new());
    }
}

#[test]
fn a_node_in_whose_place_another_is_heard_is_only_taught() {
    let cast = Cast::of(4);
    let retired = &cast.validators[0];
    let mut stand = beside(&cast.validators[1], retired);
    let retires = stand.decision(Change::RetireKey { key: retired.node.public() });
    stand.finalise(retires);
    assert_eq!(admittance(&stand, retired), Admittance::Taught);
    assert_eq!(admittance(&stand, &cast.twins[0]), Admittance::Heard);
    assert!(!stand.member.is_validator_node(&retired.node.public()), "although its validator still votes");
}

/// In the next height the vote of the old validating key counts, and only the old node has it.
#[test]
fn a_node_whose_validating_key_is_replaced_with_its_own_is_heard_for_one_height_more() {
    let cast = Cast::of(4);
    let person = &cast.validators[0];
    let mut stand = beside(&cast.validators[1], person);
    let rotate = |old, new| Change::RotateKey { old, new };
    let node = rotate(person.node.public(), secret("its next node").public());
    let decision = stand.decision_of(vec![node, rotate(public(person), secret("its next validator").public())]);
    stand.finalise(decision);
    assert_eq!(admittance(&stand, person), Admittance::Heard);
    assert!(stand.member.is_validator_node(&person.node.public()));
    assert!(!has_left(&stand.vault, person.node.public()).unwrap(), "it does not go before");
    stand.finalise(Vec::new());
    assert_eq!(admittance(&stand, person), Admittance::Taught);
    assert!(has_left(&stand.vault, person.node.public()).unwrap());
}

#[test]
fn a_key_that_was_stolen_is_not_even_taught() {
    let cast = Cast::of(4);
    let stolen = &cast.validators[2];
    let mut stand = beside(&cast.validators[0], stolen);
    let revokes = stand.decision(Change::RevokeKey { key: stolen.node.public() });
    assert_eq!(parting(&stand.finalise(revokes)), Some(&Parting::Stranger));
    assert_eq!(admittance(&stand, stolen), Admittance::Refused);
}

#[test]
fn a_node_whose_own_key_is_of_the_past_hears_nobody_and_one_whose_key_is_of_the_future_does() {
    let cast = Cast::of(4);
    let (me, other) = (&cast.validators[0], &cast.validators[1]);
    let mut stand = beside(me, other);
    let retires = stand.decision(Change::RetireKey { key: me.node.public() });
    stand.finalise(retires);
    assert!(has_left(&stand.vault, me.node.public()).unwrap());
    assert!(!stand.member.is_validator_node(&other.node.public()));
    stand.greet_from(&cast.validators[2], Some(public(&cast.validators[2])), 0);
    assert!(!stand.member.is_validator_node(&cast.validators[2].node.public()));
    // It asks nobody, takes nothing in, and has nothing to say in the next height.
    let ahead = stand.say(&cast.validators[2], PeerMessage::Status { height: 7 });
    assert!(asked_for_blocks(&ahead).is_empty(), "{ahead:?}");
    stand.greet_from(other, Some(public(other)), 0);
    let transactions = vec![cast.jobs[0].transaction.clone()];
    stand.step(Event::Gossiped { peer: other.node.public(), transactions });
    assert!(stand.member.mempool().is_empty());
    let due = stand.step(Event::Due(Alarm::NextHeight { height: 2 }));
    assert!(due.is_empty(), "{due:?}");
    let future = Person { node: secret("a key to come"), validator: None };
    let mut stand = Stand::of(&future, BTreeSet::new());
    stand.greet(other, Some(public(other)));
    assert!(stand.member.is_validator_node(&other.node.public()));
}

/// Of three validators or fewer the vote of each is needed. The one who leaves may be the only one who has all of them for
/// the block with which it leaves; and nobody who votes hears of it from anybody else.
#[test]
fn who_left_gives_the_block_with_which_it_left_to_those_who_have_it_not() {
    let cast = Cast::of(4);
    let (me, other, late) = (&cast.validators[0], &cast.validators[1], &cast.validators[2]);
    let mut stand = beside(me, other);
    let retires = stand.decision(Change::RetireKey { key: me.node.public() });
    assert_eq!(parting(&stand.finalise(retires)), None);
    // One that was connected, and one that comes back.
    assert_eq!(parting(&stand.greet_from(late, Some(public(late)), 0)), None);
    for person in [other, late] {
        let asked = stand.say(person, PeerMessage::WantBlocks { from: 1, count: 1 });
        let given = |action: &Action| matches!(action, Action::SendBlocks { to, from: 1, count: 1 } if *to == person.node.public());
        assert!(asked.iter().any(given), "{asked:?}");
        assert_eq!(parting(&stand.say(person, PeerMessage::Status { height: 1 })), Some(&Parting::Left));
    }
    assert_eq!(parting(&stand.greet_from(late, Some(public(late)), 1)), Some(&Parting::Left), "it has the news");
    // News gets lost. Who still votes on what is decided hears them again.
    stand.greet_from(other, Some(public(other)), 0);
    let vote = stand.vote(other, VoteKind::Prevote, None);
    let told = stand.say(other, PeerMessage::Consensus(Message::Vote(vote)));
    let news = |action: &Action| {
        let message = PeerMessage::Status { height: 1 };
        matches!(action, Action::Send { to: To::Peer(to), message: said } if *to == other.node.public() && *said == message)
    };
    assert!(told.iter().any(news), "{told:?}");
}

/// Its organisation has another node, which may have the validating key by now. Two that speak with one key convict it.
#[test]
fn who_left_says_nothing_in_consensus_although_its_validator_still_has_a_vote() {
    for leaves in [false, true] {
        let (mut stand, _) = Stand::in_a_circle();
        let me = stand.in_turn(3);
        assert!(begins(&mut stand), "it has heard enough, and speaks");
        let key = if leaves { me.node.public() } else { stand.cast.observers[0].node.public() };
        let retires = stand.decision(Change::RetireKey { key });
        stand.finalise_without(public(me), retires);
        assert_eq!(has_left(&stand.vault, me.node.public()).unwrap(), leaves);
        assert!(stand.member.validates().unwrap());
        assert_eq!(begins(&mut stand), !leaves);
    }
}

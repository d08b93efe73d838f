//! An idle ledger: what makes it begin a height, and how often.

use crate::ledger_sim::cast::{Cast, Person};
use crate::stand::{Stand, public};
use consensus::member::{Action, Alarm, Event, PeerMessage, Ticket};
use consensus::{Message, ProposalBody, SignedProposal, SignedVote, VoteKind, proposer};
use ledger::bounded::List;
use ledger::certificate::VoteBody;
use ledger::id::BlockHash;
use ledger::transaction::VerifiedTransaction;
use std::collections::BTreeSet;

/// Who is told of everything.
fn me() -> &'static Person {
    &Cast::of(4).validators[0]
}

/// Who says what it likes.
fn hasty() -> &'static Person {
    &Cast::of(4).validators[2]
}

fn met_by_all() -> Stand {
    let mut stand = Stand::of(me(), BTreeSet::new());
    for other in [1, 2, 3].map(|place| &Cast::of(4).validators[place]) {
        stand.greet(other, Some(public(other)));
    }
    stand
}

fn height(stand: &Stand) -> u64 {
    stand.vault.look().height() + 1
}

/// Who has a turn at the next height.
fn in_turn(stand: &Stand, round: u32) -> &'static Person {
    let key = proposer(Cast::of(4).set(), height(stand), round);
    Cast::of(4).validators.iter().find(|person| public(person) == key).unwrap()
}

/// The next block, a millisecond later.
fn the_others_make(stand: &mut Stand, transactions: Vec<VerifiedTransaction>) {
    stand.wait(1);
    stand.finalise_by(transactions, |key| key != public(me()));
}

fn has_begun(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Cancel(Alarm::NextHeight { .. })))
}

fn question(stand: &Stand) -> PeerMessage {
    PeerMessage::Consensus(Message::WantProposal { height: height(stand), round: 0 })
}

fn vote(stand: &Stand) -> PeerMessage {
    let body = VoteBody { height: height(stand), round: 0, block: None };
    let key = hasty().validator.as_ref().unwrap();
    PeerMessage::Consensus(Message::Vote(SignedVote::sign(VoteKind::Prevote, body, key, &Cast::of(4).chain_id())))
}

fn body(stand: &Stand) -> PeerMessage {
    let header = stand.block(hasty(), stand.now.wall_ms).block.header;
    PeerMessage::Body { header, transactions: List::default() }
}

fn proposal(stand: &Stand, by: &Person, round: u32) -> PeerMessage {
    let body = ProposalBody { height: height(stand), round, pol_round: None, block: BlockHash([7; 32]) };
    let key = by.validator.as_ref().unwrap();
    PeerMessage::Consensus(Message::Proposal(SignedProposal::sign(body, key, &Cast::of(4).chain_id())))
}

/// In so long, at how many heights its words make this node begin, where the others are quick to make the block: of those
/// at which another one has the first turn, and of those at which it has it itself.
fn begun_in(ms: u64, words: fn(&Stand) -> PeerMessage) -> (u32, u32) {
    let mut stand = met_by_all();
    let (until_ms, mut due_ms) = (stand.now.steady_ms + ms, u64::MAX);
    let (mut of_others, mut own) = (0, 0);
    while stand.now.steady_ms < until_ms {
        let (height, is_own) = (height(&stand), public(in_turn(&stand, 0)) == public(hasty()));
        let words = words(&stand);
        let mut actions = stand.say(hasty(), words);
        let next = |action: &Action| match action {
            Action::Schedule { alarm: Alarm::NextHeight { .. }, after_ms } => Some(*after_ms),
            _ => None,
        };
        due_ms = actions.iter().find_map(next).map_or(due_ms, |after_ms| stand.now.steady_ms + after_ms);
        if due_ms <= stand.now.steady_ms {
            actions.extend(stand.step(Event::Due(Alarm::NextHeight { height })));
        }
        if has_begun(&actions) {
            due_ms = u64::MAX;
            *(if is_own { &mut own } else { &mut of_others }) += 1;
            the_others_make(&mut stand, Vec::new());
        } else {
            stand.wait(1);
        }
    }
    (of_others, own)
}

/// A question costs nothing, and a vote or a body little. An idle ledger is a disk that grows by a block now and then.
#[test]
fn one_validator_does_not_hurry_an_idle_ledger() {
    assert_eq!(begun_in(10_000, question), (30, 10));
    assert_eq!(begun_in(10_000, vote), (30, 10));
    // With what it may propose itself it begins at once, as often as it has the turn.
    let (of_others, own) = begun_in(10_000, body);
    assert!(of_others <= 40 && own <= of_others / 3 + 1, "{of_others}, {own}");
}

/// Where there is something to say, the first word is enough: who has it may be the only one.
#[test]
fn a_height_is_begun_at_the_first_word_where_something_waits_or_is_to_be_sealed() {
    let ask = |stand: &mut Stand| {
        let question = question(stand);
        has_begun(&stand.say(hasty(), question))
    };
    let transaction = &Cast::of(4).jobs[0].transaction;
    let mut stand = met_by_all();
    assert!(ask(&mut stand), "the first in a long time");
    the_others_make(&mut stand, Vec::new());
    assert!(!ask(&mut stand), "and the next a moment later");
    the_others_make(&mut stand, vec![transaction.clone()]);
    assert!(ask(&mut stand), "to seal what is in the last block");
    the_others_make(&mut stand, Vec::new());
    assert!(!ask(&mut stand));
    stand.step(Event::Gossiped {
        peer: hasty().node.public(),
        transactions: vec![Cast::of(4).jobs[1].transaction.clone()],
    });
    assert!(ask(&mut stand), "for what waits");
}

#[test]
fn what_the_one_with_the_first_turn_proposes_is_begun_with_at_once_and_nothing_else() {
    let mut tried = BTreeSet::new();
    let mut stand = met_by_all();
    let question = question(&stand);
    assert!(has_begun(&stand.say(hasty(), question)));
    for _ in 0..8 {
        the_others_make(&mut stand, Vec::new());
        let (first, second) = (in_turn(&stand, 0), in_turn(&stand, 1));
        if [public(first), public(second)].contains(&public(me())) {
            continue;
        }
        let other = in_turn(&stand, 2);
        let in_vain = [
            (second, proposal(&stand, second, 1)),
            (second, proposal(&stand, second, 0)),
            (first, proposal(&stand, first, 1)),
            (second, proposal(&stand, first, 0)),
        ];
        for (by, words) in in_vain {
            assert!(!has_begun(&stand.say(by, words)), "{}", height(&stand));
        }
        let good = proposal(&stand, first, 0);
        assert!(has_begun(&stand.say(first, good)), "{}", height(&stand));
        tried.insert((public(first), public(other)));
    }
    assert!(tried.len() >= 2);
}

#[test]
fn who_offers_something_to_an_idle_ledger_waits_for_no_heartbeat() {
    let mut stand = met_by_all();
    stand.wait(20);
    let offer = (Cast::of(4).jobs[0].transaction.clone(), Ticket(1));
    let actions = stand.step(Event::Offered(vec![offer]));
    assert!(has_begun(&actions), "{actions:?}");
}

#[test]
fn what_a_peer_passes_on_begins_a_height_that_nobody_else_has_begun() {
    let mut stand = met_by_all();
    stand.wait(20);
    let transactions = vec![Cast::of(4).jobs[0].transaction.clone()];
    let actions = stand.step(Event::Gossiped { peer: hasty().node.public(), transactions });
    assert!(has_begun(&actions), "{actions:?}");
}

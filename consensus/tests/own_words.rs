//! What a guard knows of the words of a key, which certificates show more, and what a member does that is told of more.

use crate::ledger_sim::cast::Cast;
use crate::stand::{Disk, Stand, public, said};
use crate::voice::{begins, me, says_that_it_forgot, told, written};
use consensus::member::{Action, OwnWords, PeerMessage};
use consensus::{
    GuardRecord, Message, Polka, ProposalBody, RoundVote, Signed, SignedProposal, SignedVote, Skip, SkipReason,
    VoteKind,
};
use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::id::BlockHash;
use std::collections::BTreeSet;

const X: BlockHash = BlockHash([1; 32]);

/// A word of the member at this place: what it precommitted, or a prevote for nothing.
type Word = (usize, u64, u32, Option<BlockHash>);

fn vote((place, height, round, block): Word) -> SignedVote {
    let (cast, body) = (Cast::of(4), VoteBody { height, round, block });
    let kind = if block.is_some() { VoteKind::Precommit } else { VoteKind::Prevote };
    SignedVote::sign(kind, body, cast.validators[place].validator.as_ref().unwrap(), &cast.chain_id())
}

/// What the first member finds in a guard of these words.
fn words(guard: &[Word]) -> OwnWords {
    let record = |word: &Word| GuardRecord { slot: 0, signed: Signed::Vote(vote(*word)), binding: None };
    let records: Vec<_> = guard.iter().map(record).collect();
    OwnWords::of(public(&Cast::of(4).validators[0]), &records)
}

/// Whether words lack what a certificate of this height and round shows, which the first three signed.
fn lack(words: &OwnWords, height: u64, round: u32) -> bool {
    let set = Cast::of(4).set();
    let votes: Vec<_> = (0..3).map(|place| vote((place, height, round, Some(X)))).collect();
    let signed: Vec<_> = votes.iter().map(|vote| (vote.voter, vote.signature)).collect();
    words.lack(&Certificate::assemble(height, round, X, &signed, set), set)
}

#[test]
fn a_word_is_known_that_the_guard_has_and_any_other_is_not() {
    for (guard, (height, round), expected) in [
        (vec![], (1, 0), true),
        (vec![(0, 1, 0, Some(X))], (1, 0), false),
        (vec![(0, 1, 0, Some(X))], (1, 1), true),
        (vec![(0, 1, 0, Some(X))], (2, 0), true),
        (vec![(0, 1, 0, None)], (1, 0), true),
        // Of a height before it was left: nothing can be signed there.
        (vec![(0, 2, 0, None)], (1, 0), false),
        // Another key's words are none of this one's, however many.
        (vec![(1, 1, 0, Some(X))], (1, 0), true),
        (vec![(1, 9, 9, Some(X))], (1, 0), true),
        (vec![(0, 1, 0, Some(X)), (1, 2, 9, None)], (1, 0), false),
    ] {
        assert_eq!(lack(&words(&guard), height, round), expected, "{guard:?}");
    }
}

#[test]
fn a_guard_surely_has_eight_rounds_back_from_the_latest_of_its_own_height() {
    for (guard, round, expected) in [
        (vec![(0, 2, 7, None)], 0, true),
        (vec![(0, 2, 8, None)], 0, true),
        (vec![(0, 2, 9, None)], 0, false),
        (vec![(0, 2, 9, None)], 1, true),
        (vec![(0, 2, 0, Some(X)), (0, 2, 8, None)], 0, false),
        // A late round of the height before hides nothing of this one, whichever is read first.
        (vec![(0, 1, 9, None), (0, 2, 0, None)], 0, true),
        (vec![(0, 2, 0, None), (0, 1, 9, None)], 0, true),
        (vec![(0, 1, 0, Some(X)), (0, 2, 0, None)], 0, true),
    ] {
        assert_eq!(lack(&words(&guard), 2, round), expected, "{guard:?}");
    }
}

#[test]
fn a_certificate_without_its_signature_shows_nothing() {
    let set = Cast::of(4).set();
    let votes: Vec<_> = (1..4).map(|place| vote((place, 1, 0, Some(X)))).collect();
    let signed: Vec<_> = votes.iter().map(|vote| (vote.voter, vote.signature)).collect();
    assert!(!words(&[]).lack(&Certificate::assemble(1, 0, X, &signed, set), set));
}

#[test]
fn the_chain_is_searched_from_the_guards_own_height_on() {
    assert!(words(&[]).to_be_looked_at(9).eq((1..=9).rev()));
    assert!(words(&[(0, 4, 0, None)]).to_be_looked_at(9).eq((4..=9).rev()));
    assert_eq!(words(&[(0, 4, 0, None)]).to_be_looked_at(3).count(), 0);
    // Whoever votes is in most certificates: nobody reads a chain of years.
    assert!(words(&[]).to_be_looked_at(u64::MAX).eq((u64::MAX - 255..=u64::MAX).rev()));
}

// Words that others hand on.

/// It has a part in this height, and then hears what it never said.
fn hears_of_itself(own: impl Fn(&Stand) -> Message) -> Vec<Action> {
    let (mut stand, others) = Stand::in_a_circle();
    assert!(begins(&mut stand));
    let header = stand.block(others[0], stand.now.wall_ms).block.header;
    let voted = stand.hear_block(others[0], &header, &[]);
    assert_eq!(said(&voted), [(VoteKind::Prevote, Some(header.hash()))]);
    let own = own(&stand);
    stand.say(others[0], PeerMessage::Consensus(own))
}

fn own_vote(stand: &Stand, kind: VoteKind, round: u32) -> Message {
    let body = VoteBody { height: 1, round, block: None };
    Message::Vote(SignedVote::sign(kind, body, me().validator.as_ref().unwrap(), &stand.cast.chain_id()))
}

#[test]
fn its_own_vote_for_something_else_than_it_signed_silences_it() {
    let actions = hears_of_itself(|stand| own_vote(stand, VoteKind::Prevote, 0));
    assert!(says_that_it_forgot(&actions), "{actions:?}");
    assert_eq!(written(&actions), [true]);
}

#[test]
fn a_proposal_of_its_own_that_it_did_not_make_silences_it() {
    let actions = hears_of_itself(|stand| {
        let block = stand.block(me(), stand.now.wall_ms + 1).block.header.hash();
        let body = ProposalBody { height: 1, round: 3, pol_round: None, block };
        let key = me().validator.as_ref().unwrap();
        Message::Proposal(SignedProposal::sign(body, key, &stand.cast.chain_id()))
    });
    assert!(says_that_it_forgot(&actions), "{actions:?}");
}

/// Of an earlier round: it cannot sign there any more, and still may be bound by what it signed.
#[test]
fn a_vote_of_its_own_in_an_earlier_round_silences_it_if_it_would_have_kept_it() {
    for (latest, expected) in [(3, true), (16, true), (17, false)] {
        let stand = told(&[]);
        let Message::Vote(vote) = own_vote(&stand, VoteKind::Prevote, latest) else { unreachable!() };
        let guard = vec![GuardRecord { slot: 0, signed: Signed::Vote(vote), binding: None }];
        let mut stand = Stand::again(me(), Disk { guard, ..Disk::default() });
        for other in (0..3).map(Stand::in_turn_of_all) {
            stand.greet(other, Some(public(other)));
        }
        assert!(begins(&mut stand));
        let own = own_vote(&stand, VoteKind::Precommit, 1);
        let actions = stand.say(Stand::in_turn_of_all(0), PeerMessage::Consensus(own));
        assert_eq!(says_that_it_forgot(&actions), expected, "{latest}: {actions:?}");
    }
}

#[test]
fn words_of_its_own_are_heard_before_the_height_begins() {
    let mut stand = told(&[0]);
    let own = own_vote(&stand, VoteKind::Prevote, 0);
    let forged = match own.clone() {
        Message::Vote(vote) => Message::Vote(SignedVote { signature: ledger::key::Signature([7; 64]), ..vote }),
        other => other,
    };
    let other = Stand::in_turn_of_all(0);
    assert!(!says_that_it_forgot(&stand.say(other, PeerMessage::Consensus(forged))));
    assert!(says_that_it_forgot(&stand.say(other, PeerMessage::Consensus(own))));
}

/// A proposal says as much as a vote; one that somebody forged says nothing, or else any validator could silence any other.
#[test]
fn a_proposal_of_its_own_is_heard_before_the_height_begins_and_a_forged_one_is_not() {
    let mut stand = told(&[0]);
    let block = stand.block(me(), stand.now.wall_ms).block.header.hash();
    let body = ProposalBody { height: 1, round: 0, pol_round: None, block };
    let own = SignedProposal::sign(body, me().validator.as_ref().unwrap(), &stand.cast.chain_id());
    let forged = SignedProposal { signature: ledger::key::Signature([7; 64]), ..own };
    for (proposal, expected) in [(forged, false), (own, true)] {
        let message = PeerMessage::Consensus(Message::Proposal(proposal));
        let actions = stand.say(Stand::in_turn_of_all(0), message);
        assert_eq!(says_that_it_forgot(&actions), expected, "{actions:?}");
    }
}

/// It was in the middle of that height when it ended, and others say again what it said.
#[test]
fn words_of_its_own_that_it_knows_of_are_no_news_while_it_listens() {
    let own = own_vote(&told(&[]), VoteKind::Prevote, 0);
    let Message::Vote(vote) = own.clone() else { unreachable!() };
    let guard = vec![GuardRecord { slot: 0, signed: Signed::Vote(vote), binding: None }];
    let mut stand = Stand::again(me(), Disk { guard, ..Disk::default() });
    let other = Stand::in_turn_of_all(0);
    stand.greet(other, Some(public(other)));
    assert!(!says_that_it_forgot(&stand.say(other, PeerMessage::Consensus(own))));
}

/// Who has the first turn proposes as soon as a height begins. What others say of its own words is looked at before.
#[test]
fn who_is_told_of_its_own_words_signs_nothing_in_the_height_that_they_call_to() {
    let [me, other] = [0, 1].map(Stand::in_turn_of_all);
    let key = me.validator.as_ref().unwrap();
    let chain = Cast::of(4).chain_id();
    let body = VoteBody { height: 1, round: 0, block: None };
    let vote = Message::Vote(SignedVote::sign(VoteKind::Prevote, body, key, &chain));
    let body = ProposalBody { height: 1, round: 0, pol_round: None, block: X };
    let proposal = Message::Proposal(SignedProposal::sign(body, key, &chain));
    let question = Message::WantProposal { height: 1, round: 0 };
    for (message, is_own) in [(question, false), (vote, true), (proposal, true)] {
        let mut stand = Stand::of(me, BTreeSet::new());
        for other in (1..4).map(Stand::in_turn_of_all) {
            stand.greet(other, Some(public(other)));
        }
        let actions = stand.say(other, PeerMessage::Consensus(message));
        let is_signed = |action: &Action| {
            let is_sent = matches!(action, Action::Send { message: PeerMessage::Consensus(_), .. });
            is_sent || matches!(action, Action::WriteGuard(_) | Action::AppendLog(_))
        };
        assert_eq!((says_that_it_forgot(&actions), actions.iter().any(is_signed)), (is_own, !is_own), "{actions:?}");
        assert!(!begins(&mut stand), "it is silent, or has begun");
    }
}

/// A quorum, or a proof that a round may be left, has votes of many; one of them may be its own.
fn proofs_with_own_words() -> [Message; 3] {
    let key = |n: usize| Stand::in_turn_of_all([3, 0, 1][n]).validator.as_ref().unwrap();
    let vote = |n: usize, kind, block| {
        SignedVote::sign(kind, VoteBody { height: 1, round: 0, block }, key(n), &Cast::of(4).chain_id())
    };
    let prevotes = (0..3).map(|n| vote(n, VoteKind::Prevote, Some(X))).map(|vote| (vote.voter, vote.signature));
    let polka = Polka { height: 1, round: 0, block: X, prevotes: List::new(prevotes.collect()).unwrap() };
    let skip = |kind, reason| {
        let votes = (0..3).map(|n| vote(n, kind, None));
        let votes = votes.map(|vote| RoundVote { kind, block: None, voter: vote.voter, signature: vote.signature });
        Message::Skip(Skip { height: 1, round: 0, reason, votes: List::new(votes.collect()).unwrap() })
    };
    let (over, ahead) = (skip(VoteKind::Precommit, SkipReason::Over), skip(VoteKind::Prevote, SkipReason::Ahead));
    [Message::Polka(polka), over, ahead]
}

#[test]
fn its_own_words_among_those_of_others_silence_it_as_well() {
    for proof in proofs_with_own_words() {
        let actions = hears_of_itself(|_| proof.clone());
        assert!(says_that_it_forgot(&actions), "{proof:?}: {actions:?}");
        assert_eq!(written(&actions), [true]);
    }
}

#[test]
fn its_own_words_among_those_of_others_are_heard_before_the_height_begins() {
    for proof in proofs_with_own_words() {
        let mut stand = told(&[0]);
        let actions = stand.say(Stand::in_turn_of_all(0), PeerMessage::Consensus(proof));
        assert!(says_that_it_forgot(&actions), "{actions:?}");
    }
}

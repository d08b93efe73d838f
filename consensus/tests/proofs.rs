//! Proofs and certificates: what they must hold for anything to come of them, and whom they convict.

use crate::hostile::accused;
use crate::sim::block::{CHAIN, secret, set_of};
use crate::table::{Table, X, Y, decisions, said};
use crate::traps::{H, table};
use consensus::{
    Effect, Input, Message, Polka, ProposalBody, Refusal, SignedProposal, SignedVote, SkipReason, VoteKind, proposer,
};
use ledger::bounded::List;
use ledger::certificate::VoteBody;
use ledger::evidence::OffenceKind;
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, SecretKey, Signature};

/// A replica that has prevoted is one step before a lock and two before a decision: no proof that does not hold takes
/// it there, whatever is wrong with it.
#[test]
fn proofs_that_do_not_hold_are_refused_and_nothing_else_comes_of_them() {
    let stranger =
        SignedVote::sign(VoteKind::Prevote, VoteBody { height: H, round: 0, block: Some(X) }, &secret(77), &CHAIN);
    let with = |mut polka: Polka, (voter, signature): (PublicKey, Signature)| {
        let others = polka.prevotes.iter().copied().take(2);
        polka.prevotes = List::new(others.chain([(voter, signature)]).collect()).unwrap();
        Message::Polka(polka)
    };
    let stage = || {
        let mut table = table();
        table.hear_proposal(table.proposal(H, 0, None, X));
        assert_eq!(said(&table.judged(H, X, true)), vec![(VoteKind::Prevote, 0, Some(X))]);
        table
    };
    let keys = stage();
    let precommit = keys.precommit(3, H, 0, Some(X));
    let on_another_chain = SignedVote::sign(VoteKind::Prevote, precommit.body, &keys.keys[3], &ChainId([8; 32]));
    let polka = || keys.polka(&[0, 2, 3], H, 0, X);
    let mut forged_end = keys.skip(&[0, 2, 3], VoteKind::Precommit, SkipReason::Over, H, 0);
    let mut votes = forged_end.votes.clone().into_vec();
    votes[2].signature = Signature([7; 64]);
    forged_end.votes = List::new(votes).unwrap();
    let forged = SignedVote { signature: Signature([7; 64]), ..keys.prevote(3, H, 0, Some(Y)) };
    let (mut moved, mut swapped) = (keys.certificate(&[0, 2, 3], H, 1, X), keys.certificate(&[0, 2, 3], H, 0, Y));
    (moved.round, swapped.block) = (0, X);
    for (what, message) in [
        ("a forged prevote", with(polka(), (keys.key(3), Signature([7; 64])))),
        ("a prevote of another round", with(polka(), (keys.key(3), keys.prevote(3, H, 1, Some(X)).signature))),
        ("a prevote of another height", with(polka(), (keys.key(3), keys.prevote(3, H - 1, 0, Some(X)).signature))),
        ("a prevote for another block", with(polka(), (keys.key(3), keys.prevote(3, H, 0, Some(Y)).signature))),
        ("a precommit for a prevote", with(polka(), (keys.key(3), precommit.signature))),
        ("a prevote of another ledger", with(polka(), (keys.key(3), on_another_chain.signature))),
        ("a prevote of a stranger", with(polka(), (stranger.voter, stranger.signature))),
        ("one prevote too few", Message::Polka(keys.polka(&[0, 2], H, 0, X))),
        ("one prevote twice", Message::Polka(keys.polka(&[0, 2, 2], H, 0, X))),
        ("one precommit twice", Message::Skip(keys.skip(&[0, 2, 2], VoteKind::Precommit, SkipReason::Over, H, 0))),
        ("a forged precommit", Message::Skip(forged_end)),
        ("one of a certificate too few", Message::Decided(keys.certificate(&[0, 2], H, 0, X))),
        ("a certificate with its round changed", Message::Decided(moved)),
        ("a certificate with its block changed", Message::Decided(swapped)),
        ("a forged vote for a block nobody knows", Message::Vote(forged)),
    ] {
        let mut table = stage();
        let effects = table.hear(2, message);
        assert!(matches!(effects.as_slice(), [Effect::Refused { .. }]), "{what}: {effects:?}");
        assert_eq!((table.replica.round(), table.replica.decided()), (Some(0), None), "{what}");
    }
}

/// The same, when they vote there and prove nothing.
#[test]
fn votes_of_exactly_a_third_of_any_set_move_nobody() {
    for (count, liars) in [(3, 1), (4, 1), (5, 1), (6, 2), (7, 2), (9, 3), (10, 3)] {
        let mut table = Table::of(count, 0);
        table.start(H);
        for n in 1..=liars {
            table.hear_vote(table.prevote(n, H, 5, None));
        }
        assert_eq!(table.replica.round(), Some(0), "{liars} of {count}");
        table.hear_vote(table.prevote(liars + 1, H, 5, None));
        assert_eq!(table.replica.round(), Some(5), "{} of {count}", liars + 1);
    }
}

/// Whoever left the set has no vote in the next height, and whoever came has one.
#[test]
fn every_height_counts_with_its_own_validators() {
    let mut table = table();
    let mut keys = table.keys.clone();
    let left = keys.remove(3);
    keys.extend([secret(40), secret(41)]);
    let set = set_of(&keys);
    drop(table.replica.step(Input::StartHeight { height: H + 1, validators: set.clone(), log: Vec::new() }));
    let turn = proposer(&set, H + 1, 0);
    let proposal = ProposalBody { height: H + 1, round: 0, pol_round: None, block: X };
    let vote = |key: &SecretKey, kind: VoteKind| {
        SignedVote::sign(kind, VoteBody { height: H + 1, round: 0, block: Some(X) }, key, &CHAIN)
    };
    let me = table.key(table.me);
    let mut effects = match keys.iter().find(|key| key.public() == turn && turn != me) {
        Some(key) => table.hear_proposal(SignedProposal::sign(proposal, key, &CHAIN)),
        None => table.propose(H + 1, 0, X),
    };
    effects.extend(table.judged(H + 1, X, true));
    // Four of five are a quorum: ours, and three of these four.
    let others: Vec<_> = keys.iter().filter(|key| key.public() != me).collect();
    for kind in [VoteKind::Prevote, VoteKind::Precommit] {
        let refused = table.hear_vote(vote(&left, kind));
        let why = Refusal::NotAValidator(left.public());
        assert_eq!(refused, vec![Effect::Refused { from: left.public(), why }]);
        for (n, key) in others.iter().rev().take(3).enumerate() {
            assert_eq!(decisions(&effects), vec![], "{n} others and we");
            effects.extend(table.hear_vote(vote(key, kind)));
        }
    }
    let [certificate] = decisions(&effects).try_into().expect("a quorum of the new set");
    assert_eq!(certificate.check(&CHAIN, &set), Ok(()));
}

/// What a certificate says is compared whether it is the first that comes or not.
#[test]
fn a_second_certificate_convicts_whoever_signed_both() {
    let mut stage = table();
    let (first, second) = (stage.certificate(&[0, 2, 3], H, 0, X), stage.certificate(&[0, 2, 3], H, 0, Y));
    assert_eq!(accused(&stage.hear(2, Message::Decided(first))), vec![]);
    let first_again = Message::Decided(stage.certificate(&[0, 2, 3], H, 0, X));
    assert_eq!(stage.hear(3, first_again), vec![], "it is written down once");
    let mut named: Vec<_> = accused(&stage.hear(3, Message::Decided(second))).into_iter().map(|(key, _)| key).collect();
    named.sort();
    assert_eq!(named, vec![stage.key(0), stage.key(2), stage.key(3)], "in the order of the set");
}

/// Who comes late and says what somebody else never said must not hide what that one says twice.
#[test]
fn a_forged_late_vote_hides_nobodys_true_ones() {
    let mut stage = table();
    stage.decide(H, X);
    let (liar, forger) = (stage.key(2), stage.key(3));
    for n in 9..12 {
        let vote = stage.prevote(2, H, 1, Some(BlockHash([n; 32])));
        let lie = Message::Vote(SignedVote { signature: Signature([7; 64]), ..vote });
        assert_eq!(accused(&stage.replica.step(Input::Message { from: forger, message: lie })), vec![]);
    }
    assert_eq!(accused(&stage.hear_vote(stage.prevote(2, H, 1, Some(X)))), vec![]);
    assert_eq!(accused(&stage.hear_vote(stage.prevote(2, H, 1, Some(Y)))), vec![(liar, OffenceKind::Prevote)]);
}

/// A late vote is kept before anybody has looked at its signature: it is no half of any evidence, not even against whoever
/// sent it.
#[test]
fn a_forged_late_vote_convicts_not_even_its_sender() {
    let mut stage = table();
    stage.decide(H, X);
    let lie = SignedVote { signature: Signature([7; 64]), ..stage.prevote(2, H, 1, Some(X)) };
    for vote in [lie, stage.prevote(2, H, 1, Some(Y))] {
        assert_eq!(accused(&stage.hear_vote(vote)), vec![], "{vote:?}");
    }
}

/// … nor does it hide what he really said.
#[test]
fn a_forged_late_vote_hides_no_two_true_ones() {
    let mut stage = table();
    stage.decide(H, X);
    let true_one = stage.prevote(2, H, 1, Some(X));
    let [first, second, third] = [7, 8, 9].map(|block| SignedVote {
        signature: Signature([block; 64]),
        ..stage.prevote(2, H, 1, Some(BlockHash([block; 32])))
    });
    let liar = true_one.voter;
    let is_refused = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Refused { .. }));
    assert!(!is_refused(&stage.hear_vote(first)), "nobody looks at the first");
    for vote in [second, third] {
        assert!(is_refused(&stage.hear_vote(vote)), "{vote:?}");
    }
    assert_eq!(accused(&stage.hear_vote(true_one)), vec![]);
    assert_eq!(accused(&stage.hear_vote(stage.prevote(2, H, 1, Some(Y)))), vec![(liar, OffenceKind::Prevote)]);
}

/// Not even by as many of the same as are kept: none is, beside another, that is not true.
#[test]
fn forged_late_votes_for_one_block_hide_no_true_one() {
    let mut stage = table();
    stage.decide(H, X);
    let [for_x, for_y] = [X, Y].map(|block| stage.prevote(2, H, 1, Some(block)));
    for signature in [7, 8, 9] {
        stage.hear_vote(SignedVote { signature: Signature([signature; 64]), ..for_y });
    }
    assert_eq!(accused(&stage.hear_vote(for_y)), vec![]);
    assert_eq!(accused(&stage.hear_vote(for_x)), vec![(for_x.voter, OffenceKind::Prevote)]);
}

/// One validator's late votes of many rounds are not all that is kept.
#[test]
fn late_votes_of_one_validator_leave_room_for_the_others() {
    let mut stage = table();
    stage.decide(H, X);
    for round in 1..6_000 {
        stage.hear_vote(stage.prevote(2, H, round, Some(X)));
    }
    for block in [X, Y] {
        let vote = stage.prevote(3, H, 1, Some(block));
        let expected = if block == X { vec![] } else { vec![(vote.voter, OffenceKind::Prevote)] };
        assert_eq!(accused(&stage.hear_vote(vote)), expected);
    }
}

/// … nor does it close the places that it has taken: what is true in one of them is kept beside what nobody looked at.
#[test]
fn no_room_for_more_rounds_is_room_for_a_true_vote_beside_a_forged_one() {
    let mut stage = table();
    stage.decide(H, X);
    for round in 1..6_000 {
        let vote = stage.prevote(2, H, round, Some(Y));
        stage.hear_vote(SignedVote { signature: Signature([7; 64]), ..vote });
    }
    let [for_x, for_y] = [X, Y].map(|block| stage.prevote(2, H, 1, Some(block)));
    assert_eq!(accused(&stage.hear_vote(for_y)), vec![]);
    assert_eq!(accused(&stage.hear_vote(for_x)), vec![(for_x.voter, OffenceKind::Prevote)]);
}

/// The key of somebody who had no vote in this height proves nothing by signing twice in it.
#[test]
fn late_votes_of_strangers_convict_nobody() {
    let mut stage = table();
    stage.decide(H, X);
    let stranger = secret(77);
    for block in [X, Y] {
        let body = VoteBody { height: H, round: 0, block: Some(block) };
        let vote = SignedVote::sign(VoteKind::Prevote, body, &stranger, &CHAIN);
        assert_eq!(accused(&stage.hear_vote(vote)), vec![]);
    }
}

/// What somebody did is told of once, in its height or when that is decided.
#[test]
fn what_was_told_of_in_its_height_is_not_told_again_when_that_is_decided() {
    let mut stage = table();
    let [for_x, for_y] = [X, Y].map(|block| stage.prevote(3, H, 1, Some(block)));
    stage.hear_vote(for_x);
    assert_eq!(accused(&stage.hear_vote(for_y)), vec![(for_y.voter, OffenceKind::Prevote)]);
    stage.decide(H, X);
    for vote in [for_x, for_y] {
        assert_eq!(accused(&stage.hear_vote(vote)), vec![]);
    }
}

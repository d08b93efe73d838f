//! Accusations: what was found out is kept until it is on the ledger, and no longer, whatever happens meanwhile.

use crate::ledger_sim::cast::{Person, secret};
use crate::stand::{Disk, H, Stand, public};
use crate::table::{X, Y};
use consensus::member::{Action, Alarm};
use consensus::{Evidence, SignedVote, VoteKind};
use ledger::certificate::VoteBody;
use ledger::evidence::{CertifiedHeader, TwoCertificates};
use ledger::id::TransactionId;
use ledger::transaction::Payload;

/// The accusations that wait.
fn waiting(stand: &Stand) -> Vec<TransactionId> {
    stand.member.mempool().candidates().map(|transaction| transaction.id()).collect()
}

/// What is on the disk after these actions, if it changed.
fn on_disk(actions: &[Action]) -> Option<usize> {
    let kept = |action: &Action| if let Action::KeepEvidence(kept) = action { Some(kept.len()) } else { None };
    actions.iter().rev().find_map(kept)
}

#[test]
fn what_is_kept_already_is_not_kept_again() {
    let (stand, others) = Stand::in_a_circle();
    let [one, other] = [X, Y].map(|block| stand.vote(others[1], VoteKind::Prevote, block));
    let disk = Disk { evidence: vec![Evidence::Votes(one, other)], ..Disk::default() };
    let mut again = Stand::again(stand.in_turn(3), disk);
    assert_eq!((again.member.evidence_kept(), waiting(&again).len()), (1, 1), "it is kept since before the restart");
    again.greet(others[1], Some(public(others[1])));
    for block in [X, Y] {
        again.hear_vote(others[1], VoteKind::Prevote, block);
    }
    assert_eq!((again.member.evidence_kept(), waiting(&again).len()), (1, 1));
}

#[test]
fn what_the_ledger_has_recorded_is_kept_no_longer() {
    let (mut stand, others) = Stand::in_a_circle();
    stand.hear_vote(others[1], VoteKind::Prevote, X);
    let actions = stand.hear_vote(others[1], VoteKind::Prevote, Y);
    assert_eq!((stand.member.evidence_kept(), on_disk(&actions)), (1, Some(1)));
    let accusations = stand.member.mempool().candidates().collect();
    let actions = stand.finalise(accusations);
    assert_eq!((stand.member.evidence_kept(), on_disk(&actions)), (0, Some(0)), "neither here nor after a restart");
    assert_eq!(waiting(&stand), vec![]);
}

/// Blocks pass and none of them has it, until it expires: it was lost on its way, or nobody had room for it.
#[test]
fn an_accusation_that_was_lost_is_signed_again() {
    let (mut stand, others) = Stand::in_a_circle();
    for block in [X, Y] {
        stand.hear_vote(others[1], VoteKind::Prevote, block);
    }
    let [first] = waiting(&stand).try_into().unwrap();
    stand.now.wall_ms += 61 * 60 * 1_000;
    for _ in 0..3 {
        stand.finalise(Vec::new());
    }
    let [second] = waiting(&stand).try_into().expect("one waits, and no more");
    assert_ne!(first, second);
    assert_eq!(stand.member.evidence_kept(), 1);
}

/// One of them is convicted already, because of two votes; of the others nobody knows but from this.
#[test]
fn evidence_against_several_is_kept_until_all_of_them_are_convicted() {
    let (stand, others) = Stand::in_a_circle();
    let certified = |time_ms: u64| {
        let header = stand.block(others[0], time_ms).block.header;
        CertifiedHeader { certificate: stand.certificate(&others, header.hash()), header }
    };
    let [one, other] = [0, 1].map(|ms| certified(stand.now.wall_ms - ms));
    let validators = stand.cast.set().clone();
    let two = Evidence::Certificates(Box::new(TwoCertificates { validators, one, other }));
    assert_eq!(two.check(&stand.cast.chain_id()).unwrap().keys.len(), 3);
    let votes = [X, Y].map(|block| stand.vote(others[1], VoteKind::Precommit, block));
    let accuse = Payload::Accuse { evidence: Evidence::Votes(votes[0], votes[1]) };

    let disk = Disk { evidence: vec![two], ..Disk::default() };
    let mut again = Stand::again(stand.in_turn(3), disk);
    assert_eq!(again.member.evidence_kept(), 1);
    let accusation = again.sign(&others[2].node, accuse);
    again.finalise(vec![accusation]);
    assert_eq!((again.vault.look().height(), again.member.evidence_kept()), (H, 1));
    let rest = again.member.mempool().candidates().collect();
    again.finalise(rest);
    assert_eq!(again.member.evidence_kept(), 0);
}

/// Who is known for two things already shields nobody: the same evidence may be all there is against its accomplices.
#[test]
fn evidence_against_one_of_whom_enough_is_kept_and_others_is_kept() {
    let (stand, others) = Stand::in_a_circle();
    let two_votes = |kind| {
        let [one, other] = [X, Y].map(|block| stand.vote(others[1], kind, block));
        Evidence::Votes(one, other)
    };
    let certified = |time_ms: u64, signers: &[&Person]| {
        let header = stand.block(others[0], time_ms).block.header;
        CertifiedHeader { certificate: stand.certificate(signers, header.hash()), header }
    };
    let validators = stand.cast.set().clone();
    let (one, other) = (certified(stand.now.wall_ms, &others), certified(stand.now.wall_ms - 1, &others));
    let of_all = Evidence::Certificates(Box::new(TwoCertificates { validators, one, other }));
    let known = [VoteKind::Prevote, VoteKind::Precommit].map(two_votes);
    let kept = |evidence: Vec<Evidence>| {
        Stand::again(stand.in_turn(3), Disk { evidence, ..Disk::default() }).member.evidence_kept()
    };
    assert_eq!(kept(known.to_vec()), 2);
    let third = {
        let sign = |block| {
            let body = VoteBody { height: H, round: 1, block: Some(block) };
            SignedVote::sign(VoteKind::Prevote, body, others[1].validator.as_ref().unwrap(), &stand.cast.chain_id())
        };
        Evidence::Votes(sign(X), sign(Y))
    };
    assert_eq!(kept(known.iter().cloned().chain([third]).collect()), 2, "of one alone there is enough");
    assert_eq!(kept(known.into_iter().chain([of_all]).collect()), 3);
}

/// Or else it would sign one accusation after another, and each would have expired when it was signed.
#[test]
fn whose_clock_is_an_hour_behind_gets_its_accusation_onto_the_ledger() {
    let (mut stand, others) = Stand::in_a_circle();
    stand.behind_ms = 61 * 60 * 1_000;
    for block in [X, Y] {
        stand.hear_vote(others[1], VoteKind::Prevote, block);
    }
    let accusations: Vec<_> = stand.member.mempool().candidates().collect();
    assert_eq!((stand.member.evidence_kept(), accusations.len()), (1, 1));
    stand.finalise(accusations);
    assert_eq!(stand.member.evidence_kept(), 0);
}

/// On a ledger where nothing else happens it does not wait for a heartbeat.
#[test]
fn a_block_is_begun_for_an_accusation() {
    let (mut stand, others) = Stand::in_a_circle();
    stand.hear_vote(others[1], VoteKind::Prevote, X);
    stand.finalise_without(public(stand.in_turn(3)), Vec::new());
    let actions = stand.hear_vote(others[1], VoteKind::Prevote, Y);
    assert_eq!(waiting(&stand).len(), 1);
    let begins = |a: &Action| matches!(a, Action::Cancel(Alarm::NextHeight { height }) if *height == H + 1);
    assert!(actions.iter().any(begins), "{actions:?}");
}

/// Its node is no member's yet, or it has no right to accuse: it keeps what it has until somebody may bring it in.
#[test]
fn evidence_that_cannot_be_brought_in_yet_is_kept() {
    let (stand, others) = Stand::in_a_circle();
    let [one, other] = [X, Y].map(|block| stand.vote(others[1], VoteKind::Prevote, block));
    let disk = Disk { evidence: vec![Evidence::Votes(one, other)], ..Disk::default() };
    let stranger = Person { node: secret("a key to come"), validator: None };
    let mut again = Stand::again(&stranger, disk);
    for _ in 0..3 {
        assert_eq!((again.member.evidence_kept(), waiting(&again).len()), (1, 0));
        again.finalise(Vec::new());
    }
}

/// Of one key the ledger wants few offences, and not only the first.
#[test]
fn another_offence_of_who_is_convicted_already_is_kept_until_it_is_recorded_too() {
    let (mut stand, others) = Stand::in_a_circle();
    for (kind, block) in
        [(VoteKind::Prevote, X), (VoteKind::Prevote, Y), (VoteKind::Precommit, X), (VoteKind::Precommit, Y)]
    {
        stand.hear_vote(others[1], kind, block);
    }
    for left in [2, 1, 0] {
        assert_eq!((stand.member.evidence_kept(), waiting(&stand).len()), (left, left));
        let accusation = stand.member.mempool().candidates().take(1).collect();
        stand.finalise_without(public(stand.in_turn(3)), accusation);
    }
}

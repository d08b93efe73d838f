use super::*;
use crate::message::ProposalBody;
use ledger::certificate::VoteBody;
use ledger::encoding::{decode, encode};
use ledger::id::ChainId;
use ledger::key::{SecretKey, Signature};

const X: BlockHash = BlockHash([1; 32]);
const Y: BlockHash = BlockHash([2; 32]);

fn vote(kind: VoteKind, height: u64, round: u32, block: Option<BlockHash>) -> Signed {
    let key = SecretKey::from_seed(&[1; 32]);
    Signed::Vote(SignedVote::sign(kind, VoteBody { height, round, block }, &key, &ChainId([7; 32])))
}

fn proposal(height: u64, round: u32, block: BlockHash) -> Signed {
    let key = SecretKey::from_seed(&[1; 32]);
    let body = ProposalBody { height, round, pol_round: None, block };
    Signed::Proposal(SignedProposal::sign(body, &key, &ChainId([7; 32])))
}

/// What the guard says to signing this, without looking at the signature.
fn ask(guard: &SigningGuard, wanted: Signed) -> Answer {
    guard.ask(wanted.height(), wanted.round(), wanted.kind(), |known| *known == wanted)
}

fn guard_of(signed: &[Signed]) -> SigningGuard {
    let mut guard = SigningGuard::default();
    for signed in signed {
        guard.record(*signed, None);
    }
    guard
}

#[test]
fn one_message_for_each_height_round_and_kind() {
    let prevote = vote(VoteKind::Prevote, 5, 2, Some(X));
    let guard = guard_of(&[prevote]);
    for (wanted, answer) in [
        (prevote, Answer::Again(prevote)),
        (vote(VoteKind::Prevote, 5, 2, Some(Y)), Answer::Conflict(prevote)),
        (vote(VoteKind::Prevote, 5, 2, None), Answer::Conflict(prevote)),
        (vote(VoteKind::Precommit, 5, 2, None), Answer::Sign),
        (vote(VoteKind::Prevote, 5, 3, Some(Y)), Answer::Sign),
        (vote(VoteKind::Prevote, 6, 0, Some(Y)), Answer::Sign),
    ] {
        assert_eq!(ask(&guard, wanted), answer, "{wanted:?}");
    }
}

#[test]
fn nothing_new_for_what_has_been_left() {
    let guard = guard_of(&[vote(VoteKind::Precommit, 5, 2, None)]);
    for (wanted, answer) in [
        (vote(VoteKind::Prevote, 4, 9, None), Answer::Backwards),
        (vote(VoteKind::Precommit, 5, 1, None), Answer::Backwards),
        (proposal(5, 0, X), Answer::Backwards),
        // A record of this round may have been torn: what was never sent may be signed now.
        (vote(VoteKind::Prevote, 5, 2, Some(X)), Answer::Sign),
        (proposal(5, 2, X), Answer::Sign),
    ] {
        assert_eq!(ask(&guard, wanted), answer, "{wanted:?}");
    }
}

#[test]
fn what_was_written_is_known_after_a_restart() {
    let mut guard = SigningGuard::default();
    let signed = [proposal(5, 0, X), vote(VoteKind::Prevote, 5, 0, Some(X)), vote(VoteKind::Precommit, 5, 0, Some(X))];
    let mut file: Vec<GuardRecord> = signed.iter().map(|signed| guard.record(*signed, None)).collect();
    file.push(GuardRecord { slot: 9, signed: vote(VoteKind::Prevote, 4, 7, Some(Y)), binding: None });
    let again = SigningGuard::new(file);
    for signed in signed {
        assert_eq!(ask(&again, signed), Answer::Again(signed));
    }
    assert_eq!(again.messages(5).count(), 3, "the height before is decided, and of no use");
    assert_eq!(again.bound_to(5), Some((0, X)));
    assert_eq!(again.bound_to(6), None);
}

#[test]
fn what_the_file_still_has_of_lower_heights_is_of_no_use() {
    let of_before = vote(VoteKind::Prevote, 4, 7, Some(Y));
    let file = [of_before, proposal(5, 0, X)].into_iter().zip(0..);
    let guard = SigningGuard::new(file.map(|(signed, slot)| GuardRecord { slot, signed, binding: None }).collect());
    assert_eq!(ask(&guard, vote(VoteKind::Prevote, 5, 0, Some(X))), Answer::Sign, "its rounds are no rounds of ours");
    assert_eq!(ask(&guard, vote(VoteKind::Prevote, 5, 7, None)), Answer::Sign);
    assert_eq!((guard.messages(4).count(), guard.messages(6).count()), (0, 0));
    assert!(guard.proposal(5, 0).is_some());
    assert_eq!(guard.proposal(6, 0), None, "what was proposed in one height is not said again in the next");
}

#[test]
fn the_last_precommit_for_a_block_binds() {
    let precommit = |round, block| vote(VoteKind::Precommit, 5, round, block);
    let mut guard = guard_of(&[precommit(0, Some(X)), precommit(1, Some(Y)), precommit(2, None)]);
    assert_eq!(guard.bound_to(5), Some((1, Y)));
    // Both leave the rounds that are kept at once.
    guard.record(vote(VoteKind::Prevote, 5, 40, None), None);
    assert_eq!(guard.bound_to(5), Some((1, Y)));
    guard.record(vote(VoteKind::Prevote, 5, 41, Some(X)), None);
    assert_eq!(guard.bound_to(5), Some((1, Y)), "a prevote does not bind");
    assert_eq!(guard.messages(5).next(), Some(precommit(1, Some(Y))), "and it is said again, however old");
}

#[test]
fn a_new_height_frees_every_slot_and_goes_on_behind_the_last_one() {
    let mut guard = guard_of(&[proposal(5, 0, X), vote(VoteKind::Precommit, 5, 0, Some(X))]);
    guard.start_height(6);
    assert_eq!(guard.messages(5).count() + guard.messages(6).count(), 0);
    assert_eq!(guard.record(proposal(6, 0, Y), None).slot, 2);
    guard.start_height(5);
    assert_eq!(ask(&guard, proposal(5, 1, Y)), Answer::Backwards, "going back does not make it forget");
}

#[test]
fn the_precommit_that_binds_is_kept_however_many_rounds_pass() {
    let mut guard = SigningGuard::default();
    let bound = guard.record(vote(VoteKind::Precommit, 5, 1, Some(X)), None);
    let mut file = vec![bound.clone()];
    for round in 2..300 {
        for signed in
            [proposal(5, round, Y), vote(VoteKind::Prevote, 5, round, None), vote(VoteKind::Precommit, 5, round, None)]
        {
            let record = guard.record(signed, None);
            assert!(record.slot < GuardRecord::SLOTS);
            assert_ne!(record.slot, bound.slot, "never written over, or a torn write would set us free");
            file.retain(|old| old.slot != record.slot);
            file.push(record);
        }
    }
    assert_eq!(guard.bound_to(5), Some((1, X)));
    assert_eq!(SigningGuard::new(file).bound_to(5), Some((1, X)), "and after a restart");
}

#[test]
fn a_slot_in_use_is_never_written_over() {
    let mut guard = SigningGuard::default();
    let mut file: BTreeMap<u32, GuardRecord> = BTreeMap::new();
    for round in 0..100 {
        for signed in [
            proposal(5, round, X),
            vote(VoteKind::Prevote, 5, round, Some(X)),
            vote(VoteKind::Precommit, 5, round, Some(X)),
        ] {
            let live: Vec<u32> = guard.records.values().chain(&guard.bound).map(|record| record.slot).collect();
            let record = guard.record(signed, None);
            assert!(!live.contains(&record.slot), "round {round}");
            file.insert(record.slot, record);
        }
    }
    let again = SigningGuard::new(file.into_values().collect());
    for record in guard.records.values() {
        assert_eq!(ask(&again, record.signed), Answer::Again(record.signed));
    }
    assert_eq!(again.bound, guard.bound);
}

/// Several records may share a sync, and be torn together: what the chain may show by then must not be among them.
#[test]
fn a_torn_write_of_a_height_harms_nothing_of_the_height_before_however_often_it_starts_again() {
    let mut guard = SigningGuard::default();
    let mut file: BTreeMap<u32, GuardRecord> = BTreeMap::new();
    for height in 1..60 {
        let rounds = if height % 7 == 0 { 40 } else { 1 };
        for round in 0..rounds {
            let before = file.clone();
            for signed in [
                proposal(height, round, X),
                vote(VoteKind::Prevote, height, round, Some(X)),
                vote(VoteKind::Precommit, height, round, Some(X)),
            ] {
                let record = guard.record(signed, None);
                file.insert(record.slot, record);
            }
            // The three are torn, all of them.
            let torn: Vec<_> = before.into_values().filter(|old| file.get(&old.slot) == Some(old)).collect();
            if round == 0 && height > 1 {
                let again = SigningGuard::new(torn);
                let last = if (height - 1) % 7 == 0 { 39 } else { 0 };
                let precommit = vote(VoteKind::Precommit, height - 1, last, Some(X));
                assert_eq!(ask(&again, precommit), Answer::Again(precommit), "height {height}");
            }
        }
        guard = SigningGuard::new(file.values().cloned().collect());
    }
}

#[test]
fn whatever_a_file_says_of_its_slots_the_next_is_one_of_them() {
    for slot in [GuardRecord::SLOTS - 1, GuardRecord::SLOTS, u32::MAX] {
        let record = GuardRecord { slot, signed: proposal(5, 0, X), binding: None };
        assert!(SigningGuard::new(vec![record]).record(proposal(5, 1, X), None).slot < GuardRecord::SLOTS);
    }
}

#[test]
fn rounds_no_longer_kept_are_refused_rather_than_signed_again() {
    let guard = guard_of(&(0..40).map(|round| vote(VoteKind::Prevote, 5, round, Some(X))).collect::<Vec<_>>());
    assert_eq!(ask(&guard, vote(VoteKind::Prevote, 5, 0, Some(Y))), Answer::Backwards);
    assert_eq!(
        ask(&guard, vote(VoteKind::Prevote, 5, 39, Some(Y))),
        Answer::Conflict(vote(VoteKind::Prevote, 5, 39, Some(X)))
    );
}

#[test]
fn the_largest_record_fits_its_slot() {
    let signature = Signature([0xff; 64]);
    let voters = vec![(PublicKey([0xff; 32]), signature); ledger::limits::VALIDATORS_MAX];
    let body = ProposalBody { height: u64::MAX, round: u32::MAX, pol_round: Some(u32::MAX), block: X };
    let polka =
        Polka { height: u64::MAX, round: u32::MAX, block: X, prevotes: ledger::bounded::List::new(voters).unwrap() };
    let record = GuardRecord {
        slot: GuardRecord::SLOTS,
        signed: vote(VoteKind::Precommit, u64::MAX, u32::MAX, Some(X)),
        binding: Some(Binding { proposal: SignedProposal { body, proposer: PublicKey([0xff; 32]), signature }, polka }),
    };
    let bytes = encode(&record);
    assert!(bytes.len() <= GuardRecord::BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(decode::<GuardRecord>(&bytes).as_ref(), Ok(&record));
}

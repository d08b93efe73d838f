//! What a guard knows of the words of a key, and which certificates show more.

use crate::ledger_sim::cast::Cast;
use crate::stand::public;
use consensus::member::OwnWords;
use consensus::{GuardRecord, Signed, SignedVote, VoteKind};
use ledger::certificate::{Certificate, VoteBody};
use ledger::id::BlockHash;

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

//! The votes of one height whose signatures have been verified. Each is verified once, however often
//! and inside whatever it comes.

use crate::message::{SignedVote, VoteKind};
use ledger::certificate::VoteBody;
use ledger::id::BlockHash;
use ledger::key::{PublicKey, Signature};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Different votes of one validator in one round that are looked at. Two are evidence; a third teaches
/// nothing.
pub(crate) const VARIANTS_MAX: usize = 3;
/// … and one more, that a quorum cast together: of whatever one of them said before, that vote counts. As long as less than
/// a third lies there is one such block in a round.
pub(crate) const VARIANTS_WITH_QUORUM_MAX: usize = VARIANTS_MAX + 1;
/// Rounds kept, counted back from the current one.
pub(crate) const ROUNDS_KEPT: u32 = 256;

type Place = (u32, VoteKind, PublicKey);

#[derive(Clone, Debug, Default)]
pub(crate) struct Ballots {
    votes: BTreeMap<Place, Vec<(Option<BlockHash>, Signature)>>,
}

fn place(vote: &SignedVote) -> Place {
    (vote.body.round, vote.kind, vote.voter)
}

impl Ballots {
    /// Whether exactly this vote, with exactly this signature, has been verified.
    pub(crate) fn contains(&self, vote: &SignedVote) -> bool {
        self.votes.get(&place(vote)).is_some_and(|variants| variants.contains(&(vote.body.block, vote.signature)))
    }

    /// Whether a vote says something that this validator has not said yet, and may still say.
    pub(crate) fn is_news(&self, vote: &SignedVote) -> bool {
        self.votes.get(&place(vote)).is_none_or(|variants| {
            variants.len() < VARIANTS_MAX && variants.iter().all(|(block, _)| *block != vote.body.block)
        })
    }

    /// A vote that this one contradicts: of the same validator, in the same place, for something else.
    pub(crate) fn contradicted_by(&self, vote: &SignedVote) -> Option<SignedVote> {
        self.all_contradicted_by(vote).next()
    }

    /// All of them.
    pub(crate) fn all_contradicted_by(&self, vote: &SignedVote) -> impl Iterator<Item = SignedVote> + use<> {
        let vote = *vote;
        let variants = self.votes.get(&place(&vote)).cloned().unwrap_or_default();
        let others = variants.into_iter().filter(move |(block, _)| *block != vote.body.block);
        others.map(move |(block, signature)| SignedVote { body: VoteBody { block, ..vote.body }, signature, ..vote })
    }

    /// Forgets a vote.
    pub(crate) fn forget(&mut self, vote: &SignedVote) {
        if let Some(variants) = self.votes.get_mut(&place(vote)) {
            variants.retain(|known| *known != (vote.body.block, vote.signature));
            if variants.is_empty() {
                self.votes.remove(&place(vote));
            }
        }
    }

    /// Whether anything is known of this validator in this place.
    pub(crate) fn has_place_of(&self, vote: &SignedVote) -> bool {
        self.votes.contains_key(&place(vote))
    }

    /// In how many places something is known of a validator.
    pub(crate) fn places_of(&self, voter: &PublicKey) -> usize {
        self.votes.keys().filter(|(_, _, of)| of == voter).count()
    }

    /// How many votes there are, in so many places.
    pub(crate) fn len(&self) -> usize {
        self.votes.len()
    }

    /// How many votes there are, each with all that was said in its place.
    pub(crate) fn variants(&self) -> usize {
        self.votes.values().map(Vec::len).sum()
    }

    /// Remembers a verified vote.
    pub(crate) fn insert(&mut self, vote: &SignedVote) {
        self.insert_among(vote, VARIANTS_MAX);
    }

    /// Remembers a verified vote that a quorum cast.
    pub(crate) fn insert_of_quorum(&mut self, vote: &SignedVote) {
        self.insert_among(vote, VARIANTS_WITH_QUORUM_MAX);
    }

    fn insert_among(&mut self, vote: &SignedVote, most: usize) {
        let variants = self.votes.entry(place(vote)).or_default();
        let variant = (vote.body.block, vote.signature);
        if variants.len() < most && !variants.contains(&variant) {
            variants.push(variant);
        }
    }

    /// Everybody who voted for a block in a round.
    pub(crate) fn voters(&self, round: u32, block: BlockHash) -> BTreeSet<PublicKey> {
        self.of_round(round)
            .filter(|(_, votes)| votes.iter().any(|(voted, _)| *voted == Some(block)))
            .map(|((_, _, voter), _)| *voter)
            .collect()
    }

    /// Everybody who voted for any block in a round, with that block.
    pub(crate) fn named_in(&self, round: u32) -> impl Iterator<Item = (PublicKey, BlockHash)> {
        self.of_round(round)
            .flat_map(|((_, _, voter), votes)| votes.iter().filter_map(|(block, _)| block.map(|b| (*voter, b))))
    }

    /// How many validators cast this vote.
    pub(crate) fn count(&self, round: u32, kind: VoteKind, block: BlockHash) -> usize {
        self.of_round(round)
            .filter(|((_, voted_kind, _), votes)| {
                *voted_kind == kind && votes.iter().any(|(voted, _)| *voted == Some(block))
            })
            .count()
    }

    /// How many validators precommitted nothing.
    pub(crate) fn nil_precommits(&self, round: u32) -> usize {
        let precommits = self.of_round(round).filter(|((_, kind, _), _)| *kind == VoteKind::Precommit);
        precommits.filter(|(_, votes)| votes.iter().any(|(voted, _)| voted.is_none())).count()
    }

    /// Everybody who cast this vote, with the signatures.
    pub(crate) fn signers(&self, round: u32, kind: VoteKind, block: BlockHash) -> Vec<(PublicKey, Signature)> {
        let of_kind = self.of_round(round).filter(|((_, voted_kind, _), _)| *voted_kind == kind);
        let signed = |((_, _, voter), votes): (&Place, &Vec<(Option<BlockHash>, Signature)>)| {
            votes.iter().find(|(voted, _)| *voted == Some(block)).map(|(_, signature)| (*voter, *signature))
        };
        of_kind.filter_map(signed).collect()
    }

    /// Whether at least `quorum` validators prevoted for a block in one of these rounds.
    pub(crate) fn has_polka(&self, rounds: Range<u32>, block: BlockHash, quorum: usize) -> bool {
        let mut seen: Vec<u32> = self
            .votes
            .range((rounds.start, VoteKind::Prevote, PublicKey([0; 32]))..)
            .map(|((round, ..), _)| *round)
            .take_while(|round| *round < rounds.end)
            .collect();
        seen.dedup();
        seen.into_iter().any(|round| self.count(round, VoteKind::Prevote, block) >= quorum)
    }

    /// Rounds with votes in them.
    pub(crate) fn rounds(&self) -> Vec<u32> {
        let mut rounds: Vec<u32> = self.votes.keys().map(|(round, ..)| *round).collect();
        rounds.dedup();
        rounds
    }

    pub(crate) fn forget_before(&mut self, round: u32) {
        self.votes = self.votes.split_off(&(round, VoteKind::Prevote, PublicKey([0; 32])));
    }

    /// Who voted when, and how: for telling a repeated vote from a late one.
    pub(crate) fn cast(&self) -> impl Iterator<Item = (u32, VoteKind, PublicKey)> {
        self.votes.keys().copied()
    }

    fn of_round(&self, round: u32) -> impl Iterator<Item = (&Place, &Vec<(Option<BlockHash>, Signature)>)> {
        let first = (round, VoteKind::Prevote, PublicKey([0; 32]));
        let last = (round, VoteKind::Precommit, PublicKey([0xff; 32]));
        self.votes.range(first..=last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: BlockHash = BlockHash([1; 32]);
    const Y: BlockHash = BlockHash([2; 32]);

    /// A vote of voter `n`. Signatures are not looked at here.
    fn prevote(n: u8, round: u32, block: Option<BlockHash>) -> SignedVote {
        let body = VoteBody { height: 5, round, block };
        SignedVote { kind: VoteKind::Prevote, body, voter: PublicKey([n; 32]), signature: Signature([n; 64]) }
    }

    fn ballots(votes: &[SignedVote]) -> Ballots {
        let mut ballots = Ballots::default();
        votes.iter().for_each(|vote| ballots.insert(vote));
        ballots
    }

    #[test]
    fn a_vote_counts_as_verified_with_exactly_its_signature() {
        let vote = prevote(1, 0, Some(X));
        let ballots = ballots(&[vote]);
        assert!(ballots.contains(&vote));
        assert!(!ballots.contains(&SignedVote { signature: Signature([9; 64]), ..vote }));
        assert!(!ballots.contains(&SignedVote { kind: VoteKind::Precommit, ..vote }));
        assert!(!ballots.contains(&prevote(1, 1, Some(X))));
    }

    #[test]
    fn a_second_vote_is_news_and_a_fourth_is_not() {
        let vote = |n: u8| prevote(1, 0, Some(BlockHash([n; 32])));
        assert!(!ballots(&[vote(1)]).is_news(&vote(1)));
        assert!(ballots(&[vote(1)]).is_news(&vote(2)));
        assert!(!ballots(&[vote(1), vote(2), vote(3)]).is_news(&vote(4)));
    }

    #[test]
    fn voters_are_counted_once_each() {
        let ballots =
            ballots(&[prevote(1, 0, Some(X)), prevote(1, 0, Some(Y)), prevote(2, 0, Some(X)), prevote(3, 1, Some(X))]);
        assert_eq!(ballots.count(0, VoteKind::Prevote, X), 2);
        assert_eq!(ballots.count(0, VoteKind::Prevote, Y), 1);
        assert_eq!(ballots.count(0, VoteKind::Precommit, X), 0);
        assert_eq!(ballots.signers(0, VoteKind::Prevote, X).len(), 2);
        assert_eq!(ballots.rounds(), vec![0, 1]);
    }

    /// Who votes for a block twice, in both kinds, is still one.
    #[test]
    fn voters_of_both_kinds_are_counted_once() {
        let precommit = |key| SignedVote { kind: VoteKind::Precommit, ..prevote(key, 0, Some(X)) };
        let ballots = ballots(&[prevote(1, 0, Some(X)), precommit(1), precommit(2)]);
        assert_eq!(ballots.voters(0, X).len(), 2);
    }

    #[test]
    fn a_polka_is_a_quorum_in_one_round_of_the_range() {
        let in_one = ballots(&[prevote(1, 3, Some(X)), prevote(2, 3, Some(X)), prevote(3, 3, Some(X))]);
        assert!(in_one.has_polka(1..4, X, 3));
        assert!(!in_one.has_polka(1..3, X, 3), "the last round of a range is not in it");
        assert!(!in_one.has_polka(4..9, X, 3));
        assert!(!in_one.has_polka(1..4, Y, 3));
        let over_two = ballots(&[prevote(1, 3, Some(X)), prevote(2, 3, Some(X)), prevote(3, 2, Some(X))]);
        assert!(!over_two.has_polka(1..4, X, 3));
    }

    #[test]
    fn rounds_long_past_are_forgotten() {
        let mut ballots = ballots(&[prevote(1, 3, Some(X)), prevote(1, 4, Some(X))]);
        ballots.forget_before(4);
        assert_eq!(ballots.rounds(), vec![4]);
    }
}

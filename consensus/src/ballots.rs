//! The votes of one height whose signatures have been verified. Each is verified once, however often
//! and inside whatever it comes.

use crate::message::{SignedVote, VoteKind};
use ledger::id::BlockHash;
use ledger::key::{PublicKey, Signature};
use std::collections::BTreeMap;
use std::ops::Range;

/// Different votes of one validator in one round that are looked at. Two are evidence; a third teaches
/// nothing.
const VARIANTS_MAX: usize = 3;
/// Rounds kept, counted back from the current one.
pub(crate) const ROUNDS_KEPT: u32 = 256;

type Place = (u32, VoteKind, PublicKey);

#[derive(Debug, Default)]
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

    /// Remembers a verified vote.
    pub(crate) fn insert(&mut self, vote: &SignedVote) {
        let variants = self.votes.entry(place(vote)).or_default();
        let variant = (vote.body.block, vote.signature);
        if variants.len() < VARIANTS_MAX && !variants.contains(&variant) {
            variants.push(variant);
        }
    }

    /// Everybody who voted for a block in a round.
    pub(crate) fn voters(&self, round: u32, block: BlockHash) -> impl Iterator<Item = PublicKey> {
        self.of_round(round)
            .filter(move |(_, votes)| votes.iter().any(|(voted, _)| *voted == Some(block)))
            .map(|((_, _, voter), _)| *voter)
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

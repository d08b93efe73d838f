//! What replicas say to each other. Every vote and proposal is signed by itself, so it does not
//! matter who passes it on.

use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::{Canonical, Limit};
use ledger::id::BlockHash;
use ledger::key::{PublicKey, Signature};
use ledger::limits::VALIDATORS_MAX;
use ledger::validators::ValidatorSet;
pub use ledger::vote::{ProposalBody, SignedProposal, SignedVote, VoteKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A quorum's prevotes for one block in one round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polka {
    /// Height voted on.
    pub height: u64,
    /// Round of the prevotes.
    pub round: u32,
    /// The block they are for.
    pub block: BlockHash,
    /// Who prevoted, with the signatures.
    pub prevotes: List<(PublicKey, Signature), VALIDATORS_MAX>,
}

impl Polka {
    /// The prevotes it is made of, one by one.
    pub fn votes(&self) -> impl Iterator<Item = SignedVote> {
        let body = VoteBody { height: self.height, round: self.round, block: Some(self.block) };
        self.prevotes.iter().map(move |(voter, signature)| SignedVote {
            kind: VoteKind::Prevote,
            body,
            voter: *voter,
            signature: *signature,
        })
    }
}

/// Why a replica may leave the round it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkipReason {
    /// More than a third voted in a later round: go there.
    Ahead,
    /// A quorum precommitted in this round, for whatever: it is over.
    Over,
}

/// One vote inside a [`Skip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundVote {
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// The block or none.
    pub block: Option<BlockHash>,
    /// The voter.
    pub voter: PublicKey,
    /// Its signature.
    pub signature: Signature,
}

/// Proof that a round may be left or entered: votes of one round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// Height voted on.
    pub height: u64,
    /// Round of the votes.
    pub round: u32,
    /// What they prove.
    pub reason: SkipReason,
    /// The votes.
    pub votes: List<RoundVote, VALIDATORS_MAX>,
}

impl Skip {
    /// The votes it is made of, one by one.
    pub fn votes(&self) -> impl Iterator<Item = SignedVote> {
        let (height, round) = (self.height, self.round);
        self.votes.iter().map(move |vote| SignedVote {
            kind: vote.kind,
            body: VoteBody { height, round, block: vote.block },
            voter: vote.voter,
            signature: vote.signature,
        })
    }
}

/// Everything replicas say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A vote.
    Vote(SignedVote),
    /// A proposal. The body of the block travels beside it, outside of this room.
    Proposal(SignedProposal),
    /// Proof that a block found a quorum of prevotes, for those who missed them.
    Polka(Polka),
    /// Proof that a round may be left, for those who are behind.
    Skip(Skip),
    /// "You voted on a proposal I have not seen: send it to me."
    WantProposal {
        /// Height of the proposal.
        height: u64,
        /// Round of the proposal.
        round: u32,
    },
    /// "This height is decided": the answer to somebody who still votes in it.
    Decided(Certificate),
}

impl Canonical for Message {
    const NAME: &'static str = "consensus message";
    const LIMIT: Limit = Limit::Message;
}

impl Message {
    /// The votes in it, as far as they are of these validators, one of each kind from each; nothing is verified. All of
    /// a message are of one round: who honestly passes votes on says nothing twice.
    pub(crate) fn votes(&self, validators: &ValidatorSet) -> Vec<SignedVote> {
        let mut votes = match self {
            Self::Vote(vote) => vec![*vote],
            Self::Polka(polka) => polka.votes().collect(),
            Self::Skip(skip) => skip.votes().collect(),
            Self::Decided(certificate) => {
                let Certificate { height, round, block, .. } = *certificate;
                let body = VoteBody { height, round, block: Some(block) };
                let signers = certificate.signers(validators).unwrap_or_default().into_iter();
                let vote = |(voter, signature)| SignedVote { kind: VoteKind::Precommit, body, voter, signature };
                signers.map(vote).collect()
            }
            Self::Proposal(_) | Self::WantProposal { .. } => Vec::new(),
        };
        let mut seen = BTreeSet::new();
        votes.retain(|vote| validators.position(&vote.voter).is_some() && seen.insert((vote.kind, vote.voter)));
        votes
    }

    /// The height it speaks about.
    #[must_use]
    pub fn height(&self) -> u64 {
        match self {
            Self::Vote(vote) => vote.body.height,
            Self::Proposal(proposal) => proposal.body.height,
            Self::Polka(polka) => polka.height,
            Self::Skip(skip) => skip.height,
            Self::WantProposal { height, .. } => *height,
            Self::Decided(certificate) => certificate.height,
        }
    }
}

//! What replicas say to each other. Every vote and proposal is signed by itself, so it does not
//! matter who passes it on.

use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::{Canonical, Limit, encode};
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, Purpose, SecretKey, Signature, SignatureError};
use ledger::limits::VALIDATORS_MAX;
use serde::{Deserialize, Serialize};

/// One of the two votes a validator casts in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VoteKind {
    /// "This block is good", or none is.
    Prevote,
    /// "A quorum finds this block good; I am bound to it", or none is.
    Precommit,
}

impl VoteKind {
    /// What the signature under such a vote is for.
    #[must_use]
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::Prevote => Purpose::Prevote,
            Self::Precommit => Purpose::Precommit,
        }
    }
}

/// A vote with its signature. The voter is not in the signed bytes, so precommits assemble into a
/// certificate as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedVote {
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// Height, round, and the block or none.
    pub body: VoteBody,
    /// The validating key of the voter.
    pub voter: PublicKey,
    /// Over `body.bytes()`, for the purpose of `kind`.
    pub signature: Signature,
}

impl SignedVote {
    /// Signs a vote.
    #[must_use]
    pub fn sign(kind: VoteKind, body: VoteBody, key: &SecretKey, chain: &ChainId) -> Self {
        let signature = key.sign(kind.purpose(), chain, &body.bytes());
        Self { kind, body, voter: key.public(), signature }
    }

    /// Checks the signature, and nothing else.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, chain: &ChainId) -> Result<(), SignatureError> {
        self.voter.verify(self.kind.purpose(), chain, &self.body.bytes(), &self.signature)
    }

    /// Whether both are votes of one key, of one kind, in one round, for different things.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.voter == other.voter
            && self.kind == other.kind
            && self.body.height == other.body.height
            && self.body.round == other.body.round
            && self.body.block != other.body.block
    }
}

/// What a proposer signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProposalBody {
    /// Height of the block.
    pub height: u64,
    /// Round in which it is proposed.
    pub round: u32,
    /// The earlier round in which a quorum prevoted for it, when it is proposed again.
    pub pol_round: Option<u32>,
    /// The block.
    pub block: BlockHash,
}

impl ProposalBody {
    /// The bytes under the signature, after tag and chain id.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        encode(self)
    }
}

/// A proposal with its signature. Only the hash of the block is ordered; bodies travel beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedProposal {
    /// Height, round and block.
    pub body: ProposalBody,
    /// The validating key of the proposer.
    pub proposer: PublicKey,
    /// Over `body.bytes()`, for [`Purpose::Proposal`].
    pub signature: Signature,
}

impl SignedProposal {
    /// Signs a proposal.
    #[must_use]
    pub fn sign(body: ProposalBody, key: &SecretKey, chain: &ChainId) -> Self {
        Self { body, proposer: key.public(), signature: key.sign(Purpose::Proposal, chain, &body.bytes()) }
    }

    /// Checks the signature, and nothing else.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, chain: &ChainId) -> Result<(), SignatureError> {
        self.proposer.verify(Purpose::Proposal, chain, &self.body.bytes(), &self.signature)
    }

    /// Whether both are proposals of one key in one round for different things.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.proposer == other.proposer
            && self.body.height == other.body.height
            && self.body.round == other.body.round
            && self.body != other.body
    }
}

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

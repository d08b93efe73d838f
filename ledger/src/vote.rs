//! Votes and proposals: what a validator signs besides certificates, which are made of its precommits.

use crate::certificate::VoteBody;
use crate::encoding::encode;
use crate::id::{BlockHash, ChainId};
use crate::key::{PublicKey, Purpose, SecretKey, Signature, SignatureError};
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

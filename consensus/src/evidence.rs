//! Proof that one key said two things where it may say one.

use crate::message::{SignedProposal, SignedVote};
use ledger::encoding::{Canonical, Limit};
use ledger::id::ChainId;
use ledger::key::{PublicKey, SignatureError};
use serde::{Deserialize, Serialize};

/// Two signed messages of one key that no honest replica signs both of. Anyone who knows the chain id
/// can check it, offline, without trusting who shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// Two votes of one kind in one round.
    Votes(SignedVote, SignedVote),
    /// Two proposals in one round.
    Proposals(SignedProposal, SignedProposal),
}

impl Canonical for Evidence {
    const NAME: &'static str = "evidence";
    const LIMIT: Limit = Limit::Message;
}

/// Why evidence does not convict anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The two messages may both be signed by an honest replica.
    #[error("the two messages do not contradict each other")]
    NoConflict,
    /// One of them was not signed by the key it names.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Evidence {
    /// The key that stands accused.
    #[must_use]
    pub fn accused(&self) -> PublicKey {
        match self {
            Self::Votes(first, _) => first.voter,
            Self::Proposals(first, _) => first.proposer,
        }
    }

    /// The height it happened in.
    #[must_use]
    pub fn height(&self) -> u64 {
        match self {
            Self::Votes(first, _) => first.body.height,
            Self::Proposals(first, _) => first.body.height,
        }
    }

    /// Checks it from nothing but its own bytes and the chain id.
    ///
    /// # Errors
    /// [`EvidenceError`] when the messages do not contradict each other or a signature does not hold.
    pub fn verify(&self, chain: &ChainId) -> Result<PublicKey, EvidenceError> {
        let conflict = match self {
            Self::Votes(first, second) => first.conflicts_with(second),
            Self::Proposals(first, second) => first.conflicts_with(second),
        };
        if !conflict {
            return Err(EvidenceError::NoConflict);
        }
        match self {
            Self::Votes(first, second) => first.verify(chain).and_then(|()| second.verify(chain))?,
            Self::Proposals(first, second) => first.verify(chain).and_then(|()| second.verify(chain))?,
        }
        Ok(self.accused())
    }
}

//! Evidence: proof that a key signed two things where it may sign one.
//!
//! Anybody who knows the chain id can check it, offline, without trusting who shows it. It names the keys
//! that did it and never an honest one: an honest validator signs one prevote, one precommit and one
//! proposal in a round, whatever it is shown (docs/protocol.md §9).

use crate::block::Header;
use crate::certificate::{Certificate, CertificateError};
use crate::encoding::{Canonical, Limit};
use crate::id::ChainId;
use crate::key::{PublicKey, SignatureError};
use crate::validators::{ValidatorSet, ValidatorSetError};
use crate::vote::{SignedProposal, SignedVote, VoteKind};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Two signed things of one kind, height and round, for different blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// 0: two votes of one key.
    Votes(SignedVote, SignedVote),
    /// 1: two proposals of one key.
    Proposals(SignedProposal, SignedProposal),
    /// 2: two certificates, each of a quorum: who signed both precommitted two blocks.
    Certificates(Box<TwoCertificates>),
}

/// Two blocks of one height, each made final by a quorum of one set of validators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwoCertificates {
    /// The set of the height.
    pub validators: ValidatorSet,
    /// One block.
    pub one: CertifiedHeader,
    /// The other.
    pub other: CertifiedHeader,
}

/// A header and its certificate, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedHeader {
    /// The header.
    pub header: Header,
    /// What is to prove it final.
    pub certificate: Certificate,
}

impl Canonical for Evidence {
    const NAME: &'static str = "evidence";
    const LIMIT: Limit = Limit::Message;
}

/// What was signed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OffenceKind {
    /// Two prevotes.
    Prevote,
    /// Two precommits.
    Precommit,
    /// Two proposals.
    Proposal,
}

impl From<VoteKind> for OffenceKind {
    fn from(kind: VoteKind) -> Self {
        match kind {
            VoteKind::Prevote => Self::Prevote,
            VoteKind::Precommit => Self::Precommit,
        }
    }
}

impl fmt::Display for OffenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prevote => "prevote",
            Self::Precommit => "precommit",
            Self::Proposal => "proposal",
        })
    }
}

/// The place in the protocol where one thing may be signed, and two were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offence {
    /// Height.
    pub height: u64,
    /// Round.
    pub round: u32,
    /// What.
    pub kind: OffenceKind,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two {}s in height {}, round {}", self.kind, self.height, self.round)
    }
}

/// Who did what, as evidence says; proven only by [`Evidence::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What.
    pub offence: Offence,
    /// Exactly the keys that did it, ascending; never none.
    pub keys: Vec<PublicKey>,
}

/// Why evidence does not convict anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// An honest validator may have signed both.
    #[error("the two do not contradict each other: they must be of one height, round and kind, for different things")]
    NoConflict,
    /// Two certificates of one height for two blocks: the ledger is forked, and this does not say by whom.
    #[error(
        "certificates of rounds {one} and {other} name nobody: an honest validator may have signed both, after it saw a \
         quorum prevote for the other block in between"
    )]
    OtherRounds {
        /// Round of the first.
        one: u32,
        /// Round of the second.
        other: u32,
    },
    /// Something was not signed by the key it names.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A certificate proves nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The set is none.
    #[error(transparent)]
    Validators(#[from] ValidatorSetError),
}

impl Evidence {
    /// Checks it from nothing but its own bytes and the chain id.
    ///
    /// # Errors
    /// [`EvidenceError`] when the two do not contradict each other or a signature does not hold.
    pub fn check(&self, chain: &ChainId) -> Result<Charge, EvidenceError> {
        let charge = self.charge()?;
        match self {
            Self::Votes(one, other) => one.verify(chain).and_then(|()| other.verify(chain))?,
            Self::Proposals(one, other) => one.verify(chain).and_then(|()| other.verify(chain))?,
            Self::Certificates(two) => {
                two.one.certificate.verify(&two.one.header, chain, &two.validators)?;
                two.other.certificate.verify(&two.other.header, chain, &two.validators)?;
            }
        }
        Ok(charge)
    }

    /// How many signatures have to hold for it to prove anything; none of them looked at.
    #[must_use]
    pub fn signature_count(&self) -> usize {
        match self {
            Self::Votes(..) | Self::Proposals(..) => 2,
            Self::Certificates(two) => two.one.certificate.signer_count() + two.other.certificate.signer_count(),
        }
    }

    /// What it says, no signature looked at: for refusing early, never for convicting anybody.
    ///
    /// # Errors
    /// [`EvidenceError`] when the two do not contradict each other.
    pub fn charge(&self) -> Result<Charge, EvidenceError> {
        match self {
            Self::Votes(one, other) if one.conflicts_with(other) => Ok(Charge {
                offence: Offence { height: one.body.height, round: one.body.round, kind: one.kind.into() },
                keys: vec![one.voter],
            }),
            Self::Proposals(one, other) if one.conflicts_with(other) => Ok(Charge {
                offence: Offence { height: one.body.height, round: one.body.round, kind: OffenceKind::Proposal },
                keys: vec![one.proposer],
            }),
            Self::Votes(..) | Self::Proposals(..) => Err(EvidenceError::NoConflict),
            Self::Certificates(two) => two.charge(),
        }
    }
}

impl TwoCertificates {
    fn charge(&self) -> Result<Charge, EvidenceError> {
        self.validators.check()?;
        let (one, other) = (&self.one.certificate, &self.other.certificate);
        if one.height != other.height || one.block == other.block {
            return Err(EvidenceError::NoConflict);
        }
        if one.round != other.round {
            return Err(EvidenceError::OtherRounds { one: one.round, other: other.round });
        }
        let (signed_one, signed_other) = (one.signers(&self.validators)?, other.signers(&self.validators)?);
        let also = |key: &PublicKey| signed_other.iter().any(|(signer, _)| signer == key);
        let keys: Vec<PublicKey> = signed_one.into_iter().map(|(key, _)| key).filter(also).collect();
        if keys.is_empty() {
            return Err(EvidenceError::NoConflict);
        }
        Ok(Charge { offence: Offence { height: one.height, round: one.round, kind: OffenceKind::Precommit }, keys })
    }
}

//! A fork: two final blocks of one height, each with the way that leads to it from the trust root.
//!
//! A [`HeadFile`] takes one final header away from a node; two of them that differ at one height make a
//! [`Fork`]. Whoever has the genesis file can check either offline, and [`Fork::verify`] says who did it as
//! far as certificates say so: when both are of one round, exactly those who signed both; when they are
//! not, nobody, because an honest validator may precommit another block in a later round.

use crate::block::PROTOCOL_VERSION;
use crate::bounded::List;
use crate::certificate::{CertificateError, FinalizedHeader, VoteBody};
use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::evidence::{CertifiedHeader, Charge, Evidence, EvidenceError, TwoCertificates};
use crate::id::ChainId;
use crate::key::PublicKey;
use crate::limits;
use crate::proof::{EpochError, EpochLink, TrustRoot, follow_epochs};
use crate::validators::{Validator, ValidatorSet};
use crate::vote::{SignedVote, VoteKind};
use serde::{Deserialize, Serialize};

/// Version of both file formats.
pub const FORK_VERSION: u16 = 1;

/// Changes of the validator set that lead to a header.
pub type Epochs = List<EpochLink, { limits::EPOCHS_MAX }>;

/// The contents of a head file: one final header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadFile {
    /// [`FORK_VERSION`].
    pub version: u16,
    /// The ledger.
    pub chain_id: ChainId,
    /// From the genesis set to the set that certifies the header.
    pub epochs: Epochs,
    /// The header.
    pub head: CertifiedHeader,
}

/// The contents of an evidence file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceFile {
    /// [`FORK_VERSION`].
    pub version: u16,
    /// The ledger.
    pub chain_id: ChainId,
    /// What it shows.
    pub exhibit: Exhibit,
}

/// What an evidence file shows.
#[allow(clippy::large_enum_variant, reason = "a file has one, and lives for a moment")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exhibit {
    /// 0: that the ledger was forked.
    Fork(Fork),
    /// 1: that keys signed two things.
    Evidence(Evidence),
}

/// Two final blocks of one height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The epochs both sides have in common.
    pub epochs: Epochs,
    /// One side.
    pub one: Branch,
    /// The other side.
    pub other: Branch,
}

/// One side of a fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The epochs of this side after the common ones.
    pub epochs: Epochs,
    /// The header.
    pub head: CertifiedHeader,
}

impl Canonical for HeadFile {
    const NAME: &'static str = "head file";
    const LIMIT: Limit = Limit::Proof;
}

impl Canonical for EvidenceFile {
    const NAME: &'static str = "evidence file";
    const LIMIT: Limit = Limit::Proof;
}

/// Why a file does not show what it is to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// Size, or parse.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of a later or unknown format.
    #[error("the file, or a header in it, has version {0}, this verifier speaks {FORK_VERSION}")]
    Version(u16),
    /// Of another ledger.
    #[error("it is about chain {actual}, the trust root is {expected}")]
    WrongChain {
        /// Chain of the file.
        actual: ChainId,
        /// Chain trusted.
        expected: ChainId,
    },
    /// The chain of validator sets is broken.
    #[error("epoch link {link}: {problem}")]
    EpochChain {
        /// Which link, the common ones counted first.
        link: usize,
        /// What is wrong with it.
        problem: EpochError,
    },
    /// No quorum signed a header.
    #[error("header {height}: {error}")]
    Certificate {
        /// Its height.
        height: u64,
        /// Why not.
        error: CertificateError,
    },
    /// The two headers are of different heights: both may be final.
    #[error("the headers are of heights {one} and {other}: that is no fork")]
    OtherHeights {
        /// Of the one.
        one: u64,
        /// Of the other.
        other: u64,
    },
    /// Both sides say the same.
    #[error("both sides have the same header {0}: that is no fork")]
    Same(u64),
    /// The evidence convicts nobody.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The evidence holds, against keys that anybody may have made.
    #[error("none of the keys that signed both is known to validate: {}", in_words(.0))]
    Strangers(Vec<PublicKey>),
}

fn in_words(keys: &[PublicKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl ForkError {
    /// The stable word of the check (sentences 9.8 and 9.10).
    #[must_use]
    pub fn check(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.check(),
            Self::Version(_) => "version",
            Self::WrongChain { .. } => "chain-id",
            Self::EpochChain { .. } => "epoch-chain",
            Self::Certificate { .. } => "certificate",
            Self::OtherHeights { .. } | Self::Same(_) => "fork",
            Self::Evidence(_) => "evidence",
            Self::Strangers(_) => "unknown-key",
        }
    }
}

/// A fork that checked out. Made only by [`Fork::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenFork {
    one: FinalizedHeader,
    other: FinalizedHeader,
    validators: (ValidatorSet, ValidatorSet),
    evidence: Vec<Evidence>,
    culprits: Vec<Validator>,
}

impl ProvenFork {
    /// One side.
    #[must_use]
    pub fn one(&self) -> &FinalizedHeader {
        &self.one
    }

    /// The other side.
    #[must_use]
    pub fn other(&self) -> &FinalizedHeader {
        &self.other
    }

    /// Exactly the validators proven to have signed both; none when the certificates are of different
    /// rounds, which say that more than a third lied, and not who.
    #[must_use]
    pub fn culprits(&self) -> &[Validator] {
        &self.culprits
    }

    /// What convicts them, as the ledger takes it.
    #[must_use]
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// Who signed one side and who signed the other.
    #[must_use]
    pub fn signers(&self) -> (Vec<Validator>, Vec<Validator>) {
        (signers(&self.one, &self.validators.0), signers(&self.other, &self.validators.1))
    }
}

impl HeadFile {
    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Checks everything: the header is final.
    ///
    /// # Errors
    /// [`ForkError`] names the first check that failed.
    pub fn verify(&self, trust: &TrustRoot) -> Result<FinalizedHeader, ForkError> {
        check_form(self.version, self.chain_id, trust)?;
        let (validators, before) = follow(trust, trust.validators(), (0, 0), &self.epochs)?;
        finalised(&self.head, trust, validators, before)
    }
}

impl EvidenceFile {
    /// A file about a fork.
    #[must_use]
    pub fn fork(chain_id: ChainId, fork: Fork) -> Self {
        Self { version: FORK_VERSION, chain_id, exhibit: Exhibit::Fork(fork) }
    }

    /// A file with evidence.
    #[must_use]
    pub fn evidence(chain_id: ChainId, evidence: Evidence) -> Self {
        Self { version: FORK_VERSION, chain_id, exhibit: Exhibit::Evidence(evidence) }
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Parses an evidence file of the ledger trusted.
    ///
    /// # Errors
    /// [`ForkError`] of the first check, the file's form.
    pub fn parse(bytes: &[u8], trust: &TrustRoot) -> Result<Exhibit, ForkError> {
        let file: Self = decode(bytes)?;
        check_form(file.version, file.chain_id, trust)?;
        Ok(file.exhibit)
    }
}

impl Fork {
    /// Of two final headers, with all the epochs that lead to each.
    ///
    /// # Errors
    /// [`crate::bounded::BoundError`] when one side has more epochs than a file may have.
    pub fn of(
        one: (Vec<EpochLink>, CertifiedHeader),
        other: (Vec<EpochLink>, CertifiedHeader),
    ) -> Result<Self, crate::bounded::BoundError> {
        let common = one.0.iter().zip(&other.0).take_while(|(one, other)| same_step(one, other)).count();
        let branch = |(epochs, head): (Vec<EpochLink>, CertifiedHeader)| {
            Ok(Branch { epochs: List::new(epochs[common..].to_vec())?, head })
        };
        Ok(Self { epochs: List::new(one.0[..common].to_vec())?, one: branch(one)?, other: branch(other)? })
    }

    /// Checks both sides from the trust root, and says who did it.
    ///
    /// # Errors
    /// [`ForkError`] names the first check that failed.
    pub fn verify(&self, trust: &TrustRoot) -> Result<ProvenFork, ForkError> {
        let (common, before) = follow(trust, trust.validators(), (0, 0), &self.epochs)?;
        let side = |branch: &Branch| -> Result<(FinalizedHeader, ValidatorSet), ForkError> {
            let (validators, before) = follow(trust, common, (self.epochs.len(), before), &branch.epochs)?;
            Ok((finalised(&branch.head, trust, validators, before)?, validators.clone()))
        };
        let ((one, one_set), (other, other_set)) = (side(&self.one)?, side(&self.other)?);
        let (height, other_height) = (one.header().height, other.header().height);
        if height != other_height {
            return Err(ForkError::OtherHeights { one: height, other: other_height });
        }
        if one.hash() == other.hash() {
            return Err(ForkError::Same(height));
        }
        let evidence = self.evidence(&one_set, &other_set);
        let mut culprits = Vec::new();
        for piece in &evidence {
            let Charge { keys, .. } = piece.check(&trust.chain_id())?;
            culprits
                .extend(keys.iter().filter_map(|key| member_of(&one_set, key).or_else(|| member_of(&other_set, key))));
        }
        Ok(ProvenFork { one, other, validators: (one_set, other_set), evidence, culprits })
    }

    /// What convicts those who signed both, in the form the ledger takes: the certificates themselves where
    /// one set made both, and else two votes of each key.
    fn evidence(&self, one_set: &ValidatorSet, other_set: &ValidatorSet) -> Vec<Evidence> {
        let (one, other) = (&self.one.head.certificate, &self.other.head.certificate);
        if one.round != other.round {
            return Vec::new();
        }
        if one_set == other_set {
            let (one, other) = (self.one.head.clone(), self.other.head.clone());
            let two = TwoCertificates { validators: one_set.clone(), one, other };
            return vec![Evidence::Certificates(Box::new(two))];
        }
        let votes = |certificate: &crate::certificate::Certificate, set| {
            let body =
                VoteBody { height: certificate.height, round: certificate.round, block: Some(certificate.block) };
            let signers = certificate.signers(set).unwrap_or_default().into_iter();
            signers.map(move |(voter, signature)| SignedVote { kind: VoteKind::Precommit, body, voter, signature })
        };
        let others: Vec<SignedVote> = votes(other, other_set).collect();
        let pair =
            |vote: SignedVote| Some(Evidence::Votes(vote, *others.iter().find(|other| other.voter == vote.voter)?));
        votes(one, one_set).filter_map(pair).collect()
    }
}

/// Two links that lead to the same set by the same header; a header has many certificates.
fn same_step(one: &EpochLink, other: &EpochLink) -> bool {
    one.header == other.header && one.validators == other.validators
}

fn member_of(set: &ValidatorSet, key: &PublicKey) -> Option<Validator> {
    set.position(key).map(|place| set.validators()[place].clone())
}

fn signers(header: &FinalizedHeader, set: &ValidatorSet) -> Vec<Validator> {
    let signers = header.certificate().signers(set).unwrap_or_default();
    signers.iter().filter_map(|(key, _)| member_of(set, key)).collect()
}

fn check_form(version: u16, actual: ChainId, trust: &TrustRoot) -> Result<(), ForkError> {
    if version != FORK_VERSION {
        return Err(ForkError::Version(version));
    }
    let expected = trust.chain_id();
    if actual == expected { Ok(()) } else { Err(ForkError::WrongChain { actual, expected }) }
}

/// Follows epochs on from a set; `done` says how many came before, and the height of the last of them.
fn follow<'a>(
    trust: &TrustRoot,
    validators: &'a ValidatorSet,
    done: (usize, u64),
    epochs: &'a [EpochLink],
) -> Result<(&'a ValidatorSet, u64), ForkError> {
    let (links, before) = done;
    // What the fields of a later header mean is not ours to guess.
    if let Some(link) = epochs.iter().find(|link| link.header.version != PROTOCOL_VERSION) {
        return Err(ForkError::Version(link.header.version));
    }
    follow_epochs(&trust.chain_id(), validators, before, epochs)
        .map_err(|(link, problem)| ForkError::EpochChain { link: links + link, problem })
}

fn finalised(
    head: &CertifiedHeader,
    trust: &TrustRoot,
    validators: &ValidatorSet,
    before: u64,
) -> Result<FinalizedHeader, ForkError> {
    let (header, expected) = (&head.header, trust.chain_id());
    if header.version != PROTOCOL_VERSION {
        return Err(ForkError::Version(header.version));
    }
    if header.chain_id != expected {
        return Err(ForkError::WrongChain { actual: header.chain_id, expected });
    }
    let height = header.height;
    if height <= before {
        return Err(ForkError::Certificate { height, error: CertificateError::WrongValidators { height } });
    }
    let verified = head.certificate.verify(header, &expected, validators);
    verified.map_err(|error| ForkError::Certificate { height, error })
}

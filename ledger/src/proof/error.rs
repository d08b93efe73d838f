//! Why a proof does not prove: one error per check.

use super::{PROOF_VERSION, ProofBundle};
use crate::approval::Count;
use crate::block::PROTOCOL_VERSION;
use crate::bounded::Name;
use crate::certificate::CertificateError;
use crate::encoding::{Canonical as _, DecodeError};
use crate::id::ChainId;
use crate::key::PublicKey;
use crate::merkle::PathError;
use crate::moment::Span;
use crate::receipt::ReasonCode;
use crate::state::record::{Halt, Role};
use crate::state::tree::StateProofError;
use crate::transaction::TransactionError;
use crate::validators::ValidatorSetError;

/// Why a proof does not prove, one error per check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Size, or parse.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of a later or unknown format.
    #[error("proof file has version {0}, this verifier speaks {PROOF_VERSION}")]
    Version(u16),
    /// A header of a later or unknown format: what its fields mean is not ours to guess.
    #[error("header {height} has version {version}, this verifier speaks {PROTOCOL_VERSION}")]
    HeaderVersion {
        /// Height of the header.
        height: u64,
        /// Its version.
        version: u16,
    },
    /// Of another ledger.
    #[error("proof is about chain {actual}, the trust root is {expected}")]
    WrongChain {
        /// Chain of the proof.
        actual: ChainId,
        /// Chain trusted.
        expected: ChainId,
    },
    /// The chain of validator sets is broken.
    #[error("epoch link {link}: {problem}")]
    EpochChain {
        /// Which link.
        link: usize,
        /// What is wrong with it.
        problem: EpochError,
    },
    /// No quorum signed the header.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The header is too old.
    #[error("header {height} is {} old, at most {} allowed", Span(*age_ms), Span(*max_age_ms))]
    Stale {
        /// Height of the header.
        height: u64,
        /// Its age.
        age_ms: u64,
        /// The age allowed.
        max_age_ms: u64,
    },
    /// The header is ahead of the host's clock.
    #[error("header {height} is {} ahead of this host's clock", Span(*ahead_ms))]
    ClockBehind {
        /// Height of the header.
        height: u64,
        /// How far ahead.
        ahead_ms: u64,
    },
    /// The host saw a higher header before.
    #[error("header has height {height}, this host has already seen {seen}")]
    HeightBelowSeen {
        /// Height of the header.
        height: u64,
        /// Height seen.
        seen: u64,
    },
    /// A transaction is not in the history.
    #[error("{what}: {error}")]
    Inclusion {
        /// Which transaction.
        what: String,
        /// What does not fit.
        error: PathError,
    },
    /// A transaction's signature, chain or version does not hold.
    #[error("{what}: {error}")]
    Signature {
        /// Which transaction.
        what: String,
        /// What does not hold.
        error: TransactionError,
    },
    /// A state proof does not hold.
    #[error("state proof of {what}: {error}")]
    StateProof {
        /// Which record.
        what: String,
        /// What does not hold.
        error: StateProofError,
    },
    /// The state has no such record, or another kind of record.
    #[error("state has no {what}")]
    NoRecord {
        /// Which record.
        what: String,
    },
    /// Transactions and records do not speak of the same thing.
    #[error("authority: {0}")]
    Authority(AuthorityError),
    /// No rule is for the patch.
    #[error("no approval rule is for this patch")]
    NoApprovalRule,
    /// Approvals are missing.
    #[error("approval missing under rule {rule}: {count}")]
    ApprovalMissing {
        /// The rule.
        rule: Name,
        /// The arithmetic.
        count: Box<Count>,
    },
    /// Approvers rejected it.
    #[error("rejected under rule {rule}: {count}")]
    Rejected {
        /// The rule.
        rule: Name,
        /// The arithmetic.
        count: Box<Count>,
    },
    /// An approver holds it back.
    #[error("held under rule {rule}: {count}")]
    Held {
        /// The rule.
        rule: Name,
        /// The arithmetic.
        count: Box<Count>,
    },
    /// It was withdrawn.
    #[error("recalled at height {height}")]
    Recalled {
        /// Where.
        height: u64,
    },
    /// A halt is in force.
    #[error("halted since height {}: {}", .0.since.height, .0.reason)]
    Halted(Box<Halt>),
}

/// What is wrong with a link of the epoch chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// Its certificate does not hold under the set before.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The set given is not the one its header names.
    #[error("the validator set given is not the one its header names")]
    WrongSet,
    /// The set given is none.
    #[error(transparent)]
    Set(#[from] ValidatorSetError),
    /// Heights do not grow.
    #[error("height {height} after {before}")]
    NotAscending {
        /// Its height.
        height: u64,
        /// The height before.
        before: u64,
    },
    /// It is of another chain.
    #[error("header of chain {0}")]
    WrongChain(ChainId),
    /// Its header changes nothing, so it has no place in the chain.
    #[error("the header at height {0} does not change the validator set")]
    NoChange(u64),
    /// It goes past a change that was seen before: whoever signs was not a validator any more.
    #[error("it does not lead through the change of validators at height {above}, which was seen here before")]
    PastSeen {
        /// Height of the change.
        above: u64,
    },
}

/// How transactions and records contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The first transaction publishes nothing.
    #[error("the publishing transaction is of kind {0}")]
    NotAPublish(&'static str),
    /// An approval that is none, or is for another patch.
    #[error("the approval at {index} is of kind {kind}, or for another patch")]
    NotAnApproval {
        /// Index of its leaf.
        index: u64,
        /// What it is.
        kind: &'static str,
    },
    /// The patch record was made by another transaction.
    #[error("the patch record says published at {recorded} by {key}, the transaction is at {index}")]
    OtherPublish {
        /// Index in the record.
        recorded: u64,
        /// Key in the record.
        key: PublicKey,
        /// Index of the transaction.
        index: u64,
    },
    /// The patch record knows no such verdict.
    #[error("the patch record has no such verdict by {key} at {index}")]
    OtherVerdict {
        /// The approver.
        key: PublicKey,
        /// Index of the transaction.
        index: u64,
    },
    /// The key is not its organisation's, or has another role, or speaks no more.
    #[error("key {key} is no {needed} key of {organisation}, or was revoked")]
    KeyWithoutRole {
        /// The key.
        key: PublicKey,
        /// The organisation.
        organisation: Name,
        /// The role needed.
        needed: Role,
    },
    /// The vendor does not own the namespace.
    #[error("{organisation} does not own namespace {namespace}")]
    NamespaceNotOwned {
        /// The vendor.
        organisation: Name,
        /// The namespace.
        namespace: Name,
    },
}

impl ProofError {
    /// The check that said no, as receipts and people name it.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            // A record inside it that is too large is malformed: the file itself had room (6.4, 6.11).
            Self::Decode(DecodeError::TooLarge { name, .. }) if *name == ProofBundle::NAME => ReasonCode::ProofSize,
            Self::Decode(_) | Self::Version(_) | Self::HeaderVersion { .. } => ReasonCode::ProofMalformed,
            Self::WrongChain { .. } => ReasonCode::ChainId,
            Self::EpochChain { .. } => ReasonCode::EpochChain,
            Self::Certificate(_) => ReasonCode::Certificate,
            Self::Stale { .. } => ReasonCode::Stale,
            Self::ClockBehind { .. } => ReasonCode::ClockBehind,
            Self::HeightBelowSeen { .. } => ReasonCode::HeightBelowSeen,
            Self::Inclusion { .. } => ReasonCode::Inclusion,
            Self::Signature { .. } => ReasonCode::Signature,
            Self::StateProof { .. } | Self::NoRecord { .. } => ReasonCode::StateProof,
            Self::Authority(_) => ReasonCode::Authority,
            Self::NoApprovalRule | Self::ApprovalMissing { .. } => ReasonCode::ApprovalRule,
            Self::Rejected { .. } => ReasonCode::Rejected,
            Self::Held { .. } => ReasonCode::Held,
            Self::Recalled { .. } => ReasonCode::Recalled,
            Self::Halted(_) => ReasonCode::Halted,
        }
    }
}

//! Why a transaction is not applied.

use super::record::KeyStatus;
use super::storage::StorageError;
use crate::approval::Decision;
use crate::bounded::{Name, Product};
use crate::evidence::Offence;
use crate::governance::{Choice, ImpossibleChange, ProposalError, ProposalStanding};
use crate::id::{PatchId, TransactionId};
use crate::key::PublicKey;
use crate::limits;
use crate::moment::{Moment, Span};
use crate::patch::ManifestError;
use crate::receipt::Outcome;

/// Why a transaction is not for this state. Values, not strings: the evidence is inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It was finalised before. For ever.
    #[error("transaction {0} is already finalised")]
    AlreadyFinalised(TransactionId),
    /// Its time is over.
    #[error("transaction expired at {}, block time is {}", Moment(*expires_at_ms), Moment(*time_ms))]
    Expired {
        /// When it expired.
        expires_at_ms: u64,
        /// Time of the block.
        time_ms: u64,
    },
    /// It wants to stay valid for too long.
    #[error(
        "transaction expires at {}, more than {} after block time {}",
        Moment(*expires_at_ms), Span(limits::EXPIRY_AHEAD_MS_MAX), Moment(*time_ms)
    )]
    ExpiresTooLate {
        /// When it would expire.
        expires_at_ms: u64,
        /// Time of the block.
        time_ms: u64,
    },
    /// Nobody knows the key.
    #[error("key {0} belongs to no member and no endpoint of this ledger")]
    UnknownKey(PublicKey),
    /// The key speaks no more.
    #[error("key {key} is {status}")]
    KeyNotActive {
        /// The key.
        key: PublicKey,
        /// What became of it.
        status: KeyStatus,
    },
    /// The key may not do this.
    #[error("{kind} needs a key with role {needed}, {key} has role {actual}")]
    WrongRole {
        /// The kind of transaction.
        kind: &'static str,
        /// The key.
        key: PublicKey,
        /// The role needed.
        needed: &'static str,
        /// The role it has.
        actual: String,
    },
    /// The namespace is another organisation's, or nobody's.
    #[error("organisation {organisation} does not own namespace {namespace}")]
    NamespaceNotOwned {
        /// The signer's organisation.
        organisation: Name,
        /// The namespace.
        namespace: Name,
    },
    /// The manifest breaks a rule of its own.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// This very patch is published.
    #[error("patch {0} is already published")]
    AlreadyPublished(PatchId),
    /// The release counter does not grow, or jumps.
    #[error("release {release} of {product} must be above {latest} and at most {} above it", limits::RELEASE_STEP_MAX)]
    ReleaseOutOfStep {
        /// The product.
        product: Product,
        /// The release offered.
        release: u64,
        /// The newest release.
        latest: u64,
    },
    /// No approval rule is for the patch, so nobody could ever approve it.
    #[error("no approval rule is for {0}")]
    NoApprovalRule(Product),
    /// Nobody published it.
    #[error("patch {0} is not published")]
    UnknownPatch(PatchId),
    /// It was withdrawn; nothing more can be said about it.
    #[error("patch {0} is recalled")]
    Recalled(PatchId),
    /// The organisation's opinion does not count for this patch.
    #[error("organisation {organisation} is not an approver of patch {patch} (vendor {vendor})")]
    NotAnApprover {
        /// The signer's organisation.
        organisation: Name,
        /// The patch.
        patch: PatchId,
        /// The patch's vendor.
        vendor: Name,
    },
    /// The same key said the same before.
    #[error("key {key} has already said {decision} on patch {patch}")]
    VerdictUnchanged {
        /// The key.
        key: PublicKey,
        /// The patch.
        patch: PatchId,
        /// What it said.
        decision: Decision,
    },
    /// Too many approvers spoke.
    #[error("patch {patch} has {limit} verdicts, the most there can be", patch = .0, limit = limits::VERDICTS_PER_PATCH_MAX)]
    TooManyVerdicts(PatchId),
    /// The key is in use.
    #[error("key {0} is already in use")]
    KeyInUse(PublicKey),
    /// No signature could ever hold under it.
    #[error("{0} is no ed25519 public key that can sign")]
    NotAKey(PublicKey),
    /// A host has one value of a label.
    #[error("label {0} occurs twice")]
    LabelTwice(Name),
    /// No such endpoint.
    #[error("endpoint {0} is not enrolled")]
    UnknownEndpoint(PublicKey),
    /// Another organisation's endpoint.
    #[error("endpoint {endpoint} belongs to {owner}, not to {organisation}")]
    NotYourEndpoint {
        /// The endpoint.
        endpoint: PublicKey,
        /// Its organisation.
        owner: Name,
        /// The signer's organisation.
        organisation: Name,
    },
    /// The receipt is not the next one.
    #[error("receipt {actual} of endpoint {endpoint} for patch {patch}: the next is {expected}")]
    AttemptOutOfOrder {
        /// The endpoint.
        endpoint: PublicKey,
        /// The patch.
        patch: PatchId,
        /// The number it has.
        actual: u32,
        /// The number it must have.
        expected: u32,
    },
    /// Only a patch that stands approved can have been applied.
    #[error("receipt says {outcome}, but patch {patch} was never approved")]
    NeverApproved {
        /// What the receipt says.
        outcome: Outcome,
        /// The patch.
        patch: PatchId,
    },
    /// What is wrong with a proposal whatever the state.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// The organisation has as many proposals as count at one time.
    #[error(
        "{organisation} has {} proposals that count, the most there can be; the next place is free at {}",
        limits::PROPOSALS_PER_ORGANISATION_MAX, Moment(*until_ms)
    )]
    TooManyProposals {
        /// The organisation.
        organisation: Name,
        /// When one of them ceases to count, if it does not pass before.
        until_ms: u64,
    },
    /// One key of it has.
    #[error(
        "key {key} has {} proposals that count, the most one key can have; the next place is free at {}",
        limits::PROPOSALS_PER_KEY_MAX, Moment(*until_ms)
    )]
    TooManyProposalsOfKey {
        /// The key.
        key: PublicKey,
        /// When one of them ceases to count, if it does not pass before.
        until_ms: u64,
    },
    /// One of its changes is not possible.
    #[error(transparent)]
    Change(#[from] ImpossibleChange),
    /// Nobody proposed it.
    #[error("there is no proposal {0}")]
    UnknownProposal(TransactionId),
    /// Nobody can vote on it any more.
    #[error("proposal {proposal} takes no ballots: it stands {standing}, and took them until {}; block time is {}", Moment(*closes_at_ms), Moment(*time_ms))]
    ProposalClosed {
        /// The proposal.
        proposal: TransactionId,
        /// How it stands.
        standing: ProposalStanding,
        /// When it closed, or would.
        closes_at_ms: u64,
        /// Time of the block.
        time_ms: u64,
    },
    /// The organisation said the same before.
    #[error("{organisation} is {choice} this proposal already")]
    BallotUnchanged {
        /// The organisation.
        organisation: Name,
        /// What it said.
        choice: Choice,
    },
    /// Nobody it names is, or ever was, a validator here.
    #[error("nobody the evidence names has, or had, a validating key here: {}", list(.0))]
    NoValidatorNamed(Vec<PublicKey>),
    /// It is on record, or so much else is.
    #[error("{} already convicted: {offence}", are(.keys))]
    AlreadyConvicted {
        /// Whom the evidence names.
        keys: Vec<PublicKey>,
        /// What they did.
        offence: Offence,
    },
    /// Every outcome but `Applied` has a reason, and `Applied` has none.
    #[error("a receipt names a reason exactly when it does not say applied; this one says {0}")]
    ReasonMismatch(Outcome),
}

/// Keys named in one message at the most.
const NAMED_MAX: usize = 4;

fn list(keys: &[PublicKey]) -> String {
    let mut names: Vec<String> = keys.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if keys.len() > NAMED_MAX {
        names.push(format!("and {} more", keys.len() - NAMED_MAX));
    }
    names.join(", ")
}

fn are(keys: &[PublicKey]) -> String {
    format!("{} {}", list(keys), if keys.len() == 1 { "is" } else { "are" })
}

/// Why [`State::apply`] did not apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The rules forbid it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The disk failed; no verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

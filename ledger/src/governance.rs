//! Governance: how members change who they are and the law they live under.
//!
//! A governor proposes a list of [`Change`]s; organisations cast [`Choice`]s; when more than two thirds
//! of the organisations that have a governor are for it, all changes take place at once, or none. What
//! each change needs and does is [`crate::state`]'s business (docs/protocol.md §2).

mod tally;

pub use tally::{Cast, Tally};

use crate::approval::ApprovalRules;
use crate::bounded::{List, Name, Notes, SortedList};
use crate::encoding::{Canonical, Limit, encode};
use crate::id::TransactionId;
use crate::key::PublicKey;
use crate::limits;
use crate::state::record::{Organisation, Parameters, Position, Role};
use crate::validators::ValidatorSet;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One change of membership or law. New kinds are added at the end: the number of a kind never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// 0: a new member. Its name is new for ever, its keys are in no use and all active, its namespaces
    /// are nobody's.
    AddOrganisation {
        /// The member.
        organisation: Organisation,
    },
    /// 1: a member leaves. Its active keys are retired, its namespaces are nobody's any more, its
    /// validators leave the set; its name is never used again.
    RemoveOrganisation {
        /// The member.
        name: Name,
    },
    /// 2: a new key of a member.
    AddKey {
        /// The member.
        organisation: Name,
        /// The key, in no use so far.
        key: PublicKey,
        /// What it may do.
        role: Role,
    },
    /// 3: a new key takes an active one's place, in the validator set too. The old one is retired.
    RotateKey {
        /// The key that is retired.
        old: PublicKey,
        /// The key that takes its role.
        new: PublicKey,
    },
    /// 4: a key speaks no more; what it signed before still counts. A validator leaves the set.
    RetireKey {
        /// The key.
        key: PublicKey,
    },
    /// 5: a key was stolen or lost: nothing it signed counts. A validator leaves the set.
    RevokeKey {
        /// The key, active or retired.
        key: PublicKey,
    },
    /// 6: a member alone may publish in a namespace that is nobody's.
    AddNamespace {
        /// The member.
        organisation: Name,
        /// The namespace.
        namespace: Name,
    },
    /// 7: a namespace is nobody's any more.
    RemoveNamespace {
        /// The member that has it.
        organisation: Name,
        /// The namespace.
        namespace: Name,
    },
    /// 8: who finalises, from the block after the next on.
    SetValidators {
        /// Active validating keys of the members they name.
        validators: ValidatorSet,
    },
    /// 9: the approval rules.
    SetApprovalRules {
        /// All of them.
        rules: ApprovalRules,
    },
    /// 10: the numbers all nodes agree on.
    SetParameters {
        /// All of them.
        parameters: Parameters,
    },
}

impl Change {
    /// What people call this kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AddOrganisation { .. } => "add-organisation",
            Self::RemoveOrganisation { .. } => "remove-organisation",
            Self::AddKey { .. } => "add-key",
            Self::RotateKey { .. } => "rotate-key",
            Self::RetireKey { .. } => "retire-key",
            Self::RevokeKey { .. } => "revoke-key",
            Self::AddNamespace { .. } => "add-namespace",
            Self::RemoveNamespace { .. } => "remove-namespace",
            Self::SetValidators { .. } => "set-validators",
            Self::SetApprovalRules { .. } => "set-approval-rules",
            Self::SetParameters { .. } => "set-parameters",
        }
    }
}

/// What is proposed. It is named by the id of the transaction that proposes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// In this order, all or none.
    pub changes: List<Change, { limits::CHANGES_MAX }>,
    /// Why, for people.
    pub note: Notes,
    /// From this block time on nobody can vote any more; at most 30 days ahead.
    pub closes_at_ms: u64,
}

impl Canonical for Proposal {
    const NAME: &'static str = "proposal";
    const LIMIT: Limit = Limit::Message;
}

/// What an organisation says of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// It shall be.
    For,
    /// It shall not be.
    Against,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::For => "for",
            Self::Against => "against",
        })
    }
}

/// An organisation's newest ballot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// The organisation: it has one voice, however many governors.
    pub organisation: Name,
    /// The governor that cast it. When that key speaks no more, the ballot does not count.
    pub key: PublicKey,
    /// What it says.
    pub choice: Choice,
}

/// How a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProposalStanding {
    /// Ballots may be cast, until it closes.
    Open,
    /// It passed, and its changes took place.
    Passed,
    /// It cannot pass any more.
    Refused,
    /// It had the ballots, but its changes were not possible any more; nothing was changed.
    Void,
}

impl ProposalStanding {
    /// Every standing, in the order of the encoding.
    pub const ALL: [Self; 4] = [Self::Open, Self::Passed, Self::Refused, Self::Void];
}

impl fmt::Display for ProposalStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Void => "void",
        })
    }
}

/// What the ledger knows of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalRecord {
    /// What is proposed.
    pub proposal: Proposal,
    /// The key that proposed it.
    pub proposer: PublicKey,
    /// Where it was proposed.
    pub proposed: Position,
    /// One ballot per organisation; the proposer's own is for it from the start.
    pub ballots: SortedList<Ballot, { limits::ORGANISATIONS_MAX }>,
    /// How it stands.
    pub standing: ProposalStanding,
    /// Where it ceased to be open by ballots.
    pub settled: Option<Position>,
}

/// Why a change is not possible in a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is, or was, an organisation of this name.
    #[error("the name {0} is taken")]
    NameTaken(Name),
    /// There is no such member.
    #[error("{0} is no member")]
    UnknownOrganisation(Name),
    /// The key is in use, or was.
    #[error("key {0} is in use")]
    KeyInUse(PublicKey),
    /// No signature could ever hold under it.
    #[error("{0} is no ed25519 public key that can sign")]
    NotAKey(PublicKey),
    /// A new key that is not active.
    #[error("key {0} of a new member is not active")]
    NotActive(PublicKey),
    /// No member has this key, or it does not speak any more.
    #[error("key {0} is no active key of a member")]
    UnknownKey(PublicKey),
    /// The key was revoked before.
    #[error("key {0} is revoked already")]
    AlreadyRevoked(PublicKey),
    /// Another member has the namespace.
    #[error("namespace {namespace} belongs to {owner}")]
    NamespaceTaken {
        /// The namespace.
        namespace: Name,
        /// Whose it is.
        owner: Name,
    },
    /// The member does not have the namespace.
    #[error("{organisation} does not own namespace {namespace}")]
    NamespaceNotOwned {
        /// The member.
        organisation: Name,
        /// The namespace.
        namespace: Name,
    },
    /// A validator that is no active validating key of the member it names.
    #[error("{key} is no active validating key of {organisation}")]
    StrangeValidator {
        /// The key.
        key: PublicKey,
        /// The member named.
        organisation: Name,
    },
    /// Nobody could finalise anything any more.
    #[error("no validator would be left")]
    NoValidators,
    /// Nodes talk to nodes of active keys only: fewer than a quorum would hear each other.
    #[error("only {power} of {of} validators would be of members with an active node key")]
    NoQuorumHeard {
        /// Validators of members with an active node key.
        power: usize,
        /// All validators.
        of: usize,
    },
    /// The validators of the next height are fixed, and nodes hear no revoked key: fewer than a quorum would be left there.
    #[error(
        "only {power} of the {of} validators of the next height would be heard: take validators out of the set first, and revoke their nodes' keys two blocks later"
    )]
    NoQuorumNext {
        /// Validators of the next height that would be heard.
        power: usize,
        /// All of them.
        of: usize,
    },
    /// The set is none.
    #[error("the validators given are not a set")]
    NotASet,
    /// Nobody could change anything any more.
    #[error("no organisation with a governor would be left")]
    NoGovernors,
    /// A rule asks for nothing, or for something impossible.
    #[error("approval rule {0} is not sound")]
    UnsoundRule(Name),
    /// A number that would stop the ledger.
    #[error("{0} must be 1 to {max}", max = limits::PARAMETER_MS_MAX)]
    Parameter(&'static str),
    /// A list would become too long, or a record too large to be read back.
    #[error("{0} would become too large")]
    TooLarge(&'static str),
}

/// What is wrong with a proposal whatever the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// It changes nothing.
    #[error("a proposal needs at least one change")]
    Empty,
    /// It is too large to be kept beside its ballots.
    #[error("the proposal has {actual} bytes, at most {max} allowed", max = limits::PROPOSAL_BYTES_MAX)]
    TooLarge {
        /// Its size.
        actual: usize,
    },
    /// It is closed already, or stays open for too long.
    #[error(
        "a proposal must close within {} days after block time {time_ms}, this one closes at {closes_at_ms}",
        limits::EXPIRY_AHEAD_MS_MAX / 86_400_000
    )]
    Closes {
        /// When it would close.
        closes_at_ms: u64,
        /// Time of the block.
        time_ms: u64,
    },
}

impl Proposal {
    /// What must hold whatever the state.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn check(&self, time_ms: u64) -> Result<(), ProposalError> {
        let (actual, closes_at_ms) = (encode(self).len(), self.closes_at_ms);
        if self.changes.is_empty() {
            Err(ProposalError::Empty)
        } else if actual > limits::PROPOSAL_BYTES_MAX {
            Err(ProposalError::TooLarge { actual })
        } else if closes_at_ms <= time_ms || closes_at_ms - time_ms > limits::EXPIRY_AHEAD_MS_MAX {
            Err(ProposalError::Closes { closes_at_ms, time_ms })
        } else {
            Ok(())
        }
    }
}

/// A proposal that counts among those of its organisation, of which there are only so many at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedProposal {
    /// The transaction that proposed it.
    pub proposal: TransactionId,
    /// Who proposed it.
    pub key: PublicKey,
    /// It counts before this block time.
    pub until_ms: u64,
}

/// The proposals of one organisation that count, in the order in which they were proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedProposals(pub List<CountedProposal, { limits::PROPOSALS_PER_ORGANISATION_MAX }>);

/// A change that is not possible, and its place in the proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {place} ({kind}): {error}")]
pub struct ImpossibleChange {
    /// From 0.
    pub place: usize,
    /// Its kind.
    pub kind: &'static str,
    /// Why.
    pub error: ChangeError,
}

//! What is wrong with a description: one error for whatever is described.

use super::HEARTBEAT_MS_MIN;
use crate::failure::key_hint;
use crate::files::FileError;
use keyring::{KeyFileError, KeyRole};
use ledger::bounded::{BoundError, Name};
use ledger::genesis::GenesisError;
use ledger::governance::{ImpossibleChange, ProposalError};
use ledger::validators::ValidatorSetError;
use std::fmt;
use std::path::PathBuf;

/// What is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new ledger.
    Genesis,
    /// Changes of a ledger.
    Proposal,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Genesis => "genesis description",
            Self::Proposal => "proposal",
        }
    }

    const fn example(self) -> &'static str {
        match self {
            Self::Genesis => "`countersign init --example` prints a description with everything in it",
            Self::Proposal => "`countersign propose --example` prints a proposal with everything in it",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with a description.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not the format.
    #[error("{} is no {kind}", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// What it was to be.
        kind: Kind,
        /// What the parser says.
        source: Box<toml::de::Error>,
    },
    /// A key file it names.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A key without a way to know it.
    #[error("{place}: give either {file}, or {written}")]
    KeyAmbiguous {
        /// Of whom.
        place: String,
        /// The field for a key file.
        file: &'static str,
        /// The fields for a key that is written out.
        written: &'static str,
        /// In what.
        kind: Kind,
    },
    /// A key file of another organisation.
    #[error("{place}: {} is a key of {}", path.display(), actual.as_ref().map_or("nobody", Name::as_str))]
    StrangeKey {
        /// Of whom.
        place: String,
        /// The key file.
        path: PathBuf,
        /// Whose it is.
        actual: Option<Name>,
    },
    /// A key with a role that no member has.
    #[error("{place}: a key with role {role} does not belong here")]
    Role {
        /// Of whom.
        place: String,
        /// The role.
        role: KeyRole,
    },
    /// A key that is to take another's place, and was made for something else.
    #[error("{place}: the new key is made for {new}, the old one is {old}")]
    OtherUse {
        /// Which change.
        place: String,
        /// What the old key is.
        old: String,
        /// What the new key is.
        new: String,
    },
    /// A validator of an organisation that is not described.
    #[error("validator of {0}: no organisation has that name")]
    UnknownOrganisation(Name),
    /// A list that is too long.
    #[error("{place}: {error}")]
    Bound {
        /// Which list.
        place: String,
        /// How long it may be.
        error: BoundError,
    },
    /// The heartbeat is too short.
    #[error("heartbeat_ms is {0}, at least {HEARTBEAT_MS_MIN} is needed")]
    Heartbeat(u64),
    /// The time for ballots.
    #[error("closes_in_days is {actual}, 1 to {max} is possible")]
    ClosesInDays {
        /// What was asked for.
        actual: u64,
        /// The longest there is.
        max: u64,
    },
    /// The validators make no set.
    #[error(transparent)]
    Validators(#[from] ValidatorSetError),
    /// The ledger refuses it.
    #[error("the ledger refuses this genesis")]
    Genesis(#[from] GenesisError),
    /// The ledger would refuse it, whatever its state.
    #[error("the ledger would refuse this proposal")]
    Proposal(#[from] ProposalError),
    /// The ledger would refuse one of the changes, whatever its state.
    #[error("the ledger would refuse this proposal")]
    Change(#[from] ImpossibleChange),
}

impl SpecError {
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Format { .. } | Self::Key(_))
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Key(error) => key_hint(error),
            Self::Format { kind, .. } | Self::KeyAmbiguous { kind, .. } => Some(kind.example().to_owned()),
            Self::Role { role: KeyRole::Endpoint, .. } => {
                Some("endpoints are enrolled later: `countersign endpoint enroll`".to_owned())
            }
            Self::OtherUse { .. } => Some("a key has one use: make one for this with `countersign key new`".to_owned()),
            Self::Proposal(ProposalError::Empty) => Some(Kind::Proposal.example().to_owned()),
            Self::Proposal(ProposalError::TooLarge { .. }) => Some("propose it in parts".to_owned()),
            Self::Role { .. } => {
                Some("members have publishers, approvers, operators, governors, nodes and validators".to_owned())
            }
            Self::StrangeKey { .. } => Some("give a key made for this organisation, or correct the name".to_owned()),
            Self::UnknownOrganisation(_) => Some("describe the organisation, too, or correct the name".to_owned()),
            Self::Bound { .. } => Some("leave some out, or make it shorter".to_owned()),
            Self::Heartbeat(_) => {
                Some("blocks take time to be signed: give it a longer one, 60000 is usual".to_owned())
            }
            Self::ClosesInDays { .. } => Some("propose it again when nobody answered in time".to_owned()),
            Self::Validators(_) | Self::Genesis(_) | Self::Proposal(_) | Self::Change(_) => {
                Some("correct what is named in the description, and try again".to_owned())
            }
        }
    }
}

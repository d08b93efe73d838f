//! Members: organisations, their keys and what these may do.

use crate::bounded::{Name, SortedList};
use crate::key::PublicKey;
use crate::limits;
use serde::{Deserialize, Serialize};

/// What a key may do. One role per key: a key has one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Signs patches of its organisation's namespaces.
    Publisher,
    /// Gives verdicts on other organisations' patches.
    Approver,
    /// Enrols and retires endpoints.
    Operator,
    /// Identifies a node to its peers.
    Node,
    /// Signs consensus messages.
    Validator,
    /// Votes on changes of membership and law.
    Governor,
}

impl Role {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Node => "node",
            Self::Validator => "validator",
            Self::Governor => "governor",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a key speaks for its organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStatus {
    /// It does.
    Active,
    /// It does no longer; what it signed before still counts.
    Retired,
    /// It was stolen or lost; nothing it signed counts.
    Revoked,
}

impl std::fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        })
    }
}

/// A key of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberKey {
    /// The key.
    pub key: PublicKey,
    /// What it may do.
    pub role: Role,
    /// Whether it may.
    pub status: KeyStatus,
}

/// An organisation: a member of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Organisation {
    /// Its name: its id in this ledger.
    pub name: Name,
    /// Namespaces it alone may publish in.
    pub namespaces: SortedList<Name, { limits::NAMESPACES_PER_ORGANISATION_MAX }>,
    /// Its keys, ascending.
    pub keys: SortedList<MemberKey, { limits::KEYS_PER_ORGANISATION_MAX }>,
}

impl MemberKey {
    /// Whether it is an active governor.
    #[must_use]
    pub fn governs(&self) -> bool {
        self.role == Role::Governor && self.status == KeyStatus::Active
    }
}

impl Organisation {
    /// Whether it has a voice on proposals: an active governor.
    #[must_use]
    pub fn governs(&self) -> bool {
        self.keys.iter().any(MemberKey::governs)
    }

    /// Whether other nodes talk to a node of it: an active node key.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.keys.iter().any(|member| member.role == Role::Node && member.status == KeyStatus::Active)
    }

    /// The entry of a key.
    #[must_use]
    pub fn key(&self, key: &PublicKey) -> Option<&MemberKey> {
        self.keys.iter().find(|member| member.key == *key)
    }
}

/// The names of all members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members(pub SortedList<Name, { limits::ORGANISATIONS_MAX }>);

/// Whose key a key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOwner {
    /// The organisation.
    pub organisation: Name,
    /// What the key may do.
    pub role: Role,
    /// Whether it may.
    pub status: KeyStatus,
}

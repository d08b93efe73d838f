//! What keys are for.

use ledger::state::record::Role;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a key is for. A key has one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRole {
    /// Signs patches of its organisation.
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
    /// Signs one endpoint's receipts.
    Endpoint,
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role of a key")]
pub struct UnknownRole(String);

impl KeyRole {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::Publisher, Self::Approver, Self::Operator, Self::Node, Self::Validator, Self::Governor, Self::Endpoint];

    /// The role in the ledger's words; endpoints are enrolled and have none.
    #[must_use]
    pub fn member_role(self) -> Option<Role> {
        Some(match self {
            Self::Publisher => Role::Publisher,
            Self::Approver => Role::Approver,
            Self::Operator => Role::Operator,
            Self::Node => Role::Node,
            Self::Validator => Role::Validator,
            Self::Governor => Role::Governor,
            Self::Endpoint => return None,
        })
    }

    /// Its name, as it stands in key files.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.member_role().map_or("endpoint", Role::name)
    }

    /// What such a key does, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Publisher => "Signs patches of its organisation",
            Self::Approver => "Gives verdicts on other organisations' patches",
            Self::Operator => "Enrols and retires endpoints",
            Self::Node => "Identifies a node to its peers",
            Self::Validator => "Signs consensus messages",
            Self::Governor => "Votes on changes of membership and law",
            Self::Endpoint => "Signs one endpoint's receipts",
        }
    }
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyRole {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}

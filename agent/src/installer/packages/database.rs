//! The package database: what the manager says of every package.

use super::super::record;
use super::closure::{Closure, State};
use crate::files::FileError;
use crate::settled::Refusal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest database, written down.
const DATABASE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Name and architecture.
pub(in crate::installer) type Instance = (String, String);

/// Every package the host knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Instance, State)>", into = "Vec<(Instance, State)>")]
pub(in crate::installer) struct Database(BTreeMap<Instance, State>);

impl From<Vec<(Instance, State)>> for Database {
    fn from(all: Vec<(Instance, State)>) -> Self {
        Self(all.into_iter().collect())
    }
}

impl From<Database> for Vec<(Instance, State)> {
    fn from(database: Database) -> Self {
        database.0.into_iter().collect()
    }
}

impl Database {
    /// What is there of a package; `None` when nothing is.
    pub(in crate::installer) fn state(&self, name: &str, architecture: &str) -> Option<State> {
        self.0.get(&(name.to_owned(), architecture.to_owned())).cloned()
    }

    /// Another architecture of a package that is there.
    pub(in crate::installer) fn elsewhere(&self, name: &str, architecture: &str) -> Option<&str> {
        let other = self.0.keys().find(|(other, of)| other == name && of != architecture);
        other.map(|(_, of)| of.as_str())
    }

    /// All of them.
    pub(in crate::installer) fn all(&self) -> impl Iterator<Item = (&Instance, &State)> {
        self.0.iter()
    }

    /// The first package that is not as it was, those of a closure apart.
    pub(in crate::installer) fn first_difference(before: &Self, after: &Self, apart_from: &Closure) -> Option<String> {
        let all = before.0.keys().chain(after.0.keys());
        let changed = all.filter(|instance| !apart_from.has(instance));
        let changed = changed.into_iter().find(|of| before.0.get(*of) != after.0.get(*of))?;
        Some(Self::went(changed, before, after))
    }

    /// The first package outside of a closure that is gone, or works less than it did: as an update could have
    /// done it. Another version is somebody else's doing.
    pub(in crate::installer) fn first_loss(before: &Self, after: &Self, closure: &Closure) -> Option<String> {
        let is_lost = |(instance, was): &(&Instance, &State)| match after.0.get(*instance) {
            None => true,
            Some(is) => is.version == was.version && !is.is_like(was),
        };
        let others = before.0.iter().filter(|(instance, _)| !closure.has(instance));
        let (lost, _) = others.into_iter().find(is_lost)?;
        Some(Self::went(lost, before, after))
    }

    fn went(changed: &Instance, before: &Self, after: &Self) -> String {
        let shown = |database: &Self| State::shown(&database.0.get(changed).cloned());
        format!("{} went from {} to {}", changed.0, shown(before), shown(after))
    }

    pub(in crate::installer) fn write(&self, path: &Path) -> Result<(), Refusal> {
        record::write(path, self, DATABASE_BYTES_MAX)
    }

    pub(in crate::installer) fn read(path: &Path) -> Result<Self, FileError> {
        record::read(path, DATABASE_BYTES_MAX)
    }
}

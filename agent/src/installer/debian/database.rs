//! The package database, as `dpkg-query` tells it: it also reads what an interrupted dpkg had not yet
//! put into its main file.

use super::super::record;
use super::closure::{Closure, State};
use crate::files::FileError;
use crate::settled::Refusal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest listing.
pub(super) const LISTING_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest database, written down.
const DATABASE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// One line per package.
pub(super) const FORMAT: &str = "${Package}\t${Architecture}\t${Version}\t${Status}\n";

/// Name and architecture.
pub(super) type Instance = (String, String);

/// Every package the host knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Instance, State)>", into = "Vec<(Instance, State)>")]
pub(super) struct Database(BTreeMap<Instance, State>);

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
    pub(super) fn parse(listing: &[u8]) -> Self {
        let listing = String::from_utf8_lossy(listing);
        let package = |line: &str| {
            let [name, architecture, version, status] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
            let there = !status.ends_with(" not-installed");
            let state = State { version: version.to_owned(), status: status.to_owned() };
            there.then(|| ((name.to_owned(), architecture.to_owned()), state))
        };
        Self(listing.lines().filter_map(package).collect())
    }

    /// What is there of a package; `None` when nothing is.
    pub(super) fn state(&self, name: &str, architecture: &str) -> Option<State> {
        self.0.get(&(name.to_owned(), architecture.to_owned())).cloned()
    }

    /// Another architecture of a package that is there.
    pub(super) fn elsewhere(&self, name: &str, architecture: &str) -> Option<&str> {
        let other = self.0.keys().find(|(other, of)| other == name && of != architecture);
        other.map(|(_, of)| of.as_str())
    }

    /// Packages that are all there and have something left to do: triggers that others gave them, or what
    /// they were at when dpkg was killed.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = String> {
        let words = [" triggers-pending", " half-configured"];
        let unfinished = self.0.iter().filter(move |(_, state)| words.iter().any(|word| state.status.ends_with(word)));
        unfinished.map(|((name, architecture), _)| format!("{name}:{architecture}"))
    }

    /// The first package that is not as it was, those of a closure apart.
    pub(super) fn first_difference(before: &Self, after: &Self, apart_from: &Closure) -> Option<String> {
        let all = before.0.keys().chain(after.0.keys());
        let changed = all.filter(|instance| !apart_from.has(instance));
        let changed = changed.into_iter().find(|of| before.0.get(*of) != after.0.get(*of))?;
        Some(Self::went(changed, before, after))
    }

    /// The first package outside of a closure that is gone, or works less than it did: as an update could have
    /// done it. Another version is somebody else's doing.
    pub(super) fn first_loss(before: &Self, after: &Self, closure: &Closure) -> Option<String> {
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

    pub(super) fn write(&self, path: &Path) -> Result<(), Refusal> {
        record::write(path, self, DATABASE_BYTES_MAX)
    }

    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        record::read(path, DATABASE_BYTES_MAX)
    }
}

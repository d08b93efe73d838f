//! The package database, as `dpkg-query` tells it: it also reads what an interrupted dpkg had not yet
//! put into its main file.

use super::closure::{Closure, State};
use std::collections::BTreeMap;

/// Largest listing.
pub(super) const LISTING_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One line per package.
pub(super) const FORMAT: &str = "${Package}\t${Architecture}\t${Version}\t${Status}\n";

/// Name and architecture.
type Instance = (String, String);

/// Every package the host knows of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Database(BTreeMap<Instance, State>);

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

    /// The first package outside of a closure that is not as it was.
    pub(super) fn first_difference(before: &Self, after: &Self, closure: &Closure) -> Option<String> {
        let ours = |(name, architecture): &Instance| {
            closure.packages.iter().any(|package| package.name == *name && package.architecture == *architecture)
        };
        let all = before.0.keys().chain(after.0.keys());
        let changed = all.filter(|instance| !ours(instance)).find(|of| before.0.get(*of) != after.0.get(*of))?;
        let shown = |database: &Self| State::shown(&database.0.get(changed).cloned());
        Some(format!("{} went from {} to {}", changed.0, shown(before), shown(after)))
    }
}

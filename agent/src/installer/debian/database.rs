//! The package database, as `dpkg-query` tells it: it also reads what an interrupted dpkg had not yet
//! put into its main file.

use super::super::packages::{Database, State};

/// Largest listing.
pub(super) const LISTING_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One line per package.
pub(super) const FORMAT: &str = "${Package}\t${Architecture}\t${Version}\t${Status}\n";
/// What packages are at that are all there and have something left to do: triggers that others gave them, or what
/// they were at when dpkg was killed.
const UNFINISHED: [&str; 2] = [" triggers-pending", " half-configured"];

pub(super) fn parse(listing: &[u8]) -> Database {
    let listing = String::from_utf8_lossy(listing);
    let package = |line: &str| {
        let [name, architecture, version, status] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
        let there = !status.ends_with(" not-installed");
        let state = State { version: version.to_owned(), status: status.to_owned() };
        there.then(|| ((name.to_owned(), architecture.to_owned()), state))
    };
    listing.lines().filter_map(package).collect::<Vec<_>>().into()
}

/// Packages with something left to do.
pub(super) fn unfinished(database: &Database) -> Vec<String> {
    let is_unfinished = |state: &State| UNFINISHED.iter().any(|word| state.status.ends_with(word));
    let unfinished = database.all().filter(|(_, state)| is_unfinished(state));
    unfinished.map(|((name, architecture), _)| format!("{name}:{architecture}")).collect()
}

//! What is in a package.
//!
//! A package manager unpacks as root over the whole host. So a package may bring files, directories and links under
//! plain names and nothing else: no way up or out, no devices, nothing written through a link that it
//! brings itself, nothing twice, nothing out of proportion. What runs with somebody else's rights it may
//! keep, where the host has it already, and not bring.

use super::super::unpack::{EntryProblem, LIMITS};
use super::order::Relations;
use super::rights::Rights;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a name, a version, an architecture.
const IDENTITY_BYTES_MAX: usize = 255;
/// Unpacked bytes may be this many times the packed ones …
const RATIO_MAX: u64 = 200;
/// … once there are more than this many.
const RATIO_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// What a package is, and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is built for.
    pub architecture: String,
    /// What it brings, by path.
    pub entries: BTreeMap<String, Brings>,
    /// Those of its files that would run with more rights than those of whoever starts them.
    pub(in crate::installer) rights: BTreeMap<String, Rights>,
    /// Those of its entries that are its own by name only: what is in them others write (a log, a database).
    pub(in crate::installer) ghosts: BTreeSet<String>,
    /// What it asks for.
    pub(in crate::installer) relations: Relations,
    /// Names of packages it takes the place of, where the manager takes those away.
    pub(in crate::installer) obsoletes: Vec<String>,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brings {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its permissions.
        mode: u32,
        /// That it takes; none for a further name of a file.
        bytes: u64,
    },
    /// A symbolic link.
    Link,
}

impl Contents {
    /// Its files, with their lengths.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.entries.iter().filter_map(|(path, brings)| match brings {
            Brings::File { bytes, .. } => Some((path.as_str(), *bytes)),
            _ => None,
        })
    }

    /// Notes the rights of a file, where they are more than those of whoever starts it.
    pub(in crate::installer) fn grant(&mut self, path: &str, rights: Rights) {
        if rights.are_more() {
            self.rights.insert(path.to_owned(), rights);
        }
    }

    /// Adds an entry, if it may be there.
    pub(in crate::installer) fn bring(&mut self, path: String, brings: Brings) -> Result<(), EntryProblem> {
        let through = path
            .match_indices('/')
            .any(|(end, _)| self.entries.get(&path[..end]).is_some_and(|brings| *brings != Brings::Directory));
        if through {
            return Err(EntryProblem::BeneathNoDirectory);
        }
        match self.entries.insert(path, brings) {
            Some(_) => Err(EntryProblem::Duplicate),
            None if self.entries.len() > LIMITS.entries_max => Err(EntryProblem::TooMany(LIMITS.entries_max)),
            None => Ok(()),
        }
    }
}

/// Bytes that a package of this many may unpack to.
pub(in crate::installer) fn bytes_max(packed: u64) -> u64 {
    packed.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES)
}

/// Whether this can be a name, a version or an architecture: they stand in command lines and file names.
pub(in crate::installer) fn is_identity(text: &str, plain: impl Fn(u8) -> bool) -> bool {
    text.len() <= IDENTITY_BYTES_MAX
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.bytes().all(plain)
}

/// Where a link leads is the host's affair, and packages have links to anywhere.
pub(in crate::installer) fn check_target(target: &[u8]) -> Result<(), EntryProblem> {
    let text = std::str::from_utf8(target).map_err(|_| EntryProblem::Name)?;
    match text.chars().any(char::is_control) || text.is_empty() {
        true => Err(EntryProblem::Name),
        false => Ok(()),
    }
}

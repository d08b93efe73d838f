//! What belongs to packages the patch does not name. It is left to them: dpkg would let a package that says
//! `Replaces` have it, and no way back would give it back to its owner.

use super::super::footprint::Root;
use super::super::packages::{Brings, Closure, Files};
use super::Debian;
use crate::files;
use crate::settled::Refusal;
use ledger::receipt::ReasonCode;
use std::collections::{BTreeMap, HashMap};

/// Largest file list of an installed package.
pub(super) const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest list of diversions.
const DIVERSIONS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Lists of what packages have.
pub(super) const INFO_DIRECTORY: &str = "var/lib/dpkg/info";
const DIVERSIONS: &str = "var/lib/dpkg/diversions";
/// What is a link to the same beneath `usr` on merged systems: packages and lists have either.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Where files of packages go instead of where they say.
#[derive(Debug, Default)]
pub(super) struct Diversions(HashMap<String, Diversion>);

#[derive(Debug)]
struct Diversion {
    to: String,
    /// The package that has the place itself; `:` when it is the host.
    by: String,
}

impl Diversions {
    /// As dpkg writes them: three lines each.
    pub(super) fn read(root: &Root) -> Result<Self, Refusal> {
        let bytes = files::read_if_there(&root.path().join(DIVERSIONS), DIVERSIONS_BYTES_MAX)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let plain = |path: &str| path.trim_start_matches('/').to_owned();
        let one = |lines: &[&str]| (plain(lines[0]), Diversion { to: plain(lines[1]), by: lines[2].to_owned() });
        Ok(Self(lines.chunks_exact(3).map(one).collect()))
    }

    /// Where a file of a package ends.
    pub(super) fn landing<'a>(&'a self, path: &'a str, package: &str) -> &'a str {
        match self.0.get(path) {
            Some(diversion) if diversion.by != package => &diversion.to,
            _ => path,
        }
    }
}

/// One name for one place.
struct Merged(Vec<(&'static str, String)>);

impl Merged {
    fn of(root: &Root) -> Self {
        let target = |top: &&'static str| std::fs::read_link(root.path().join(top)).ok();
        let merged = MERGED.iter().filter_map(|top| Some((*top, target(top)?.to_str()?.trim_matches('/').to_owned())));
        Self(merged.filter(|(_, target)| target.starts_with("usr/") && !target.contains("..")).collect())
    }

    fn name(&self, path: &str) -> String {
        let merged = self.0.iter().find_map(|(top, target)| Some((target, path.strip_prefix(top)?.strip_prefix('/')?)));
        merged.map_or_else(|| path.to_owned(), |(target, rest)| format!("{target}/{rest}"))
    }
}

impl Debian {
    /// Refuses what another package has.
    pub(super) fn check_owners(&self, closure: &Closure, new: &Files, to: &Diversions) -> Result<(), Refusal> {
        let merged = Merged::of(&self.root);
        let mut brought = BTreeMap::new();
        for package in closure.changes() {
            let Some(contents) = new.get(&package.file) else { continue };
            let files = contents.entries.iter().filter(|(_, brings)| **brings != Brings::Directory);
            brought.extend(files.map(|(path, _)| (merged.name(to.landing(path, &package.name)), path)));
        }
        let directory = self.root.path().join(INFO_DIRECTORY);
        for name in files::names(&directory)? {
            let Some(instance) = name.strip_suffix(".list") else { continue };
            let owner = instance.split(':').next().unwrap_or(instance);
            if closure.packages.iter().any(|package| package.name == owner) {
                continue;
            }
            let list = files::read(&directory.join(&name), LIST_BYTES_MAX)?;
            for path in String::from_utf8_lossy(&list).lines().map(|path| path.trim_start_matches('/')) {
                if let Some(brought) = brought.get(&merged.name(to.landing(path, owner))) {
                    let detail = format!("/{brought} belongs to {owner}, which the patch does not name");
                    return Err(Refusal::new(ReasonCode::Conflict, detail));
                }
            }
        }
        Ok(())
    }
}

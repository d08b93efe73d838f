//! RPM packages, by the host's own `rpm`.
//!
//! `rpm` looks at all of a transaction before it begins, and refuses what does not fit. Once it has begun it goes
//! on whatever fails: a package whose script fails is left out, and one it was killed at is there twice. What
//! becomes of that is said once for all packages ([`packages`]).
//!
//! [`packages`]: super::packages

mod command;
pub mod examine;
mod strays;

use super::footprint::Root;
use super::install::Story;
use super::packages::{Altered, Closure, Contents, Database, Files, Manager, ManagerError, Package, Written};
use crate::config;
use crate::settled::Refusal;
use command::{Paths, Rpm};
pub(crate) use command::{listing, version};
use ledger::patch::InstallerKind;
use ledger::receipt::ReasonCode;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Installs RPM packages.
pub(super) struct RpmPackages {
    enabled: bool,
    root: Root,
    rpm: Rpm,
}

impl RpmPackages {
    pub(super) fn new(config: &config::Rpm) -> Self {
        Self { enabled: config.enabled, root: Root::of_packages(&config.root), rpm: Rpm::new(config) }
    }
}

fn names(packages: &[&Package]) -> Vec<String> {
    packages.iter().map(|package| package.name.clone()).collect()
}

impl Manager for RpmPackages {
    const KIND: InstallerKind = InstallerKind::Rpm;
    const EXTENSION: &'static str = "rpm";
    /// What is left beside a configuration file.
    const ENDINGS: &'static [&'static str] = &[".rpmnew", ".rpmsave", ".rpmorig"];
    /// What is put there again is taken out of the database first.
    const LEAVES_GONE: bool = true;
    /// Its database is written in pages, and again into a journal of its own.
    const DATABASE_BYTES: u64 = 4 * 1024 * 1024;

    type Turn = ();

    fn root(&self) -> &Root {
        &self.root
    }

    fn lacks(&self) -> Option<String> {
        if !self.enabled {
            return Some("installers.rpm.enabled is false".to_owned());
        }
        self.rpm.lacks(&self.root)
    }

    fn database_path(&self) -> String {
        self.rpm.lock_path()
    }

    /// `rpm` takes its lock itself, and waits for it: it cannot be held for it. What others do between two calls is
    /// noticed by what its database says before and after.
    fn turn(&self) -> Result<(), ManagerError> {
        self.rpm.wait_for_turn()
    }

    fn database(&self) -> Result<Database, ManagerError> {
        self.rpm.database()
    }

    fn examine(&self, package: &Path, called: &str) -> Result<Contents, Refusal> {
        examine::examine(&self.rpm, package, called)
    }

    fn try_install(&self, goes: &[Vec<PathBuf>]) -> Result<(), ManagerError> {
        goes.iter().try_for_each(|go| self.rpm.try_install(go))
    }

    /// A file of another package `rpm` would not take over. A package that another says it takes the place of it
    /// would take away, whichever version the other means: nobody can bring that back.
    fn check_bystanders(&self, closure: &Closure, new: &Files, database: &Database) -> Result<(), Refusal> {
        for package in closure.changes() {
            let obsoletes = new.get(&package.file).map(|contents| contents.obsoletes.as_slice()).unwrap_or_default();
            let others = database.all().map(|((name, _), _)| name);
            let mut others = others.filter(|other| closure.packages.iter().all(|package| package.name != **other));
            if let Some(other) = others.find(|other| obsoletes.contains(other)) {
                let detail = format!("{} takes the place of {other}, which the patch does not name", package.name);
                return Err(Refusal::new(ReasonCode::Conflict, detail));
            }
        }
        Ok(())
    }

    /// What is a package's by name only, before and after, rpm leaves alone, and it is written all the time: it is
    /// no part of the update, and not of the way back. What only one of the two names so rpm takes away with
    /// that one, and what packages make a link (alternatives) they change themselves: those are.
    fn paths(&self, closure: &Closure, new: &Files) -> Result<BTreeSet<String>, Refusal> {
        let had: Vec<_> = closure.changes().filter(|package| package.old.is_some()).collect();
        let Paths { files: mut paths, ghosts: old_ghosts } = self.rpm.files_of(&names(&had))?;
        let mut new_ghosts = BTreeSet::new();
        for contents in closure.changes().filter_map(|package| new.get(&package.file)) {
            paths.extend(contents.entries.keys().filter(|path| !contents.ghosts.contains(*path)).cloned());
            new_ghosts.extend(contents.ghosts.iter().cloned());
        }
        let is_part =
            |path: &&String| !(old_ghosts.contains(*path) && new_ghosts.contains(*path)) || self.root.is_link(path);
        paths.extend(old_ghosts.union(&new_ghosts).filter(is_part).cloned());
        Ok(paths)
    }

    fn install(&self, packages: &[PathBuf], left: Duration, story: &mut Story) -> Result<(), ManagerError> {
        self.rpm.install(packages, left, story)
    }

    fn remove(&self, packages: &[&Package], story: &mut Story) -> Result<(), ManagerError> {
        self.rpm.erase(&names(packages), story)
    }

    fn altered(&self, packages: &[&Package], left: Duration) -> Result<Vec<Altered>, ManagerError> {
        self.rpm.verify(&names(packages), left)
    }

    fn kept_beside(&self, path: &str) -> String {
        format!("{path}.rpmnew")
    }

    fn has_scratch(&self, written: &Written) -> bool {
        !strays::find(&self.root, &written.footprint).files.is_empty()
    }

    fn clear_scratch(&self, written: &Written) -> Result<Vec<String>, ManagerError> {
        Ok(strays::clear(&self.root, &written.footprint))
    }
}

//! The closure of a patch: which packages it brings, and what the host had of them before.

use super::super::install::Somebodys;
use super::super::record;
use super::database::{Database, Instance};
use super::{NEW, OLD};
use crate::files::FileError;
use crate::settled::Refusal;
use ledger::bounded::Version;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Largest closure file.
const CLOSURE_BYTES_MAX: usize = 1024 * 1024;
/// What a package that is all there says of itself.
pub(in crate::installer) const INSTALLED: &str = "install ok installed";
/// What is asked where somebody else left something half done.
pub(super) const ASKED: &str = ", and a person has to say what it shall be";

/// What the database says of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::installer) struct State {
    /// Its version.
    pub(in crate::installer) version: String,
    /// What is wanted of it, whether that is fine, and how far it got: `install ok installed`.
    pub(in crate::installer) status: String,
}

impl State {
    fn installed(version: &str) -> Self {
        Self { version: version.to_owned(), status: INSTALLED.to_owned() }
    }

    /// Whether it is as much there as another, whatever people want of it from now on: that is theirs to say.
    pub(in crate::installer) fn is_like(&self, other: &Self) -> bool {
        let reached = |state: &Self| state.status.split_once(' ').map(|(_, reached)| reached.to_owned());
        self.version == other.version && reached(self) == reached(other)
    }

    /// Somebody took it away, or is about to.
    fn is_unwanted(&self) -> bool {
        ["deinstall ", "purge "].iter().any(|want| self.status.starts_with(want))
    }

    pub(in crate::installer) fn shown(state: &Option<Self>) -> String {
        match state {
            None => "not installed".to_owned(),
            Some(Self { version, status }) => format!("{version} ({status})"),
        }
    }
}

/// A package to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::installer) struct Before {
    /// Its version.
    pub(in crate::installer) version: String,
    /// Its file among the old ones; none is needed for a package that stays as it is.
    pub(in crate::installer) file: Option<String>,
    /// In which go it is installed.
    pub(in crate::installer) go: usize,
}

/// One package of a closure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::installer) struct Package {
    /// Its name.
    pub(in crate::installer) name: String,
    /// Its architecture.
    pub(in crate::installer) architecture: String,
    /// The version the patch brings.
    pub(in crate::installer) version: String,
    /// Its file among the new ones.
    pub(in crate::installer) file: String,
    /// In which go it is installed.
    pub(in crate::installer) go: usize,
    /// What the host had.
    pub(in crate::installer) old: Option<Before>,
}

impl Package {
    /// Whether the patch changes it.
    pub(in crate::installer) fn changes(&self) -> bool {
        self.old.as_ref().is_none_or(|old| old.version != self.version)
    }

    pub(in crate::installer) fn old_state(&self) -> Option<State> {
        self.old.as_ref().map(|old| State::installed(&old.version))
    }

    pub(in crate::installer) fn new_state(&self) -> Option<State> {
        Some(State::installed(&self.version))
    }

    /// What is there of it, if that is something other than wanted.
    pub(in crate::installer) fn is_not(&self, wanted: &Option<State>, database: &Database) -> Option<String> {
        let there = database.state(&self.name, &self.architecture);
        let is_wanted = match (&there, wanted) {
            (Some(there), Some(wanted)) => there.is_like(wanted),
            (there, wanted) => there == wanted,
        };
        let told = || format!("{} is {}, not {}", self.name, State::shown(&there), State::shown(wanted));
        (!is_wanted).then(told)
    }

    /// What is there of it when neither this update nor its way back can have brought it about: somebody else did.
    fn is_somebodys(&self, database: &Database, may_be_gone: bool) -> Option<String> {
        let there = database.state(&self.name, &self.architecture);
        let old = self.old.as_ref().map(|old| &old.version);
        let is_somebodys = match &there {
            None => old.is_some() && !may_be_gone,
            Some(there) => {
                let is_ours = there.version.is_empty() || there.version == self.version || Some(&there.version) == old;
                !is_ours || old.is_some() && there.is_unwanted()
            }
        };
        let told = || {
            let expected = old.map_or_else(|| self.version.clone(), |old| format!("{old} or {}", self.version));
            format!("{} is {}, not {expected}: somebody else changed it", self.name, State::shown(&there))
        };
        is_somebodys.then(told)
    }

    /// Whether it is there in a version that neither this update nor its way back brings.
    fn is_foreign(&self, database: &Database) -> bool {
        let old = self.old.as_ref().map(|old| &old.version);
        let there = database.state(&self.name, &self.architecture);
        there.is_some_and(|there| there.version != self.version && Some(&there.version) != old)
    }

    /// What is there of it, unless that is properly installed in whichever version, or never was there.
    fn is_not_whole(&self, database: &Database) -> Option<String> {
        let there = database.state(&self.name, &self.architecture);
        let is_whole = match &there {
            None => self.old.is_none(),
            Some(there) => !there.version.is_empty() && there.is_like(&State::installed(&there.version)),
        };
        (!is_whole).then(|| format!("{} is {}", self.name, State::shown(&there)))
    }

    pub(in crate::installer) fn new_file(&self, holding: &Path) -> PathBuf {
        holding.join(NEW).join(&self.file)
    }

    pub(in crate::installer) fn old_file(&self, holding: &Path) -> Option<PathBuf> {
        Some(holding.join(OLD).join(self.old.as_ref()?.file.as_ref()?))
    }
}

/// All packages of a patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::installer) struct Closure {
    pub(in crate::installer) packages: Vec<Package>,
}

impl Closure {
    /// Those that the patch changes here.
    pub(in crate::installer) fn changes(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.changes())
    }

    /// Whether a package is one of them.
    pub(in crate::installer) fn has(&self, (name, architecture): &Instance) -> bool {
        self.packages.iter().any(|package| package.name == *name && package.architecture == *architecture)
    }

    /// What somebody else did to one of them since the patch was prepared; a package that is gone is somebody's doing
    /// unless it may be that of the manager itself.
    pub(super) fn is_somebodys(&self, database: &Database, may_be_gone: bool) -> Option<String> {
        self.packages.iter().find_map(|package| package.is_somebodys(database, may_be_gone))
    }

    /// The same, and whether it is a decision: it is when he installed another version, and nothing of the closure is
    /// left half done. A package that is only gone may have been on its way out, or in.
    pub(super) fn somebodys(&self, database: &Database, may_be_gone: bool) -> Option<Somebodys> {
        let told = self.is_somebodys(database, may_be_gone)?;
        let half = self.packages.iter().find_map(|package| package.is_not_whole(database));
        let is_foreign = self.packages.iter().any(|package| package.is_foreign(database));
        Some(match half {
            None if is_foreign => Somebodys::Whole { told, version: self.version_there(database) },
            Some(half) if !told.starts_with(&half) => Somebodys::Between { told: format!("{half}; {told}{ASKED}") },
            _ => Somebodys::Between { told: format!("{told}{ASKED}") },
        })
    }

    /// The one version in which all of it is there; empty when there is more than one.
    fn version_there(&self, database: &Database) -> Version {
        let there = |package: &Package| Some(database.state(&package.name, &package.architecture)?.version);
        let versions: BTreeSet<_> = self.packages.iter().filter_map(there).collect();
        match versions.first() {
            Some(version) if versions.len() == 1 => Version::cut(version),
            _ => Version::default(),
        }
    }

    /// The files of the new packages, go by go.
    pub(in crate::installer) fn new_goes(&self, holding: &Path) -> Vec<Vec<PathBuf>> {
        in_goes(self.changes().map(|package| (package.go, package.new_file(holding))))
    }

    /// The files of those to go back to, go by go.
    pub(in crate::installer) fn old_goes(&self, holding: &Path) -> Vec<Vec<PathBuf>> {
        let old = |package: &Package| Some((package.old.as_ref()?.go, package.old_file(holding)?));
        in_goes(self.changes().filter_map(old))
    }

    pub(in crate::installer) fn write(&self, path: &Path) -> Result<(), Refusal> {
        record::write(path, self, CLOSURE_BYTES_MAX)
    }

    pub(in crate::installer) fn read(path: &Path) -> Result<Self, FileError> {
        record::read(path, CLOSURE_BYTES_MAX)
    }
}

fn in_goes(files: impl Iterator<Item = (usize, PathBuf)>) -> Vec<Vec<PathBuf>> {
    let mut goes = BTreeMap::<usize, Vec<PathBuf>>::new();
    files.for_each(|(go, file)| goes.entry(go).or_default().push(file));
    goes.into_values().collect()
}

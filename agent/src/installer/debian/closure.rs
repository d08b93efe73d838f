//! The closure of a patch: which packages it brings, and what the host had of them before.

use super::super::record;
use super::database::{Database, Instance};
use super::{NEW, OLD};
use crate::files::FileError;
use crate::settled::Refusal;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Largest closure file: packages with something left to do are in it, and there may be many.
const CLOSURE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a package that is all there says of itself.
pub(super) const INSTALLED: &str = "install ok installed";

/// What the database says of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Its version.
    pub(super) version: String,
    /// What is wanted of it, whether that is fine, and how far it got: `install ok installed`.
    pub(super) status: String,
}

impl State {
    fn installed(version: &str) -> Self {
        Self { version: version.to_owned(), status: INSTALLED.to_owned() }
    }

    /// Whether it is as much there as another, whatever people want of it from now on: that is theirs to say.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let reached = |state: &Self| state.status.split_once(' ').map(|(_, reached)| reached.to_owned());
        self.version == other.version && reached(self) == reached(other)
    }

    /// Somebody took it away, or is about to.
    fn is_unwanted(&self) -> bool {
        ["deinstall ", "purge "].iter().any(|want| self.status.starts_with(want))
    }

    pub(super) fn shown(state: &Option<Self>) -> String {
        match state {
            None => "not installed".to_owned(),
            Some(Self { version, status }) => format!("{version} ({status})"),
        }
    }
}

/// A package to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Before {
    /// Its version.
    pub(super) version: String,
    /// Its file among the old ones; none is needed for a package that stays as it is.
    pub(super) file: Option<String>,
    /// In which go it is installed.
    pub(super) go: usize,
}

/// One package of a closure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    /// Its name.
    pub(super) name: String,
    /// Its architecture.
    pub(super) architecture: String,
    /// The version the patch brings.
    pub(super) version: String,
    /// Its file among the new ones.
    pub(super) file: String,
    /// In which go it is installed.
    pub(super) go: usize,
    /// What the host had.
    pub(super) old: Option<Before>,
}

impl Package {
    /// As dpkg wants it named.
    pub(super) fn instance(&self) -> String {
        format!("{}:{}", self.name, self.architecture)
    }

    /// Whether the patch changes it.
    pub(super) fn changes(&self) -> bool {
        self.old.as_ref().is_none_or(|old| old.version != self.version)
    }

    pub(super) fn old_state(&self) -> Option<State> {
        self.old.as_ref().map(|old| State::installed(&old.version))
    }

    pub(super) fn new_state(&self) -> Option<State> {
        Some(State::installed(&self.version))
    }

    /// What is there of it, if that is something other than wanted.
    pub(super) fn is_not(&self, wanted: &Option<State>, database: &Database) -> Option<String> {
        let there = database.state(&self.name, &self.architecture);
        let is_wanted = match (&there, wanted) {
            (Some(there), Some(wanted)) => there.is_like(wanted),
            (there, wanted) => there == wanted,
        };
        let told = || format!("{} is {}, not {}", self.name, State::shown(&there), State::shown(wanted));
        (!is_wanted).then(told)
    }

    /// What is there of it when neither this update nor its way back can have brought it about: somebody else did.
    fn is_somebodys(&self, database: &Database) -> Option<String> {
        let there = database.state(&self.name, &self.architecture);
        let old = self.old.as_ref().map(|old| &old.version);
        let is_somebodys = match &there {
            None => old.is_some(),
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

    pub(super) fn new_file(&self, holding: &Path) -> PathBuf {
        holding.join(NEW).join(&self.file)
    }

    pub(super) fn old_file(&self, holding: &Path) -> Option<PathBuf> {
        Some(holding.join(OLD).join(self.old.as_ref()?.file.as_ref()?))
    }
}

/// All packages of a patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Closure {
    pub(super) packages: Vec<Package>,
    /// Packages that had something left to do already before.
    #[serde(default)]
    pub(super) unfinished: Vec<String>,
}

impl Closure {
    /// Those that the patch changes here.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.changes())
    }

    /// Whether a package is one of them.
    pub(super) fn has(&self, (name, architecture): &Instance) -> bool {
        self.packages.iter().any(|package| package.name == *name && package.architecture == *architecture)
    }

    /// What somebody else did to one of them since the patch was prepared.
    pub(super) fn is_somebodys(&self, database: &Database) -> Option<String> {
        self.packages.iter().find_map(|package| package.is_somebodys(database))
    }

    /// The files of the new packages, go by go.
    pub(super) fn new_goes(&self, holding: &Path) -> Vec<Vec<PathBuf>> {
        in_goes(self.changes().map(|package| (package.go, package.new_file(holding))))
    }

    /// The files of those to go back to, go by go.
    pub(super) fn old_goes(&self, holding: &Path) -> Vec<Vec<PathBuf>> {
        let old = |package: &Package| Some((package.old.as_ref()?.go, package.old_file(holding)?));
        in_goes(self.changes().filter_map(old))
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Refusal> {
        record::write(path, self, CLOSURE_BYTES_MAX)
    }

    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        record::read(path, CLOSURE_BYTES_MAX)
    }
}

fn in_goes(files: impl Iterator<Item = (usize, PathBuf)>) -> Vec<Vec<PathBuf>> {
    let mut goes = std::collections::BTreeMap::<usize, Vec<PathBuf>>::new();
    files.for_each(|(go, file)| goes.entry(go).or_default().push(file));
    goes.into_values().collect()
}

//! The closure of a patch: which packages it brings, and what the host had of them before.

use super::database::Database;
use super::{NEW, OLD};
use crate::files::{self, FileError, failed};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Largest closure file.
const CLOSURE_BYTES_MAX: usize = 256 * 1024;
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
    /// Bytes it takes, installed.
    pub(super) bytes: u64,
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

    /// Whether the host has something else of it than when the patch was prepared.
    pub(super) fn is_otherwise(&self, database: &Database) -> bool {
        database.state(&self.name, &self.architecture) != self.old_state()
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

    /// Bytes that the packages of before take.
    pub(super) fn old_bytes(&self) -> u64 {
        self.changes().filter_map(|package| Some(package.old.as_ref()?.bytes)).fold(0, u64::saturating_add)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        files::replace(path, &serde_json::to_vec_pretty(self).unwrap_or_default())
    }

    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let bytes = files::read(path, CLOSURE_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|error| failed("understand", path)(io::Error::other(error)))
    }
}

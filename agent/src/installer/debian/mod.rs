//! Debian packages, by the host's own `dpkg`.
//!
//! `dpkg` does not know all-or-nothing: a package whose dependencies do not fit is left unpacked, and
//! one whose script fails half configured. What becomes of that is said once for all packages ([`packages`]).
//!
//! [`packages`]: super::packages

mod bystanders;
mod command;
mod database;
pub mod examine;

use super::footprint::Root;
use super::install::Story;
use super::packages::{Altered, Closure, Contents, Database, Files, Manager, ManagerError, Package, Written};
use crate::config;
use crate::files;
use crate::settled::Refusal;
use bystanders::{Diversions, INFO_DIRECTORY, LIST_BYTES_MAX};
use command::{Dpkg, Lock};
use ledger::patch::InstallerKind;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database itself.
const STATUS: &str = "var/lib/dpkg/status";
/// Where dpkg unpacks what a package says of itself; one that is killed leaves it behind.
const SCRATCH: &str = "var/lib/dpkg/tmp.ci";
/// Where dpkg writes what it changes until it ends; one that is killed leaves that to the next one.
const UPDATES: &str = "var/lib/dpkg/updates";
/// Where scripts of packages note which triggers are to be run; dpkg takes it from there.
const UNINCORPORATED: &str = "var/lib/dpkg/triggers/Unincorp";
/// Files in which dpkg keeps what it knows of a package.
const INFO: [&str; 12] = [
    "list",
    "md5sums",
    "conffiles",
    "preinst",
    "postinst",
    "prerm",
    "postrm",
    "config",
    "templates",
    "triggers",
    "shlibs",
    "symbols",
];

/// Installs Debian packages.
pub(super) struct Debian {
    enabled: bool,
    root: Root,
    dpkg: Dpkg,
}

/// As dpkg wants a package named.
fn instance(package: &Package) -> String {
    format!("{}:{}", package.name, package.architecture)
}

fn instances(packages: &[&Package]) -> Vec<String> {
    packages.iter().map(|package| instance(package)).collect()
}

impl Debian {
    pub(super) fn new(config: &config::Debian) -> Self {
        Self { enabled: config.enabled, root: Root::of_packages(&config.root), dpkg: Dpkg::new(config) }
    }

    fn has_unwritten(&self) -> bool {
        let updates = files::names(&self.root.path().join(UPDATES));
        let noted = std::fs::metadata(self.root.path().join(UNINCORPORATED));
        updates.is_ok_and(|names| !names.is_empty()) || noted.is_ok_and(|noted| noted.len() > 0)
    }

    /// Packages that a killed dpkg did not come to the end with, beside those of the patch: others than
    /// had something left to do before.
    fn unfinished(&self, written: &Written) -> Result<Vec<String>, ManagerError> {
        let before = database::unfinished(&written.before);
        let now = database::unfinished(&self.dpkg.database()?);
        Ok(now.into_iter().filter(|package| !before.contains(package)).collect())
    }
}

impl Manager for Debian {
    const KIND: InstallerKind = InstallerKind::Debian;
    const EXTENSION: &'static str = "deb";
    /// What dpkg calls a file while it replaces it, and what it leaves beside a configuration file.
    const ENDINGS: &'static [&'static str] = &[".dpkg-new", ".dpkg-tmp", ".dpkg-dist", ".dpkg-old"];

    type Turn = Lock;

    fn root(&self) -> &Root {
        &self.root
    }

    fn lacks(&self) -> Option<String> {
        if !self.enabled {
            return Some("installers.debian.enabled is false".to_owned());
        }
        self.dpkg.lacks(self.root.path())
    }

    fn database_path(&self) -> String {
        STATUS.to_owned()
    }

    fn turn(&self) -> Result<Lock, ManagerError> {
        self.dpkg.lock()
    }

    fn database(&self) -> Result<Database, ManagerError> {
        self.dpkg.database()
    }

    fn examine(&self, package: &Path, called: &str) -> Result<Contents, Refusal> {
        examine::examine(&self.dpkg, package, called)
    }

    fn try_install(&self, goes: &[Vec<PathBuf>]) -> Result<(), ManagerError> {
        goes.iter().enumerate().try_for_each(|(place, go)| self.dpkg.try_install(go, place == 0))
    }

    fn check_bystanders(&self, closure: &Closure, new: &Files, _: &Database) -> Result<(), Refusal> {
        self.check_owners(closure, new, &Diversions::read(&self.root)?)
    }

    fn paths(&self, closure: &Closure, new: &Files) -> Result<BTreeSet<String>, Refusal> {
        let (diversions, mut paths) = (Diversions::read(&self.root)?, BTreeSet::new());
        for package in closure.changes() {
            let mut add = |path: &str| {
                // The root itself is no package's, though all of them name it (`/.`).
                if !path.is_empty() && path != "." {
                    paths.insert(diversions.landing(path, &package.name).to_owned());
                    paths.insert(path.to_owned());
                }
            };
            for name in [package.name.clone(), instance(package)] {
                INFO.iter().for_each(|info| add(&format!("{INFO_DIRECTORY}/{name}.{info}")));
                let list = self.root.path().join(INFO_DIRECTORY).join(format!("{name}.list"));
                let list = files::read_if_there(&list, LIST_BYTES_MAX)?.unwrap_or_default();
                String::from_utf8_lossy(&list).lines().for_each(|path| add(path.trim_start_matches('/')));
            }
            if let Some(contents) = new.get(&package.file) {
                contents.entries.keys().for_each(|path| add(path));
            }
        }
        Ok(paths)
    }

    fn install(&self, packages: &[PathBuf], left: Duration, story: &mut Story) -> Result<(), ManagerError> {
        self.dpkg.install(packages, left, story)
    }

    fn remove(&self, packages: &[&Package], story: &mut Story) -> Result<(), ManagerError> {
        self.dpkg.purge(&instances(packages), story)
    }

    fn altered(&self, packages: &[&Package], left: Duration) -> Result<Vec<Altered>, ManagerError> {
        self.dpkg.verify(&instances(packages), left)
    }

    fn kept_beside(&self, path: &str) -> String {
        format!("{path}.dpkg-dist")
    }

    fn has_scratch(&self, written: &Written) -> bool {
        self.root.path().join(SCRATCH).exists()
            || self.has_unwritten()
            || self.unfinished(written).is_ok_and(|unfinished| !unfinished.is_empty())
    }

    fn clear_scratch(&self, written: &Written) -> Result<Vec<String>, ManagerError> {
        files::remove_tree(&self.root.path().join(SCRATCH))?;
        if self.has_unwritten() {
            self.dpkg.write_out()?;
        }
        let unfinished = self.unfinished(written)?;
        if !unfinished.is_empty() {
            self.dpkg.finish(&unfinished)?;
        }
        Ok(Vec::new())
    }
}

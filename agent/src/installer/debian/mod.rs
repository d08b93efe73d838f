//! Debian packages, by the host's own `dpkg`.
//!
//! The artifacts of the patch are the closure: exactly these packages in exactly these versions, and no
//! resolver is asked. Artifacts that are only there to go back to are packages as well
//! ([`Artifact::is_to_go_back_to`]).
//!
//! `dpkg` does not know all-or-nothing: a package whose dependencies do not fit is left unpacked, and
//! one whose script fails half configured. So what is there is read back from its database afterwards,
//! and whatever is not exactly right is taken back: `dpkg` puts the packages of before in place, and
//! what it leaves different from before is repaired from copies that were taken then ([`footprint`]).
//! A host whose packages of before cannot be had is not changed at all.
//!
//! [`footprint`]: super::footprint
//! [`Artifact::is_to_go_back_to`]: ledger::patch::Artifact::is_to_go_back_to

mod closure;
mod command;
mod database;
mod examine;
mod prepare;

use super::footprint::{Footprint, Root};
use super::install::{Held, Install, Job, Look, PutError, Story};
use crate::config;
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, chain, reason};
use closure::{Closure, State};
use command::{Dpkg, DpkgError};
use database::Database;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::{Reason, ReasonCode};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the closure is called in the holding.
const CLOSURE: &str = "closure.json";
/// What the footprint of before is called in the holding.
const FOOTPRINT: &str = "footprint.json";
/// Copies of the files of before, in the holding.
const KEPT: &str = "kept";
/// Packages to install and to go back to, in the holding.
const NEW: &str = "new";
const OLD: &str = "old";
/// A file that keeps room on the host's disk for going back, beneath the root.
const ROOM: &str = "var/lib/dpkg/countersign-room";
/// Where dpkg unpacks what a package says of itself; one that is killed leaves it behind.
const SCRATCH: &str = "var/lib/dpkg/tmp.ci";
/// Where dpkg writes what it changes until it ends; one that is killed leaves that to the next one.
const UPDATES: &str = "var/lib/dpkg/updates";
/// Where scripts of packages note which triggers are to be run; dpkg takes it from there.
const UNINCORPORATED: &str = "var/lib/dpkg/triggers/Unincorp";

/// Installs Debian packages.
pub(super) struct Debian {
    enabled: bool,
    root: Root,
    dpkg: Dpkg,
}

impl Debian {
    pub(super) fn new(config: &config::Debian) -> Self {
        Self { enabled: config.enabled, root: Root::new(&config.root), dpkg: Dpkg::new(config) }
    }

    fn room(&self) -> PathBuf {
        self.root.path().join(ROOM)
    }

    /// Keeps as much room as the packages of before need, so that a disk that fills up meanwhile is no
    /// obstacle to going back.
    fn keep_room(&self, bytes: u64) -> Result<(), FileError> {
        let path = self.room();
        files::remove(&path)?;
        let file = File::create_new(&path).map_err(failed("create", &path))?;
        let kept = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes.max(1));
        match kept {
            // A file system that cannot: then there is only what is free.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            kept => kept.map_err(|error| failed("keep room in", &path)(error.into())),
        }
    }

    /// Takes away what a killed dpkg left behind. Somebody's dpkg may need it just now, so this is for
    /// whoever holds the lock.
    fn clear_scratch(&self, closure: &Closure) -> Result<(), DpkgError> {
        files::remove_tree(&self.root.path().join(SCRATCH))?;
        if self.has_unwritten() {
            self.dpkg.write_out()?;
        }
        match self.unfinished(closure)? {
            unfinished if unfinished.is_empty() => Ok(()),
            unfinished => self.dpkg.finish(&unfinished),
        }
    }

    fn has_unwritten(&self) -> bool {
        let updates = files::names(&self.root.path().join(UPDATES));
        let noted = std::fs::metadata(self.root.path().join(UNINCORPORATED));
        updates.is_ok_and(|names| !names.is_empty()) || noted.is_ok_and(|noted| noted.len() > 0)
    }

    /// Packages that a killed dpkg did not come to the end with, beside those of the patch: others than
    /// had something left to do before.
    fn unfinished(&self, closure: &Closure) -> Result<Vec<String>, DpkgError> {
        let all = self.dpkg.database()?;
        Ok(all.unfinished().filter(|package| !closure.unfinished.contains(package)).collect())
    }

    fn has_scratch(&self, closure: &Closure) -> bool {
        self.root.path().join(SCRATCH).exists()
            || self.has_unwritten()
            || self.unfinished(closure).is_ok_and(|unfinished| !unfinished.is_empty())
    }

    /// Everything of the root's file system onto the disk.
    fn sync(&self) -> Result<(), FileError> {
        let path = self.root.path();
        let opened = File::open(path).map_err(failed("open", path))?;
        rustix::fs::syncfs(&opened).map_err(|error| failed("sync", path)(error.into()))
    }

    /// Whether the host has exactly what it had before.
    fn is_old(&self, closure: &Closure, footprint: &Footprint) -> Result<(), String> {
        let database = self.dpkg.database().map_err(|error| chain(&error))?;
        for package in &closure.packages {
            let (there, wanted) = (database.state(&package.name, &package.architecture), package.old_state());
            if there != wanted {
                return Err(format!("{} is {}, was {}", package.name, State::shown(&there), State::shown(&wanted)));
            }
        }
        let differences = footprint.differences(&self.root).map_err(|error| chain(&error))?;
        match differences.first() {
            None => Ok(()),
            Some((path, wanted, there)) => Err(format!("{path} is {there:?}, was {wanted:?}")),
        }
    }

    fn go_back(&self, closure: &Closure, holding: &Path, story: &mut Story) -> Result<(), DpkgError> {
        let old: Vec<_> = closure.changes().filter_map(|package| package.old_file(holding)).collect();
        if !old.is_empty() {
            self.dpkg.install(&old, Duration::MAX, story)?;
        }
        let database = self.dpkg.database()?;
        let came = |package: &&closure::Package| {
            package.old.is_none() && database.state(&package.name, &package.architecture).is_some()
        };
        let new: Vec<_> = closure.changes().filter(came).map(closure::Package::instance).collect();
        if new.is_empty() { Ok(()) } else { self.dpkg.purge(&new, story) }
    }

    /// The closure, all of it and nothing else.
    fn install_new(&self, closure: &Closure, job: &Job, before: &Database, story: &mut Story) -> Result<(), Reason> {
        let new: Vec<_> = closure.changes().map(|package| package.new_file(&job.holding())).collect();
        if !new.is_empty() {
            self.dpkg.install(&new, job.deadline.left(), story).map_err(|error| install_failed(&error))?;
        }
        let after = self.dpkg.database().map_err(|error| install_failed(&error))?;
        match Database::first_difference(before, &after, closure) {
            None => Ok(()),
            Some(other) => Err(reason(ReasonCode::InstallFailed, format!("{other}, which the patch does not name"))),
        }
    }

    /// Says which configuration files of the host's own were kept, and where the package's are.
    fn tell_kept(&self, footprint: &Footprint, story: &mut Story) {
        for path in footprint.0.keys().filter_map(|path| path.strip_suffix(".dpkg-dist")) {
            let dist = format!("{path}.dpkg-dist");
            if self.root.mark(&dist).is_ok_and(|mark| mark != footprint.0[&dist]) {
                story.tell(format!("/{path} was changed on this host and is kept; the package's is /{dist}"));
            }
        }
    }
}

fn read_holding(holding: &Path) -> Result<(Closure, Footprint), FileError> {
    Ok((Closure::read(&holding.join(CLOSURE))?, Footprint::read(&holding.join(FOOTPRINT))?))
}

fn install_failed(error: &DpkgError) -> Reason {
    let code = if error.is_disk_full() { ReasonCode::DiskFull } else { ReasonCode::InstallFailed };
    reason(code, chain(error))
}

impl Install for Debian {
    fn kind(&self) -> InstallerKind {
        InstallerKind::Debian
    }

    fn lacks(&self) -> Option<String> {
        if !self.enabled {
            return Some("installers.debian.enabled is false".to_owned());
        }
        self.dpkg.lacks(self.root.path())
    }

    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        match manifest.artifacts.iter().any(|artifact| !artifact.is_to_go_back_to()) {
            true => Ok(()),
            false => Err(Refusal::new(ReasonCode::InstallerMissing, "the patch has no package to install")),
        }
    }

    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, story: &mut Story) -> Result<(), Refusal> {
        self.prepare_holding(job, held, holding, story)
    }

    fn put(&self, job: &Job, story: &mut Story) -> Result<(), PutError> {
        let holding = job.holding();
        let not_begun = |error: DpkgError| PutError::NotBegun(install_failed(&error));
        let (closure, footprint) = read_holding(&holding).map_err(|error| not_begun(error.into()))?;
        let _lock = self.dpkg.lock().map_err(not_begun)?;
        let before = self.dpkg.database().map_err(not_begun)?;
        if let Some(package) = closure.packages.iter().find(|package| package.is_otherwise(&before)) {
            let there = State::shown(&before.state(&package.name, &package.architecture));
            let meanwhile = reason(ReasonCode::InstallFailed, format!("{} is {there} meanwhile", package.name));
            return Err(PutError::NotBegun(meanwhile));
        }
        job.deadline.check().map_err(|late| PutError::NotBegun(Refusal::from(late).reason))?;
        self.keep_room(closure.old_bytes()).map_err(|error| not_begun(error.into()))?;
        self.install_new(&closure, job, &before, story).map_err(PutError::Midway)?;
        self.tell_kept(&footprint, story);
        self.sync().map_err(|error| PutError::Midway(Refusal::from(error).reason))
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        let holding = job.holding();
        if !holding.join(CLOSURE).is_file() {
            // Not even prepared: the host was never touched.
            return Ok(Look { old: true, new: false, way_back: false });
        }
        let (closure, footprint) = read_holding(&holding)?;
        // What an agent that died left running comes to its end first.
        let locked = match self.dpkg.lock() {
            Err(error) if error.is_read_only() => None,
            lock => Some(lock.map_err(|error| failed("wait for", &self.room())(std::io::Error::other(chain(&error))))?),
        };
        let old = self.is_old(&closure, &footprint).is_ok();
        drop(locked);
        let way_back = closure.changes().filter_map(|package| package.old_file(&holding)).all(|file| file.is_file());
        Ok(Look { old, new: self.prove_new(job).is_ok(), way_back })
    }

    fn prove_new(&self, job: &Job) -> Result<(), Reason> {
        let closure = Closure::read(&job.holding().join(CLOSURE)).map_err(|error| Refusal::from(error).reason)?;
        let database = self.dpkg.database().map_err(|error| install_failed(&error))?;
        for package in &closure.packages {
            let (there, wanted) = (database.state(&package.name, &package.architecture), package.new_state());
            if there != wanted {
                let (name, there, wanted) = (&package.name, State::shown(&there), State::shown(&wanted));
                return Err(reason(ReasonCode::InstallFailed, format!("{name} is {there}, not {wanted}")));
            }
        }
        // Without a name dpkg would look at every package there is.
        let instances: Vec<_> = closure.changes().map(closure::Package::instance).collect();
        if instances.is_empty() {
            return Ok(());
        }
        match self.dpkg.verify(&instances).map_err(|error| install_failed(&error))? {
            None => Ok(()),
            Some(line) => Err(reason(ReasonCode::InstallFailed, format!("not as it was packed: {line}"))),
        }
    }

    fn restore(&self, job: &Job, story: &mut Story) -> Result<(), String> {
        let holding = job.holding();
        let (closure, footprint) = read_holding(&holding).map_err(|error| chain(&error))?;
        let _lock = self.dpkg.lock().map_err(|error| chain(&error))?;
        files::remove(&self.room()).map_err(|error| chain(&error))?;
        if self.is_old(&closure, &footprint).is_ok() {
            return self.clear_scratch(&closure).map_err(|error| chain(&error));
        }
        let went = self.go_back(&closure, &holding, story);
        for path in footprint.repair(&self.root, &holding.join(KEPT))? {
            story.tell(format!("repaired /{path}"));
        }
        self.clear_scratch(&closure).map_err(|error| chain(&error))?;
        self.sync().map_err(|error| chain(&error))?;
        match went {
            // What counts is what is there.
            Err(error) if self.is_old(&closure, &footprint).is_err() => Err(chain(&error)),
            _ => Ok(()),
        }
    }

    fn prove_old(&self, job: &Job) -> Result<(), String> {
        let (closure, footprint) = read_holding(&job.holding()).map_err(|error| chain(&error))?;
        self.is_old(&closure, &footprint)
    }

    fn settle(&self, job: &Job) -> Result<(), FileError> {
        files::remove(&self.room())?;
        let path = job.holding().join(CLOSURE);
        if !path.is_file() {
            return Ok(()); // The host was never touched.
        }
        let closure = Closure::read(&path)?;
        if self.has_scratch(&closure) {
            let cleared = self.dpkg.lock().and_then(|_lock| self.clear_scratch(&closure));
            cleared.map_err(|error| failed("clear up", &self.room())(std::io::Error::other(chain(&error))))?;
        }
        files::remove_tree(&job.holding().join(KEPT))
    }

    fn runs_from(&self) -> Option<PathBuf> {
        Some(self.root.path().to_owned())
    }
}

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

mod bystanders;
mod closure;
mod command;
mod database;
mod examine;
mod going;
mod order;
mod prepare;

use super::footprint::{Footprint, Root};
use super::install::{Held, Install, Job, Look, PutError, Story};
use super::room::Reserve;
use crate::config;
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, chain, reason};
use closure::Closure;
use command::{Dpkg, DpkgError};
use database::Database;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::{Reason, ReasonCode};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What the closure is called in the holding.
const CLOSURE: &str = "closure.json";
/// What the footprint of before is called in the holding.
const FOOTPRINT: &str = "footprint.json";
/// Copies of the files of before, in the holding.
const KEPT: &str = "kept";
/// Packages to install and to go back to, in the holding.
const NEW: &str = "new";
const OLD: &str = "old";
/// What packages there were before, in the holding.
const BEFORE: &str = "packages.json";
/// In the holding: that all of the new was in place, and that nothing else was changed by it.
const IN_PLACE: &str = "in-place";
/// Which room is kept on the host's disks for going back, in the holding.
const RESERVE: &str = "room.json";
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
        Self { enabled: config.enabled, root: Root::of_packages(&config.root), dpkg: Dpkg::new(config) }
    }

    fn give_back_room(&self, holding: &Path) -> Result<(), FileError> {
        Reserve::read(&holding.join(RESERVE))?.give_back(&self.root)
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

    /// Whether the host has exactly what it had before. What others did to packages that the patch does not name
    /// is theirs, once it is certain that the update did not do it.
    fn is_old(&self, written: &Written, database: &Database) -> Result<(), String> {
        let Written { closure, footprint, before, is_in_place } = written;
        if let Some(other) = closure.packages.iter().find_map(|package| package.is_not(&package.old_state(), database))
        {
            return Err(other);
        }
        if !is_in_place && let Some(lost) = Database::first_loss(before, database, closure) {
            return Err(format!("{lost}, which the patch does not name"));
        }
        match footprint.differences(&self.root).map_err(|error| chain(&error))?.first() {
            None => Ok(()),
            Some(difference) => Err(difference.told()),
        }
    }

    fn database(&self) -> Result<Database, String> {
        self.dpkg.database().map_err(|error| chain(&error))
    }
}

/// What preparing wrote down.
struct Written {
    closure: Closure,
    footprint: Footprint,
    before: Database,
    is_in_place: bool,
}

impl Written {
    fn read(holding: &Path) -> Result<Self, FileError> {
        Ok(Self {
            closure: Closure::read(&holding.join(CLOSURE))?,
            footprint: Footprint::read(&holding.join(FOOTPRINT))?,
            before: Database::read(&holding.join(BEFORE))?,
            is_in_place: holding.join(IN_PLACE).exists(),
        })
    }
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
        let (holding, not_begun) = (job.holding(), |refusal: Refusal| PutError::NotBegun(refusal.reason));
        let dpkg = |error: DpkgError| PutError::NotBegun(install_failed(&error));
        let written = Written::read(&holding).map_err(|error| not_begun(error.into()))?;
        let _lock = self.dpkg.lock().map_err(dpkg)?;
        let before = self.dpkg.database().map_err(dpkg)?;
        if let Some(other) = Database::first_difference(&written.before, &before, &Closure::default()) {
            return Err(PutError::NotBegun(reason(ReasonCode::InstallFailed, format!("{other} meanwhile"))));
        }
        written.footprint.check_unchanged(&self.root).map_err(not_begun)?;
        job.deadline.check().map_err(|late| not_begun(late.into()))?;
        let reserve = Reserve::read(&holding.join(RESERVE)).map_err(|error| not_begun(error.into()))?;
        reserve.keep(&self.root).map_err(|error| not_begun(error.into()))?;
        self.install_new(&written.closure, job, &before, story).map_err(PutError::Midway)?;
        self.tell_kept(&written.footprint, story);
        let synced = self.sync().and_then(|()| files::replace(&holding.join(IN_PLACE), b""));
        synced.map_err(|error| PutError::Midway(Refusal::from(error).reason))
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        let holding = job.holding();
        if !holding.join(CLOSURE).is_file() {
            // Not even prepared: the host was never touched.
            return Ok(Look { old: true, ..Look::default() });
        }
        let written = Written::read(&holding)?;
        let unseen = |said: String| failed("see", self.root.path())(std::io::Error::other(said));
        // What an agent that died left running comes to its end first.
        let locked = match self.dpkg.lock() {
            Err(error) if error.is_read_only() => None,
            lock => Some(lock.map_err(|error| unseen(chain(&error)))?),
        };
        let database = self.database().map_err(unseen)?;
        let old = self.is_old(&written, &database).is_ok();
        let somebodys = if old { None } else { written.closure.is_somebodys(&database) };
        drop(locked);
        let mut back = written.closure.changes().filter_map(|package| package.old_file(&holding));
        Ok(Look { old, new: self.prove_new(job).is_ok(), way_back: back.all(|file| file.is_file()), somebodys })
    }

    fn prove_new(&self, job: &Job) -> Result<(), Reason> {
        let closure = Closure::read(&job.holding().join(CLOSURE)).map_err(|error| Refusal::from(error).reason)?;
        let database = self.dpkg.database().map_err(|error| install_failed(&error))?;
        if let Some(other) = closure.packages.iter().find_map(|package| package.is_not(&package.new_state(), &database))
        {
            return Err(reason(ReasonCode::InstallFailed, other));
        }
        // Without a name dpkg would look at every package there is.
        let instances: Vec<_> = closure.changes().map(closure::Package::instance).collect();
        if instances.is_empty() {
            return Ok(());
        }
        let altered = self.dpkg.verify(&instances).map_err(|error| install_failed(&error))?;
        match altered.iter().find(|altered| !altered.is_configuration) {
            None => Ok(()),
            Some(altered) => Err(reason(ReasonCode::InstallFailed, format!("not as it was packed: {}", altered.told))),
        }
    }

    fn restore(&self, job: &Job, story: &mut Story) -> Result<(), String> {
        let holding = job.holding();
        let written = Written::read(&holding).map_err(|error| chain(&error))?;
        let _lock = self.dpkg.lock().map_err(|error| chain(&error))?;
        self.give_back_room(&holding).map_err(|error| chain(&error))?;
        let database = self.database()?;
        if self.is_old(&written, &database).is_ok() {
            return self.clear_scratch(&written.closure).map_err(|error| chain(&error));
        }
        if let Some(somebodys) = written.closure.is_somebodys(&database) {
            return Err(format!("{somebodys}, and a person has to say what it shall be"));
        }
        let went = self.go_back(&written.closure, &holding, story);
        let repair = written.footprint.repair(&self.root, &holding.join(KEPT)).map_err(|error| chain(&error))?;
        let repaired = repair.tell(story);
        self.clear_scratch(&written.closure).map_err(|error| chain(&error))?;
        self.sync().map_err(|error| chain(&error))?;
        match (went, repaired) {
            (Ok(()), Ok(())) => Ok(()),
            // What counts is what is there.
            (went, repaired) => self.is_old(&written, &self.database()?).map_err(|differs| {
                went.err().map(|error| chain(&error)).or(repaired.err()).unwrap_or(differs) //
            }),
        }
    }

    fn prove_old(&self, job: &Job) -> Result<(), String> {
        let written = Written::read(&job.holding()).map_err(|error| chain(&error))?;
        self.is_old(&written, &self.database()?)
    }

    fn settle(&self, job: &Job) -> Result<(), FileError> {
        let holding = job.holding();
        self.give_back_room(&holding)?;
        let path = holding.join(CLOSURE);
        if !path.is_file() {
            return Ok(()); // The host was never touched.
        }
        let closure = Closure::read(&path)?;
        if self.has_scratch(&closure) {
            let cleared = self.dpkg.lock().and_then(|_lock| self.clear_scratch(&closure));
            let path = self.root.path();
            cleared.map_err(|error| failed("clear up", path)(std::io::Error::other(chain(&error))))?;
        }
        files::remove_tree(&holding.join(KEPT))
    }

    fn runs_from(&self) -> Option<PathBuf> {
        Some(self.root.path().to_owned())
    }
}

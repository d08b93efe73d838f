//! What all kinds of packages have in common: a closure that is put in place by the host's own package manager,
//! and taken back by it.
//!
//! The artifacts of the patch are the closure: exactly these packages in exactly these versions, and no
//! resolver is asked. Artifacts that are only there to go back to are packages as well
//! ([`Artifact::is_to_go_back_to`]).
//!
//! No package manager knows all-or-nothing. So what is there is read back from its database afterwards,
//! and whatever is not exactly right is taken back: the manager puts the packages of before in place, and
//! what it leaves different from before is repaired from copies that were taken then ([`footprint`]).
//! A host whose packages of before cannot be had is not changed at all.
//!
//! [`footprint`]: super::footprint
//! [`Artifact::is_to_go_back_to`]: ledger::patch::Artifact::is_to_go_back_to

mod closure;
mod contents;
mod database;
mod error;
mod order;
mod prepare;
mod rights;
mod written;

pub(super) use closure::{Closure, Package, State};
pub use contents::{Brings, Contents};
pub(super) use contents::{bytes_max, check_target, is_identity};
pub(super) use database::Database;
pub(super) use error::ManagerError;
pub(super) use order::{Relations, names};
pub(super) use prepare::Files;
pub use rights::Capabilities;
pub(super) use rights::{Owner, Rights};
pub(super) use written::Written;

use super::footprint::Root;
use super::install::{Held, Install, Job, Look, PutError, Story};
use super::room::Reserve;
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, chain, reason};
use closure::ASKED;
use error::install_failed;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::{Reason, ReasonCode};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Packages to install and to go back to, in the holding.
const NEW: &str = "new";
const OLD: &str = "old";
/// Copies of the files of before, in the holding.
const KEPT: &str = "kept";
/// Which room is kept on the host's disks for going back, in the holding.
const RESERVE: &str = "room.json";

/// A file that is not as its package has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Altered {
    /// Its path from the root.
    pub(super) path: String,
    /// It is a configuration file: those are people's.
    pub(super) is_configuration: bool,
    /// In the manager's words.
    pub(super) told: String,
}

/// A package manager, as far as installers need one.
pub(super) trait Manager: Send + Sync {
    /// Which kind of patches it installs.
    const KIND: InstallerKind;
    /// How files of packages end.
    const EXTENSION: &'static str;
    /// What it may leave beside a file.
    const ENDINGS: &'static [&'static str];
    /// Whether one that is killed may leave a package neither old nor new, but gone.
    const LEAVES_GONE: bool = false;
    /// Room its database needs while it goes back.
    const DATABASE_BYTES: u64 = 1;

    /// Its turn, for as long as it is held.
    type Turn;

    /// The root whose packages it changes.
    fn root(&self) -> &Root;

    /// What this host lacks for it.
    fn lacks(&self) -> Option<String>;

    /// A file of its database, by its path from the root.
    fn database_path(&self) -> String;

    /// Waits until nobody else works with packages.
    fn turn(&self) -> Result<Self::Turn, ManagerError>;

    /// Every package there is.
    fn database(&self) -> Result<Database, ManagerError>;

    /// Looks into a package before the manager is let near the host with it.
    fn examine(&self, package: &Path, called: &str) -> Result<Contents, Refusal>;

    /// Tries an installation without doing it: whatever can be known to fail, or to touch what the patch does not
    /// name, fails here.
    fn try_install(&self, goes: &[Vec<PathBuf>]) -> Result<(), ManagerError>;

    /// Refuses what belongs to packages the patch does not name.
    fn check_bystanders(&self, closure: &Closure, new: &Files, database: &Database) -> Result<(), Refusal>;

    /// Every path that the packages have or had, and what the manager knows of them.
    fn paths(&self, closure: &Closure, new: &Files) -> Result<BTreeSet<String>, Refusal>;

    /// Installs packages, all in one go, in the time that is left and at most in that of one call. Also older ones,
    /// and ones that are there already.
    fn install(&self, packages: &[PathBuf], left: Duration, story: &mut Story) -> Result<(), ManagerError>;

    /// Takes packages away, whoever leans on them: those others are about to go or have just gone back.
    fn remove(&self, packages: &[&Package], story: &mut Story) -> Result<(), ManagerError>;

    /// The files that are not as their packages have them.
    fn altered(&self, packages: &[&Package], left: Duration) -> Result<Vec<Altered>, ManagerError>;

    /// The file beside a configuration file that has the package's, when people's was kept.
    fn kept_beside(&self, path: &str) -> String;

    /// Whether one that was killed left something behind.
    fn has_scratch(&self, written: &Written) -> bool;

    /// Takes away what one that was killed left behind. Somebody else's may need it just now, so this is for
    /// whoever has the turn. What of it cannot be taken away stays, and is said.
    fn clear_scratch(&self, written: &Written) -> Result<Vec<String>, ManagerError>;
}

/// Installs packages with a manager.
pub(super) struct Packages<M>(pub(super) M);

impl<M: Manager> Packages<M> {
    fn give_back_room(&self, holding: &Path) -> Result<(), FileError> {
        Reserve::read(&holding.join(RESERVE))?.give_back(self.0.root())
    }

    fn database(&self) -> Result<Database, String> {
        self.0.database().map_err(|error| chain(&error))
    }

    /// Whether the host has exactly what it had before. What others did to packages that the patch does not name
    /// is theirs, once it is certain that the update did not do it.
    fn is_old(&self, written: &Written, database: &Database) -> Result<(), String> {
        let Written { closure, footprint, before, is_in_place } = written;
        let mut packages = closure.packages.iter();
        if let Some(other) = packages.find_map(|package| package.is_not(&package.old_state(), database)) {
            return Err(other);
        }
        if !is_in_place && let Some(lost) = Database::first_loss(before, database, closure) {
            return Err(format!("{lost}, which the patch does not name"));
        }
        match footprint.differences(self.0.root()).map_err(|error| chain(&error))?.first() {
            None => Ok(()),
            Some(difference) => Err(difference.told()),
        }
    }

    /// The closure, all of it and nothing else.
    fn install_new(&self, closure: &Closure, job: &Job, before: &Database, story: &mut Story) -> Result<(), Reason> {
        for go in closure.new_goes(&job.holding()) {
            self.0.install(&go, job.deadline.left(), story).map_err(|error| install_failed(&error))?;
        }
        let after = self.0.database().map_err(|error| install_failed(&error))?;
        match Database::first_difference(before, &after, closure) {
            None => Ok(()),
            Some(other) => Err(reason(ReasonCode::InstallFailed, format!("{other}, which the patch does not name"))),
        }
    }

    /// The packages of before, and none that was not there.
    fn go_back(&self, closure: &Closure, holding: &Path, story: &mut Story) -> Result<(), ManagerError> {
        for go in closure.old_goes(holding) {
            self.0.install(&go, Duration::MAX, story)?;
        }
        let database = self.0.database()?;
        let came = |package: &&Package| {
            package.old.is_none() && database.state(&package.name, &package.architecture).is_some()
        };
        let new: Vec<_> = closure.changes().filter(came).collect();
        if new.is_empty() { Ok(()) } else { self.0.remove(&new, story) }
    }

    fn clear_scratch(&self, written: &Written, story: &mut Story) -> Result<(), String> {
        let stays = self.0.clear_scratch(written).map_err(|error| chain(&error))?;
        stays.into_iter().for_each(|stays| story.tell(stays));
        Ok(())
    }

    /// Says which configuration files of the host's own were kept, and where the package's are.
    fn tell_kept(&self, written: &Written, story: &mut Story) {
        for path in written.footprint.paths() {
            let beside = self.0.kept_beside(path);
            let had = written.footprint.get(&beside);
            if self.0.root().mark_beside(&beside, had).is_ok_and(|mark| mark != *had) {
                story.tell(format!("/{path} was changed on this host and is kept; the package's is /{beside}"));
            }
        }
    }
}

impl<M: Manager> Install for Packages<M> {
    fn kind(&self) -> InstallerKind {
        M::KIND
    }

    fn lacks(&self) -> Option<String> {
        self.0.lacks()
    }

    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        match manifest.payloads().iter().any(|(artifact, _)| !artifact.is_to_go_back_to()) {
            true => Ok(()),
            false => Err(Refusal::new(ReasonCode::InstallerMissing, "the patch has no package to install")),
        }
    }

    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, story: &mut Story) -> Result<(), Refusal> {
        prepare::prepare(&self.0, job, held, holding, story)
    }

    fn put(&self, job: &Job, story: &mut Story) -> Result<(), PutError> {
        let (holding, not_begun) = (job.holding(), |refusal: Refusal| PutError::NotBegun(refusal.reason));
        let manager = |error: ManagerError| PutError::NotBegun(install_failed(&error));
        let written = Written::read(&holding).map_err(|error| not_begun(error.into()))?;
        let _turn = self.0.turn().map_err(manager)?;
        let before = self.0.database().map_err(manager)?;
        if let Some(other) = Database::first_difference(&written.before, &before, &Closure::default()) {
            return Err(PutError::NotBegun(reason(ReasonCode::InstallFailed, format!("{other} meanwhile"))));
        }
        written.footprint.check_unchanged(self.0.root()).map_err(not_begun)?;
        job.deadline.check().map_err(|late| not_begun(late.into()))?;
        let reserve = Reserve::read(&holding.join(RESERVE)).map_err(|error| not_begun(error.into()))?;
        reserve.keep(self.0.root()).map_err(|error| not_begun(error.into()))?;
        self.install_new(&written.closure, job, &before, story).map_err(PutError::Midway)?;
        self.tell_kept(&written, story);
        let synced = reserve.sync(self.0.root()).and_then(|()| Written::is_in_place_now(&holding));
        synced.map_err(|error| PutError::Midway(Refusal::from(error).reason))
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        let holding = job.holding();
        if !Written::is_there(&holding) {
            // Not even prepared: the host was never touched.
            return Ok(Look { old: true, ..Look::default() });
        }
        let written = Written::read(&holding)?;
        let unseen = |said: String| failed("see", self.0.root().path())(std::io::Error::other(said));
        // What an agent that died left running comes to its end first.
        let turn = match self.0.turn() {
            Err(error) if error.is_read_only() => None,
            turn => Some(turn.map_err(|error| unseen(chain(&error)))?),
        };
        let database = self.database().map_err(unseen)?;
        let old = self.is_old(&written, &database).is_ok();
        let somebodys = if old { None } else { written.closure.somebodys(&database, M::LEAVES_GONE) };
        drop(turn);
        let mut back = written.closure.changes().filter_map(|package| package.old_file(&holding));
        Ok(Look {
            old,
            new: self.prove_new(job).is_ok(),
            way_back: back.all(|file| file.is_file()),
            somebodys,
            elsewhere: None,
            fell_back: None,
        })
    }

    fn prove_new(&self, job: &Job) -> Result<(), Reason> {
        let written = Written::read(&job.holding()).map_err(|error| Refusal::from(error).reason)?;
        let database = self.0.database().map_err(|error| install_failed(&error))?;
        let mut packages = written.closure.packages.iter();
        if let Some(other) = packages.find_map(|package| package.is_not(&package.new_state(), &database)) {
            return Err(reason(ReasonCode::InstallFailed, other));
        }
        let changed: Vec<_> = written.closure.changes().collect();
        // Without a name a manager would look at every package there is.
        if changed.is_empty() {
            return Ok(());
        }
        let altered = self.0.altered(&changed, job.deadline.left()).map_err(|error| install_failed(&error))?;
        match altered.iter().find(|altered| !altered.is_configuration) {
            None => Ok(()),
            Some(altered) => Err(reason(ReasonCode::InstallFailed, format!("not as it was packed: {}", altered.told))),
        }
    }

    fn restore(&self, job: &Job, story: &mut Story) -> Result<(), String> {
        let (holding, root) = (job.holding(), self.0.root());
        let written = Written::read(&holding).map_err(|error| chain(&error))?;
        let _turn = self.0.turn().map_err(|error| chain(&error))?;
        let reserve = Reserve::read(&holding.join(RESERVE)).map_err(|error| chain(&error))?;
        reserve.give_back(root).map_err(|error| chain(&error))?;
        let database = self.database()?;
        if self.is_old(&written, &database).is_ok() {
            return self.clear_scratch(&written, story);
        }
        if let Some(somebodys) = written.closure.is_somebodys(&database, M::LEAVES_GONE) {
            return Err(format!("{somebodys}{ASKED}"));
        }
        let went = self.go_back(&written.closure, &holding, story);
        // First what a killed manager left: a directory that holds it would pass for somebody's, and stay.
        self.clear_scratch(&written, story)?;
        let repaired = written.footprint.repair(root, &holding.join(KEPT)).tell(story);
        reserve.sync(root).map_err(|error| chain(&error))?;
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
        if !Written::is_there(&holding) {
            return Ok(()); // The host was never touched.
        }
        let written = Written::read(&holding)?;
        if self.0.has_scratch(&written) {
            let cleared = self.0.turn().and_then(|_turn| self.0.clear_scratch(&written));
            let unclear = |error: ManagerError| std::io::Error::other(chain(&error));
            let stays = cleared.map_err(|error| failed("clear up", self.0.root().path())(unclear(error)))?;
            stays.iter().for_each(|stays| tracing::warn!(stays, "what a package manager left behind is still there"));
        }
        files::remove_tree(&holding.join(KEPT))
    }

    fn runs_from(&self) -> Option<PathBuf> {
        Some(self.0.root().path().to_owned())
    }
}

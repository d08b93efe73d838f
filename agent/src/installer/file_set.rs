//! File sets: single files with their modes, put into directories the host's configuration names.
//!
//! One archive holds the files under their paths from the root. Each is written beside its place, and
//! all are on the disk before the first is exchanged with the one that is there: the old file itself,
//! with its owner and attributes, then lies beside, and going back is the same exchange. What the
//! version before brought and this one does not is taken away in the same manner.

mod change;
mod places;

use super::footprint::{Footprint, Mark, Root, meanwhile};
use super::install::{Held, Install, Job, Look, PutError, Story};
use super::record;
use super::room::Room;
use super::tree;
use super::unpack::LIMITS;
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, chain, reason};
pub(super) use change::Change;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::{Reason, ReasonCode};
use places::{Places, Stopped};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The unpacked files, in the holding.
pub(super) const NEW: &str = "new";
/// What is changed, in the holding.
const CHANGES: &str = "changes.json";
/// What the places were like before, in the holding.
const FOOTPRINT: &str = "footprint.json";
/// Copies of the files of before, in the holding.
const KEPT: &str = "kept";
/// Largest list of changes.
const CHANGES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Installs file sets.
pub(super) struct FileSet {
    kind: InstallerKind,
    places: Places,
}

impl FileSet {
    /// For patches of a kind, into these directories of a root.
    pub(super) fn of(kind: InstallerKind, root: &Path, directories: &[PathBuf]) -> Self {
        let field = match kind {
            InstallerKind::Script => "installers.scripts.directories",
            _ => "installers.file-set.directories",
        };
        Self { kind, places: Places::new(Root::own(root), directories.to_vec(), field) }
    }

    /// What the files that were unpacked or made do to the host.
    pub(super) fn changes(&self, new: &Path) -> Result<Vec<Change>, Refusal> {
        self.places.changes(new, &[])
    }

    /// A directory of the host, opened.
    pub(super) fn open(&self, directory: &str) -> Result<OwnedFd, FileError> {
        let opened = self.root().directory(directory);
        opened.map_err(|error| failed("open", &self.root().path().join(directory))(error.into()))
    }

    /// What the host has at a path.
    pub(super) fn there(&self, path: &str) -> Result<Mark, FileError> {
        mark(self.root(), path)
    }

    /// Makes everything ready that putting these changes in place needs, and going back.
    pub(super) fn make_ready(
        &self,
        job: &Job,
        changes: Vec<Change>,
        holding: &Path,
        story: &mut Story,
    ) -> Result<(), Refusal> {
        changes.iter().for_each(|change| story.tell(change.to_string()));
        self.places.check_ways(&changes)?;
        let paths: BTreeSet<String> = changes.iter().map(|change| change.path().to_owned()).collect();
        let footprint = Footprint::take(self.root(), &paths, &[], job.deadline)?;
        self.places.check(&changes, &footprint)?;
        self.check_room(&changes, &footprint, holding)?;
        footprint.keep(self.root(), &holding.join(KEPT), job.deadline)?;
        footprint.write(&holding.join(FOOTPRINT))?;
        record::write(&holding.join(CHANGES), &changes, CHANGES_BYTES_MAX)
    }

    fn root(&self) -> &Root {
        self.places.root()
    }

    /// What somebody edited since the version before is not thrown away: its copies go when this one is kept. Where a file
    /// is gone, or is what this version makes it, nothing is lost.
    fn check_as_left(&self, before: &[Change], left: &Path, new: &Path) -> Result<(), Refusal> {
        let (left, new) = (Root::own(left), Root::own(new));
        for change in before.iter().filter(|change| matches!(change, Change::File { .. })) {
            let path = change.path();
            let (there, left) = (mark(self.root(), path)?, mark(&left, path)?);
            // Of a version whose files are not kept any more nobody can tell.
            let is_edited = left != Mark::Missing && there != Mark::Missing && !same_but_owner(&there, &left);
            if is_edited && !same_but_owner(&there, &mark(&new, path)?) {
                let detail = format!(
                    "/{path} is not what the version before made it: somebody edited it; move it away to have this one's"
                );
                return Err(Refusal::new(ReasonCode::InstallFailed, detail));
            }
        }
        Ok(())
    }

    /// New files lie beside the old ones for a while, and copies of those in the holding.
    fn check_room(&self, changes: &[Change], footprint: &Footprint, holding: &Path) -> Result<(), Refusal> {
        let mut room = Room::beneath(self.root());
        for change in changes {
            if let Change::File { path, bytes, .. } = change {
                room.need_at(path, *bytes)?;
            }
        }
        footprint.need_room(&mut room, holding)?;
        room.check()
    }

    /// The first place that is not what the patch makes it.
    fn differs_from_new(&self, job: &Job) -> Result<Option<String>, FileError> {
        let Some(changes) = read(&job.holding())? else { return Ok(Some("nothing is prepared".to_owned())) };
        let new = Root::own(&job.holding().join(NEW));
        for change in &changes {
            let there = self.root().mark(change.path()).map_err(failed("examine", Path::new(change.path())))?;
            let wanted = match change {
                Change::Remove { .. } => Mark::Missing,
                _ => new.mark(change.path()).map_err(failed("examine", Path::new(change.path())))?,
            };
            if !same_but_owner(&there, &wanted) {
                return Ok(Some(change.path().to_owned()));
            }
        }
        Ok(None)
    }
}

/// What is at a path beneath a root.
pub(super) fn mark(root: &Root, path: &str) -> Result<Mark, FileError> {
    root.mark(path).map_err(failed("examine", &root.path().join(path)))
}

/// Whether two are the same but for whose they are: owners and attributes are those of the file whose place is taken.
pub(super) fn same_but_owner(a: &Mark, b: &Mark) -> bool {
    match (a, b) {
        (Mark::File { mode: a, blake3: x, .. }, Mark::File { mode: b, blake3: y, .. }) => (a, x) == (b, y),
        // A directory that is there already keeps its mode.
        (Mark::Directory { .. }, Mark::Directory { .. }) => true,
        (Mark::Link { target: a, .. }, Mark::Link { target: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

/// What is to be changed; `None` when that was not decided yet.
fn read(holding: &Path) -> Result<Option<Vec<Change>>, FileError> {
    record::read_if_there(&holding.join(CHANGES), CHANGES_BYTES_MAX)
}

impl Install for FileSet {
    fn kind(&self) -> InstallerKind {
        self.kind
    }

    fn lacks(&self) -> Option<String> {
        self.places.lacks()
    }

    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        match manifest.payloads().len() {
            1 => Ok(()),
            count => {
                let detail = format!("{} are one archive, this patch has {count}", policy::kind_words(self.kind));
                Err(Refusal::new(ReasonCode::InstallerMissing, detail))
            }
        }
    }

    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, story: &mut Story) -> Result<(), Refusal> {
        let new = holding.join(NEW);
        files::private_dir(&new)?;
        held.into_iter().try_for_each(|held| tree::unpack(held, &new, LIMITS, job.deadline))?;
        let before = job.holding_before().map(|before| read(&before)).transpose()?.flatten().unwrap_or_default();
        if let Some(holding) = job.holding_before() {
            self.check_as_left(&before, &holding.join(NEW), &new)?;
        }
        let changes = self.places.changes(&new, &before)?;
        self.make_ready(job, changes, holding, story)
    }

    fn put(&self, job: &Job, _: &mut Story) -> Result<(), PutError> {
        let io = |error: FileError| PutError::NotBegun(Refusal::from(error).reason);
        let holding = job.holding();
        let changes = read(&holding).map_err(io)?.unwrap_or_default();
        let footprint = Footprint::read(&holding.join(FOOTPRINT)).map_err(io)?;
        footprint.check_unchanged(self.root()).map_err(|refusal| PutError::NotBegun(refusal.reason))?;
        let put = self.places.put(&changes, &holding.join(NEW), &footprint, job.deadline);
        put.map_err(|stopped| match stopped {
            Stopped::Edited(path) => PutError::NotBegun(meanwhile(&path).reason),
            Stopped::Midway((path, error)) => {
                PutError::Midway(tree::io_refusal(&format!("put /{path} in place"), &error).reason)
            }
        })
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        let holding = job.holding();
        let Some(changes) = read(&holding)? else { return Ok(Look { old: true, ..Look::default() }) };
        let footprint = Footprint::read(&holding.join(FOOTPRINT))?;
        let same = footprint.differences(self.root())?.is_empty();
        let old = same && !self.places.has_left_something(&changes)?;
        let (new, way_back) = (self.differs_from_new(job)?.is_none(), holding.join(KEPT).is_dir());
        Ok(Look { old, new, way_back, ..Look::default() })
    }

    fn prove_new(&self, job: &Job) -> Result<(), Reason> {
        match self.differs_from_new(job).map_err(|error| Refusal::from(error).reason)? {
            None => Ok(()),
            Some(path) => Err(reason(ReasonCode::InstallFailed, format!("/{path} is not what the patch makes it"))),
        }
    }

    fn restore(&self, job: &Job, story: &mut Story) -> Result<(), String> {
        let holding = job.holding();
        let changes = read(&holding).map_err(|error| chain(&error))?.unwrap_or_default();
        let footprint = Footprint::read(&holding.join(FOOTPRINT)).map_err(|error| chain(&error))?;
        // What cannot be taken back so is repaired from its copy.
        for (path, error) in self.places.take_back(&changes, &footprint) {
            story.tell(format!("cannot take /{path} back: {}", chain(&error)));
        }
        footprint.repair(self.root(), &holding.join(KEPT)).tell(story)
    }

    fn prove_old(&self, job: &Job) -> Result<(), String> {
        let footprint = Footprint::read(&job.holding().join(FOOTPRINT)).map_err(|error| chain(&error))?;
        let differences = footprint.differences(self.root()).map_err(|error| chain(&error))?;
        match differences.first() {
            None => Ok(()),
            Some(difference) => Err(difference.told()),
        }
    }

    fn settle(&self, job: &Job) -> Result<(), FileError> {
        let changes = read(&job.holding())?.unwrap_or_default();
        self.places.clear(&changes)?;
        files::remove_tree(&job.holding().join(KEPT))
    }

    fn runs_from(&self) -> Option<PathBuf> {
        Some(self.root().path().to_owned())
    }
}

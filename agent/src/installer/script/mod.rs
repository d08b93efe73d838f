//! Scripts: what a vendor's script makes of directories of the host, computed on a copy of them and put in place as a
//! file set.
//!
//! The script never touches the host. It runs while the update is prepared, in a sandbox in which the named directories
//! are copies; what it changed there is what the patch does, and the engine puts that in place, proves it and takes it
//! back like any other file set. So a script needs no undo, and nobody needs to believe in one.

mod bounds;
mod nobody;
mod sandbox;

use super::archive;
use super::file_set::{self, Change, FileSet, NEW, same_but_owner};
use super::footprint::{Mark, Root};
use super::install::{Held, Install, Job, Look, PutError, Story};
use super::tree;
use super::unpack::{LIMITS, Limits, file_mode};
use crate::config;
use crate::containers;
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, chain};
use ledger::bounded::Sentence;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::{Reason, ReasonCode};
use nobody::SCRIPT_USER;
use sandbox::Sandbox;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

/// What the vendor's archive is unpacked into, in the holding while it is prepared.
const GIVEN: &str = "given";
/// The program in it that is run.
const PROGRAM: &str = "run";
/// Permissions of a directory that nobody but its owner writes to.
const NOT_OTHERS: u32 = 0o755;

/// Installs what scripts make.
pub(super) struct Script {
    config: config::Scripts,
    set: FileSet,
    sandbox: Sandbox,
}

impl Script {
    /// `program` is the agent's own, through which others are begun.
    pub(super) fn new(config: &config::Scripts, program: &Path) -> Self {
        let set = FileSet::of(InstallerKind::Script, &config.root, &config.directories);
        Self { config: config.clone(), set, sandbox: Sandbox::new(program, config) }
    }

    /// Copies the directories as they are; their files and links, as the host has them.
    fn copy(&self, new: &Path) -> Result<BTreeMap<String, Mark>, Refusal> {
        let (mut there, copied, mut left) = (BTreeMap::new(), Root::own(new), self.config.disk_bytes);
        for directory in self.config.relative_directories() {
            let to = new.join(directory);
            files::private_dir(&to)?;
            let limits = Limits { tree_bytes_max: left, ..LIMITS };
            let from = self.set.open(directory)?;
            left -= archive::copy_opened(from, &to, limits).map_err(|error| {
                let detail = format!("/{directory} cannot be copied for a script: {}", chain(&error));
                Refusal::new(ReasonCode::CannotRollBack, detail)
            })?;
            each(new, directory, &mut |path, metadata| {
                if !metadata.is_dir() {
                    let mark = self.set.there(path)?;
                    if !is_copied_as(&mark, &file_set::mark(&copied, path)?) {
                        return Err(meanwhile(path));
                    }
                    there.insert(path.to_owned(), mark);
                }
                Ok(())
            })?;
            give(new, directory, SCRIPT_USER)?;
        }
        Ok(there)
    }

    /// What the script changed: what it left as it was is taken out of the copy, and what is there no more is removed.
    /// It is held against what was copied and not against the host of now, where others may have been at work.
    fn changes(&self, new: &Path, there: &BTreeMap<String, Mark>) -> Result<Vec<Change>, Refusal> {
        let (mut left, mut same, copied) = (BTreeSet::new(), Vec::new(), Root::own(new));
        for directory in self.config.relative_directories() {
            give(new, directory, rustix::process::geteuid().as_raw())?;
            each(new, directory, &mut |path, metadata| {
                if !metadata.is_dir() {
                    left.insert(path.to_owned());
                    let made = file_set::mark(&copied, path)?;
                    if there.get(path).is_some_and(|before| is_copied_as(before, &made)) {
                        same.push(new.join(path));
                    }
                }
                Ok(())
            })?;
        }
        same.iter().try_for_each(|path| files::remove(path))?;
        let mut changes = self.set.changes(new)?;
        let gone = there.keys().filter(|path| !left.contains(*path)).cloned();
        changes.extend(gone.map(|path| Change::Remove { path }));
        Ok(changes)
    }

    /// Makes sure that nobody changed what the script changed, since it was copied.
    fn check_unchanged(&self, changes: &[Change], there: &BTreeMap<String, Mark>) -> Result<(), Refusal> {
        // Directories are made where there are none, and stay what they are.
        let changed = changes.iter().filter(|change| !matches!(change, Change::Directory { .. }));
        for path in changed.map(Change::path) {
            let before = there.get(path).unwrap_or(&Mark::Missing);
            if !same_but_owner(&self.set.there(path)?, before) {
                return Err(meanwhile(path));
            }
        }
        Ok(())
    }
}

/// Whether what a copy has is what the host has: a copy has the permissions that files in a tree have, and no others.
fn is_copied_as(there: &Mark, copy: &Mark) -> bool {
    match (there, copy) {
        (Mark::File { mode: a, blake3: x, .. }, Mark::File { mode: b, blake3: y, .. }) => (file_mode(*a), x) == (*b, y),
        (there, copy) => same_but_owner(there, copy),
    }
}

fn meanwhile(path: &str) -> Refusal {
    Refusal::new(ReasonCode::InstallFailed, format!("/{path} was changed while the script was at work"))
}

/// Goes through everything beneath a directory of a copy, directories before what is in them. Nobody changes it
/// meanwhile: what ran in the sandbox is gone.
fn each(
    root: &Path,
    within: &str,
    take: &mut dyn FnMut(&str, &fs::Metadata) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut waiting = vec![within.to_owned()];
    let mut count = 0;
    while let Some(directory) = waiting.pop() {
        let full = root.join(&directory);
        for entry in fs::read_dir(&full).map_err(failed("list", &full))? {
            let entry = entry.map_err(failed("list", &full))?;
            let unusual = |what: &str| {
                let name = Sentence::cut(&entry.file_name().to_string_lossy());
                Refusal::new(ReasonCode::ArchiveUnsafe, format!("the script made {name:?} in /{directory}, {what}"))
            };
            let name = entry.file_name().into_string().map_err(|_| unusual("which is no plain name"))?;
            count += 1;
            if name.chars().any(char::is_control) || count > LIMITS.entries_max {
                return Err(unusual("which is no plain name, or one too many"));
            }
            let path = format!("{directory}/{name}");
            let metadata = entry.metadata().map_err(failed("examine", &entry.path()))?;
            take(&path, &metadata)?;
            if metadata.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

/// Makes a directory of a copy, and all in it, somebody's. Directories that others might write to become its owner's
/// alone: nobody would follow a way over them.
fn give(root: &Path, directory: &str, to: u32) -> Result<(), Refusal> {
    let own = |path: &str, metadata: &fs::Metadata| -> Result<(), Refusal> {
        let full = root.join(path);
        lchown(&full, Some(to), Some(to)).map_err(failed("give away", &full))?;
        if metadata.is_dir() {
            let mode = fs::Permissions::from_mode(metadata.mode() & NOT_OTHERS);
            fs::set_permissions(&full, mode).map_err(failed("keep others out of", &full))?;
        }
        Ok(())
    };
    let full = root.join(directory);
    own(directory, &fs::symlink_metadata(&full).map_err(failed("examine", &full))?)?;
    each(root, directory, &mut |path, metadata| own(path, metadata))
}

/// Whether a file is one that can be run.
fn is_program(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o100 != 0)
}

impl Install for Script {
    fn kind(&self) -> InstallerKind {
        InstallerKind::Script
    }

    fn lacks(&self) -> Option<String> {
        match self.config.enabled {
            false => Some("not enabled in [installers.scripts]".to_owned()),
            true => containers::lacks().or_else(nobody::taken).or_else(|| self.set.lacks()),
        }
    }

    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        self.set.plan(manifest)
    }

    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, story: &mut Story) -> Result<(), Refusal> {
        let (given, new) = (holding.join(GIVEN), holding.join(NEW));
        files::private_dir(&given)?;
        held.into_iter().try_for_each(|held| tree::unpack(held, &given, LIMITS, job.deadline))?;
        if !is_program(&given.join(PROGRAM)) {
            let detail = format!("there is no program {PROGRAM:?} in the archive");
            return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
        }
        give(holding, GIVEN, SCRIPT_USER)?;
        files::private_dir(&new)?;
        let there = self.copy(&new)?;
        let versions = (job.begun.from_version.as_str(), job.begun.to_version.as_str());
        self.sandbox.run(holding, &given, &new, versions, job.deadline, story)?;
        let changes = self.changes(&new, &there)?;
        files::remove_tree(&given)?;
        self.check_unchanged(&changes, &there)?;
        self.set.make_ready(job, changes, holding, story)
    }

    fn put(&self, job: &Job, story: &mut Story) -> Result<(), PutError> {
        self.set.put(job, story)
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        self.set.look(job)
    }

    fn prove_new(&self, job: &Job) -> Result<(), Reason> {
        self.set.prove_new(job)
    }

    fn restore(&self, job: &Job, story: &mut Story) -> Result<(), String> {
        self.set.restore(job, story)
    }

    fn prove_old(&self, job: &Job) -> Result<(), String> {
        self.set.prove_old(job)
    }

    fn settle(&self, job: &Job) -> Result<(), FileError> {
        self.set.settle(job)
    }

    fn runs_from(&self) -> Option<PathBuf> {
        self.set.runs_from()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::id::Digest;

    #[test]
    fn what_was_copied_is_known_again_whatever_its_permissions_were() {
        let file = |mode, content: &str| {
            let (size, blake3) = (content.len() as u64, Digest::blake3(content.as_bytes()));
            Mark::File { mode, uid: 0, gid: 0, size, blake3, attributes: Default::default() }
        };
        for (there, copied) in [(0o0, 0o400), (0o200, 0o600), (0o1644, 0o644), (0o640, 0o640)] {
            assert!(is_copied_as(&file(there, "a"), &file(copied, "a")), "{there:o}");
            assert!(!is_copied_as(&file(there, "a"), &file(copied, "b")), "{there:o}: another content");
            assert!(!is_copied_as(&file(there, "a"), &file(copied | 0o100, "a")), "{there:o}: made a program");
        }
    }
}

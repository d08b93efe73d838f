//! The places of a file set on the host: which there may be, and the exchange of what is there.

use super::super::deadline::Deadline;
use super::super::footprint::{Footprint, Mark, Root, remove};
use super::super::unpack::DEPTH_MAX;
use crate::files::{FileError, failed};
use crate::settled::Refusal;
use ledger::receipt::ReasonCode;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What stands beside a file while its place is changed: at first the new one, then the old one.
const BESIDE: &str = ".countersign-";

/// One thing a file set does to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Change {
    /// A directory, made where there is none.
    Directory { path: String, mode: u32 },
    /// A file, put in place of what is there.
    File { path: String, mode: u32 },
    /// A file that the version before brought, taken away.
    Remove { path: String },
}

impl Change {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Directory { path, .. } | Self::File { path, .. } | Self::Remove { path } => path,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, mode } => write!(f, "directory /{path} (mode {mode:o})"),
            Self::File { path, mode } => write!(f, "file /{path} (mode {mode:o})"),
            Self::Remove { path } => write!(f, "no file /{path} any more"),
        }
    }
}

/// A path, and what the operating system said about it.
type Trouble = (String, io::Error);

/// Where files may be put.
pub(super) struct Places {
    root: Root,
    /// Absolute, as in the configuration.
    directories: Vec<PathBuf>,
}

impl Places {
    pub(super) fn new(root: Root, directories: Vec<PathBuf>) -> Self {
        Self { root, directories }
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn lacks(&self) -> Option<String> {
        if self.directories.is_empty() {
            return Some("installers.file-set.directories names no directory files may be put into".to_owned());
        }
        let no_directory = self.directories.iter().find(|directory| self.directory(relative(directory)).is_err());
        no_directory.map(|directory| format!("{} is no directory here", directory.display()))
    }

    /// A directory reached without following any link: a link could lead out of what was allowed.
    fn directory(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut place = rustix::fs::open(self.root.path(), flags, Mode::empty())?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            place = rustix::fs::openat(&place, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(place)
    }

    fn parent<'a>(&self, path: &'a str) -> rustix::io::Result<(OwnedFd, &'a str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.directory(parent)?, name))
    }

    fn is_allowed(&self, path: &str) -> bool {
        self.directories.iter().any(|directory| Path::new(path).starts_with(relative(directory)))
    }

    /// Whether a directory of the archive only leads to the allowed ones.
    fn leads_there(&self, path: &str) -> bool {
        self.directories.iter().any(|directory| Path::new(relative(directory)).starts_with(path))
    }

    /// What an unpacked set does to the host; directories come before what is in them.
    pub(super) fn changes(&self, new: &Path, before: &[Change]) -> Result<Vec<Change>, Refusal> {
        let mut changes = Vec::new();
        self.walk(new, "", 0, &mut changes)?;
        let stays: BTreeSet<String> = changes.iter().map(|change| change.path().to_owned()).collect();
        for change in before {
            if let Change::File { path, .. } = change
                && !stays.contains(path)
                && self.is_allowed(path)
            {
                changes.push(Change::Remove { path: path.clone() });
            }
        }
        Ok(changes)
    }

    fn walk(&self, new: &Path, within: &str, depth: usize, changes: &mut Vec<Change>) -> Result<(), Refusal> {
        let directory = new.join(within);
        let unsafe_ =
            |path: &str, what: &str| Err(Refusal::new(ReasonCode::ArchiveUnsafe, format!("entry {path:?} {what}")));
        if depth > DEPTH_MAX {
            return unsafe_(within, "is too deep");
        }
        for name in crate::files::names(&directory)? {
            let path = if within.is_empty() { name.clone() } else { format!("{within}/{name}") };
            let full = new.join(&path);
            let metadata = fs::symlink_metadata(&full).map_err(failed("examine", &full))?;
            let mode = metadata.mode() & 0o777;
            if name.starts_with(BESIDE) {
                return unsafe_(&path, "has a name that this agent uses itself");
            }
            if metadata.is_dir() {
                if self.is_allowed(&path) {
                    changes.push(Change::Directory { path: path.clone(), mode });
                } else if !self.leads_there(&path) {
                    return unsafe_(&path, "is not in a directory that files may be put into on this host");
                }
                self.walk(new, &path, depth + 1, changes)?;
            } else if !metadata.is_file() {
                return unsafe_(&path, "is a link: only files and directories may be in a file set");
            } else if self.is_allowed(&path) {
                changes.push(Change::File { path, mode });
            } else {
                return unsafe_(&path, "is not in a directory that files may be put into on this host");
            }
        }
        Ok(())
    }

    /// Whether everything can be put in place, and taken back.
    pub(super) fn check(&self, changes: &[Change], footprint: &Footprint) -> Result<(), Refusal> {
        for change in changes {
            let path = change.path();
            let there = footprint.0.get(path).unwrap_or(&Mark::Missing);
            let fits = match change {
                Change::Directory { .. } => matches!(there, Mark::Missing | Mark::Directory { .. }),
                _ => matches!(there, Mark::Missing | Mark::File { .. }),
            };
            if !fits {
                let detail = format!("/{path} is something else on this host, which is not replaced");
                return Err(Refusal::new(ReasonCode::CannotRollBack, detail));
            }
            match self.parent(path) {
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => {
                    let detail = format!("the way to /{path} is not by directories only: {error}");
                    return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
                }
            }
        }
        Ok(())
    }

    /// Puts everything in place: first all of it beside, and onto the disk; then the exchange.
    pub(super) fn put(
        &self,
        changes: &[Change],
        new: &Path,
        footprint: &Footprint,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let in_time = |change: &Change| deadline.check().map_err(|late| (change.path().to_owned(), late.into()));
        for change in changes {
            in_time(change)?;
            let made = match change {
                Change::Directory { path, mode } => self.make_directory(path, *mode),
                Change::File { path, mode } => self.write_beside(path, *mode, &new.join(path), footprint.0.get(path)),
                Change::Remove { .. } => Ok(()),
            };
            made.map_err(|error| (change.path().to_owned(), error))?;
        }
        for change in changes {
            in_time(change)?;
            let exchanged = match change {
                Change::Directory { .. } => Ok(()),
                Change::File { path, .. } => self.exchange(path, footprint.0.get(path) == Some(&Mark::Missing)),
                Change::Remove { path } => self.set_aside(path),
            };
            exchanged.map_err(|error| (change.path().to_owned(), error))?;
        }
        Ok(())
    }

    fn make_directory(&self, path: &str, mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => return Ok(()),
            made => made?,
        }
        rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        Ok(rustix::fs::fsync(&parent)?)
    }

    /// The new file, beside the old one, with its owner and attributes.
    fn write_beside(&self, path: &str, mode: u32, from: &Path, old: Option<&Mark>) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let beside = beside(name);
        remove(&parent, &beside)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&parent, &beside, flags, Mode::from_raw_mode(0o600))?);
        io::copy(&mut File::open(from)?, &mut file)?;
        if let Some(Mark::File { uid, gid, attributes, .. }) = old {
            rustix::fs::fchown(&file, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))?;
            for (name, value) in attributes {
                rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty())?;
            }
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        file.sync_all()?;
        Ok(rustix::fs::fsync(&parent)?)
    }

    /// The new file in its place, the old one beside.
    fn exchange(&self, path: &str, is_new: bool) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let (parent, beside) = (parent.as_fd(), beside(name));
        let flags = if is_new { RenameFlags::NOREPLACE } else { RenameFlags::EXCHANGE };
        match rustix::fs::renameat_with(parent, &beside, parent, name, flags) {
            // A file system that cannot exchange: the old file is kept as a copy only.
            Err(Errno::INVAL) if !is_new => rustix::fs::renameat(parent, &beside, parent, name)?,
            result => result?,
        }
        Ok(rustix::fs::fsync(parent)?)
    }

    fn set_aside(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::renameat(&parent, name, &parent, beside(name)) {
            Err(Errno::NOENT) => Ok(()),
            result => {
                result?;
                Ok(rustix::fs::fsync(&parent)?)
            }
        }
    }

    /// Puts the old files back that lie beside their places, and takes away new ones that do.
    pub(super) fn take_back(&self, changes: &[Change], footprint: &Footprint) -> Result<(), Trouble> {
        for change in changes.iter().filter(|change| !matches!(change, Change::Directory { .. })) {
            let path = change.path();
            self.take_one_back(path, footprint.0.get(path)).map_err(|error| (path.to_owned(), error))?;
        }
        Ok(())
    }

    fn take_one_back(&self, path: &str, old: Option<&Mark>) -> io::Result<()> {
        let (parent, name) = match self.parent(path) {
            Err(Errno::NOENT) => return Ok(()),
            parent => parent?,
        };
        let beside = beside(name);
        let (parts, is_old) = (path.rsplit_once('/'), old.is_some_and(|old| *old != Mark::Missing));
        let beside_path = parts.map_or(beside.clone(), |(within, _)| format!("{within}/{beside}"));
        match old {
            Some(old) if is_old && self.root.mark(&beside_path)? == *old => {
                rustix::fs::renameat(&parent, &beside, &parent, name)?;
            }
            _ => remove(&parent, &beside)?,
        }
        Ok(rustix::fs::fsync(&parent)?)
    }

    /// Whether something lies beside a place.
    pub(super) fn has_left_something(&self, changes: &[Change]) -> Result<bool, FileError> {
        for change in changes {
            let (within, name) = change.path().rsplit_once('/').unwrap_or(("", change.path()));
            let path = format!("{within}/{}", beside(name));
            if self.root.mark(path.trim_start_matches('/')).map_err(failed("examine", Path::new(&path)))?
                != Mark::Missing
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes away whatever lies beside the places.
    pub(super) fn clear(&self, changes: &[Change]) -> Result<(), FileError> {
        for change in changes {
            let cleared = match self.parent(change.path()) {
                Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(error),
                Ok((parent, name)) => remove(&parent, &beside(name)),
            };
            cleared.map_err(|error| failed("clear up beside", Path::new(change.path()))(error.into()))?;
        }
        Ok(())
    }
}

fn beside(name: &str) -> String {
    format!("{BESIDE}{name}")
}

/// A path of the configuration as archives have it.
fn relative(directory: &Path) -> &str {
    directory.to_str().unwrap_or_default().trim_matches('/')
}

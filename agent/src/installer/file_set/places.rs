//! The places of a file set on the host: which there may be, and the exchange of what is there.

mod put;

use super::super::footprint::{BESIDE, Footprint, Mark, Root, WayError};
use super::super::footprint::{beside, remove, split};
use super::super::unpack::DEPTH_MAX;
use super::Change;
use crate::files::{FileError, failed};
use crate::settled::Refusal;
use ledger::receipt::ReasonCode;
pub(super) use put::Stopped;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bits of a directory's mode with which others than its owner may change what is in it.
const OTHERS_MAY_WRITE: u32 = 0o022;
/// Bytes of all paths of a set: each is in the memory several times while the set is prepared.
const PATHS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A path, and what the operating system said about it.
type Trouble = (String, io::Error);

/// What was found in an unpacked set.
#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    path_bytes: usize,
}

/// Where files may be put.
pub(super) struct Places {
    root: Root,
    /// Absolute, as in the configuration.
    directories: Vec<PathBuf>,
    /// Where in the configuration.
    field: &'static str,
}

impl Places {
    pub(super) fn new(root: Root, directories: Vec<PathBuf>, field: &'static str) -> Self {
        Self { root, directories, field }
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn lacks(&self) -> Option<String> {
        if self.directories.is_empty() {
            return Some(format!("{} names no directory files may be put into", self.field));
        }
        self.directories.iter().find_map(|directory| match self.root.directory(relative(directory)) {
            Ok(_) => None,
            Err(WayError::System(_)) => Some(format!("{} is no directory here", directory.display())),
            Err(error) => Some(format!("{}: {error}", directory.display())),
        })
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
        let mut found = Found::default();
        self.walk(new, "", 0, &mut found)?;
        let mut changes = found.changes;
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

    fn walk(&self, new: &Path, within: &str, depth: usize, found: &mut Found) -> Result<(), Refusal> {
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
            found.path_bytes += path.len();
            if found.path_bytes > PATHS_BYTES_MAX {
                return unsafe_(&path, &format!("and those before it have paths of more than {PATHS_BYTES_MAX} bytes"));
            }
            if name.starts_with(BESIDE) {
                return unsafe_(&path, "has a name that this agent uses itself");
            }
            if metadata.is_dir() {
                // Whoever may change it could put something of his own on the way of everything in it.
                if mode & OTHERS_MAY_WRITE != 0 {
                    return unsafe_(&path, &format!("is a directory that others may change (mode {mode:04o})"));
                }
                if self.is_allowed(&path) {
                    found.changes.push(Change::Directory { path: path.clone(), mode });
                } else if !self.leads_there(&path) {
                    return unsafe_(&path, "is not in a directory that files may be put into on this host");
                }
                self.walk(new, &path, depth + 1, found)?;
            } else if !metadata.is_file() {
                return unsafe_(&path, "is a link: only files and directories may be in a file set");
            } else if self.is_allowed(&path) {
                found.changes.push(Change::File { path, mode, bytes: metadata.len() });
            } else {
                return unsafe_(&path, "is not in a directory that files may be put into on this host");
            }
        }
        Ok(())
    }

    /// Whether every place can be reached, and by nobody else's leave.
    pub(super) fn check_ways(&self, changes: &[Change]) -> Result<(), Refusal> {
        for change in changes {
            let path = change.path();
            match self.root.parent(path) {
                Err(error @ WayError::Others { .. }) => {
                    let detail = format!("/{path} cannot be put in place safely: {error}");
                    return Err(Refusal::new(ReasonCode::InstallFailed, detail));
                }
                Err(WayError::System(error)) if error != Errno::NOENT => {
                    let detail = format!("the way to /{path} is not by directories only: {error}");
                    return Err(Refusal::new(ReasonCode::ArchiveUnsafe, detail));
                }
                // What a link is in the way of, the link itself is refused for.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether everything can be put in place, and taken back.
    pub(super) fn check(&self, changes: &[Change], footprint: &Footprint) -> Result<(), Refusal> {
        for change in changes {
            let (path, there) = (change.path(), footprint.get(change.path()));
            let fits = match change {
                Change::Directory { .. } => matches!(there, Mark::Missing | Mark::Directory { .. }),
                _ => matches!(there, Mark::Missing | Mark::File { .. }),
            };
            if !fits {
                let detail = format!("/{path} is something else on this host, which is not replaced");
                return Err(Refusal::new(ReasonCode::CannotRollBack, detail));
            }
            if let Err(error @ WayError::Link(_)) = self.root.parent(path) {
                return Err(Refusal::new(ReasonCode::ArchiveUnsafe, format!("/{path}: {error}")));
            }
        }
        Ok(())
    }

    /// Puts the old files back that lie beside their places, and takes away new ones that do. What cannot be
    /// taken back stops nothing else.
    pub(super) fn take_back(&self, changes: &[Change], footprint: &Footprint) -> Vec<Trouble> {
        let files = changes.iter().filter(|change| !matches!(change, Change::Directory { .. })).map(Change::path);
        let taken = files.map(|path| (path, self.take_one_back(path, footprint.get(path))));
        taken.filter_map(|(path, taken)| taken.err().map(|error| (path.to_owned(), error))).collect()
    }

    fn take_one_back(&self, path: &str, old: &Mark) -> io::Result<()> {
        let (parent, name) = match self.root.parent(path) {
            Err(error) if error.is_gone() => return Ok(()),
            parent => parent?,
        };
        let beside = beside(name);
        if *old != Mark::Missing && self.root.mark(&beside_path(path))? == *old {
            rustix::fs::renameat(&parent, &beside, &parent, name)?;
        } else {
            remove(parent.as_fd(), &beside)?;
        }
        Ok(rustix::fs::fsync(&parent)?)
    }

    /// Whether something lies beside a place.
    pub(super) fn has_left_something(&self, changes: &[Change]) -> Result<bool, FileError> {
        for path in changes.iter().map(|change| beside_path(change.path())) {
            if self.root.mark(&path).map_err(failed("examine", Path::new(&path)))? != Mark::Missing {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes away whatever lies beside the places.
    pub(super) fn clear(&self, changes: &[Change]) -> Result<(), FileError> {
        for change in changes {
            let cleared = match self.root.parent(change.path()) {
                Err(error) if error.is_gone() => Ok(()),
                Err(error) => Err(error.into()),
                Ok((parent, name)) => remove(parent.as_fd(), &beside(name)).map_err(io::Error::from),
            };
            cleared.map_err(failed("clear up beside", Path::new(change.path())))?;
        }
        Ok(())
    }
}

/// What lies beside a path, by its path.
fn beside_path(path: &str) -> String {
    let (within, name) = split(path);
    if within.is_empty() { beside(name) } else { format!("{within}/{}", beside(name)) }
}

/// A path of the configuration as archives have it.
fn relative(directory: &Path) -> &str {
    directory.to_str().unwrap_or_default().trim_matches('/')
}

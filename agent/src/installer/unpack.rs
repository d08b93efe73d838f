//! Unpacking beneath a directory and nowhere else.
//!
//! An archive is a stranger's list of wishes. Every name is checked before anything is made, every
//! directory on the way is opened without following links, and nothing is ever written through a link:
//! what the archive makes a link of stays a link. A link may only lead to something in the same tree,
//! so that what runs from it runs from it: absolute targets are refused, and `..` may only stand at
//! the beginning of a target, as often as the link is deep. (Later on it could follow another link
//! first and end anywhere.)

mod names;
mod problem;

pub use names::{COMPONENT_BYTES_MAX, DEPTH_MAX, PATH_BYTES_MAX};
pub(super) use names::{clean as plain_path, file_mode, named, split, text};
pub use problem::{EntryProblem, UnpackError};
pub(super) use problem::{Refused, shown};

use bao_tree::blake3;
use names::{check_link, checked_mode, clean};
use rustix::fs::{AtFlags, Mode, OFlags, Timestamps};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Bytes copied at a time.
const COPY_BYTES: usize = 64 * 1024;
/// Permissions of a directory nobody described.
const DIRECTORY_MODE: u32 = 0o755;

/// How much a tree may have. A value, so that tests meet the limits without gigabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files, directories and links.
    pub entries_max: usize,
    /// Bytes of one file.
    pub entry_bytes_max: u64,
    /// Bytes of all files together.
    pub tree_bytes_max: u64,
}

/// The limits in force.
pub const LIMITS: Limits =
    Limits { entries_max: 200_000, entry_bytes_max: 8 * 1024 * 1024 * 1024, tree_bytes_max: 16 * 1024 * 1024 * 1024 };

impl Limits {
    /// Bytes of all files together when there is one more of this size.
    pub(super) fn total(self, bytes: u64, size: u64) -> Result<u64, EntryProblem> {
        let Self { entry_bytes_max, tree_bytes_max, .. } = self;
        if size > entry_bytes_max {
            return Err(EntryProblem::TooLarge(entry_bytes_max));
        }
        let total = bytes.checked_add(size).filter(|total| *total <= tree_bytes_max);
        total.ok_or(EntryProblem::TooLarge(tree_bytes_max))
    }
}

/// What an entry turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory { implied: bool },
    File,
    Link,
}

/// Sixteen bytes of a path's hash stand for it: 200,000 paths in memory would be most of what the
/// agent may use. Nobody finds two paths with one such value.
type PathKey = [u8; 16];

#[derive(Clone, Copy, Debug)]
struct Known {
    exact: PathKey,
    kind: Kind,
}

/// A tree that grows beneath one directory.
pub(super) struct Growing {
    limits: Limits,
    root: OwnedFd,
    /// By the key of the path in lower case.
    known: HashMap<PathKey, Known>,
    bytes: u64,
    /// The directory entries were last put into: archives go directory by directory.
    last: Option<(String, OwnedFd)>,
    buffer: Vec<u8>,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Growing {
    /// Beneath a directory that is empty and the agent's own.
    pub(super) fn beneath(root: &Path, limits: Limits) -> Result<Self, UnpackError> {
        let opened = rustix::fs::open(root, DIRECTORY, Mode::empty());
        let root = opened.map_err(|error| Refused::from(error).of(root.as_os_str().as_encoded_bytes()))?;
        Ok(Self { limits, root, known: HashMap::new(), bytes: 0, last: None, buffer: vec![0; COPY_BYTES] })
    }

    /// Bytes of all its files so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn directory(&mut self, path: &[u8], mode: u32) -> Result<(), Refused> {
        let path = clean(path)?;
        let mode = checked_mode(mode)?;
        if path.is_empty() {
            return Ok(()); // The tree itself: its mode is the agent's business.
        }
        let (parent, name) = split(&path);
        if let Some(Kind::Directory { implied: true }) = self.kind_of(&path)? {
            self.in_directory(parent, |directory| {
                let inner = rustix::fs::openat(directory, name, DIRECTORY, Mode::empty())?;
                Ok(rustix::fs::fchmod(inner, Mode::from_raw_mode(mode | 0o700))?)
            })?;
        } else {
            self.free(&path)?;
            self.make_directory(&path, mode)?;
        }
        self.remember(&path, Kind::Directory { implied: false })
    }

    pub(super) fn file(
        &mut self,
        path: &[u8],
        mode: u32,
        size: u64,
        modified_s: Option<u64>,
        mut from: impl Read,
    ) -> Result<(), Refused> {
        let path = named(path)?;
        let mode = checked_mode(mode)?;
        self.free(&path)?;
        self.room(size)?;
        let (parent, name) = split(&path);
        let file = self.in_directory(parent, |directory| {
            Ok(File::from(rustix::fs::openat(directory, name, NEW_FILE, Mode::from_raw_mode(0o600))?))
        })?;
        self.copy(&mut from, &file, size)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(file_mode(mode)))?;
        if let Some(modified_s) = modified_s.and_then(|seconds| i64::try_from(seconds).ok()) {
            let time = rustix::fs::Timespec { tv_sec: modified_s, tv_nsec: 0 };
            rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
        }
        self.remember(&path, Kind::File)
    }

    pub(super) fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refused> {
        let path = named(path)?;
        let target = text(target)?;
        check_link(&path, target)?;
        self.free(&path)?;
        let (parent, name) = split(&path);
        self.in_directory(parent, |directory| Ok(rustix::fs::symlinkat(target, directory, name)?))?;
        self.remember(&path, Kind::Link)
    }

    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refused> {
        let (path, target) = (named(path)?, named(target)?);
        if self.kind_of(&target)? != Some(Kind::File) {
            return Err(EntryProblem::LinkToNothing(shown(&target)).into());
        }
        self.free(&path)?;
        let (from_parent, from_name) = split(&target);
        let from = self.in_directory(from_parent, |directory| {
            Ok(rustix::fs::openat(
                directory,
                from_name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?)
        })?;
        let (parent, name) = split(&path);
        let held = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&from));
        self.in_directory(parent, |directory| {
            // By the file that was looked at, not by its name.
            Ok(rustix::fs::linkat(rustix::fs::CWD, &held, directory, name, AtFlags::SYMLINK_FOLLOW)?)
        })?;
        self.remember(&path, Kind::File)
    }

    fn copy(&mut self, from: &mut impl Read, mut to: &File, size: u64) -> Result<(), Refused> {
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let count = match from.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(EntryProblem::BrokenOff { actual: size - left, expected: size }.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refused::Archive(error)),
            };
            to.write_all(&self.buffer[..count]).map_err(Refused::Disk)?;
            left -= count as u64;
        }
        Ok(())
    }

    fn room(&mut self, size: u64) -> Result<(), EntryProblem> {
        self.bytes = self.limits.total(self.bytes, size)?;
        Ok(())
    }

    fn kind_of(&self, path: &str) -> Result<Option<Kind>, EntryProblem> {
        match self.known.get(&key(&path.to_lowercase())) {
            Some(known) if known.exact == key(path) => Ok(Some(known.kind)),
            Some(_) => Err(EntryProblem::CaseClash),
            None => Ok(None),
        }
    }

    fn free(&self, path: &str) -> Result<(), EntryProblem> {
        match self.kind_of(path)? {
            Some(_) => Err(EntryProblem::Duplicate),
            None => Ok(()),
        }
    }

    fn remember(&mut self, path: &str, kind: Kind) -> Result<(), Refused> {
        let known = Known { exact: key(path), kind };
        self.known.insert(key(&path.to_lowercase()), known);
        match self.known.len() > self.limits.entries_max {
            true => Err(EntryProblem::TooMany(self.limits.entries_max).into()),
            false => Ok(()),
        }
    }

    fn make_directory(&mut self, path: &str, mode: u32) -> Result<(), Refused> {
        let (parent, name) = split(path);
        self.in_directory(parent, |directory| {
            rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o700))?;
            let made = rustix::fs::openat(directory, name, DIRECTORY, Mode::empty())?;
            // The owner can always go through and clean up.
            Ok(rustix::fs::fchmod(made, Mode::from_raw_mode(mode | 0o700))?)
        })
    }

    /// Does something in a directory of the tree, which is made where nobody described it, and reached
    /// part by part without following a link.
    fn in_directory<T>(
        &mut self,
        path: &str,
        act: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        if path.is_empty() {
            return act(self.root.as_fd());
        }
        if let Some((_, directory)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return act(directory.as_fd());
        }
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            match self.kind_of(&path[..end])? {
                Some(Kind::Directory { .. }) => {}
                Some(_) => return Err(EntryProblem::BeneathNoDirectory.into()),
                None => {
                    self.make_directory(&path[..end], DIRECTORY_MODE)?;
                    self.remember(&path[..end], Kind::Directory { implied: true })?;
                }
            }
        }
        let mut directory = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        for part in path.split('/') {
            directory = rustix::fs::openat(&directory, part, DIRECTORY, Mode::empty())?;
        }
        let done = act(directory.as_fd());
        self.last = Some((path.to_owned(), directory));
        done
    }
}

fn key(path: &str) -> PathKey {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..16]);
    key
}

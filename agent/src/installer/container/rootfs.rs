//! The root file system of an image: layers, one laid over the other, beneath a directory and nowhere else.
//!
//! The rules are those of trees ([`super::super::unpack`]): every directory on the way is opened from the one before
//! without following links, nothing is written through a link, and only files, directories and links are made. Unlike
//! trees, images have links to absolute places and owners of their own: both mean something only inside of the
//! container, and nothing of the agent ever follows such a link on the host. Bits that would give somebody else's
//! rights are left out: containers run without leave to gain any, so they had no effect there, and on the host they
//! would have one.

use crate::installer::room::{self, FREE_BYTES_MIN};
use crate::installer::unpack::{
    EntryProblem, Limits, PATH_BYTES_MAX, Refused, UnpackError, named, plain_path, shown, split, text,
};
use bao_tree::blake3;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// How the name begins that hides another one of the layers below.
const HIDES: &str = ".wh.";
/// The name that hides all that the layers below have in its directory.
const HIDES_ALL: &str = ".wh..wh..opq";
/// Permission bits kept: read, write, execute, and the one of directories that everybody may write to.
const MODE_MASK: u32 = 0o1777;
/// Permission bits that give somebody else's rights.
const SETID_BITS: u32 = 0o6000;
/// Permissions of a directory nobody described.
const DIRECTORY_MODE: u32 = 0o755;
/// Permissions of a file that is only there to be mounted over.
const EMPTY_FILE_MODE: u32 = 0o644;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whose something is, and what may be done with it, as an archive has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Rights {
    pub(super) const ROOTS: Self = Self { mode: DIRECTORY_MODE, uid: 0, gid: 0 };
}

/// A root file system that grows layer by layer.
pub struct RootFs {
    limits: Limits,
    root: OwnedFd,
    entries: usize,
    bytes: u64,
    /// Paths of what this layer has made, by a part of their hash; directories are not among them.
    of_this_layer: HashSet<[u8; 16]>,
    bits_left_out: usize,
}

impl RootFs {
    /// Beneath a directory that is empty and the agent's own.
    ///
    /// # Errors
    /// [`UnpackError`] when it cannot be opened.
    pub fn beneath(root: &Path, limits: Limits) -> Result<Self, UnpackError> {
        let opened = rustix::fs::open(root, DIRECTORY, Mode::empty());
        let root = opened.map_err(|error| Refused::from(error).of(root.as_os_str().as_encoded_bytes()))?;
        Ok(Self { limits, root, entries: 0, bytes: 0, of_this_layer: HashSet::new(), bits_left_out: 0 })
    }

    /// Begins a layer.
    pub(super) fn begin_layer(&mut self) {
        self.of_this_layer.clear();
    }

    /// How many files and directories had bits that were left out.
    pub(super) fn bits_left_out(&self) -> usize {
        self.bits_left_out
    }

    /// Takes away what an entry hides of the layers below; nothing when it is none that hides. Of a layer, all of
    /// these come first: what it hides is never its own.
    pub(super) fn hide(&mut self, path: &[u8]) -> Result<(), Refused> {
        let path = plain_path(path)?;
        let (within, name) = split(&path);
        let Some(hidden) = name.strip_prefix(HIDES) else { return Ok(()) };
        let Some(parent) = self.directory_there(within)? else { return Ok(()) };
        if name == HIDES_ALL {
            let names = names_in(parent.as_fd())?;
            return names.iter().try_for_each(|name| remove(parent.as_fd(), name));
        }
        match hidden {
            "" | "." | ".." => Err(EntryProblem::Nameless.into()),
            _ if hidden.starts_with(HIDES) => Err(EntryProblem::Kind("reserved name").into()),
            _ => remove(parent.as_fd(), hidden),
        }
    }

    /// Whether an entry only hides something.
    pub(super) fn is_marker(path: &[u8]) -> Result<bool, Refused> {
        Ok(split(&plain_path(path)?).1.starts_with(HIDES))
    }

    pub(super) fn directory(&mut self, path: &[u8], rights: Rights) -> Result<(), Refused> {
        let path = plain_path(path)?;
        let rights = self.checked(rights);
        if path.is_empty() {
            return give(self.root.as_fd(), rights);
        }
        let (within, name) = split(&path);
        let parent = self.make_way(within)?;
        if !matches!(kind_of(parent.as_fd(), name)?, Some(FileType::Directory)) {
            self.free(&path, parent.as_fd(), name)?;
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
            self.count()?;
        }
        give(rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?.as_fd(), rights)
    }

    pub(super) fn file(
        &mut self,
        path: &[u8],
        rights: Rights,
        size: u64,
        modified_s: Option<u64>,
        from: impl Read,
    ) -> Result<(), Refused> {
        let path = named(path)?;
        let rights = self.checked(rights);
        self.room(size)?;
        let (within, name) = split(&path);
        let parent = self.make_way(within)?;
        self.place(&path, parent.as_fd(), name)?;
        let mut file = File::from(rustix::fs::openat(&parent, name, NEW_FILE, Mode::from_raw_mode(0o600))?);
        copy(from, &mut file, size)?;
        give(file.as_fd(), rights)?;
        if let Some(modified_s) = modified_s.and_then(|seconds| i64::try_from(seconds).ok()) {
            let time = Timespec { tv_sec: modified_s, tv_nsec: 0 };
            rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
        }
        Ok(())
    }

    pub(super) fn symlink(&mut self, path: &[u8], target: &[u8], rights: Rights) -> Result<(), Refused> {
        let (path, target) = (named(path)?, text(target)?);
        if target.is_empty() || target.len() > PATH_BYTES_MAX {
            return Err(EntryProblem::LinkOut(shown(target)).into());
        }
        let (within, name) = split(&path);
        let parent = self.make_way(within)?;
        self.place(&path, parent.as_fd(), name)?;
        rustix::fs::symlinkat(target, &parent, name)?;
        let (uid, gid) = (Some(Uid::from_raw(rights.uid)), Some(Gid::from_raw(rights.gid)));
        Ok(rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refused> {
        let (path, target) = (named(path)?, named(target)?);
        let nothing = || Refused::from(EntryProblem::LinkToNothing(shown(&target)));
        let (from_within, from_name) = split(&target);
        let from_parent = self.directory_there(from_within)?.ok_or_else(nothing)?;
        if kind_of(from_parent.as_fd(), from_name)? != Some(FileType::RegularFile) {
            return Err(nothing());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = rustix::fs::openat(&from_parent, from_name, flags, Mode::empty())?;
        let (within, name) = split(&path);
        let parent = self.make_way(within)?;
        self.place(&path, parent.as_fd(), name)?;
        // By the file that was looked at, not by its name.
        let held = format!("/proc/self/fd/{}", from.as_raw_fd());
        let linked = rustix::fs::linkat(rustix::fs::CWD, &held, &parent, name, AtFlags::SYMLINK_FOLLOW);
        linked.map_err(|error| match error {
            // It had to make way for its own link: it was what the link replaces, or lay beneath it.
            Errno::NOENT => nothing(),
            error => error.into(),
        })
    }

    /// Makes sure that a directory can be mounted at a path.
    pub(super) fn directory_for_mount(&mut self, path: &str) -> Result<(), UnpackError> {
        let made = plain_path(path.trim_start_matches('/').as_bytes())
            .map_err(Refused::from)
            .and_then(|path| self.make_way(&path).map(drop));
        made.map_err(|refused| refused.of(path.as_bytes()))
    }

    /// Makes sure that a file can be mounted at a path: what is there and no file is replaced by an empty one.
    pub(super) fn file_for_mount(&mut self, path: &str) -> Result<(), UnpackError> {
        let path = path.trim_start_matches('/');
        let mut make = || {
            let (within, name) = split(path);
            let parent = self.make_way(within)?;
            if kind_of(parent.as_fd(), name)? == Some(FileType::RegularFile) {
                return Ok(());
            }
            remove(parent.as_fd(), name)?;
            let file = rustix::fs::openat(&parent, name, NEW_FILE, Mode::from_raw_mode(0o600))?;
            give(file.as_fd(), Rights { mode: EMPTY_FILE_MODE, ..Rights::ROOTS })
        };
        make().map_err(|refused: Refused| refused.of(path.as_bytes()))
    }

    /// What is set in place of a mode and owners that cannot be had here.
    fn checked(&mut self, rights: Rights) -> Rights {
        self.bits_left_out += usize::from(rights.mode & SETID_BITS != 0);
        Rights { mode: rights.mode & MODE_MASK, ..rights }
    }

    /// Asks for room: within the limits, and on the disk, which is everybody's.
    fn room(&mut self, size: u64) -> Result<(), Refused> {
        self.bytes = self.limits.total(self.bytes, size)?;
        match room::free(&self.root)? < size.saturating_add(FREE_BYTES_MIN) {
            true => Err(Refused::Disk(io::ErrorKind::StorageFull.into())),
            false => Ok(()),
        }
    }

    /// Counts what is made, also what a later layer takes away again.
    fn count(&mut self) -> Result<(), EntryProblem> {
        self.entries += 1;
        match self.entries > self.limits.entries_max {
            true => Err(EntryProblem::TooMany(self.limits.entries_max)),
            false => Ok(()),
        }
    }

    /// Takes away what layers below have at a path.
    fn free(&self, path: &str, parent: BorrowedFd<'_>, name: &str) -> Result<(), Refused> {
        match self.of_this_layer.contains(&key(path)) {
            true => Err(EntryProblem::Duplicate.into()),
            false => remove(parent, name),
        }
    }

    /// Takes away what layers below have at a path, and notes that it is this layer's.
    fn place(&mut self, path: &str, parent: BorrowedFd<'_>, name: &str) -> Result<(), Refused> {
        self.free(path, parent, name)?;
        self.of_this_layer.insert(key(path));
        Ok(self.count()?)
    }

    /// The directory at a path, if there is one.
    fn directory_there(&self, path: &str) -> Result<Option<OwnedFd>, Refused> {
        let mut directory = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            directory = match rustix::fs::openat(&directory, part, DIRECTORY, Mode::empty()) {
                Ok(inner) => inner,
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Some(directory))
    }

    /// The directory at a path, made where nobody described it.
    fn make_way(&mut self, path: &str) -> Result<OwnedFd, Refused> {
        let mut directory = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            directory = match rustix::fs::openat(&directory, part, DIRECTORY, Mode::empty()) {
                Ok(inner) => inner,
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(EntryProblem::BeneathNoDirectory.into()),
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&directory, part, Mode::from_raw_mode(0o700))?;
                    self.count()?;
                    let made = rustix::fs::openat(&directory, part, DIRECTORY, Mode::empty())?;
                    give(made.as_fd(), Rights::ROOTS)?;
                    made
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(directory)
    }
}

/// Reads a file of a root file system as something inside would see it; `None` when there is none. A link never leads
/// out.
pub(super) fn read_inside(root: &Path, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let root = rustix::fs::open(root, DIRECTORY, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(&root, path, flags, Mode::empty(), inside) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {limit} bytes"))),
        false => Ok(Some(bytes)),
    }
}

/// Whether something inside would see a directory there.
pub(crate) fn has_directory(root: &Path, path: &str) -> bool {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(root, DIRECTORY, Mode::empty())
        .and_then(|root| rustix::fs::openat2(&root, path, flags, Mode::empty(), inside));
    opened.is_ok()
}

/// Owners first: to change them takes bits away.
fn give(to: BorrowedFd<'_>, rights: Rights) -> Result<(), Refused> {
    rustix::fs::fchown(to, Some(Uid::from_raw(rights.uid)), Some(Gid::from_raw(rights.gid)))?;
    Ok(rustix::fs::fchmod(to, Mode::from_raw_mode(rights.mode))?)
}

fn copy(from: impl Read, to: &mut File, size: u64) -> Result<(), Refused> {
    // Which of the two disks failed is told apart: the one that is written to has no room, the other is an archive.
    let mut from = Listening { from: from.take(size), failed: None };
    let copied = io::copy(&mut from, to);
    match (copied, from.failed) {
        (_, Some(error)) => Err(Refused::Archive(error)),
        (Err(error), None) => Err(Refused::Disk(error)),
        (Ok(actual), None) if actual < size => Err(EntryProblem::BrokenOff { actual, expected: size }.into()),
        (Ok(_), None) => Ok(()),
    }
}

/// Keeps what went wrong with reading.
struct Listening<R> {
    from: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Listening<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.from.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => {
                self.failed = Some(error);
                kind.into()
            }
        })
    }
}

fn kind_of(parent: BorrowedFd<'_>, name: &str) -> Result<Option<FileType>, Refused> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(Stat { st_mode, .. }) => Ok(Some(FileType::from_raw_mode(st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn names_in(directory: BorrowedFd<'_>) -> Result<Vec<String>, Refused> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes whatever has a name in a directory; nothing is as good.
fn remove(parent: BorrowedFd<'_>, name: &str) -> Result<(), Refused> {
    match kind_of(parent, name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            // Beneath the directory that is held, whatever its path leads to by now; links are not followed.
            let held = format!("/proc/self/fd/{}/{name}", parent.as_raw_fd());
            fs::remove_dir_all(held).map_err(Refused::Disk)
        }
        Some(_) => Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?),
    }
}

fn key(path: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..16]);
    key
}

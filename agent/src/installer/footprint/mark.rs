//! What is at a path: everything of it that can be told apart.

use super::root::{DIRECTORY, Root, WayError, is_gone, split};
use bao_tree::blake3;
use ledger::id::Digest;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Bytes of extended attributes of one path.
const ATTRIBUTES_BYTES_MAX: usize = 64 * 1024;
/// Bytes copied at a time.
const COPY_BYTES: usize = 64 * 1024;

/// Extended attributes, access lists among them.
pub(in crate::installer) type Attributes = BTreeMap<String, Vec<u8>>;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::installer) enum Mark {
    /// Nothing.
    Missing,
    /// A file.
    File { mode: u32, uid: u32, gid: u32, size: u64, blake3: Digest, attributes: Attributes },
    /// A directory; what is in it are paths of their own.
    Directory {
        mode: u32,
        uid: u32,
        gid: u32,
        #[serde(default)]
        attributes: Attributes,
    },
    /// A symbolic link.
    Link { target: String, uid: u32, gid: u32 },
    /// Something else: it is not looked into, and not repaired.
    Other,
}

/// Which file it is, whatever its names are.
pub(super) type Identity = (u64, u64);

/// A look around beneath a root: stays in the directory it is in as long as paths are in that.
pub(super) struct Glance<'a> {
    root: &'a Root,
    here: Option<(String, Option<OwnedFd>)>,
}

impl<'a> Glance<'a> {
    pub(super) fn beneath(root: &'a Root) -> Self {
        Self { root, here: None }
    }

    /// What is at a path, and which file that is.
    pub(super) fn at(&mut self, path: &str) -> io::Result<(Mark, Option<Identity>)> {
        let (within, name) = split(path);
        if self.here.as_ref().is_none_or(|(here, _)| here != within) {
            let reached = match self.root.directory(within) {
                Err(error) if error.is_gone() => None,
                reached => Some(reached?),
            };
            self.here = Some((within.to_owned(), reached));
        }
        match &self.here {
            Some((_, Some(parent))) => look(parent.as_fd(), name),
            _ => Ok((Mark::Missing, None)),
        }
    }
}

impl Root {
    /// What is at a path.
    pub(in crate::installer) fn mark(&self, path: &str) -> io::Result<Mark> {
        Glance::beneath(self).at(path).map(|(mark, _)| mark)
    }

    /// Whether there is a file at a path.
    pub(in crate::installer) fn is_file(&self, path: &str) -> bool {
        self.kind(path).is_ok_and(|kind| kind == Some(FileType::RegularFile))
    }

    /// Whether there is a symbolic link at a path.
    pub(in crate::installer) fn is_link(&self, path: &str) -> bool {
        self.kind(path).is_ok_and(|kind| kind == Some(FileType::Symlink))
    }

    /// What kind of thing is at a path, without looking into it; `None` when there is nothing.
    pub(in crate::installer) fn kind(&self, path: &str) -> io::Result<Option<FileType>> {
        let (parent, name) = match self.parent(path) {
            Err(error) if error.is_gone() => return Ok(None),
            reached => reached?,
        };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(error) if is_gone(error) => Ok(None),
            stat => Ok(Some(FileType::from_raw_mode(stat?.st_mode))),
        }
    }

    /// Copies the content of a file; its length and digest.
    pub(super) fn copy_out(&self, path: &str, to: &Path) -> io::Result<(u64, Digest)> {
        let (parent, name) = self.parent(path)?;
        let mut to = File::create_new(to)?;
        hash(&open_file(parent.as_fd(), name)?, &mut to)
    }

    /// The names in a directory; none where there is none.
    pub(in crate::installer) fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let directory = match self.directory(path) {
            Err(error) if error.is_gone() => return Ok(Vec::new()),
            directory => directory?,
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Which disk a path is on, or would be, and the directory of it that is there already.
    pub(in crate::installer) fn disk<'p>(&self, path: &'p str) -> Result<(u64, OwnedFd, &'p str), WayError> {
        let (directory, within) = self.nearest(path)?;
        let stat = rustix::fs::fstat(&directory)?;
        Ok((stat.st_dev, directory, within))
    }
}

fn look(parent: BorrowedFd<'_>, name: &str) -> io::Result<(Mark, Option<Identity>)> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(error) if is_gone(error) => return Ok((Mark::Missing, None)),
        stat => stat?,
    };
    let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
    let mark = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Mark::Directory { mode, uid, gid, attributes: of_directory(parent, name)? },
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
            Mark::Link { target: target.to_string_lossy().into_owned(), uid, gid }
        }
        FileType::RegularFile => {
            let file = open_file(parent, name)?;
            // Of the file that is read, and not of what bore its name a moment ago.
            let stat = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok((Mark::Other, None));
            }
            let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
            let (size, blake3) = hash(&file, &mut io::sink())?;
            let mark = Mark::File { mode, uid, gid, size, blake3, attributes: attributes(file.as_fd())? };
            return Ok((mark, Some((stat.st_dev, stat.st_ino))));
        }
        _ => Mark::Other,
    };
    Ok((mark, None))
}

fn of_directory(parent: BorrowedFd<'_>, name: &str) -> io::Result<Attributes> {
    match rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        // Who may not look into it may not change it either.
        Err(Errno::ACCESS) => Ok(Attributes::new()),
        directory => attributes(directory?.as_fd()),
    }
}

pub(super) fn open_file(parent: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

/// Length and digest of a file, which is copied meanwhile.
pub(super) fn hash(mut file: &File, to: &mut impl Write) -> io::Result<(u64, Digest)> {
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; COPY_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.count(), Digest(*hasher.finalize().as_bytes()))),
            count => {
                hasher.update(&buffer[..count]);
                to.write_all(&buffer[..count])?;
            }
        };
    }
}

pub(super) fn attributes(file: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut names = vec![0; ATTRIBUTES_BYTES_MAX];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(Attributes::new()),
        length => length?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let read = |name: &[u8]| {
        let mut value = vec![0; ATTRIBUTES_BYTES_MAX];
        let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        value.truncate(length);
        Ok((String::from_utf8_lossy(name).into_owned(), value))
    };
    names.map(read).collect()
}

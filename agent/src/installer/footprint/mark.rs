//! What is at a path: everything of it that can be told apart.

use super::super::deadline::Deadline;
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
/// Largest file whose content is looked into: larger than any that a patch may bring.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
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
    Link { target: Target, uid: u32, gid: u32 },
    /// A file that was not looked into: that it is another its length says already. Never written down.
    Unread { size: u64 },
    /// Something else: it is not looked into, and not repaired.
    Other,
}

/// Where a symbolic link leads: bytes, which need not be text. Written down as text where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(in crate::installer) enum Target {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Vec<u8>> for Target {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }
}

impl Target {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// How far a look at a file goes. Whoever owns a directory may have put a file there that nobody reads to its end.
#[derive(Clone, Copy)]
pub(super) enum Reach<'a> {
    /// All of its content, in this time; one that is larger than any may be is an error.
    Whole(Option<Deadline>),
    /// Only of one that is as long as this mark says.
    As(&'a Mark),
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
    pub(super) fn at(&mut self, path: &str, reach: Reach<'_>) -> io::Result<(Mark, Option<Identity>)> {
        let (within, name) = split(path);
        if self.here.as_ref().is_none_or(|(here, _)| here != within) {
            let reached = match self.root.directory(within) {
                Err(error) if error.is_gone() => None,
                reached => Some(reached?),
            };
            self.here = Some((within.to_owned(), reached));
        }
        match &self.here {
            Some((_, Some(parent))) => look(parent.as_fd(), name, reach),
            _ => Ok((Mark::Missing, None)),
        }
    }
}

impl Root {
    /// What is at a path.
    pub(in crate::installer) fn mark(&self, path: &str) -> io::Result<Mark> {
        Glance::beneath(self).at(path, Reach::Whole(None)).map(|(mark, _)| mark)
    }

    /// What is at a path, if that can be said in time.
    pub(in crate::installer) fn mark_within(&self, path: &str, deadline: Deadline) -> io::Result<Mark> {
        Glance::beneath(self).at(path, Reach::Whole(Some(deadline))).map(|(mark, _)| mark)
    }

    /// What is at a path, as far as must be known to tell it from a mark.
    pub(in crate::installer) fn mark_beside(&self, path: &str, other: &Mark) -> io::Result<Mark> {
        Glance::beneath(self).at(path, Reach::As(other)).map(|(mark, _)| mark)
    }

    /// The content of a file of at most so many bytes.
    pub(in crate::installer) fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let (parent, name) = self.parent(path)?;
        let mut bytes = Vec::new();
        open_file(parent.as_fd(), name)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > bytes_max {
            true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {bytes_max} bytes"))),
            false => Ok(bytes),
        }
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

    /// Copies the content of a file that should be so long; its length and digest. Of a longer one, a byte more.
    pub(super) fn copy_out(&self, path: &str, to: &Path, size: u64, deadline: Deadline) -> io::Result<(u64, Digest)> {
        let (parent, name) = self.parent(path)?;
        let mut to = File::create_new(to)?;
        hash(&open_file(parent.as_fd(), name)?, &mut to, size, Some(deadline))
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

impl Reach<'_> {
    /// What is said of a file of this length without its content, where that is not looked into.
    fn stops_at(self, size: i64) -> io::Result<Option<Mark>> {
        // No file system says that a file is shorter than nothing.
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        match self {
            Self::As(Mark::File { size: wanted, .. }) if *wanted == size => Ok(None),
            Self::As(_) => Ok(Some(Mark::Unread { size })),
            Self::Whole(_) if size <= FILE_BYTES_MAX => Ok(None),
            Self::Whole(_) => {
                let said = format!("{size} bytes are more than the {FILE_BYTES_MAX} that any file may have");
                Err(io::Error::new(io::ErrorKind::FileTooLarge, said))
            }
        }
    }

    /// How many bytes are read at most, and by when.
    fn bounds(self) -> (u64, Option<Deadline>) {
        match self {
            Self::As(Mark::File { size, .. }) => (*size, None),
            Self::As(_) => (0, None),
            Self::Whole(deadline) => (FILE_BYTES_MAX, deadline),
        }
    }
}

fn look(parent: BorrowedFd<'_>, name: &str, reach: Reach<'_>) -> io::Result<(Mark, Option<Identity>)> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(error) if is_gone(error) => return Ok((Mark::Missing, None)),
        stat => stat?,
    };
    let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
    let mark = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Mark::Directory { mode, uid, gid, attributes: of_directory(parent, name)? },
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
            Mark::Link { target: target.into_bytes().into(), uid, gid }
        }
        FileType::RegularFile => {
            let identity = Some((stat.st_dev, stat.st_ino));
            if let Some(unread) = reach.stops_at(stat.st_size)? {
                return Ok((unread, identity));
            }
            let file = open_file(parent, name)?;
            // Of the file that is read, and not of what bore its name a moment ago.
            let stat = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok((Mark::Other, None));
            }
            let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
            let identity = Some((stat.st_dev, stat.st_ino));
            let (size_max, deadline) = reach.bounds();
            let (size, blake3) = hash(&file, &mut io::sink(), size_max, deadline)?;
            // It may have grown meanwhile.
            if let Some(unread) = reach.stops_at(i64::try_from(size).unwrap_or(i64::MAX))? {
                return Ok((unread, identity));
            }
            let mark = Mark::File { mode, uid, gid, size, blake3, attributes: attributes(file.as_fd())? };
            return Ok((mark, identity));
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

/// Length and digest of a file, which is copied meanwhile, in the time there is. One that is longer than it may be
/// is read one byte further, and that shows.
pub(super) fn hash(
    file: &File,
    to: &mut impl Write,
    size_max: u64,
    deadline: Option<Deadline>,
) -> io::Result<(u64, Digest)> {
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; COPY_BYTES]);
    let mut file = file.take(size_max.saturating_add(1));
    loop {
        deadline.map_or(Ok(()), |deadline| deadline.check())?;
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

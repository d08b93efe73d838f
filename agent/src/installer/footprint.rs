//! What of a host an update touches: every path with its content, mode, owner, link target and
//! extended attributes, written down before, so that going back can be proven and, where something
//! differs, repaired.
//!
//! Paths are looked up beneath the root as a process living there would: links on the way are followed
//! within it, the last part never.

use super::deadline::Deadline;
use super::tree::io_refusal;
use crate::files::{self, FileError, failed};
use crate::settled::Refusal;
use bao_tree::blake3;
use ledger::id::Digest;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Paths of one footprint.
pub(super) const PATHS_MAX: usize = 200_000;
/// Largest footprint file.
const FOOTPRINT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of extended attributes of one path.
const ATTRIBUTES_BYTES_MAX: usize = 64 * 1024;
/// Bytes copied at a time.
const COPY_BYTES: usize = 64 * 1024;
/// What a repaired path is called until it is whole.
const REPAIR_SUFFIX: &str = ".countersign-new";

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Mark {
    /// Nothing.
    Missing,
    /// A file.
    File { mode: u32, uid: u32, gid: u32, size: u64, blake3: Digest, attributes: BTreeMap<String, Vec<u8>> },
    /// A directory; what is in it are paths of their own.
    Directory { mode: u32, uid: u32, gid: u32 },
    /// A symbolic link.
    Link { target: String, uid: u32, gid: u32 },
    /// Something else: it is not looked into, and not repaired.
    Other,
}

/// Paths relative to the root, and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footprint(pub(super) BTreeMap<String, Mark>);

/// The root of a host, or of what is treated as one.
#[derive(Clone, Debug)]
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A directory, reached as from within the root.
    pub(super) fn directory(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.0, flags, Mode::empty())?;
        let path = if path.is_empty() { "." } else { path };
        rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    fn parent<'a>(&self, path: &'a str) -> rustix::io::Result<(OwnedFd, &'a str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.directory(parent)?, name))
    }

    /// What is at a path.
    pub(super) fn mark(&self, path: &str) -> io::Result<Mark> {
        let gone = |error: Errno| matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP);
        let (parent, name) = match self.parent(path) {
            Err(error) if gone(error) => return Ok(Mark::Missing),
            parent => parent?,
        };
        let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(error) if gone(error) => return Ok(Mark::Missing),
            stat => stat?,
        };
        let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Mark::Directory { mode, uid, gid },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
                Mark::Link { target: target.to_string_lossy().into_owned(), uid, gid }
            }
            FileType::RegularFile => {
                let file = open_file(&parent, name)?;
                let (size, blake3) = hash(&file)?;
                Mark::File { mode, uid, gid, size, blake3, attributes: attributes(&file)? }
            }
            _ => Mark::Other,
        })
    }

    /// Copies the content of a file.
    pub(super) fn copy_out(&self, path: &str, to: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let mut from = open_file(&parent, name)?;
        let mut to = File::create_new(to)?;
        io::copy(&mut from, &mut to).map(|_| ())
    }

    /// Makes a path what a mark says; `content` is where a file's bytes are.
    fn repair(&self, path: &str, wanted: &Mark, content: &Path) -> io::Result<()> {
        let (parent, name) = match self.parent(path) {
            Err(Errno::NOENT | Errno::NOTDIR) if *wanted == Mark::Missing => return Ok(()),
            parent => parent?,
        };
        let is_directory = |mark: &Mark| matches!(mark, Mark::Directory { .. });
        let there = self.mark(path)?;
        if *wanted == Mark::Missing || (there != Mark::Missing && is_directory(&there) != is_directory(wanted)) {
            let flags = if is_directory(&there) { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            rustix::fs::unlinkat(&parent, name, flags)?;
        }
        let new = format!("{name}{REPAIR_SUFFIX}");
        match wanted {
            Mark::Missing | Mark::Other => {}
            Mark::Directory { mode, uid, gid } => {
                match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
                    Err(error) if error != Errno::EXIST => return Err(error.into()),
                    _ => {}
                }
                own(&parent, name, *uid, *gid)?;
                rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(*mode), AtFlags::empty())?;
            }
            Mark::Link { target, uid, gid } => {
                remove(&parent, &new)?;
                rustix::fs::symlinkat(target.as_str(), &parent, &new)?;
                own(&parent, &new, *uid, *gid)?;
                rustix::fs::renameat(&parent, &new, &parent, name)?;
            }
            Mark::File { mode, uid, gid, attributes, .. } => {
                remove(&parent, &new)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(&parent, &new, flags, Mode::from_raw_mode(0o600))?);
                io::copy(&mut File::open(content)?, &mut file)?;
                // The owner first: changing it takes set-id bits and capabilities away.
                rustix::fs::fchown(&file, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))?;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(*mode))?;
                for (name, value) in attributes {
                    rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty())?;
                }
                file.sync_all()?;
                rustix::fs::renameat(&parent, &new, &parent, name)?;
            }
        }
        Ok(rustix::fs::fsync(&parent)?)
    }
}

fn own(parent: &OwnedFd, name: &str, uid: u32, gid: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn remove(parent: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        // Nothing can be taken away there, but perhaps nothing has to be.
        Err(Errno::ROFS) => match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            _ => Err(Errno::ROFS),
        },
        result => result,
    }
}

fn open_file(parent: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

fn hash(mut file: &File) -> io::Result<(u64, Digest)> {
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; COPY_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.count(), Digest(*hasher.finalize().as_bytes()))),
            count => hasher.update(&buffer[..count]),
        };
    }
}

fn attributes(file: &File) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; ATTRIBUTES_BYTES_MAX];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
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

impl Footprint {
    /// Writes down what is at these paths.
    pub(super) fn take(root: &Root, paths: &BTreeSet<String>, deadline: Deadline) -> Result<Self, Refusal> {
        let mark = |path: &String| -> Result<(String, Mark), Refusal> {
            deadline.check()?;
            let mark = root.mark(path).map_err(failed("examine", &root.path().join(path)))?;
            Ok((path.clone(), mark))
        };
        paths.iter().map(mark).collect::<Result<_, _>>().map(Self)
    }

    /// The paths of which something else is there now, with what is.
    pub(super) fn differences(&self, root: &Root) -> Result<Vec<(&str, &Mark, Mark)>, FileError> {
        let mut found = Vec::new();
        for (path, wanted) in &self.0 {
            let there = root.mark(path).map_err(failed("examine", &root.path().join(path)))?;
            if there != *wanted {
                found.push((path.as_str(), wanted, there));
            }
        }
        Ok(found)
    }

    /// Keeps the content of every file in a directory, by its place in the footprint.
    pub(super) fn keep(&self, root: &Root, directory: &Path, deadline: Deadline) -> Result<(), Refusal> {
        files::private_dir(directory)?;
        for (place, (path, mark)) in self.0.iter().enumerate() {
            deadline.check()?;
            if let Mark::File { .. } = mark {
                let copied = root.copy_out(path, &directory.join(place.to_string()));
                copied.map_err(|error| io_refusal(&format!("keep a copy of {path}"), &error))?;
            }
        }
        Ok(())
    }

    /// Makes everything that differs what it was, from what [`Footprint::keep`] kept. The paths
    /// repaired.
    pub(super) fn repair(&self, root: &Root, kept: &Path) -> Result<Vec<String>, String> {
        let places: BTreeMap<&str, usize> =
            self.0.keys().enumerate().map(|(place, path)| (path.as_str(), place)).collect();
        let mut differing = self.differences(root).map_err(|error| crate::settled::chain(&error))?;
        // What must go goes from the inside out; what must be there comes from the outside in.
        differing.sort_by_key(|(path, wanted, _)| (**wanted != Mark::Missing, path.len()));
        let gone = differing.iter().filter(|(_, wanted, _)| **wanted == Mark::Missing).count();
        differing[..gone].reverse();
        for (path, wanted, _) in &differing {
            let content = kept.join(places[path].to_string());
            root.repair(path, wanted, &content).map_err(|error| format!("cannot repair {path}: {error}"))?;
        }
        Ok(differing.iter().map(|(path, ..)| (*path).to_owned()).collect())
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        files::replace(path, &serde_json::to_vec(self).unwrap_or_default())
    }

    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let bytes = files::read(path, FOOTPRINT_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|error| failed("understand", path)(io::Error::other(error)))
    }
}

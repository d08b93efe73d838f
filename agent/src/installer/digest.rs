//! The digest of a tree: content, modes and links, nothing else. Two trees with one digest cannot be
//! told apart by what runs from them.

use super::unpack::DEPTH_MAX;
use bao_tree::blake3;
use ledger::id::Digest;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the hashing is for (BLAKE3 `derive_key`), so that it is no other kind of hash.
const CONTEXT: &str = "countersign agent v1 tree digest";
/// The same, of whose everything in a tree is.
const OWNERS_CONTEXT: &str = "countersign agent v1 tree owners";
/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

/// A tree that cannot be digested.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct DigestError {
    /// Where in the tree.
    pub path: PathBuf,
    /// What happened.
    #[source]
    pub source: io::Error,
}

/// Digests a tree; with `sync`, everything in it is on the disk afterwards.
///
/// # Errors
/// [`DigestError`] names the entry that cannot be read, or should not be in a tree.
pub fn digest(root: &Path, sync: bool) -> Result<Digest, DigestError> {
    walk(root, Of::Content { sync })
}

/// Digests whose everything in a tree is: users and groups, by path. The other digest does not say.
///
/// # Errors
/// As for [`digest`].
pub fn owners(root: &Path) -> Result<Digest, DigestError> {
    walk(root, Of::Owners)
}

/// What is digested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Content { sync: bool },
    Owners,
}

fn walk(root: &Path, of: Of) -> Result<Digest, DigestError> {
    let context = if of == Of::Owners { OWNERS_CONTEXT } else { CONTEXT };
    let directory = rustix::fs::open(root, DIRECTORY, Mode::empty());
    let directory = directory.map_err(|error| DigestError { path: root.to_owned(), source: error.into() })?;
    let mut walk = Walk { hasher: blake3::Hasher::new_derive_key(context), buffer: vec![0; READ_BYTES], of };
    let mut path = PathBuf::new();
    walk.directory(directory, &mut path, 0).map_err(|source| DigestError { path: root.join(&path), source })?;
    Ok(Digest(*walk.hasher.finalize().as_bytes()))
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

struct Walk {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    of: Of,
}

impl Walk {
    /// Goes through a directory in the order of its names. `path` is where the walk is; after an error
    /// it says where it was.
    fn directory(&mut self, directory: OwnedFd, path: &mut PathBuf, depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("deeper than any tree this agent makes"));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() != b"." && name.as_bytes() != b".." {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            path.push(String::from_utf8_lossy(name.as_bytes()).as_ref());
            let stat = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let mode = stat.st_mode & 0o7777;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if self.of == Of::Owners {
                self.owners(stat.st_uid, stat.st_gid, path);
            }
            match kind {
                FileType::RegularFile | FileType::Symlink if self.of == Of::Owners => {}
                FileType::Directory => {
                    self.entry(b'd', mode, path);
                    let inner = rustix::fs::openat(&directory, &name, DIRECTORY, Mode::empty())?;
                    self.directory(inner, path, depth + 1)?;
                }
                FileType::RegularFile => {
                    self.entry(b'f', mode, path);
                    self.content(rustix::fs::openat(&directory, &name, FILE, Mode::empty())?.into())?;
                }
                FileType::Symlink => {
                    self.entry(b'l', 0, path);
                    let target = rustix::fs::readlinkat(&directory, &name, Vec::new())?;
                    self.bytes(target.as_bytes());
                }
                _ => return Err(io::Error::other("neither file, directory nor link")),
            }
            path.pop();
        }
        if self.of == (Of::Content { sync: true }) {
            rustix::fs::fsync(directory.as_fd())?;
        }
        Ok(())
    }

    fn entry(&mut self, kind: u8, mode: u32, path: &Path) {
        self.hasher.update(&[kind]);
        self.hasher.update(&mode.to_le_bytes());
        self.bytes(path.as_os_str().as_encoded_bytes());
    }

    fn owners(&mut self, uid: u32, gid: u32, path: &Path) {
        self.hasher.update(&uid.to_le_bytes());
        self.hasher.update(&gid.to_le_bytes());
        self.bytes(path.as_os_str().as_encoded_bytes());
    }

    /// Length first: no two sequences of entries are the same bytes.
    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    fn content(&mut self, mut file: File) -> io::Result<()> {
        let mut content = blake3::Hasher::new();
        loop {
            match file.read(&mut self.buffer)? {
                0 => break,
                count => content.update(&self.buffer[..count]),
            };
        }
        if self.of == (Of::Content { sync: true }) {
            file.sync_all()?;
        }
        self.hasher.update(&content.count().to_le_bytes());
        self.hasher.update(content.finalize().as_bytes());
        Ok(())
    }
}

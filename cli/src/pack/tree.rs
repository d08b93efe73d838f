//! The tree being packed: names in memory, content in one nameless file.
//!
//! Names from archives never become names on this machine: content is spooled into a file that has
//! none, so there is no path to escape from while unpacking.

use super::error::EntryProblem;
use super::limits::{COMPONENT_BYTES_MAX, Limits, PATH_BYTES_MAX};
use ledger::artifact::{PayloadDigests, PayloadHasher};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use terminal::escape;

/// Permissions kept: read, write, execute. No setuid, setgid or sticky bit.
pub(super) const MODE_MASK: u32 = 0o777;
/// Permissions of a directory nobody described.
const DIRECTORY_MODE: u32 = 0o755;
/// Bytes copied at a time.
pub(super) const COPY_BYTES: usize = 256 * 1024;

/// Something in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory; implied ones stand in a path only.
    Directory {
        /// Permissions.
        mode: u32,
        /// Nobody described it.
        implied: bool,
    },
    /// A file.
    File {
        /// Permissions.
        mode: u32,
        /// Where its content begins in the spool.
        offset: u64,
        /// Length and digests of its content.
        content: PayloadDigests,
    },
    /// A symbolic link, kept as it is.
    Link {
        /// Where to.
        target: String,
    },
}

/// Why an entry was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// The entry itself is wrong.
    Entry(EntryProblem),
    /// The archive broke off, or is out of proportion.
    Source(io::Error),
    /// Our own disk failed.
    Spool {
        /// What was to be written there.
        out: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl From<EntryProblem> for Refused {
    fn from(problem: EntryProblem) -> Self {
        Self::Entry(problem)
    }
}

/// The tree.
#[derive(Debug)]
pub(super) struct Tree {
    limits: Limits,
    /// Where the result is to stand.
    out: PathBuf,
    spool: File,
    spooled: u64,
    tree_bytes: u64,
    /// By path, `/` between parts: a directory sorts before what is in it.
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// An empty tree whose content is spooled beside the result.
    pub(super) fn new(limits: Limits, directory: &Path, out: &Path) -> io::Result<Self> {
        let spool = tempfile::tempfile_in(directory)?;
        Ok(Self { limits, out: out.to_owned(), spool, spooled: 0, tree_bytes: 0, nodes: BTreeMap::new() })
    }

    /// Everything in it, parents first.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// How many files, links and described directories there are.
    pub(super) fn entries(&self) -> usize {
        self.nodes.len()
    }

    /// Content of all files together.
    pub(super) fn bytes(&self) -> u64 {
        self.tree_bytes
    }

    /// The content of a file.
    pub(super) fn content(&self, offset: u64, size: u64) -> io::Result<impl Read + '_> {
        let mut spool = &self.spool;
        spool.seek(SeekFrom::Start(offset))?;
        Ok(spool.take(size))
    }

    pub(super) fn add_directory(&mut self, path: &[u8], mode: u32) -> Result<(), Refused> {
        let path = clean(path)?;
        if path.is_empty() {
            return Ok(());
        }
        let mode = mode & MODE_MASK;
        let mode = match self.nodes.get(&path) {
            // Two packages describe one directory: what both allow.
            Some(Node::Directory { mode: before, implied: false }) => mode & before,
            _ => mode,
        };
        self.put(path, Node::Directory { mode, implied: false })
    }

    pub(super) fn add_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refused> {
        let path = named(path)?;
        let target = text(target)?;
        check_link(&path, target)?;
        self.put(path, Node::Link { target: target.to_owned() })
    }

    pub(super) fn add_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refused> {
        let (path, target) = (named(path)?, named(target)?);
        let Some(file @ Node::File { content, .. }) = self.nodes.get(&target).cloned() else {
            return Err(EntryProblem::LinkToNothing(target).into());
        };
        // In the packed tree it is a file of its own, so it counts as one.
        self.room(content.size)?;
        self.put(path, file)
    }

    pub(super) fn add_file(&mut self, path: &[u8], mode: u32, size: u64, from: impl Read) -> Result<(), Refused> {
        let path = named(path)?;
        self.room(size)?;
        let offset = self.spooled;
        let content = self.spool(from.take(size))?;
        if content.size != size {
            return Err(EntryProblem::BrokenOff { actual: content.size, expected: size }.into());
        }
        self.put(path, Node::File { mode: mode & MODE_MASK, offset, content })
    }

    fn room(&mut self, size: u64) -> Result<(), EntryProblem> {
        let limit = self.limits.tree_bytes_max;
        self.tree_bytes =
            self.tree_bytes.checked_add(size).filter(|bytes| *bytes <= limit).ok_or(EntryProblem::TooLarge(limit))?;
        Ok(())
    }

    fn spool(&mut self, mut from: impl Read) -> Result<PayloadDigests, Refused> {
        let mut hasher = PayloadHasher::default();
        let mut buffer = vec![0; COPY_BYTES];
        let failed = |source| Refused::Spool { out: self.out.clone(), source };
        self.spool.seek(SeekFrom::Start(self.spooled)).map_err(failed)?;
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refused::Source(error)),
            };
            hasher.update(&buffer[..count]);
            self.spool.write_all(&buffer[..count]).map_err(failed)?;
            self.spooled += count as u64;
        }
        Ok(hasher.finish())
    }

    /// Puts a node in its place, its parents made where nobody described them.
    fn put(&mut self, path: String, node: Node) -> Result<(), Refused> {
        for (place, _) in path.match_indices('/') {
            match self.nodes.get(&path[..place]) {
                Some(Node::Directory { .. }) => {}
                // Never through a link: it is what the link points to that would be written.
                Some(_) => return Err(EntryProblem::BeneathNoDirectory(escape(&path[..place])).into()),
                None => {
                    let implied = Node::Directory { mode: DIRECTORY_MODE, implied: true };
                    self.nodes.insert(path[..place].to_owned(), implied);
                }
            }
        }
        let fits = match (self.nodes.get(&path), &node) {
            (None, _) | (Some(Node::Directory { .. }), Node::Directory { .. }) => true,
            (Some(Node::Link { target: a }), Node::Link { target: b }) => a == b,
            (Some(Node::File { mode: a, content: x, .. }), Node::File { mode: b, content: y, .. }) => a == b && x == y,
            _ => false,
        };
        if !fits {
            return Err(EntryProblem::Conflict.into());
        }
        self.nodes.insert(path, node);
        if self.nodes.len() > self.limits.entries_max {
            return Err(EntryProblem::TooMany(self.limits.entries_max).into());
        }
        Ok(())
    }
}

/// A path as parts with `/` between them: relative, nothing but names. Empty for the tree itself.
fn clean(path: &[u8]) -> Result<String, EntryProblem> {
    if path.len() > PATH_BYTES_MAX {
        return Err(EntryProblem::TooLong);
    }
    let path = text(path)?;
    if path.starts_with('/') {
        return Err(EntryProblem::Absolute);
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(EntryProblem::Climbs);
    }
    if parts.iter().any(|part| part.len() > COMPONENT_BYTES_MAX) {
        return Err(EntryProblem::TooLong);
    }
    Ok(parts.join("/"))
}

fn named(path: &[u8]) -> Result<String, EntryProblem> {
    clean(path).and_then(|path| if path.is_empty() { Err(EntryProblem::Nameless) } else { Ok(path) })
}

fn text(bytes: &[u8]) -> Result<&str, EntryProblem> {
    let text = std::str::from_utf8(bytes).map_err(|_| EntryProblem::Name)?;
    if escape(text) == text { Ok(text) } else { Err(EntryProblem::Name) }
}

/// A link may climb from the directory it is in as far as the root of the tree, and then only go down.
/// `..` further on could follow another link first and end anywhere.
fn check_link(path: &str, target: &str) -> Result<(), EntryProblem> {
    let out = || EntryProblem::LinkOut(target.to_owned());
    if target.is_empty() || target.len() > PATH_BYTES_MAX || target.starts_with('/') {
        return Err(out());
    }
    let depth = path.matches('/').count();
    let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let climbs = parts.iter().take_while(|part| **part == "..").count();
    if climbs > depth || parts[climbs..].contains(&"..") { Err(out()) } else { Ok(()) }
}

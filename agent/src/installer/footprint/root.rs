//! The root of a host, and the ways beneath it: taken part by part, so that nobody can lead the agent
//! elsewhere while it is under way.
//!
//! Every directory is opened from the one before, never by its whole path, and what is done in the end
//! is done in the directory that was reached, whatever its path leads to by then. A link can only be
//! followed where nobody but this agent's user or root could have made it.

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Links followed on one way: as many as the kernel follows.
const LINKS_MAX: usize = 40;
/// Bytes of one name.
const NAME_BYTES_MAX: usize = 255;
/// How the name begins that something of this agent bears beside the place it is for.
pub(in crate::installer) const BESIDE: &str = ".countersign-";
/// Bytes of a hash that stand for a name too long to stand beside itself.
const SHORT_BYTES: usize = 16;

/// What a way to a place may lead over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    /// Directories that nobody else may change, and no links.
    Own,
    /// What packages are laid over: directories of anybody, and the links that root made (`/lib` is one).
    /// Where a directory is somebody else's, no link is followed from there on.
    Packages,
}

/// Why a place cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::installer) enum WayError {
    /// The operating system said no; mostly, that there is nothing.
    #[error(transparent)]
    System(#[from] Errno),
    /// Something on the way is a link that is not followed.
    #[error("{0:?} is a link on the way, and is not followed")]
    Link(String),
    /// Somebody else could put something else in its place.
    #[error(
        "directory {directory:?} on the way may be changed by others (owner {uid}, mode {mode:o}); it must be \
         root's or the agent's own, and writable by nobody else"
    )]
    Others { directory: String, uid: u32, mode: u32 },
}

impl WayError {
    /// Whether there is nothing at the end of the way, and cannot be.
    pub(in crate::installer) fn is_gone(&self) -> bool {
        match self {
            Self::System(error) => is_gone(*error),
            Self::Link(_) => true,
            Self::Others { .. } => false,
        }
    }
}

impl From<WayError> for io::Error {
    fn from(error: WayError) -> Self {
        match error {
            WayError::System(error) => error.into(),
            other => Self::new(io::ErrorKind::PermissionDenied, other),
        }
    }
}

/// What is said where there is nothing, and where there cannot be anything.
pub(super) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG)
}

/// The root of a host, or of what is treated as one.
#[derive(Clone, Debug)]
pub(in crate::installer) struct Root {
    path: PathBuf,
    ways: Ways,
}

/// A directory on the way.
struct Step {
    directory: OwnedFd,
    /// Nobody else could have made a link in it.
    is_own: bool,
}

impl Root {
    /// Reached over the agent's own directories only, and over no link.
    pub(in crate::installer) fn own(path: &Path) -> Self {
        Self { path: path.to_owned(), ways: Ways::Own }
    }

    /// Reached as packages are laid over it.
    pub(in crate::installer) fn of_packages(path: &Path) -> Self {
        Self { path: path.to_owned(), ways: Ways::Packages }
    }

    pub(in crate::installer) fn path(&self) -> &Path {
        &self.path
    }

    /// A directory, by its path from the root.
    pub(in crate::installer) fn directory(&self, path: &str) -> Result<OwnedFd, WayError> {
        let root = rustix::fs::open(&self.path, ON_THE_WAY, Mode::empty())?;
        let mut way = vec![self.step(root, true, "/")?];
        let mut parts: VecDeque<String> = parts(path).collect();
        let mut links = 0;
        while let Some(part) = parts.pop_front() {
            let here = &way[way.len() - 1];
            if part == ".." {
                // Only targets of links have it; nothing is above the root.
                way.truncate(way.len().saturating_sub(1).max(1));
                continue;
            }
            let next = rustix::fs::openat(&here.directory, &part, ON_THE_WAY | OFlags::NOFOLLOW, Mode::empty())?;
            match FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode) {
                FileType::Directory => {
                    let is_own = here.is_own;
                    way.push(self.step(next, is_own, &part)?);
                }
                FileType::Symlink if self.ways == Ways::Packages && here.is_own => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    let target = rustix::fs::readlinkat(&next, "", Vec::new())?;
                    let target = target.to_str().map_err(|_| WayError::Link(part))?;
                    if target.starts_with('/') {
                        way.truncate(1);
                    }
                    parts_of_target(target).rev().for_each(|part| parts.push_front(part));
                }
                FileType::Symlink => return Err(WayError::Link(part)),
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok(rustix::fs::openat(&way[way.len() - 1].directory, ".", DIRECTORY, Mode::empty())?)
    }

    fn step(&self, directory: OwnedFd, is_own: bool, name: &str) -> Result<Step, WayError> {
        let stat = rustix::fs::fstat(&directory)?;
        let is_own = is_own && only_we_change(&stat);
        match (self.ways, is_own) {
            (Ways::Own, false) => {
                Err(WayError::Others { directory: name.to_owned(), uid: stat.st_uid, mode: stat.st_mode & 0o7777 })
            }
            _ => Ok(Step { directory, is_own }),
        }
    }

    /// The directory a path is in, and its name there.
    pub(in crate::installer) fn parent<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), WayError> {
        let (parent, name) = split(path);
        Ok((self.directory(parent)?, name))
    }

    /// The nearest directory on the way to a path that is there already, and how long its path is.
    pub(in crate::installer) fn nearest<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), WayError> {
        let mut within = split(path).0;
        loop {
            match self.directory(within) {
                Err(error) if error.is_gone() && !within.is_empty() => within = split(within).0,
                reached => return Ok((reached?, within)),
            }
        }
    }
}

/// To look at and to go on from; its content cannot be read.
const ON_THE_WAY: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// A directory that is reached.
pub(super) const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// Whether what is in a directory can be changed by root and by this agent's user only. An access list
/// that lets others write shows in the bits of the group.
fn only_we_change(stat: &Stat) -> bool {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let own_group = !user.is_root() && stat.st_gid == group.as_raw();
    let others = if own_group { 0o002 } else { 0o022 };
    (stat.st_uid == 0 || stat.st_uid == user.as_raw()) && stat.st_mode & others == 0
}

fn parts(path: &str) -> impl Iterator<Item = String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned)
}

fn parts_of_target(target: &str) -> std::vec::IntoIter<String> {
    parts(target).collect::<Vec<_>>().into_iter()
}

pub(in crate::installer) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What stands beside a place is called: like the place, or like its hash where that would be no name any more.
pub(in crate::installer) fn beside(name: &str) -> String {
    if BESIDE.len() + name.len() <= NAME_BYTES_MAX {
        return format!("{BESIDE}{name}");
    }
    let hash = bao_tree::blake3::hash(name.as_bytes());
    format!("{BESIDE}{}", hex::encode(&hash.as_bytes()[..SHORT_BYTES]))
}

/// Takes a file or link away; none there is as good.
pub(in crate::installer) fn remove(parent: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    use rustix::fs::{AtFlags, statat, unlinkat};
    match unlinkat(parent.as_fd(), name, AtFlags::empty()) {
        Err(error) if is_gone(error) => Ok(()),
        // Nothing can be taken away there, but perhaps nothing has to be.
        Err(Errno::ROFS) => match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(error) if is_gone(error) => Ok(()),
            _ => Err(Errno::ROFS),
        },
        result => result,
    }
}

//! Making a path what it was.

use super::mark::{Attributes, Mark, attributes};
use super::root::{DIRECTORY, Root, beside, remove};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Where the content of a file comes from.
pub(super) enum Content<'a> {
    /// A copy.
    Kept(&'a Path),
    /// Another name of the same file, by its path from the root.
    Same(&'a str),
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// It is what it was.
    Whole,
    /// It is a directory that would have to go, and somebody put something into it: it stays.
    Left,
}

impl Root {
    /// Makes a path what a mark says.
    pub(super) fn mend(&self, path: &str, wanted: &Mark, content: Content<'_>) -> io::Result<Mended> {
        let (parent, name) = match self.parent(path) {
            Err(error) if error.is_gone() && *wanted == Mark::Missing => return Ok(Mended::Whole),
            parent => parent?,
        };
        // What is in it does not matter any more.
        let there = self.kind(path)?;
        let is_directory = there == Some(FileType::Directory);
        let is_other = there.is_some() && is_directory != matches!(wanted, Mark::Directory { .. });
        if *wanted == Mark::Missing || is_other {
            let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match rustix::fs::unlinkat(&parent, name, flags) {
                Err(Errno::NOTEMPTY | Errno::EXIST) if *wanted == Mark::Missing => return Ok(Mended::Left),
                Err(Errno::NOENT) => {}
                removed => removed?,
            }
        }
        match (wanted, content) {
            (Mark::Missing | Mark::Unread { .. } | Mark::Other, _) => {}
            (Mark::Directory { mode, uid, gid, attributes }, _) => {
                make_directory(parent.as_fd(), name, (*uid, *gid), *mode, attributes)?;
            }
            (Mark::Link { target, uid, gid }, _) => {
                let new = beside(name);
                remove(parent.as_fd(), &new)?;
                rustix::fs::symlinkat(target.as_bytes(), &parent, &new)?;
                let (uid, gid) = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
                rustix::fs::chownat(&parent, &new, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                rustix::fs::renameat(&parent, &new, &parent, name)?;
            }
            (Mark::File { .. }, Content::Same(other)) => self.link(parent.as_fd(), name, other)?,
            (Mark::File { mode, uid, gid, attributes, .. }, Content::Kept(copy)) => {
                let file = write_beside(parent.as_fd(), name, &mut File::open(copy)?)?;
                own(&file, (*uid, *gid), *mode, attributes)?;
                file.sync_all()?;
                rustix::fs::renameat(&parent, beside(name), &parent, name)?;
            }
        }
        Ok(rustix::fs::fsync(&parent).map(|()| Mended::Whole)?)
    }

    /// One more name for a file that is there.
    fn link(&self, parent: BorrowedFd<'_>, name: &str, other: &str) -> io::Result<()> {
        let (from, from_name) = self.parent(other)?;
        let new = beside(name);
        remove(parent, &new)?;
        rustix::fs::linkat(&from, from_name, parent, &new, AtFlags::empty())?;
        rustix::fs::renameat(parent, &new, parent, name)?;
        // Where both were names of this file already, as where `/bin` leads to `/usr/bin`, nothing was renamed.
        Ok(remove(parent, &new)?)
    }
}

/// A file under the name that stands beside another; whoever was there under it is gone.
pub(in crate::installer) fn write_beside(
    parent: BorrowedFd<'_>,
    name: &str,
    from: &mut impl io::Read,
) -> io::Result<File> {
    let beside = beside(name);
    remove(parent, &beside)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(parent, &beside, flags, Mode::from_raw_mode(0o600))?);
    io::copy(from, &mut file)?;
    Ok(file)
}

/// Makes a directory, or takes the one that is there. What is changed is the directory that was opened, whatever
/// bears its name by then.
fn make_directory(
    parent: BorrowedFd<'_>,
    name: &str,
    owner: (u32, u32),
    mode: u32,
    attributes: &Attributes,
) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Err(error) if error != Errno::EXIST => return Err(error.into()),
        _ => {}
    }
    let directory = File::from(rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?);
    own(&directory, owner, mode, attributes)
}

/// Whose it is, and what else is written on it.
pub(in crate::installer) fn own(file: &File, (uid, gid): (u32, u32), mode: u32, wanted: &Attributes) -> io::Result<()> {
    // The owner first: changing it takes set-id bits and capabilities away.
    rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    set_attributes(file, wanted)?;
    // Last: an access list has a say in the mode, and the other way round.
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Exactly these attributes: a directory may have given its new file others.
fn set_attributes(file: &File, wanted: &Attributes) -> io::Result<()> {
    let there = attributes(file.as_fd())?;
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        match rustix::fs::fremovexattr(file, name.as_str()) {
            // A label the system puts on everything.
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) if name.starts_with("security.") => {}
            removed => removed?,
        }
    }
    for (name, value) in wanted.iter().filter(|(name, value)| there.get(*name) != Some(value)) {
        rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
    }
    Ok(())
}

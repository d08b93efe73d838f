//! Puts a file set in place, and takes it back at once where somebody else is at work in the same places.

use super::super::super::deadline::Deadline;
use super::super::super::footprint::{Footprint, Mark, beside, own, remove, write_beside};
use super::super::Change;
use super::{Places, Trouble, beside_path};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

/// Why not everything is in place.
#[derive(Debug)]
pub(in crate::installer::file_set) enum Stopped {
    /// Somebody changed this path meanwhile. What he made of it is there, and all else is as it was.
    Edited(String),
    /// Something went wrong at this path, and everything is as far as it came.
    Midway(Trouble),
}

/// Why one path is not exchanged.
enum NotExchanged {
    Edited,
    Io(io::Error),
}

impl<E: Into<io::Error>> From<E> for NotExchanged {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

impl Places {
    /// Puts everything in place: first all of it beside, and onto the disk; then the exchange.
    pub(in crate::installer::file_set) fn put(
        &self,
        changes: &[Change],
        new: &Path,
        footprint: &Footprint,
        deadline: Deadline,
    ) -> Result<(), Stopped> {
        let midway = |change: &Change, error: io::Error| Stopped::Midway((change.path().to_owned(), error));
        let in_time = |change: &Change| deadline.check().map_err(|late| midway(change, late.into()));
        for change in changes {
            in_time(change)?;
            let made = match change {
                Change::Directory { path, mode } => self.make_directory(path, *mode),
                Change::File { path, mode, .. } => self.write_beside(path, *mode, &new.join(path), footprint.get(path)),
                Change::Remove { .. } => Ok(()),
            };
            made.map_err(|error| midway(change, error))?;
        }
        for (done, change) in changes.iter().enumerate() {
            in_time(change)?;
            let old = footprint.get(change.path());
            let exchanged = match change {
                Change::Directory { .. } => Ok(()),
                Change::File { path, .. } => self.exchange(path, old),
                Change::Remove { path } => self.set_aside(path, old),
            };
            match exchanged {
                Ok(()) => {}
                Err(NotExchanged::Io(error)) => return Err(midway(change, error)),
                Err(NotExchanged::Edited) => {
                    self.undo(changes, done, footprint).map_err(Stopped::Midway)?;
                    return Err(Stopped::Edited(change.path().to_owned()));
                }
            }
        }
        Ok(())
    }

    /// A directory that is there already keeps its mode. One that is made gets it through the directory that was
    /// opened: its name may bear something else a moment later.
    fn make_directory(&self, path: &str, mode: u32) -> io::Result<()> {
        let (parent, name) = self.root.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => return Ok(()),
            made => made?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
        rustix::fs::fchmod(made, Mode::from_raw_mode(mode))?;
        Ok(rustix::fs::fsync(&parent)?)
    }

    /// The new file, beside the old one, with its owner and attributes.
    fn write_beside(&self, path: &str, mode: u32, from: &Path, old: &Mark) -> io::Result<()> {
        let (parent, name) = self.root.parent(path)?;
        let file = write_beside(parent.as_fd(), name, &mut File::open(from)?)?;
        match old {
            Mark::File { uid, gid, attributes, .. } => own(&file, (*uid, *gid), mode, attributes)?,
            _ => rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?,
        }
        file.sync_all()?;
        Ok(rustix::fs::fsync(&parent)?)
    }

    /// The new file in its place, the old one beside. What came out of the place is what was written down, or somebody
    /// edited it since it was looked at last: then he has it back.
    fn exchange(&self, path: &str, old: &Mark) -> Result<(), NotExchanged> {
        let (parent, name) = self.root.parent(path)?;
        let (parent, beside) = (parent.as_fd(), beside(name));
        let is_new = *old == Mark::Missing;
        let flags = if is_new { RenameFlags::NOREPLACE } else { RenameFlags::EXCHANGE };
        let exchange = || rustix::fs::renameat_with(parent, &beside, parent, name, flags);
        match exchange() {
            Err(Errno::EXIST) if is_new => return Err(NotExchanged::Edited),
            Err(Errno::NOENT) if !is_new => return Err(NotExchanged::Edited),
            // A file system that cannot exchange: the old file is kept as a copy only, and looked at before.
            Err(Errno::INVAL) if !is_new => {
                if self.root.mark(path)? != *old {
                    return Err(NotExchanged::Edited);
                }
                rustix::fs::renameat(parent, &beside, parent, name)?;
            }
            Ok(()) if !is_new && self.root.mark(&beside_path(path))? != *old => {
                exchange()?;
                return Err(NotExchanged::Edited);
            }
            result => result?,
        }
        Ok(rustix::fs::fsync(parent)?)
    }

    fn set_aside(&self, path: &str, old: &Mark) -> Result<(), NotExchanged> {
        let (parent, name) = self.root.parent(path)?;
        let beside = beside(name);
        match rustix::fs::renameat(&parent, name, &parent, &beside) {
            Err(Errno::NOENT) => return Ok(()),
            result => result?,
        }
        if self.root.mark(&beside_path(path))? != *old {
            rustix::fs::renameat_with(&parent, &beside, &parent, name, RenameFlags::NOREPLACE)?;
            rustix::fs::fsync(&parent)?;
            return Err(NotExchanged::Edited);
        }
        Ok(rustix::fs::fsync(&parent)?)
    }

    /// Takes back what was put in place, the last first: of the changes, so many were exchanged. What was not is left alone;
    /// what somebody makes of a new file in this very moment is lost. What a file system that cannot exchange has lost comes from its copy, later.
    fn undo(&self, changes: &[Change], done: usize, footprint: &Footprint) -> Result<(), Trouble> {
        for (place, change) in changes.iter().enumerate().rev() {
            let undone = self.undo_one(change, place < done, footprint.get(change.path()));
            undone.map_err(|error| (change.path().to_owned(), error))?;
        }
        Ok(())
    }

    fn undo_one(&self, change: &Change, is_exchanged: bool, old: &Mark) -> io::Result<()> {
        let path = change.path();
        let (parent, name) = match self.root.parent(path) {
            Err(error) if error.is_gone() => return Ok(()),
            parent => parent?,
        };
        let beside = beside(name);
        match change {
            Change::Directory { .. } if *old == Mark::Missing => {
                match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                    // Somebody put something into it, which is his.
                    Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
                    removed => removed?,
                }
            }
            Change::Directory { .. } => return Ok(()),
            Change::File { .. } if is_exchanged && *old == Mark::Missing => remove(parent.as_fd(), name)?,
            Change::File { .. } if is_exchanged => rustix::fs::renameat(&parent, &beside, &parent, name)?,
            Change::File { .. } => remove(parent.as_fd(), &beside)?,
            Change::Remove { .. } if is_exchanged => match rustix::fs::renameat(&parent, &beside, &parent, name) {
                // It was not there to be taken away.
                Err(Errno::NOENT) => {}
                renamed => renamed?,
            },
            Change::Remove { .. } => return Ok(()),
        }
        Ok(rustix::fs::fsync(&parent)?)
    }
}

#[cfg(test)]
mod tests;

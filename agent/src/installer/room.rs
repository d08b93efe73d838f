//! Room on every disk that an update changes something on: asked for before, and kept for going back.

use super::footprint::{self, Root, split};
use super::record;
use crate::files::{FileError, failed};
use crate::settled::Refusal;
use ledger::receipt::ReasonCode;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What a file takes at least, and in steps of.
const BLOCK_BYTES: u64 = 4096;
/// Largest list of what is kept.
const RESERVE_BYTES_MAX: usize = 1024 * 1024;

/// What is left free on a disk that strangers' bytes are unpacked onto, how much they may be not being known before.
pub(super) const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Bytes free on the disk of something that is open.
pub(super) fn free(on: impl AsFd) -> Result<u64, Errno> {
    let disk = rustix::fs::fstatvfs(on)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A disk, and what is needed of it.
struct Disk {
    directory: OwnedFd,
    /// The directory, for people.
    shown: String,
    /// The directory by its path from the root; `None` when it is not beneath it.
    path: Option<String>,
    bytes: u64,
}

/// Room that is needed, disk by disk.
pub(super) struct Room<'a> {
    root: &'a Root,
    disks: BTreeMap<u64, Disk>,
    /// The directory looked at last, and its disk.
    last: Option<(String, u64)>,
}

impl<'a> Room<'a> {
    pub(super) fn beneath(root: &'a Root) -> Self {
        Self { root, disks: BTreeMap::new(), last: None }
    }

    /// Adds a file that will be at a path.
    pub(super) fn need_at(&mut self, path: &str, bytes: u64) -> Result<(), FileError> {
        let within = split(path).0;
        let device = match &self.last {
            Some((last, device)) if last == within => *device,
            _ => {
                let examine = |error: io::Error| failed("examine", &self.root.path().join(path))(error);
                let (device, directory, there) = self.root.disk(path).map_err(|error| examine(error.into()))?;
                let (shown, there) = (format!("/{there}"), there.to_owned());
                let disk = || Disk { directory, shown, path: Some(there), bytes: 0 };
                self.disks.entry(device).or_insert_with(disk);
                self.last = Some((within.to_owned(), device));
                device
            }
        };
        self.add(device, bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES));
        Ok(())
    }

    /// Adds bytes in a directory of the agent's own.
    pub(super) fn need_in(&mut self, directory: &Path, bytes: u64) -> Result<(), FileError> {
        let examine = |error: Errno| failed("examine", directory)(error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, Mode::empty()).map_err(examine)?;
        let device = rustix::fs::fstat(&opened).map_err(examine)?.st_dev;
        let shown = directory.display().to_string();
        self.disks.entry(device).or_insert_with(|| Disk { directory: opened, shown, path: None, bytes: 0 });
        self.add(device, bytes);
        Ok(())
    }

    fn add(&mut self, device: u64, bytes: u64) {
        if let Some(disk) = self.disks.get_mut(&device) {
            disk.bytes = disk.bytes.saturating_add(bytes);
        }
    }

    /// Refuses when a disk has less.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        for Disk { directory, shown, bytes, .. } in self.disks.values() {
            let free = free(directory).map_err(|error| failed("examine", Path::new(shown))(error.into()))?;
            if *bytes > free {
                let detail = format!("{shown} has {free} bytes free, {bytes} are needed");
                return Err(Refusal::new(ReasonCode::DiskFull, detail));
            }
        }
        Ok(())
    }

    /// The same, to be kept on each disk beneath the root.
    pub(super) fn to_reserve(&self) -> Reserve {
        let name = |within: &String| if within.is_empty() { ROOM.to_owned() } else { format!("{within}/{ROOM}") };
        Reserve(self.disks.values().filter_map(|disk| Some((name(disk.path.as_ref()?), disk.bytes))).collect())
    }
}

/// What the file is called that keeps room.
const ROOM: &str = ".countersign-room";

/// The disks an update changes, and files on them that keep room for going back while the host is changed, so that a disk that fills up meanwhile is no
/// obstacle: where, and how large.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reserve(BTreeMap<String, u64>);

impl Reserve {
    pub(super) fn write(&self, path: &Path) -> Result<(), Refusal> {
        record::write(path, self, RESERVE_BYTES_MAX)
    }

    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        Ok(record::read_if_there(path, RESERVE_BYTES_MAX)?.unwrap_or_default())
    }

    /// Keeps the room.
    pub(super) fn keep(&self, root: &Root) -> Result<(), FileError> {
        self.give_back(root)?;
        for (path, bytes) in self.0.iter().filter(|(_, bytes)| **bytes > 0) {
            keep_one(root, path, *bytes).map_err(failed("keep room in", &root.path().join(path)))?;
        }
        Ok(())
    }

    /// Everything of these disks onto them.
    pub(super) fn sync(&self, root: &Root) -> Result<(), FileError> {
        for path in self.0.keys() {
            let synced = match root.nearest(path) {
                Ok((directory, _)) => rustix::fs::syncfs(&directory).map_err(io::Error::from),
                Err(error) => Err(error.into()),
            };
            synced.map_err(failed("sync", &root.path().join(path)))?;
        }
        Ok(())
    }

    /// Gives it back.
    pub(super) fn give_back(&self, root: &Root) -> Result<(), FileError> {
        for path in self.0.keys() {
            let removed = match root.parent(path) {
                Err(error) if error.is_gone() => Ok(()),
                Err(error) => Err(error.into()),
                Ok((parent, name)) => footprint::remove(parent.as_fd(), name).map_err(io::Error::from),
            };
            removed.map_err(failed("give back", &root.path().join(path)))?;
        }
        Ok(())
    }
}

fn keep_one(root: &Root, path: &str, bytes: u64) -> io::Result<()> {
    let (parent, name) = root.parent(path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))?);
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        // A file system that cannot: then there is only what is free.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        kept => Ok(kept?),
    }
}

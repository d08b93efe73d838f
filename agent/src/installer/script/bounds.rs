//! How much a script may make, looked at while it runs and once more when it has ended.
//!
//! The kernel bounds one file, and nothing bounds how many: so somebody looks, as often as that costs little, and ends a
//! script that makes too much. What it wrote between two looks is on the disk until then; so that it never fills the disk,
//! also not with files that have no name any more, some room is left free.

use crate::installer::room::{self, FREE_BYTES_MIN};
use crate::installer::unpack::{DEPTH_MAX, LIMITS, PATH_BYTES_MAX};
use crate::settled::Refusal;
use ledger::receipt::ReasonCode;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// One MiB.
const MIB: u64 = 1 << 20;
/// What a disk block counts, in `stat`.
const BLOCK_BYTES: u64 = 512;
/// How long between two looks, at least …
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// … and how many times as long as a look takes.
const LOOK_SHARE: u32 = 8;

/// What a script made that is too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("made more than {} MiB, with what was there", .0 / MIB)]
    Bytes(u64),
    #[error("made more than {0} files and directories, with what was there")]
    Entries(usize),
    #[error("made directories deeper than {DEPTH_MAX}")]
    Depth,
    #[error("made paths longer than {PATH_BYTES_MAX} bytes")]
    Path,
    #[error("left less than {} MiB of the disk free", FREE_BYTES_MIN / MIB)]
    Disk,
    #[error("made something that cannot be looked at: {0}")]
    Unseen(Errno),
}

impl From<Excess> for Refusal {
    fn from(excess: Excess) -> Self {
        let code = match excess {
            Excess::Disk => ReasonCode::DiskFull,
            _ => ReasonCode::ArchiveUnsafe,
        };
        Self::new(code, format!("the script {excess}"))
    }
}

impl From<Errno> for Excess {
    fn from(error: Errno) -> Self {
        Self::Unseen(error)
    }
}

/// How much it may make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    pub(super) entries_max: usize,
}

impl Bounds {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, entries_max: LIMITS.entries_max }
    }

    /// Whether what is beneath a directory is within these. Whoever is at work there leads nobody elsewhere: each directory
    /// is opened from the one before, and what is gone meanwhile is not there.
    pub(super) fn check(self, directory: &Path) -> Result<(), Excess> {
        let top = open_with_room(directory)?;
        let mut sum = Sum { bounds: self, bytes: 0, entries: 0 };
        sum.add(top, 0, directory.as_os_str().len())
    }

    /// Who is asked every moment whether a script may go on that works in a directory: no longer when it made too much,
    /// and then says why. What is left of the disk is asked for each time, which costs nothing.
    pub(super) fn mind(self, directory: &Path, why: &mut Option<Excess>) -> impl FnMut() -> bool {
        let mut next = Instant::now();
        move || {
            let begun = Instant::now();
            *why = if begun >= next { self.check(directory).err() } else { open_with_room(directory).err() };
            if begun >= next {
                next = begun + LOOK_EVERY.max(begun.elapsed() * LOOK_SHARE);
            }
            why.is_none()
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory, where its disk is not almost full.
fn open_with_room(directory: &Path) -> Result<OwnedFd, Excess> {
    let top = rustix::fs::open(directory, DIRECTORY, Mode::empty())?;
    if room::free(&top)? < FREE_BYTES_MIN { Err(Excess::Disk) } else { Ok(top) }
}

struct Sum {
    bounds: Bounds,
    bytes: u64,
    entries: usize,
}

impl Sum {
    /// No deeper than may be, so that there are always enough descriptors.
    fn add(&mut self, directory: OwnedFd, depth: usize, path_bytes: usize) -> Result<(), Excess> {
        let mut directory = Dir::new(directory)?;
        while let Some(entry) = directory.read() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match rustix::fs::statat(directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            // What has no bytes on the disk has them once it is copied, and what is written in advance has them now.
            let (length, blocks) = (u64::try_from(stat.st_size), u64::try_from(stat.st_blocks));
            let on_disk = blocks.unwrap_or(0).saturating_mul(BLOCK_BYTES);
            self.bytes = self.bytes.saturating_add(length.unwrap_or(0).max(on_disk));
            self.entries += 1;
            let path_bytes = path_bytes + 1 + name.count_bytes();
            match self.bounds {
                Bounds { bytes_max, .. } if self.bytes > bytes_max => return Err(Excess::Bytes(bytes_max)),
                Bounds { entries_max, .. } if self.entries > entries_max => return Err(Excess::Entries(entries_max)),
                _ if depth >= DEPTH_MAX => return Err(Excess::Depth),
                // A path ends with a zero.
                _ if path_bytes >= PATH_BYTES_MAX => return Err(Excess::Path),
                _ => {}
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                match rustix::fs::openat(directory.fd()?, name, DIRECTORY, Mode::empty()) {
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    inner => self.add(inner?, depth + 1, path_bytes)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_too_much_is_told_apart() {
        let room = tempfile::tempdir().unwrap();
        let bounds = Bounds { bytes_max: MIB, entries_max: 4 };
        let at = room.path();
        fs::write(at.join("a"), vec![1; 1000]).unwrap();
        fs::create_dir_all(at.join("b/c")).unwrap();
        assert_eq!(bounds.check(at), Ok(()));
        // A directory counts what it takes of the disk, too.
        fs::write(at.join("b/c/d"), vec![1; 1 << 20]).unwrap();
        assert_eq!(bounds.check(at), Err(Excess::Bytes(MIB)));
        let sparse = fs::File::create(at.join("b/c/d")).unwrap();
        sparse.set_len(2 << 20).unwrap();
        assert_eq!(bounds.check(at), Err(Excess::Bytes(MIB)));
        sparse.set_len(0).unwrap();
        assert_eq!(bounds.check(at), Ok(()));
        fs::write(at.join("b/e"), "").unwrap();
        assert_eq!(bounds.check(at), Err(Excess::Entries(4)));
        let wide = Bounds { bytes_max: 64 * MIB, entries_max: 1000 };
        fs::create_dir_all(at.join("x/".repeat(DEPTH_MAX))).unwrap();
        assert_eq!(wide.check(at), Ok(()), "as deep as may be");
        fs::write(at.join("x/".repeat(DEPTH_MAX)).join("file"), "").unwrap();
        assert_eq!(wide.check(at), Err(Excess::Depth));
        fs::remove_dir_all(at.join("x")).unwrap();
        // Longer than the kernel takes a path: made by way of a directory that is moved below.
        let long = format!("{}/", "y".repeat(200)).repeat(11);
        fs::create_dir_all(at.join(&long)).unwrap();
        fs::create_dir_all(at.join("z").join(&long)).unwrap();
        fs::rename(at.join("z"), at.join(&long).join("z")).unwrap();
        assert_eq!(wide.check(at), Err(Excess::Path));
    }

    /// However long a look takes, and however long it is until the next.
    #[test]
    fn the_disk_is_looked_at_each_time() {
        let room = tempfile::tempdir().unwrap();
        let inner = room.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let (bounds, mut why) = (Bounds { bytes_max: MIB, entries_max: 4 }, None);
        let mut may_go_on = bounds.mind(&inner, &mut why);
        assert!(may_go_on());
        fs::remove_dir(&inner).unwrap();
        assert!(!may_go_on());
        drop(may_go_on);
        assert_eq!(why, Some(Excess::Unseen(Errno::NOENT)));
    }

    #[test]
    fn nobody_is_led_out_by_a_link() {
        let room = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", room.path().join("link")).unwrap();
        assert_eq!(Bounds { bytes_max: MIB, entries_max: 1 }.check(room.path()), Ok(()));
        assert!(Bounds { bytes_max: MIB, entries_max: 1 }.check(&room.path().join("link")).is_err());
    }
}

//! Small disks, full ones and read-only ones.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Something mounted, as long as this lives.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// A disk of its own, in memory; `None` where nobody may mount.
    pub(crate) fn small(at: &Path, megabytes: usize) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        Self::new(&["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=0755"), "tmpfs"], at)
    }

    /// A directory as another one that can be changed, without changing it.
    pub(crate) fn over(lower: &Path, room: &Path, at: &Path) -> Option<Self> {
        let (upper, work) = (room.join("upper"), room.join("work"));
        for directory in [&upper, &work, &at.to_owned()] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        Self::new(&["-t", "overlay", "-o", &layers, "overlay"], at)
    }

    fn new(arguments: &[&str], at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(arguments).arg(at).output().ok()?;
        mounted.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// What happens to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Squeeze {
    /// It is full but for so many bytes.
    FullBut(u64),
    /// Nothing on it can be changed any more.
    ReadOnly,
}

const FILLER: &str = ".filler";

impl Squeeze {
    /// Does it to what is mounted there; whether it could be done.
    pub(crate) fn on(self, disk: &Path) -> bool {
        match self {
            Self::ReadOnly => remount(disk, "ro"),
            Self::FullBut(left) => {
                let mut filler = File::create(disk.join(FILLER)).unwrap();
                let stat = rustix::fs::statvfs(disk).unwrap();
                let free = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
                let zeros = vec![0; 4096];
                (0..free / 4096).try_for_each(|_| filler.write_all(&zeros)).is_ok() || left == 0
            }
        }
    }

    pub(crate) fn off(self, disk: &Path) {
        match self {
            Self::ReadOnly => assert!(remount(disk, "rw")),
            Self::FullBut(_) => {
                // Empty before it is gone: a child that another test is just beginning may still have it open.
                File::create(disk.join(FILLER)).unwrap();
                std::fs::remove_file(disk.join(FILLER)).unwrap();
            }
        }
    }
}

fn remount(disk: &Path, how: &str) -> bool {
    let remounted = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).output().unwrap();
    remounted.status.success()
}

/// Whether this test may change what only root may.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

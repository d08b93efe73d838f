//! Disks of a test's own: a small one, and a slow one.

use std::fs::{self, File};
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A file system of so many bytes over a directory, gone with this value.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, with a line that says so, where this machine does not let us mount.
    pub(crate) fn over(directory: &Path, size: &str) -> Option<Self> {
        let target = directory.display().to_string();
        if mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", &target]) {
            return Some(Self(directory.to_owned()));
        }
        tests::left_out(&["mounts"], "a file system can only be mounted by root");
        None
    }

    /// May it be written to? Only while nobody does.
    pub(crate) fn set_writable(&self, writable: bool) {
        let option = if writable { "remount,rw" } else { "remount,ro" };
        assert!(mount(&["-o", option, &self.0.display().to_string()]), "it was mounted before");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever still uses it ends soon.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str]) -> bool {
    let output = Command::new("mount").args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// Bytes of a slow disk: room for a chain and a journal.
const SLOW_BYTES: u64 = 512 * 1024 * 1024;
/// Where the kernel is told how many writes a device may do in a second, whoever they are of. Device mapper,
/// which could delay them, is not in every kernel; a loop device that may do a few writes only is slow in the
/// same places: every sync waits its turn.
const WRITES_PER_SECOND: &str = "/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device";

/// A disk over a directory that can be made slow, gone with this value.
pub(crate) struct SlowDisk {
    directory: PathBuf,
    device: String,
    /// Where its bytes are.
    _image: TempDir,
}

impl SlowDisk {
    /// `None`, with a line that says so, where this machine has no such disks.
    pub(crate) fn over(directory: &Path) -> Option<Self> {
        if !Path::new(WRITES_PER_SECOND).exists() {
            tests::left_out(&["slow-disks"], &format!("no slow disk here: {WRITES_PER_SECOND} is not there"));
            return None;
        }
        let image = tempfile::tempdir().unwrap();
        let file = image.path().join("image");
        File::create(&file).unwrap().set_len(SLOW_BYTES).unwrap();
        let formatted = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&file).status();
        let (from, to) = (file.display().to_string(), directory.display().to_string());
        if !formatted.is_ok_and(|status| status.success()) || !mount(&["-o", "loop", &from, &to]) {
            tests::left_out(&["slow-disks", "mounts"], "a disk in a file can only be made by root");
            return None;
        }
        let device = fs::metadata(directory).unwrap().st_dev();
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        Some(Self { directory: directory.to_owned(), device, _image: image })
    }

    /// So many writes in a second from now on; 0 for as many as it can.
    pub(crate) fn set_writes_per_second(&self, writes: u32) {
        fs::write(WRITES_PER_SECOND, format!("{} {writes}", self.device)).unwrap();
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // The device may get another disk next.
        let _ = fs::write(WRITES_PER_SECOND, format!("{} 0", self.device));
        let _ = Command::new("umount").arg("-l").arg(&self.directory).status();
    }
}

/// Copies what is in one directory into another.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success());
}

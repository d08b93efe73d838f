//! When the disk says no.

use crate::children::{Child, Role};
use crate::support::{Kept, assert_is_the_chain};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Somebody who owns nothing.
const NOBODY: u32 = 65_534;

fn heights(lines: &[String]) -> u64 {
    lines.iter().filter_map(|line| line.parse().ok()).max().unwrap_or(0)
}

#[test]
fn a_file_that_may_not_grow_stops_the_store_and_loses_nothing() {
    let seed = 21;
    let mut kept = Kept::new(seed, 3);
    // The shell takes the signal away, so that writing beyond the limit fails as on a full disk.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let path = kept.path();
    let environment = [("STORE_PATH", path.as_os_str()), ("STORE_SEED", OsStr::new("21"))];
    let lines = Child::start(Child::command(shell, Role::Commit, &environment)).rest();
    let acknowledged = heights(&lines);
    assert!(acknowledged > 10, "{lines:?}");
    assert_eq!(lines[lines.len() - 2..], ["failed: disk-full", "again: stopped"]);

    let height = assert_is_the_chain(&path, kept.directory.path(), &mut kept.oracle);
    assert!(height == acknowledged || height == acknowledged + 1, "acknowledged {acknowledged}, kept {height}");
    kept.oracle.block(height + 10);
    kept.oracle.commit_to(&kept.open());
    assert_is_the_chain(&path, kept.directory.path(), &mut kept.oracle);
}

#[test]
fn a_full_disk_stops_the_store_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let small = directory.path().join("small");
    fs::create_dir(&small).unwrap();
    // A file system of its own, gone with the process that mounted it.
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=6m tmpfs \"$SMALL\" || exit 9; exec \"$0\" \"$@\""]);
    shell.arg(std::env::current_exe().unwrap()).env("SMALL", &small);
    let path = small.join("store");
    let scratch = directory.path().as_os_str();
    let environment = [("STORE_PATH", path.as_os_str()), ("STORE_SEED", OsStr::new("22")), ("STORE_SCRATCH", scratch)];
    let lines = Child::start(Child::command(shell, Role::Fill, &environment)).rest();
    let Some(failed) = lines.iter().position(|line| line.starts_with("failed")) else {
        tests::left_out(&["mounts"], "a file system can only be mounted by root");
        assert!(lines.is_empty(), "{lines:?}");
        return;
    };
    let acknowledged = heights(&lines);
    assert_eq!(lines[failed..failed + 2], ["failed: disk-full", "again: stopped"]);
    let same = format!("kept {acknowledged} opened {acknowledged}");
    let more = format!("kept {acknowledged} opened {}", acknowledged + 1);
    assert!(lines[failed + 2] == same || lines[failed + 2] == more, "{lines:?}");
    assert!(lines[failed + 3].ends_with("sound: true"), "{lines:?}");
}

#[test]
fn a_directory_that_cannot_be_written_to_says_so_and_can_still_be_checked() {
    let kept = Kept::new(23, 8);
    let public = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    public(kept.directory.path(), 0o755);
    public(&kept.path(), 0o555);
    // Root may write anywhere, so the child is somebody else then, with a program it can read.
    let program = kept.directory.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let scratch = kept.directory.path().join("for-scratch");
    fs::create_dir(&scratch).unwrap();
    public(&scratch, 0o777);
    let mut command = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let path = kept.path();
    let environment = [("STORE_PATH", path.as_os_str()), ("STORE_SCRATCH", scratch.as_os_str())];
    let lines = Child::start(Child::command(command, Role::Try, &environment)).rest();
    public(&kept.path(), 0o755);
    assert_eq!(lines, ["open: read-only", "create: read-only", "check: 8 blocks, sound: true"]);
}

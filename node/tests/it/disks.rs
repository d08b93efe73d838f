//! When the disk says no to a node.

use crate::artifact_store::files;
use crate::artifacts::upload;
use crate::refusals::assert_refused;
use crate::support::site::{PROGRAM, Site, end_of};
use crate::support::wait_for;
use crate::support::world::{World, payload};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tonic::Code;

/// What the shell ends with when it may not mount.
const MAY_NOT_MOUNT: i32 = 9;

/// The node with its data on a file system of its own, that has so much room and is gone with it.
fn on_a_small_disk(site: &Site, size: &str) -> Command {
    let mut shell = Command::new("unshare");
    let script = "mount -t tmpfs -o size=$SIZE tmpfs \"$DATA\" || exit 9; exec \"$0\" run --config \"$1\"";
    shell.args(["--mount", "sh", "-c", script, PROGRAM]).arg(site.config());
    shell.env("SIZE", size).env("DATA", site.data());
    shell
}

/// Whether this machine lets us mount; says so if not.
fn may_mount() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs \"$0\" || exit 9"]).arg(directory.path());
    let may = shell.status().is_ok_and(|status| status.success());
    if !may {
        tests::left_out(&["mounts"], "a file system can only be mounted by root");
    }
    may
}

#[test]
fn a_disk_without_room_for_the_journal_is_named() {
    if !may_mount() {
        return;
    }
    let world = World::new(101);
    let site = Site::validator(&world);
    let output = end_of(on_a_small_disk(&site, "6m"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(MAY_NOT_MOUNT), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("journal") && said.contains(".log") && said.contains("No space left"), "{said}");
    assert!(said.contains("hint: ") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_file_that_may_not_grow_is_named() {
    let world = World::new(102);
    let site = Site::validator(&world);
    // The shell takes the signal away, so that writing beyond the limit fails as on a full disk.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" run --config \"$1\"", PROGRAM]).arg(site.config());
    let output = end_of(shell);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("vote.log") && said.contains("File too large"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn an_upload_that_does_not_fit_leaves_nothing_and_the_ledger_goes_on() {
    if !may_mount() {
        return;
    }
    let world = World::new(103);
    let site = Site::validator(&world);
    let node = site.start_as(on_a_small_disk(&site, "64m")).await;
    // The file system is seen from within the process alone.
    let data = site.data();
    let inside = PathBuf::from(format!("/proc/{}/root", node.pid())).join(data.strip_prefix("/").unwrap());
    let artifacts = inside.join("artifacts");
    let small = payload(1, 1_000_000);
    upload(&node, world.granted(&small), &small).await.unwrap();
    let before = files(&artifacts);

    let ballast = inside.join("ballast");
    let large = payload(2, 16 * 1024 * 1024);
    fs::write(&ballast, vec![1; 34 * 1024 * 1024]).unwrap();
    let status = upload(&node, world.granted(&large), &large).await.unwrap_err();
    assert_refused(&status, Code::ResourceExhausted, "disk-full");
    wait_for("what did not fit to be gone", async || (files(&artifacts) == before).then_some(())).await;
    for number in 0..5 {
        node.assert_goes_on(&world, number).await;
    }
    fs::remove_file(&ballast).unwrap();
    upload(&node, world.granted(&large), &large).await.unwrap();
    node.stop();
}

//! Slots as hosts have them: files, full disks, block devices, and everything that is none.

use crate::images::{House, code};
use crate::restarts::ask;
use crate::support::bench::{Bench, differences};
use crate::support::disk::{Mount, Squeeze, is_root};
use crate::support::images::{ImageSlots, SLOT_BYTES, documented_script, image};
use crate::support::left_out;
use agent::installer::images::environment::{Block, Choice, SlotName};
use ledger::patch::{InstallerKind, Reboot};
use ledger::receipt::{Outcome, ReasonCode};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

#[tokio::test]
async fn grub_reads_what_the_agent_writes_and_the_other_way_round() {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !runs("grub-editenv") || !runs("grub-script-check") {
        return left_out("no grub-editenv or grub-script-check here (grub-common)");
    }
    let room = tempfile::tempdir().unwrap();
    let (file, script) = (room.path().join("countersign.env"), room.path().join("script"));
    let grub = |arguments: &[&str]| {
        let output = Command::new("grub-editenv").arg(&file).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    grub(&["create"]);
    grub(&["set", "countersign_active=a", "countersign_trying=-", "countersign_tries_left=0", "other=x\\y z"]);
    let mut block = Block::parse(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(block.choice(), Choice::only(SlotName::A));
    block.set(Choice { active: SlotName::A, trying: Some(SlotName::B), tries_left: 3 });
    fs::write(&file, block.bytes()).unwrap();
    let listed = grub(&["list"]);
    for line in ["countersign_active=a", "countersign_trying=b", "countersign_tries_left=3", "other=x\\y z"] {
        assert!(listed.lines().any(|listed| listed == line), "{line}: {listed}");
    }
    grub(&["set", "countersign_tries_left=2"]);
    let counted = Block::parse(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(counted.choice(), Choice { tries_left: 2, ..block.choice() });

    fs::write(&script, documented_script()).unwrap();
    let checked = Command::new("grub-script-check").arg(&script).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    fs::write(&script, documented_script().replacen("; fi", "", 1)).unwrap();
    assert!(!Command::new("grub-script-check").arg(&script).output().unwrap().status.success());
}

#[tokio::test]
async fn what_no_slot_could_take_is_refused_and_changes_nothing() {
    let Some(house) = House::that_may_restart().await else { return };
    let (good, old) = (image("1.0.2", 1000), house.bench.snapshot(&house.endpoint));
    let with = |at: usize, bytes: &[u8]| {
        let mut image = good.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        vec![image]
    };
    let large = image("1.0.2", usize::try_from(SLOT_BYTES).unwrap());
    let (unsafe_, missing) = (ReasonCode::ArchiveUnsafe, ReasonCode::InstallerMissing);
    let always = Reboot::Required;
    type Row<'a> = (&'a str, Vec<Vec<u8>>, Reboot, ReasonCode, &'a str);
    let rows: Vec<Row<'_>> = vec![
        ("no image", vec![b"#!/bin/sh\n".repeat(500)], always, unsafe_, "does not begin as a squashfs image does"),
        ("a byte", vec![vec![b'h']], always, unsafe_, "a superblock alone has 96"),
        ("cut off", vec![good[..1000].to_vec()], always, unsafe_, "and has 1000"),
        ("longer than it is", with(40, &[0xff; 8]), always, unsafe_, "and has"),
        ("a table far away", with(64, &[0xff; 8]), always, unsafe_, "its inode table cannot be at byte"),
        ("blocks of a terabyte", with(22, &[40]), always, unsafe_, "block size's logarithm cannot be 40"),
        ("of the future", with(28, &[5]), always, unsafe_, "it is of version 5.0"),
        ("too large", vec![large], always, ReasonCode::DiskFull, "slot b has 1048576 bytes, the image has"),
        ("two images", vec![good.clone(), image("1", 1)], always, missing, "a slot takes one image, this patch has 2"),
        ("never restarts", vec![good.clone()], Reboot::Never, missing, "says that it never must"),
    ];
    for (place, (what, images, reboot, code_expected, evidence)) in rows.into_iter().enumerate() {
        let patch = house.release(u64::try_from(place).unwrap() + 1, 2, images, reboot);
        let (mut worker, _) = house.begins().await;
        let settled = ask(&mut worker, patch).await.unwrap();
        assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, code_expected), "{what}: {settled}");
        assert!(settled.to_string().contains(evidence), "{what}: {settled}");
        let differences = differences(&old, &house.bench.snapshot(&house.endpoint));
        assert!(differences.is_empty(), "{what}: {differences:#?}");
        let slot = fs::read(house.bench.slot("b")).unwrap();
        assert!(slot.iter().all(|byte| *byte == 0), "{what}: the slot was not even written to");
    }
}

/// A file with holes, on a disk that is full: the write stops in the middle, for real.
#[tokio::test]
async fn a_slot_whose_disk_is_full_has_no_image_in_it_afterwards() {
    let Some(house) = House::that_may_restart().await else { return };
    let room = house.bench.room.path().join("small");
    let Some(_mount) = Mount::small(&room, 2) else { return left_out("only root may mount a small disk") };
    fs::File::create(room.join("slot")).unwrap().set_len(SLOT_BYTES).unwrap();
    fs::remove_file(house.bench.slot("b")).unwrap();
    std::os::unix::fs::symlink(room.join("slot"), house.bench.slot("b")).unwrap();
    let squeeze = Squeeze::FullBut(64 << 10);
    assert!(squeeze.on(&room));
    let (mut worker, _) = house.begins().await;
    let patch = house.good(2);
    let settled = ask(&mut worker, patch).await.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, ReasonCode::DiskFull), "{settled}");
    let slot = fs::read(house.bench.slot("b")).unwrap();
    assert!(slot[..4096].iter().all(|byte| *byte == 0) && slot[4096..].iter().any(|byte| *byte != 0));
    house.is("a", "a - 0");
    squeeze.off(&room);
    drop(worker);
    house.installs(patch).await;
}

#[tokio::test]
async fn a_host_without_slots_or_a_loader_does_not_offer_images_and_says_why() {
    type Break = fn(&ImageSlots);
    let rows: [(&str, Break, &str); 11] = [
        ("no slot", |bench| fs::remove_file(bench.slot("b")).unwrap(), "cannot open"),
        ("a directory", |bench| put(bench, |path| fs::create_dir(path).unwrap()), "neither a block device nor a file"),
        ("a pipe", |bench| put(bench, pipe), "neither a block device nor a file"),
        ("tiny", |bench| put(bench, |path| fs::write(path, "x").unwrap()), "too small for any image"),
        ("the same", |bench| put(bench, |path| fs::hard_link(bench.slot("a"), path).unwrap()), "the same as slot a"),
        ("anybody's", |bench| mode(&bench.slot("b"), 0o666), "may be changed by others"),
        ("no environment", |bench| fs::remove_file(bench.environment()).unwrap(), "cannot open"),
        ("no block", |bench| fs::write(bench.environment(), [0; 1024]).unwrap(), "does not begin as an environment"),
        ("short", |bench| fs::write(bench.environment(), [0; 1023]).unwrap(), "it has 1023 bytes"),
        ("long", |bench| fs::write(bench.environment(), [0; 1025]).unwrap(), "it has 1025 bytes"),
        ("not told", |bench| fs::write(bench.room.path().join("kernel/cmdline"), "ro\n").unwrap(), "is not there"),
    ];
    for (what, breaks, evidence) in rows {
        let Some(house) = House::that_may_restart().await else { return };
        let patch = house.good(2);
        breaks(&house.bench);
        let (mut worker, _) = house.begins().await;
        let statuses = worker.site().installer.kinds().statuses();
        let lacks = statuses.into_iter().find(|status| status.kind == InstallerKind::ImageSlot).unwrap().lacks.unwrap();
        assert!(lacks.contains(evidence), "{what}: {lacks}");
        let settled = ask(&mut worker, patch).await.unwrap();
        assert_eq!(code(&settled), ReasonCode::InstallerMissing, "{what}: {settled}");
    }
}

fn put(bench: &ImageSlots, make: impl FnOnce(PathBuf)) {
    fs::remove_file(bench.slot("b")).unwrap();
    make(bench.slot("b"));
}

fn pipe(path: PathBuf) {
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

fn mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A file as a block device, as long as this lives.
struct Loop(PathBuf);

impl Loop {
    fn of(file: &std::path::Path, more: &[&str]) -> Option<Self> {
        let output = Command::new("losetup").args(more).args(["--find", "--show"]).arg(file).output().ok()?;
        output.status.success().then(|| Self(String::from_utf8(output.stdout).unwrap().trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[tokio::test]
async fn block_devices_are_slots_unless_they_are_mounted_or_read_only() {
    if !is_root() {
        return left_out("only root may make loop devices");
    }
    let room = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| room.path().join(name));
    files.iter().for_each(|file| fs::write(file, vec![0; usize::try_from(SLOT_BYTES).unwrap()]).unwrap());
    let (Some(a), Some(b)) = (Loop::of(&files[0], &[]), Loop::of(&files[1], &[])) else {
        return left_out("no loop devices can be made here");
    };
    let devices = [a.0.clone(), b.0.clone()];
    let place = |mut bench: ImageSlots| {
        bench.slots = Some(devices);
        bench
    };
    let Some(house) = House::on(place, ImageSlots::config).await else { return };
    house.installs(house.good(1)).await;
    house.is("b", "b - 0");
    house.installs(house.good(2)).await;
    house.is("a", "a - 0");

    // Slot b is mounted: somebody looks into it, or runs from it.
    let mounted = room.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let mount = Command::new("mount").args(["-t", "squashfs", "-o", "ro"]).arg(&b.0).arg(&mounted).output().unwrap();
    assert!(mount.status.success(), "{mount:?}");
    let next = house.good(3);
    let (mut worker, _) = house.begins().await;
    let settled = ask(&mut worker, next).await;
    let umount = Command::new("umount").arg(&mounted).output().unwrap();
    assert!(umount.status.success(), "{umount:?}");
    let settled = settled.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, ReasonCode::Io), "{settled}");
    assert!(settled.to_string().contains("busy"), "{settled}");
    drop(worker);
    house.is("a", "a - 0");

    // The same by way of a file that a loop device is made of: the kernel does not say that one is in use.
    let read_only = Command::new("blockdev").arg("--setro").arg(&b.0).output().unwrap();
    assert!(read_only.status.success(), "{read_only:?}");
    let (worker, _) = house.begins().await;
    let statuses = worker.site().installer.kinds().statuses();
    let lacks = statuses.into_iter().find(|status| status.kind == InstallerKind::ImageSlot).unwrap().lacks.unwrap();
    assert!(lacks.contains("read-only"), "{lacks}");
    drop(worker);
    assert!(Command::new("blockdev").arg("--setrw").arg(&b.0).output().unwrap().status.success());
    house.installs(next).await;
}

#[tokio::test]
async fn a_file_that_is_a_loop_device_is_not_written_to() {
    if !is_root() {
        return left_out("only root may make loop devices");
    }
    let Some(house) = House::that_may_restart().await else { return };
    let Some(_device) = Loop::of(&house.bench.slot("b"), &[]) else {
        return left_out("no loop devices can be made here");
    };
    let (mut worker, _) = house.begins().await;
    let settled = ask(&mut worker, house.good(2)).await.unwrap();
    assert_eq!((settled.outcome, code(&settled)), (Outcome::Refused, ReasonCode::Io), "{settled}");
    assert!(settled.to_string().contains("it is mounted, or a loop device"), "{settled}");
    assert!(fs::read(house.bench.slot("b")).unwrap().iter().all(|byte| *byte == 0));
}

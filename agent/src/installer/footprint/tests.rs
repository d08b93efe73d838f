//! Whoever swaps a directory for a link while the agent works leads it nowhere.

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rounds of a race: bounded, and many times what was needed to lose it.
const ROUNDS: usize = 300;

fn long() -> Deadline {
    Deadline::begin("a test", Duration::from_secs(600))
}

fn put(root: &Path, path: &str, content: &str) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join(path), content).unwrap();
}

/// A room in which nobody else can write.
fn room() -> tempfile::TempDir {
    let room = tempfile::tempdir().unwrap();
    for directory in ["root/etc/acme", "outside"] {
        fs::create_dir_all(room.path().join(directory)).unwrap();
    }
    for directory in ["root", "root/etc", "root/etc/acme", "outside"] {
        fs::set_permissions(room.path().join(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    room
}

/// Exchanges a directory and a link to elsewhere, again and again, until the end.
fn swap(a: std::path::PathBuf, b: std::path::PathBuf, done: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        while !done.load(Ordering::Relaxed) {
            renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
        }
    })
}

fn nothing_is_written_elsewhere(beneath: fn(&Path) -> Root, whose: Option<u32>) {
    let room = room();
    let (base, outside) = (room.path().join("root"), room.path().join("outside"));
    put(&base, "etc/acme/sub/kept", "old");
    put(&outside, "kept", "canary");
    symlink(&outside, base.join("etc/acme/way")).unwrap();
    if let Some(whose) = whose {
        chown(base.join("etc/acme"), Some(whose), None).unwrap();
    }
    let root = beneath(&base);
    let paths = ["etc/acme/sub/kept", "etc/acme/sub/new", "etc/acme/sub/inner"].map(str::to_owned).into();
    let footprint = Footprint::take(&root, &paths, &[], long()).unwrap();
    footprint.keep(&root, &room.path().join("kept"), long()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let racer = swap(base.join("etc/acme/sub"), base.join("etc/acme/way"), done.clone());
    let made = Mark::Directory { mode: 0o777, uid: 0, gid: 0, attributes: Default::default() };
    for round in 0..ROUNDS {
        // What one or the other comes to is the racer's luck; where it is done is not.
        let copy = room.path().join("kept/1");
        let content = if copy.exists() { copy } else { room.path().join("kept/0") };
        let old = footprint.get("etc/acme/sub/kept");
        let _ = root.mend("etc/acme/sub/kept", old, Content::Kept(&content));
        let _ = root.mend("etc/acme/sub/new", old, Content::Kept(&content));
        let _ = root.mend("etc/acme/sub/inner", if round % 2 == 0 { &made } else { &Mark::Missing }, Content::Same(""));
        let _ = footprint.repair(&root, &room.path().join("kept"));
    }
    done.store(true, Ordering::Relaxed);
    racer.join().unwrap();
    let there: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["kept"]);
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "canary");
}

#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    nothing_is_written_elsewhere(Root::own, None);
}

#[test]
fn nor_does_one_of_somebody_elses_beneath_packages() {
    if rustix::process::geteuid().is_root() {
        nothing_is_written_elsewhere(Root::of_packages, Some(1234));
    }
}

/// As where `/bin` leads to `/usr/bin`, and a package moves a program from the one to the other.
#[test]
fn two_paths_of_one_place_are_mended_and_nothing_is_left_beside_them() {
    let room = room();
    let base = room.path().join("root");
    put(&base, "usr/bin/app", "old");
    fs::set_permissions(base.join("usr/bin"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(base.join("usr"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("usr/bin", base.join("bin")).unwrap();
    let root = Root::of_packages(&base);
    let paths = ["bin/app", "usr/bin/app"].map(str::to_owned).into();
    let footprint = Footprint::take(&root, &paths, &[], long()).unwrap();
    let kept = room.path().join("kept");
    footprint.keep(&root, &kept, long()).unwrap();
    fs::remove_file(base.join("usr/bin/app")).unwrap();
    fs::write(base.join("usr/bin/app"), "new").unwrap();
    footprint.repair(&root, &kept);
    assert!(footprint.differences(&root).unwrap().is_empty());
    let there: Vec<_> = fs::read_dir(base.join("usr/bin")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["app"]);
}

#[test]
fn links_that_lead_to_what_is_no_text_are_told_apart_and_come_back() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let room = room();
    let base = room.path().join("root");
    let root = Root::own(&base);
    let (path, link) = ("etc/acme/link", base.join("etc/acme/link"));
    let lead_to = |target: &[u8]| {
        let _ = fs::remove_file(&link);
        symlink(OsStr::from_bytes(target), &link).unwrap();
    };
    // Neither is text, and both look the same to whoever reads them as text.
    let (old, new) = (b"../caf\xe9".as_slice(), b"../caf\xe8".as_slice());
    lead_to(old);
    let footprint = Footprint::take(&root, &[path.to_owned()].into(), &[], long()).unwrap();
    let file = room.path().join("footprint.json");
    footprint.write(&file).unwrap();
    let footprint = Footprint::read(&file).unwrap();
    assert!(footprint.differences(&root).unwrap().is_empty());
    for other in [new, "../caf\u{fffd}".as_bytes(), b"../caf"] {
        lead_to(other);
        assert_eq!(footprint.differences(&root).unwrap().len(), 1, "{other:x?}");
        assert_eq!(footprint.repair(&root, &room.path().join("kept")).repaired, [path]);
        assert_eq!(fs::read_link(&link).unwrap().as_os_str().as_bytes(), old);
    }
    // As agents before this one wrote it down.
    let before = r#"{"marks":{"etc/acme/link":{"link":{"target":"plain","uid":0,"gid":0}}},"links":{},"endings":[]}"#;
    let before: Footprint = serde_json::from_str(before).unwrap();
    assert_eq!(*before.get(path), Mark::Link { target: b"plain".to_vec().into(), uid: 0, gid: 0 });
    assert!(serde_json::to_string(&before).unwrap().contains(r#""target":"plain""#));
}

#[test]
fn links_are_followed_where_only_root_could_have_made_them() {
    let room = room();
    let base = room.path().join("root");
    put(&base, "usr/lib/so", "library");
    fs::set_permissions(base.join("usr"), fs::Permissions::from_mode(0o755)).unwrap();
    for (link, target) in [("lib", "usr/lib"), ("abs", "/usr/lib"), ("up", "../../../usr/lib"), ("loop", "loop")] {
        symlink(target, base.join(link)).unwrap();
    }
    let (packages, own) = (Root::of_packages(&base), Root::own(&base));
    for way in ["lib", "abs", "up"] {
        let path = format!("{way}/so");
        assert!(matches!(packages.mark(&path).unwrap(), Mark::File { size: 7, .. }), "{way}");
        assert_eq!(own.mark(&path).unwrap(), Mark::Missing, "{way}");
        assert!(matches!(own.directory(way), Err(WayError::Link(_))), "{way}");
    }
    assert_eq!(packages.mark("loop/so").unwrap(), Mark::Missing);
    assert_eq!(packages.mark(&format!("etc/{}", "n".repeat(300))).unwrap(), Mark::Missing);

    // Where others may write, they may have made it.
    fs::set_permissions(&base, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(packages.mark("lib/so").unwrap(), Mark::Missing);
    assert!(matches!(packages.mark("usr/lib/so").unwrap(), Mark::File { .. }));
    let error = own.directory("etc").unwrap_err();
    assert!(matches!(&error, WayError::Others { mode: 0o777, .. }), "{error}");
}

#[test]
fn what_is_brought_back_is_all_of_it() {
    let room = room();
    let base = room.path().join("root");
    for (path, content) in [("etc/acme/one", "1"), ("etc/acme/sub/two", "2"), ("etc/acme/sub/three", "3")] {
        put(&base, path, content);
    }
    fs::set_permissions(base.join("etc/acme/sub"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::hard_link(base.join("etc/acme/one"), base.join("etc/acme/also-one")).unwrap();
    symlink("one", base.join("etc/acme/link")).unwrap();
    // An access list: who may read besides owner and group (acl(5), as the kernel has it).
    let entry = |tag: u16, rights: u16, id: u32| {
        [tag.to_le_bytes().to_vec(), rights.to_le_bytes().to_vec(), id.to_le_bytes().to_vec()].concat()
    };
    let nobody = u32::MAX;
    let list = [(1, 6, nobody), (2, 4, 1234), (4, 4, nobody), (16, 4, nobody), (32, 0, nobody)];
    let acl = list
        .iter()
        .fold(2_u32.to_le_bytes().to_vec(), |acl, (tag, rights, id)| [acl, entry(*tag, *rights, *id)].concat());
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(base.join(path), name, value, rustix::fs::XattrFlags::empty())
    };
    // A file system that keeps no such thing keeps none before and none after.
    let has_lists = set("etc/acme/one", "system.posix_acl_access", &acl).is_ok();
    let has_own = set("etc/acme/sub", "user.countersign-test", b"kept").is_ok();
    let root = Root::own(&base);
    let names =
        ["etc/acme/also-one", "etc/acme/link", "etc/acme/new", "etc/acme/new/deep", "etc/acme/one", "etc/acme/sub"];
    let names: BTreeSet<String> =
        names.iter().chain(&["etc/acme/sub/two", "etc/acme/sub/three"]).map(|name| (*name).to_owned()).collect();
    let footprint = Footprint::take(&root, &names, &[".aside"], long()).unwrap();
    let Mark::File { attributes, .. } = footprint.get("etc/acme/one") else { panic!() };
    assert_eq!(attributes.contains_key("system.posix_acl_access"), has_lists);
    let Mark::Directory { attributes, .. } = footprint.get("etc/acme/sub") else { panic!() };
    assert_eq!(attributes.contains_key("user.countersign-test"), has_own);
    let (record, kept) = (room.path().join("footprint"), room.path().join("kept"));
    footprint.keep(&root, &kept, long()).unwrap();
    footprint.write(&record).unwrap();
    assert_eq!(Footprint::read(&record).unwrap(), footprint);
    footprint.check_unchanged(&root).unwrap();

    fs::remove_dir_all(base.join("etc/acme/sub")).unwrap();
    fs::remove_file(base.join("etc/acme/one")).unwrap();
    fs::remove_file(base.join("etc/acme/link")).unwrap();
    put(&base, "etc/acme/one", "other");
    put(&base, "etc/acme/link", "a file");
    put(&base, "etc/acme/link.aside", "left by a tool");
    put(&base, "etc/acme/new/deep/mine", "somebody's");
    let repair = footprint.repair(&root, &kept);
    assert!(repair.failed.is_empty(), "{repair:?}");
    assert_eq!(repair.left, ["etc/acme/new", "etc/acme/new/deep"]);
    assert_eq!(footprint.differences(&root).unwrap(), []);
    assert!(base.join("etc/acme/new/deep/mine").exists());
    use std::os::unix::fs::MetadataExt as _;
    let inode = |path: &str| fs::metadata(base.join(path)).unwrap().ino();
    assert_eq!(inode("etc/acme/one"), inode("etc/acme/also-one"), "two names of one file");

    // Two files that only look the same are not the same.
    fs::remove_file(base.join("etc/acme/also-one")).unwrap();
    fs::copy(base.join("etc/acme/one"), base.join("etc/acme/also-one")).unwrap();
    if !has_lists {
        let differing: Vec<_> = footprint.differences(&root).unwrap().into_iter().map(|one| one.path).collect();
        assert_eq!(differing, ["etc/acme/also-one"]);
    }
    assert!(!footprint.differences(&root).unwrap().is_empty());
}

#[test]
fn what_cannot_be_repaired_stops_nothing_else() {
    let room = room();
    let base = room.path().join("root");
    for path in ["etc/acme/a", "etc/acme/b"] {
        put(&base, path, "old");
    }
    let root = Root::own(&base);
    let footprint =
        Footprint::take(&root, &["etc/acme/a", "etc/acme/b"].map(str::to_owned).into(), &[], long()).unwrap();
    footprint.keep(&root, &room.path().join("kept"), long()).unwrap();
    fs::remove_file(base.join("etc/acme/a")).unwrap();
    put(&base, "etc/acme/a/in-the-way", "");
    fs::write(base.join("etc/acme/b"), "new").unwrap();
    let repair = footprint.repair(&root, &room.path().join("kept"));
    assert_eq!(repair.repaired, ["etc/acme/b"]);
    assert_eq!(repair.failed.len(), 1);
    assert_eq!(fs::read_to_string(base.join("etc/acme/b")).unwrap(), "old");
    let told = repair.tell(&mut Story::default()).unwrap_err();
    assert!(told.starts_with("cannot repair /etc/acme/a: "), "{told}");
}

#[test]
fn what_cannot_be_examined_stops_nothing_else() {
    let room = room();
    let base = room.path().join("root");
    for path in ["etc/acme/a", "etc/acme/b/b", "etc/acme/c"] {
        put(&base, path, "old");
    }
    fs::set_permissions(base.join("etc/acme/b"), fs::Permissions::from_mode(0o755)).unwrap();
    // The first of its names is where nobody can look.
    fs::hard_link(base.join("etc/acme/b/b"), base.join("etc/acme/b2")).unwrap();
    let root = Root::own(&base);
    let paths = ["etc/acme/a", "etc/acme/b/b", "etc/acme/b2", "etc/acme/c"].map(str::to_owned).into();
    let footprint = Footprint::take(&root, &paths, &[], long()).unwrap();
    footprint.keep(&root, &room.path().join("kept"), long()).unwrap();
    for path in ["etc/acme/a", "etc/acme/c"] {
        fs::write(base.join(path), "new").unwrap();
    }
    // Others may change it now: this root does not go there.
    fs::set_permissions(base.join("etc/acme/b"), fs::Permissions::from_mode(0o777)).unwrap();
    let error = chain(&footprint.differences(&root).unwrap_err());
    assert!(error.contains("examine") && error.contains("etc/acme/b"), "{error}");
    let repair = footprint.repair(&root, &room.path().join("kept"));
    assert_eq!(repair.repaired, ["etc/acme/a", "etc/acme/c"]);
    let failed: Vec<_> = repair.failed.iter().map(|(path, error)| (path.as_str(), error.to_string())).collect();
    assert_eq!(failed.iter().map(|(path, _)| *path).collect::<Vec<_>>(), ["etc/acme/b/b", "etc/acme/b2"]);
    assert!(failed[1].1.contains("one file with /etc/acme/b/b"), "{failed:?}");
    for path in ["etc/acme/a", "etc/acme/c"] {
        assert_eq!(fs::read_to_string(base.join(path)).unwrap(), "old", "{path}");
    }
    assert!(repair.tell(&mut Story::default()).is_err());
}

/// A file that takes no room and says that it is longer than anybody can read.
#[test]
fn nobody_is_kept_reading_for_ever() {
    let room = room();
    let (base, kept) = (room.path().join("root"), room.path().join("kept"));
    let endless = |path: &str| fs::File::create(base.join(path)).unwrap().set_len(1 << 43).unwrap();
    put(&base, "etc/acme/a", "old");
    let root = Root::own(&base);
    let paths = ["etc/acme/a", "etc/acme/new"].map(str::to_owned).into();
    let footprint = Footprint::take(&root, &paths, &[".aside"], long()).unwrap();
    footprint.keep(&root, &kept, long()).unwrap();
    ["etc/acme/a", "etc/acme/new", "etc/acme/a.aside"].into_iter().for_each(endless);
    let differences = footprint.differences(&root).unwrap();
    assert_eq!(differences.len(), 3);
    assert!(differences.iter().all(|one| one.there == Mark::Unread { size: 1 << 43 }), "{differences:?}");
    // Nor are they taken into a footprint, or copied.
    let refused = Footprint::take(&root, &paths, &[], long()).unwrap_err();
    assert!(refused.reason.detail.as_str().contains("any file may have"), "{refused:?}");
    let copied = footprint.keep(&root, &room.path().join("again"), long()).unwrap_err();
    assert!(copied.reason.detail.as_str().contains("/etc/acme/a was changed meanwhile"), "{copied:?}");
    assert!(fs::metadata(room.path().join("again/0")).unwrap().len() <= 4);
    let repair = footprint.repair(&root, &kept);
    assert!(repair.failed.is_empty(), "{repair:?}");
    assert_eq!(footprint.differences(&root).unwrap(), []);
    assert_eq!(fs::read_to_string(base.join("etc/acme/a")).unwrap(), "old");

    // And what may be read is read in time.
    let (file, over) = (fs::File::open(base.join("etc/acme/a")).unwrap(), Deadline::begin("a test", Duration::ZERO));
    let late = mark::hash(&file, &mut io::sink(), 3, Some(over)).unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::TimedOut);
}

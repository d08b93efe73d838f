//! File sets, where they are unlike everything else: where files may be put, and whose they are then.

use crate::support::archive::Archive;
use crate::support::bench::{ATTRIBUTE, Bench, Files, differences};
use crate::support::disk::is_root;
use crate::support::endpoint::{Endpoint, approved_set, canary};
use crate::support::left_out;
use crate::support::node::World;
use ledger::bounded::List;
use ledger::patch::InstallerKind;
use ledger::receipt::{Outcome, ReasonCode};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use tar::EntryType;

#[tokio::test]
async fn what_somebody_edited_since_the_set_before_is_not_thrown_away() {
    let (world, mut bench) = (World::new(), Files::new().unwrap());
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let path = bench.root().join("etc/acme/app.conf");
    let set = |release: u64| {
        let archive = Archive::new().file("etc/acme/app.conf", &format!("level = {release}\n")).bytes();
        approved_set(&world, release, InstallerKind::FileSet, vec![("files.tar".to_owned(), archive)], |_| {})
    };
    assert_eq!(endpoint.apply(set(1)).await.outcome, Outcome::Applied);
    fs::write(&path, "level = 33 # mine\n").unwrap();
    let second = set(2);
    let settled = endpoint.apply(second).await;
    let said = settled.to_string();
    assert!(settled.outcome == Outcome::Refused && said.contains("/etc/acme/app.conf is not what"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "level = 33 # mine\n");
    // Where it is away, or is what the set makes it, nothing is lost.
    fs::rename(&path, bench.root().join("etc/acme/app.conf.mine")).unwrap();
    assert_eq!(endpoint.apply(second).await.outcome, Outcome::Applied);
    fs::write(&path, "level = 3\n").unwrap();
    assert_eq!(endpoint.apply(set(3)).await.outcome, Outcome::Applied);
}

#[tokio::test]
async fn files_go_where_they_may_and_nowhere_else() {
    let (world, mut bench) = (World::new(), Files::new().unwrap());
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let (root, outside) = (bench.root(), tempfile::tempdir().unwrap());
    let check = canary(&outside.path().join("canary"));
    symlink(outside.path(), root.join("etc/acme/away")).unwrap();
    symlink(outside.path().join("canary"), root.join("etc/acme/link.conf")).unwrap();
    fs::create_dir(root.join("etc/acme/sub")).unwrap();
    let before = bench.snapshot(&endpoint);
    let one = |kind: EntryType, name: &str, mode: u32| Archive::new().entry(kind, name.as_bytes(), mode, b"", b"");
    let rows: Vec<(&str, Archive, ReasonCode, &str)> = vec![
        ("elsewhere", Archive::new().file("etc/passwd", "x"), ReasonCode::ArchiveUnsafe, "may be put into"),
        ("beginning alike", Archive::new().file("etc/acme-2/x", "x"), ReasonCode::ArchiveUnsafe, "may be put into"),
        ("climbs", Archive::new().file("etc/acme/../x", "x"), ReasonCode::ArchiveUnsafe, "`..`"),
        ("absolute", Archive::new().file("/etc/acme/x", "x"), ReasonCode::ArchiveUnsafe, "absolute"),
        ("a link", Archive::new().link("etc/acme/x", "y"), ReasonCode::ArchiveUnsafe, "is a link"),
        ("a link out", Archive::new().link("etc/acme/x", "/etc"), ReasonCode::ArchiveUnsafe, "out of the tree"),
        ("a device", one(EntryType::Char, "etc/acme/x", 0o644), ReasonCode::ArchiveUnsafe, "character device"),
        (
            "a directory for the group",
            one(EntryType::Directory, "etc/acme/new.d", 0o775).file("etc/acme/new.d/x", "x"),
            ReasonCode::ArchiveUnsafe,
            "others may change (mode 0775)",
        ),
        (
            "a way for the group",
            one(EntryType::Directory, "etc", 0o775).file("etc/acme/x", "x"),
            ReasonCode::ArchiveUnsafe,
            "others may change (mode 0775)",
        ),
        (
            "a directory for everybody",
            one(EntryType::Directory, "etc/acme/new.d", 0o757),
            ReasonCode::ArchiveUnsafe,
            "others may change (mode 0757)",
        ),
        ("setuid", one(EntryType::Regular, "etc/acme/x", 0o4755), ReasonCode::ArchiveUnsafe, "setuid"),
        ("twice", Archive::new().file("etc/acme/x", "1").file("etc/acme/x", "2"), ReasonCode::ArchiveUnsafe, "twice"),
        ("case", Archive::new().file("etc/acme/x", "").file("etc/acme/X", ""), ReasonCode::ArchiveUnsafe, "upper and"),
        ("the agent's name", Archive::new().file("etc/acme/.countersign-x", ""), ReasonCode::ArchiveUnsafe, "itself"),
        (
            "the host's link",
            Archive::new().file("etc/acme/link.conf", "x"),
            ReasonCode::CannotRollBack,
            "something else",
        ),
        ("a directory's place", Archive::new().file("etc/acme/sub", "x"), ReasonCode::CannotRollBack, "something else"),
        (
            "through the host's link",
            Archive::new().file("etc/acme/away/canary", "x"),
            ReasonCode::CannotRollBack,
            "away",
        ),
    ];
    for (place, (what, archive, code, evidence)) in rows.into_iter().enumerate() {
        let artifacts = vec![("files.tar".to_owned(), archive.bytes())];
        let release = u64::try_from(place).unwrap() + 1;
        let patch = approved_set(&world, release, InstallerKind::FileSet, artifacts, |_| {});
        let settled = endpoint.apply(patch).await;
        let reason = settled.reason.clone().unwrap_or_else(|| panic!("{what}: {settled}"));
        assert_eq!((settled.outcome, reason.code), (Outcome::Refused, code), "{what}: {reason}");
        assert!(reason.detail.as_str().contains(evidence), "{what}: {reason}");
        let differences = differences(&before, &bench.snapshot(&endpoint));
        assert!(differences.is_empty(), "{what}: {differences:#?}");
        check();
    }
}

#[tokio::test]
async fn a_new_file_has_the_owner_and_attributes_of_the_one_whose_place_it_takes() {
    let (world, mut bench) = (World::new(), Files::new().unwrap());
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let path = bench.root().join("etc/acme/main.conf");
    let old = fs::metadata(&path).unwrap();
    let attribute = || {
        let mut value = vec![0; 16];
        let length = rustix::fs::lgetxattr(&path, ATTRIBUTE, &mut value[..]).unwrap_or(0);
        value.truncate(length);
        value
    };
    let had = attribute();
    if had.is_empty() {
        left_out("attributes: no root here, or no file system that keeps them");
    }
    let patch = approved_set(&world, 1, InstallerKind::FileSet, bench.artifacts(1), |manifest| {
        manifest.health = List::new(vec![bench.probe(1)]).unwrap();
    });
    let settled = endpoint.apply(patch).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    let new = fs::metadata(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "release = 1\n");
    assert_eq!((new.uid(), new.gid(), new.mode() & 0o777), (old.uid(), old.gid(), 0o640));
    if is_root() {
        assert_eq!((new.uid(), new.gid()), (1234, 4321));
    }
    assert_eq!(attribute(), had);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".countersign")), "{left:?}");

    // What a release no longer has is gone; what was never of the set stays.
    let patch = approved_set(&world, 2, InstallerKind::FileSet, bench.artifacts(2), |_| {});
    assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied);
    assert!(!bench.root().join("etc/acme/conf.1/only-here.conf").exists());
    assert_eq!(fs::read_to_string(bench.root().join("etc/acme/by")).unwrap(), "not of the set");
}

/// A path in an archive whose header has no room for it.
fn long(path: &str, content: &str) -> Archive {
    let name = format!("{path}\0");
    Archive::new()
        .entry(EntryType::GNULongName, b"././@LongLink", 0o644, b"", name.as_bytes())
        .file("etc/acme/long", content)
}

#[tokio::test]
async fn names_as_long_as_a_name_may_be_are_put_in_place_and_taken_back() {
    let (world, mut bench) = (World::new(), Files::new().unwrap());
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    for (place, length) in [242, 243, 250, 255].into_iter().enumerate() {
        let (name, release) = ("n".repeat(length), 10 * (u64::try_from(place).unwrap() + 1));
        let path = bench.root().join("etc/acme").join(&name);
        let before = bench.snapshot(&endpoint);
        let set = |content| vec![("files.tar".to_owned(), long(&format!("etc/acme/{name}"), content).bytes())];
        let sick = approved_set(&world, release, InstallerKind::FileSet, set("sick"), |manifest| {
            manifest.health = List::new(vec![bench.probe(99)]).unwrap();
        });
        let settled = endpoint.apply(sick).await;
        assert_eq!(settled.outcome, Outcome::RolledBack, "{length}: {settled}");
        let differences = differences(&before, &bench.snapshot(&endpoint));
        assert!(differences.is_empty(), "{length}: {differences:#?}");
        for (release, content) in [(release + 1, "first"), (release + 2, "second")] {
            let patch = approved_set(&world, release, InstallerKind::FileSet, set(content), |_| {});
            assert_eq!(endpoint.apply(patch).await.outcome, Outcome::Applied, "{length}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }
}

#[tokio::test]
async fn nobody_else_can_lead_files_elsewhere() {
    let (world, mut bench) = (World::new(), Files::new().unwrap());
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    bench.build(&endpoint);
    let sub = bench.root().join("etc/acme/sub");
    fs::create_dir(&sub).unwrap();
    let patch = |release: u64, content: &str| {
        let set = Archive::new().file("etc/acme/sub/x.conf", content).bytes();
        approved_set(&world, release, InstallerKind::FileSet, vec![("files.tar".to_owned(), set)], |_| {})
    };
    let mode = |mode: u32| fs::set_permissions(&sub, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let settled = endpoint.apply(patch(1, "1")).await;
    assert_eq!(settled.outcome, Outcome::Refused, "{settled}");
    assert!(settled.to_string().contains("\"sub\" on the way may be changed by others"), "{settled}");
    if is_root() {
        mode(0o755);
        std::os::unix::fs::chown(&sub, Some(1234), None).unwrap();
        let settled = endpoint.apply(patch(2, "2")).await;
        assert_eq!(settled.outcome, Outcome::Refused, "{settled}");
        std::os::unix::fs::chown(&sub, Some(0), None).unwrap();
    }
    mode(0o755);
    let settled = endpoint.apply(patch(3, "3")).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
    // A host whose directory anybody may change does not offer file sets at all.
    fs::set_permissions(bench.root().join("etc/acme"), fs::Permissions::from_mode(0o777)).unwrap();
    let kinds = endpoint.open().installer.kinds().clone();
    let lacks = || kinds.statuses().into_iter().find(|status| status.kind == InstallerKind::FileSet).unwrap().lacks;
    assert!(lacks().unwrap().contains("may be changed by others"), "{:?}", lacks());
    kinds.look_again();
    assert!(lacks().is_some(), "and still does not");
    // Nobody has to restart an agent because a disk came late, or somebody put something right.
    fs::set_permissions(bench.root().join("etc/acme"), fs::Permissions::from_mode(0o755)).unwrap();
    kinds.look_again();
    assert_eq!(lacks(), None);
}

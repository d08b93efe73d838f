//! Archives from strangers, and what they cannot do.

use crate::support::archive::{Archive, snapshot, tree_of};
use crate::support::endpoint::{Endpoint, canary, widget};
use crate::support::node::World;
use crate::support::tricks::{Trick, one, record, tricks};
use agent::installer::archive::{copy, unpack};
use agent::installer::digest::digest;
use agent::installer::unpack::{LIMITS, Limits};
use ledger::bounded::Version;
use proptest::prelude::*;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use tar::EntryType::{self, Directory, Link, Regular, Symlink, XGlobalHeader, XHeader};

/// A place to unpack into, with things around it that must not change.
struct Place {
    around: tempfile::TempDir,
    check: Box<dyn Fn()>,
}

impl Place {
    fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        std::fs::create_dir(around.path().join("tree")).unwrap();
        let check = Box::new(canary(&around.path().join("canary")));
        Self { around, check }
    }

    fn unpack(&self, archive: &[u8], limits: Limits) -> Result<(), String> {
        let tree = self.around.path().join("tree");
        let result = unpack(archive, &tree, limits).map_err(|error| error.to_string());
        (self.check)();
        let outside: Vec<_> =
            std::fs::read_dir(self.around.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(outside.len(), 2, "something was made outside: {outside:?}");
        assert_eq!(std::fs::metadata(self.around.path().join("canary")).unwrap().nlink(), 1, "linked to");
        result
    }
}

#[test]
fn what_is_quoted_of_an_archive_is_a_sentence_and_inert() {
    let place = Place::new();
    let long = format!("{}\u{1b}[2J", "/\u{200b}".repeat(1_500));
    let named = |name: &str| {
        let mut name = name.as_bytes().to_vec();
        name.push(0);
        Archive::new().entry(EntryType::GNULongName, b"././@LongLink", 0o644, b"", &name).file("x", "x").bytes()
    };
    let linked = |kind, target: &str| {
        let mut target = target.as_bytes().to_vec();
        target.push(0);
        let archive = Archive::new().entry(EntryType::GNULongLink, b"././@LongLink", 0o644, b"", &target);
        archive.entry(kind, b"here", 0o777, b"", b"").bytes()
    };
    // A number that is none, beside a name that acts on terminals: the library quotes both.
    let mut number = one(Regular, "\u{1b}]0;x\u{7}\nerror: all is well", 0o644, "").bytes();
    number[124..136].copy_from_slice(b"\x1b[31mnone\x07\n\0");
    let sum: u32 = number[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        })
        .sum();
    number[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (archive, says) in [
        (number, "it is not readable as a tar archive: "),
        (vec![0xff; 1024], "it is not readable as a tar archive: "),
        (
            [Archive::new().file("x", "x").bytes(), b"\x1b[2J".to_vec()].concat(),
            "it is not readable as a tar archive: ",
        ),
        (named(&long), "has"),
        (linked(Symlink, &long.replace('\u{1b}', "")), "is a link to"),
        (linked(Link, &"a".repeat(3_000)), "has"),
    ] {
        let refused = place.unpack(&archive, LIMITS).unwrap_err();
        assert!(refused.contains(says), "{refused}");
        assert!(refused.len() <= 600 && !refused.chars().any(char::is_control), "{} bytes: {refused:?}", refused.len());
    }
}

#[test]
fn hostile_archives_are_refused_by_name_and_touch_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let aim = outside.path().join("aim");
    let check = canary(&aim);
    let aim = aim.to_str().unwrap();
    for Trick { what, archive, evidence } in tricks(aim) {
        let refused = Place::new().unpack(&archive, LIMITS).expect_err(what);
        assert!(refused.contains(evidence), "{what}: {refused}");
        check();
    }
}

#[test]
fn archives_that_are_none_are_refused() {
    let whole = tree_of("1");
    let after_the_end = [whole.clone(), b"more".to_vec()].concat();
    let mut checksum = whole.clone();
    checksum[0] ^= 1;
    for (what, bytes) in [
        ("noise", &vec![7; 2048]),
        ("cut in a file", &whole[..2000].to_vec()),
        ("bytes after the end", &after_the_end),
        ("checksum", &checksum),
    ] {
        assert!(Place::new().unpack(bytes, LIMITS).is_err(), "{what}");
    }
}

#[test]
fn archives_have_limits() {
    let small = Limits { entries_max: 3, entry_bytes_max: 10, tree_bytes_max: 15 };
    let fits = Archive::new().file("a", "0123456789").file("b", "01234").bytes();
    assert_eq!(Place::new().unpack(&fits, small), Ok(()));
    for (archive, evidence) in [
        (Archive::new().file("a", "0123456789x"), "10 bytes are the most"),
        (Archive::new().file("a", "0123456789").file("b", "012345"), "15 bytes are the most"),
        (Archive::new().file("a", "").file("b", "").file("c", "").file("d", ""), "3 entries"),
        (Archive::new().file("a/b/c/d", ""), "3 entries"),
    ] {
        let refused = Place::new().unpack(&archive.bytes(), small).unwrap_err();
        assert!(refused.contains(evidence), "{refused}");
    }
    // A header that claims more than there is does not make room for it.
    let mut bomb = Archive::new().file("a", "x").bytes();
    let mut header = tar::Header::from_byte_slice(&bomb[..512]).clone();
    header.set_size(1 << 40);
    header.set_cksum();
    bomb[..512].copy_from_slice(header.as_bytes());
    assert!(Place::new().unpack(&bomb, LIMITS).is_err());
}

#[test]
fn what_is_unpacked_is_what_is_in_the_archive() {
    let archive = Archive::new()
        .entry(XGlobalHeader, b"pax_global_header", 0o644, b"", &record("comment", "made by hand"))
        .entry(Directory, b"./", 0o755, b"", b"")
        .file("a/implied/file", "content")
        .entry(Directory, b"a/", 0o750, b"", b"")
        .entry(Regular, b"secret", 0o000, b"", b"readable by its owner all the same")
        .entry(Regular, b"open", 0o777, b"", b"")
        .link("a/up", "../secret")
        .link("dangling", "not/there")
        .hard_link("a/twin", "secret")
        .entry(XHeader, b"pax", 0o644, b"", &record("path", &format!("{}/x", "y".repeat(150))))
        .file("short", "long name");
    let place = Place::new();
    place.unpack(&archive.bytes(), LIMITS).unwrap();
    let tree = snapshot(&place.around.path().join("tree"));
    let is = |path: &str, mode: u32, content: &str| {
        let (actual_mode, actual) = &tree[path];
        assert_eq!((actual_mode & 0o7777, actual.as_slice()), (mode, content.as_bytes()), "{path}");
    };
    is("a", 0o750, "");
    is("a/implied", 0o755, "");
    is("a/implied/file", 0o644, "content");
    is("secret", 0o400, "readable by its owner all the same");
    is("open", 0o777, "");
    is("a/up", 0o777, "../secret");
    is("dangling", 0o777, "not/there");
    is("a/twin", 0o400, "readable by its owner all the same");
    is(&format!("{}/x", "y".repeat(150)), 0o644, "long name");
    assert_eq!(tree.len(), 10);
    let modified = std::fs::metadata(place.around.path().join("tree/open")).unwrap().mtime();
    assert_eq!(modified, 1_700_000_000);
}

#[test]
fn the_digest_of_a_tree_sees_content_modes_and_links_and_nothing_else() {
    let base = || Archive::new().file("a", "1").program("b", "2").link("l", "a").directory("d");
    let digest_of = |archive: Archive| {
        let place = Place::new();
        place.unpack(&archive.bytes(), LIMITS).unwrap();
        digest(&place.around.path().join("tree"), true).unwrap()
    };
    let first = digest_of(base());
    let other_order = Archive::new().directory("d").link("l", "a").program("b", "2").file("a", "1");
    assert_eq!(digest_of(other_order), first);
    for (what, different) in [
        ("content", Archive::new().file("a", "x").program("b", "2").link("l", "a").directory("d")),
        ("mode", Archive::new().program("a", "1").program("b", "2").link("l", "a").directory("d")),
        ("link", Archive::new().file("a", "1").program("b", "2").link("l", "b").directory("d")),
        ("a file more", base().file("d/x", "")),
        ("an empty directory less", Archive::new().file("a", "1").program("b", "2").link("l", "a")),
        ("a file for a link", Archive::new().file("a", "1").program("b", "2").file("l", "a").directory("d")),
    ] {
        assert_ne!(digest_of(different), first, "{what}");
    }
}

#[test]
fn a_directory_becomes_a_baseline_by_the_same_rules() {
    let from = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(from.path().join("bin/deep")).unwrap();
    std::fs::write(from.path().join("bin/deep/x"), "x").unwrap();
    symlink("deep/x", from.path().join("bin/link")).unwrap();
    let place = Place::new();
    copy(from.path(), &place.around.path().join("tree"), LIMITS).unwrap();
    assert_eq!(snapshot(&place.around.path().join("tree")), snapshot(from.path()));

    symlink("/etc/passwd", from.path().join("bin/out")).unwrap();
    let place = Place::new();
    let refused = copy(from.path(), &place.around.path().join("tree"), LIMITS).unwrap_err().to_string();
    assert!(refused.contains("bin/out") && refused.contains("out of the tree"), "{refused}");
}

#[tokio::test]
async fn a_baseline_is_taken_once() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let again = agent::installer::adopt(
        &endpoint.data().join("installs"),
        &widget(),
        Version::new("2").unwrap(),
        2,
        &endpoint.path("baseline.tar"),
    );
    assert!(again.unwrap_err().to_string().contains("1.0.1 installed"));
    assert_eq!(endpoint.version().as_deref(), Some("1.0.1"));
}

/// Names that get in each other's way.
fn name() -> impl Strategy<Value = String> {
    let part =
        prop_oneof![Just("a"), Just("b"), Just("A"), Just(".."), Just("."), Just(""), Just("canary"), Just("tree")];
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn entries() -> impl Strategy<Value = Vec<(u8, String, String)>> {
    proptest::collection::vec((0u8..4, name(), name()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever the archive says: nothing outside changes, and whatever is a link leads inside.
    #[test]
    fn no_archive_reaches_outside(entries in entries()) {
        let archive = entries.iter().fold(Archive::new(), |archive, (kind, name, link)| match kind {
            0 => archive.file(name, "overwritten"),
            1 => archive.directory(name),
            2 => archive.link(name, link),
            _ => archive.hard_link(name, link),
        });
        let place = Place::new();
        let _ = place.unpack(&archive.bytes(), LIMITS);
        let root = std::fs::canonicalize(place.around.path().join("tree")).unwrap();
        for path in snapshot(&root).keys() {
            if let Ok(real) = std::fs::canonicalize(root.join(path)) {
                prop_assert!(real.starts_with(&root), "{path} leads to {}", real.display());
            }
        }
    }
}

/// Names that are bytes are bytes.
#[test]
fn the_support_writes_what_it_is_told() {
    let bytes = Archive::new().entry(Regular, b"\xff", 0o644, b"", b"").bytes();
    let mut archive = tar::Archive::new(&bytes[..]);
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(Path::new(std::ffi::OsStr::from_bytes(b"\xff")), entry.path().unwrap());
}

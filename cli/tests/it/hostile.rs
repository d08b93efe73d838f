//! Archives and packages that mean harm: refused by what is wrong with them, and nothing left behind.

use crate::archives::{ar, control, deb, directory, entry, entry_of, file, gzip, link, tar, xz, zstd};
use crate::hands::Hands;
use crate::packing::{left_behind, pack};
use cli::pack::limits::{LIMITS, Limits};
use std::io::Read as _;
use tar::EntryType;

/// Packs `bytes` and expects a refusal that says this, with nothing left behind.
#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, says: &str) {
    let hands = Hands::new();
    // Links and paths in the archives point here, if anywhere.
    hands.write("canary", "alive");
    hands.write("input", bytes);
    pack(&hands, "out", &["input"]).fails(1, says);
    assert_eq!(left_behind(&hands), ["canary", "input"]);
    assert_eq!(hands.read("canary"), b"alive");
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    for (path, says) in [
        ("../canary", "has `..` in its path"),
        ("a/../../canary", "has `..` in its path"),
        ("./..", "has `..` in its path"),
        ("/etc/passwd", "has an absolute path"),
        ("//etc/passwd", "has an absolute path"),
        ("", "has no name"),
        (".", "has no name"),
        ("a\u{1b}[2J", "has a name that is not plain UTF-8 text"),
        ("a\u{202e}gnp", "has a name that is not plain UTF-8 text"),
        ("a\nb", "has a name that is not plain UTF-8 text"),
    ] {
        refused(tar(&[file(path, 0o644, "x")]), says);
        refused(deb("evil", "1", "all", &[file(path, 0o644, "x")]), says);
    }
    refused(tar(&[entry_of(b"a\xff", EntryType::Regular, 0o644, "", b"x")]), "not plain UTF-8");
    refused(tar(&[directory("../x", 0o755)]), "has `..` in its path");
}

#[test]
fn links_that_leave_the_tree_are_refused() {
    for (path, target) in [
        ("a", "/canary"),
        ("a", "../canary"),
        ("d/a", "../../canary"),
        // Lexically inside, but `d` might be a link itself.
        ("a", "d/../../canary"),
        ("b/a", "../d/../x"),
        ("a", ""),
    ] {
        refused(tar(&[link(path, target)]), "which may lead out of the tree");
    }
    refused(tar(&[entry("a", EntryType::Link, 0o644, "../canary", b"")]), "has `..` in its path");
    refused(tar(&[entry("a", EntryType::Link, 0o644, "/canary", b"")]), "has an absolute path");
    refused(
        tar(&[entry("a", EntryType::Link, 0o644, "canary", b"")]),
        "is a hard link to \"canary\", which is no file",
    );
}

#[test]
fn nothing_is_written_through_a_link() {
    refused(tar(&[link("d", "e"), file("d/x", 0o644, "x")]), "is beneath \"d\", which is no directory");
    refused(tar(&[file("d/x", 0o644, "x"), link("d", "e")]), "is there already");
    refused(tar(&[link("d", "e"), directory("d", 0o755)]), "is there already");
    refused(tar(&[file("x", 0o644, "1"), file("x", 0o644, "2")]), "is there already");
    refused(tar(&[file("x", 0o644, "1"), file("./x", 0o755, "1")]), "is there already");
}

#[test]
fn devices_and_other_special_entries_are_refused() {
    for (kind, says) in [
        (EntryType::Char, "is a character device"),
        (EntryType::Block, "is a block device"),
        (EntryType::Fifo, "is a named pipe"),
        (EntryType::GNUSparse, "is a sparse file"),
        (EntryType::new(b'V'), "is a special entry"),
    ] {
        refused(tar(&[entry("x", kind, 0o644, "", b"")]), says);
    }
}

#[test]
fn a_directory_is_judged_like_an_archive() {
    let hands = Hands::new();
    hands.write("in/x", "x");
    std::os::unix::fs::symlink("/etc/passwd", hands.path("in/out")).unwrap();
    pack(&hands, "out", &["in"]).fails(1, "may lead out of the tree");
    std::fs::remove_file(hands.path("in/out")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(hands.path("in/socket")).unwrap();
    pack(&hands, "out", &["in"]).fails(1, "is a socket");
    assert_eq!(left_behind(&hands), ["in"]);
}

#[test]
fn extended_headers_are_bounded_and_cannot_contradict() {
    let name = |bytes: &[u8]| entry("././@LongLink", EntryType::GNULongName, 0, "", bytes);
    let raw = |bytes: &[u8]| entry("pax", EntryType::XHeader, 0, "", bytes);
    // Such a record counts its own length, digits included: two of them for all below.
    let record = |text: &str| format!("{} {text}\n", text.len() + 4).into_bytes();
    let pax = |text: &str| raw(&record(text));
    let x = || file("x", 0o644, "x");
    let extension = "has an extended header that is too large, malformed or contradicts it";
    refused(tar(&[name(&vec![b'a'; 100_000]), x()]), extension);
    refused(tar(&[name(b"a\0"), name(b"b\0"), x()]), extension);
    refused(tar(&[pax("size=9999"), x()]), extension);
    refused(tar(&[raw(b"rubbish\n"), x()]), extension);
    refused(tar(&[pax("path=../../canary"), x()]), "has `..` in its path");
    refused(tar(&[name(b"../canary\0"), x()]), "has `..` in its path");
    refused(tar(&[pax("GNU.sparse.major=1"), x()]), "is a sparse file");
    refused(tar(&[entry("pax", EntryType::XGlobalHeader, 0, "", &record("path=b")), x()]), extension);
    refused(tar(&[name(&[b"d/".repeat(2100), b"x\0".to_vec()].concat()), x()]), "has a path that is too long");
    refused(tar(&[name(&[vec![b'd'; 256], b"\0".to_vec()].concat()), x()]), "has a path that is too long");
}

#[test]
fn archives_that_break_off_are_refused() {
    let whole = tar(&[file("a", 0o644, &"a".repeat(2000)), file("b", 0o644, &"b".repeat(2000))]);
    for cut in [100, 600, 512 + 1024, 512 + 2048, 512 + 2048 + 512, whole.len() - 1024] {
        refused(&whole[..cut], "");
        refused(gzip(&whole[..cut]), "");
    }
    for compressed in [gzip(&whole), xz(whole.as_slice()), zstd(&whole)] {
        for part in [2, 3, 4] {
            refused(&compressed[..compressed.len() * (part - 1) / part], "not readable as an archive");
        }
    }
    let package = deb("a", "1", "all", &[file("a", 0o644, "a")]);
    for cut in [9, 60, 80, 200, package.len() / 2, package.len() - 8] {
        refused(&package[..cut], "");
    }
    refused(b"", "has no end");
    refused(b"not an archive at all, but long enough to be taken for one: no".repeat(20), "not readable as an archive");
}

#[test]
fn altered_archives_are_refused_or_mean_the_same_as_before() {
    let hands = Hands::new();
    let honest = deb("a", "1", "all", &[file("a", 0o644, "something")]);
    hands.write("honest", &honest);
    let expected = pack(&hands, "out", &["honest"]).done().json()["patch"].clone();
    for place in (0..honest.len()).step_by(5) {
        let mut altered = honest.clone();
        altered[place] ^= 1 << (place % 8);
        let hands = Hands::new();
        hands.write("altered", altered);
        let ran = pack(&hands, "out", &["altered"]);
        match ran.code {
            // A time stamp or an owner in an archive's header: left out of the patch anyway.
            0 => assert_eq!(ran.json()["patch"], expected, "byte {place}"),
            code => ran.fails(code, "error: "),
        }
    }
}

#[test]
fn packages_that_are_none_are_refused() {
    let data = || ("data.tar.xz", xz(tar(&[file("a", 0o644, "a")]).as_slice()));
    let control_of = |text: &str| ("control.tar.gz", gzip(&tar(&[file("./control", 0o644, text)])));
    let version = || ("debian-binary", b"2.0\n".to_vec());
    let good = || control_of(&control("a", "1", "all"));
    refused(ar(&[version(), data()]), "it has no control.tar");
    refused(ar(&[version(), good()]), "it has no data.tar");
    refused(ar(&[version(), good(), data(), data()]), "it has a member \"data.tar.xz\" too many");
    refused(ar(&[version(), good(), data(), ("extra", vec![])]), "it has a member \"extra\" too many");
    refused(ar(&[version(), good(), ("data.tar.bz2", vec![1])]), "compressed in a way this program does not read");
    refused(ar(&[version(), ("control.tar", tar(&[file("md5sums", 0o644, "")])), data()]), "has no file `control`");
    refused(ar(&[version(), control_of("Package: a\n"), data()]), "its control paragraph has no Version");
    for name in ["../../../canary", "A", "-a", "a/b", ""] {
        let says = if name.is_empty() { "has no Package" } else { "its name is not a package name" };
        refused(ar(&[version(), control_of(&control(name, "1", "all")), data()]), says);
    }
    refused(ar(&[("a-very-long-member-name-of-a-package", vec![])]), "members with extended names");
    let mut names = ar(&[version(), good(), data()]);
    // A name table that claims ten gigabytes.
    names.extend(format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "//", "", "", "", "", 9_999_999_999u64).into_bytes());
    refused(&names, "members with extended names");
    let member = |name: &str, size: u64| format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644);
    refused(["!<arch>\n", &member("data.tar", 9_999_999_999)].concat(), "is broken off: 0 of 9999999999 bytes");
    let many = (0..17).map(|_| member("_x", 0)).collect::<String>();
    refused(["!<arch>\n", &many].concat(), "it has more than 16 members");
}

/// Zeros without end, as far as anybody reads.
fn zeros(bytes: u64) -> impl std::io::Read {
    std::io::repeat(0).take(bytes)
}

#[test]
fn an_archive_that_grows_out_of_proportion_is_left() {
    let mut start = tar(&[file("a", 0o644, "")]);
    start.truncate(512);
    // A header that announces 1 GiB, then zeros: 150 KiB of xz.
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size(1 << 30);
    header.set_cksum();
    let bomb = xz(header.as_bytes().as_slice().chain(zeros(100 << 20)));
    assert!(bomb.len() < 100_000);
    refused(bomb, "decompresses to more than 67108864 bytes from");
}

#[test]
fn the_limits_of_a_tree_hold() {
    let small = Limits { tree_bytes_max: 1000, entries_max: 5, ..LIMITS };
    let problem = |entries: &[crate::archives::Entry]| {
        let hands = Hands::new();
        let input = hands.write("input", tar(entries));
        let error = cli::pack::pack(
            &[input],
            &hands.path("out"),
            small,
            cli::pack::Shape::Tree,
            cli::pack::Deltas::default(),
            |_| panic!("nothing to describe"),
        )
        .unwrap_err();
        assert_eq!(left_behind(&hands), ["input"]);
        error.to_string()
    };
    let files = |count: usize| (0..count).map(|n| file(&n.to_string(), 0o644, "")).collect::<Vec<_>>();
    assert!(problem(&files(6)).ends_with("is one more than the 5 a tree may have"));
    assert!(problem(&[file("a/b/c/d/e/f", 0o644, "")]).ends_with("is one more than the 5 a tree may have"));
    let large = file("a", 0o644, &"a".repeat(600));
    assert!(
        problem(&[large.clone(), file("b", 0o644, &"b".repeat(600))])
            .ends_with("makes the tree larger than 1000 bytes")
    );
    // A hard link is a file of its own in the packed tree, so it counts as one.
    assert!(problem(&[large, entry("b", EntryType::Link, 0o644, "a", b"")]).ends_with("larger than 1000 bytes"));
}

//! What archives from strangers try: one table, for every way in which one is unpacked.

use super::archive::Archive;
use tar::EntryType::{self, Block, Char, Directory, Fifo, GNUSparse, Link, Regular, Symlink, XGlobalHeader, XHeader};

/// An archive that must not be unpacked.
pub(crate) struct Trick {
    /// What it tries.
    pub(crate) what: &'static str,
    pub(crate) archive: Vec<u8>,
    /// What the refusal of a tree says of it.
    pub(crate) evidence: &'static str,
}

/// All of them; those that aim at a place outside aim at this one.
pub(crate) fn tricks(aim: &str) -> Vec<Trick> {
    let deep = format!("{}x", "a/".repeat(30));
    let pax = |records: &[u8]| Archive::new().entry(XHeader, b"pax", 0o644, b"", records).file("plain", "x");
    let all: Vec<(&'static str, Archive, &'static str)> = vec![
        ("climbs", Archive::new().file("../canary", "x"), "`..`"),
        ("climbs later", Archive::new().file("a/../../canary", "x"), "`..`"),
        ("absolute", Archive::new().file(aim, "x"), "absolute"),
        ("absolute directory", one(Directory, "/tmp/somewhere", 0o755, ""), "absolute"),
        ("through a link", Archive::new().link("d", "sub").file("d/x", "x"), "no directory"),
        ("through a link to the outside", Archive::new().link("d", "..").file("d/canary", "x"), "out of the tree"),
        ("over a link", Archive::new().link("x", "y").file("x", "x"), "twice"),
        ("link out", Archive::new().link("a/b", "../../canary"), "out of the tree"),
        ("link to an absolute place", Archive::new().link("a", aim), "out of the tree"),
        ("link that climbs after a link", Archive::new().link("l", ".").link("m", "l/../../canary"), "out of the tree"),
        ("link to nothing at all", Archive::new().link("a", ""), "out of the tree"),
        ("hard link out", Archive::new().hard_link("x", "../canary"), "`..`"),
        ("hard link to an absolute place", Archive::new().hard_link("x", aim), "absolute"),
        ("hard link to a link", Archive::new().link("l", "f").hard_link("x", "l"), "no file before it"),
        ("hard link to a directory", Archive::new().directory("d").hard_link("x", "d"), "no file before it"),
        ("hard link to what comes later", Archive::new().hard_link("x", "f").file("f", ""), "no file before it"),
        ("character device", one(Char, "null", 0o666, ""), "character device"),
        ("block device", one(Block, "sda", 0o666, ""), "block device"),
        ("named pipe", one(Fifo, "pipe", 0o666, ""), "named pipe"),
        ("sparse", one(GNUSparse, "sparse", 0o644, ""), "sparse"),
        ("unknown kind", one(EntryType::new(b'Z'), "z", 0o644, ""), "special entry"),
        ("directory with a content", Archive::new().entry(Directory, b"d/", 0o755, b"", &[0; 1024]), "only a file may"),
        ("link with a content", Archive::new().entry(Symlink, b"l", 0o777, b"f", b"x"), "only a file may"),
        (
            "hard link with a content",
            Archive::new().file("f", "x").entry(Link, b"h", 0o644, b"f", b"x"),
            "only a file may",
        ),
        ("file called like a directory", Archive::new().file("d/", "x"), "ends in `/`"),
        ("file called like a directory in a pax header", pax(&record("path", "d/")), "ends in `/`"),
        ("setuid", one(Regular, "su", 0o4755, ""), "setuid"),
        ("setgid directory", one(Directory, "sg", 0o2755, ""), "setuid"),
        ("twice", Archive::new().file("f", "1").file("f", "2"), "twice"),
        ("twice, written differently", Archive::new().file("a/f", "1").file("./a//f", "2"), "twice"),
        ("directory twice", Archive::new().directory("d").directory("d"), "twice"),
        ("file where a directory is", Archive::new().directory("d").file("d", ""), "twice"),
        ("beneath a file", Archive::new().file("f", "").file("f/g", ""), "no directory"),
        ("case", Archive::new().file("Readme", "").file("README", ""), "upper and lower case"),
        ("case of a directory", Archive::new().file("a/x", "").file("A/y", ""), "upper and lower case"),
        ("not UTF-8", Archive::new().entry(Regular, b"\xff\xfe", 0o644, b"", b""), "UTF-8"),
        ("escape sequence", Archive::new().file("a\x1b[2Jb", ""), "control characters"),
        ("link target not UTF-8", Archive::new().entry(Symlink, b"l", 0o777, b"\xff", b""), "UTF-8"),
        ("no name", one(Regular, ".", 0o644, ""), "no name"),
        ("nothing but slashes", one(Link, "./.", 0o644, "f"), "no name"),
        ("long name in a pax header", pax(&record("path", &"x".repeat(300))), "too long"),
        ("too deep", pax(&record("path", &format!("{}x", "a/".repeat(200)))), "too long"),
        ("pax path climbs", pax(&record("path", "../canary")), "`..`"),
        ("pax link out", pax_link(aim), "out of the tree"),
        ("pax size contradicts", pax(&record("size", "7")), "extended header"),
        ("pax path twice", pax(&[record("path", "a"), record("path", "b")].concat()), "extended header"),
        ("pax sparse", pax(&record("GNU.sparse.major", "1")), "sparse"),
        ("pax garbage", pax(b"99999 path=x"), "extended header"),
        ("pax too large", pax(&vec![b'x'; 70_000]), "extended header"),
        ("pax for nothing", Archive::new().entry(XHeader, b"pax", 0o644, b"", &record("path", "a")), "for no entry"),
        (
            "global path",
            Archive::new().entry(XGlobalHeader, b"pax", 0o644, b"", &record("path", "a")),
            "extended header",
        ),
        ("deep enough to be fine, then out", Archive::new().link(&deep, &"../".repeat(31)), "out of the tree"),
    ];
    let trick = |(what, archive, evidence): (_, Archive, _)| Trick { what, archive: archive.bytes(), evidence };
    all.into_iter().map(trick).collect()
}

/// An archive of one entry without content.
pub(crate) fn one(kind: EntryType, name: &str, mode: u32, link: &str) -> Archive {
    Archive::new().entry(kind, name.as_bytes(), mode, link.as_bytes(), b"")
}

/// `length key=value\n`, the length counting itself.
pub(crate) fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|length: &usize| *length == rest + length.to_string().len()).unwrap();
    format!("{length} {key}={value}\n").into_bytes()
}

fn pax_link(target: &str) -> Archive {
    Archive::new().entry(XHeader, b"pax", 0o644, b"", &record("linkpath", target)).link("l", "f")
}

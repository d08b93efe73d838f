//! Packing honest things: the same input gives the same patch, whatever it comes from.

use crate::archives::{control, deb, directory, entry, file, gzip, link, tar, xz, zstd};
use crate::hands::{Hands, Ran, mode, set_mode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use tar::EntryType;

const START: [&str; 12] = [
    "patch",
    "pack",
    "--product",
    "acme/hello",
    "--version",
    "1.0",
    "--release",
    "1",
    "--class",
    "feature",
    "--severity",
    "low",
];

pub(crate) fn pack(hands: &Hands, out: &str, more: &[&str]) -> Ran {
    hands.run(&[&START[..], &["--out", out, "-o", "json"], more].concat())
}

/// The packed tree: by path, kind with mode and target, and content.
fn unpacked(hands: &Hands, out: &str, packed: &Value) -> BTreeMap<String, (String, Vec<u8>)> {
    let blake3 = packed["artifacts"][0]["blake3"].as_str().unwrap();
    let bytes = hands.read(&format!("{out}/artifacts/{blake3}"));
    assert_eq!(ledger::id::Digest::blake3(&bytes).to_string(), blake3);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let target = entry.link_name().unwrap().map(|target| format!(" {}", target.display())).unwrap_or_default();
        let kind = format!("{:?} {:o}{target}", header.entry_type(), header.mode().unwrap());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, (kind, content))
    });
    entries.collect()
}

/// What both of the trees below contain.
fn expected() -> BTreeMap<String, (String, Vec<u8>)> {
    let long = format!("share/{}/{}", "long".repeat(25), "name".repeat(25));
    let parent = long.rsplit_once('/').unwrap().0.to_owned();
    let far = format!("../{}", "far".repeat(50));
    [
        ("bin/".to_owned(), "Directory 755", ""),
        ("bin/hello".to_owned(), "Regular 755", "hello"),
        ("bin/hi".to_owned(), "Symlink 777 ./hello", ""),
        ("bin/secret".to_owned(), "Regular 640", "s"),
        ("share/".to_owned(), "Directory 750", ""),
        ("share/away".to_owned(), &format!("Symlink 777 {far}"), ""),
        ("share/empty".to_owned(), "Regular 644", ""),
        (format!("{parent}/"), "Directory 755", ""),
        (long, "Regular 644", "deep"),
    ]
    .into_iter()
    .map(|(path, kind, content)| (path, (kind.to_owned(), content.as_bytes().to_vec())))
    .collect()
}

fn honest_tar() -> Vec<u8> {
    let long = format!("share/{}/{}", "long".repeat(25), "name".repeat(25));
    let far = format!("../{}", "far".repeat(50));
    let longname = |kind, name: &str| entry("././@LongLink", kind, 0, "", format!("{name}\0").as_bytes());
    tar(&[
        directory("./", 0o700),
        directory("./bin", 0o755),
        // Setuid is not kept.
        file("./bin/hello", 0o4755, "hello"),
        link("bin/hi", "./hello"),
        file("bin/secret", 0o640, "s"),
        directory("share/", 0o750),
        longname(EntryType::GNULongLink, &far),
        link("share/away", "shortened"),
        longname(EntryType::GNULongName, &long),
        file("shortened", 0o644, "deep"),
        file("share/empty", 0o644, ""),
    ])
}

fn honest_directory(hands: &Hands) {
    for (path, mode, content) in [
        ("in/bin/hello", 0o4755, "hello"),
        ("in/bin/secret", 0o640, "s"),
        ("in/share/empty", 0o644, ""),
        (&format!("in/share/{}/{}", "long".repeat(25), "name".repeat(25)), 0o644, "deep"),
    ] {
        set_mode(&hands.write(path, content), mode);
    }
    symlink("./hello", hands.path("in/bin/hi")).unwrap();
    symlink(format!("../{}", "far".repeat(50)), hands.path("in/share/away")).unwrap();
    for (path, mode) in [("in/bin", 0o755), ("in/share", 0o750), (&format!("in/share/{}", "long".repeat(25)), 0o755)] {
        set_mode(&hands.path(path), mode);
    }
}

#[test]
fn a_directory_and_every_kind_of_archive_of_it_are_one_patch() {
    let hands = Hands::new();
    honest_directory(&hands);
    let plain = honest_tar();
    hands.write("a.tar", &plain);
    hands.write("a.tar.gz", gzip(&plain));
    hands.write("a.tar.xz", xz(plain.as_slice()));
    hands.write("a.tar.zst", zstd(&plain));
    // It is what a file is that counts, not what it is called.
    hands.write("b.deb", &plain);
    let mut ids = std::collections::BTreeSet::new();
    for (place, input) in ["in", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.zst", "b.deb", "in"].iter().enumerate() {
        let out = format!("out-{place}");
        let packed = pack(&hands, &out, &[input]).done().json();
        assert_eq!(unpacked(&hands, &out, &packed), expected(), "{input}");
        ids.insert(packed["patch"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[test]
fn the_result_is_a_manifest_that_reads_back_exactly() {
    let hands = Hands::new();
    hands.write("a.tar", honest_tar());
    hands.write("notes.txt", "Two\nlines.\n");
    let more = [
        "--channel",
        "edge",
        "--advisory",
        "CVE-2026-0002",
        "--advisory",
        "CVE-2026-0001",
        "--title",
        "Hello",
        "--notes",
        "notes.txt",
        "--target",
        "os=linux,arch=x86_64,label:site=hamburg,from=0.9",
        "--target",
        "hardware=h1",
        "--depends",
        "acme/base=2..",
        "--conflicts",
        "acme/bye",
        "--supersedes",
        "acme/hey=1..3",
        "--service",
        "hello",
        "--reboot",
        "if-needed",
        "--health-command",
        "{tree}/bin/hello --say 'good day' \"\"",
        "--expect",
        "good day",
        "--health-tcp",
        "{port}",
        "--health-package",
        "hello=1:1.0-1",
        "--probe-timeout",
        "250",
        "--probe-attempts",
        "3",
        "--probe-interval",
        "2s",
        "a.tar",
    ];
    let packed = pack(&hands, "out", &more).done().json();
    let text = String::from_utf8(hands.read("out/manifest.json")).unwrap();
    let manifest: ledger::patch::PatchManifest = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest.id().to_string(), packed["patch"].as_str().unwrap());
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["advisories"], serde_json::json!(["CVE-2026-0001", "CVE-2026-0002"]));
    assert_eq!(json["notes"], "Two\nlines.\n");
    assert_eq!(json["targets"][0]["labels"], serde_json::json!([{"key": "site", "value": "hamburg"}]));
    assert_eq!(json["targets"][1]["hardware"], serde_json::json!(["h1"]));
    assert_eq!(json["conflicts"][0]["release_max"], u64::MAX);
    assert_eq!((&json["supersedes"][0]["release_min"], &json["supersedes"][0]["release_max"]), (&1.into(), &3.into()));
    let health = json["health"].as_array().unwrap();
    assert_eq!(health[0]["probe"]["package-version"]["version"], "1:1.0-1");
    assert_eq!(health[1]["probe"]["tcp"]["port"], "{port}");
    let command = serde_json::json!({"arguments": ["{tree}/bin/hello", "--say", "good day", ""], "expect": "good day"});
    assert_eq!(health[2]["probe"]["command"], command);
    assert_eq!(
        (&health[2]["timeout_ms"], &health[2]["attempts"], &health[2]["interval_ms"]),
        (&250.into(), &3.into(), &2000.into())
    );
    assert_eq!(mode(&hands.path("out")) & 0o700, 0o700);
}

#[test]
fn packages_become_one_tree_that_knows_their_versions() {
    let hands = Hands::new();
    let server = [
        directory("./", 0o755),
        directory("./usr/", 0o755),
        directory("./usr/bin/", 0o755),
        link("./usr/bin/hello-server", "hello-check"),
    ];
    let tools = [
        directory("./usr/", 0o755),
        directory("./usr/bin/", 0o755),
        file("./usr/bin/hello-check", 0o755, "check"),
        entry("./usr/bin/hello-again", EntryType::Link, 0o755, "./usr/bin/hello-check", b""),
    ];
    hands.write("server.deb", deb("hello-server", "1:1.0-1", "amd64", &server));
    hands.write("tools.deb", deb("hello-tools", "1:1.0-1+b1", "amd64", &tools));
    hands.write("doc.deb", deb("hello-doc", "1.0", "all", &[file("usr/share/doc/hello", 0o644, "doc")]));
    let packed = pack(&hands, "out", &["server.deb", "tools.deb", "doc.deb"]).done().json();
    let tree = unpacked(&hands, "out", &packed);
    assert_eq!(tree["usr/bin/hello-server"].0, "Symlink 777 hello-check");
    assert_eq!(tree["usr/bin/hello-check"], ("Regular 755".to_owned(), b"check".to_vec()));
    assert_eq!(tree["usr/bin/hello-again"], tree["usr/bin/hello-check"], "a hard link is a file of its own");
    let status = &tree["var/lib/dpkg/status.d/hello-tools"];
    assert_eq!(status, &("Regular 644".to_owned(), control("hello-tools", "1:1.0-1+b1", "amd64").into_bytes()));
    let names: Vec<&str> =
        packed["packages"].as_array().unwrap().iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["hello-doc", "hello-server", "hello-tools"]);
    assert_eq!(packed["packages"][2]["version"], "1:1.0-1+b1");
    // In whatever order they are given.
    let again = pack(&hands, "again", &["doc.deb", "tools.deb", "server.deb"]).done().json();
    assert_eq!(again["patch"], packed["patch"]);
}

#[test]
fn packages_for_hosts_with_a_package_manager_stay_as_they_are() {
    let hands = Hands::new();
    let package = |name: &str, version: &str| deb(name, version, "amd64", &[file("usr/bin/x", 0o755, version)]);
    for (path, name, version) in [("a.deb", "hello", "2"), ("b.deb", "libhello", "2"), ("old.deb", "hello", "1")] {
        hands.write(path, package(name, version));
    }
    let packed = pack(&hands, "out", &["--kind", "debian", "--rollback", "old.deb", "b.deb", "a.deb"]).done().json();
    let artifacts = packed["artifacts"].as_array().unwrap();
    let names: Vec<&str> = artifacts.iter().map(|artifact| artifact["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["hello.deb", "libhello.deb", "old-hello.deb"]);
    let stored = hands.path("out").join("artifacts").join(artifacts[0]["blake3"].as_str().unwrap());
    assert_eq!(fs::read(stored).unwrap(), package("hello", "2"));
    let manifest: Value = serde_json::from_slice(&fs::read(hands.path("out/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["installer"], "debian");
    let again = pack(&hands, "again", &["--kind", "debian", "--rollback", "old.deb", "a.deb", "b.deb"]).done().json();
    assert_eq!(again["patch"], packed["patch"]);
    let same = pack(&hands, "same", &["--kind", "debian", "--rollback", "a.deb", "a.deb"]);
    assert!(same.stderr.contains("is to be installed and to go back to"), "{}", same.stderr);
}

#[test]
fn an_image_stays_as_it_is_and_needs_a_restart() {
    let hands = Hands::new();
    let image = [&b"hsqs"[..], &[7; 5000]].concat();
    hands.write("image", image.clone());
    hands.write("no-image", b"hsq");
    let kind = ["--kind", "image-slot", "--reboot", "required"];
    let packed = pack(&hands, "out", &[&kind[..], &["image"]].concat()).done().json();
    let artifact = &packed["artifacts"][0];
    assert_eq!((artifact["name"].as_str(), artifact["size"].as_u64()), (Some("image.squashfs"), Some(5004)));
    assert_eq!(hands.read(&format!("out/artifacts/{}", artifact["blake3"].as_str().unwrap())), image);
    let manifest: Value = serde_json::from_slice(&hands.read("out/manifest.json")).unwrap();
    assert_eq!((&manifest["installer"], &manifest["reboot"]), (&"image-slot".into(), &"required".into()));
    for (what, arguments, said) in [
        ("never restarts", &["--kind", "image-slot", "image"][..], "an image runs when the host has restarted"),
        ("no image", &[&kind[..], &["no-image"]].concat(), "no-image is no squashfs image"),
        ("two", &[&kind[..], &["image", "image"]].concat(), "a slot takes one image, 2 are given"),
    ] {
        let ran = pack(&hands, "other", arguments);
        assert!(ran.stderr.contains(said) && !hands.path("other").exists(), "{what}: {}", ran.stderr);
    }
}

#[test]
fn a_container_image_is_packed_as_its_layout() {
    let hands = Hands::new();
    let (marker, index) = (r#"{"imageLayoutVersion":"1.0.0"}"#, r#"{"schemaVersion":2,"manifests":[]}"#);
    let blob = file("blobs/sha256/00", 0o600, "a blob, kept byte by byte");
    let layout = [file("index.json", 0o644, index), blob, file("oci-layout", 0o644, marker)];
    hands.write("image.tar", tar(&layout));
    for (path, content) in [("oci-layout", marker), ("index.json", index)] {
        hands.write(&format!("layout/{path}"), content);
    }
    hands.write("half/oci-layout", marker);
    let kind = ["--kind", "container"];
    let packed = pack(&hands, "out", &[&kind[..], &["image.tar"]].concat()).done().json();
    assert_eq!((packed["artifacts"][0]["name"].as_str(), packed["entries"].as_u64()), (Some("image.tar"), Some(5)));
    let manifest: Value = serde_json::from_slice(&hands.read("out/manifest.json")).unwrap();
    assert_eq!(&manifest["installer"], "container");
    let packed = pack(&hands, "of-a-directory", &[&kind[..], &["layout"]].concat()).done().json();
    assert_eq!(packed["entries"].as_u64(), Some(2));
    let ran = pack(&hands, "other", &[&kind[..], &["half"]].concat());
    assert!(ran.stderr.contains("there is no index.json in it") && !hands.path("other").exists(), "{}", ran.stderr);
}

#[test]
fn a_script_is_packed_with_its_program() {
    let hands = Hands::new();
    hands.write("script.tar", tar(&[file("run", 0o755, "#!/bin/sh\n"), file("settings", 0o644, "a = 1\n")]));
    hands.write("not-run.tar", tar(&[file("run", 0o644, "#!/bin/sh\n")]));
    let kind = ["--kind", "script"];
    let packed = pack(&hands, "out", &[&kind[..], &["script.tar"]].concat()).done().json();
    assert_eq!((packed["artifacts"][0]["name"].as_str(), packed["entries"].as_u64()), (Some("script.tar"), Some(2)));
    let manifest: Value = serde_json::from_slice(&hands.read("out/manifest.json")).unwrap();
    assert_eq!(&manifest["installer"], "script");
    let ran = pack(&hands, "other", &[&kind[..], &["not-run.tar"]].concat());
    assert!(ran.stderr.contains("has no program") && !hands.path("other").exists(), "{}", ran.stderr);
}

#[test]
fn a_package_whose_name_begins_like_one_to_go_back_to_is_none() {
    let hands = Hands::new();
    for (file, name) in [("a.deb", "old-fonts"), ("b.deb", "new-fonts"), ("c.deb", "fonts")] {
        hands.write(file, deb(name, "2", "all", &[]));
        hands.write(&format!("old-{file}"), deb(name, "1", "all", &[]));
    }
    let rollback = ["--rollback", "old-a.deb", "--rollback", "old-c.deb"];
    let packed =
        pack(&hands, "out", &[&["--kind", "debian", "a.deb", "b.deb", "c.deb"][..], &rollback].concat()).done().json();
    let names: Vec<_> =
        packed["artifacts"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let expected = ["fonts.deb", "new-new-fonts.deb", "new-old-fonts.deb", "old-fonts.deb", "old-old-fonts.deb"];
    assert_eq!(names, expected);
}

/// A header as rpm writes it: tags with text, and one with a number.
fn rpm_header(words: &[(u32, &str)], numbers: &[(u32, u32)]) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    let mut tag = |tag: u32, kind: u32, value: &[u8]| {
        let at = u32::try_from(store.len()).unwrap();
        [tag, kind, at, 1].iter().for_each(|number| index.extend_from_slice(&number.to_be_bytes()));
        store.extend_from_slice(value);
    };
    numbers.iter().for_each(|(number, value)| tag(*number, 4, &value.to_be_bytes()));
    words.iter().for_each(|(number, text)| tag(*number, 6, format!("{text}\0").as_bytes()));
    let (count, length) = (index.len() / 16, store.len());
    let lengths = [count, length].map(|number| u32::try_from(number).unwrap().to_be_bytes()).concat();
    [vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0], lengths, index, store].concat()
}

/// As much of an RPM package as packing reads.
fn rpm(name: &str, version: &str, more: &[(u32, &str)]) -> Vec<u8> {
    let mut lead = vec![0xed, 0xab, 0xee, 0xdb];
    lead.resize(96, 0);
    let mut signatures = rpm_header(&[(269, "abc")], &[]);
    signatures.resize(signatures.len().next_multiple_of(8), 0);
    let words = [&[(1000, name), (1001, version), (1002, "1"), (1022, "noarch")][..], more].concat();
    [lead, signatures, rpm_header(&words, &[(1003, 2)]), b"payload".to_vec()].concat()
}

#[test]
fn rpm_packages_stay_as_they_are() {
    let hands = Hands::new();
    let source = [(1044, "hello.src.rpm")];
    for (path, name, version) in [("a.rpm", "hello", "2"), ("b.rpm", "libhello", "2"), ("old.rpm", "hello", "1")] {
        hands.write(path, rpm(name, version, &source));
    }
    let packed = pack(&hands, "out", &["--kind", "rpm", "--rollback", "old.rpm", "b.rpm", "a.rpm"]).done().json();
    let names: Vec<_> =
        packed["artifacts"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["hello.rpm", "libhello.rpm", "old-hello.rpm"]);
    assert_eq!(packed["packages"][0]["version"], "2:2-1");
    let manifest: Value = serde_json::from_slice(&fs::read(hands.path("out/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["installer"], "rpm");

    hands.write("source.rpm", rpm("hello", "2", &[]));
    hands.write("odd.rpm", rpm("../hello", "2", &source));
    hands.write("cut.rpm", &rpm("hello", "2", &source)[..150]);
    let mut large = rpm("hello", "2", &source);
    large[104..108].copy_from_slice(&u32::MAX.to_be_bytes());
    hands.write("large.rpm", large);
    hands.write("a.deb", deb("hello", "2", "all", &[]));
    for (input, code, says) in [
        ("source.rpm", 1, "it is a source package"),
        ("odd.rpm", 1, "is no name"),
        ("cut.rpm", 1, "not readable as an RPM package"),
        ("large.rpm", 1, "not readable as an RPM package"),
        ("a.deb", 2, "a.deb is no RPM package"),
    ] {
        pack(&hands, "new", &["--kind", "rpm", input]).fails(code, says);
        assert!(!hands.path("new").exists());
    }
}

#[test]
fn no_byte_of_an_rpm_package_is_taken_at_its_word() {
    let hands = Hands::new();
    let honest = rpm("hello", "2", &[(1044, "hello.src.rpm")]);
    let identify = |bytes: &[u8]| {
        let input = hands.write("a.rpm", bytes);
        let enough = |_| Err(cli::pack::PackError::Inputs("enough was read".to_owned()));
        let format = cli::pack::PackageFormat::Rpm;
        cli::pack::pack_packages(
            &[input],
            &[],
            &hands.path("out"),
            format,
            cli::pack::LIMITS,
            cli::pack::Deltas::default(),
            enough,
        )
        .unwrap_err()
    };
    assert_eq!(identify(&honest).to_string(), "enough was read");
    for place in 0..honest.len() {
        // Whatever it says then, it says it; and a package that is cut off says that.
        for byte in [0, 0x7f, 0x80, 0xff, honest[place] ^ 1] {
            let mut changed = honest.clone();
            changed[place] = byte;
            identify(&changed);
        }
        let is_whole = place >= honest.len() - b"payload".len();
        assert_eq!(identify(&honest[..place]).to_string() == "enough was read", is_whole, "{place}");
    }
}

#[test]
fn what_no_agent_puts_in_place_is_not_packed_into_a_file_set() {
    let hands = Hands::new();
    let files =
        |name: &str, entry: crate::archives::Entry| hands.write(name, tar(&[file("etc/acme/a", 0o644, "a"), entry]));
    files("link.tar", link("etc/acme/b", "a"));
    files("agents.tar", file("etc/acme/.countersign-a", 0o644, "a"));
    files("group.tar", directory("etc/acme/new.d", 0o775));
    for (input, says) in [
        ("link.tar", "link.tar: entry \"etc/acme/b\" is a link"),
        ("agents.tar", "entry \"etc/acme/.countersign-a\" has a name that agents use themselves"),
        ("group.tar", "entry \"etc/acme/new.d\" is a directory that others may change (mode 0775)"),
    ] {
        pack(&hands, "out", &["--kind", "file-set", input]).fails(1, says);
        assert!(!hands.path("out").exists());
    }
    pack(&hands, "out", &["link.tar"]).done();
}

#[test]
fn a_file_set_is_packed_as_a_tree_is() {
    let hands = Hands::new();
    for directory in ["set", "set/etc", "set/etc/acme"] {
        fs::create_dir(hands.path(directory)).unwrap();
        set_mode(&hands.path(directory), 0o755);
    }
    hands.write("set/etc/acme/main.conf", "release = 1");
    let packed = pack(&hands, "out", &["--kind", "file-set", "set"]).done().json();
    assert_eq!(packed["artifacts"][0]["name"], "files.tar");
    assert!(unpacked(&hands, "out", &packed).contains_key("etc/acme/main.conf"));
}

#[test]
fn directories_that_packages_share_allow_what_both_allow_in_any_order() {
    let hands = Hands::new();
    hands.write("a.deb", deb("a", "1", "all", &[directory("etc", 0o755), file("etc/a", 0o644, "a")]));
    hands.write("b.deb", deb("b", "1", "all", &[directory("etc", 0o750), file("etc/b", 0o644, "b")]));
    hands.write("c.deb", deb("c", "1", "all", &[file("etc/c", 0o644, "c")]));
    let first = pack(&hands, "1", &["a.deb", "b.deb", "c.deb"]).done().json();
    let second = pack(&hands, "2", &["c.deb", "b.deb", "a.deb"]).done().json();
    assert_eq!(unpacked(&hands, "1", &first)["etc/"].0, "Directory 750");
    assert_eq!(first["patch"], second["patch"]);
}

#[test]
fn packages_that_do_not_go_together_are_refused() {
    let hands = Hands::new();
    hands.write("a.deb", deb("a", "1", "amd64", &[file("etc/x", 0o644, "a")]));
    hands.write("b.deb", deb("b", "1", "amd64", &[file("etc/x", 0o644, "b")]));
    hands.write("c.deb", deb("c", "1", "arm64", &[file("etc/c", 0o644, "c")]));
    hands.write("d.deb", deb("d", "1", "all", &[file("etc/x/y", 0o644, "d")]));
    pack(&hands, "out", &["a.deb", "b.deb"]).fails(1, "b.deb: entry \"etc/x\" is there already, with other content");
    pack(&hands, "out", &["a.deb", "c.deb"]).fails(1, "c.deb: for arm64, the packages before it are for amd64");
    pack(&hands, "out", &["a.deb", "d.deb"]).fails(1, "is beneath \"etc/x\", which is no directory");
    pack(&hands, "out", &["a.deb", "a.deb"]).fails(2, "package a is given twice");
    hands.write("t.tar", honest_tar());
    pack(&hands, "out", &["a.deb", "t.tar"]).fails(2, "t.tar is no Debian package");
    assert_eq!(left_behind(&hands), ["a.deb", "b.deb", "c.deb", "d.deb", "t.tar"]);
}

#[test]
fn what_is_there_is_not_overwritten_and_nothing_is_packed_into_itself() {
    let hands = Hands::new();
    honest_directory(&hands);
    hands.write("out/precious", "precious");
    pack(&hands, "out", &["in"]).fails(2, "out exists");
    assert_eq!(hands.read("out/precious"), b"precious");
    pack(&hands, "in/out", &["in"]).fails(2, "in/out is inside in");
    pack(&hands, "in/share/out", &["in"]).fails(2, "is inside in");
    pack(&hands, "absent/out", &["in"]).fails(2, "cannot read directory absent");
    pack(&hands, "new", &["absent"]).fails(2, "cannot read input absent");
    fs::create_dir(hands.path("empty")).unwrap();
    pack(&hands, "new", &["empty"]).fails(1, "there is nothing in empty");
}

#[test]
fn what_the_manifest_cannot_hold_is_named() {
    let hands = Hands::new();
    hands.write("a.tar", honest_tar());
    hands.write("large.txt", "x".repeat(16 * 1024 + 1));
    let title = "x".repeat(513);
    let many = ["--service"; 17].iter().enumerate().flat_map(|(n, option)| [(*option).to_owned(), format!("s{n}")]);
    let many: Vec<String> = many.collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["a.tar"]).collect();
    for (more, says) in [
        (vec!["--title", &title, "a.tar"], "--title: 513 bytes of text, at most 512 allowed"),
        (vec!["--title", "a\u{1b}[2J", "a.tar"], "--title: control character U+001B in text"),
        (vec!["--notes", "large.txt", "a.tar"], "at most 16384 bytes"),
        (vec!["--target", "cpu=x", "a.tar"], "is none of os, arch, hardware, from, label:NAME"),
        (vec!["--target", "linux", "a.tar"], "is not key=value"),
        (vec!["--health-command", "say 'hi", "a.tar"], "a quote is not closed"),
        (vec!["--health-command", " ", "a.tar"], "no program"),
        (vec!["--health-package", "hello", "a.tar"], "expected name=version"),
        (vec!["--health-tcp", "99999", "a.tar"], "\"99999\" is no port: 1 to 65535, or {NAME}"),
        (vec!["--health-tcp", "0", "a.tar"], "is no port"),
        (vec!["--health-tcp", "db.example:5432", "a.tar"], "it is a port of the host itself"),
        (vec!["--health-tcp", "{Port}", "a.tar"], "is no port"),
        (vec!["--depends", "acme/x=3..2", "a.tar"], "relation to acme/x has its smallest release after its largest"),
        (vec!["--kind", "firmware", "a.tar"], "invalid value 'firmware'"),
        (vec!["--kind", "script", "a.tar"], "a.tar has no program \"run\""),
        (vec!["--kind", "container", "a.tar"], "a.tar is no OCI image layout: there is no oci-layout in it"),
        (vec!["--kind", "rpm", "a.tar"], "a.tar is no RPM package"),
        (vec!["--kind", "debian", "a.tar"], "a.tar is no Debian package"),
        (vec!["--rollback", "a.deb", "a.tar"], "--rollback belongs to --kind debian and --kind rpm"),
        (vec!["--expect", "x", "a.tar"], "--health-command"),
        (vec!["--probe-attempts", "3", "a.tar"], "--health"),
        (vec!["--health-command", "a", "--health-command", "b", "--expect", "c", "a.tar"], "belongs to one"),
        (many, "--service: 17 elements, at most 16 allowed"),
    ] {
        let ran = pack(&hands, "out", &more);
        assert!(ran.code > 0);
        ran.fails(ran.code, says);
        assert!(!hands.path("out").exists());
    }
}

#[test]
fn a_disk_that_fails_is_the_one_that_is_named() {
    let hands = Hands::new();
    hands.write("large.tar", tar(&[file("a", 0o644, &"a".repeat(600_000))]));
    hands.write("large.deb", deb("large", "1", "all", &[file("a", 0o644, "a")]));
    let program = env!("CARGO_BIN_EXE_countersign");
    for (kind, blocks, input) in [("directory-tree", 100, "large.tar"), ("debian", 0, "large.deb")] {
        // Writing beyond the limit fails as on a full disk: the shell takes the signal away.
        let words = [&START[..], &["--kind", kind, "--out", "out", input]].concat().join(" ");
        let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} {words}");
        let ran = hands.run_program(std::path::Path::new("/bin/sh"), &["-c", &line]);
        ran.is(
            2,
            "",
            "error: cannot pack into out\n  because: File too large (os error 27)\n\
             hint: no file may be so large there: choose another disk, or raise the limit\n",
        );
        assert_eq!(left_behind(&hands), ["large.deb", "large.tar"]);
    }
}

#[test]
fn whoever_interrupts_packing_finds_nothing_left() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let hands = Hands::new();
        let pipe = hands.path("input");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut packing = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args([&START[..], &["--out", "out", "input"]].concat())
            .current_dir(hands.path("."))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Opened as soon as somebody reads: then packing has begun, and waits for the input.
        let _input = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        assert_eq!(left_behind(&hands).len(), 2, "the input, and what was begun");
        kill_process(Pid::from_child(&packing), signal).unwrap();
        assert_eq!(packing.wait().unwrap().code(), Some(code));
        let mut said = String::new();
        packing.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "interrupted: nothing of what was begun is left\n");
        assert_eq!(left_behind(&hands), ["input"]);
    }
}

/// What is in the working directory, hidden or not.
pub(crate) fn left_behind(hands: &Hands) -> Vec<String> {
    let entries = fs::read_dir(hands.path(".")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

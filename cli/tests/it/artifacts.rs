//! Artifacts to where hosts can fetch them, and deltas that make less of them.

use crate::archives::{ar, control, file, gzip, tar};
use crate::double::Node;
use crate::hands::Hands;
use crate::packing::{left_behind, pack};
use crate::publishing;
use ledger::artifact::{PAIR_BYTES, shelf_path, tree_bytes};
use ledger::id::Digest;
use ledger::limits::ARTIFACTS_MAX;
use serde_json::Value;
use std::io::Read as _;

/// Much of it as in every release.
fn release(number: u32) -> Vec<u8> {
    let content: String = (0..40_000).map(|line| format!("{:08}\n", line * 7919 % 100_003)).collect();
    tar(&[file("data", 0o644, &content), file("version", 0o644, &number.to_string())])
}

fn artifact(packed: &Value, place: usize) -> (String, Digest, u64) {
    let artifact = &packed["artifacts"][place];
    let blake3 = artifact["blake3"].as_str().unwrap().parse().unwrap();
    (artifact["name"].as_str().unwrap().to_owned(), blake3, artifact["size"].as_u64().unwrap())
}

/// Two releases, the second with a delta from the first.
fn two(hands: &Hands) -> (Value, Value) {
    hands.write("1.tar", release(1));
    hands.write("2.tar", release(2));
    let first = pack(hands, "one", &["1.tar"]).done().json();
    (first, pack(hands, "two", &["2.tar", "--delta-from", "one"]).done().json())
}

#[test]
fn a_delta_makes_the_payload_before_it_out_of_the_earlier_one() {
    let hands = Hands::new();
    let (first, second) = two(&hands);
    assert_eq!(second["artifacts"].as_array().unwrap().len(), 2);
    let ((_, old, _), (name, new, size)) = (artifact(&first, 0), artifact(&second, 0));
    let (delta_name, delta, delta_size) = artifact(&second, 1);
    assert_eq!(second["artifacts"][1]["delta_from"], old.to_string());
    assert!(delta_name.starts_with(&format!("{name}.delta-")), "{delta_name}");
    assert!(delta_size < size / 20, "{delta_size} of {size}");

    let payload = |out: &str, blake3: Digest| hands.read(&format!("{out}/artifacts/{blake3}"));
    let (base, frame) = (payload("one", old), payload("two", delta));
    let mut decoder = zstd::stream::read::Decoder::with_ref_prefix(frame.as_slice(), &base).unwrap();
    decoder.window_log_max(size.ilog2() + 1).unwrap();
    let mut made = Vec::new();
    decoder.read_to_end(&mut made).unwrap();
    assert_eq!(made, payload("two", new));

    // The same again is the same; and without it, it is another patch.
    let again = pack(&hands, "again", &["2.tar", "--delta-from", "one", "--delta-from", "one"]).done().json();
    assert_eq!(again["patch"], second["patch"]);
    assert_ne!(pack(&hands, "whole", &["2.tar"]).done().json()["patch"], second["patch"]);
}

#[test]
fn a_compressed_payload_is_a_delta_from_nothing() {
    let hands = Hands::new();
    two(&hands);
    let packed = pack(&hands, "compressed", &["2.tar", "--compress"]).done().json();
    let ((name, new, size), (compressed, delta, delta_size)) = (artifact(&packed, 0), artifact(&packed, 1));
    assert_eq!(packed["artifacts"][1]["delta_from"], Digest::blake3(b"").to_string());
    assert_eq!(compressed, format!("{name}.zst"));
    assert!(delta_size < size / 2, "{delta_size} of {size}");
    let payload = |blake3: Digest| hands.read(&format!("compressed/artifacts/{blake3}"));
    assert_eq!(zstd::decode_all(payload(delta).as_slice()).unwrap(), payload(new), "as zstd itself reads it");

    // Beside a delta from an earlier one, and behind it.
    let both = pack(&hands, "both", &["2.tar", "--compress", "--delta-from", "one"]).done().json();
    assert_eq!((artifact(&both, 2).1, both["artifacts"].as_array().unwrap().len()), (delta, 3));
}

/// A patch has so many artifacts at most: what has no place is left out, not the patch refused.
#[test]
fn of_more_packages_than_have_places_the_last_ones_are_not_compressed() {
    let hands = Hands::new();
    let content = "much of the same, and again\n".repeat(400);
    let plain = |name: &str| {
        let control = tar(&[file("./control", 0o644, &control(name, "1", "all"))]);
        let data = tar(&[file(&format!("usr/share/{name}"), 0o644, &content)]);
        ar(&[("debian-binary", b"2.0\n".to_vec()), ("control.tar.gz", gzip(&control)), ("data.tar", data)])
    };
    let names: Vec<String> = (10..48).map(|number| format!("part-{number}")).collect();
    let files: Vec<String> = (0..names.len()).map(|number| format!("{number}.deb")).collect();
    files.iter().zip(&names).for_each(|(file, name)| drop(hands.write(file, plain(name))));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let packed = pack(&hands, "all", &[&["--kind", "debian", "--compress"], &files[..]].concat()).done().json();
    let artifacts = packed["artifacts"].as_array().unwrap();
    let beside = artifacts.iter().filter(|artifact| artifact["delta_from"].is_string()).count();
    assert_eq!((artifacts.len(), beside), (ARTIFACTS_MAX, ARTIFACTS_MAX - names.len()));
    assert_eq!(std::fs::read_dir(hands.path("all/artifacts")).unwrap().count(), ARTIFACTS_MAX);
}

#[test]
fn a_delta_that_saves_nothing_is_left_out() {
    let hands = Hands::new();
    let (first, _) = two(&hands);
    // From nothing that it has anything of, and from itself.
    let noise = |seed: u64| -> Vec<u8> {
        (0..3000_u64).flat_map(|block| Digest::blake3(&[seed, block].map(u64::to_le_bytes).concat()).0).collect()
    };
    for (out, seed) in [("a", 1), ("b", 2)] {
        hands.write(&format!("{out}.bin"), noise(seed));
        std::fs::create_dir(hands.path(&format!("{out}-in"))).unwrap();
        hands.write(&format!("{out}-in/noise"), noise(seed));
    }
    pack(&hands, "a", &["a-in"]).done();
    let b = pack(&hands, "b", &["--delta-from", "a", "b-in"]).done().json();
    assert_eq!(b["artifacts"].as_array().unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(hands.path("b/artifacts")).unwrap().count(), 1);
    let same = pack(&hands, "same", &["--delta-from", "one", "1.tar"]).done().json();
    assert_eq!(same["patch"], first["patch"]);
    // What it starts from is no packed patch.
    let before = left_behind(&hands);
    pack(&hands, "none", &["--delta-from", "a-in", "b-in"]).fails(2, "manifest.json");
    assert_eq!(left_behind(&hands), before);
}

#[test]
fn what_was_packed_is_laid_out_as_a_mirror_has_it() {
    let hands = Hands::new();
    let (_, second) = two(&hands);
    let export = ["artifact", "export", "--packed", "two", "--out", "mirror", "-o", "json"];
    let exported = hands.run(&export).done().json();
    assert_eq!(exported["patch"], second["patch"]);
    for place in 0..2 {
        let (_, blake3, size) = artifact(&second, place);
        let path = format!("mirror/{}", shelf_path(&blake3));
        assert_eq!(hands.read(&path), hands.read(&format!("two/artifacts/{blake3}")));
        let tree = hands.read(&format!("{path}.tree"));
        assert_eq!(tree.len() as u64, tree_bytes(size));
        if let Some(root) = tree.get(..PAIR_BYTES as usize) {
            // The pair at the top hashes to the digest: protocol.md 7.4.
            let half = |at: usize| -> [u8; 32] { root[at..at + 32].try_into().unwrap() };
            use bao_tree::blake3::hazmat::{Mode, merge_subtrees_root};
            assert_eq!(merge_subtrees_root(&half(0), &half(32), Mode::Hash).as_bytes(), &blake3.0);
        }
        assert_eq!(exported["artifacts"][place]["copied"], true);
    }
    // What is there stays; what was cut off is made anew.
    let (_, blake3, size) = artifact(&second, 0);
    let path = hands.path(&format!("mirror/{}", shelf_path(&blake3)));
    std::fs::File::options().write(true).open(&path).unwrap().set_len(size - 1).unwrap();
    let again = hands.run(&export).done().json();
    assert_eq!((&again["artifacts"][0]["copied"], &again["artifacts"][1]["copied"]), (&true.into(), &false.into()));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
}

#[test]
fn what_a_node_has_is_checked_on_the_way() {
    let node = Node::start();
    let hands = node.hands();
    let packed = publishing::pack(&hands, "1");
    hands.run(&["patch", "publish", "packed-1", "--key", "vendor.key"]).done();
    let (_, blake3, _) = artifact(&packed, 0);
    let patch = packed["patch"].as_str().unwrap();
    let export = ["artifact", "export", patch, "--out", "mirror"];
    hands.run(&export).done();
    let path = format!("mirror/{}", shelf_path(&blake3));
    assert_eq!(hands.read(&path), hands.read(&format!("packed-1/artifacts/{blake3}")));

    node.spoil(&blake3.to_string());
    hands.run(&export).done();
    std::fs::remove_file(hands.path(&path)).unwrap();
    hands.run(&export).fails(1, "tree.tar: ");
    let left = std::fs::read_dir(hands.path(&path).parent().unwrap()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, [format!("{blake3}.tree")], "nothing that is not right has a name");
}

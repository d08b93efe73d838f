//! What the source of the workspace must not contain: ways around the one door and the one predicate.

use std::path::{Path, PathBuf};

/// Every Rust file of the workspace, but for this one. The judges of the fuzz targets are a workspace of their own:
/// they check the predicate and the trees in another way, which is what they are for.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut open, mut files) = (vec![root], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let called = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !called.starts_with('.') && !matches!(called.as_str(), "target" | "out" | "fuzz") {
                open.push(path);
            } else if called.ends_with(".rs") && !path.ends_with("ledger/tests/suite/source.rs") {
                // A neighbour may be renaming the file just now.
                if let Ok(text) = std::fs::read_to_string(&path) {
                    files.push((path, text));
                }
            }
        }
    }
    assert!(files.len() > 40, "the workspace was found");
    files
}

/// Where a word stands in the code, comments apart.
fn places(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if code.into_iter().any(|line| line.contains(word)) {
            let shown = path.to_string_lossy().replace('\\', "/");
            found.push(shown.rsplit("/../").next().unwrap_or(&shown).to_owned());
        }
    }
    found.sort();
    found
}

/// Sentence 1.20: predicates that accept other sets of signatures are reachable from nowhere.
#[test]
fn the_signature_predicate_has_one_place() {
    assert_eq!(places("verify_strict("), ["ledger/src/key.rs"]);
    assert_eq!(places("ed25519_dalek"), ["ledger/src/key.rs", "ledger/src/key/tests.rs"]);
    for way_around in ["verify_batch", "verify_prehashed", "raw_verify", "legacy_compatibility"] {
        let elsewhere: Vec<_> =
            places(way_around).into_iter().filter(|file| file != "ledger/src/key/tests.rs").collect();
        assert!(elsewhere.is_empty(), "{way_around} stands in {elsewhere:?}");
    }
}

/// Sentence 1.1: all ledger bytes go through one door.
#[test]
fn the_codec_has_one_place() {
    assert_eq!(places("bincode::"), ["ledger/src/encoding.rs"]);
}

/// Sentence 4.5: the library's verifier is never asked about a proof.
#[test]
fn the_librarys_merkle_verifier_is_not_used() {
    for word in ["MerkleProof", "rs_merkle"] {
        let places = places(word);
        // The plan of the house names the library to say who may know it.
        let allowed = ["ledger/src/merkle.rs", "ledger/tests/suite/block_tree.rs", "tests/architecture.rs"];
        let allowed = |file: &String| allowed.contains(&file.as_str());
        assert!(places.iter().all(allowed), "{word} stands in {places:?}");
    }
    let merkle = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/merkle.rs")).unwrap();
    assert!(!merkle.contains("MerkleProof"));
}

#[test]
fn the_manifest_leaves_the_dangerous_feature_off() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for manifest in ["Cargo.toml", "ledger/Cargo.toml"] {
        let text = std::fs::read_to_string(root.join(manifest)).unwrap();
        assert!(!text.contains("legacy_compatibility"), "{manifest}");
    }
}

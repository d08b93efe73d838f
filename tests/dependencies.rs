//! What is depended on, against `deny.toml`: no crate with a known vulnerability or without a keeper, none under a licence
//! that is not named there, and no exception that nothing needs any more.

#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use rustsec::{Advisory, Lockfile};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of the RustSec database, beside the clone where there is one.
const ADVISORIES: &str = "../shared/data/advisories/rustsec-advisory-db.tar.gz";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// `deny.toml`.
fn law() -> toml::Table {
    std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

#[test]
fn nothing_has_a_known_vulnerability_but_what_is_excused_and_every_excuse_is_needed() {
    let Ok(archive) = File::open(root().join(ADVISORIES)) else {
        return tests::left_out(&["advisories"], "there is no copy of the advisories beside the clone");
    };
    let unpacked = tempfile::tempdir().unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(unpacked.path()).unwrap();
    let lockfile = Lockfile::load(root().join("Cargo.lock")).unwrap();
    let (mut found, mut read) = (BTreeSet::new(), 0);
    for package in &lockfile.packages {
        let known = unpacked.path().join("crates").join(package.name.as_str());
        for entry in std::fs::read_dir(known).into_iter().flatten() {
            let path = entry.unwrap().path();
            // The copy has names of hosts taken out, which makes some of its addresses none.
            let text =
                std::fs::read_to_string(&path).unwrap().replace("https://the package registry", "https://example.org");
            let advisory: Advisory = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            read += 1;
            if advisory.metadata.withdrawn.is_none() && advisory.versions.is_vulnerable(&package.version) {
                found.insert(advisory.metadata.id.to_string());
            }
        }
    }
    assert!(read > 20, "{read} advisories: this is no database of them");

    let excuses = law()["advisories"]["ignore"].as_array().unwrap().clone();
    assert!(excuses.iter().all(|excuse| excuse["reason"].as_str().is_some_and(|reason| reason.len() > 20)));
    let excused: BTreeSet<String> = excuses.iter().map(|excuse| excuse["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, excused, "found on the left, excused on the right");
}

#[test]
fn every_licence_is_one_of_those_that_are_named() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let law = law();
    let allowed: Vec<&str> =
        law["licenses"]["allow"].as_array().unwrap().iter().map(|licence| licence.as_str().unwrap()).collect();
    let (mut used, mut wrong) = (BTreeSet::new(), Vec::new());
    let packages = metadata["packages"].as_array().unwrap();
    for package in packages {
        let said = package["license"].as_str().unwrap_or_default();
        let expression = spdx::Expression::parse_mode(said, spdx::ParseMode::LAX);
        let is_allowed = |expression: spdx::Expression| {
            expression.evaluate(|required| {
                let name = required.to_string();
                let is_allowed = allowed.contains(&name.as_str());
                used.extend(is_allowed.then_some(name));
                is_allowed
            })
        };
        if !expression.is_ok_and(is_allowed) {
            wrong.push(format!("{}: {said:?}", package["name"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(packages.len() > 300, "{} packages", packages.len());
    let unused: Vec<_> = allowed.iter().filter(|licence| !used.contains(**licence)).collect();
    assert!(unused.is_empty(), "nothing is under {unused:?}");
}

//! What the artifact store keeps, asked directly: nothing counts as whole that is not.

use crate::support::world::{digests, payload};
use ledger::id::Digest;
use node::artifacts::{ArtifactError, Artifacts};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Not a whole number of groups.
const LENGTH: usize = 200_000;

fn store() -> (TempDir, Artifacts) {
    let directory = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(directory.path().join("artifacts")).unwrap();
    (directory, artifacts)
}

/// Everything that lies in a store.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

fn keep(artifacts: &Artifacts, bytes: &[u8]) -> Digest {
    let known = digests(bytes);
    let mut incoming = artifacts.receive(known.blake3, known.size).unwrap();
    incoming.write(bytes).unwrap();
    artifacts.keep(incoming).unwrap();
    known.blake3
}

fn encoded(artifacts: &Artifacts, blake3: &Digest) -> Vec<u8> {
    let mut encoding = Vec::new();
    artifacts.encode(blake3, 0, 0, &mut encoding).unwrap();
    encoding
}

#[test]
fn sizes_around_the_edges_of_groups_go_in_and_come_out() {
    let (_here, from) = store();
    let (_there, to) = store();
    for length in [1, 1_023, 1_024, 1_025, 16_383, 16_384, 16_385, 32_768, 49_153, LENGTH] {
        let bytes = payload(length as u64, length);
        let blake3 = keep(&from, &bytes);
        to.decode(blake3, length as u64, encoded(&from, &blake3).as_slice()).unwrap();
        assert_eq!(to.size(&blake3).unwrap(), Some(length as u64), "{length} bytes");
        assert_eq!(encoded(&to, &blake3), encoded(&from, &blake3), "{length} bytes");
    }
}

#[test]
fn a_forged_byte_anywhere_in_a_transfer_leaves_nothing() {
    let (_here, from) = store();
    let blake3 = keep(&from, &payload(1, LENGTH));
    let encoding = encoded(&from, &blake3);
    let mut dice = tests::Dice::new(2);
    for _ in 0..60 {
        let (directory, to) = store();
        let mut forged = encoding.clone();
        let place = usize::try_from(dice.below(forged.len() as u64)).unwrap();
        forged[place] ^= 1 << dice.below(8);
        let error = to.decode(blake3, LENGTH as u64, forged.as_slice()).unwrap_err();
        assert!(matches!(error, ArtifactError::Forged(digest) if digest == blake3), "byte {place}: {error}");
        assert_eq!((to.size(&blake3).unwrap(), files(directory.path())), (None, Vec::new()), "byte {place}");
    }
}

#[test]
fn a_transfer_that_ends_early_leaves_nothing() {
    let (_here, from) = store();
    let blake3 = keep(&from, &payload(1, LENGTH));
    let encoding = encoded(&from, &blake3);
    for cut in [0, 1, 63, 64, 1_000, 20_000, encoding.len() - 1] {
        let (directory, to) = store();
        assert!(to.decode(blake3, LENGTH as u64, &encoding[..cut]).is_err());
        assert_eq!((to.size(&blake3).unwrap(), files(directory.path())), (None, Vec::new()), "cut at {cut}");
    }
}

#[test]
fn an_artifact_of_another_size_or_digest_is_refused() {
    let (directory, artifacts) = store();
    let bytes = payload(3, LENGTH);
    let known = digests(&bytes);
    let short = artifacts.receive(known.blake3, known.size + 1).unwrap();
    assert!(matches!(artifacts.keep(short), Err(ArtifactError::Length { actual: 0, .. })));
    let mut long = artifacts.receive(known.blake3, known.size - 1).unwrap();
    assert!(matches!(long.write(&bytes), Err(ArtifactError::Length { .. })));
    drop(long);
    let mut other = artifacts.receive(Digest::blake3(b"other"), known.size).unwrap();
    other.write(&bytes).unwrap();
    let error = artifacts.keep(other).unwrap_err();
    assert!(matches!(error, ArtifactError::Digest { actual, .. } if actual == known.blake3), "{error}");
    assert_eq!(files(directory.path()), Vec::<String>::new());
}

/// Bytes that rot on the disk are not served: the transfer ends before the first false group.
#[test]
fn what_rots_on_the_disk_is_not_served() {
    let (directory, artifacts) = store();
    let blake3 = keep(&artifacts, &payload(4, LENGTH));
    let name = blake3.to_string();
    let path = directory.path().join("artifacts").join(&name[..2]).join(&name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut encoding = Vec::new();
    assert!(artifacts.encode(&blake3, 0, 0, &mut encoding).is_err());
    assert!(encoding.len() < 100_000 + 16_384);
    let (_there, to) = store();
    assert!(to.decode(blake3, LENGTH as u64, encoding.as_slice()).is_err());
}

#[test]
fn what_was_half_there_is_gone_after_opening_again() {
    let (directory, artifacts) = store();
    let mut incoming = artifacts.receive(Digest::blake3(b"never whole"), 100).unwrap();
    incoming.write(b"half of it").unwrap();
    // As a crash would: nobody cleans up.
    std::mem::forget(incoming);
    assert_eq!(files(directory.path()).len(), 1);
    Artifacts::open(directory.path().join("artifacts")).unwrap();
    assert_eq!(files(directory.path()), Vec::<String>::new());
}

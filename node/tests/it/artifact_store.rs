//! What the artifact store keeps, asked directly: nothing counts as whole that is not.

use crate::support::LEFT_FREE_BYTES;
use crate::support::world::{digests, payload};
use ledger::bounded::Name;
use ledger::id::Digest;
use node::artifacts::{ArtifactError, ArtifactLimits, Artifacts};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Not a whole number of groups.
const LENGTH: usize = 200_000;

fn store() -> (TempDir, Artifacts) {
    let directory = tempfile::tempdir().unwrap();
    let artifacts = open(directory.path(), ArtifactLimits::default());
    (directory, artifacts)
}

pub(crate) fn open(directory: &Path, limits: ArtifactLimits) -> Artifacts {
    let limits = ArtifactLimits { left_free_bytes_max: LEFT_FREE_BYTES, ..limits };
    Artifacts::open(directory.join("artifacts"), limits).unwrap()
}

pub(crate) fn vendor() -> Name {
    Name::new("vendor").unwrap()
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

/// Stores for an organisation.
fn keep_for(artifacts: &Artifacts, organisation: &Name, bytes: &[u8]) -> Result<Digest, ArtifactError> {
    let known = digests(bytes);
    let mut incoming = artifacts.receive(organisation, known.blake3, known.size)?;
    incoming.write(bytes)?;
    artifacts.keep(incoming)?;
    Ok(known.blake3)
}

pub(crate) fn keep(artifacts: &Artifacts, bytes: &[u8]) -> Digest {
    keep_for(artifacts, &vendor(), bytes).unwrap()
}

fn decode(to: &Artifacts, blake3: Digest, length: usize, encoding: &[u8]) -> Result<(), ArtifactError> {
    to.decode(to.receive(&vendor(), blake3, length as u64)?, encoding)
}

pub(crate) fn encoded(artifacts: &Artifacts, blake3: &Digest) -> Vec<u8> {
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
        decode(&to, blake3, length, &encoded(&from, &blake3)).unwrap();
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
        let error = decode(&to, blake3, LENGTH, &forged).unwrap_err();
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
        let error = decode(&to, blake3, LENGTH, &encoding[..cut]).unwrap_err();
        // Nobody lied who was cut off.
        assert!(matches!(error, ArtifactError::Broken(_)), "cut at {cut}: {error}");
        assert_eq!((to.size(&blake3).unwrap(), files(directory.path())), (None, Vec::new()), "cut at {cut}");
    }
}

#[test]
fn an_artifact_of_another_size_or_digest_is_refused() {
    let (directory, artifacts) = store();
    let bytes = payload(3, LENGTH);
    let known = digests(&bytes);
    let short = artifacts.receive(&vendor(), known.blake3, known.size + 1).unwrap();
    assert!(matches!(artifacts.keep(short), Err(ArtifactError::Length { actual: 0, .. })));
    let mut long = artifacts.receive(&vendor(), known.blake3, known.size - 1).unwrap();
    assert!(matches!(long.write(&bytes), Err(ArtifactError::Length { .. })));
    drop(long);
    let mut other = artifacts.receive(&vendor(), Digest::blake3(b"other"), known.size).unwrap();
    other.write(&bytes).unwrap();
    let error = artifacts.keep(other).unwrap_err();
    assert!(matches!(error, ArtifactError::Digest { actual, .. } if actual == known.blake3), "{error}");
    assert_eq!(files(directory.path()), Vec::<String>::new());
}

/// There is nothing between a whole artifact and none: a node that lost a part of one fetches it anew.
#[test]
fn what_was_cut_off_on_the_disk_is_not_there() {
    let (directory, artifacts) = store();
    let bytes = payload(4, LENGTH);
    let blake3 = keep(&artifacts, &bytes);
    let name = blake3.to_string();
    let path = directory.path().join("artifacts").join(&name[..2]).join(&name);
    for cut in [path.clone(), path.with_extension("tree")] {
        let whole = fs::read(&cut).unwrap();
        fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(artifacts.size(&blake3).unwrap(), None, "{}", cut.display());
        assert!(matches!(artifacts.encode(&blake3, 0, 0, Vec::new()), Err(ArtifactError::Absent(_))));
        assert_eq!(keep(&artifacts, &bytes), blake3);
        assert_eq!(artifacts.size(&blake3).unwrap(), Some(LENGTH as u64), "kept anew");
    }
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
    let error = artifacts.encode(&blake3, 0, 0, &mut encoding).unwrap_err();
    assert!(matches!(error, ArtifactError::Damaged { place: 98_304, .. }), "{error}");
    assert!(encoding.len() < 100_000 + 16_384);
    let (_there, to) = store();
    assert!(decode(&to, blake3, LENGTH, &encoding).is_err());
}

#[test]
fn what_was_half_there_is_gone_after_opening_again() {
    let (directory, artifacts) = store();
    let mut incoming = artifacts.receive(&vendor(), Digest::blake3(b"never whole"), 100).unwrap();
    incoming.write(b"half of it").unwrap();
    // As a crash would: nobody cleans up.
    std::mem::forget(incoming);
    assert_eq!(files(directory.path()).len(), 1);
    open(directory.path(), ArtifactLimits::default());
    assert_eq!(files(directory.path()), Vec::<String>::new());
}

/// Room for two artifacts of one organisation, and for three altogether.
const ROOM: ArtifactLimits = ArtifactLimits {
    bytes_max: 3 * LENGTH as u64 + 10,
    per_organisation_bytes_max: 2 * LENGTH as u64 + 10,
    left_free_bytes_max: LEFT_FREE_BYTES,
};

#[test]
fn an_organisation_has_its_quota_and_the_others_have_theirs() {
    let directory = tempfile::tempdir().unwrap();
    let artifacts = open(directory.path(), ROOM);
    let bank = Name::new("bank").unwrap();
    for seed in 0..2 {
        keep_for(&artifacts, &vendor(), &payload(seed, LENGTH)).unwrap();
    }
    // The same once more takes no more room, when there is room to take it in.
    assert_eq!(artifacts.held_by(&vendor()), 2 * LENGTH as u64);
    let before = files(directory.path());
    let error = keep_for(&artifacts, &vendor(), &payload(2, LENGTH)).unwrap_err();
    let (held, most) = (2 * LENGTH as u64, ROOM.per_organisation_bytes_max);
    assert!(
        matches!(&error, ArtifactError::Quota { organisation, held: h, bytes, most: m }
            if *organisation == vendor() && (*h, *bytes, *m) == (held, LENGTH as u64, most)),
        "{error}"
    );
    assert_eq!(files(directory.path()), before);
    keep_for(&artifacts, &bank, &payload(3, LENGTH)).unwrap();
    let error = keep_for(&artifacts, &bank, &payload(4, LENGTH)).unwrap_err();
    assert!(matches!(error, ArtifactError::Full { held, .. } if held == 3 * LENGTH as u64), "{error}");

    // A restart forgets nothing of it.
    drop(artifacts);
    let artifacts = open(directory.path(), ROOM);
    assert_eq!((artifacts.held_by(&vendor()), artifacts.held_by(&bank)), (2 * LENGTH as u64, LENGTH as u64));
    assert!(matches!(keep_for(&artifacts, &vendor(), &payload(2, LENGTH)), Err(ArtifactError::Quota { .. })));
}

/// Room is promised when the first byte comes, and given back when the last does not.
#[test]
fn what_is_on_its_way_counts_until_it_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let artifacts = open(directory.path(), ROOM);
    let bytes = payload(1, LENGTH);
    let known = digests(&bytes);
    // The same artifact comes three times at once: there is room for two.
    let on_the_way = || artifacts.receive(&vendor(), known.blake3, known.size);
    let mut coming: Vec<_> = (0..2).map(|_| on_the_way().unwrap()).collect();
    assert!(matches!(on_the_way(), Err(ArtifactError::Quota { .. })));
    drop(coming.pop());
    coming.push(on_the_way().unwrap());
    for mut incoming in coming {
        incoming.write(&bytes).unwrap();
        artifacts.keep(incoming).unwrap();
    }
    assert_eq!(artifacts.held_by(&vendor()), LENGTH as u64, "stored twice, it takes room once");
    // Failed transfers give everything back.
    assert!(decode(&artifacts, Digest::blake3(b"other"), LENGTH, &bytes).is_err());
    assert_eq!(artifacts.held_by(&vendor()), LENGTH as u64);
}

/// More than the disk has is refused before a byte of it is written.
#[test]
fn what_the_disk_has_no_room_for_is_refused_at_once() {
    let (directory, artifacts) = {
        let directory = tempfile::tempdir().unwrap();
        let (bytes_max, per_organisation_bytes_max) = (u64::MAX, u64::MAX);
        let limits = ArtifactLimits { bytes_max, per_organisation_bytes_max, ..ArtifactLimits::default() };
        let artifacts = open(directory.path(), limits);
        (directory, artifacts)
    };
    let error = artifacts.receive(&vendor(), Digest::blake3(b"large"), 1 << 60).map(drop).unwrap_err();
    assert!(matches!(error, ArtifactError::DiskFull { bytes, left_free, .. } if bytes == 1 << 60 && left_free > 0));
    assert_eq!((files(directory.path()), artifacts.held_by(&vendor())), (Vec::new(), 0));
}

//! The one door for ledger bytes: what it lets in, and everything it does not (sentences 1.1
//! to 1.11).

use crate::support::key;
use crate::support::samples::*;
use crate::support::world::World;
use crate::vectors::{Vectors, write_vectors};
use ledger::artifact::SignedUploadGrant;
use ledger::block::{Block, Header};
use ledger::bounded::{Argument, List, Notes};
use ledger::certificate::Certificate;
use ledger::encoding::{Canonical, DecodeError, decode, encode};
use ledger::genesis::Genesis;
use ledger::inventory::{Inventory, SignedInventoryRead, SignedInventoryReport};
use ledger::invitation::SignedInvitation;
use ledger::limits;
use ledger::patch::PatchManifest;
use ledger::proof::ProofBundle;
use ledger::state::Record;
use ledger::transaction::SignedTransaction;
use ledger::validators::ValidatorSet;

/// Bytes with the type they are of, as one function that goes in and out again.
struct Example {
    file: String,
    bytes: Vec<u8>,
    read: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    limit: usize,
}

fn example<T: Canonical>(file: impl Into<String>, bytes: &[u8]) -> Example {
    let read = |bytes: &[u8]| decode::<T>(bytes).map(|value| encode(&value));
    Example { file: file.into(), bytes: bytes.to_vec(), read, limit: T::LIMIT.bytes() }
}

/// Every type with a door, with every golden file of it.
fn examples() -> Vec<Example> {
    let Vectors { files, .. } = write_vectors();
    let manifest = encode(&full_manifest("acme/redis", 7));
    let mut examples = vec![
        example::<PatchManifest>("a manifest", &manifest),
        example::<Genesis>("genesis", &files["genesis.bin"]),
        example::<ValidatorSet>("validators", &files["validator-set.bin"]),
        example::<Header>("header", &files["header.bin"]),
        example::<Certificate>("certificate", &files["certificate.bin"]),
        example::<Block>("block", &files["block.bin"]),
        example::<SignedUploadGrant>("grant", &files["upload-grant.bin"]),
        example::<SignedInvitation>("invitation", &files["invitation.bin"]),
        example::<Inventory>("inventory", &files["inventory.bin"]),
        example::<SignedInventoryReport>("inventory report", &files["inventory-report.bin"]),
        example::<SignedInventoryRead>("inventory read", &files["inventory-read.bin"]),
        example::<ProofBundle>("proof", &files["proofs/approved.proof"]),
        example::<ProofBundle>("proof", &files["proofs/epochs.proof"]),
    ];
    for (file, bytes) in &files {
        if file.starts_with("transactions/") {
            examples.push(example::<SignedTransaction>(file, bytes));
        } else if file.starts_with("records/") {
            examples.push(example::<Record>(file, bytes));
        }
    }
    examples
}

#[test]
fn golden_bytes_go_in_and_out_unchanged() {
    for Example { file, bytes, read, .. } in examples() {
        assert_eq!(read(&bytes).as_ref(), Ok(&bytes), "{file}");
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    for Example { file, bytes, read, .. } in examples() {
        for more in [&[0][..], &[1], &[0xff], &[0; 8], &bytes] {
            let refused = read(&[&bytes, more].concat());
            let trailing = matches!(refused, Err(DecodeError::Trailing { extra, .. }) if extra == more.len());
            assert!(trailing || matches!(refused, Err(DecodeError::TooLarge { .. })), "{file}: {refused:?}");
        }
    }
}

#[test]
fn bytes_cut_anywhere_are_refused() {
    for Example { file, bytes, read, .. } in examples() {
        for end in 0..bytes.len() {
            let refused = read(&bytes[..end]);
            assert!(matches!(refused, Err(DecodeError::Malformed { .. })), "{file} cut at {end}: {refused:?}");
        }
    }
}

#[test]
fn bytes_before_the_beginning_are_refused() {
    for Example { file, bytes, read, .. } in examples() {
        for pad in 1..9 {
            let padded = [&vec![0; pad][..], &bytes].concat();
            assert_ne!(read(&padded), Ok(bytes.clone()), "{file} behind {pad} zeros");
        }
    }
}

/// The heart of "canonical": whatever gets in, comes out as the very same bytes. An alteration is
/// another value or nothing at all, never a second spelling.
#[test]
fn no_value_has_two_encodings() {
    for Example { file, bytes, read, .. } in examples() {
        for place in 0..bytes.len() {
            for value in [0, 1, 2, 0xff, bytes[place] ^ 1, bytes[place].wrapping_add(1)] {
                let mut altered = bytes.clone();
                altered[place] = value;
                if let Ok(again) = read(&altered) {
                    assert_eq!(again, altered, "{file}, byte {place} is {value}");
                }
            }
        }
    }
}

/// Sentence 1.5: lengths are believed only as far as bytes are there. Reserving memory for one of
/// these claims would abort the process; being alive at the end is the assertion.
#[test]
fn claims_of_great_length_reserve_nothing() {
    let claims = [u64::MAX, 1 << 62, 1 << 40, u64::from(u32::MAX), 70_000];
    for Example { file, bytes, read, .. } in examples() {
        for place in 0..bytes.len().saturating_sub(8) {
            for claim in claims {
                let mut altered = bytes.clone();
                altered[place..place + 8].copy_from_slice(&claim.to_le_bytes());
                if let Ok(again) = read(&altered) {
                    assert_eq!(again, altered, "{file}, {claim} at {place}");
                }
            }
        }
    }
}

#[test]
fn nine_byte_bombs_are_refused_at_every_door() {
    let mut bombs = vec![vec![0xff; 9], vec![0; 9], vec![0xfd; 9], vec![0xfe; 9], vec![0xfc; 9], vec![0xff; 8]];
    for marker in [0xfb, 0xfc, 0xfd, 0xfe, 0xff] {
        bombs.push([&[marker][..], &u64::MAX.to_le_bytes()].concat());
        bombs.push([&[marker][..], &(u64::MAX / 2 + 1).to_le_bytes()].concat());
        bombs.push([&u64::MAX.to_le_bytes()[..], &[marker]].concat());
    }
    for Example { file, read, .. } in examples() {
        for bomb in &bombs {
            assert!(read(bomb).is_err(), "{file}: {bomb:02x?}");
        }
    }
}

#[test]
fn over_the_limit_is_refused_before_it_is_read() {
    for Example { file, bytes, read, limit } in examples() {
        let long = [&bytes[..], &vec![0; limit + 1]].concat();
        let refused = read(&long[..limit + 1]);
        assert!(matches!(refused, Err(DecodeError::TooLarge { actual, .. }) if actual == limit + 1), "{file}");
        assert!(matches!(read(&long[..limit]), Err(DecodeError::Trailing { .. })), "{file} at the limit is read");
    }
}

#[test]
fn noise_is_refused_without_harm() {
    let mut chance = crate::support::Chance(2);
    let examples = examples();
    for _ in 0..4_000 {
        let example = &examples[chance.below(examples.len())];
        let noise: Vec<u8> = (0..1 + chance.below(40)).flat_map(|_| chance.bytes()).collect();
        assert!((example.read)(&noise).is_err());
        // The beginning of something real, then noise.
        let kept = chance.below(example.bytes.len());
        let mixed = [&example.bytes[..kept], &noise].concat();
        if let Ok(again) = (example.read)(&mixed) {
            assert_eq!(again, mixed, "{}", example.file);
        }
    }
}

/// A well-signed publish of exactly this many bytes.
fn of_size(world: &mut World, bytes: usize) -> SignedTransaction {
    let check = |arguments: &[usize]| ledger::patch::HealthCheck {
        probe: ledger::patch::Probe::Command {
            arguments: List::new(arguments.iter().map(|n| Argument::new("x".repeat(*n)).unwrap()).collect()).unwrap(),
            expect: None,
        },
        timeout_ms: 1,
        attempts: 1,
        interval_ms: 1,
    };
    let mut with = |last: [usize; 4]| {
        let checks = [vec![check(&[1_000; 3]); 15], vec![check(&last)]].concat();
        let manifest = PatchManifest {
            notes: Notes::new("n".repeat(limits::NOTES_BYTES_MAX)).unwrap(),
            health: List::new(checks).unwrap(),
            ..manifest("acme/redis", 1)
        };
        world.body(publish(&manifest)).sign(&key("acme/publisher"))
    };
    let missing = bytes - encode(&with([0; 4])).len();
    let quarter = missing / 4;
    with([quarter, quarter, quarter, missing - 3 * quarter])
}

#[test]
fn a_transaction_of_exactly_the_limit_goes_through_and_no_larger_one() {
    let mut world = World::new();
    let (limit, chain) = (limits::TRANSACTION_BYTES_MAX, world.chain());
    let fits = of_size(&mut world, limit);
    assert_eq!(encode(&fits).len(), limit);
    let verified = SignedTransaction::verify_bytes(&encode(&fits), &chain).unwrap();
    assert_eq!(fits.verify(&chain).unwrap(), verified);
    world.block(vec![verified]);
    let too_large = of_size(&mut world, limit + 1);
    let refused = DecodeError::TooLarge { name: "transaction", actual: limit + 1, limit };
    assert_eq!(decode::<SignedTransaction>(&encode(&too_large)), Err(refused.clone()));
    assert_eq!(too_large.verify(&chain).unwrap_err(), refused.into());
}

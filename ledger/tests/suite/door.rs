//! The one door for ledger bytes: what it lets in, and everything it does not (sentences of
//! section 2).

use crate::support::samples::*;
use crate::support::world::World;
use crate::support::{key, name};
use crate::vectors::{Vectors, write_vectors};
use ledger::artifact::SignedUploadGrant;
use ledger::block::{Block, Header};
use ledger::bounded::{Argument, BoundError, List, Name, Notes, Product, Sentence, SortedList, Text, Version};
use ledger::certificate::Certificate;
use ledger::encoding::{Canonical, DecodeError, decode, encode};
use ledger::genesis::Genesis;
use ledger::limits;
use ledger::patch::{Label, PatchManifest};
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

/// Sentence 2.12: lengths are believed only as far as bytes are there. Reserving memory for one of
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

#[test]
fn texts_are_bounded_and_plain() {
    let long = |bytes: usize| "x".repeat(bytes);
    assert!(Notes::new(long(limits::NOTES_BYTES_MAX)).is_ok() && Notes::new(long(limits::NOTES_BYTES_MAX + 1)).is_err());
    assert!(Sentence::new(long(512)).is_ok() && Sentence::new(long(513)).is_err());
    assert!(Version::new(long(128)).is_ok() && Version::new(long(129)).is_err());
    assert_eq!(Text::<3>::new("äö"), Err(BoundError::TextTooLong { actual: 4, limit: 3 }), "bytes, not characters");
    assert!(Sentence::new("two\nlines, größer, ≤, 漢字").is_ok());
    for control in ["\0", "\t", "\r", "\x1b[2J", "\x7f", "\u{80}", "\u{9b}31m"] {
        assert!(matches!(Sentence::new(control), Err(BoundError::ControlCharacter(_))), "{control:?}");
    }
    assert_eq!(Text::<5>::cut("aä\tbcd").as_str(), "aä b", "cut at a character, control characters are spaces");
}

#[test]
fn names_and_products_are_spelled_in_one_way() {
    for good in ["a", "0", "acme", "redis-7.0", "x86_64", "g++", "a:b", &"n".repeat(64)] {
        assert!(Name::new(good).is_ok(), "{good}");
    }
    for bad in ["", "A", "Acme", "-a", ".", "..", "_x", "a b", "a/b", "ä", "a\n", "a\0", &"n".repeat(65)] {
        assert!(Name::new(bad).is_err(), "{bad:?}");
    }
    for good in ["a/b", "acme/redis-server"] {
        assert!(Product::new(good).is_ok(), "{good}");
    }
    for bad in ["", "a", "/", "a/", "/b", "a/b/c", "A/b", "a/B", "a/.b", "a//b"] {
        assert!(Product::new(bad).is_err(), "{bad:?}");
    }
    let product = Product::new("acme/redis").unwrap();
    assert_eq!((product.namespace(), product.name()), (name("acme"), name("redis")));
}

#[test]
fn lists_are_bounded_and_sets_ascend() {
    assert_eq!(List::<u8, 2>::new(vec![1, 2, 3]), Err(BoundError::ListTooLong { actual: 3, limit: 2 }));
    let set = SortedList::<u8, 3>::new(vec![3, 1, 2, 1]).unwrap();
    assert_eq!(set[..], [1, 2, 3]);
    let labels = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (name(key), name(value))).collect();
        encode(&pairs)
    };
    // Labels ascend by key, then by value; equal keys with different values are two labels.
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Labels(SortedList<Label, 16>);
    impl Canonical for Labels {
        const NAME: &'static str = "labels";
        const LIMIT: ledger::encoding::Limit = ledger::encoding::Limit::Message;
    }
    assert!(decode::<Labels>(&labels(&[("a", "x"), ("a", "y"), ("b", "a")])).is_ok());
    for bad in [&[("b", "a"), ("a", "x")][..], &[("a", "y"), ("a", "x")], &[("a", "x"), ("a", "x")]] {
        let refused = decode::<Labels>(&labels(bad)).unwrap_err();
        assert_eq!(refused.to_string(), "labels: malformed: list is not strictly ascending");
    }
    // Ascending means by bytes, a shorter one first.
    assert!(decode::<Labels>(&labels(&[("a", "x"), ("a-b", "x"), ("ab", "x")])).is_ok());
}

#[test]
fn a_genesis_that_contradicts_itself_is_refused() {
    use crate::support::world::{genesis, organisation, validator_set};
    use ledger::genesis::GenesisError;
    use ledger::state::record::{KeyStatus, Role};
    let with = |change: fn(&mut Genesis)| {
        let mut genesis = genesis();
        change(&mut genesis);
        genesis.build().map(|block| block.chain_id)
    };
    assert!(with(|_| {}).is_ok());
    assert_eq!(with(|genesis| genesis.version = 2), Err(GenesisError::Version(2)));
    let twice = with(|genesis| {
        let more = [organisation("north", &[("third approver", Role::Approver, KeyStatus::Active)])];
        genesis.organisations = SortedList::new(genesis.organisations.iter().cloned().chain(more).collect()).unwrap();
    });
    assert_eq!(twice, Err(GenesisError::DuplicateOrganisation(name("north"))));
    let shared = with(|genesis| {
        let mut copy = organisation("west", &[]);
        copy.name = name("zenith");
        genesis.organisations = SortedList::new(genesis.organisations.iter().cloned().chain([copy]).collect()).unwrap();
    });
    assert!(matches!(shared, Err(GenesisError::DuplicateKey(_))));
    let two_roles = with(|genesis| {
        let mut organisations = genesis.organisations.to_vec();
        let mut keys = organisations[0].keys.to_vec();
        keys.push(ledger::state::record::MemberKey { role: Role::Governor, ..keys[0].clone() });
        organisations[0].keys = SortedList::new(keys).unwrap();
        genesis.organisations = SortedList::new(organisations).unwrap();
    });
    assert!(matches!(two_roles, Err(GenesisError::DuplicateKey(_))));
    let namespace = with(|genesis| {
        let mut organisations = genesis.organisations.to_vec();
        organisations[2].namespaces = names(&["acme"]);
        genesis.organisations = SortedList::new(organisations).unwrap();
    });
    assert_eq!(namespace, Err(GenesisError::DuplicateNamespace(name("acme"))));
    let stranger = with(|genesis| genesis.validators = validator_set(&["acme", "north", "mallory"]));
    assert!(matches!(stranger, Err(GenesisError::StrangeValidator { .. })));
    let retired = with(|genesis| {
        let mut organisations = genesis.organisations.to_vec();
        let keys = organisations[0].keys.iter().cloned().map(|mut member| {
            if member.role == Role::Validator {
                member.status = KeyStatus::Retired;
            }
            member
        });
        organisations[0].keys = SortedList::new(keys.collect()).unwrap();
        genesis.organisations = SortedList::new(organisations).unwrap();
    });
    assert!(matches!(retired, Err(GenesisError::StrangeValidator { .. })));
    let unsound = with(|genesis| {
        let mut rules = genesis.rules.to_vec();
        rules[1].quorum.organisations = 0;
        genesis.rules = List::new(rules).unwrap();
    });
    assert_eq!(unsound, Err(GenesisError::UnsoundRule(name("standard"))));
    let large = with(|genesis| {
        let many: Vec<String> = (0..16).map(|n| format!("{}-{n}", "x".repeat(60))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let rule = ledger::approval::ApprovalRule {
            approvers: names(&many),
            namespaces: names(&many),
            quorum: ledger::approval::Quorum { approvals: 1, organisations: 1 },
            ..genesis.rules[0].clone()
        };
        genesis.rules = List::new(vec![rule; limits::APPROVAL_RULES_MAX]).unwrap();
    });
    assert!(matches!(large, Err(GenesisError::Record(DecodeError::TooLarge { .. }))), "rules no node could read back");
}

#[test]
fn an_empty_validator_set_or_a_double_key_in_a_genesis_file_is_refused() {
    use ledger::genesis::GenesisError;
    use ledger::validators::ValidatorSetError;
    let genesis = crate::support::world::genesis();
    let (bytes, set) = (genesis.bytes(), encode(&genesis.validators));
    let place = bytes.windows(set.len()).position(|window| window == set).unwrap();
    let with = |set: &[u8]| Genesis::parse(&[&bytes[..place], set, &bytes[place + set_len(&bytes[place..])..]].concat());
    fn set_len(bytes: &[u8]) -> usize {
        encode(&crate::support::world::genesis().validators).len().min(bytes.len())
    }
    assert!(with(&set).is_ok());
    assert_eq!(with(&encode(&Vec::<u8>::new())).unwrap_err(), GenesisError::Validators(ValidatorSetError::Empty));
    let first = &genesis.validators.validators()[0];
    let twice = encode(&vec![(first.key, name("a")), (first.key, name("b"))]);
    assert_eq!(with(&twice).unwrap_err(), GenesisError::Validators(ValidatorSetError::DuplicateKey(first.key)));
}

#[test]
fn an_upload_grant_is_for_its_chain_until_it_expires() {
    use ledger::artifact::GrantError;
    let Vectors { files, .. } = write_vectors();
    let (bytes, chain) = (&files["upload-grant.bin"], World::new().chain());
    let now = 1_700_000_000_000;
    let grant = SignedUploadGrant::verify_bytes(bytes, &chain, now).unwrap();
    assert_eq!(grant.publisher, key("acme/publisher").public());
    let elsewhere = ledger::id::ChainId([1; 32]);
    assert_eq!(SignedUploadGrant::verify_bytes(bytes, &elsewhere, now), Err(GrantError::WrongChain(chain)));
    let expires_at_ms = grant.expires_at_ms;
    let expired = Err(GrantError::Expired { expires_at_ms, now_ms: expires_at_ms });
    assert_eq!(SignedUploadGrant::verify_bytes(bytes, &chain, expires_at_ms), expired);
    assert!(SignedUploadGrant::verify_bytes(bytes, &chain, expires_at_ms - 1).is_ok());
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        assert!(SignedUploadGrant::verify_bytes(&altered, &chain, now).is_err(), "byte {place}");
    }
}

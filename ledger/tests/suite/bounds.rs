//! What types carry in themselves: bounded texts and lists, and files that contradict themselves
//! (sentences 1.6 to 1.10, 7.8 and 8.2).

use crate::support::samples::*;
use crate::support::world::World;
use crate::support::{key, name};
use crate::vectors::{Vectors, write_vectors};
use ledger::artifact::SignedUploadGrant;
use ledger::bounded::{BoundError, List, Name, Notes, Product, Sentence, SortedList, Text, Version};
use ledger::encoding::{Canonical, DecodeError, decode, encode};
use ledger::genesis::Genesis;
use ledger::limits;
use ledger::patch::Label;

#[test]
fn texts_are_bounded_and_plain() {
    let long = |bytes: usize| "x".repeat(bytes);
    assert!(
        Notes::new(long(limits::NOTES_BYTES_MAX)).is_ok() && Notes::new(long(limits::NOTES_BYTES_MAX + 1)).is_err()
    );
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
    let with =
        |set: &[u8]| Genesis::parse(&[&bytes[..place], set, &bytes[place + set_len(&bytes[place..])..]].concat());
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

//! Certificates: what makes a header final (sentences 3.7 to 3.12).

use crate::support::world::{World, certify};
use crate::support::{key, name};
use ledger::block::Header;
use ledger::bounded::List;
use ledger::certificate::{Certificate, CertificateError, VoteBody};
use ledger::encoding::{decode, encode};
use ledger::id::BlockHash;
use ledger::key::{Purpose, SecretKey, Signature};
use ledger::validators::{Validator, ValidatorSet};

/// A header under a set of `n` validators, the set, and their keys in the set's order.
fn header_under(n: usize) -> (Header, ValidatorSet, Vec<SecretKey>) {
    let mut keys: Vec<SecretKey> = (0..n).map(|number| key(&format!("validator {number}"))).collect();
    keys.sort_by_key(SecretKey::public);
    let validator = |key: &SecretKey| Validator { key: key.public(), organisation: name("somebody") };
    let set = ValidatorSet::new(keys.iter().map(validator).collect()).unwrap();
    let header = Header { height: 7, validators_hash: set.hash(), ..World::new().genesis.header };
    (header, set, keys)
}

/// A certificate by its parts, as an attacker writes it.
fn forged(header: &Header, round: u32, signers: &[u8], signatures: &[Signature]) -> Certificate {
    let signers: List<u8, 16> = List::new(signers.to_vec()).unwrap();
    let signatures: List<Signature, 128> = List::new(signatures.to_vec()).unwrap();
    decode(&encode(&(header.height, round, header.hash(), signers, signatures))).unwrap()
}

fn precommit(header: &Header, round: u32, key: &SecretKey) -> Signature {
    let body = VoteBody { height: header.height, round, block: Some(header.hash()) };
    key.sign(Purpose::Precommit, &header.chain_id, &body.bytes())
}

#[test]
fn a_quorum_is_strictly_more_than_two_thirds() {
    let smallest = [1, 2, 3, 3, 4, 5, 5, 6, 7, 7];
    for n in 1..=10 {
        let (header, set, keys) = header_under(n);
        assert_eq!(set.quorum(), smallest[n - 1]);
        for signers in 0..=n {
            let certificate = certify(&header, 0, &keys[..signers], &set);
            let verdict = certificate.verify(&header, &header.chain_id, &set);
            if 3 * signers > 2 * n {
                assert_eq!(verdict.unwrap().hash(), header.hash(), "{signers} of {n}");
            } else {
                let (validators, quorum) = (n, smallest[n - 1]);
                assert_eq!(verdict, Err(CertificateError::NoQuorum { signers, validators, quorum }));
            }
        }
    }
}

#[test]
fn any_quorum_will_do() {
    let (header, set, keys) = header_under(7);
    for left_out in 0..7 {
        for also in left_out..7 {
            let signing: Vec<_> = (0..7).filter(|n| *n != left_out && *n != also).map(|n| keys[n].clone()).collect();
            assert!(certify(&header, 2, &signing, &set).verify(&header, &header.chain_id, &set).is_ok());
        }
    }
}

#[test]
fn foreign_and_repeated_signers_do_not_count() {
    let (header, set, keys) = header_under(4);
    let with = |keys: &[SecretKey]| certify(&header, 0, keys, &set).verify(&header, &header.chain_id, &set);
    let stranger = key("stranger");
    let two = [keys[0].clone(), keys[1].clone()];
    let no_quorum = Err(CertificateError::NoQuorum { signers: 2, validators: 4, quorum: 3 });
    assert_eq!(with(&[two.to_vec(), vec![stranger]].concat()), no_quorum);
    assert_eq!(with(&[two.to_vec(), two.to_vec()].concat()), no_quorum);
    // One signature under two bits.
    let signature = precommit(&header, 0, &keys[0]);
    let twice = forged(&header, 0, &[0b0111], &[signature, signature, precommit(&header, 0, &keys[2])]);
    assert!(matches!(twice.verify(&header, &header.chain_id, &set), Err(CertificateError::Signature(_))));
}

#[test]
fn bitmap_and_signatures_belong_together() {
    let (header, set, keys) = header_under(4);
    let all: Vec<Signature> = keys.iter().map(|key| precommit(&header, 0, key)).collect();
    let with = |signers: &[u8], signatures: &[Signature]| {
        forged(&header, 0, signers, signatures).verify(&header, &header.chain_id, &set)
    };
    assert!(with(&[0b1111], &all).is_ok());
    assert!(with(&[0b0111], &all[..3]).is_ok());
    let shapes: [(&str, &[u8], &[Signature]); 8] = [
        ("a bit more than signatures", &[0b1111], &all[..3]),
        ("a signature more than bits", &[0b0111], &all),
        ("a bit behind the last validator", &[0b1_0111], &all),
        ("the highest bit of the byte", &[0b1000_0111], &all),
        ("a byte too many", &[0b1111, 0], &all),
        ("a byte too many, with a bit", &[0b0111, 1], &all),
        ("no bitmap", &[], &[]),
        ("no bitmap, but signatures", &[], &all),
    ];
    for (about, signers, signatures) in shapes {
        let verdict = with(signers, signatures);
        assert!(matches!(verdict, Err(CertificateError::Malformed { .. })), "{about}: {verdict:?}");
    }
    let wrong_order = [all[1], all[0], all[2], all[3]];
    assert!(matches!(with(&[0b1111], &wrong_order), Err(CertificateError::Signature(_))));
    assert!(matches!(with(&[0b1110], &all[..3]), Err(CertificateError::Signature(_))));
}

#[test]
fn nine_validators_need_two_bytes_of_bitmap() {
    let (header, set, keys) = header_under(9);
    let certificate = certify(&header, 0, &keys, &set);
    let bytes = encode(&certificate);
    // height, round, block, length, then the bitmap, least significant bit first.
    assert_eq!(bytes[8 + 4 + 32..][..10], [2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0x01]);
    assert!(certificate.verify(&header, &header.chain_id, &set).is_ok());
}

#[test]
fn a_certificate_speaks_of_one_height_round_block_chain_and_set() {
    let (header, set, keys) = header_under(4);
    let honest = certify(&header, 3, &keys, &set);
    let chain = header.chain_id;

    let later = Header { height: 8, ..header.clone() };
    let verdict = honest.verify(&later, &chain, &set);
    assert_eq!(verdict, Err(CertificateError::WrongHeight { certificate: 7, header: 8 }));

    let other = Header { time_ms: 1, ..header.clone() };
    let verdict = honest.verify(&other, &chain, &set);
    assert_eq!(verdict, Err(CertificateError::WrongBlock { certificate: header.hash(), header: other.hash() }));

    let (_, strangers, _) = header_under(5);
    assert_eq!(honest.verify(&header, &chain, &strangers), Err(CertificateError::WrongValidators { height: 7 }));

    let mut round_2 = honest.clone();
    round_2.round = 2;
    assert!(matches!(round_2.verify(&header, &chain, &set), Err(CertificateError::Signature(_))));
    assert!(matches!(honest.verify(&header, &ledger::id::ChainId([1; 32]), &set), Err(CertificateError::Signature(_))));
}

#[test]
fn a_prevote_or_a_vote_for_nothing_is_no_precommit() {
    let (header, set, keys) = header_under(4);
    let signed = |purpose, block: Option<BlockHash>| {
        let body = VoteBody { height: header.height, round: 0, block }.bytes();
        let all: Vec<_> = keys.iter().map(|key| key.sign(purpose, &header.chain_id, &body)).collect();
        forged(&header, 0, &[0b1111], &all).verify(&header, &header.chain_id, &set)
    };
    assert!(signed(Purpose::Precommit, Some(header.hash())).is_ok());
    assert!(matches!(signed(Purpose::Prevote, Some(header.hash())), Err(CertificateError::Signature(_))));
    assert!(matches!(signed(Purpose::Precommit, None), Err(CertificateError::Signature(_))));
}

#[test]
fn every_flipped_bit_of_a_certificate_is_refused() {
    let (header, set, keys) = header_under(4);
    let bytes = encode(&certify(&header, 0, &keys[..3], &set));
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[place] ^= 1 << bit;
            let verdict = decode::<Certificate>(&altered).map(|c| c.verify(&header, &header.chain_id, &set).is_ok());
            assert_ne!(verdict, Ok(true), "bit {bit} of byte {place}");
        }
    }
}

#[test]
fn a_set_has_somebody_in_it_and_everybody_once() {
    use ledger::validators::ValidatorSetError;
    assert_eq!(ValidatorSet::new(Vec::new()), Err(ValidatorSetError::Empty));
    let key = key("one").public();
    let as_two = |a: &str, b: &str| {
        ValidatorSet::new(vec![Validator { key, organisation: name(a) }, Validator { key, organisation: name(b) }])
    };
    assert_eq!(as_two("north", "south"), Err(ValidatorSetError::DuplicateKey(key)));
    assert_eq!(as_two("north", "north").unwrap().len(), 1, "said twice is said once");
    let crowd = (0..129).map(|n: u8| Validator { key: ledger::key::PublicKey([n; 32]), organisation: name("x") });
    assert!(matches!(ValidatorSet::new(crowd.collect()), Err(ValidatorSetError::Bound(_))));
}

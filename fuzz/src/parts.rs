//! Things with closed insides, taken apart and put together as an attacker does: by their bytes.

use crate::choices::{Choices, alter_list};
use crate::doors::Carried;
use ledger::certificate::Certificate;
use ledger::encoding::{decode, encode};
use ledger::id::{BlockHash, Digest};
use ledger::key::Signature;
use ledger::state::StateKey;
use ledger::state::tree::StateProof;
use serde::{Deserialize, Serialize};

/// A certificate (sentence 3.7), without bounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CertificateParts {
    pub height: u64,
    pub round: u32,
    pub block: BlockHash,
    pub signers: Vec<u8>,
    pub signatures: Vec<Signature>,
}

/// The order of the curve's group: S and S + L are one number to a careless verifier (1.17).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

impl CertificateParts {
    /// Takes one apart.
    pub fn of(certificate: &Certificate) -> Self {
        let bytes = encode(certificate);
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let bits = number(44) as usize;
        let signatures = bytes[52 + bits + 8..].chunks(64);
        Self {
            height: certificate.height,
            round: certificate.round,
            block: certificate.block,
            signers: bytes[52..52 + bits].to_vec(),
            signatures: signatures.map(|bytes| Signature(std::array::from_fn(|byte| bytes[byte]))).collect(),
        }
    }

    /// Puts it together again, if it is within its bounds (3.7).
    pub fn certificate(&self) -> Option<Certificate> {
        let certificate = decode(&encode(self)).ok();
        let bounded = self.signers.len() <= 16 && self.signatures.len() <= 128;
        assert_eq!(certificate.is_some(), bounded, "nothing but its bounds is judged at the door");
        certificate
    }

    /// Marks a signer, or does not any more.
    pub fn flip(&mut self, place: usize) {
        if let Some(byte) = self.signers.get_mut(place / 8) {
            *byte ^= 1 << (place % 8);
        }
    }

    /// Alters one thing without any key. `others` are signatures that are somewhere to be had.
    pub fn alter(&mut self, choices: &mut Choices<'_>, others: &[Signature]) {
        match choices.below(9) {
            0 => self.flip(choices.below(136)),
            1 => self.signers.push(choices.byte()),
            2 => drop(self.signers.pop()),
            3 | 4 => alter_list(choices, &mut self.signatures, others),
            5 => {
                let place = choices.below(self.signatures.len());
                if let Some(signature) = self.signatures.get_mut(place) {
                    signature.0[choices.below(64)] ^= choices.byte();
                }
            }
            6 => {
                let place = choices.below(self.signatures.len());
                self.signatures.get_mut(place).map(add_the_order).unwrap_or_default();
            }
            7 => self.height = choices.number(self.height),
            _ => self.round = choices.number(u64::from(self.round)) as u32,
        }
    }
}

/// The same S to whoever does not look whether it is below the order.
fn add_the_order(signature: &mut Signature) {
    let mut carry = 0;
    for (byte, more) in signature.0[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(more) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
}

/// What stands at the end of a path in the state tree (5.4).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum End {
    Present(Vec<u8>),
    Empty,
    Other(StateKey, Digest),
}

/// A state proof (5.4), without bounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateProofParts {
    pub end: End,
    pub siblings: Vec<Option<Digest>>,
}

/// "Nothing is here" (5.6).
pub const EMPTY: Digest = Digest(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__");

impl StateProofParts {
    /// Takes one apart.
    pub fn of(proof: &StateProof) -> Self {
        let bytes = encode(proof);
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte])) as usize;
        let hash = |at: usize| std::array::from_fn(|byte| bytes[at + byte]);
        let (end, mut at) = match bytes[0] {
            0 => (End::Present(bytes[12..12 + number(4)].to_vec()), 12 + number(4)),
            1 => (End::Empty, 4),
            _ => (End::Other(StateKey(hash(4)), Digest(hash(36))), 68),
        };
        let mut siblings = Vec::new();
        let count = number(at);
        at += 8;
        for _ in 0..count {
            let present = bytes[at] == 1;
            siblings.push(present.then(|| Digest(hash(at + 1))));
            at += if present { 33 } else { 1 };
        }
        Self { end, siblings }
    }

    /// Puts it together again, if it is within its bounds.
    pub fn proof(&self) -> Option<StateProof> {
        decode::<Carried<StateProof>>(&encode(self)).ok().map(|carried| carried.0)
    }

    /// Alters one thing. `others` are proofs of other records, or of this one at another time.
    pub fn alter(&mut self, choices: &mut Choices<'_>, others: &[StateProof]) {
        let other = choices.of(others).map(Self::of);
        match choices.below(7) {
            0 => {
                let more: Vec<_> = other.into_iter().flat_map(|other| other.siblings).collect();
                alter_list(choices, &mut self.siblings, &more);
            }
            1 => alter_list(choices, &mut self.siblings, &[None, Some(EMPTY), Some(Digest::ZERO)]),
            2 => {
                let place = choices.below(self.siblings.len());
                if let Some(Some(hash)) = self.siblings.get_mut(place) {
                    hash.0[choices.below(32)] ^= choices.byte();
                }
            }
            3 => self.end = End::Empty,
            4 => self.end = other.map_or(End::Empty, |other| other.end),
            5 => {
                if let End::Present(record) = &mut self.end {
                    let place = choices.below(record.len());
                    record.get_mut(place).map(|byte| *byte ^= choices.byte()).unwrap_or_default();
                }
            }
            _ => {
                if let End::Other(key, value_hash) = &mut self.end {
                    let half = if choices.yes() { &mut key.0 } else { &mut value_hash.0 };
                    half[choices.below(32)] ^= choices.byte();
                }
            }
        }
    }
}

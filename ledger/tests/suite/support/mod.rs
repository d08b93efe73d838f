//! A small ledger in memory, built from names and numbers only: the same in every run.

pub mod bundle;
pub mod offences;
pub mod samples;
pub mod snapshot;
pub mod strategies;
pub mod world;

use ledger::bounded::{Name, Product};
use ledger::id::Digest;
use ledger::key::SecretKey;

/// The secret key people in these tests call by this name.
pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(blake3::hash(format!("countersign test key: {name}").as_bytes()).as_bytes())
}

/// A name that is one.
pub fn name(text: &str) -> Name {
    Name::new(text).expect("tests use well-formed names")
}

/// A product that is one.
pub fn product(text: &str) -> Product {
    Product::new(text).expect("tests use well-formed products")
}

/// Some digest, told apart by a word.
pub fn digest(word: &str) -> Digest {
    Digest::blake3(word.as_bytes())
}

/// Numbers by chance that are the same in every run (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Thirty-two bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        bytes
    }
}

//! Blocks that hold nothing but what consensus must get right: a height, a parent, and whether they
//! are good.

use ledger::bounded::Name;
use ledger::encoding::encode;
use ledger::id::{BlockHash, ChainId, context, derive};
use ledger::key::SecretKey;
use ledger::validators::{Validator, ValidatorSet};
use serde::{Deserialize, Serialize};

pub const CHAIN: ChainId = ChainId([7; 32]);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub height: u64,
    pub parent: BlockHash,
    pub nonce: u64,
    pub good: bool,
}

impl Block {
    pub fn hash(&self) -> BlockHash {
        BlockHash(derive(context::BLOCK_HASH, &encode(self)))
    }
}

pub fn secret(n: usize) -> SecretKey {
    let mut seed = [0; 32];
    seed[0] = u8::try_from(n).expect("few keys");
    seed[31] = 1;
    SecretKey::from_seed(&seed)
}

pub fn set_of(keys: &[SecretKey]) -> ValidatorSet {
    let validator = |(n, key): (usize, &SecretKey)| Validator {
        key: key.public(),
        organisation: Name::new(format!("org-{n}")).unwrap(),
    };
    ValidatorSet::new(keys.iter().enumerate().map(validator).collect()).unwrap()
}

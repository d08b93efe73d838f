//! Blocks that hold nothing but what consensus must get right: a height, a parent, and whether they
//! are good.

use ledger::bounded::Name;
use ledger::encoding::encode;
use ledger::id::{BlockHash, ChainId, context, derive};
use ledger::key::SecretKey;
use ledger::validators::{Validator, ValidatorSet};
use serde::{Deserialize, Serialize};

pub(crate) const CHAIN: ChainId = ChainId([7; 32]);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) height: u64,
    pub(crate) parent: BlockHash,
    pub(crate) nonce: u64,
    pub(crate) good: bool,
}

impl Block {
    pub(crate) fn hash(&self) -> BlockHash {
        BlockHash(derive(&context::BLOCK_HASH, &encode(self)))
    }
}

pub(crate) fn secret(n: usize) -> SecretKey {
    let mut seed = [0; 32];
    seed[0] = u8::try_from(n).expect("few keys");
    seed[31] = 1;
    SecretKey::from_seed(&seed)
}

pub(crate) fn set_of(keys: &[SecretKey]) -> ValidatorSet {
    let validator = |(n, key): (usize, &SecretKey)| Validator {
        key: key.public(),
        organisation: Name::new(format!("org-{n}")).unwrap(),
    };
    ValidatorSet::new(keys.iter().enumerate().map(validator).collect()).unwrap()
}

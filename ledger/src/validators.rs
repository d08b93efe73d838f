//! The set of validators: whose signatures make a block final.

use crate::bounded::{BoundError, Name, SortedList};
use crate::encoding::{Canonical, Limit, encode};
use crate::id::{Digest, context, derive};
use crate::key::PublicKey;
use crate::limits;
use serde::{Deserialize, Serialize};

/// One validator. Every validator has a voting power of one: equal organisations, and no sums that
/// could overflow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Validator {
    /// Its validating key, used for consensus messages only.
    pub key: PublicKey,
    /// The organisation that runs it.
    pub organisation: Name,
}

/// The validators of one height, ascending by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorSet(SortedList<Validator, { limits::VALIDATORS_MAX }>);

impl Canonical for ValidatorSet {
    const NAME: &'static str = "validator set";
    const LIMIT: Limit = Limit::Message;
}

/// Why validators do not make a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// Nobody could ever finalise anything.
    #[error("a validator set needs at least one validator")]
    Empty,
    /// One key may count once only.
    #[error("validator key {0} occurs twice")]
    DuplicateKey(PublicKey),
    /// Too many.
    #[error(transparent)]
    Bound(#[from] BoundError),
}

impl ValidatorSet {
    /// Sorts and checks validators.
    ///
    /// # Errors
    /// [`ValidatorSetError`] when there are none, too many, or two with one key.
    pub fn new(validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        let set = Self(SortedList::new(validators)?);
        set.check()?;
        Ok(set)
    }

    /// What decoding alone does not check: not empty, keys distinct. Asked for wherever a set comes
    /// from outside.
    ///
    /// # Errors
    /// [`ValidatorSetError`].
    pub fn check(&self) -> Result<(), ValidatorSetError> {
        if self.0.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        match self.0.windows(2).find(|pair| pair[0].key == pair[1].key) {
            Some(pair) => Err(ValidatorSetError::DuplicateKey(pair[0].key)),
            None => Ok(()),
        }
    }

    /// The validators, ascending by key. A certificate's bitmap counts along this order.
    #[must_use]
    pub fn validators(&self) -> &[Validator] {
        &self.0
    }

    /// How many there are; also the total voting power.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a validator set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Place of a key in the set.
    #[must_use]
    pub fn position(&self, key: &PublicKey) -> Option<usize> {
        self.0.binary_search_by(|validator| validator.key.cmp(key)).ok()
    }

    /// Whether `power` is a quorum: strictly more than two thirds.
    #[must_use]
    pub fn is_quorum(&self, power: usize) -> bool {
        3 * power > 2 * self.len()
    }

    /// The smallest quorum.
    #[must_use]
    pub fn quorum(&self) -> usize {
        2 * self.len() / 3 + 1
    }

    /// `BLAKE3 derive_key("countersign/v1/validators-hash", encoding)`.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest(derive(&context::VALIDATORS_HASH, &encode(self)))
    }
}

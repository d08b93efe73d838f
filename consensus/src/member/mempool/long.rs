//! Transactions that take long: how many may wait, and be in one block.

use ledger::transaction::{Payload, VerifiedTransaction};

/// Those of one organisation that may wait: each is tried out whenever a block is made that has it, and whenever it is
/// looked at again after one. Honest governors and nodes have a few.
pub(super) const LONG_PER_ORGANISATION_MAX: usize = 32;
/// … of one of its keys.
pub(super) const LONG_PER_KEY_MAX: usize = 16;
/// Those in one block: all of them are tried out before anybody hears of it, and again by everybody. And those that a node
/// is told of when it comes: some may have become wrong meanwhile, and whoever says too many of them is sent away.
pub(super) const LONG_PER_BLOCK_MAX: usize = 16;

/// Whether the rules may take milliseconds over a transaction, where others take a small part of one: changes are all tried
/// out, and a hundred keys that are accused looked up. Between two of these there must be time for what is urgent.
#[must_use]
pub fn takes_long(transaction: &VerifiedTransaction) -> bool {
    matches!(transaction.payload(), Payload::Propose { .. } | Payload::Ballot { .. } | Payload::Accuse { .. })
}

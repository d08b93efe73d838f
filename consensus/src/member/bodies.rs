//! Bodies of proposals that are being put together: header and ids came, transactions may be missing.

use super::mempool::Mempool;
use ledger::block::Header;
use ledger::id::{BlockHash, TransactionId};
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;
use std::collections::{BTreeMap, BTreeSet};

/// Bodies kept at once; more than a height ever has honest ones.
const BODIES_MAX: usize = 32;

/// A body, as far as it is here.
struct Partial {
    header: Header,
    ids: Vec<TransactionId>,
    /// The same ids, for looking up.
    members: BTreeSet<TransactionId>,
    /// Transactions that came for this body and are not in the pool.
    extra: BTreeMap<TransactionId, VerifiedTransaction>,
    /// The node it came from: it has the rest.
    from: PublicKey,
}

/// Bodies of one height.
#[derive(Default)]
pub(super) struct Bodies {
    partial: BTreeMap<BlockHash, Partial>,
}

impl Bodies {
    /// A new height: forget everything.
    pub(super) fn clear(&mut self) {
        self.partial.clear();
    }

    /// Whether this body (or its beginning) is here.
    pub(super) fn contains(&self, block: &BlockHash) -> bool {
        self.partial.contains_key(block)
    }

    /// Takes in a body. Beyond the bound nothing is taken: a liar who floods bodies gains nothing, and
    /// a body that is voted on is asked for again.
    pub(super) fn insert(&mut self, header: Header, ids: Vec<TransactionId>, from: PublicKey) -> Option<BlockHash> {
        let hash = header.hash();
        if self.partial.len() >= BODIES_MAX || self.contains(&hash) {
            return None;
        }
        let members = ids.iter().copied().collect();
        self.partial.insert(hash, Partial { header, ids, members, extra: BTreeMap::new(), from });
        Some(hash)
    }

    /// Keeps transactions that a body misses and the pool did not take.
    pub(super) fn offer(&mut self, transaction: &VerifiedTransaction) {
        for partial in self.partial.values_mut() {
            if partial.members.contains(&transaction.id()) {
                partial.extra.insert(transaction.id(), transaction.clone());
            }
        }
    }

    /// The places whose transactions are missing, and who has them.
    pub(super) fn missing(&self, block: &BlockHash, mempool: &Mempool) -> Option<(PublicKey, Vec<u32>)> {
        let partial = self.partial.get(block)?;
        let absent = |id: &TransactionId| !mempool.contains(id) && !partial.extra.contains_key(id);
        let places = (0u32..).zip(&partial.ids).filter(|(_, id)| absent(id)).map(|(place, _)| place).collect();
        Some((partial.from, places))
    }

    /// The whole body, if nothing is missing.
    pub(super) fn complete(&self, block: &BlockHash, mempool: &Mempool) -> Option<(Header, Vec<VerifiedTransaction>)> {
        let partial = self.partial.get(block)?;
        let found = partial.ids.iter().map(|id| mempool.get(id).or_else(|| partial.extra.get(id)).cloned());
        Some((partial.header.clone(), found.collect::<Option<Vec<_>>>()?))
    }

    /// Bodies that are here in part, for another look when transactions came.
    pub(super) fn hashes(&self) -> Vec<BlockHash> {
        self.partial.keys().copied().collect()
    }
}

//! Bodies of proposals that are being put together: header and ids came, transactions may be missing.

use super::mempool::Mempool;
use ledger::block::Header;
use ledger::id::{BlockHash, TransactionId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::merkle;
use ledger::transaction::VerifiedTransaction;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bodies kept at once.
const BODIES_MAX: usize = 32;
/// Bodies of one peer that came before a proposal named them.
const UNNAMED_PER_PEER_MAX: usize = 2;
/// Names remembered; for each of them there is room.
const NAMED_MAX: usize = BODIES_MAX;

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
    /// The pool holds transactions of these ids with other signatures: it is not looked at.
    not_of_the_pool: bool,
    /// There is a verdict.
    closed: bool,
}

/// Bodies of one height.
#[derive(Default)]
pub(super) struct Bodies {
    partial: BTreeMap<BlockHash, Partial>,
    /// Blocks that a proposal, a certificate or this node itself has named, oldest first.
    named: VecDeque<BlockHash>,
}

impl Bodies {
    /// A new height: forget everything.
    pub(super) fn clear(&mut self) {
        self.partial.clear();
        self.named.clear();
    }

    /// A block is named: for its body there is room.
    pub(super) fn name(&mut self, block: BlockHash) {
        if !self.is_named(&block) {
            self.named.push_back(block);
        }
        if self.named.len() > NAMED_MAX {
            self.named.pop_front();
        }
    }

    /// Whether a block was named.
    pub(super) fn is_named(&self, block: &BlockHash) -> bool {
        self.named.contains(block)
    }

    /// How many are here.
    pub(super) fn len(&self) -> usize {
        self.partial.len()
    }

    /// Whether this body (or its beginning) is here.
    pub(super) fn contains(&self, block: &BlockHash) -> bool {
        self.partial.contains_key(block)
    }

    /// Takes in a body. One that is not named takes no room from others, and of one peer there are few:
    /// a liar who floods bodies gains nothing. Once it is named, it is asked for.
    pub(super) fn insert(&mut self, header: Header, ids: Vec<TransactionId>, from: PublicKey) -> Option<BlockHash> {
        let hash = header.hash();
        let members: BTreeSet<TransactionId> = ids.iter().copied().collect();
        // A block has each of its transactions once, and as many as its header says: this is no body.
        if members.len() != ids.len() || usize::try_from(header.tx_count) != Ok(ids.len()) {
            return None;
        }
        if self.contains(&hash) || !self.make_room(&hash, from) {
            return None;
        }
        let extra = BTreeMap::new();
        let partial = Partial { header, ids, members, extra, from, not_of_the_pool: false, closed: false };
        self.partial.insert(hash, partial);
        Some(hash)
    }

    fn make_room(&mut self, block: &BlockHash, from: PublicKey) -> bool {
        let full = self.partial.len() >= BODIES_MAX;
        if !self.is_named(block) {
            let of_peer = self.partial.iter().filter(|(hash, body)| body.from == from && !self.is_named(hash));
            return !full && of_peer.count() < UNNAMED_PER_PEER_MAX;
        }
        if full {
            // Names are remembered for as many bodies as there is room for, and this one is not here.
            let unnamed = self.partial.keys().find(|hash| !self.is_named(hash)).copied();
            unnamed.map(|hash| self.partial.remove(&hash));
        }
        true
    }

    /// Keeps transactions that a body misses and the pool did not take.
    pub(super) fn offer(&mut self, transaction: &VerifiedTransaction) {
        for partial in self.partial.values_mut() {
            let room = limits::BLOCK_BYTES_MAX.saturating_sub(partial.extra.values().map(size).sum());
            if partial.members.contains(&transaction.id()) && size(transaction) <= room {
                partial.extra.insert(transaction.id(), transaction.clone());
            }
        }
    }

    /// The places whose transactions are missing, and who has them.
    pub(super) fn missing(&self, block: &BlockHash, mempool: &Mempool) -> Option<(PublicKey, Vec<u32>)> {
        let partial = self.partial.get(block).filter(|partial| !partial.closed)?;
        let absent = |id: &TransactionId| partial.find(id, mempool).is_none();
        let places = (0u32..).zip(&partial.ids).filter(|(_, id)| absent(id)).map(|(place, _)| place).collect();
        Some((partial.from, places))
    }

    /// The whole body, if nothing is missing.
    pub(super) fn complete(&self, block: &BlockHash, mempool: &Mempool) -> Option<(Header, Vec<VerifiedTransaction>)> {
        let partial = self.partial.get(block).filter(|partial| !partial.closed)?;
        let found = partial.ids.iter().map(|id| partial.find(id, mempool).cloned());
        let found = found.collect::<Option<Vec<_>>>()?;
        // More than fits a block is no block's.
        let fits = found.iter().map(size).sum::<usize>() <= limits::BLOCK_BYTES_MAX;
        fits.then(|| (partial.header.clone(), found))
    }

    /// Whether the transactions found by their ids are not those of the header. An id does not cover the
    /// signature, and whoever signs may sign the same twice; so this says nothing about the block. Its
    /// own transactions are asked for then, of those who have the block.
    pub(super) fn has_other_transactions(&mut self, block: &BlockHash, mempool: &Mempool) -> bool {
        let Some((header, transactions)) = self.complete(block, mempool) else { return false };
        if merkle::root(transactions.iter().map(VerifiedTransaction::bytes)) == header.tx_root {
            return false;
        }
        if let Some(partial) = self.partial.get_mut(block) {
            partial.not_of_the_pool = true;
            partial.extra.clear();
        }
        true
    }

    /// There is a verdict: the body needs no other look.
    pub(super) fn close(&mut self, block: &BlockHash) {
        if let Some(partial) = self.partial.get_mut(block) {
            partial.closed = true;
        }
    }

    /// Bodies that are here in part, for another look when transactions came.
    pub(super) fn open(&self) -> Vec<BlockHash> {
        self.partial.iter().filter(|(_, partial)| !partial.closed).map(|(hash, _)| *hash).collect()
    }
}

/// Bytes of a transaction in a block.
fn size(transaction: &VerifiedTransaction) -> usize {
    transaction.bytes().len()
}

impl Partial {
    fn find<'a>(&'a self, id: &TransactionId, mempool: &'a Mempool) -> Option<&'a VerifiedTransaction> {
        let of_pool = if self.not_of_the_pool { None } else { mempool.get(id) };
        of_pool.or_else(|| self.extra.get(id))
    }
}

//! Bodies of proposals that are being put together: header and ids came, transactions may be missing.
//!
//! A header does not cover the ids that come with it. So what somebody says is a body is his word: of each that may
//! speak of a block there is one, whoever came first, and the block is what fits its header's transaction root.

use super::mempool::Mempool;
use ledger::block::Header;
use ledger::id::{BlockHash, TransactionId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::merkle;
use ledger::transaction::VerifiedTransaction;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bodies kept at once, of all blocks and senders.
const BODIES_MAX: usize = 32;
/// Bodies of one peer that came before a proposal named them.
const UNNAMED_PER_PEER_MAX: usize = 2;
/// Names remembered; for each of them there is room.
const NAMED_MAX: usize = BODIES_MAX;

/// Where the transactions of a body are looked for, as long as there is something to look for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// In the pool, and among those that its sender sent.
    Pooled,
    /// Among those that its sender sent: the pool holds transactions of these ids with other signatures, or these are
    /// no ids of this block.
    Sent,
    /// What its sender sent is not the header's.
    False,
    /// There is a verdict on the block.
    Judged,
}

/// Who is asked for what a body misses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// Whoever was not asked yet: who was is given time to answer.
    First,
    /// Also who was asked and has not answered.
    Again,
}

/// What one peer says is the body of a block, as far as it is here.
struct Partial {
    header: Header,
    ids: Vec<TransactionId>,
    /// The same ids, for looking up.
    members: BTreeSet<TransactionId>,
    /// Transactions that its sender sent for it.
    extra: BTreeMap<TransactionId, VerifiedTransaction>,
    standing: Standing,
    /// How often its sender was asked for what is missing.
    asked: u32,
}

/// A block that a proposal, a certificate or this node itself has named.
struct Named {
    block: BlockHash,
    /// Who was asked for its body and has not answered.
    asked: BTreeSet<PublicKey>,
}

/// Bodies of one height.
#[derive(Default)]
pub(super) struct Bodies {
    /// By block and sender.
    partial: BTreeMap<(BlockHash, PublicKey), Partial>,
    /// Oldest first.
    named: VecDeque<Named>,
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
            self.named.push_back(Named { block, asked: BTreeSet::new() });
        }
        if self.named.len() > NAMED_MAX {
            self.named.pop_front();
        }
    }

    /// Whether a block was named.
    pub(super) fn is_named(&self, block: &BlockHash) -> bool {
        self.named.iter().any(|named| named.block == *block)
    }

    /// How many are here.
    pub(super) fn len(&self) -> usize {
        self.partial.len()
    }

    /// Whether there is a verdict on a block.
    pub(super) fn is_judged(&self, block: &BlockHash) -> bool {
        self.of(block).any(|(_, body)| body.standing == Standing::Judged)
    }

    /// Whether to ask a peer for the body of a named block: not one who has sent it, true or false.
    pub(super) fn ask_for_body(&mut self, block: &BlockHash, peer: PublicKey) -> bool {
        let is_here = self.partial.contains_key(&(*block, peer));
        let named = self.named.iter_mut().find(|named| named.block == *block);
        named.filter(|_| !is_here).is_some_and(|named| {
            named.asked.insert(peer);
            true
        })
    }

    /// Whether a peer was asked for this body and has not answered before. This is its answer.
    pub(super) fn is_answer(&mut self, block: &BlockHash, peer: &PublicKey) -> bool {
        let named = self.named.iter_mut().find(|named| named.block == *block);
        named.is_some_and(|named| named.asked.remove(peer))
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
        let is_here = self.partial.contains_key(&(hash, from));
        if is_here || self.is_judged(&hash) || !self.make_room(&hash, from) {
            return None;
        }
        let (extra, standing) = (BTreeMap::new(), Standing::Pooled);
        self.partial.insert((hash, from), Partial { header, ids, members, extra, standing, asked: 0 });
        Some(hash)
    }

    fn make_room(&mut self, block: &BlockHash, from: PublicKey) -> bool {
        let full = self.partial.len() >= BODIES_MAX;
        if !self.is_named(block) {
            let of_peer = self.partial.keys().filter(|(hash, sender)| *sender == from && !self.is_named(hash));
            return !full && of_peer.count() < UNNAMED_PER_PEER_MAX;
        }
        if full {
            let Some(least) = self.least_missed(block) else { return false };
            self.partial.remove(&least);
        }
        true
    }

    /// What makes room for another body of this named block: one of a block that is not named, or one that is false,
    /// or one of a block that has more of them, or one of the same block whose sender was asked in vain. Names are
    /// remembered for as many bodies as there is room for: so for the first body of a named block there is always one.
    fn least_missed(&self, block: &BlockHash) -> Option<(BlockHash, PublicKey)> {
        let count = |hash: &BlockHash| self.of(hash).count();
        let own = count(block);
        let rank = |((hash, sender), body): (&(BlockHash, PublicKey), &Partial)| {
            let (named, is_false) = (self.is_named(hash), body.standing == Standing::False);
            let in_vain = hash == block && body.asked > 0;
            let may_go = !named || is_false || count(hash) > own + 1 || in_vain;
            may_go.then(|| ((!named, is_false, count(hash), body.asked), (*hash, *sender)))
        };
        self.partial.iter().filter_map(rank).max().map(|(_, key)| key)
    }

    /// Keeps transactions for the bodies that their sender sent.
    pub(super) fn offer(&mut self, from: &PublicKey, transaction: &VerifiedTransaction) {
        for (_, partial) in self.partial.iter_mut().filter(|((_, sender), _)| sender == from) {
            let room = limits::BLOCK_BYTES_MAX.saturating_sub(partial.extra.values().map(size).sum());
            if partial.members.contains(&transaction.id()) && size(transaction) <= room {
                partial.extra.insert(transaction.id(), transaction.clone());
            }
        }
    }

    /// The places of a block whose transactions are missing, and who is asked for them now: of those who sent a body
    /// in which some are missing, the one who was asked least.
    pub(super) fn ask_for_missing(
        &mut self,
        block: &BlockHash,
        mempool: &Mempool,
        asking: Asking,
    ) -> Option<(PublicKey, Vec<u32>)> {
        let may_be_asked = |body: &Partial| body.is_open() && (asking == Asking::Again || body.asked == 0);
        let open = self.partial.iter_mut().filter(|((hash, _), body)| hash == block && may_be_asked(body));
        let missing = open.map(|((_, sender), body)| (*sender, body.missing(mempool), body));
        let lacking = missing.filter(|(_, places, _)| !places.is_empty());
        let (sender, places, body) = lacking.min_by_key(|(sender, _, body)| (body.asked, *sender))?;
        body.asked += 1;
        Some((sender, places))
    }

    /// The whole body of a block, if one is here: nothing is missing, and its transactions are those of the header.
    pub(super) fn complete(
        &mut self,
        block: &BlockHash,
        mempool: &Mempool,
    ) -> Option<(Header, Vec<VerifiedTransaction>)> {
        let open = self.partial.iter_mut().filter(|((hash, _), body)| hash == block && body.is_open());
        open.filter_map(|(_, body)| Some((body.header.clone(), body.complete(mempool)?))).next()
    }

    /// There is a verdict: its bodies need no other look.
    pub(super) fn close(&mut self, block: &BlockHash) {
        let bodies = self.partial.iter_mut().filter(|((hash, _), _)| hash == block);
        bodies.for_each(|(_, body)| body.close(Standing::Judged));
    }

    /// Blocks whose bodies are here in part, for another look when transactions came.
    pub(super) fn open(&self) -> BTreeSet<BlockHash> {
        self.partial.iter().filter(|(_, body)| body.is_open()).map(|((hash, _), _)| *hash).collect()
    }

    fn of(&self, block: &BlockHash) -> impl Iterator<Item = (&(BlockHash, PublicKey), &Partial)> {
        self.partial.iter().filter(move |((hash, _), _)| hash == block)
    }
}

/// Bytes of a transaction in a block.
fn size(transaction: &VerifiedTransaction) -> usize {
    transaction.bytes().len()
}

impl Partial {
    fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Pooled | Standing::Sent)
    }

    /// There is nothing to look for any more.
    fn close(&mut self, standing: Standing) {
        self.standing = standing;
        self.ids = Vec::new();
        self.members.clear();
        self.extra.clear();
    }

    fn find<'a>(&'a self, id: &TransactionId, mempool: &'a Mempool) -> Option<&'a VerifiedTransaction> {
        let of_pool = if self.standing == Standing::Pooled { mempool.get(id) } else { None };
        of_pool.or_else(|| self.extra.get(id))
    }

    fn missing(&self, mempool: &Mempool) -> Vec<u32> {
        let absent = |id: &TransactionId| self.find(id, mempool).is_none();
        (0u32..).zip(&self.ids).filter(|(_, id)| absent(id)).map(|(place, _)| place).collect()
    }

    /// Its transactions, if all are here and they are those of the header. An id does not cover the signature, and
    /// whoever signs may sign the same twice; so where they are not, those that its sender has are asked for once.
    fn complete(&mut self, mempool: &Mempool) -> Option<Vec<VerifiedTransaction>> {
        let found = self.ids.iter().map(|id| self.find(id, mempool).cloned()).collect::<Option<Vec<_>>>()?;
        // More than fits a block is no block's.
        let fits = found.iter().map(size).sum::<usize>() <= limits::BLOCK_BYTES_MAX;
        if fits && merkle::root(found.iter().map(VerifiedTransaction::bytes)) == self.header.tx_root {
            return Some(found);
        }
        if fits && self.standing == Standing::Pooled {
            self.standing = Standing::Sent;
            self.extra.clear();
            // Nobody was asked for these.
            self.asked = 0;
        } else {
            self.close(Standing::False);
        }
        None
    }
}

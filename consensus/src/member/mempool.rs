//! Transactions admitted and not yet finalised: bounded by number and bytes, altogether and for each
//! organisation; and every block takes of every organisation in turn.

mod room;

pub use room::{Crowd, MempoolLimits, NoRoom, Source};

use ledger::bounded::Name;
use ledger::id::TransactionId;
use ledger::transaction::VerifiedTransaction;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

struct Waiting {
    transaction: VerifiedTransaction,
    organisation: Name,
    source: Source,
    /// How many blocks were committed since it came.
    passed_over: u32,
}

/// What waits of one organisation.
struct Queue {
    /// Places of its transactions: all of a signer's are of one organisation, so its order is kept.
    places: BTreeSet<u64>,
    bytes: usize,
    /// When it last had a turn, or came: of two that have spent as much, the lower one is first.
    served: u64,
}

/// A transaction that is still waiting after a block or more.
pub struct PassedOver {
    /// It.
    pub transaction: VerifiedTransaction,
    /// Whom it came from.
    pub source: Source,
    /// It has waited for so long that the others may never have heard of it.
    pub say_again: bool,
}

/// Blocks that pass over a transaction before it is told to the others once more; then twice
/// as many, and so on.
const SAY_AGAIN_AFTER: u32 = 4;

/// The pool.
pub struct Mempool {
    limits: MempoolLimits,
    waiting: BTreeMap<u64, Waiting>,
    places: BTreeMap<TransactionId, u64>,
    /// By organisation; none is empty.
    queues: BTreeMap<Name, Queue>,
    bytes: usize,
    next_place: u64,
    next_turn: u64,
}

impl Mempool {
    /// An empty pool.
    #[must_use]
    pub fn new(limits: MempoolLimits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            queues: BTreeMap::new(),
            bytes: 0,
            next_place: 0,
            next_turn: 0,
        }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many wait of one organisation, and their bytes.
    #[must_use]
    pub fn of(&self, organisation: &Name) -> (usize, usize) {
        self.queues.get(organisation).map_or((0, 0), |queue| (queue.places.len(), queue.bytes))
    }

    /// Whether this one waits.
    #[must_use]
    pub fn contains(&self, id: &TransactionId) -> bool {
        self.places.contains_key(id)
    }

    /// The one with this id.
    #[must_use]
    pub fn get(&self, id: &TransactionId) -> Option<&VerifiedTransaction> {
        self.places.get(id).map(|place| &self.waiting[place].transaction)
    }

    /// Takes one in, at the end of its organisation's queue. One that waits already stays where it is.
    ///
    /// # Errors
    /// [`NoRoom`] names the bound that was met.
    pub fn insert(
        &mut self,
        transaction: VerifiedTransaction,
        organisation: Name,
        source: Source,
    ) -> Result<(), NoRoom> {
        if self.contains(&transaction.id()) {
            return Ok(());
        }
        let size = transaction.bytes().len();
        self.room_in_all(size, source).map_or(Ok(()), Err)?;
        if let Some(queue) = self.queues.get(&organisation) {
            self.room_in(queue, &organisation, size, source).map_or(Ok(()), Err)?;
        }
        if !self.queues.contains_key(&organisation) {
            let queue = Queue { places: BTreeSet::new(), bytes: 0, served: turn(&mut self.next_turn) };
            self.queues.insert(organisation.clone(), queue);
        }
        if let Some(queue) = self.queues.get_mut(&organisation) {
            queue.places.insert(self.next_place);
            queue.bytes += size;
        }
        self.bytes += size;
        self.places.insert(transaction.id(), self.next_place);
        self.waiting.insert(self.next_place, Waiting { transaction, organisation, source, passed_over: 0 });
        self.next_place += 1;
        Ok(())
    }

    /// Which bound of the whole pool so many bytes more would meet.
    fn room_in_all(&self, size: usize, source: Source) -> Option<NoRoom> {
        let (pending, most) = (self.len(), source.share(self.limits.transactions_max));
        if pending >= most {
            return Some(NoRoom::Full { pending, most });
        }
        let (bytes, most) = (self.bytes, source.share(self.limits.bytes_max));
        (bytes + size > most).then_some(NoRoom::FullOfBytes { bytes, most })
    }

    /// Which bound of one organisation they would meet.
    fn room_in(&self, queue: &Queue, organisation: &Name, size: usize, source: Source) -> Option<NoRoom> {
        let (pending, most) = (queue.places.len(), source.share(self.limits.per_organisation_max));
        if pending >= most {
            return Some(NoRoom::Quota { organisation: organisation.clone(), pending, most });
        }
        let (bytes, most) = (queue.bytes, source.share(self.limits.per_organisation_bytes_max));
        let is_met = bytes + size > most;
        is_met.then(|| NoRoom::QuotaOfBytes { organisation: organisation.clone(), bytes, most })
    }

    /// What clients are told before anything of theirs is looked at: any transaction has a byte.
    #[must_use]
    pub fn crowd(&self) -> Crowd {
        let crowded = self.queues.iter().filter_map(|(organisation, queue)| {
            let no_room = self.room_in(queue, organisation, 1, Source::Client)?;
            Some((organisation.clone(), no_room))
        });
        let organisations = crowded.collect();
        Crowd { pending: self.len(), full: self.room_in_all(1, Source::Client), organisations }
    }

    /// Everything that waits, oldest first.
    pub fn candidates(&self) -> impl Iterator<Item = VerifiedTransaction> + '_ {
        self.waiting.values().map(|waiting| waiting.transaction.clone())
    }

    /// Candidates for a block of so many transactions and bytes, of every organisation in turn: however
    /// much one offers, the others lose nothing of their share.
    #[must_use]
    pub fn for_block(&self, transactions: usize, bytes: usize) -> Vec<VerifiedTransaction> {
        let places = self.in_turn(transactions, bytes);
        places.iter().map(|place| self.waiting[place].transaction.clone()).collect()
    }

    /// Places of the transactions whose turn it is.
    ///
    /// - The next turn is of the organisation that has spent least; among those, of the one whose last turn,
    ///   or coming, is the longest ago.
    /// - A transaction costs its bytes, and no less than the bytes of an even place: so a share is one of
    ///   places as much as of bytes.
    /// - One organisation's transactions keep their order: whose next does not fit has no more turns.
    fn in_turn(&self, transactions: usize, bytes: usize) -> Vec<u64> {
        let even = bytes / transactions.max(1);
        let mut queues: Vec<_> = self.queues.values().map(|queue| queue.places.iter()).collect();
        let coming = self.queues.values().enumerate().map(|(index, queue)| Reverse((0, queue.served, index)));
        let mut turns: BinaryHeap<Reverse<(usize, u64, usize)>> = coming.collect();
        let (mut taken, mut room) = (Vec::with_capacity(transactions.min(self.len())), bytes);
        while taken.len() < transactions {
            let Some(Reverse((spent, served, index))) = turns.pop() else { break };
            let Some(place) = queues[index].next() else { continue };
            let size = self.waiting[place].transaction.bytes().len();
            if size > room {
                continue;
            }
            room -= size;
            taken.push(*place);
            turns.push(Reverse((spent.saturating_add(size.max(even)), served, index)));
        }
        taken
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &TransactionId) {
        let Some(place) = self.places.remove(id) else { return };
        let Some(waiting) = self.waiting.remove(&place) else { return };
        let size = waiting.transaction.bytes().len();
        self.bytes -= size;
        let Some(queue) = self.queues.get_mut(&waiting.organisation) else { return };
        queue.places.remove(&place);
        queue.bytes -= size;
        queue.served = turn(&mut self.next_turn);
        if queue.places.is_empty() {
            self.queues.remove(&waiting.organisation);
        }
    }

    /// After a block: those next in turn that were passed over, at most `limit`. They had their chance,
    /// so something may have become wrong with them.
    pub fn passed_over(&mut self, limit: usize) -> Vec<PassedOver> {
        let places = self.in_turn(limit, usize::MAX);
        let look = |place: &u64| {
            let waiting = self.waiting.get_mut(place)?;
            waiting.passed_over += 1;
            let long = waiting.passed_over >= SAY_AGAIN_AFTER && waiting.passed_over.is_power_of_two();
            (waiting.passed_over > 1).then(|| PassedOver {
                transaction: waiting.transaction.clone(),
                source: waiting.source,
                say_again: long,
            })
        };
        places.iter().filter_map(look).collect()
    }
}

/// The next number.
fn turn(next: &mut u64) -> u64 {
    *next += 1;
    *next
}

//! Transactions admitted and not yet finalised: bounded by number and bytes, altogether and for each
//! organisation; and every block takes of every organisation in turn.

mod length;
mod pace;
mod room;

use length::Length;
use pace::Pace;
pub use room::{Crowd, MempoolLimits, NoRoom, OWN_PLACES_BYTES_MAX, OWN_PLACES_MAX, Places, Source};

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

/// Bytes that go with a place of a share: more than an ordinary transaction has.
const PLACE_BYTES: usize = 1024;
/// Shares of one organisation that may wait while it gets no more than a share of a block. More would have
/// signatures checked long before their time, and fewer would make blocks of what others have not heard of yet.
const SHARES_WAITING_MAX: usize = 48;

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
    pace: Pace,
    length: Length,
}

impl Mempool {
    /// An empty pool.
    #[must_use]
    pub fn new(limits: MempoolLimits) -> Self {
        Self {
            pace: Pace::new(limits.share_max),
            length: Length::new(limits.share_max),
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
        if let Some(no_room) = self.room(&organisation, size, source) {
            return Err(no_room);
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

    /// Which bound so many bytes more of an organisation would meet.
    fn room(&self, organisation: &Name, size: usize, source: Source) -> Option<NoRoom> {
        let queue = self.queues.get(organisation);
        if let Some(bound) = queue.and_then(|queue| self.room_in(queue, organisation, size, source)) {
            return Some(bound);
        }
        let (places, bytes) = queue.map_or((0, 0), |queue| (queue.places.len(), queue.bytes));
        let is_own = places < OWN_PLACES_MAX && bytes + size <= OWN_PLACES_BYTES_MAX;
        if is_own { None } else { self.room_in_all(size, source) }
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
        let (most, bytes_most) = self.most_of(organisation, &self.last_with_little());
        let (pending, most) = (queue.places.len(), source.share(most));
        if pending >= most {
            return Some(NoRoom::Quota { organisation: organisation.clone(), pending, most });
        }
        let (bytes, most) = (queue.bytes, source.share(bytes_most));
        let is_met = bytes + size > most;
        is_met.then(|| NoRoom::QuotaOfBytes { organisation: organisation.clone(), bytes, most })
    }

    /// What clients are told before anything of theirs is looked at: any transaction has a byte.
    #[must_use]
    pub fn crowd(&self) -> Crowd {
        let most = Source::Client.share(self.limits.transactions_max);
        let all = match self.room_in_all(1, Source::Client) {
            Some(bound) => Places { left: 0, own: 0, bound },
            None => Places { left: most - self.len(), own: 0, bound: NoRoom::Full { pending: most, most } },
        };
        let is_short = all.left <= most / 2;
        let little = self.last_with_little();
        let left = self.queues.iter().filter_map(|(organisation, queue)| {
            let most = Source::Client.share(self.most_of(organisation, &little).0);
            let places = Places {
                left: most.saturating_sub(queue.places.len()),
                own: OWN_PLACES_MAX.saturating_sub(queue.places.len()),
                bound: NoRoom::Quota { organisation: organisation.clone(), pending: most, most },
            };
            let places = match self.room_in(queue, organisation, 1, Source::Client) {
                Some(bound) => Places { left: 0, own: 0, bound },
                None if queue.bytes >= OWN_PLACES_BYTES_MAX => Places { own: 0, ..places },
                None => places,
            };
            (is_short || places.left <= most / 2).then(|| (organisation.clone(), places))
        });
        Crowd { pending: self.len(), all, organisations: left.collect() }
    }

    /// Everything that waits, oldest first.
    pub fn candidates(&self) -> impl Iterator<Item = VerifiedTransaction> + '_ {
        self.waiting.values().map(|waiting| waiting.transaction.clone())
    }

    /// Candidates for a block of so many transactions and bytes, of every organisation in turn: however
    /// much one offers, the others lose nothing of their share, and wait for no more than one of its.
    #[must_use]
    pub fn for_block(&self, transactions: usize, bytes: usize) -> Vec<VerifiedTransaction> {
        let transactions = self.length.most(transactions);
        let places = self.in_turn(transactions, bytes, self.budgets(transactions));
        places.iter().map(|place| self.waiting[place].transaction.clone()).collect()
    }

    /// So many transactions and bytes of every organisation in turn: what a node that has just come is told.
    #[must_use]
    pub fn for_greeting(&self, transactions: usize, bytes: usize) -> Vec<VerifiedTransaction> {
        let places = self.in_turn(transactions, bytes, vec![transactions; self.queues.len()]);
        places.iter().map(|place| self.waiting[place].transaction.clone()).collect()
    }

    /// Whether a block of so many transactions is better begun now than a little later, when there is more to
    /// put in: when it is full, and when somebody has little to say beside somebody who has much.
    #[must_use]
    pub fn is_ripe(&self, transactions: usize) -> bool {
        let transactions = self.length.most(transactions);
        let queues = self.queues.values().zip(self.budgets(transactions));
        let places: usize = queues.map(|(queue, budget)| queue.places.len().min(budget)).sum();
        places >= transactions || self.has_little_beside_much()
    }

    /// Who has, or had, little to say, and how many blocks ago: the two that did last, for one of them may be the
    /// one that is asked about.
    fn last_with_little(&self) -> [Option<(u64, &Name)>; 2] {
        let now = self.queues.iter().filter(|(organisation, queue)| self.has_little(organisation, queue));
        let now = now.map(|(organisation, _)| (0, organisation));
        let mut last = [None, None];
        for (since, organisation) in now.chain(self.pace.little()) {
            match last {
                [Some((_, first)), _] if first == organisation => {}
                [Some((earlier, _)), _] if since >= earlier => {
                    if last[1].is_none_or(|(second, _)| since < second) {
                        last[1] = Some((since, organisation));
                    }
                }
                [first, _] => last = [Some((since, organisation)), first],
            }
        }
        last
    }

    fn has_little(&self, organisation: &Name, queue: &Queue) -> bool {
        self.pace.is_little(organisation, queue.places.len())
    }

    fn has_little_beside_much(&self) -> bool {
        let little = self.queues.iter().any(|(organisation, queue)| self.has_little(organisation, queue));
        little && self.queues.values().any(|queue| self.pace.is_much(queue.places.len()))
    }

    /// The share of an organisation, while others have little to say.
    fn share_of(&self, organisation: &Name, little: &[Option<(u64, &Name)>; 2]) -> Option<usize> {
        let other = little.iter().flatten().find(|(_, other)| *other != organisation);
        other.map(|(since, _)| self.pace.share(*since))
    }

    /// How many transactions and bytes of one organisation may wait.
    fn most_of(&self, organisation: &Name, little: &[Option<(u64, &Name)>; 2]) -> (usize, usize) {
        let (places, bytes) = (self.limits.per_organisation_max, self.limits.per_organisation_bytes_max);
        let Some(share) = self.share_of(organisation, little) else { return (places, bytes) };
        let waiting = share.saturating_mul(SHARES_WAITING_MAX);
        (places.min(waiting), bytes.min(waiting.saturating_mul(PLACE_BYTES)))
    }

    /// How many even places of a block of so many each organisation may spend.
    fn budgets(&self, transactions: usize) -> Vec<usize> {
        let little = self.last_with_little();
        let is_for_little = self.pace.was_much() && self.has_little_beside_much();
        let budget = |(organisation, queue): (&Name, &Queue)| match self.share_of(organisation, &little) {
            _ if is_for_little && !self.has_little(organisation, queue) => 0,
            Some(share) => share.min(transactions),
            None => transactions,
        };
        self.queues.iter().map(budget).collect()
    }

    /// Places of the transactions whose turn it is.
    ///
    /// - The next turn is of the organisation that has spent least; among those, of the one whose last turn,
    ///   or coming, is the longest ago. Who has spent its budget has no more.
    /// - A transaction costs its bytes, and no less than the bytes of an even place: so a share is one of
    ///   places as much as of bytes.
    /// - One organisation's transactions keep their order: whose next does not fit has no more turns.
    fn in_turn(&self, transactions: usize, bytes: usize, budgets: Vec<usize>) -> Vec<u64> {
        let even = bytes / transactions.max(1);
        let mut queues: Vec<_> = self.queues.values().map(|queue| queue.places.iter()).collect();
        let coming = self.queues.values().enumerate().map(|(index, queue)| Reverse((0, queue.served, index)));
        let mut turns: BinaryHeap<Reverse<(usize, u64, usize)>> = coming.collect();
        let (mut taken, mut room) = (Vec::with_capacity(transactions.min(self.len())), bytes);
        while taken.len() < transactions {
            let Some(Reverse((spent, served, index))) = turns.pop() else { break };
            if spent >= budgets[index].saturating_mul(even) {
                continue;
            }
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

    /// A block of this node with so many transactions was final in its first round, so long after it was begun:
    /// blocks to come are as long as this allows.
    pub fn took(&mut self, transactions: usize, milliseconds: u64) {
        self.length.took(transactions, milliseconds);
    }

    /// A block is final: what it had is out, and who had much in it is known.
    pub fn committed<'a>(&mut self, ids: impl Iterator<Item = &'a TransactionId>) {
        let mut counts = BTreeMap::new();
        for id in ids {
            if let Some(organisation) = self.remove(id) {
                *counts.entry(organisation).or_default() += 1;
            }
        }
        let queues = &self.queues;
        self.pace.committed(counts, |organisation| queues.get(organisation).map_or(0, |queue| queue.places.len()));
    }

    /// Takes one out; whose it was.
    pub fn remove(&mut self, id: &TransactionId) -> Option<Name> {
        let place = self.places.remove(id)?;
        let Waiting { transaction, organisation, .. } = self.waiting.remove(&place)?;
        let size = transaction.bytes().len();
        self.bytes -= size;
        let queue = self.queues.get_mut(&organisation)?;
        queue.places.remove(&place);
        queue.bytes -= size;
        queue.served = turn(&mut self.next_turn);
        if queue.places.is_empty() {
            self.queues.remove(&organisation);
        }
        Some(organisation)
    }

    /// After a block: those next in turn that were passed over, at most `limit`. They had their chance,
    /// so something may have become wrong with them.
    pub fn passed_over(&mut self, limit: usize) -> Vec<PassedOver> {
        let places = self.in_turn(limit, usize::MAX, vec![usize::MAX; self.queues.len()]);
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

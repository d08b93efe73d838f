//! Transactions admitted and not yet finalised: bounded by number and bytes, altogether and for each
//! organisation; and every block takes of every organisation in turn, and of its keys in turn.

mod bounds;
mod length;
mod long;
mod pace;
mod queue;
mod room;

use length::Length;
use long::LONG_PER_BLOCK_MAX;
pub use long::takes_long;
use pace::Pace;
use queue::{Item, Queue};
pub use room::{Crowd, MempoolLimits, NoRoom, OWN_PLACES_BYTES_MAX, OWN_PLACES_MAX, Places, Source};

use ledger::bounded::Name;
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

struct Waiting {
    transaction: VerifiedTransaction,
    organisation: Name,
    source: Source,
    /// How many blocks were committed since it came.
    passed_over: u32,
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

/// How many times as long as otherwise a block is waited for that is of nobody but those with much to say, beside somebody
/// with little: whoever comes while it is made waits for its end.
const PATIENT_BATCHES: u64 = 3;
/// … and for how long at most: whoever has no such block to make waits for this one, and not for as long as for a proposer
/// who is gone.
const PATIENT_MS_MAX: u64 = 100;
/// Blocks that pass over a transaction before it is told to the others once more; then twice
/// as many, and so on.
const SAY_AGAIN_AFTER: u32 = 4;

/// Bytes that go with a place of a share: more than an ordinary transaction has.
const PLACE_BYTES: usize = 1024;
/// Bytes of a transaction that is long, and still no more than one of those that make much or little: a patch with
/// some pages of notes. Sixteen of the longest there may be are much.
const LONG_BYTES: usize = 8 * 1024;
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
        self.queues.get(organisation).map_or((0, 0), |queue| (queue.len(), queue.bytes()))
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

    /// Whether there is room for one of this organisation.
    ///
    /// # Errors
    /// [`NoRoom`] names the bound that is met.
    pub fn has_room(&self, transaction: &VerifiedTransaction, whose: &Name, source: Source) -> Result<(), NoRoom> {
        self.room(whose, &Item::of(transaction), source).map_or(Ok(()), Err)
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
        let item = Item::of(&transaction);
        self.has_room(&transaction, &organisation, source)?;
        let turn = turn(&mut self.next_turn);
        let queue = self.queues.entry(organisation.clone()).or_insert_with(|| Queue::new(turn));
        queue.insert(item, self.next_place, turn);
        self.bytes += item.bytes;
        self.places.insert(transaction.id(), self.next_place);
        self.waiting.insert(self.next_place, Waiting { transaction, organisation, source, passed_over: 0 });
        self.next_place += 1;
        Ok(())
    }

    /// Everything that waits, oldest first.
    pub fn candidates(&self) -> impl Iterator<Item = VerifiedTransaction> + '_ {
        self.waiting.values().map(|waiting| waiting.transaction.clone())
    }

    /// Candidates for a block of so many transactions and bytes, of every organisation in turn: however
    /// much one offers, the others lose nothing of their share, and wait for no more than one of its.
    #[must_use]
    pub fn for_block(&self, transactions: usize, bytes: usize) -> Vec<VerifiedTransaction> {
        let (transactions, bytes) = self.extent(transactions, bytes);
        let places = self.in_turn(transactions, bytes, LONG_PER_BLOCK_MAX, self.budgets(transactions));
        places.iter().map(|place| self.waiting[place].transaction.clone()).collect()
    }

    /// Of so many transactions and bytes, what a block of this node may have now.
    fn extent(&self, transactions: usize, bytes: usize) -> (usize, usize) {
        let most = self.length.most(transactions);
        // A shorter block has fewer bytes, too, but room for a large transaction.
        let shorter = (most * PLACE_BYTES).max(OWN_PLACES_BYTES_MAX);
        (most, if most < transactions { bytes.min(shorter) } else { bytes })
    }

    /// So many transactions and bytes of every organisation in turn: what a node that has just come is told.
    #[must_use]
    pub fn for_greeting(&self, transactions: usize, bytes: usize) -> Vec<VerifiedTransaction> {
        let places = self.in_turn(transactions, bytes, LONG_PER_BLOCK_MAX, vec![transactions; self.queues.len()]);
        places.iter().map(|place| self.waiting[place].transaction.clone()).collect()
    }

    /// Whether a block of so many transactions and bytes is better begun now than a little later, when there is more
    /// to put in: when either is full, and when somebody has little to say beside somebody who has much.
    #[must_use]
    pub fn is_ripe(&self, transactions: usize, bytes: usize) -> bool {
        let (transactions, bytes) = self.extent(transactions, bytes);
        let even = bytes / transactions.max(1);
        let queues = self.queues.values().zip(self.budgets(transactions));
        let waiting =
            queues.map(|(queue, budget)| (queue.len().min(budget), queue.bytes().min(budget.saturating_mul(even))));
        let (places, waiting) = waiting.fold((0, 0usize), |(a, b), (c, d)| (a + c, b.saturating_add(d)));
        places >= transactions || waiting >= bytes || self.has_little_beside_much()
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
        self.pace.is_little(organisation, queue.weight())
    }

    /// How long after the beginning of one block the next begins that is not ripe, where that is so long otherwise.
    #[must_use]
    pub fn patience_ms(&self, batch_ms: u64) -> u64 {
        match self.may_wait_longer() {
            true => batch_ms.saturating_mul(PATIENT_BATCHES).min(PATIENT_MS_MAX.max(batch_ms)),
            false => batch_ms,
        }
    }

    /// Whether all that waits is of organisations with much to say, and somebody else with little was heard of just before.
    fn may_wait_longer(&self) -> bool {
        let waits = |organisation: &Name| self.queues.contains_key(organisation);
        self.pace.has_heard_little_lately(waits) && self.queues.values().all(|queue| self.pace.is_much(queue.weight()))
    }

    fn has_little_beside_much(&self) -> bool {
        let little = self.queues.iter().any(|(organisation, queue)| self.has_little(organisation, queue));
        little && self.queues.values().any(|queue| self.pace.is_much(queue.weight()))
    }

    /// The share of an organisation, while others have little to say.
    fn share_of(&self, organisation: &Name, little: &[Option<(u64, &Name)>; 2]) -> Option<usize> {
        let other = little.iter().flatten().find(|(_, other)| *other != organisation);
        other.map(|(since, _)| Pace::share(self.length.share(), *since))
    }

    /// How many transactions and bytes of one organisation may wait, for this source.
    fn most_of(&self, organisation: &Name, little: &[Option<(u64, &Name)>; 2], source: Source) -> (usize, usize) {
        let (places, bytes) = (self.limits.per_organisation_max, self.limits.per_organisation_bytes_max);
        let waiting =
            self.share_of(organisation, little).map_or(usize::MAX, |share| share.saturating_mul(SHARES_WAITING_MAX));
        (source.share(places.min(waiting)), source.share(bytes.min(waiting.saturating_mul(PLACE_BYTES))))
    }

    /// How many even places of a block of so many each organisation may spend.
    fn budgets(&self, transactions: usize) -> Vec<usize> {
        let is_for_little = self.pace.was_much() && self.has_little_beside_much();
        let budget = |((organisation, queue), share): ((&Name, &Queue), usize)| {
            if is_for_little && !self.has_little(organisation, queue) { 0 } else { share }
        };
        self.queues.iter().zip(self.shares(transactions)).map(budget).collect()
    }

    /// … before a block that is wanted by those with little to say is made theirs.
    fn shares(&self, transactions: usize) -> Vec<usize> {
        let little = self.last_with_little();
        let share = |organisation| self.share_of(organisation, &little).map_or(transactions, |it| it.min(transactions));
        self.queues.keys().map(share).collect()
    }

    /// Places of the transactions whose turn it is.
    ///
    /// - The next turn is of the organisation that has spent least; among those, of the one whose last turn,
    ///   or coming, is the longest ago. Who has spent its budget has no more.
    /// - A transaction costs its bytes, and no less than the bytes of an even place: so a share is one of
    ///   places as much as of bytes.
    /// - Of an organisation the keys have turns in the same way. One key's transactions keep their order: whose
    ///   next does not fit, or is one more that takes long than there may be, has no more turns.
    fn in_turn(&self, transactions: usize, bytes: usize, long: usize, budgets: Vec<usize>) -> Vec<u64> {
        let even = bytes / transactions.max(1);
        let mut queues: Vec<_> = self.queues.values().map(Queue::turns).collect();
        let coming = self.queues.values().enumerate().map(|(index, queue)| Reverse((0, queue.served, index)));
        let mut turns: BinaryHeap<Reverse<(usize, u64, usize)>> = coming.collect();
        let (mut taken, mut room, mut long_room) = (Vec::with_capacity(transactions.min(self.len())), bytes, long);
        while taken.len() < transactions {
            let Some(Reverse((spent, served, index))) = turns.pop() else { break };
            if spent >= budgets[index].saturating_mul(even) {
                continue;
            }
            let Some(place) = queues[index].next() else { continue };
            let Item { bytes: size, long, .. } = Item::of(&self.waiting[&place].transaction);
            if size > room || (long && long_room == 0) {
                turns.push(Reverse((spent, served, index)));
                continue;
            }
            room -= size;
            long_room -= usize::from(long);
            taken.push(place);
            let cost = size.max(even);
            queues[index].spent(cost);
            turns.push(Reverse((spent.saturating_add(cost), served, index)));
        }
        taken
    }

    /// A block of this node is proposed.
    pub fn proposed(&mut self) {
        self.length.proposed();
    }

    /// The one proposed last, with these transactions, was final in its first round, so long after it was begun: blocks to come are as long as this allows.
    pub fn took(&mut self, transactions: &[VerifiedTransaction], milliseconds: u64) {
        let places = transactions.iter().map(|transaction| transaction.bytes().len().div_ceil(PLACE_BYTES));
        self.length.took(places.sum(), milliseconds);
    }

    /// A block is final: what it had is out, and who had much in it is known.
    pub fn committed<'a>(&mut self, ids: impl Iterator<Item = &'a TransactionId>) {
        let mut weights: BTreeMap<Name, (usize, usize)> = BTreeMap::new();
        for id in ids {
            let size = self.get(id).map_or(0, |transaction| transaction.bytes().len());
            if let Some(organisation) = self.remove(id) {
                let (places, bytes) = weights.entry(organisation).or_default();
                *places += 1;
                *bytes += size;
            }
        }
        let weights = weights.into_iter().map(|(organisation, (places, bytes))| (organisation, weight(places, bytes)));
        let queues = &self.queues;
        self.pace.committed(weights.collect(), |organisation| queues.get(organisation).map_or(0, Queue::weight));
    }

    /// Those that take long, by the key that signed them.
    #[must_use]
    pub fn long_by_key(&self) -> BTreeMap<PublicKey, Vec<VerifiedTransaction>> {
        let mut by_key: BTreeMap<_, _> =
            self.queues.values().flat_map(Queue::keys_with_long).map(|key| (key, Vec::new())).collect();
        if by_key.is_empty() {
            return by_key;
        }
        for Waiting { transaction, .. } in self.waiting.values() {
            if takes_long(transaction)
                && let Some(transactions) = by_key.get_mut(&transaction.signer())
            {
                transactions.push(transaction.clone());
            }
        }
        by_key
    }

    /// Takes one out; whose it was.
    pub fn remove(&mut self, id: &TransactionId) -> Option<Name> {
        let place = self.places.remove(id)?;
        let Waiting { transaction, organisation, .. } = self.waiting.remove(&place)?;
        let item = Item::of(&transaction);
        self.bytes -= item.bytes;
        let queue = self.queues.get_mut(&organisation)?;
        queue.remove(item, place, turn(&mut self.next_turn));
        if queue.is_empty() {
            self.queues.remove(&organisation);
        }
        Some(organisation)
    }

    /// After a block: those next in turn that were passed over, at most `limit`, and no more of an organisation than
    /// its share while others have little to say. They had their chance, so something may have become wrong with
    /// them.
    pub fn passed_over(&mut self, limit: usize) -> Vec<PassedOver> {
        let places = self.in_turn(limit, usize::MAX, limit, self.shares(limit));
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

/// How much so many transactions of so many bytes are, in ordinary ones: a few long ones are no more than a few,
/// and many long ones more than many.
fn weight(places: usize, bytes: usize) -> usize {
    places.max(bytes / LONG_BYTES)
}

/// The next number.
fn turn(next: &mut u64) -> u64 {
    *next += 1;
    *next
}

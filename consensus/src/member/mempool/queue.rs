//! What waits of one organisation: each key's in the order in which it came, and the keys in turn. A key that was
//! stolen, or has gone mad, is one of its organisation's and not all of it.

use super::long::takes_long;
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;
use std::cmp::Reverse;
use std::collections::btree_set::Iter;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// What waits of one organisation.
pub(super) struct Queue {
    /// By key; none is empty.
    lines: BTreeMap<PublicKey, Line>,
    /// The keys, by when they last had a turn, or came.
    order: BTreeSet<(u64, PublicKey)>,
    /// The keys, by how many of theirs wait.
    crowded: BTreeSet<(usize, PublicKey)>,
    places: usize,
    bytes: usize,
    long: usize,
    /// When it last had a turn, or came: of two that have spent as much, the lower one is first.
    pub(super) served: u64,
}

/// What waits of one key.
#[derive(Default)]
struct Line {
    places: BTreeSet<u64>,
    bytes: usize,
    long: usize,
    served: u64,
}

/// One transaction that waits.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) key: PublicKey,
    pub(super) bytes: usize,
    /// Whether it takes long.
    pub(super) long: bool,
}

impl Item {
    pub(super) fn of(transaction: &VerifiedTransaction) -> Self {
        Self { key: transaction.signer(), bytes: transaction.bytes().len(), long: takes_long(transaction) }
    }
}

impl Queue {
    pub(super) fn new(served: u64) -> Self {
        let (lines, order, crowded) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { lines, order, crowded, places: 0, bytes: 0, long: 0, served }
    }

    pub(super) fn len(&self) -> usize {
        self.places
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much that is, in ordinary transactions.
    pub(super) fn weight(&self) -> usize {
        super::weight(self.places, self.bytes)
    }

    /// How many wait of one key, and their bytes.
    pub(super) fn of(&self, key: &PublicKey) -> (usize, usize) {
        self.lines.get(key).map_or((0, 0), |line| (line.places.len(), line.bytes))
    }

    /// How many wait that take long, and how many of them of one key.
    pub(super) fn long(&self, key: &PublicKey) -> (usize, usize) {
        (self.long, self.lines.get(key).map_or(0, |line| line.long))
    }

    /// Keys of which some wait that take long.
    pub(super) fn keys_with_long(&self) -> impl Iterator<Item = PublicKey> {
        self.lines.iter().filter(|(_, line)| line.long > 0).map(|(key, _)| *key)
    }

    /// Keys of which so many wait, or more.
    pub(super) fn keys_with(&self, places: usize) -> impl Iterator<Item = (PublicKey, usize)> {
        self.crowded.iter().rev().take_while(move |(count, _)| *count >= places).map(|(count, key)| (*key, *count))
    }

    pub(super) fn insert(&mut self, item: Item, place: u64, turn: u64) {
        let Item { key, bytes, long } = item;
        let order = &mut self.order;
        let line = self.lines.entry(key).or_insert_with(|| {
            order.insert((turn, key));
            Line { served: turn, ..Line::default() }
        });
        self.crowded.remove(&(line.places.len(), key));
        line.places.insert(place);
        self.crowded.insert((line.places.len(), key));
        line.bytes += bytes;
        line.long += usize::from(long);
        self.places += 1;
        self.bytes += bytes;
        self.long += usize::from(long);
    }

    /// Takes one out: its key, and the organisation, have had a turn.
    pub(super) fn remove(&mut self, item: Item, place: u64, turn: u64) {
        let Item { key, bytes, long } = item;
        let Some(line) = self.lines.get_mut(&key) else { return };
        let waiting = line.places.len();
        if !line.places.remove(&place) {
            return;
        }
        self.crowded.remove(&(waiting, key));
        line.bytes -= bytes;
        line.long -= usize::from(long);
        self.places -= 1;
        self.bytes -= bytes;
        self.long -= usize::from(long);
        self.served = turn;
        self.order.remove(&(line.served, key));
        line.served = turn;
        if line.places.is_empty() {
            self.lines.remove(&key);
        } else {
            self.order.insert((turn, key));
            self.crowded.insert((waiting - 1, key));
        }
    }

    /// What waits, of the keys in turn.
    pub(super) fn turns(&self) -> Turns<'_> {
        Turns { lines: &self.lines, fresh: self.order.iter(), begun: Vec::new(), again: BinaryHeap::new(), last: None }
    }
}

/// Places of an organisation, its keys in turn: the next is of the key that has spent least; among those, of the one
/// whose last turn, or coming, is the longest ago.
pub(super) struct Turns<'a> {
    lines: &'a BTreeMap<PublicKey, Line>,
    /// Keys that have spent nothing: all of them come before any that has.
    fresh: Iter<'a, (u64, PublicKey)>,
    begun: Vec<Iter<'a, u64>>,
    again: BinaryHeap<Reverse<(usize, usize)>>,
    /// Whose turn it was, and what it had spent.
    last: Option<(usize, usize)>,
}

impl Turns<'_> {
    /// The next place. Its key has no more turns, unless [`Self::spent`] is said of it.
    pub(super) fn next(&mut self) -> Option<u64> {
        loop {
            let (spent, index) = if let Some((_, key)) = self.fresh.next() {
                self.begun.push(self.lines.get(key)?.places.iter());
                (0, self.begun.len() - 1)
            } else {
                self.again.pop()?.0
            };
            if let Some(place) = self.begun[index].next() {
                self.last = Some((spent, index));
                return Some(*place);
            }
        }
    }

    /// The last one was taken, and cost so much.
    pub(super) fn spent(&mut self, cost: usize) {
        if let Some((spent, index)) = self.last.take() {
            self.again.push(Reverse((spent.saturating_add(cost), index)));
        }
    }
}

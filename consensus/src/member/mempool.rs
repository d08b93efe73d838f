//! Transactions admitted and not yet finalised: bounded, first come first served, one organisation
//! never takes all the places (it may take all the bytes).

use ledger::bounded::Name;
use ledger::id::TransactionId;
use ledger::transaction::VerifiedTransaction;
use std::collections::BTreeMap;

/// Bounds of the pool.
#[derive(Clone, Copy, Debug)]
pub struct MempoolLimits {
    /// Transactions altogether.
    pub transactions_max: usize,
    /// Their bytes altogether.
    pub bytes_max: usize,
    /// Transactions of one organisation.
    pub per_organisation_max: usize,
}

impl Default for MempoolLimits {
    fn default() -> Self {
        Self { transactions_max: 8_000, bytes_max: 32 * 1024 * 1024, per_organisation_max: 6_000 }
    }
}

/// Where a transaction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client of this node.
    Client,
    /// A peer, which admitted it: it will be in a block soon, so here is room kept for it.
    Peer,
}

impl Source {
    /// What a bound is for it. Clients get three quarters, so that all pools hold what peers admitted:
    /// a block of transactions that are here is judged without asking for any.
    const fn share(self, bound: usize) -> usize {
        match self {
            Self::Client => bound / 4 * 3,
            Self::Peer => bound,
        }
    }
}

/// Why there is no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The pool is full.
    #[error("{pending} transactions are waiting, no more are taken now")]
    Full {
        /// How many wait.
        pending: usize,
    },
    /// The organisation has its share.
    #[error("{pending} transactions of {organisation} are waiting, its share")]
    Quota {
        /// Whose.
        organisation: Name,
        /// How many wait.
        pending: usize,
    },
}

/// How full a pool is, for refusing cheaply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Transactions that wait.
    pub pending: usize,
    /// Whether no client's transaction has room.
    pub full: bool,
    /// Organisations that have their share, and how many of theirs wait.
    pub organisations: BTreeMap<Name, usize>,
}

impl Crowd {
    /// What admission will say to a client, as far as that is known beforehand.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn room_for(&self, organisation: Option<&Name>) -> Result<(), NoRoom> {
        if self.full {
            return Err(NoRoom::Full { pending: self.pending });
        }
        match organisation.and_then(|organisation| self.organisations.get_key_value(organisation)) {
            Some((organisation, pending)) => {
                Err(NoRoom::Quota { organisation: organisation.clone(), pending: *pending })
            }
            None => Ok(()),
        }
    }
}

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
    /// It came from a client of this node, and for so long that the others may never have heard of it.
    pub say_again: bool,
}

/// Blocks that pass over a client's transaction before it is told to the others once more; then twice
/// as many, and so on.
const SAY_AGAIN_AFTER: u32 = 4;

/// The pool.
pub struct Mempool {
    limits: MempoolLimits,
    waiting: BTreeMap<u64, Waiting>,
    places: BTreeMap<TransactionId, u64>,
    per_organisation: BTreeMap<Name, usize>,
    bytes: usize,
    next_place: u64,
}

impl Mempool {
    /// An empty pool.
    #[must_use]
    pub fn new(limits: MempoolLimits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            per_organisation: BTreeMap::new(),
            bytes: 0,
            next_place: 0,
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

    /// Takes one in, at the end. One that waits already stays where it is.
    ///
    /// # Errors
    /// [`NoRoom`].
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
        if self.is_full(size, source) {
            return Err(NoRoom::Full { pending: self.len() });
        }
        let pending = self.per_organisation.entry(organisation.clone()).or_default();
        if *pending >= source.share(self.limits.per_organisation_max) {
            return Err(NoRoom::Quota { organisation, pending: *pending });
        }
        *pending += 1;
        self.bytes += size;
        self.places.insert(transaction.id(), self.next_place);
        self.waiting.insert(self.next_place, Waiting { transaction, organisation, source, passed_over: 0 });
        self.next_place += 1;
        Ok(())
    }

    fn is_full(&self, size: usize, source: Source) -> bool {
        self.waiting.len() >= source.share(self.limits.transactions_max)
            || self.bytes + size > source.share(self.limits.bytes_max)
    }

    /// What clients are told before anything of theirs is looked at.
    #[must_use]
    pub fn crowd(&self) -> Crowd {
        let share = Source::Client.share(self.limits.per_organisation_max);
        let crowded = self.per_organisation.iter().filter(|(_, pending)| **pending >= share);
        Crowd {
            pending: self.len(),
            full: self.is_full(0, Source::Client),
            organisations: crowded.map(|(organisation, pending)| (organisation.clone(), *pending)).collect(),
        }
    }

    /// Candidates for the next block, oldest first.
    pub fn candidates(&self) -> impl Iterator<Item = VerifiedTransaction> + '_ {
        self.waiting.values().map(|waiting| waiting.transaction.clone())
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &TransactionId) {
        let Some(place) = self.places.remove(id) else { return };
        let Some(waiting) = self.waiting.remove(&place) else { return };
        self.bytes -= waiting.transaction.bytes().len();
        if let Some(pending) = self.per_organisation.get_mut(&waiting.organisation) {
            *pending -= 1;
            if *pending == 0 {
                self.per_organisation.remove(&waiting.organisation);
            }
        }
    }

    /// After a block: the oldest ones that were passed over, at most `limit`. They had their chance,
    /// so something may have become wrong with them.
    pub fn passed_over(&mut self, limit: usize) -> Vec<PassedOver> {
        self.waiting
            .values_mut()
            .take(limit)
            .filter_map(|waiting| {
                waiting.passed_over += 1;
                let long = waiting.passed_over >= SAY_AGAIN_AFTER && waiting.passed_over.is_power_of_two();
                (waiting.passed_over > 1).then(|| PassedOver {
                    transaction: waiting.transaction.clone(),
                    say_again: long && waiting.source == Source::Client,
                })
            })
            .collect()
    }
}

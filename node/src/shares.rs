//! Fair shares: of everything that strangers hold there is so much for all, and so much for one address. Where what
//! there is for all is counted here too, no address holds more than it leaves: however many take all they are
//! given, whoever comes next finds as much as each of them has.

use crate::origin::Origin;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Semaphore;

/// Counts what each address holds.
pub(crate) struct Shares {
    all: usize,
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    sum: usize,
    /// By address; none is zero.
    of: HashMap<Origin, usize>,
}

/// So many of an address's, until they are dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    origin: Origin,
    count: usize,
}

/// Why there is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoShare {
    /// More than one address may have.
    Most(usize),
    /// The address would have more than it leaves to others, which is so much.
    Leaves(usize),
    /// More than there is for all.
    All(usize),
}

impl Shares {
    /// So much for each address, and whoever asks counts what all have.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Self::of_all(usize::MAX, most)
    }

    /// So much for all, and so much of it for each address: it has no more than it leaves.
    pub(crate) fn of_all(all: usize, most: usize) -> Arc<Self> {
        Arc::new(Self { all, most, held: Mutex::default() })
    }

    /// What one address may hold.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// One more for an address; `None` when it has its share.
    pub(crate) fn take(self: &Arc<Self>, origin: Origin) -> Option<Share> {
        self.take_many(origin, 1).ok()
    }

    /// So many more for an address, or nothing.
    pub(crate) fn take_many(self: &Arc<Self>, origin: Origin, count: usize) -> Result<Share, NoShare> {
        let mut held = self.held();
        let free = self.all - held.sum;
        let of = held.of.get(&origin).copied().unwrap_or(0).saturating_add(count);
        if of > self.most {
            return Err(NoShare::Most(self.most));
        }
        if count > free {
            return Err(NoShare::All(self.all));
        }
        if of > free {
            return Err(NoShare::Leaves(free));
        }
        held.sum += count;
        held.of.insert(origin, of);
        Ok(Share { shares: self.clone(), origin, count })
    }

    /// What there is for all.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.all - self.held().sum
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// So many of it, or all there are.
    pub(crate) fn split(&mut self, count: usize) -> Self {
        let count = count.min(self.count);
        self.count -= count;
        Self { shares: self.shares.clone(), origin: self.origin, count }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        held.sum -= self.count;
        if let Some(of) = held.of.get_mut(&self.origin) {
            *of -= self.count;
            if *of == 0 {
                held.of.remove(&self.origin);
            }
        }
    }
}

/// Shares that are waited for: each address, or peer, has a queue of its own.
pub(crate) struct Queues<K> {
    most: usize,
    queues: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Eq + Hash> Queues<K> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, queues: Mutex::default() }
    }

    /// What one may hold.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Where somebody gets a share. Who holds some of it, or waits, keeps the queue.
    pub(crate) fn of(&self, who: K) -> Arc<Semaphore> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(&who).and_then(Weak::upgrade) {
            return queue;
        }
        // Who holds nothing is forgotten; those who do are no more than connections.
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::new(Semaphore::new(self.most));
        queues.insert(who, Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn origin(address: &str) -> Origin {
        Origin::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn an_address_has_its_share_and_no_more_and_gets_it_back() {
        let shares = Shares::new(3);
        let mut held: Vec<_> = (0..3).map(|_| shares.take(origin("192.0.2.1")).unwrap()).collect();
        assert!(shares.take(origin("192.0.2.1")).is_none());
        assert!(shares.take(origin("192.0.2.2")).is_some());
        held.pop();
        held.push(shares.take(origin("192.0.2.1")).unwrap());
        assert!(shares.take(origin("192.0.2.1")).is_none());
        held.clear();
        assert!(shares.held().of.is_empty(), "addresses that hold nothing are forgotten");
    }

    /// What is taken at once is given or refused as a whole.
    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let shares = Shares::new(10);
        let held = shares.take_many(origin("192.0.2.1"), 8).unwrap();
        for (last, count) in [(1, 3), (1, usize::MAX), (3, 11)] {
            let refused = shares.take_many(origin(&format!("192.0.2.{last}")), count).err();
            assert_eq!(refused, Some(NoShare::Most(10)));
        }
        let rest = shares.take_many(origin("192.0.2.1"), 2).unwrap();
        drop(held);
        assert!(shares.take_many(origin("192.0.2.1"), 8).is_ok());
        drop(rest);
        assert!(shares.held().of.is_empty(), "addresses that hold nothing are forgotten");
    }

    /// However many addresses take all they can get, the next gets as much as each of them.
    #[test]
    fn no_address_has_more_than_it_leaves() {
        let shares = Shares::of_all(120, 100);
        let mut held = Vec::new();
        let mut greedy = |last: u8| {
            let before = held.len();
            held.extend(std::iter::from_fn(|| shares.take(origin(&format!("192.0.2.{last}")))));
            held.len() - before
        };
        // Each comes when those before it have all they can get.
        assert_eq!([greedy(1), greedy(2), greedy(3), greedy(4)], [60, 30, 15, 8]);
        assert_eq!(shares.take_many(origin("192.0.2.1"), 1).err(), Some(NoShare::Leaves(7)));
        assert_eq!(shares.take_many(origin("192.0.2.9"), 8).err(), Some(NoShare::All(120)));
        assert!(shares.take_many(origin("192.0.2.9"), 7).is_ok());
        held.clear();
        assert_eq!((shares.free(), shares.held().of.len()), (120, 0));
    }

    #[test]
    fn a_share_is_given_back_in_parts() {
        let shares = Shares::of_all(20, 10);
        let mut share = shares.take_many(origin("192.0.2.1"), 10).unwrap();
        let part = share.split(4);
        drop(share);
        assert_eq!(shares.free(), 16);
        assert_eq!(part.count, 4);
        drop(part);
        assert_eq!((shares.free(), shares.held().of.len()), (20, 0));
    }

    /// An address waits for itself only, and is forgotten when it holds nothing.
    #[test]
    fn each_address_has_its_queue_for_as_long_as_it_needs_one() {
        let queues = Queues::new(3);
        let held = queues.of(origin("192.0.2.1")).try_acquire_many_owned(3).unwrap();
        assert!(queues.of(origin("192.0.2.1")).try_acquire_owned().is_err());
        assert!(queues.of(origin("192.0.2.2")).try_acquire_many_owned(3).is_ok());
        drop(held);
        let held = queues.of(origin("192.0.2.1")).try_acquire_many_owned(3).unwrap();
        let _other = queues.of(origin("192.0.2.3"));
        assert_eq!(queues.queues.lock().unwrap().len(), 2);
        drop(held);
    }
}

//! Who is connected, and who has to go when somebody else comes and there is no place left.
//!
//! Nobody is asked who he is before he has a place, so all there is to judge by is where he comes from and what he
//! did. Every network has a limit, at each width at which networks are given out. When there is no place, the network
//! that holds most makes one, and in it the part that holds most, down to one address: first the connection that has
//! not said hello in time, then the one that never asked for anything, then the one that has rested longest, and last
//! the one that came last, for whoever has been at work for long is worth more than whoever has just come. Whoever has
//! just come has a moment to say hello, but beside his neighbours. Whoever holds least therefore finds a place, unless
//! others come from so many networks, and so fast, that all places are taken by what came within that moment.
//!
//! Whoever has many networks would still fill all places. So places are of two kinds: an address from which a
//! transaction was admitted lately, one of a configured peer and this host itself are *known*, and neither the known
//! nor strangers have more than three quarters of all.

use super::calls::{Calls, Use};
use crate::origin::{Network, Origin, Width};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Parts of all places of which the limits are so many.
const PARTS: usize = 8;
/// Of one address (IPv6 /64): a half, so that a site of hundreds of endpoints behind one address stays connected.
const ADDRESS_PARTS: usize = 4;
/// Of one IPv6 /56.
const SITE_PARTS: usize = 5;
/// Of one IPv4 /24 or IPv6 /48.
const COMPANY_PARTS: usize = 6;
/// Of the known, and of strangers: a quarter is left to the others.
const KIND_PARTS: usize = 6;

/// How long an address is known after a transaction of it was admitted: endpoints have something to say whenever
/// they are patched.
pub const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Addresses that are known so. Of more, the one that was heard of longest ago is forgotten …
pub const KNOWN_MAX: usize = 4_096;
/// … and so many of one IPv4 /24 or IPv6 /48: else one hand could have all the others forgotten.
pub const KNOWN_PER_COMPANY_MAX: usize = 64;
/// How long whoever has just come may take to say hello before others take his place for theirs.
pub const GREETING_GRACE: Duration = Duration::from_secs(2);

/// Who is connected.
#[derive(Clone)]
pub struct Connections(Arc<Mutex<Held>>);

struct Held {
    /// Places there are.
    most: usize,
    next: u64,
    /// By where they come from, so that those of a network stand together, and in the order in which they came.
    places: BTreeMap<(Origin, u64), Place>,
    /// This host, and where configured peers are.
    expected: HashSet<Origin>,
    /// From where transactions were admitted, and when last.
    heard: HashMap<Origin, Instant>,
}

struct Place {
    calls: Calls,
    /// Dropped when the connection must end.
    _end: oneshot::Sender<()>,
}

/// A connection's place, until this is dropped.
pub(super) struct Entered {
    connections: Connections,
    held: (Origin, u64),
    /// What the connection is used for.
    pub(super) calls: Calls,
    /// Ends when another one needs the place.
    pub(super) end: oneshot::Receiver<()>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("network {0} has all the connections it may have, and calls on each")]
    Network(Network),
    #[error("all connections are taken, by nobody who has more than this address")]
    All,
}

impl Connections {
    /// So many places. Peers are expected at these addresses.
    pub(super) fn new(most: usize, peers: impl IntoIterator<Item = IpAddr>) -> Self {
        let host = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let expected = peers.into_iter().chain(host).map(Origin::from).collect();
        let held = Held { most: most.max(1), next: 0, places: BTreeMap::new(), expected, heard: HashMap::new() };
        Self(Arc::new(Mutex::new(held)))
    }

    /// A place for somebody who comes from there. Another connection may have to end for it.
    pub(super) fn enter(&self, origin: Origin) -> Result<Entered, NoPlace> {
        let mut held = self.held();
        if let Some(gone) = held.make_room(origin)? {
            held.places.remove(&gone);
        }
        let ((ending, end), calls, own) = (oneshot::channel(), Calls::new(), (origin, held.next));
        held.next += 1;
        held.places.insert(own, Place { calls: calls.clone(), _end: ending });
        Ok(Entered { connections: self.clone(), held: own, calls, end })
    }

    /// A transaction from there was admitted: somebody signed it whose key the ledger knows.
    pub(in crate::grpc) fn heard(&self, origin: Origin) {
        let mut held = self.held();
        if !held.heard.contains_key(&origin) {
            held.forget_for(origin);
        }
        held.heard.insert(origin, Instant::now());
    }

    /// Places there are.
    pub(super) fn most(&self) -> usize {
        self.held().most
    }

    /// The lock's holder decides before it changes anything, so a panic elsewhere cannot have left it half-way.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.connections.held().places.remove(&self.held);
    }
}

impl Held {
    /// Which connection has to end before one more from there begins, if any.
    fn make_room(&self, newcomer: Origin) -> Result<Option<(Origin, u64)>, NoPlace> {
        let now = Instant::now();
        for (width, parts) in
            [(Width::Address, ADDRESS_PARTS), (Width::Site, SITE_PARTS), (Width::Company, COMPANY_PARTS)]
        {
            let network = newcomer.network(width);
            let of_it = || self.places.iter().filter(|((origin, _), _)| origin.network(width) == network);
            if of_it().count() >= self.part(parts) {
                return who_goes(seen(of_it(), newcomer, now), newcomer).map(Some).ok_or(NoPlace::Network(network));
            }
        }
        let is_known = self.is_known(newcomer, now);
        let (alike, others): (Vec<_>, Vec<_>) =
            self.places.iter().partition(|((origin, _), _)| self.is_known(*origin, now) == is_known);
        let pool = if alike.len() >= self.part(KIND_PARTS) {
            alike
        } else if self.places.len() >= self.most {
            // These are more than the quarter that is theirs.
            if others.is_empty() { alike } else { others }
        } else {
            return Ok(None);
        };
        who_goes(seen(pool, newcomer, now), newcomer).map(Some).ok_or(NoPlace::All)
    }

    /// Makes room among the known for one more address.
    fn forget_for(&mut self, newcomer: Origin) {
        let company = newcomer.network(Width::Company);
        let of_it = self.heard.keys().filter(|origin| origin.network(Width::Company) == company).count();
        let may_go = |origin: &Origin| of_it < KNOWN_PER_COMPANY_MAX || origin.network(Width::Company) == company;
        if of_it >= KNOWN_PER_COMPANY_MAX || self.heard.len() >= KNOWN_MAX {
            let those = self.heard.iter().filter(|(origin, _)| may_go(origin));
            if let Some(oldest) = those.min_by_key(|(_, when)| **when).map(|(origin, _)| *origin) {
                self.heard.remove(&oldest);
            }
        }
    }

    /// So many eighths of all, and one at least.
    fn part(&self, parts: usize) -> usize {
        (self.most * parts / PARTS).max(1)
    }

    fn is_known(&self, origin: Origin, now: Instant) -> bool {
        let lately = |when: &Instant| now.saturating_duration_since(*when) < KNOWN_FOR;
        self.expected.contains(&origin) || self.heard.get(&origin).is_some_and(lately)
    }
}

/// A place, as it is looked at once.
#[derive(Clone, Copy)]
struct Seen {
    held: (Origin, u64),
    usage: Use,
    /// Whoever has just come is left the time to say hello: else the next knock would throw him out, and the next him.
    /// Not so beside his neighbours: whoever knocks on and on shall not have theirs end that say something.
    may_go: bool,
}

impl Seen {
    fn network(&self, width: Width) -> Network {
        self.held.0.network(width)
    }
}

fn seen<'a>(
    places: impl IntoIterator<Item = (&'a (Origin, u64), &'a Place)>,
    newcomer: Origin,
    now: Instant,
) -> Vec<Seen> {
    let company = newcomer.network(Width::Company);
    let see = |(held, place): (&(Origin, u64), &Place)| {
        let usage = place.calls.usage();
        let is_new = matches!(usage, Use::Knocking(since) if now.saturating_duration_since(since) < GREETING_GRACE);
        Seen { held: *held, usage, may_go: !is_new || held.0.network(Width::Company) == company }
    };
    places.into_iter().map(see).collect()
}

/// Who of these, in the order of their origins, has to go for somebody from there: of the network that holds most, and
/// of its part that holds most. Where that is the newcomer's own, calls under way are not broken off: it would gain
/// nothing.
fn who_goes(mut pool: Vec<Seen>, newcomer: Origin) -> Option<(Origin, u64)> {
    let mut holds_less = false;
    for width in Width::ALL {
        let own = newcomer.network(width);
        let networks: Vec<&[Seen]> = pool.chunk_by(|one, other| one.network(width) == other.network(width)).collect();
        let may_go = |network: &[Seen]| network.iter().any(|seen| seen.may_go);
        let most = networks.iter().filter(|network| may_go(network)).map(|network| network.len()).max()?;
        let is_own = |network: &[Seen]| network[0].network(width) == own;
        let own_holds = networks.iter().find(|network| is_own(network)).map_or(0, |network| network.len());
        holds_less |= own_holds < most;
        let goes_on = |network: &[Seen]| match holds_less {
            true => network.len() == most && may_go(network),
            false => is_own(network),
        };
        pool = networks.into_iter().filter(|network| goes_on(network)).flatten().copied().collect();
    }
    pool.retain(|seen| seen.may_go);
    let useless = pool.iter().filter_map(|seen| match seen.usage {
        Use::Knocking(since) => Some(((0, since, seen.held.1), seen.held)),
        Use::Silent(since) => Some(((1, since, seen.held.1), seen.held)),
        Use::Resting(since) => Some(((2, since, seen.held.1), seen.held)),
        Use::Busy => None,
    });
    let youngest = pool.iter().map(|seen| seen.held).filter(|_| holds_less).max_by_key(|(_, number)| *number);
    useless.min_by_key(|(rank, _)| *rank).map(|(_, held)| held).or(youngest)
}

#[cfg(test)]
mod tests;

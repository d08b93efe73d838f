//! Fair shares: of everything that strangers hold there is so much for all, and so much for one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Where somebody comes from, as far as shares go. Who has one IPv6 address has the 2^64 of its network, so
/// they count as one; an IPv4 address is itself, however it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address => address,
        })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(formatter),
            IpAddr::V6(address) => write!(formatter, "{address}/64"),
        }
    }
}

/// Counts what each address holds.
pub(crate) struct Shares {
    most: usize,
    held: Mutex<HashMap<Origin, usize>>,
}

/// So many of an address's, until they are dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    origin: Origin,
    count: usize,
}

impl Shares {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default() })
    }

    /// What one address may hold.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// One more for an address; `None` when it has its share.
    pub(crate) fn take(self: &Arc<Self>, origin: Origin) -> Option<Share> {
        self.take_many(origin, 1)
    }

    /// So many more for an address; `None` when that is more than its share.
    pub(crate) fn take_many(self: &Arc<Self>, origin: Origin, count: usize) -> Option<Share> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of = held.get(&origin).copied().unwrap_or(0).checked_add(count).filter(|of| *of <= self.most)?;
        held.insert(origin, of);
        Some(Share { shares: self.clone(), origin, count })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of) = held.get_mut(&self.origin) {
            *of -= self.count;
            if *of == 0 {
                held.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(shares.held.lock().unwrap().is_empty(), "addresses that hold nothing are forgotten");
    }

    /// What is taken at once is given or refused as a whole.
    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let shares = Shares::new(10);
        let held = shares.take_many(origin("192.0.2.1"), 8).unwrap();
        assert!(shares.take_many(origin("192.0.2.1"), 3).is_none());
        assert!(shares.take_many(origin("192.0.2.1"), usize::MAX).is_none());
        assert!(shares.take_many(origin("192.0.2.3"), 11).is_none());
        let rest = shares.take_many(origin("192.0.2.1"), 2).unwrap();
        drop(held);
        assert!(shares.take_many(origin("192.0.2.1"), 8).is_some());
        drop(rest);
        assert!(shares.held.lock().unwrap().is_empty(), "addresses that hold nothing are forgotten");
    }

    /// Whoever has an IPv6 network does not have a share for each of its addresses.
    #[test]
    fn a_network_is_one_origin_and_an_address_is_one_however_it_is_written() {
        assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_eq!(origin("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }
}

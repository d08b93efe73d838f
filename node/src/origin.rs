//! Where somebody comes from: an address, and the networks around it that one hand may hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where somebody comes from, as far as shares go. Who has one IPv6 address has the 2^64 of its network, so
/// they count as one; an IPv4 address is itself, however it is written. In their order, those of a network stand
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin(IpAddr);

/// How wide a network is that is counted as one. What is given out together is in one hand: an IPv6 address means
/// the 2^64 of its network, a household or a small site has 256 such networks, a company 65,536; of IPv4, addresses
/// are few, and what one can rent many of lies side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// IPv6 /48, IPv4 /24.
    Company,
    /// IPv6 /56; of IPv4 the address.
    Site,
    /// IPv6 /64; of IPv4 the address.
    Address,
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Width {
    /// All, the widest first.
    pub(crate) const ALL: [Self; 3] = [Self::Company, Self::Site, Self::Address];

    /// Leading bits of an address that make the network.
    const fn prefix(self, address: IpAddr) -> u8 {
        match (address, self) {
            (IpAddr::V4(_), Self::Company) => 24,
            (IpAddr::V4(_), Self::Site | Self::Address) => 32,
            (IpAddr::V6(_), Self::Company) => 48,
            (IpAddr::V6(_), Self::Site) => 56,
            (IpAddr::V6(_), Self::Address) => 64,
        }
    }
}

impl Origin {
    /// Nowhere: who comes by no connection of ours.
    pub(crate) const NOWHERE: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    /// The network of this width around it.
    pub(crate) fn network(self, width: Width) -> Network {
        let prefix = width.prefix(self.0);
        let first = match self.0 {
            IpAddr::V4(address) => {
                let host = 32 - u32::from(prefix);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() >> host << host))
            }
            IpAddr::V6(address) => {
                let host = 128 - u32::from(prefix);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> host << host))
            }
        };
        Network { first, prefix }
    }
}

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

impl std::fmt::Display for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Origin {
        Origin::from(address.parse::<IpAddr>().unwrap())
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

    #[test]
    fn an_address_is_in_a_network_of_every_width() {
        let networks = |address| Width::ALL.map(|width| origin(address).network(width).to_string());
        assert_eq!(networks("192.0.2.77"), ["192.0.2.0/24", "192.0.2.77/32", "192.0.2.77/32"]);
        assert_eq!(networks("::ffff:192.0.2.77"), networks("192.0.2.77"));
        assert_eq!(networks("2001:db8:1:2ff::9"), ["2001:db8:1::/48", "2001:db8:1:200::/56", "2001:db8:1:2ff::/64"]);
        assert_ne!(networks("255.255.255.255"), networks("255.255.254.255"));
    }
}

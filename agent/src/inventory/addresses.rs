//! Where the host is reached: addresses of its interfaces, but those that lead back to it or no further than a link.

use super::fact;
use ledger::inventory::Address;
use std::io;
use std::net::IpAddr;

pub(super) fn look() -> io::Result<Vec<Address>> {
    let all = if_addrs::get_if_addrs()?.into_iter();
    let is_reached = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    };
    let address = |interface: if_addrs::Interface| {
        let address = Some(interface.ip()).filter(is_reached)?;
        Some(Address { interface: fact(&interface.name), address: fact(&address.to_string()) })
    };
    Ok(all.filter_map(address).collect())
}

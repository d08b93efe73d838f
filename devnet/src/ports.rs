//! Ports for the programs of a devnet.

use rand::RngExt as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Ports that are tried before giving up.
const TRIES_MAX: usize = 1_000;
/// The lowest port used: below are the well-known ones.
const LOWEST: u16 = 10_000;
/// Where the operating system begins to choose ports for outgoing connections, when it does not say.
const EPHEMERAL_DEFAULT: u16 = 32_768;
/// Where Linux says from which port on it chooses ports for outgoing connections.
const EPHEMERAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A port nobody listens on, and none that an outgoing connection may be given: between this look and
/// the program's own, the programs started before it make connections by the dozen.
///
/// # Errors
/// When no port is free, or the operating system lets nobody listen.
pub fn free_port() -> io::Result<u16> {
    let range = listening(&fs::read_to_string(EPHEMERAL_RANGE).unwrap_or_default());
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES_MAX {
        let port = rand::rng().random_range(range.clone());
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Ports below those of outgoing connections; all of them where there are no hundred below.
fn listening(ephemeral: &str) -> Range<u16> {
    let first = ephemeral.split_whitespace().next().and_then(|first| first.parse().ok());
    let first = first.unwrap_or(EPHEMERAL_DEFAULT);
    if first > LOWEST + 100 { LOWEST..first } else { LOWEST..u16::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lie_below_those_of_outgoing_connections() {
        assert_eq!(listening("32768\t60999\n"), 10_000..32_768);
        assert_eq!(listening("15000 60999"), 10_000..15_000);
    }

    #[test]
    fn a_machine_that_says_nothing_or_leaves_nothing_has_ports_too() {
        assert_eq!(listening(""), 10_000..32_768);
        assert_eq!(listening("1024 65535"), 10_000..65_535);
    }
}

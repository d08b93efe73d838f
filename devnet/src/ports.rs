//! Ports for the programs of a devnet.

use rand::RngExt as _;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Ports that are tried before giving up.
const TRIES_MAX: usize = 1_000;
/// The lowest port used: below are the well-known ones.
const LOWEST: u16 = 10_000;
/// Where the operating system begins to choose ports for outgoing connections, when it does not say.
const EPHEMERAL_DEFAULT: u16 = 32_768;
/// Where Linux says from which port on it chooses ports for outgoing connections.
const EPHEMERAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Where processes say which ports they have given out, below the directory for temporary files: one empty
/// file of each, locked for as long as the process lives.
const GIVEN_OUT: &str = "countersign-ports";

/// The locks of the ports this process has given out.
static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port nobody listens on, and none that an outgoing connection may be given: between this look and
/// the program's own, the programs started before it make connections by the dozen. Nor has another devnet
/// of this machine given it to a program that does not listen yet.
///
/// # Errors
/// When no port is free, or the operating system lets nobody listen.
pub fn free_port() -> io::Result<u16> {
    let range = listening(&fs::read_to_string(EPHEMERAL_RANGE).unwrap_or_default());
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES_MAX {
        let port = rand::rng().random_range(range.clone());
        if is_given_out(port) {
            continue;
        }
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether somebody has given this port out; or else it is given out now. Who cannot write there takes the
/// risk: it is a small one.
fn is_given_out(port: u16) -> bool {
    let directory = std::env::temp_dir().join(GIVEN_OUT);
    let opened = fs::create_dir_all(&directory)
        .and_then(|()| File::options().create(true).append(true).open(directory.join(port.to_string())));
    let Ok(file) = opened else { return false };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            false
        }
        Err(error) => error == Errno::WOULDBLOCK,
    }
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
    fn no_port_is_given_out_twice() {
        let port = free_port().unwrap();
        assert!(is_given_out(port));
    }

    #[test]
    fn a_machine_that_says_nothing_or_leaves_nothing_has_ports_too() {
        assert_eq!(listening(""), 10_000..32_768);
        assert_eq!(listening("1024 65535"), 10_000..65_535);
    }
}

//! Connections of which nobody knows yet whose they are: only so many at once, altogether and of one address.
//! So a stranger that comes a thousand times and never says a word keeps nobody out that comes from elsewhere.

use crate::shares::{Origin, Share, Shares};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll};

/// Connections from outside that have not yet said whose they are. Each takes a file, and the disk needs some,
/// too.
pub(super) const GREETINGS_MAX: u32 = 256;
/// Those of one address.
const GREETINGS_PER_ADDRESS_MAX: usize = 16;

/// An address has its share of greetings.
#[derive(Debug, thiserror::Error)]
#[error("{0} greets {GREETINGS_PER_ADDRESS_MAX} times at once already")]
struct TooMany(Origin);

/// Holds a share for each connection until it is known whose it is.
pub(super) struct Greetings {
    shares: Arc<Shares>,
    held: HashMap<ConnectionId, Share>,
}

impl Default for Greetings {
    fn default() -> Self {
        Self { shares: Shares::new(GREETINGS_PER_ADDRESS_MAX), held: HashMap::new() }
    }
}

/// Where a connection comes from. Those without an address of the internet share one.
fn origin(remote: &Multiaddr) -> Origin {
    let address = remote.iter().find_map(|part| match part {
        Protocol::Ip4(address) => Some(IpAddr::V4(address)),
        Protocol::Ip6(address) => Some(IpAddr::V6(address)),
        _ => None,
    });
    Origin::from(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

impl NetworkBehaviour for Greetings {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let origin = origin(remote);
        let share = self.shares.take(origin).ok_or_else(|| ConnectionDenied::new(TooMany(origin)))?;
        self.held.insert(id, share);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.held.remove(&id);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) = event {
            self.held.remove(&connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::swarm::ListenError;

    fn comes(greetings: &mut Greetings, number: usize, from: &str) -> bool {
        let here: Multiaddr = "/ip4/192.0.2.9/tcp/7000".parse().unwrap();
        let id = ConnectionId::new_unchecked(number);
        greetings.handle_pending_inbound_connection(id, &here, &from.parse().unwrap()).is_ok()
    }

    #[test]
    fn an_address_has_its_share_of_greetings_until_it_is_known_or_gone() {
        let mut greetings = Greetings::default();
        let stranger = "/ip4/192.0.2.1/tcp/1234";
        for number in 0..GREETINGS_PER_ADDRESS_MAX {
            assert!(comes(&mut greetings, number, stranger));
        }
        assert!(!comes(&mut greetings, 100, stranger));
        assert!(comes(&mut greetings, 101, "/ip4/192.0.2.2/udp/1234/quic-v1"));
        // One network is one stranger.
        for number in 200..200 + GREETINGS_PER_ADDRESS_MAX {
            assert!(comes(&mut greetings, number, &format!("/ip6/2001:db8::{number}/tcp/1")));
        }
        assert!(!comes(&mut greetings, 300, "/ip6/2001:db8::1/tcp/1"));

        // One has said whose it is, one went away: two more may come.
        let (here, there): (Multiaddr, Multiaddr) = (stranger.parse().unwrap(), stranger.parse().unwrap());
        let known = greetings.handle_established_inbound_connection(
            ConnectionId::new_unchecked(0),
            PeerId::random(),
            &here,
            &there,
        );
        assert!(known.is_ok());
        greetings.on_swarm_event(FromSwarm::ListenFailure(ListenFailure {
            local_addr: &here,
            send_back_addr: &there,
            error: &ListenError::Aborted,
            connection_id: ConnectionId::new_unchecked(1),
            peer_id: None,
        }));
        assert!([102, 103].into_iter().all(|number| comes(&mut greetings, number, stranger)));
        assert!(!comes(&mut greetings, 104, stranger));
    }
}

//! Who knocks and has not said yet who it is: only so many at once, altogether and of one address. The nodes this
//! one was told of are expected at their addresses, and have places there that strangers do not take.

use crate::config::{PeerAddress, ip};
use crate::origin::Origin;
use crate::shares::{NoShare, Share, Shares};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Connections of strangers that have not yet said whose they are. Each takes a file, and the disk needs some,
/// too.
pub const GREETINGS_MAX: usize = 64;
/// … of one address: a quarter of all, and no more than it leaves to others; and as many, apart from all, of the
/// address of each configured peer.
pub const GREETINGS_PER_ADDRESS_MAX: usize = GREETINGS_MAX / 4;
/// How long a greeting may take, ours to others and theirs to us: a few times there and back over the worst line.
/// The operating system knocks after one second and three, and then rests for ever longer: after that a new
/// attempt is sooner.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection is closed unheard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NoPlace {
    #[error(
        "connections of address {0} have not said whose they are: {GREETINGS_PER_ADDRESS_MAX}, or as many as it leaves"
    )]
    Share(Origin),
    #[error("{GREETINGS_MAX} connections have not said whose they are")]
    Full,
}

/// Counts who knocks.
pub(super) struct Greetings {
    /// Where configured peers are.
    expected: HashSet<Origin>,
    of_expected: Arc<Shares>,
    of_strangers: Arc<Shares>,
    knocking: HashMap<ConnectionId, Share>,
}

impl Greetings {
    pub(super) fn new(peers: &[PeerAddress]) -> Self {
        Self {
            expected: peers.iter().map(|peer| origin(&peer.address)).collect(),
            of_expected: Shares::new(GREETINGS_PER_ADDRESS_MAX),
            of_strangers: Shares::of_all(GREETINGS_MAX, GREETINGS_PER_ADDRESS_MAX),
            knocking: HashMap::new(),
        }
    }

    /// Somebody knocks.
    fn begin(&mut self, connection: ConnectionId, origin: Origin) -> Result<(), NoPlace> {
        let shares = if self.expected.contains(&origin) { &self.of_expected } else { &self.of_strangers };
        let share = shares.take_many(origin, 1).map_err(|no_share| match no_share {
            NoShare::All(_) => NoPlace::Full,
            NoShare::Most(_) | NoShare::Leaves(_) => NoPlace::Share(origin),
        })?;
        self.knocking.insert(connection, share);
        Ok(())
    }

    /// It has said who it is, or gone.
    fn end(&mut self, connection: ConnectionId) {
        self.knocking.remove(&connection);
    }
}

/// Where an address is. The transports we have begin with an IP address; all else is one place.
fn origin(address: &Multiaddr) -> Origin {
    ip(address).map_or(Origin::NOWHERE, Origin::from)
}

impl NetworkBehaviour for Greetings {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.begin(connection, origin(remote)).map_err(|no_place| {
            // To say why to who is there would cost what it must not have.
            tracing::debug!(%remote, %no_place, "a connection is closed unheard");
            ConnectionDenied::new(no_place)
        })
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.end(connection);
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

    fn on_swarm_event(&mut self, event: FromSwarm) {
        if let FromSwarm::ListenFailure(failure) = event {
            self.end(failure.connection_id);
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
    use ledger::key::PublicKey;
    use std::net::{IpAddr, Ipv4Addr};

    fn place(last: u8) -> Origin {
        Origin::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    /// Strangers fill what is theirs, each address no more than its share; configured peers have places all the
    /// while, in bounds, and whoever has gone or said who it is leaves its own.
    #[test]
    fn strangers_have_their_places_and_configured_peers_theirs() {
        let address = "/ip4/192.0.2.200/tcp/7000".parse().unwrap();
        let mut greetings = Greetings::new(&[PeerAddress { key: PublicKey([1; 32]), address }]);
        let mut numbers = 0..;
        let mut knock = |greetings: &mut Greetings, last| {
            let connection = ConnectionId::new_unchecked(numbers.next().unwrap());
            greetings.begin(connection, place(last)).map(|()| connection)
        };
        let mut held = Vec::new();
        // Each takes all it can get: its share, or as many as it leaves to others.
        for (last, most) in [(0, 16), (1, 16), (2, 16), (3, 8), (4, 4)] {
            for _ in 0..most {
                held.push(knock(&mut greetings, last).unwrap());
            }
            assert_eq!(knock(&mut greetings, last), Err(NoPlace::Share(place(last))));
        }
        held.extend((5..9).map(|last| knock(&mut greetings, last).unwrap()));
        assert_eq!(knock(&mut greetings, 9), Err(NoPlace::Full));
        let expected: Vec<_> = (0..16).map(|_| knock(&mut greetings, 200).unwrap()).collect();
        assert_eq!(knock(&mut greetings, 200), Err(NoPlace::Share(place(200))));
        greetings.end(held.pop().unwrap());
        held.push(knock(&mut greetings, 9).unwrap());
        assert_eq!(knock(&mut greetings, 9), Err(NoPlace::Full));
        for connection in held.into_iter().chain(expected) {
            greetings.end(connection);
            greetings.end(connection);
        }
        assert!(greetings.knocking.is_empty() && greetings.of_strangers.free() == GREETINGS_MAX);
        assert!(knock(&mut greetings, 9).is_ok());
    }

    #[test]
    fn an_address_is_where_it_says_whatever_is_spoken_there() {
        let at = |address: &str| origin(&address.parse().unwrap());
        assert_eq!(at("/ip4/192.0.2.7/tcp/7000"), at("/ip4/192.0.2.7/udp/1/quic-v1"));
        assert_eq!(at("/ip6/2001:db8::1/tcp/7000"), at("/ip6/2001:db8::2/tcp/7000"));
        assert_ne!(at("/ip4/192.0.2.7/tcp/7000"), at("/ip4/192.0.2.8/tcp/7000"));
    }
}

//! The network: libp2p connections to members' nodes, two long-lived streams each way.
//!
//! A peer is admitted by its key (Noise or QUIC's TLS prove it holds the key) and by membership (the
//! key is a member's node in the newest state). Consensus goes on a stream of its own, so that it
//! never queues behind transactions and blocks. What arrives is bounded before it is read, parsed at
//! one door and, where it carries signatures, verified here in parallel, before the member sees it.

mod aside;
mod door;
mod greetings;
mod queue;
mod silence;
mod speakers;
mod stays;
mod streams;
mod swarm;
mod visits;

pub use aside::ASIDE_PER_PEER_BYTES_MAX;
pub use greetings::{GREETING_TIMEOUT, GREETINGS_MAX, GREETINGS_PER_ADDRESS_MAX};
pub use stays::{LESSON_MAX, WORDLESS_MAX};
pub use swarm::{CONNECTIONS_PER_PEER_MAX, STREAMS_PER_CONNECTION_MAX, peer_id};

use crate::artifacts::Artifacts;
use crate::config::PeerAddress;
use crate::shell::Inbox;
use crate::verifier::Verifier;
use consensus::member::PeerMessage;
use door::{Door, Readers};
use ledger::key::{PublicKey, SecretKey};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, StreamProtocol};
use queue::{Queues, Way};
use rustix::net::{AddressFamily, SocketType, sockopt};
use speakers::Speakers;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use store::Store;
use streams::{Outbound, frame};
use tokio::sync::{mpsc, watch};

const URGENT: StreamProtocol = StreamProtocol::new("/countersign/urgent/1");
const BULK: StreamProtocol = StreamProtocol::new("/countersign/bulk/1");
const ARTIFACT: StreamProtocol = StreamProtocol::new("/countersign/artifact/1");

/// What the network is made from.
pub struct NetworkConfig {
    /// This node's identity.
    pub key: SecretKey,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Whom to dial.
    pub peers: Vec<PeerAddress>,
}

/// Why the network does not come up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Keys, transports.
    #[error("cannot set up libp2p: {0}")]
    Setup(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {detail}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the transport said.
        detail: String,
    },
}

/// A connected peer, for the status page.
#[derive(Clone, Debug)]
pub struct ConnectedPeer {
    /// Its node key.
    pub key: PublicKey,
    /// Where it is.
    pub address: String,
    /// Its newest height, as it says.
    pub height: u64,
}

type Outbounds = Arc<RwLock<HashMap<PublicKey, Outbound>>>;

/// The sending end.
#[derive(Clone)]
pub struct Network {
    outbounds: Outbounds,
    queues: Queues,
    disconnects: mpsc::UnboundedSender<PublicKey>,
    control: libp2p_stream::Control,
}

/// Brings the network up. `events` gets everything that happens; tasks end when `stop` changes.
///
/// # Errors
/// [`NetworkError`].
pub async fn start(
    config: NetworkConfig,
    store: Arc<Store>,
    artifacts: Arc<Artifacts>,
    (events, verifier): (Inbox, Verifier),
    stop: watch::Receiver<bool>,
) -> Result<Network, NetworkError> {
    let mut swarm = swarm::swarm(&config.key, &config.peers)?;
    let cannot = |address: &Multiaddr, error: &dyn std::error::Error| NetworkError::Listen {
        address: address.clone(),
        detail: error.to_string(),
    };
    // All of them before the first is listened on: of two of this node's own, one may cover the other.
    for address in &config.listen {
        check_free(address).map_err(|error| cannot(address, &error))?;
    }
    for address in &config.listen {
        swarm.listen_on(address.clone()).map_err(|error| cannot(address, &error))?;
    }
    swarm::await_listeners(&mut swarm, config.listen.len()).await?;
    let (disconnects, disconnect_requests) = mpsc::unbounded_channel();
    let control = swarm.behaviour().streams.new_control();
    let network = Network { outbounds: Arc::default(), queues: Queues::default(), disconnects, control };
    let told = Arc::new(config.peers.iter().map(|peer| peer.key).collect());
    let (readers, speakers) = (Readers::default(), Speakers::default());
    let own = config.key.public();
    let door = Door { own, verifier, store, told, network: network.clone(), events, readers, speakers };
    for (protocol, way) in [(URGENT, Way::Urgent), (BULK, Way::Bulk)] {
        let incoming = swarm::accept(&network.control, protocol)?;
        tokio::spawn(door.clone().receive(way, incoming));
    }
    tokio::spawn(door::serve_artifacts(swarm::accept(&network.control, ARTIFACT)?, door.clone(), artifacts));
    tokio::spawn(swarm::drive(swarm, config.peers, door, disconnect_requests, stop));
    Ok(network)
}

/// Whether nobody listens on a TCP address. libp2p would share the port with whoever does, and each would have some of
/// the other's peers. Asked as libp2p binds: an address of IPv6 is of that alone.
fn check_free(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::V4(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::V6(ip),
        _ => return Ok(()),
    };
    let Some(Protocol::Tcp(port)) = parts.next() else { return Ok(()) };
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(ip, port))?;
    Ok(rustix::net::listen(&socket, 1)?)
}

fn setup(error: impl std::fmt::Display) -> NetworkError {
    NetworkError::Setup(error.to_string())
}

impl Network {
    /// Sends to one peer, if it is connected.
    pub fn send(&self, peer: &PublicKey, message: &PeerMessage) {
        let outbounds = self.outbounds.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(outbound) = outbounds.get(peer) {
            outbound.queue(message, &frame(&self.queues, message));
        }
    }

    /// Sends to every connected peer that is wanted.
    pub fn broadcast(&self, message: &PeerMessage, wanted: impl Fn(&PublicKey) -> bool) {
        let frame = frame(&self.queues, message);
        let outbounds = self.outbounds.read().unwrap_or_else(PoisonError::into_inner);
        for (_, outbound) in outbounds.iter().filter(|(peer, _)| wanted(peer)) {
            outbound.queue(message, &frame);
        }
    }

    /// Sends finalised blocks out of the store, as fast as the peer takes them.
    pub fn send_blocks(&self, to: &PublicKey, from: u64, count: u32) {
        let outbounds = self.outbounds.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(outbound) = outbounds.get(to) {
            outbound.queue_blocks(from, count);
        }
    }

    /// Ends the connection to a peer.
    pub fn disconnect(&self, peer: PublicKey) {
        // The network is gone only when the node stops.
        let _ = self.disconnects.send(peer);
    }

    /// Who is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<ConnectedPeer> {
        let outbounds = self.outbounds.read().unwrap_or_else(PoisonError::into_inner);
        let mut peers: Vec<_> = outbounds
            .iter()
            .map(|(key, outbound)| ConnectedPeer {
                key: *key,
                address: outbound.address.clone(),
                height: outbound.height,
            })
            .collect();
        peers.sort_by_key(|peer| peer.key);
        peers
    }

    /// Opens a stream over which a peer serves an artifact.
    ///
    /// # Errors
    /// What libp2p says when the peer cannot be reached.
    pub async fn artifact_stream(&self, peer: &PublicKey) -> std::io::Result<libp2p::Stream> {
        let peer = peer_id(peer).ok_or_else(|| std::io::Error::other("not a node key"))?;
        self.control.clone().open_stream(peer, ARTIFACT).await.map_err(std::io::Error::other)
    }

    fn heard_height(&self, peer: &PublicKey, height: u64) {
        let mut outbounds = self.outbounds.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(outbound) = outbounds.get_mut(peer) {
            outbound.height = outbound.height.max(height);
        }
    }
}

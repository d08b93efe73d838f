//! The swarm: who is dialled, who may connect, who comes and goes.

use super::door::Door;
use super::greetings::{GREETING_TIMEOUT, Greetings};
use super::silence::Heard;
use super::stays::{LESSON_MAX, Stays, WORDLESS_MAX};
use super::visits::{Strangers, Visits};
use super::{NetworkError, setup};
use crate::config::PeerAddress;
use futures::StreamExt as _;
use ledger::key::{PublicKey, SecretKey};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::upgrade::Version;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, Transport as _, identity, noise, yamux};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Connections with one peer: one is enough, and two that dial each other have two for a moment, beside one that has died
/// and is not known to be dead yet.
pub const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Streams on one connection: four for what both sides say, and artifacts. A stream that nobody reads holds 256 KiB.
pub const STREAMS_PER_CONNECTION_MAX: usize = 32;
/// How often unconnected peers are dialled.
const DIAL_INTERVAL: Duration = Duration::from_millis(500);

/// What libp2p does for us: streams, on so many connections and no more.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    greetings: Greetings,
    limits: connection_limits::Behaviour,
    pub(super) streams: libp2p_stream::Behaviour,
}

impl Behaviour {
    fn new(peers: &[PeerAddress]) -> Self {
        let limits = ConnectionLimits::default().with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        let limits = connection_limits::Behaviour::new(limits);
        Self { limits, greetings: Greetings::new(peers), streams: libp2p_stream::Behaviour::new() }
    }
}

pub(super) fn swarm(key: &SecretKey, peers: &[PeerAddress]) -> Result<Swarm<Behaviour>, NetworkError> {
    let keypair = identity::Keypair::ed25519_from_bytes(*key.seed()).map_err(setup)?;
    let swarm = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        // It notices by itself that a peer has fallen silent; TCP does so after a quarter of an hour.
        .with_quic()
        .with_other_transport(|key| {
            let tcp = libp2p::tcp::tokio::Transport::new(libp2p::tcp::Config::new().nodelay(true));
            let streams = tcp.map(|stream, _| Heard::new(stream)).upgrade(Version::V1Lazy);
            let mut multiplexer = yamux::Config::default();
            multiplexer.set_max_num_streams(STREAMS_PER_CONNECTION_MAX);
            Ok(streams.authenticate(noise::Config::new(key)?).multiplex(multiplexer))
        })
        .map_err(setup)?
        .with_behaviour(|_| Behaviour::new(peers))
        .map_err(setup)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3_600)))
        .with_connection_timeout(GREETING_TIMEOUT)
        .build();
    Ok(swarm)
}

/// Waits until every address is really listened on, so that "address in use" is an error at start.
pub(super) async fn await_listeners(swarm: &mut Swarm<Behaviour>, mut missing: usize) -> Result<(), NetworkError> {
    while missing > 0 {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening for peers");
                missing -= 1;
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                let address = addresses.first().cloned().unwrap_or_else(Multiaddr::empty);
                return Err(NetworkError::Listen { address, detail: format!("{reason:?}") });
            }
            SwarmEvent::ListenerError { error, .. } => return Err(setup(error)),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn accept(
    control: &libp2p_stream::Control,
    protocol: StreamProtocol,
) -> Result<libp2p_stream::IncomingStreams, NetworkError> {
    control.clone().accept(protocol).map_err(setup)
}

/// The peer id of a node key.
#[must_use]
pub fn peer_id(key: &PublicKey) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(key.as_bytes()).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// The node key of a peer id: ed25519 peer ids carry their key.
pub(super) fn node_key(peer: &PeerId) -> Option<PublicKey> {
    let hash = peer.as_ref();
    let inline = hash.code() == 0;
    let key = inline.then(|| identity::PublicKey::try_decode_protobuf(hash.digest()).ok())??;
    Some(PublicKey(key.try_into_ed25519().ok()?.to_bytes()))
}

/// Owns the swarm: dials, notes who comes and goes.
pub(super) async fn drive(
    mut swarm: Swarm<Behaviour>,
    peers: Vec<PeerAddress>,
    door: Door,
    mut disconnects: mpsc::UnboundedReceiver<PublicKey>,
    mut stop: watch::Receiver<bool>,
) {
    let mut dial = tokio::time::interval(DIAL_INTERVAL);
    let (mut lessons, mut wordless) = (Stays::of(LESSON_MAX), Stays::of(WORDLESS_MAX));
    let (mut visits, mut strangers) = (Visits::default(), Strangers::default());
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            now = dial.tick() => {
                let taught = swarm.connected_peers().filter_map(node_key).filter(|key| door.is_taught(key)).collect();
                for key in lessons.over(now, &taught) {
                    tracing::info!(peer = %key, "a node whose key was retired has been here for long enough");
                    disconnect(&mut swarm, &key);
                }
                let silent = door.speakers.silent(swarm.connected_peers().filter_map(node_key));
                for key in wordless.over(now, &silent) {
                    let seconds = WORDLESS_MAX.as_secs();
                    tracing::warn!(peer = %key, seconds, "disconnecting a peer: it says nothing");
                    disconnect(&mut swarm, &key);
                }
                // Who has left hears nobody, and looks for nobody.
                for peer in peers.iter().filter(|peer| door.is_heard(&peer.key) && visits.is_due(&peer.key, now)) {
                    dial_peer(&mut swarm, peer);
                }
            }
            Some(key) = disconnects.recv() => disconnect(&mut swarm, &key),
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { peer_id, endpoint, num_established, .. } => {
                    let Some(key) = node_key(&peer_id).filter(|key| door.is_admitted(key)) else {
                        if let Some(refused) = strangers.refused(peer_id, Instant::now()) {
                            let address = endpoint.get_remote_address();
                            tracing::warn!(%peer_id, %address, refused, "not a member's node: refused");
                        }
                        let _ = swarm.disconnect_peer_id(peer_id);
                        continue;
                    };
                    if num_established.get() == 1 {
                        visits.began(key, Instant::now());
                        door.connected(key, peer_id, endpoint.get_remote_address().to_string()).await;
                    }
                }
                SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                    if let Some(key) = node_key(&peer_id) {
                        let why = cause.map(|cause| chain(&cause)).unwrap_or_default();
                        match visits.ended(&key, Instant::now()) {
                            None => {}
                            Some(0) => tracing::info!(peer = %key, why, "a peer is gone"),
                            Some(times) if times.is_power_of_two() => {
                                tracing::info!(peer = %key, why, times, "a peer ends connections at once: does it know this node's key?");
                            }
                            Some(times) => tracing::debug!(peer = %key, why, times, "a peer ends connections at once"),
                        }
                        door.disconnected(key).await;
                    }
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => tracing::debug!(%error, "dialling failed"),
                _ => {}
            },
        }
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn disconnect(swarm: &mut Swarm<Behaviour>, key: &PublicKey) {
    if let Some(peer) = peer_id(key) {
        // Not connected any more is what was wanted.
        let _ = swarm.disconnect_peer_id(peer);
    }
}

fn dial_peer(swarm: &mut Swarm<Behaviour>, peer: &PeerAddress) {
    let Some(id) = peer_id(&peer.key) else { return };
    if id == *swarm.local_peer_id() {
        return;
    }
    let options = DialOpts::peer_id(id)
        .condition(PeerCondition::DisconnectedAndNotDialing)
        .addresses(vec![peer.address.clone()])
        .build();
    // Refused by its condition when connected already: nothing to do then.
    let _ = swarm.dial(options);
}

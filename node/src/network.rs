//! The network: libp2p connections to members' nodes, two long-lived streams each way.
//!
//! A peer is admitted by its key (Noise or QUIC's TLS prove it holds the key) and by membership (the
//! key is a member's node in the newest state). Consensus goes on a stream of its own, so that it
//! never queues behind transactions and blocks. What arrives is bounded before it is read, parsed at
//! one door and, where it carries signatures, verified here in parallel, before the member sees it.

use crate::artifacts::Artifacts;
use crate::config::PeerAddress;
use crate::shell::Inbox;
use crate::verifier::{Stopping, Verifier};
use consensus::member::{Event, PeerMessage};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use ledger::bounded::Blob;
use ledger::encoding::{decode, encode};
use ledger::key::{PublicKey, SecretKey};
use ledger::limits;
use ledger::state::StateView as _;
use ledger::state::record::{KeyStatus, Role};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identity};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use store::Store;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

const URGENT: StreamProtocol = StreamProtocol::new("/countersign/urgent/1");
const BULK: StreamProtocol = StreamProtocol::new("/countersign/bulk/1");
const ARTIFACT: StreamProtocol = StreamProtocol::new("/countersign/artifact/1");

/// Frames waiting for a slow peer before more are dropped. Consensus repeats what matters.
const URGENT_FRAMES_MAX: usize = 4_096;
/// Bulk frames waiting for a slow peer before more are dropped. What is missing is asked for.
const BULK_FRAMES_MAX: usize = 64;
/// Requests for blocks of one peer that wait. An honest one makes the next when the last is answered.
const BLOCK_REQUESTS_MAX: usize = 2;
/// Artifacts on their way to one peer at once.
const TRANSFERS_PER_PEER_MAX: usize = 8;
/// Connections from outside that have not yet said whose they are. Each takes a file, and the disk needs
/// some, too.
const GREETINGS_MAX: u32 = 64;
/// Connections with one peer: one is enough, and two that dial each other have two for a moment.
const CONNECTIONS_PER_PEER_MAX: u32 = 8;
/// How often unconnected peers are dialled.
const DIAL_INTERVAL: Duration = Duration::from_millis(500);
/// How long before a stream that broke is opened again.
const REOPEN_DELAY: Duration = Duration::from_millis(50);

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

struct Outbound {
    urgent: mpsc::Sender<Arc<[u8]>>,
    bulk: mpsc::Sender<Arc<[u8]>>,
    blocks: mpsc::Sender<BlockRequest>,
    greeting: Greeting,
    address: String,
    height: u64,
}

/// Our hello to a peer, once it was said. A peer that does not know whose a stream is hears nothing of
/// what comes on it, so every urgent stream begins with it.
type Greeting = Arc<OnceLock<Arc<[u8]>>>;

/// A peer wants finalised blocks.
struct BlockRequest {
    from: u64,
    count: u32,
}

type Outbounds = Arc<RwLock<HashMap<PublicKey, Outbound>>>;

/// The sending end.
#[derive(Clone)]
pub struct Network {
    outbounds: Outbounds,
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
    let mut swarm = swarm(&config.key)?;
    for address in &config.listen {
        swarm
            .listen_on(address.clone())
            .map_err(|error| NetworkError::Listen { address: address.clone(), detail: error.to_string() })?;
    }
    await_listeners(&mut swarm, config.listen.len()).await?;
    let (disconnects, disconnect_requests) = mpsc::unbounded_channel();
    let network = Network { outbounds: Arc::default(), disconnects, control: swarm.behaviour().streams.new_control() };
    let door = Door { verifier, store, network: network.clone(), events };
    for protocol in [URGENT, BULK] {
        let incoming = accept(&network.control, protocol)?;
        tokio::spawn(door.clone().receive(incoming));
    }
    tokio::spawn(serve_artifacts(accept(&network.control, ARTIFACT)?, door.clone(), artifacts));
    tokio::spawn(drive(swarm, config.peers, door, disconnect_requests, stop));
    Ok(network)
}

fn setup(error: impl std::fmt::Display) -> NetworkError {
    NetworkError::Setup(error.to_string())
}

/// What libp2p does for us: streams, on so many connections and no more.
#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    streams: libp2p_stream::Behaviour,
}

impl Behaviour {
    fn new() -> Self {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(GREETINGS_MAX))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        Self { limits: connection_limits::Behaviour::new(limits), streams: libp2p_stream::Behaviour::new() }
    }
}

fn swarm(key: &SecretKey) -> Result<Swarm<Behaviour>, NetworkError> {
    let keypair = identity::Keypair::ed25519_from_bytes(*key.seed()).map_err(setup)?;
    let swarm = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(libp2p::tcp::Config::new().nodelay(true), libp2p::noise::Config::new, libp2p::yamux::Config::default)
        .map_err(setup)?
        .with_quic()
        .with_behaviour(|_| Behaviour::new())
        .map_err(setup)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3_600)))
        .build();
    Ok(swarm)
}

/// Waits until every address is really listened on, so that "address in use" is an error at start.
async fn await_listeners(swarm: &mut Swarm<Behaviour>, mut missing: usize) -> Result<(), NetworkError> {
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

fn accept(
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
fn node_key(peer: &PeerId) -> Option<PublicKey> {
    let hash = peer.as_ref();
    let inline = hash.code() == 0;
    let key = inline.then(|| identity::PublicKey::try_decode_protobuf(hash.digest()).ok())??;
    Some(PublicKey(key.try_into_ed25519().ok()?.to_bytes()))
}

/// Owns the swarm: dials, notes who comes and goes.
async fn drive(
    mut swarm: Swarm<Behaviour>,
    peers: Vec<PeerAddress>,
    door: Door,
    mut disconnects: mpsc::UnboundedReceiver<PublicKey>,
    mut stop: watch::Receiver<bool>,
) {
    let mut dial = tokio::time::interval(DIAL_INTERVAL);
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            _ = dial.tick() => {
                for peer in &peers {
                    dial_peer(&mut swarm, peer);
                }
            }
            Some(key) = disconnects.recv() => {
                if let Some(peer) = peer_id(&key) {
                    // Not connected any more is what was wanted.
                    let _ = swarm.disconnect_peer_id(peer);
                }
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { peer_id, endpoint, num_established, .. } => {
                    let Some(key) = node_key(&peer_id).filter(|key| door.is_member(key)) else {
                        tracing::warn!(%peer_id, address = %endpoint.get_remote_address(), "not a member's node: refused");
                        let _ = swarm.disconnect_peer_id(peer_id);
                        continue;
                    };
                    if num_established.get() == 1 {
                        door.connected(key, peer_id, endpoint.get_remote_address().to_string()).await;
                    }
                }
                SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                    if let Some(key) = node_key(&peer_id) {
                        door.disconnected(key).await;
                    }
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => tracing::debug!(%error, "dialling failed"),
                _ => {}
            },
        }
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

impl Network {
    /// Sends to one peer, if it is connected.
    pub fn send(&self, peer: &PublicKey, message: &PeerMessage) {
        let outbounds = self.outbounds.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(outbound) = outbounds.get(peer) {
            let frame = frame(message);
            if let PeerMessage::Hello { .. } = message {
                // It is the same for as long as the peer is connected.
                let _ = outbound.greeting.set(frame.clone());
            }
            outbound.queue(message, &frame);
        }
    }

    /// Sends to every connected peer that is wanted.
    pub fn broadcast(&self, message: &PeerMessage, wanted: impl Fn(&PublicKey) -> bool) {
        let frame = frame(message);
        let outbounds = self.outbounds.read().unwrap_or_else(PoisonError::into_inner);
        for (_, outbound) in outbounds.iter().filter(|(peer, _)| wanted(peer)) {
            outbound.queue(message, &frame);
        }
    }

    /// Sends finalised blocks out of the store, as fast as the peer takes them.
    pub fn send_blocks(&self, to: &PublicKey, from: u64, count: u32) {
        let outbounds = self.outbounds.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(outbound) = outbounds.get(to)
            && outbound.blocks.try_send(BlockRequest { from, count }).is_err()
        {
            tracing::debug!(peer = %to, "a peer asks for blocks faster than it takes them: request dropped");
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

impl Outbound {
    fn queue(&self, message: &PeerMessage, frame: &Arc<[u8]>) {
        let queue = if message.is_urgent() { &self.urgent } else { &self.bulk };
        if queue.try_send(frame.clone()).is_err() {
            tracing::debug!(kind = message.kind(), "peer is slow: message dropped");
        }
    }
}

/// Length and message.
fn frame(message: &PeerMessage) -> Arc<[u8]> {
    let bytes = encode(message);
    let length = u32::try_from(bytes.len()).expect("peer messages are far below 4 GiB");
    let mut frame = Vec::with_capacity(4 + bytes.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&bytes);
    frame.into()
}

/// Writes frames to one stream, opening it again when it breaks, until the peer is gone.
async fn write_frames(
    mut control: libp2p_stream::Control,
    peer: PeerId,
    protocol: StreamProtocol,
    mut frames: mpsc::Receiver<Arc<[u8]>>,
    greeting: Greeting,
) {
    while let Some(first) = frames.recv().await {
        let mut stream = loop {
            if frames.is_closed() {
                // What was meant for a connection that ended is not said on the next one.
                return;
            }
            match control.open_stream(peer, protocol.clone()).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(REOPEN_DELAY).await,
            }
        };
        // What is lost with a stream is asked for or said again; who speaks is not.
        let _ = write_stream(&mut stream, first, &mut frames, &greeting).await;
    }
}

/// Writes frames until the stream breaks or the peer is gone.
async fn write_stream(
    stream: &mut libp2p::Stream,
    first: Arc<[u8]>,
    frames: &mut mpsc::Receiver<Arc<[u8]>>,
    greeting: &Greeting,
) -> std::io::Result<()> {
    if let Some(hello) = greeting.get().filter(|hello| !Arc::ptr_eq(hello, &first)) {
        stream.write_all(hello).await?;
    }
    let mut next = Some(first);
    while let Some(frame) = next {
        stream.write_all(&frame).await?;
        while let Ok(frame) = frames.try_recv() {
            stream.write_all(&frame).await?;
        }
        stream.flush().await?;
        next = frames.recv().await;
    }
    Ok(())
}

/// Answers one peer's requests for blocks, one after the other, until the peer is gone: however many it
/// makes, they cost no more than one block in memory and one thread now and then.
async fn serve_blocks(store: Arc<Store>, mut requests: mpsc::Receiver<BlockRequest>, bulk: mpsc::Sender<Arc<[u8]>>) {
    while let Some(BlockRequest { from, count }) = requests.recv().await {
        for height in from..from.saturating_add(u64::from(count)) {
            let store = store.clone();
            let read = tokio::task::spawn_blocking(move || {
                let (block, certificate) = store.block(height).ok().flatten()?;
                Some(frame(&PeerMessage::FinalisedBlock { block: decode(&block).ok()?, certificate: certificate? }))
            });
            let Ok(Some(frame)) = read.await else { break };
            if bulk.send(frame).await.is_err() {
                return;
            }
        }
    }
}

/// Where everything from peers comes in.
#[derive(Clone)]
struct Door {
    verifier: Verifier,
    store: Arc<Store>,
    network: Network,
    events: Inbox,
}

/// Why a peer's stream is closed.
#[derive(Debug, thiserror::Error)]
enum DoorError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a frame of {0} bytes, at most {max} allowed", max = limits::FRAME_BYTES_MAX)]
    FrameTooLarge(usize),
    #[error(transparent)]
    Decode(#[from] ledger::encoding::DecodeError),
    #[error("a transaction that does not verify: {0}")]
    Transaction(#[from] ledger::transaction::TransactionError),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl Door {
    fn is_member(&self, key: &PublicKey) -> bool {
        let owner = self.store.key_owner(*key).ok().flatten();
        owner.is_some_and(|owner| owner.role == Role::Node && owner.status == KeyStatus::Active)
    }

    async fn connected(&self, key: PublicKey, peer: PeerId, address: String) {
        let (urgent, urgent_frames) = mpsc::channel(URGENT_FRAMES_MAX);
        let (bulk, bulk_frames) = mpsc::channel(BULK_FRAMES_MAX);
        let (blocks, block_requests) = mpsc::channel(BLOCK_REQUESTS_MAX);
        tokio::spawn(serve_blocks(self.store.clone(), block_requests, bulk.clone()));
        let greeting = Greeting::default();
        {
            let mut outbounds = self.network.outbounds.write().unwrap_or_else(PoisonError::into_inner);
            let greeting = greeting.clone();
            outbounds.insert(key, Outbound { urgent, bulk, blocks, greeting, address, height: 0 });
        }
        let control = &self.network.control;
        tokio::spawn(write_frames(control.clone(), peer, URGENT, urgent_frames, greeting));
        tokio::spawn(write_frames(control.clone(), peer, BULK, bulk_frames, Greeting::default()));
        // Only a stopping node has nobody to tell.
        let _ = self.events.send(Event::Connected { peer: key }).await;
    }

    async fn disconnected(&self, key: PublicKey) {
        self.network.outbounds.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let _ = self.events.send(Event::Disconnected { peer: key }).await;
    }

    /// Reads the streams that peers open for one protocol: one of each peer, the newest. So a peer takes
    /// no more memory than one frame, and one that came back is heard at once.
    async fn receive(self, mut incoming: libp2p_stream::IncomingStreams) {
        let mut readers: HashMap<PublicKey, AbortHandle> = HashMap::new();
        while let Some((peer, stream)) = incoming.next().await {
            let Some(key) = node_key(&peer).filter(|key| self.is_member(key)) else { continue };
            let door = self.clone();
            let reader = tokio::spawn(async move {
                match door.read_frames(key, stream).await {
                    Ok(()) | Err(DoorError::Stopping(_) | DoorError::Io(_)) => {}
                    Err(error) => {
                        tracing::warn!(peer = %key, %error, "a peer broke the protocol");
                        door.network.disconnect(key);
                    }
                }
            });
            if let Some(before) = readers.insert(key, reader.abort_handle()) {
                before.abort();
            }
        }
    }

    async fn read_frames(&self, peer: PublicKey, mut stream: libp2p::Stream) -> Result<(), DoorError> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length).await?;
            let length = u32::from_le_bytes(length) as usize;
            if length > limits::FRAME_BYTES_MAX {
                return Err(DoorError::FrameTooLarge(length));
            }
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).await?;
            let event = self.parse(peer, bytes).await?;
            self.events.send(event).await.map_err(|_| Stopping)?;
        }
    }

    /// From bytes to an event: parsed, and where there are transactions, their signatures verified.
    async fn parse(&self, peer: PublicKey, bytes: Vec<u8>) -> Result<Event, DoorError> {
        let message = decode(&bytes)?;
        match message {
            PeerMessage::Transactions(list) => {
                let bytes = list.iter().map(|bytes: &Blob<_>| bytes.to_vec()).collect();
                let verdicts = self.verifier.each(bytes).await?;
                let transactions = verdicts.into_iter().collect::<Result<_, _>>()?;
                Ok(Event::Gossiped { peer, transactions })
            }
            PeerMessage::FinalisedBlock { block, certificate } => {
                self.network.heard_height(&peer, block.header.height);
                let transactions = self.verifier.block(block.transactions.to_vec()).await??;
                Ok(Event::Synced { peer, block, transactions, certificate })
            }
            message => {
                if let PeerMessage::Status { height } | PeerMessage::Hello { height, .. } = &message {
                    self.network.heard_height(&peer, *height);
                }
                Ok(Event::Said { peer, message })
            }
        }
    }
}

/// Serves artifacts to members' nodes.
async fn serve_artifacts(mut incoming: libp2p_stream::IncomingStreams, door: Door, artifacts: Arc<Artifacts>) {
    let mut places: HashMap<PublicKey, Arc<Semaphore>> = HashMap::new();
    while let Some((peer, stream)) = incoming.next().await {
        let Some(key) = node_key(&peer).filter(|key| door.is_member(key)) else { continue };
        let places = places.entry(key).or_insert_with(|| Arc::new(Semaphore::new(TRANSFERS_PER_PEER_MAX))).clone();
        let artifacts = artifacts.clone();
        tokio::spawn(async move {
            // They are never closed, and a stream more than that waits its turn.
            let Ok(_place) = places.acquire().await else { return };
            if let Err(error) = crate::artifacts::serve_peer(&artifacts, stream).await {
                tracing::debug!(%peer, %error, "serving an artifact ended early");
            }
        });
    }
}

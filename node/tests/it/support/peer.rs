//! A peer made by hand: it holds a key, opens streams and sends whatever bytes a test likes.

use super::wait_for;
use consensus::member::PeerMessage;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use ledger::encoding::{decode, encode};
use ledger::key::{PublicKey, SecretKey};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, identity};
use libp2p_stream::{Behaviour, Control, IncomingStreams};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

pub(crate) const URGENT: StreamProtocol = StreamProtocol::new("/countersign/urgent/1");
pub(crate) const BULK: StreamProtocol = StreamProtocol::new("/countersign/bulk/1");
pub(crate) const ARTIFACT: StreamProtocol = StreamProtocol::new("/countersign/artifact/1");

/// A connection idle for longer is closed by the library; no test takes so long.
const IDLE: Duration = Duration::from_secs(3_600);

/// How many there were.
#[derive(Default)]
struct Connections {
    made: AtomicUsize,
    ended: AtomicUsize,
}

/// A peer.
pub(crate) struct Peer {
    control: Control,
    node: PeerId,
    connections: Arc<Connections>,
    task: JoinHandle<()>,
}

impl Peer {
    /// A peer with a key, that dials a node.
    pub(crate) async fn new(key: &SecretKey, node: &PublicKey, address: Multiaddr) -> Self {
        let keypair = identity::Keypair::ed25519_from_bytes(*key.seed()).unwrap();
        let mut swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(libp2p::tcp::Config::new(), libp2p::noise::Config::new, libp2p::yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_behaviour(|_| Behaviour::new())
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
            .build();
        let control = swarm.behaviour().new_control();
        let connections = Arc::new(Connections::default());
        let counting = connections.clone();
        swarm.dial(address).unwrap();
        let task = tokio::spawn(async move {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => counting.made.fetch_add(1, Ordering::SeqCst),
                    SwarmEvent::ConnectionClosed { .. } => counting.ended.fetch_add(1, Ordering::SeqCst),
                    SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                    _ => 0,
                };
            }
        });
        let node = node::network::peer_id(node).unwrap();
        let peer = Self { control, node, connections, task };
        // It may be over already: strangers are thrown out at once.
        wait_for("a connection", async || (peer.connections.made.load(Ordering::SeqCst) > 0).then_some(())).await;
        peer
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connections.made.load(Ordering::SeqCst) > self.connections.ended.load(Ordering::SeqCst)
    }

    /// Waits until the node has ended the connection.
    pub(crate) async fn thrown_out(&self) {
        wait_for("the node to disconnect", async || (!self.is_connected()).then_some(())).await;
    }

    /// Streams the node opens.
    pub(crate) fn incoming(&self, protocol: StreamProtocol) -> IncomingStreams {
        self.control.clone().accept(protocol).unwrap()
    }

    pub(crate) async fn open(&self, protocol: StreamProtocol) -> Stream {
        let node = self.node;
        let stream = wait_for("a stream", async || self.control.clone().open_stream(node, protocol.clone()).await.ok());
        stream.await
    }

    /// Opens a stream if the node lets it.
    pub(crate) async fn try_open(&self, protocol: StreamProtocol) -> Result<Stream, libp2p_stream::OpenStreamError> {
        self.control.clone().open_stream(self.node, protocol).await
    }

    /// Opens a stream of the right kind and says one thing on it.
    pub(crate) async fn say(&self, message: &PeerMessage) -> Stream {
        let mut stream = self.open(if message.is_urgent() { URGENT } else { BULK }).await;
        send(&mut stream, &frame(&encode(message))).await;
        stream
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Length and bytes.
pub(crate) fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(bytes);
    frame
}

/// Writes bytes; a node that has thrown the peer out needs no more of them.
pub(crate) async fn send(stream: &mut Stream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

/// The next message; `None` at the end of the stream.
pub(crate) async fn receive(stream: &mut Stream) -> Option<PeerMessage> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.ok()?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(decode(&bytes).unwrap())
}

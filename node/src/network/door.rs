//! The door: where everything from peers comes in, bounded before it is read and parsed at one place.

use super::Network;
use super::queue::Way;
use super::streams::Outbound;
use super::swarm::node_key;
use crate::artifacts::Artifacts;
use crate::crew::Stopping;
use crate::shell::Inbox;
use crate::verifier::{Haste, Verifier};
use consensus::member::{Admittance, BLOCKS_PER_REQUEST_MAX, Event, PeerMessage, has_left};
use futures::{AsyncReadExt as _, StreamExt as _};
use ledger::bounded::Blob;
use ledger::encoding::decode;
use ledger::frame::{LENGTH_BYTES, announced};
use ledger::key::PublicKey;
use libp2p::PeerId;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Store;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Long batches of one peer's transactions that wait for their signatures to be verified, while the next frame is read.
const BATCHES_ASIDE_MAX: usize = 4;
/// Artifacts on their way to one peer at once.
const TRANSFERS_PER_PEER_MAX: usize = 8;

/// Where everything from peers comes in.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) verifier: Verifier,
    pub(super) store: Arc<Store>,
    /// Nodes the configuration names.
    pub(super) told: Arc<BTreeSet<PublicKey>>,
    pub(super) network: Network,
    pub(super) events: Inbox,
    /// Who reads what each peer says.
    pub(super) readers: Readers,
}

/// The tasks that read peers' streams: of each peer and way one, the newest.
pub(super) type Readers = Arc<Mutex<HashMap<(PublicKey, Way), AbortHandle>>>;

/// What a frame came to.
enum Parsed {
    /// Something to hear.
    Event(Box<Event>),
    /// A long batch of transactions, not verified yet.
    Aside(Vec<Vec<u8>>),
    /// Nothing that is of use.
    Nothing,
}

/// Why a peer's stream is closed.
#[derive(Debug, thiserror::Error)]
enum DoorError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Decode(#[from] ledger::encoding::DecodeError),
    #[error("a transaction that does not verify: {0}")]
    Transaction(#[from] ledger::transaction::TransactionError),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl Door {
    /// Whether a node may be here, to be heard or to learn. What the disk does not say is not assumed.
    pub(super) fn is_admitted(&self, key: &PublicKey) -> bool {
        self.admittance(key) != Admittance::Refused
    }

    /// Whether a node is listened to.
    pub(super) fn is_heard(&self, key: &PublicKey) -> bool {
        self.admittance(key) == Admittance::Heard
    }

    /// Whether a node is only here to learn.
    pub(super) fn is_taught(&self, key: &PublicKey) -> bool {
        self.admittance(key) == Admittance::Taught
    }

    fn admittance(&self, key: &PublicKey) -> Admittance {
        Admittance::of(&*self.store, &self.told, *key).unwrap_or(Admittance::Refused)
    }

    /// Whether this node, of that key, is to look for others.
    pub(super) fn dials(&self, own: &PublicKey) -> bool {
        !has_left(&*self.store, *own).unwrap_or(true)
    }

    pub(super) async fn connected(&self, key: PublicKey, peer: PeerId, address: String) {
        let ways = (&self.network.control, &self.network.queues);
        let outbound = Outbound::open(ways, (key, peer), address, self.store.clone());
        self.network.outbounds.write().unwrap_or_else(PoisonError::into_inner).insert(key, outbound);
        // Only a stopping node has nobody to tell.
        let _ = self.events.send(Event::Connected { peer: key }).await;
    }

    pub(super) async fn disconnected(&self, key: PublicKey) {
        // What it said and nobody heard yet must not come behind the news that it is gone.
        self.readers().retain(|(peer, _), reader| {
            let stays = *peer != key;
            if !stays {
                reader.abort();
            }
            stays
        });
        self.network.outbounds.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let _ = self.events.send(Event::Disconnected { peer: key }).await;
    }

    /// Reads the streams that peers open for one protocol: one of each peer, the newest. So a peer takes
    /// no more memory than one frame, and one that came back is heard at once.
    pub(super) async fn receive(self, way: Way, mut incoming: libp2p_stream::IncomingStreams) {
        while let Some((peer, stream)) = incoming.next().await {
            let Some(key) = node_key(&peer).filter(|key| self.is_admitted(key)) else { continue };
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
            if let Some(before) = self.readers().insert((key, way), reader.abort_handle()) {
                before.abort();
            }
        }
    }

    /// The lock's holder only moves handles, so a panic elsewhere cannot have left it half-way.
    fn readers(&self) -> MutexGuard<'_, HashMap<(PublicKey, Way), AbortHandle>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what a peer says. Of long batches that step back, some may wait aside, and what comes after them overtakes
    /// them: one transaction of somebody who waits for it does not wait for the hundreds before it.
    async fn read_frames(&self, peer: PublicKey, mut stream: libp2p::Stream) -> Result<(), DoorError> {
        let (aside, mut batches) = mpsc::channel(BATCHES_ASIDE_MAX);
        let reading = async {
            loop {
                let mut length = [0; LENGTH_BYTES];
                stream.read_exact(&mut length).await?;
                let mut bytes = vec![0; announced::<PeerMessage>(length)?];
                stream.read_exact(&mut bytes).await?;
                match self.parse(peer, bytes).await? {
                    Parsed::Event(event) => self.events.send(*event).await.map_err(|_| Stopping)?,
                    Parsed::Aside(batch) => aside.send(batch).await.map_err(|_| Stopping)?,
                    Parsed::Nothing => {}
                }
            }
        };
        let verifying = async {
            while let Some(batch) = batches.recv().await {
                let transactions = self.verifier.passed_on(batch, Haste::StepsBack).await??;
                self.events.send(Event::Gossiped { peer, transactions }).await.map_err(|_| Stopping)?;
            }
            Ok(())
        };
        futures::future::try_join(reading, verifying).await.map(|(never, ())| never)
    }

    /// From bytes to an event: parsed, and where there are transactions, their signatures verified. That is work,
    /// and not done for who is not listened to.
    async fn parse(&self, peer: PublicKey, bytes: Vec<u8>) -> Result<Parsed, DoorError> {
        let message = decode(&bytes)?;
        let event = match message {
            PeerMessage::Transactions(_) | PeerMessage::FinalisedBlock { .. } if !self.is_heard(&peer) => {
                return Ok(Parsed::Nothing);
            }
            PeerMessage::Transactions(list) => {
                let batch: Vec<_> = list.iter().map(|bytes: &Blob<_>| bytes.to_vec()).collect();
                let is_answer = self.network.is_answer(&peer, batch.len());
                if !is_answer && Haste::of_batch(batch.len()) == Haste::StepsBack {
                    return Ok(Parsed::Aside(batch));
                }
                let transactions = self.verifier.passed_on(batch, Haste::Quick).await??;
                Event::Gossiped { peer, transactions }
            }
            PeerMessage::FinalisedBlock { block, certificate } => {
                let height = block.header.height;
                self.network.heard_height(&peer, height);
                let tip = self.store.tip().header.height;
                let transactions = match height {
                    // Of a block of the past nothing but its certificate may be of use.
                    _ if height <= tip => Vec::new(),
                    // Nobody asked for it.
                    _ if height > tip + u64::from(BLOCKS_PER_REQUEST_MAX) => return Ok(Parsed::Nothing),
                    _ => self.verifier.block(block.transactions.to_vec()).await??,
                };
                Event::Synced { peer, block, transactions, certificate }
            }
            message => {
                if let PeerMessage::Status { height } | PeerMessage::Hello { height, .. } = &message {
                    self.network.heard_height(&peer, *height);
                }
                Event::Said { peer, message }
            }
        };
        Ok(Parsed::Event(Box::new(event)))
    }
}

/// Serves artifacts to members' nodes.
pub(super) async fn serve_artifacts(
    mut incoming: libp2p_stream::IncomingStreams,
    door: Door,
    artifacts: Arc<Artifacts>,
) {
    let mut places: HashMap<PublicKey, Arc<Semaphore>> = HashMap::new();
    while let Some((peer, stream)) = incoming.next().await {
        let Some(key) = node_key(&peer).filter(|key| door.is_heard(key)) else { continue };
        let places = places.entry(key).or_insert_with(|| Arc::new(Semaphore::new(TRANSFERS_PER_PEER_MAX))).clone();
        let artifacts = artifacts.clone();
        tokio::spawn(async move {
            // A stream that waited for its turn would hold what its peer sends on it.
            let Ok(_place) = places.try_acquire() else { return };
            if let Err(error) = crate::artifacts::serve_peer(&artifacts, stream).await {
                tracing::debug!(%peer, %error, "serving an artifact ended early");
            }
        });
    }
}

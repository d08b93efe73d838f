//! The door: where everything from peers comes in, bounded before it is read and parsed at one place.

use super::Network;
use super::aside::{ASIDE_PER_PEER_MAX, Aside, Batch};
use super::queue::Way;
use super::speakers::Speakers;
use super::streams::Outbound;
use super::swarm::node_key;
use crate::artifacts::Artifacts;
use crate::crew::Stopping;
use crate::shell::Inbox;
use crate::verifier::{Haste, Verifier, is_heavy};
use consensus::member::{Admittance, BLOCKS_PER_REQUEST_MAX, Event, PeerMessage, TransactionBytes, certifiers};
use futures::{AsyncRead, AsyncReadExt as _, StreamExt as _};
use ledger::block::Header;
use ledger::bounded::List;
use ledger::encoding::decode;
use ledger::frame::{LENGTH_BYTES, announced};
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;
use libp2p::PeerId;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Store;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Artifacts on their way to one peer at once.
const TRANSFERS_PER_PEER_MAX: usize = 8;

/// Where everything from peers comes in.
#[derive(Clone)]
pub(super) struct Door {
    /// This node's key.
    pub(super) own: PublicKey,
    pub(super) verifier: Verifier,
    pub(super) store: Arc<Store>,
    /// Nodes the configuration names.
    pub(super) told: Arc<BTreeSet<PublicKey>>,
    pub(super) network: Network,
    pub(super) events: Inbox,
    /// Who reads what each peer says.
    pub(super) readers: Readers,
    /// Who says anything.
    pub(super) speakers: Speakers,
}

/// The tasks that read peers' streams: of each peer and way one, the newest.
pub(super) type Readers = Arc<Mutex<HashMap<(PublicKey, Way), AbortHandle>>>;

/// What a frame came to.
enum Parsed {
    /// Something to hear.
    Event(Box<Event>),
    /// Transactions, not verified yet.
    Transactions {
        /// They.
        batch: Batch,
        /// Whether the peer says that it was asked for them.
        asked_for: bool,
    },
}

impl Parsed {
    fn transactions<const MAX: usize>(list: &List<TransactionBytes, MAX>, asked_for: bool) -> Self {
        let batch = Batch::new(list.iter().map(|bytes| bytes.to_vec()).collect());
        Self::Transactions { batch, asked_for }
    }
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
        Admittance::by(self.own, &*self.store, &self.told, *key).unwrap_or(Admittance::Refused)
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
    /// no more memory than one frame and what waits aside, and one that came back is heard at once.
    pub(super) async fn receive(self, way: Way, mut incoming: libp2p_stream::IncomingStreams) {
        while let Some((peer, stream)) = incoming.next().await {
            let Some(key) = node_key(&peer).filter(|key| self.is_admitted(key)) else { continue };
            let door = self.clone();
            let reader = tokio::spawn(async move {
                match door.read_frames(key, way, stream).await {
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

    /// Reads what a peer says, on a stream for bulk beside what waits aside.
    async fn read_frames(
        &self,
        peer: PublicKey,
        way: Way,
        mut stream: impl AsyncRead + Unpin,
    ) -> Result<(), DoorError> {
        let (aside, (put, mut waiting)) = (Aside::default(), mpsc::channel(ASIDE_PER_PEER_MAX));
        let reading = async {
            loop {
                let bytes = read_frame(&mut stream).await?;
                // That this node has no time for more is nobody's silence.
                let _heard = (way == Way::Urgent).then(|| self.speakers.says_something(peer));
                let Some(parsed) = self.parse(peer, bytes).await? else { continue };
                let (batch, asked_for) = match parsed {
                    Parsed::Event(event) => {
                        self.events.send(*event).await.map_err(|_| Stopping)?;
                        continue;
                    }
                    Parsed::Transactions { batch, asked_for } => (batch, asked_for),
                };
                let is_quick = self.verifier.haste_of(peer, batch.weight, asked_for) == Haste::Quick;
                // What was asked for is in a block already, in the order it has there.
                let may_overtake = asked_for || !aside.comes_before(&batch);
                if way == Way::Bulk && !(is_quick && may_overtake) && aside.takes(&batch) {
                    // It has as many places as there may be batches.
                    put.send(batch).await.map_err(|_| Stopping)?;
                    continue;
                }
                if !asked_for {
                    aside.let_pass(&batch).await;
                }
                // What there is no room for is checked at once, but for what honest nodes do not bring.
                let steps_back = !is_quick && is_heavy(batch.weight, batch.transactions.len());
                let haste = if steps_back { Haste::StepsBack } else { Haste::Quick };
                self.hear_transactions(peer, batch.transactions, haste, asked_for).await?;
            }
        };
        let stepping_back = async {
            while let Some(batch) = waiting.recv().await {
                let (transactions, signers, bytes) = Batch::into_parts(batch);
                self.hear_transactions(peer, transactions, Haste::StepsBack, false).await?;
                aside.is_over(&signers, bytes);
            }
            Ok(())
        };
        futures::future::try_join(reading, stepping_back).await.map(|(never, ())| never)
    }

    /// Verifies transactions, and has them heard.
    async fn hear_transactions(
        &self,
        peer: PublicKey,
        batch: Vec<Vec<u8>>,
        haste: Haste,
        asked_for: bool,
    ) -> Result<(), DoorError> {
        let transactions = self.verifier.passed_on(batch, haste).await??;
        let event = match asked_for {
            true => Event::Given { peer, transactions },
            false => Event::Gossiped { peer, transactions },
        };
        Ok(self.events.send(event).await.map_err(|_| Stopping)?)
    }

    /// Who must have certified a header, as far as that is known here.
    fn certifiers(&self, header: &Header) -> Option<ValidatorSet> {
        // Of one moment: the sets are those of the two heights after this one.
        let view = self.store.view();
        let tip = view.tip().ok()?.header.height;
        certifiers(&view, tip, header).ok().flatten()
    }

    /// From bytes to what they say; nothing, where that is of no use. Signatures of blocks are verified here, the certificate's
    /// first where it is known whose it must be, and of nothing from who is not listened to.
    async fn parse(&self, peer: PublicKey, bytes: Vec<u8>) -> Result<Option<Parsed>, DoorError> {
        let message = decode(&bytes)?;
        let event = match message {
            PeerMessage::Transactions(_) | PeerMessage::Given(_) | PeerMessage::FinalisedBlock { .. }
                if !self.is_heard(&peer) =>
            {
                return Ok(None);
            }
            PeerMessage::Transactions(list) => return Ok(Some(Parsed::transactions(&list, false))),
            PeerMessage::Given(list) => return Ok(Some(Parsed::transactions(&list, true))),
            PeerMessage::FinalisedBlock { block, certificate } => {
                let height = block.header.height;
                self.network.heard_height(&peer, height);
                let tip = self.store.tip().header.height;
                let transactions = match height {
                    // Of a block of the past nothing but its certificate may be of use.
                    _ if height <= tip => Vec::new(),
                    // Nobody asked for it.
                    _ if height > tip + u64::from(BLOCKS_PER_REQUEST_MAX) => return Ok(None),
                    _ => {
                        let certifiers = self.certifiers(&block.header);
                        self.verifier.block(block.clone(), certificate.clone(), certifiers).await??
                    }
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
        Ok(Some(Parsed::Event(Box::new(event))))
    }
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, DoorError> {
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length).await?;
    let mut bytes = vec![0; announced::<PeerMessage>(length)?];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
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

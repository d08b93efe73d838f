//! What goes out: frames on streams that are opened again when they break.

use super::{BULK, URGENT};
use consensus::member::PeerMessage;
use futures::AsyncWriteExt as _;
use ledger::encoding::{decode, encode};
use libp2p::{PeerId, StreamProtocol};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::Store;
use tokio::sync::mpsc;

/// Frames waiting for a slow peer before more are dropped. Consensus repeats what matters.
const URGENT_FRAMES_MAX: usize = 4_096;
/// Bulk frames waiting for a slow peer before more are dropped. What is missing is asked for.
const BULK_FRAMES_MAX: usize = 64;
/// Requests for blocks of one peer that wait. An honest one makes the next when the last is answered.
const BLOCK_REQUESTS_MAX: usize = 2;
/// How long before a stream that broke is opened again.
const REOPEN_DELAY: Duration = Duration::from_millis(50);

/// Our hello to a peer, once it was said. A peer that does not know whose a stream is hears nothing of
/// what comes on it, so every urgent stream begins with it.
type Greeting = Arc<OnceLock<Arc<[u8]>>>;

/// A peer wants finalised blocks.
struct BlockRequest {
    from: u64,
    count: u32,
}

/// The way to one connected peer. Its tasks end when it is dropped.
pub(super) struct Outbound {
    urgent: mpsc::Sender<Arc<[u8]>>,
    bulk: mpsc::Sender<Arc<[u8]>>,
    blocks: mpsc::Sender<BlockRequest>,
    greeting: Greeting,
    /// Where the peer is.
    pub(super) address: String,
    /// Its newest height, as it says.
    pub(super) height: u64,
}

impl Outbound {
    /// Begins to write to a peer that has just connected.
    pub(super) fn open(control: &libp2p_stream::Control, peer: PeerId, address: String, store: Arc<Store>) -> Self {
        let (urgent, urgent_frames) = mpsc::channel(URGENT_FRAMES_MAX);
        let (bulk, bulk_frames) = mpsc::channel(BULK_FRAMES_MAX);
        let (blocks, requests) = mpsc::channel(BLOCK_REQUESTS_MAX);
        let greeting = Greeting::default();
        tokio::spawn(write_frames(control.clone(), peer, URGENT, urgent_frames, greeting.clone()));
        tokio::spawn(write_frames(control.clone(), peer, BULK, bulk_frames, Greeting::default()));
        tokio::spawn(serve_blocks(store, requests, bulk.clone()));
        Self { urgent, bulk, blocks, greeting, address, height: 0 }
    }

    /// Puts a message into its queue, its frame made before.
    pub(super) fn queue(&self, message: &PeerMessage, frame: &Arc<[u8]>) {
        if let PeerMessage::Hello { .. } = message {
            // It is the same for as long as the peer is connected.
            let _ = self.greeting.set(frame.clone());
        }
        let queue = if message.is_urgent() { &self.urgent } else { &self.bulk };
        if queue.try_send(frame.clone()).is_err() {
            tracing::debug!(kind = message.kind(), "peer is slow: message dropped");
        }
    }

    /// Sends finalised blocks, as fast as the peer takes them.
    pub(super) fn queue_blocks(&self, from: u64, count: u32) {
        if self.blocks.try_send(BlockRequest { from, count }).is_err() {
            tracing::debug!(address = self.address, "a peer asks for blocks faster than it takes them");
        }
    }
}

/// Length and message.
pub(super) fn frame(message: &PeerMessage) -> Arc<[u8]> {
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

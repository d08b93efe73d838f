//! What goes out: frames on streams that are opened again when they break.

use super::queue::{Frame, Inlet, Kind, Outlet, Queues, Way};
use super::silence::WORD_INTERVAL;
use super::{BULK, URGENT};
use consensus::member::PeerMessage;
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use ledger::encoding::decode;
use ledger::frame;
use ledger::key::PublicKey;
use libp2p::PeerId;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use store::Store;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Requests for blocks of one peer that wait. An honest one makes the next when the last is answered.
const BLOCK_REQUESTS_MAX: usize = 2;
/// How long before a stream that broke is opened again, at first and at most.
const REOPEN_DELAY: Duration = Duration::from_millis(50);
const REOPEN_DELAY_MAX: Duration = WORD_INTERVAL;
/// How long after it was opened a stream is known to be taken: a refusal needs one way back.
const TAKEN_AFTER: Duration = Duration::from_secs(5);
/// Bytes kept of a stream that nobody may have taken. Over TCP no more go onto it before somebody reads.
const UNTAKEN_BYTES_MAX: usize = 256 * 1024;

/// Our hello to a peer, once it was said. A peer that does not know whose a stream is hears nothing of
/// what comes on it, so every urgent stream begins with it.
type Greeting = Arc<OnceLock<Arc<Frame>>>;

/// A peer wants finalised blocks.
struct BlockRequest {
    from: u64,
    count: u32,
}

/// The way to one connected peer. Its tasks end when it is dropped.
pub(super) struct Outbound {
    frames: Inlet,
    blocks: mpsc::Sender<BlockRequest>,
    greeting: Greeting,
    /// Where the peer is.
    pub(super) address: String,
    /// Its newest height, as it says.
    pub(super) height: u64,
}

impl Outbound {
    /// Begins to write to a peer that has just connected.
    pub(super) fn open(
        (control, queues): (&libp2p_stream::Control, &Queues),
        (key, peer): (PublicKey, PeerId),
        address: String,
        store: Arc<Store>,
    ) -> Self {
        let frames = queues.open(key);
        let (blocks, requests) = mpsc::channel(BLOCK_REQUESTS_MAX);
        let greeting = Greeting::default();
        for (way, greeting) in [(Way::Urgent, greeting.clone()), (Way::Bulk, Greeting::default())] {
            tokio::spawn(write_frames(control.clone(), (peer, way), frames.outlet(), greeting));
        }
        tokio::spawn(serve_blocks(store, requests, frames.outlet(), queues.clone()));
        Self { frames, blocks, greeting, address, height: 0 }
    }

    /// Puts a message into its queue, its frame made before.
    pub(super) fn queue(&self, message: &PeerMessage, frame: &Arc<Frame>) {
        if let PeerMessage::Hello { .. } = message {
            // It is the same for as long as the peer is connected.
            let _ = self.greeting.set(frame.clone());
        }
        self.frames.put(frame.clone());
    }

    /// Sends finalised blocks, as fast as the peer takes them.
    pub(super) fn queue_blocks(&self, from: u64, count: u32) {
        if self.blocks.try_send(BlockRequest { from, count }).is_err() {
            tracing::debug!(address = self.address, "a peer asks for blocks faster than it takes them");
        }
    }
}

/// Length and message.
pub(super) fn frame(queues: &Queues, message: &PeerMessage) -> Arc<Frame> {
    queues.frame(kind(message), frame::frame(message).into())
}

fn kind(message: &PeerMessage) -> Kind {
    match message {
        PeerMessage::Body { .. } => Kind::Body,
        PeerMessage::Transactions(_) | PeerMessage::Given(_) => Kind::Transactions,
        PeerMessage::FinalisedBlock { .. } => Kind::Block,
        PeerMessage::Hello { .. }
        | PeerMessage::Status { .. }
        | PeerMessage::Consensus(_)
        | PeerMessage::WantBody { .. }
        | PeerMessage::WantTransactions { .. }
        | PeerMessage::WantBlocks { .. } => Kind::Consensus,
    }
}

/// Writes frames to one stream, opening it again when it breaks, until the peer is gone.
async fn write_frames(control: libp2p_stream::Control, (peer, way): (PeerId, Way), frames: Outlet, greeting: Greeting) {
    while let Some(first) = frames.next(way).await {
        let (mut due, mut delay) = (vec![first], REOPEN_DELAY);
        while !due.is_empty() {
            let Some(mut stream) = open_stream(control.clone(), (peer, way), &frames).await else { return };
            let mut untaken = Untaken::new();
            // What is lost later is asked for or said again; who speaks is not.
            let _ = write_stream(&mut stream, due, (&frames, way), (&greeting, &mut untaken)).await;
            due = untaken.frames;
            if !due.is_empty() {
                tokio::time::sleep(delay).await;
                delay = (2 * delay).min(REOPEN_DELAY_MAX);
            }
        }
    }
}

/// A stream to a peer; `None` when it is gone: what was meant for a connection that ended is not said on the next one.
async fn open_stream(
    mut control: libp2p_stream::Control,
    (peer, way): (PeerId, Way),
    frames: &Outlet,
) -> Option<libp2p::Stream> {
    let protocol = match way {
        Way::Urgent => URGENT,
        Way::Bulk => BULK,
    };
    while !frames.is_closed() {
        match control.open_stream(peer, protocol.clone()).await {
            Ok(stream) => return Some(stream),
            Err(_) => tokio::time::sleep(REOPEN_DELAY).await,
        }
    }
    None
}

/// Writes frames until the stream breaks or the peer is gone.
async fn write_stream(
    stream: &mut libp2p::Stream,
    due: Vec<Arc<Frame>>,
    (frames, way): (&Outlet, Way),
    (greeting, untaken): (&Greeting, &mut Untaken),
) -> std::io::Result<()> {
    if let Some(hello) = greeting.get().filter(|hello| !due.first().is_some_and(|first| Arc::ptr_eq(hello, first))) {
        stream.write_all(&hello.bytes).await?;
    }
    // All of them, before the first may fail.
    due.iter().for_each(|frame| untaken.keep(frame));
    for frame in due {
        stream.write_all(&frame.bytes).await?;
    }
    loop {
        while let Some(frame) = frames.try_next(way) {
            untaken.keep(&frame);
            stream.write_all(&frame.bytes).await?;
        }
        stream.flush().await?;
        let next = tokio::select! {
            next = next_or_word(frames, way, greeting) => next,
            again = untaken.taken_or_not(stream) => {
                // Whoever has only nothing to say hears this twice; to whoever dropped the stream nothing can be written.
                for frame in again {
                    stream.write_all(&frame.bytes).await?;
                }
                untaken.forget();
                continue;
            }
        };
        let Some(frame) = next else {
            untaken.forget();
            return Ok(());
        };
        untaken.keep(&frame);
        stream.write_all(&frame.bytes).await?;
    }
}

/// What was written to a new stream. A peer whose library has no room for a stream at that moment (`libp2p-stream` has room
/// for one of all peers' that nobody took yet) drops it with all that is on it, and says so to this side alone.
struct Untaken {
    frames: Vec<Arc<Frame>>,
    bytes: usize,
    /// Until then the stream may turn out to be dropped; `None` when that is over.
    until: Option<Instant>,
}

impl Untaken {
    fn new() -> Self {
        Self { frames: Vec::new(), bytes: 0, until: Some(Instant::now() + TAKEN_AFTER) }
    }

    fn keep(&mut self, frame: &Arc<Frame>) {
        if self.until.is_none() {
            return;
        }
        self.bytes += frame.bytes.len();
        self.frames.push(frame.clone());
        if self.bytes > UNTAKEN_BYTES_MAX {
            self.forget();
        }
    }

    /// The peer has the stream, or is taken to have it.
    fn forget(&mut self) {
        (self.frames, self.until) = (Vec::new(), None);
    }

    /// Waits until the stream is taken to be read, or its other direction ends: with what is to be written once more then.
    async fn taken_or_not(&self, stream: &mut libp2p::Stream) -> Vec<Arc<Frame>> {
        let Some(until) = self.until else { return std::future::pending().await };
        match tokio::time::timeout_at(until, stream.read(&mut [0])).await {
            Ok(Ok(0) | Err(_)) => self.frames.clone(),
            Ok(Ok(_)) | Err(_) => Vec::new(),
        }
    }
}

/// What is sent next: when there is nothing for a while, our hello once more. It tells nothing new, but that we are
/// here: whoever is silent for long is taken to be gone.
async fn next_or_word(frames: &Outlet, way: Way, greeting: &Greeting) -> Option<Arc<Frame>> {
    loop {
        match tokio::time::timeout(WORD_INTERVAL, frames.next(way)).await {
            Ok(next) => return next,
            Err(_) => {
                if let Some(hello) = greeting.get() {
                    return Some(hello.clone());
                }
            }
        }
    }
}

/// Answers one peer's requests for blocks, one after the other, until the peer is gone: however many it
/// makes, they cost no more than two blocks in memory and one thread now and then.
async fn serve_blocks(store: Arc<Store>, mut requests: mpsc::Receiver<BlockRequest>, frames: Outlet, queues: Queues) {
    while let Some(BlockRequest { from, count }) = requests.recv().await {
        for height in from..from.saturating_add(u64::from(count)) {
            if !frames.room_for_block().await {
                return;
            }
            let (store, queues) = (store.clone(), queues.clone());
            let read = tokio::task::spawn_blocking(move || {
                let (block, certificate) = store.block(height).ok().flatten()?;
                let block = decode(&block).ok()?;
                Some(frame(&queues, &PeerMessage::FinalisedBlock { block, certificate: certificate? }))
            });
            let Ok(Some(frame)) = read.await else { break };
            frames.put(frame);
        }
    }
}

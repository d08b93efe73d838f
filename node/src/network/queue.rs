//! What waits to be sent to peers, bounded in frames and bytes: for each peer, and for all together.
//!
//! The rule of dropping is one sentence: **whoever is sent more of a kind than it takes loses the oldest of
//! that kind, and when all queues together are full, the peer with the most waiting loses its oldest
//! transactions, then bodies, and only then consensus messages.** Finalised blocks are read from the disk one
//! at a time as a peer takes them, and are never dropped.

use ledger::key::PublicKey;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes of all frames that wait, blocks aside; each counts once however many peers it is for. What one peer
/// can make wait is a twelfth of it.
pub(super) const ALL_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of bodies that keep their place among the consensus messages of a peer: one body belongs before its
/// proposal, or else it would be asked for. When more wait the peer is slow, and votes go first.
const BODIES_IN_PLACE_BYTES_MAX: usize = 256 * 1024;
/// How often it is said in the log what a peer has lost.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// What a frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Votes, proposals, who is how far, and questions.
    Consensus,
    /// Bodies of proposals.
    Body,
    /// Transactions passed on or asked for.
    Transactions,
    /// Finalised blocks for who is behind.
    Block,
}

/// The stream it goes on: what finality waits for never queues behind the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    Urgent,
    Bulk,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Consensus, Self::Body, Self::Transactions, Self::Block];
    /// In this order they are dropped when all queues together are full.
    const DROPPABLE: [Self; 3] = [Self::Transactions, Self::Body, Self::Consensus];

    pub(super) const fn way(self) -> Way {
        match self {
            Self::Consensus | Self::Body => Way::Urgent,
            Self::Transactions | Self::Block => Way::Bulk,
        }
    }

    /// Frames of it that wait for one peer.
    pub(super) const fn frames_max(self) -> usize {
        match self {
            // Some hundred validators' votes of many rounds. Consensus repeats what matters.
            Self::Consensus => 4_096,
            // A height has few proposals. Who misses a body asks for it.
            Self::Body => 32,
            // What is missing is asked for.
            Self::Transactions => 64,
            // One is written while one waits.
            Self::Block => 1,
        }
    }

    /// Bytes of it that wait for one peer.
    pub(super) const fn bytes_max(self) -> usize {
        match self {
            // Ten thousand votes of 200 bytes.
            Self::Consensus => 2 * 1024 * 1024,
            // Twelve of the largest.
            Self::Body => 2 * 1024 * 1024,
            // Four seconds of 4,400 transactions each.
            Self::Transactions => 6 * 1024 * 1024,
            // The largest, with its certificate.
            Self::Block => 2 * 1024 * 1024,
        }
    }
}

/// A message with its length before it, counted for as long as anybody holds it.
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) bytes: Box<[u8]>,
    counted: Option<Arc<AtomicUsize>>,
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(all) = &self.counted {
            all.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        }
    }
}

/// What was dropped of a kind since it was said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

#[derive(Default)]
struct Lane {
    /// With the number that says which came first.
    frames: VecDeque<(u64, Arc<Frame>)>,
    bytes: usize,
    dropped: Dropped,
}

impl Lane {
    fn first(&self) -> Option<u64> {
        self.frames.front().map(|(number, _)| *number)
    }

    fn pop(&mut self) -> Option<Arc<Frame>> {
        let (_, frame) = self.frames.pop_front()?;
        self.bytes -= frame.bytes.len();
        Some(frame)
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(frame) = self.pop() else { return false };
        self.dropped.frames += 1;
        self.dropped.bytes += frame.bytes.len() as u64;
        true
    }
}

/// What waits for one peer.
struct Queue {
    peer: PublicKey,
    lanes: [Lane; Kind::ALL.len()],
    next_number: u64,
    said: Option<Instant>,
    /// Blocks and transactions take turns.
    was_block: bool,
}

impl Queue {
    fn lane(&self, kind: Kind) -> &Lane {
        &self.lanes[kind as usize]
    }

    fn lane_mut(&mut self, kind: Kind) -> &mut Lane {
        &mut self.lanes[kind as usize]
    }

    fn put(&mut self, frame: Arc<Frame>) {
        let (kind, size) = (frame.kind, frame.bytes.len());
        self.next_number += 1;
        let number = self.next_number;
        let lane = self.lane_mut(kind);
        while (lane.frames.len() >= kind.frames_max() || lane.bytes + size > kind.bytes_max()) && lane.drop_oldest() {}
        lane.bytes += size;
        lane.frames.push_back((number, frame));
    }

    fn pop(&mut self, way: Way) -> Option<Arc<Frame>> {
        let order = match way {
            Way::Urgent => {
                let [consensus, body, ..] = &self.lanes;
                let in_place = body.bytes <= BODIES_IN_PLACE_BYTES_MAX && body.first() < consensus.first();
                if in_place { [Kind::Body, Kind::Consensus] } else { [Kind::Consensus, Kind::Body] }
            }
            Way::Bulk if self.was_block => [Kind::Transactions, Kind::Block],
            Way::Bulk => [Kind::Block, Kind::Transactions],
        };
        let frame = order.into_iter().find_map(|kind| self.lane_mut(kind).pop())?;
        self.was_block = frame.kind == Kind::Block;
        Some(frame)
    }

    /// Says in the log what was dropped, now and then, and at the end.
    fn report(&mut self, is_end: bool) {
        if self.lanes.iter().all(|lane| lane.dropped == Dropped::default()) {
            return;
        }
        let now = Instant::now();
        if !is_end && self.said.is_some_and(|said| now.duration_since(said) < REPORT_INTERVAL) {
            return;
        }
        self.said = Some(now);
        let [consensus, bodies, transactions, _] = self.lanes.each_mut().map(|lane| std::mem::take(&mut lane.dropped));
        tracing::warn!(
            peer = %self.peer,
            consensus_frames = consensus.frames,
            body_frames = bodies.frames,
            transaction_frames = transactions.frames,
            bytes = consensus.bytes + bodies.bytes + transactions.bytes,
            "a peer takes less than it is sent: the oldest was dropped"
        );
    }
}

/// All queues.
#[derive(Clone, Default)]
pub(super) struct Queues(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// By connection.
    queues: Mutex<Open>,
    all_bytes: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Open {
    queues: BTreeMap<u64, Queue>,
    next: u64,
}

impl Queues {
    /// The queue of a peer that has just connected.
    pub(super) fn open(&self, peer: PublicKey) -> Inlet {
        let mut open = self.lock();
        open.next += 1;
        let number = open.next;
        let lanes = Default::default();
        open.queues.insert(number, Queue { peer, lanes, next_number: 0, said: None, was_block: false });
        let signs = Signs { urgent: Notify::new(), bulk: Notify::new(), room: Notify::new() };
        Inlet(Outlet { queues: self.clone(), number, signs: Arc::new(signs) })
    }

    /// A frame for one queue or many.
    pub(super) fn frame(&self, kind: Kind, bytes: Box<[u8]>) -> Arc<Frame> {
        let counted = (kind != Kind::Block).then(|| self.0.all_bytes.clone());
        if let Some(all) = &counted {
            all.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        Arc::new(Frame { kind, bytes, counted })
    }

    /// Bytes of frames that wait or are being written, blocks aside.
    pub(super) fn all_bytes(&self) -> usize {
        self.0.all_bytes.load(Ordering::Relaxed)
    }

    /// Makes room when all together are full.
    fn make_room(&self, open: &mut Open) {
        while self.all_bytes() > ALL_BYTES_MAX {
            let dropped = Kind::DROPPABLE.into_iter().any(|kind| {
                let fullest = open.queues.values_mut().max_by_key(|queue| queue.lane(kind).bytes);
                fullest.is_some_and(|queue| {
                    let dropped = queue.lane_mut(kind).drop_oldest();
                    queue.report(false);
                    dropped
                })
            });
            if !dropped {
                return;
            }
        }
    }

    /// The lock's holder only moves values, so a panic elsewhere cannot have left it half-way.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Signs {
    urgent: Notify,
    bulk: Notify,
    room: Notify,
}

/// Where frames for one connection go in. When it is dropped the queue is closed, and what waits forgotten:
/// what was meant for a connection that ended is not said on the next one.
pub(super) struct Inlet(Outlet);

/// Where they come out.
#[derive(Clone)]
pub(super) struct Outlet {
    queues: Queues,
    number: u64,
    signs: Arc<Signs>,
}

impl Inlet {
    pub(super) fn put(&self, frame: Arc<Frame>) {
        self.0.put(frame);
    }

    pub(super) fn outlet(&self) -> Outlet {
        self.0.clone()
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        if let Some(mut queue) = self.0.queues.lock().queues.remove(&self.0.number) {
            queue.report(true);
        }
        let Signs { urgent, bulk, room } = &*self.0.signs;
        [urgent, bulk, room].into_iter().for_each(Notify::notify_one);
    }
}

impl Outlet {
    /// Puts a frame in; what there is no room for is dropped by the rule.
    pub(super) fn put(&self, frame: Arc<Frame>) {
        let sign = match frame.kind.way() {
            Way::Urgent => &self.signs.urgent,
            Way::Bulk => &self.signs.bulk,
        };
        {
            let mut open = self.queues.lock();
            let Some(queue) = open.queues.get_mut(&self.number) else { return };
            queue.put(frame);
            queue.report(false);
            self.queues.make_room(&mut open);
        }
        sign.notify_one();
    }

    /// The next frame for a stream; `None` when the queue is closed.
    pub(super) async fn next(&self, way: Way) -> Option<Arc<Frame>> {
        loop {
            if let Some(frame) = self.try_next(way) {
                return Some(frame);
            }
            if self.is_closed() {
                return None;
            }
            match way {
                Way::Urgent => self.signs.urgent.notified().await,
                Way::Bulk => self.signs.bulk.notified().await,
            }
        }
    }

    /// The next frame, if one is there.
    pub(super) fn try_next(&self, way: Way) -> Option<Arc<Frame>> {
        let frame = self.queues.lock().queues.get_mut(&self.number)?.pop(way)?;
        if frame.kind == Kind::Block {
            self.signs.room.notify_one();
        }
        Some(frame)
    }

    pub(super) fn is_closed(&self) -> bool {
        !self.queues.lock().queues.contains_key(&self.number)
    }

    /// Waits until there is room for one more block; whether there will ever be.
    pub(super) async fn room_for_block(&self) -> bool {
        loop {
            match self.queues.lock().queues.get(&self.number) {
                Some(queue) if queue.lane(Kind::Block).frames.len() < Kind::Block.frames_max() => return true,
                Some(_) => {}
                None => return false,
            }
            self.signs.room.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;

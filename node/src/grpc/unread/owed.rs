//! What is under way: of one stream, and to one connection.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a connection has not taken of its answers.
#[derive(Default)]
pub(in super::super) struct Owed {
    bytes: AtomicUsize,
    /// Of all answers there were: what went to the client, or was given up.
    gone: AtomicU64,
}

/// So many bytes, until they are dropped.
pub(in super::super) struct Debt {
    owed: Arc<Owed>,
    bytes: usize,
}

impl Owed {
    /// Bytes that wait to be taken.
    pub(in super::super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that wait no more, ever.
    pub(in super::super) fn gone(&self) -> u64 {
        self.gone.load(Ordering::Relaxed)
    }

    /// So many more.
    pub(in super::super) fn add(self: &Arc<Self>, bytes: usize) -> Debt {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Debt { owed: self.clone(), bytes }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.owed.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.owed.gone.fetch_add(self.bytes as u64, Ordering::Relaxed);
    }
}

/// The pieces of a stream that are under way.
pub(super) struct Line {
    most: usize,
    under_way: Mutex<UnderWay>,
}

struct UnderWay {
    bytes: usize,
    waiting: Option<Waker>,
}

/// A piece under way, until it is dropped.
pub(super) struct Place {
    line: Arc<Line>,
    bytes: usize,
}

impl Line {
    /// Begins; with `most` bytes under way, the next piece waits.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, under_way: Mutex::new(UnderWay { bytes: 0, waiting: None }) })
    }

    /// Whether one more piece may enter.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let mut under_way = self.under_way();
        if under_way.bytes < self.most {
            return Poll::Ready(());
        }
        under_way.waiting = Some(context.waker().clone());
        Poll::Pending
    }

    /// A piece goes on its way.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> Place {
        self.under_way().bytes += bytes;
        Place { line: self.clone(), bytes }
    }

    /// The lock's holder only adds, so a panic elsewhere cannot have left it half-way.
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.line.under_way();
        under_way.bytes -= self.bytes;
        let waiting = under_way.waiting.take();
        drop(under_way);
        waiting.into_iter().for_each(Waker::wake);
    }
}

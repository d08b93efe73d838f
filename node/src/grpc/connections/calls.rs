//! What a connection is there for: its calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The calls of one connection.
#[derive(Clone)]
pub(in crate::grpc) struct Calls(Arc<Mutex<State>>);

struct State {
    stage: Stage,
    under_way: usize,
    /// Since when there is none under way.
    rests_since: Instant,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Knocks,
    Greeted,
    Asked,
}

/// One call, from its request until nobody has anything of its answer any more.
pub(in crate::grpc) struct Call(Calls);

/// How a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It has not yet said hello since it came.
    Knocking(Instant),
    /// It has said hello, and has not asked for anything since it came.
    Silent(Instant),
    /// No call has been under way since then.
    Resting(Instant),
    /// There are calls under way.
    Busy,
}

impl Calls {
    /// Of a connection that has just come.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { stage: Stage::Knocks, under_way: 0, rests_since: Instant::now() })))
    }

    /// The greeting of TLS is over.
    pub(super) fn greeted(&self) {
        let mut state = self.state();
        state.stage = state.stage.max(Stage::Greeted);
    }

    /// There was a request, whatever came of it.
    pub(super) fn note(&self) {
        self.state().stage = Stage::Asked;
    }

    /// A call begins.
    pub(in crate::grpc) fn begin(&self) -> Call {
        let mut state = self.state();
        state.stage = Stage::Asked;
        state.under_way += 1;
        Call(self.clone())
    }

    pub(super) fn usage(&self) -> Use {
        match *self.state() {
            State { under_way: 1.., .. } => Use::Busy,
            State { stage: Stage::Knocks, rests_since, .. } => Use::Knocking(rests_since),
            State { stage: Stage::Greeted, rests_since, .. } => Use::Silent(rests_since),
            State { stage: Stage::Asked, rests_since, .. } => Use::Resting(rests_since),
        }
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        if state.under_way == 0 {
            state.rests_since = Instant::now();
        }
    }
}

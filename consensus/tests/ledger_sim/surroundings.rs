//! What all hosts share while something happens: time, the door, and who watches.

use super::door::Door;
use super::invariants::Watch;
use ledger::key::PublicKey;
use std::collections::{BTreeMap, BTreeSet};

/// A wall clock: how far it is off, and how fast it runs.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) offset_ms: i64,
    pub(crate) percent: u64,
}

impl Clock {
    pub(crate) const TRUE: Self = Self { offset_ms: 0, percent: 100 };

    pub(super) fn wall_ms(self, base_ms: u64, now_us: u64) -> u64 {
        (base_ms + now_us * self.percent / 100_000).saturating_add_signed(self.offset_ms)
    }
}

/// What all hosts share while something happens.
pub(crate) struct Surroundings {
    pub(crate) now_us: u64,
    /// Wall time at 0.
    pub(crate) base_ms: u64,
    pub(crate) watch: Watch,
    pub(crate) door: Door,
    /// Places of hosts by node key.
    pub(crate) places: BTreeMap<PublicKey, usize>,
    pub(crate) honest: BTreeSet<usize>,
}

impl Surroundings {
    pub(crate) fn true_ms(&self) -> u64 {
        self.base_ms + self.now_us / 1_000
    }
}

//! The host's clocks: the one that is set, and the one that only runs. Nothing is believed because of the first
//! alone (see `ledger::proof::HostClock`), and no wait within one life of the agent is counted on it: a clock
//! that was a year ahead for a minute would make that wait a year long.

use rustix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC, as this host has it.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since this host was started, asleep or awake: nobody sets that clock.
#[must_use]
pub fn running_ms() -> u64 {
    let since = clock_gettime(ClockId::Boottime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(since.tv_sec).saturating_mul(1000).saturating_add(part(since.tv_nsec) / 1_000_000)
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// What [`now_ms`] says.
    pub now_ms: u64,
    /// What [`running_ms`] says.
    pub running_ms: u64,
}

impl Now {
    /// What the clock that is set will say when the host has run for so long, if nobody sets it.
    #[must_use]
    pub fn as_set(&self, running_ms: u64) -> u64 {
        self.now_ms.saturating_add(running_ms.saturating_sub(self.running_ms))
    }

    /// This moment.
    #[must_use]
    pub fn here() -> Self {
        Self { now_ms: now_ms(), running_ms: running_ms() }
    }
}

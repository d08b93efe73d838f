//! What became of connections with peers: whoever ends each at once is called less often, and told of less often.
//!
//! A node that is no member yet, or that others have not heard of as one, is refused at every door. It goes on knocking,
//! because it will be let in; but not twice a second at each, with a line in everybody's log.

use ledger::key::PublicKey;
use libp2p::PeerId;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// A connection that ended before this was ended at once.
const SHORT: Duration = Duration::from_secs(2);
/// Wait after the first connection that was ended at once; twice as long after each further one …
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// … and at the most: whoever becomes a member is let in as soon.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// Each stranger at the door is told of once in this time …
const STRANGERS_TOLD_EVERY: Duration = Duration::from_secs(60);
/// … and so many of them: others are counted.
const STRANGERS_TOLD_MAX: usize = 64;

/// Connections with peers, as they came and went. Holds something of everybody who was ever let in: members' nodes,
/// and configured peers.
#[derive(Debug, Default)]
pub(super) struct Visits(HashMap<PublicKey, Visit>);

#[derive(Debug, Default)]
struct Visit {
    began: Option<Instant>,
    ended: Option<Instant>,
    /// How many of the last ones were ended at once, without one between that was not.
    short: u32,
}

impl Visits {
    /// A peer is connected.
    pub(super) fn began(&mut self, key: PublicKey, now: Instant) {
        self.0.entry(key).or_default().began = Some(now);
    }

    /// It is gone: how many connections with it were ended at once by now, one after the other. Nothing of a peer that
    /// was not let in.
    pub(super) fn ended(&mut self, key: &PublicKey, now: Instant) -> Option<u32> {
        let visit = self.0.get_mut(key)?;
        let is_short = now.duration_since(visit.began.take()?) < SHORT;
        visit.ended = Some(now);
        visit.short = if is_short { visit.short.saturating_add(1) } else { 0 };
        Some(visit.short)
    }

    /// Whether it is called now, where it is not connected.
    pub(super) fn is_due(&self, key: &PublicKey, now: Instant) -> bool {
        let Some(Visit { ended: Some(ended), short: short @ 1.., .. }) = self.0.get(key) else { return true };
        let wait = WAIT_FIRST.saturating_mul(1 << (short - 1).min(10)).min(WAIT_MAX);
        now.duration_since(*ended) >= wait
    }
}

/// Strangers who were refused: whoever knocks on and on does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    told: HashMap<PeerId, Instant>,
    untold: u64,
}

impl Strangers {
    /// One was refused: how many times any was since one was told of, if this one is to be told of.
    pub(super) fn refused(&mut self, stranger: PeerId, now: Instant) -> Option<u64> {
        self.untold += 1;
        self.told.retain(|_, told| now.duration_since(*told) < STRANGERS_TOLD_EVERY);
        if self.told.contains_key(&stranger) || self.told.len() >= STRANGERS_TOLD_MAX {
            return None;
        }
        self.told.insert(stranger, now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ends_connections_at_once_is_called_less_and_less_until_one_lasts() {
        let (mut visits, key, mut now) = (Visits::default(), PublicKey([7; 32]), Instant::now());
        assert!(visits.is_due(&key, now));
        assert_eq!(visits.ended(&key, now), None, "it never was here");
        for (short, wait_ms) in [(1, 500), (2, 1_000), (3, 2_000), (4, 4_000), (5, 8_000), (6, 8_000)] {
            visits.began(key, now);
            assert_eq!(visits.ended(&key, now), Some(short));
            now += Duration::from_millis(wait_ms - 1);
            assert!(!visits.is_due(&key, now), "{short}");
            now += Duration::from_millis(1);
            assert!(visits.is_due(&key, now), "{short}");
        }
        visits.began(key, now);
        now += SHORT;
        assert_eq!(visits.ended(&key, now), Some(0));
        assert!(visits.is_due(&key, now), "a line that was cut is tried again at once");
        for _ in 0..100 {
            visits.began(key, now);
            visits.ended(&key, now);
        }
        assert!(visits.is_due(&key, now + WAIT_MAX));
    }

    #[test]
    fn strangers_are_counted_and_told_of_once_in_a_while() {
        let (mut strangers, start, stranger) = (Strangers::default(), Instant::now(), PeerId::random());
        assert_eq!(strangers.refused(stranger, start), Some(1));
        assert_eq!(strangers.refused(stranger, start), None);
        assert_eq!(strangers.refused(PeerId::random(), start), Some(2), "another one is told of");
        let soon = start + STRANGERS_TOLD_EVERY - Duration::from_millis(1);
        assert_eq!(strangers.refused(stranger, soon), None);
        assert_eq!(strangers.refused(stranger, start + STRANGERS_TOLD_EVERY), Some(2));
        // Whoever comes under many names is counted.
        let told = (0..1_000).filter_map(|_| strangers.refused(PeerId::random(), start + STRANGERS_TOLD_EVERY));
        assert_eq!(told.count(), STRANGERS_TOLD_MAX - 1);
        assert!(strangers.refused(stranger, start + 2 * STRANGERS_TOLD_EVERY) > Some(900));
    }
}

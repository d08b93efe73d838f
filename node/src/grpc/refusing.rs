//! How fast a node refuses for want of room: so many transactions a second, whoever sends them and over however many
//! connections. Refusing one costs little beside taking one, but a flood is refused many times as often as it is
//! taken; read as fast as it comes, it would have more of the cores than the ledger.
//!
//! Whoever is refused is not listened to until his refusals are paid for. What he sends meanwhile waits on his side
//! of the line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Transactions refused for want of room, per second: a few hundredths of a core.
pub const REFUSED_PER_SECOND: u32 = 1_000;
/// How long a refusal for want of room is kept back at least …
pub const REFUSAL_PAUSE_MIN: Duration = Duration::from_millis(200);
/// … and at most: a client is told, and not only left to wait.
pub const REFUSAL_PAUSE_MAX: Duration = Duration::from_secs(4);

/// When what was refused is paid for.
#[derive(Clone, Default)]
pub struct Refusing(Arc<Mutex<Option<Instant>>>);

impl Refusing {
    /// How long so many refusals are kept back that are about to be given now.
    pub(super) fn pause(&self, refused: usize) -> Duration {
        let (now, refused) = (Instant::now(), u32::try_from(refused).unwrap_or(u32::MAX));
        let cost = Duration::from_secs(1).saturating_mul(refused) / REFUSED_PER_SECOND;
        // The lock's holder only moves a value, so a panic elsewhere cannot have left it half-way.
        let mut paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = paid.map_or(now, |paid| paid.max(now));
        // A longer debt than the longest pause would be one that nobody waits for.
        let until = (since + cost).min(now + REFUSAL_PAUSE_MAX);
        *paid = Some(until);
        (until - now).max(REFUSAL_PAUSE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_alone_waits_for_the_shortest_time() {
        let refusing = Refusing::default();
        for _ in 0..10 {
            assert_eq!(refusing.pause(1), REFUSAL_PAUSE_MIN);
            tokio::time::advance(REFUSAL_PAUSE_MIN).await;
        }
    }

    /// Of very many that are refused together each waits for those before it: the node looks at no more than it may.
    #[tokio::test(start_paused = true)]
    async fn a_flood_over_many_connections_is_refused_at_the_pace_of_one() {
        let refusing = Refusing::default();
        let pauses: Vec<_> = (0..8).map(|_| refusing.pause(125)).collect();
        assert_eq!(pauses[7], Duration::from_secs(1));
        assert!(pauses.is_sorted());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(refusing.pause(1), REFUSAL_PAUSE_MIN, "what was refused is paid for");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_more_than_the_longest_time() {
        let refusing = Refusing::default();
        for _ in 0..1_000 {
            assert!(refusing.pause(128) <= REFUSAL_PAUSE_MAX);
        }
        tokio::time::advance(REFUSAL_PAUSE_MAX).await;
        assert_eq!(refusing.pause(1), REFUSAL_PAUSE_MIN);
    }
}

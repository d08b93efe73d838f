//! Who follows the newest head: by a stream, of which there are so many, or by asking, as often as this node can bear.

use super::connections::CONNECTIONS_MAX;
use super::refusal::Refused;
use crate::origin::Origin;
use crate::shares::{NoShare, Share, Shares};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use tonic::Code;

/// Streams of heads at once: half of the connections there may be, so that the other half is for whoever comes to ask,
/// to fetch and to publish.
pub const FOLLOWERS_MAX: usize = CONNECTIONS_MAX / 2;
/// … of one address, which has no more than it leaves to others either.
pub const FOLLOWERS_PER_ADDRESS_MAX: usize = FOLLOWERS_MAX / 2;
/// Questions for the newest head that this node likes to answer in a second. Each reads a certificate; this many take a
/// small part of one core.
pub const HEAD_QUESTIONS_PER_SECOND: u64 = 50;
/// Longest that anybody is told to wait before he asks again, if the configuration does not say less.
pub const ASK_AGAIN_MS_MAX: u64 = 10 * 60 * 1000;
/// Over how long questions are counted.
const WINDOW_MS: u64 = 10 * SECOND_MS;
const SECOND_MS: u64 = 1000;

/// Those who follow this node.
#[derive(Clone)]
pub struct Followers {
    streams: Arc<Shares>,
    asked: Arc<Mutex<Asked>>,
    ask_again_ms_max: u64,
}

/// How often this node is asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    since: Instant,
    questions: u64,
    /// What those who ask are told.
    ask_again_ms: u64,
}

impl Followers {
    /// Nobody yet. Nobody is told to wait for longer than `ask_again_ms_max`.
    #[must_use]
    pub fn new(ask_again_ms_max: u64) -> Self {
        let asked = Asked { since: Instant::now(), questions: 0, ask_again_ms: 0 };
        Self {
            streams: Shares::of_all(FOLLOWERS_MAX, FOLLOWERS_PER_ADDRESS_MAX),
            asked: Arc::new(Mutex::new(asked)),
            ask_again_ms_max: ask_again_ms_max.min(ASK_AGAIN_MS_MAX),
        }
    }

    /// A place for a stream of heads, for as long as it is held. Who gets none asks, and is told when.
    pub(super) fn place(&self, origin: Origin) -> Result<Share, Refused> {
        self.streams.take_many(origin, 1).map_err(|none| {
            let message = match none {
                NoShare::Most(most) => {
                    format!("{most} streams of heads go to address {origin}, the limit of one address")
                }
                NoShare::Leaves(left) => {
                    format!("of the streams of heads {left} are left, and address {origin} has as many")
                }
                NoShare::All(all) => format!("{all} streams of heads are open, the limit of all clients together"),
            };
            let again = self.lock().ask_again_ms.max(WINDOW_MS);
            Refused::new(Code::Unavailable, "followers", message, "ask with GetHead, or ask another node")
                .retry_after(again)
        })
    }

    /// Counts a question; when whoever asked is to ask again, of a head that is followed by another after `due_ms`.
    pub(super) fn asked(&self, due_ms: u64) -> u64 {
        let mut asked = self.lock();
        asked.count(Instant::now(), self.ask_again_ms_max);
        asked.ask_again_ms.max(due_ms).min(self.ask_again_ms_max)
    }

    /// Who holds the lock only counts, so a panic elsewhere cannot have left it half-way.
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    fn count(&mut self, now: Instant, most_ms: u64) {
        let passed = now.saturating_duration_since(self.since);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        if passed_ms >= WINDOW_MS {
            self.ask_again_ms = ask_again_ms(self.questions, passed_ms, self.ask_again_ms).min(most_ms);
            (self.since, self.questions) = (now, 0);
        }
        self.questions += 1;
    }
}

/// How long everybody should wait between two questions so that there are [`HEAD_QUESTIONS_PER_SECOND`] of them, where
/// there were so many in `passed_ms`, and who asked had been told to wait for `told_ms`. 0 while there are few.
///
/// Those who asked more often than they were told are counted as more than they are: then the others wait for them.
fn ask_again_ms(questions: u64, passed_ms: u64, told_ms: u64) -> u64 {
    let borne = HEAD_QUESTIONS_PER_SECOND.saturating_mul(passed_ms) / SECOND_MS;
    match questions <= borne && told_ms <= SECOND_MS {
        true => 0,
        // Up and down by the same rule, so that it settles where as many ask as are borne.
        false => told_ms.max(SECOND_MS).saturating_mul(questions) / borne.max(1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

    use super::*;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    fn origin(last: u8) -> Origin {
        Origin::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    /// A fleet of so many agents that do what they are told; questions a second when it has settled.
    fn settled(agents: u64, most_ms: u64) -> (u64, u64) {
        let mut told_ms = 0;
        let mut rate = 0;
        for _ in 0..50 {
            // Whoever is told nothing asks once in a second here.
            let questions = agents * WINDOW_MS / told_ms.max(1000);
            rate = questions * 1000 / WINDOW_MS;
            told_ms = ask_again_ms(questions, WINDOW_MS, told_ms).min(most_ms);
        }
        (rate, told_ms)
    }

    #[test]
    fn a_fleet_of_any_size_asks_as_often_as_is_borne() {
        for agents in [1, 10, HEAD_QUESTIONS_PER_SECOND] {
            assert_eq!(settled(agents, ASK_AGAIN_MS_MAX), (agents, 0));
        }
        for agents in [100, 1_000, 20_000] {
            let (rate, told_ms) = settled(agents, ASK_AGAIN_MS_MAX);
            let borne = HEAD_QUESTIONS_PER_SECOND;
            assert!(rate >= borne / 2 && rate <= borne + 1, "{agents}: {rate} a second, told {told_ms} ms");
        }
        // Where even the longest wait is too short, it is the longest.
        assert_eq!(settled(1_000_000, 60_000).1, 60_000);
        assert_eq!(ask_again_ms(u64::MAX, 1, u64::MAX), u64::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_is_told_by_how_many_ask_and_never_more_than_the_configuration_says() {
        let followers = Followers::new(30_000);
        assert_eq!(followers.asked(500), 500);
        for _ in 0..HEAD_QUESTIONS_PER_SECOND * 40 {
            followers.asked(500);
        }
        tokio::time::advance(Duration::from_millis(WINDOW_MS)).await;
        let told = followers.asked(500);
        assert!((2_000..=10_000).contains(&told), "{told}");
        assert_eq!(followers.asked(60_000), 30_000);
        // They are gone.
        for _ in 0..20 {
            tokio::time::advance(Duration::from_millis(WINDOW_MS)).await;
            followers.asked(500);
        }
        assert_eq!(followers.asked(500), 500);
        assert_eq!(Followers::new(u64::MAX).asked(u64::MAX), ASK_AGAIN_MS_MAX);
    }

    #[test]
    fn streams_have_a_limit_and_no_address_takes_what_is_everybodys() {
        let followers = Followers::new(ASK_AGAIN_MS_MAX);
        let held: Vec<_> = (0..FOLLOWERS_PER_ADDRESS_MAX).map(|_| followers.place(origin(1)).unwrap()).collect();
        let refused = followers.place(origin(1)).err().unwrap();
        assert_eq!((refused.code, refused.refusal.check.as_str()), (Code::Unavailable, "followers"));
        assert!(refused.refusal.retry_after_ms >= WINDOW_MS, "{:?}", refused.refusal);
        let others: Vec<_> = (2..=9).map_while(|last| followers.place(origin(last)).ok()).collect();
        assert_eq!(others.len(), 8);
        drop(held);
        followers.place(origin(1)).unwrap();
    }
}

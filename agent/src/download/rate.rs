//! How much all downloads together may take: a decision from values; who asks, waits.

use std::time::Duration;

/// What may come at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// A limit of bytes in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    bytes_per_s: u64,
    /// When everything taken so far is paid for.
    paid: Duration,
}

impl Rate {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), paid: Duration::ZERO }
    }

    /// Takes bytes that came at a moment; how long to wait before the next are taken.
    pub(super) fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.paid = self.paid.max(now.saturating_sub(BURST)).saturating_add(cost);
        self.paid.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_any_time_no_more_comes_than_was_said_but_for_a_burst() {
        let (mut rate, mut now) = (Rate::new(1000), Duration::from_secs(100));
        for _ in 0..1000 {
            now += rate.take(100, now);
        }
        let passed = now - Duration::from_secs(100);
        assert_eq!(passed, Duration::from_secs(100) - BURST);
        assert_eq!(rate.take(100, now + Duration::from_secs(60)), Duration::ZERO, "whoever rested may begin at once");
    }
}

//! How often a node is asked, and how long its silence is borne: decided here, of values alone. What a node would like is
//! honoured within bounds of this host's own, so that none can make an agent hammer, and none can silence it.

use crate::config;
use ledger::id::Digest;
use std::time::Duration;

/// A node is never asked again sooner than this, and this is the wait after its stream of heads broke, at first; it doubles
/// up to the poll interval.
pub const ASK_AGAIN_MIN: Duration = Duration::from_millis(250);
/// A node that would like to be asked later is given so many poll intervals, …
pub const STRETCH_MAX: u32 = 5;
/// … and at the most this part of the age at which a header is too old to act on.
pub const AGE_PART: u32 = 4;
/// Longest silence of a stream of heads that is borne, whatever its node says about when its next head is due; or two poll
/// intervals, where these are longer.
pub const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);
/// Between two heads of one stream: what a node sends faster is not looked at faster.
pub const HEADS_APART: Duration = Duration::from_millis(50);

/// What is new in the ledger is looked at by every host of a fleet; each strays from that moment by up to its jitter, and by
/// no more than this: what was approved is to be there in seconds.
pub const WAKE_STRAY_MAX: Duration = Duration::from_secs(2);

/// What became of a stream of heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// It stood for so long.
    Stood(Duration),
    /// There was none.
    None,
    /// The node has no place for one, and would like to be asked for it again after so long.
    NoPlace(Duration),
    /// It was not asked for.
    NotAsked,
}

/// How often to ask.
#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    /// No wait is longer, but for the jitter.
    longest: Duration,
    jitter_percent: u64,
    seed: Digest,
    step: u64,
    /// After the next failure.
    retry: Duration,
    /// The stream is not asked for before.
    no_stream_for: Duration,
}

impl Pace {
    /// A pace that strays in its own way on every endpoint: `seed` is its public key, so that a fleet
    /// does not ask in step and a test repeats.
    #[must_use]
    pub fn new(config: &config::Ledger, seed: Digest) -> Self {
        let interval = config.poll_interval;
        let aged = Duration::from_millis(config.max_age_ms) / AGE_PART;
        let longest = interval.saturating_mul(STRETCH_MAX).min(aged).max(interval);
        Self { longest, ..Self::of(interval, config.poll_jitter_percent, seed) }
    }

    /// The same of any interval.
    #[must_use]
    pub fn of(interval: Duration, jitter_percent: u64, seed: Digest) -> Self {
        Self {
            interval,
            longest: interval,
            jitter_percent,
            seed,
            step: 0,
            retry: ASK_AGAIN_MIN,
            no_stream_for: Duration::ZERO,
        }
    }

    /// The interval, strayed from.
    pub fn interval(&mut self) -> Duration {
        self.stray(self.interval)
    }

    /// A wait, longer by up to the jitter.
    pub fn stray(&mut self, wait: Duration) -> Duration {
        let share = u64::from(self.lot()) * self.jitter_percent / u64::from(u8::MAX);
        wait + wait * u32::try_from(share).unwrap_or(100) / 100
    }

    /// How long to wait with what is asked because the ledger has something new: all hosts hear of that at one moment.
    /// `asked_for` is what the nodes asked for that had no answer last time.
    pub fn wake(&mut self, asked_for: Duration) -> Duration {
        let jitter = self.interval / 100 * u32::try_from(self.jitter_percent).unwrap_or(100);
        let strays = jitter.min(WAKE_STRAY_MAX) / u32::from(u8::MAX) * u32::from(self.lot());
        asked_for.min(self.interval) + strays
    }

    /// Drawn anew each time.
    fn lot(&mut self) -> u8 {
        self.step += 1;
        let mut material = self.seed.0.to_vec();
        material.extend_from_slice(&self.step.to_le_bytes());
        Digest::blake3(&material).0[0]
    }

    /// Whether it is time to ask for a stream.
    #[must_use]
    pub fn wants_stream(&self) -> bool {
        self.no_stream_for.is_zero()
    }

    /// How long a stream may be silent whose node says when its next head is due. Twice that without a word is too long.
    #[must_use]
    pub fn patience(&self, due: Duration) -> Duration {
        let least = self.interval.saturating_mul(2);
        due.saturating_mul(2).clamp(least, SILENCE_MAX.max(least))
    }

    /// How long to wait when a stream came to its end, or was not to be had, and the node was asked for its head instead:
    /// `hint` is when it would like to be asked again; `None` where it did not answer.
    pub fn wait(&mut self, stream: Stream, hint: Option<Duration>) -> Duration {
        match stream {
            // It is there again at once, as after a restart. One that ends as soon as it is begun is none.
            Stream::Stood(stood) if stood >= self.interval => self.retry = ASK_AGAIN_MIN,
            _ => self.retry = self.retry.saturating_mul(2).min(self.interval).max(ASK_AGAIN_MIN),
        }
        if let Stream::NoPlace(again) = stream {
            self.no_stream_for = again.min(self.longest);
        }
        // The hint is about questions. Who had a stream comes for another one, and spares the node the questions.
        let longest = if matches!(stream, Stream::Stood(_)) { self.interval } else { self.longest };
        let wait = self.retry.max(hint.unwrap_or_default()).min(longest);
        self.no_stream_for = self.no_stream_for.saturating_sub(wait);
        self.stray(wait)
    }
}

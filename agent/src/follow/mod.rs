//! Following the ledger: one task per node, so that a dead one stalls nobody.

pub mod heads;
pub mod light;
pub mod memory;
pub mod sources;

use crate::clock::now_ms;
use crate::config;
use heads::{Disbelief, Freshness, Heads};
use ledger::id::Digest;
use sources::{CallCause, CallError, Source, Sources};
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt as _;

/// Wait after a stream of heads broke, at first; it doubles up to the poll interval.
const RETRY_MIN: Duration = Duration::from_millis(250);

/// How often the age of what is known is looked at, at the most …
const ALARM_LOOK_MIN: Duration = Duration::from_secs(1);
/// … and at the least: the host's clock may be set meanwhile.
const ALARM_LOOK_MAX: Duration = Duration::from_secs(60);

/// How often to ask.
#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    jitter_percent: u64,
    seed: Digest,
    step: u64,
}

impl Pace {
    /// A pace that strays in its own way on every endpoint: `seed` is its public key, so that a fleet
    /// does not ask in step and a test repeats.
    #[must_use]
    pub fn new(config: &config::Ledger, seed: Digest) -> Self {
        Self::of(config.poll_interval, config.poll_jitter_percent, seed)
    }

    /// The same of any interval.
    #[must_use]
    pub fn of(interval: Duration, jitter_percent: u64, seed: Digest) -> Self {
        Self { interval, jitter_percent, seed, step: 0 }
    }

    /// The interval, strayed from.
    pub fn interval(&mut self) -> Duration {
        self.stray(self.interval)
    }

    /// A wait, longer by up to the jitter.
    pub fn stray(&mut self, wait: Duration) -> Duration {
        self.step += 1;
        let mut material = self.seed.0.to_vec();
        material.extend_from_slice(&self.step.to_le_bytes());
        let share = u64::from(Digest::blake3(&material).0[0]) * self.jitter_percent / 255;
        wait + wait * u32::try_from(share).unwrap_or(100) / 100
    }
}

/// Follows one node for ever: by its stream of heads, and by asking when there is no stream.
pub async fn follow(place: usize, sources: Sources, heads: Arc<Heads>, mut pace: Pace) {
    let source = &sources.all()[place];
    let mut retry = RETRY_MIN;
    loop {
        match watch(place, source, &heads, &pace).await {
            Ok(()) => retry = RETRY_MIN,
            Err(error) => {
                tracing::debug!(node = source.node(), %error, "no stream of heads");
                retry = (retry * 2).min(pace.interval);
            }
        }
        let hint = ask(place, source, &heads).await;
        tokio::time::sleep(pace.stray(retry.max(hint.min(pace.interval)))).await;
    }
}

/// Asks a node for its newest head once, as whoever follows it does: how the validators changed is learnt first. How
/// long the node would like not to be asked again.
pub async fn ask(place: usize, source: &Source, heads: &Heads) -> Duration {
    match source.head().await {
        Ok(head) => {
            take(place, source, heads, &head).await;
            Duration::from_millis(head.poll_after_ms)
        }
        Err(error) => {
            tracing::warn!(node = source.node(), %error, "node does not answer");
            heads.unreachable(place, error.cause.to_string());
            Duration::ZERO
        }
    }
}

/// Asks every node so, one after the other.
pub async fn ask_all(sources: &Sources, heads: &Heads) {
    for (place, source) in sources.all().iter().enumerate() {
        ask(place, source, heads).await;
    }
}

/// Says aloud when what is known of the ledger becomes too old to act on, and when that is over. For
/// ever.
pub async fn alarm(heads: Arc<Heads>) {
    let (mut changed, mut alarmed) = (heads.watch(), false);
    loop {
        let stale = heads.freshness(now_ms()) == Freshness::Stale;
        if stale && !alarmed {
            let seen = heads.newest();
            tracing::error!(
                height = seen.height,
                time_ms = seen.time_ms,
                "STALE: no recent header, nothing is applied"
            );
        } else if alarmed && !stale {
            tracing::info!("what is known of the ledger is recent again");
        }
        alarmed = stale;
        // While it is stale only a new head changes anything; a head that says nothing new does not wake.
        tokio::select! {
            _ = changed.changed(), if stale => {}
            () = tokio::time::sleep(heads.stale_in(now_ms()).clamp(ALARM_LOOK_MIN, ALARM_LOOK_MAX)) => {}
        }
    }
}

/// Calls for validator sets in one go: an agent that slept through more asks again with the next head.
const EPOCH_CALLS_MAX: usize = 64;

/// Takes heads from a stream until it ends or falls silent.
async fn watch(place: usize, source: &Source, heads: &Heads, pace: &Pace) -> Result<(), CallError> {
    let mut stream = source.watch().await?;
    let mut patience = pace.interval * 2;
    while let Ok(next) = tokio::time::timeout(patience, stream.next()).await {
        match next {
            None => return Ok(()),
            Some(Err(status)) => return Err(source.failed("WatchHeads", &status)),
            Some(Ok(head)) => {
                // A node knows when its next head is due; twice that without a word is too long.
                patience = (Duration::from_millis(head.poll_after_ms) * 2).max(pace.interval * 2);
                take(place, source, heads, &head).await;
            }
        }
    }
    Err(source.error("WatchHeads", CallCause::TimedOut))
}

/// Judges a head; when it may be certified by validators not heard of yet, asks how they came about.
async fn take(place: usize, source: &Source, heads: &Heads, head: &proto::v1::Head) {
    let mut taken = heads.take(place, head, now_ms());
    if matches!(&taken, Err(Disbelief::Head(error)) if error.is_of_a_later_set())
        && learn(source, heads).await.is_some_and(|new| new > 0)
    {
        taken = heads.take(place, head, now_ms());
    }
    match taken {
        Ok(height) => tracing::trace!(node = source.node(), height, "head"),
        Err(disbelief @ Disbelief::Split { .. }) => {
            tracing::error!(node = source.node(), %disbelief, "THE LEDGER IS SPLIT: nothing is applied any more");
        }
        Err(disbelief) => tracing::warn!(node = source.node(), %disbelief, "head not believed"),
    }
}

/// Learns validator sets the node knows and this agent does not; how many were new.
pub(crate) async fn learn(source: &Source, heads: &Heads) -> Option<usize> {
    let mut new = 0;
    for _ in 0..EPOCH_CALLS_MAX {
        let links = source.epochs(heads.newest_epoch() + 1).await.ok()?;
        match heads.learn(&links).ok()? {
            0 => break,
            learnt => new += learnt,
        }
    }
    Some(new)
}

//! Following the ledger: one task per node, so that a dead one stalls nobody.

pub mod heads;
pub mod memory;
pub mod pace;
pub mod sources;
pub mod split;

use crate::clock::now_ms;
use crate::settled::chain;
use heads::{Disbelief, Freshness, Heads};
pub use ledger::light;
use pace::HEADS_APART;
pub use pace::{Pace, Stream};
use sources::{Source, Sources};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::StreamExt as _;

/// How often the age of what is known is looked at, at the most …
const ALARM_LOOK_MIN: Duration = Duration::from_secs(1);
/// … and at the least: the host's clock may be set meanwhile.
const ALARM_LOOK_MAX: Duration = Duration::from_secs(60);

/// Follows one node for ever: by its stream of heads, and by asking when there is no stream.
pub async fn follow(place: usize, sources: Sources, heads: Arc<Heads>, mut pace: Pace) {
    let source = &sources.all()[place];
    loop {
        let stream = match pace.wants_stream() {
            true => watch(place, source, &heads, &pace).await,
            false => Stream::NotAsked,
        };
        let hint = ask(place, source, &heads).await;
        sleep(pace.wait(stream, hint)).await;
    }
}

/// Asks a node for its newest head once, as whoever follows it does: how the validators changed is learnt first. How
/// long the node would like not to be asked again; `None` when it did not answer.
pub async fn ask(place: usize, source: &Source, heads: &Heads) -> Option<Duration> {
    match source.head().await {
        Ok(head) => {
            take(place, source, heads, &head).await;
            Some(Duration::from_millis(head.poll_after_ms))
        }
        Err(error) => {
            tracing::warn!(node = source.node(), %error, "node does not answer");
            heads.unreachable(place, error.cause.to_string());
            error.retry_after()
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
            () = sleep(heads.stale_in(now_ms()).clamp(ALARM_LOOK_MIN, ALARM_LOOK_MAX)) => {}
        }
    }
}

/// Calls for validator sets in one go: an agent that slept through more asks again with the next head.
const EPOCH_CALLS_MAX: usize = 64;

/// Takes heads from a stream until it ends or falls silent; what became of it.
async fn watch(place: usize, source: &Source, heads: &Heads, pace: &Pace) -> Stream {
    let mut stream = match source.watch().await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(node = source.node(), %error, "no stream of heads");
            return error.retry_after().map_or(Stream::None, Stream::NoPlace);
        }
    };
    let (began, mut patience) = (Instant::now(), pace.patience(Duration::ZERO));
    loop {
        match timeout(patience, stream.next()).await {
            Ok(Some(Ok(head))) => {
                // A node knows when its next head is due.
                patience = pace.patience(Duration::from_millis(head.poll_after_ms));
                take(place, source, heads, &head).await;
                sleep(HEADS_APART).await;
            }
            Ok(Some(Err(status))) => {
                tracing::debug!(node = source.node(), %status, "the stream of heads broke");
                return Stream::Stood(began.elapsed());
            }
            Ok(None) => return Stream::Stood(began.elapsed()),
            Err(_) => {
                tracing::debug!(node = source.node(), "the stream of heads fell silent");
                // In that time it was none.
                return Stream::Stood(began.elapsed().saturating_sub(patience));
            }
        }
    }
}

/// Judges a head; when it may be certified by validators not heard of yet, asks how they came about.
async fn take(place: usize, source: &Source, heads: &Heads, head: &proto::v1::Head) {
    let before = heads.trouble_of(place);
    let mut taken = heads.take(place, head, now_ms());
    if matches!(&taken, Err(Disbelief::Head(error)) if error.is_of_a_later_set())
        && learn(source, heads).await.is_some_and(|new| new > 0)
    {
        taken = heads.take(place, head, now_ms());
    }
    match taken {
        Ok(height) => tracing::trace!(node = source.node(), height, "head"),
        Err(disbelief @ (Disbelief::Split { .. } | Disbelief::Remembered { .. } | Disbelief::Evidence(_))) => {
            let disbelief = chain(&disbelief);
            tracing::error!(node = source.node(), %disbelief, "THE LEDGER IS SPLIT: nothing is applied any more");
        }
        // It says the same every few seconds.
        Err(disbelief) if before.is_some_and(|before| is_like(&before, &disbelief.to_string())) => {
            tracing::debug!(node = source.node(), %disbelief, "head not believed");
        }
        Err(disbelief) => tracing::warn!(node = source.node(), %disbelief, "head not believed"),
    }
}

/// Whether two complaints differ in heights, times and hashes alone: a node can make as many of these as it likes.
fn is_like(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let names_nothing = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
        text.split_whitespace().filter(names_nothing).map(str::to_owned).collect()
    };
    words(one) == words(other)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_of_another_height_is_the_same_junk() {
        let ahead = |height: u64| format!("header {height} is {height}s ahead of this host's clock");
        assert!(is_like(&ahead(7), &ahead(8)));
        assert!(!is_like(&ahead(7), "header 7 has no certificate"));
    }
}

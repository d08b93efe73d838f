//! How often nodes are asked: by values alone, whatever they say.

use agent::config;
use agent::follow::pace::{AGE_PART, ASK_AGAIN_MIN, SILENCE_MAX, STRETCH_MAX, WAKE_STRAY_MAX};
use agent::follow::{Pace, Stream};
use ledger::id::Digest;
use std::path::PathBuf;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What a node says that means no good, from nothing to all there is.
const SAID: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_secs(1),
    Duration::from_secs(90),
    DAY,
    Duration::from_millis(u64::MAX),
];

fn pace(interval: Duration, max_age: Duration, jitter_percent: u64, host: u8) -> Pace {
    let config = config::Ledger {
        nodes: Vec::new(),
        ca: None,
        genesis: PathBuf::new(),
        server_name: None,
        max_age_ms: u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX),
        poll_interval: interval,
        poll_jitter_percent: jitter_percent,
    };
    Pace::new(&config, Digest([host; 32]))
}

/// Whatever a node says or does, for as long as it likes.
#[test]
fn no_node_makes_an_agent_hammer_and_none_silences_it() {
    let quick = Duration::from_millis(200);
    for (interval, max_age, jitter) in [
        (quick, DAY, 0),
        (quick, Duration::from_millis(1), 20),
        (MINUTE, DAY, 20),
        (MINUTE, DAY, 100),
        (MINUTE, MINUTE * 8, 20),
        (DAY, DAY, 20),
    ] {
        let mut pace = pace(interval, max_age, jitter, 7);
        let longest = (interval * STRETCH_MAX).min(max_age / AGE_PART).max(interval);
        let least = ASK_AGAIN_MIN.min(interval);
        for round in 0..300usize {
            let said = SAID[round % SAID.len()];
            let stream = match round / SAID.len() % 4 {
                0 => Stream::Stood(said),
                1 => Stream::None,
                2 => Stream::NoPlace(said),
                _ => Stream::NotAsked,
            };
            let hint = (round % 5 > 0).then_some(said);
            let wait = pace.wait(stream, hint);
            let most = longest + longest * u32::try_from(jitter).unwrap_or(100) / 100;
            assert!(wait >= least && wait <= most, "{interval:?} {stream:?} {hint:?}: {wait:?}");
            let patience = pace.patience(said);
            assert!(patience >= interval * 2 && patience <= SILENCE_MAX.max(interval * 2), "{patience:?}");
        }
    }
}

/// A stream that ends as soon as it is begun would otherwise be begun four times in a second.
#[test]
fn a_stream_that_stood_is_begun_again_at_once_and_one_that_did_not_ever_later() {
    let mut pace = pace(MINUTE, DAY, 0, 7);
    assert_eq!(pace.wait(Stream::Stood(MINUTE), Some(Duration::ZERO)), ASK_AGAIN_MIN);
    let mut before = ASK_AGAIN_MIN;
    for _ in 0..20 {
        let wait = pace.wait(Stream::Stood(Duration::from_secs(1)), Some(Duration::ZERO));
        assert_eq!(wait, (before * 2).min(MINUTE));
        before = wait;
    }
    assert_eq!(before, MINUTE);
    assert_eq!(pace.wait(Stream::Stood(MINUTE * 60), Some(Duration::ZERO)), ASK_AGAIN_MIN);
}

#[test]
fn a_node_without_a_place_is_asked_for_heads_and_for_a_place_when_it_said() {
    let mut pace = pace(MINUTE, DAY, 0, 7);
    let hint = Some(MINUTE * 2);
    assert_eq!(pace.wait(Stream::NoPlace(MINUTE * 4), hint), MINUTE * 2);
    assert!(!pace.wants_stream());
    assert_eq!(pace.wait(Stream::NotAsked, hint), MINUTE * 2);
    assert!(pace.wants_stream());
    // Nor is that for ever, if it is up to the node.
    pace.wait(Stream::NoPlace(DAY * 365), None);
    let rounds = (0..100).take_while(|_| !pace.wants_stream() && pace.wait(Stream::NotAsked, None) > Duration::ZERO);
    assert!(rounds.count() <= 10);
}

/// A fleet that was switched on in one moment.
#[test]
fn hosts_stray_each_in_its_own_way_and_repeat_themselves() {
    let waits = |host| {
        let mut pace = pace(MINUTE, DAY, 20, host);
        [0; 5].map(|_| pace.wait(Stream::None, Some(MINUTE)))
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
    let first: std::collections::BTreeSet<Duration> = (0..=255).map(|host| waits(host)[0]).collect();
    assert!(first.len() > 10, "{}", first.len());
}

/// A fleet that one block wakes, and one that every node asks for patience.
#[test]
fn what_is_new_is_looked_at_soon_and_not_by_a_whole_fleet_at_once() {
    let wakes = |asked_for: Duration| -> std::collections::BTreeSet<Duration> {
        (0..=255).map(|host| pace(MINUTE, DAY, 20, host).wake(asked_for)).collect()
    };
    let soon = wakes(Duration::ZERO);
    assert!(soon.len() > 100 && soon.last().unwrap() <= &WAKE_STRAY_MAX, "{}", soon.len());
    let later = wakes(Duration::from_secs(5));
    assert!(later.first().unwrap() >= &Duration::from_secs(5) && later.len() > 100);
    for said in SAID {
        assert!(wakes(said).last().unwrap() <= &(MINUTE + WAKE_STRAY_MAX), "nobody is silenced by {said:?}");
    }
    // Who is to ask often is to ask at once, and so is who is not to stray.
    assert!(pace(Duration::from_millis(200), DAY, 20, 7).wake(Duration::ZERO) <= Duration::from_millis(40));
    assert_eq!(pace(MINUTE, DAY, 0, 7).wake(Duration::ZERO), Duration::ZERO);
}

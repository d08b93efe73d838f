//! How missing artifacts are asked for: of whom, how often, how long. Time is a clock the tests set.

use crate::artifact_store::{encoded, keep, open, vendor};
use crate::support::answering::Answering;
use crate::support::world::{digests, payload};
use ledger::bounded::Name;
use ledger::id::Digest;
use ledger::key::{PublicKey, SecretKey};
use node::artifacts::{ArtifactError, ArtifactLimits, Artifacts, OF_PEERS, Pace, TooSlow, fetch_from_peer};
use node::replicate::{
    ABSENT_REST, Ended, FAILURE_REST, FETCHES_MAX, FETCHES_PER_ORGANISATION_MAX, FETCHES_PER_SOURCE_MAX, Job, LIE_REST,
    NO_ROOM_REST, Plan, Rest, Sources, WANTED_PER_ORGANISATION_MAX, Wanted, run,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const LENGTH: usize = 300_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// What a source does when it is asked.
#[derive(Clone)]
enum Manner {
    /// Says that it has nothing.
    Absent,
    /// Cannot be reached.
    Away,
    /// Says nothing.
    Silent,
    /// Serves these answers, by what it is asked for; so it need not be what was asked.
    Serves(Arc<Vec<u8>>),
}

/// Some sources, and a note of every question.
#[derive(Clone, Default)]
struct Town {
    manners: Arc<Mutex<BTreeMap<PublicKey, Manner>>>,
    asked: Arc<Mutex<Vec<PublicKey>>>,
}

impl Town {
    fn with(self, seed: u8, manner: Manner) -> Self {
        self.manners.lock().unwrap().insert(source(seed), manner);
        self
    }

    fn asked(&self, seed: u8) -> usize {
        self.asked.lock().unwrap().iter().filter(|key| **key == source(seed)).count()
    }
}

impl Sources for Town {
    type Stream = Answering;

    fn connected(&self) -> Vec<PublicKey> {
        self.manners.lock().unwrap().keys().copied().collect()
    }

    async fn open(&self, source: PublicKey) -> io::Result<Answering> {
        self.asked.lock().unwrap().push(source);
        match &self.manners.lock().unwrap()[&source] {
            Manner::Absent => Ok(Answering::with(vec![0; 8])),
            Manner::Away => Err(io::ErrorKind::ConnectionRefused.into()),
            Manner::Silent => Ok(Answering::then_silence(Vec::new())),
            Manner::Serves(answer) => Ok(Answering::with(answer.to_vec())),
        }
    }
}

fn source(seed: u8) -> PublicKey {
    // Keys in the order of their seeds, so that tests can say who is asked first.
    let mut keys: Vec<_> = (0..10).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    keys.sort();
    keys[usize::from(seed)]
}

/// A node's store, and one with everything.
struct Stores {
    _directories: [TempDir; 2],
    here: Arc<Artifacts>,
    there: Artifacts,
}

impl Stores {
    fn new(limits: ArtifactLimits) -> Self {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let here = Arc::new(open(directories[0].path(), limits));
        let there = open(directories[1].path(), ArtifactLimits::default());
        Self { _directories: directories, here, there }
    }

    /// A payload, as a source serves it.
    fn answer(&self, seed: u64) -> (Wanted, Manner) {
        let blake3 = keep(&self.there, &payload(seed, LENGTH));
        let mut answer = (LENGTH as u64).to_le_bytes().to_vec();
        answer.extend(encoded(&self.there, &blake3));
        (Wanted { organisation: vendor(), blake3, size: LENGTH as u64 }, Manner::Serves(Arc::new(answer)))
    }

    /// Replicates for so long.
    async fn replicate(&self, town: &Town, wanted: &[Wanted], time: Duration) {
        let (_running, stop) = watch::channel(false);
        let mut plan = Plan::new([7; 32]);
        for wanted in wanted {
            assert_eq!(plan.want(Instant::now(), wanted.clone()), None);
        }
        let nothing_more = futures::stream::pending();
        tokio::select! {
            () = run(plan, self.here.clone(), town.clone(), nothing_more, stop) => unreachable!("nobody stopped it"),
            () = sleep(time) => {}
        }
    }

    fn has(&self, wanted: &Wanted) -> bool {
        self.here.size(&wanted.blake3).unwrap() == Some(wanted.size)
    }
}

/// Rests that double up to a cap: so many times at most in this time, a quarter less each.
fn times_within(rest: Rest, time: Duration) -> usize {
    let (mut times, mut passed, mut next) = (0, Duration::ZERO, rest.first);
    while passed <= time {
        times += 1;
        passed += next * 3 / 4;
        next = (next * 2).min(rest.cap);
    }
    times
}

/// Asked every half second an hour would have 7,200 questions.
#[tokio::test(start_paused = true)]
async fn who_has_nothing_or_fails_or_lies_is_asked_ever_more_rarely() {
    let stores = Stores::new(ArtifactLimits::default());
    let (wanted, _) = stores.answer(1);
    let (_, lie) = stores.answer(2);
    let cases = [(Manner::Absent, ABSENT_REST), (Manner::Away, FAILURE_REST), (lie, LIE_REST)];
    for (manner, rest) in cases {
        let town = Town::default().with(1, manner);
        stores.replicate(&town, std::slice::from_ref(&wanted), HOUR).await;
        // A look may come half a second after its time, never before.
        let (asked, most) = (town.asked(1), times_within(rest, HOUR));
        assert!((2..=most).contains(&asked), "{asked} times in an hour, at most {most}: {rest:?}");
        assert!(!stores.has(&wanted));
    }
    // As it is for people: nobody's silence costs more than two questions a minute, nobody's lie more than
    // four an hour.
    assert!(times_within(ABSENT_REST, HOUR) <= 180 && times_within(LIE_REST, HOUR) <= 4);
}

/// One source says nothing, one is away, one lies: what they keep waiting, another serves meanwhile.
#[tokio::test(start_paused = true)]
async fn other_sources_serve_while_bad_ones_rest() {
    let stores = Stores::new(ArtifactLimits::default());
    let (wanted, truth) = stores.answer(1);
    let (_, lie) = stores.answer(2);
    let town = Town::default();
    let town = town.with(0, Manner::Silent).with(1, Manner::Away).with(2, lie).with(3, Manner::Absent).with(4, truth);
    stores.replicate(&town, std::slice::from_ref(&wanted), OF_PEERS.window + Duration::from_secs(5)).await;
    assert!(stores.has(&wanted), "the silent one costs one window of time, the others nothing");
    assert_eq!([0, 1, 2, 3, 4].map(|seed| town.asked(seed)), [1; 5]);
}

/// A source that gives a little now and then is given up after one window of time, and nothing of it is kept.
#[tokio::test(start_paused = true)]
async fn a_source_that_trickles_is_given_up() {
    let stores = Stores::new(ArtifactLimits::default());
    let (wanted, truth) = stores.answer(1);
    let Manner::Serves(answer) = truth else { unreachable!("it serves") };
    let here = stores.here.clone();
    let fetching = tokio::spawn(async move {
        // A kilobyte a second: it would take five minutes, and 16 GiB half a year.
        let stream = Answering::slowly(answer.to_vec(), 1_024, Duration::from_secs(1));
        fetch_from_peer(&here, stream, &wanted.organisation, (wanted.blake3, wanted.size)).await
    });
    // The thread that checks what comes keeps this clock from going by itself. The time it takes itself is not
    // the source's; so the bytes say when it was given up, not the clock.
    while !fetching.is_finished() {
        tokio::time::advance(Duration::from_millis(500)).await;
        tokio::task::yield_now().await;
    }
    let result = fetching.await.unwrap();
    let Err(ArtifactError::Slow(slow)) = result else { panic!("{result:?}") };
    assert!(matches!(slow, TooSlow::Window { moved, .. } if moved <= 30 * 1_024), "{slow}");
    assert_eq!(stores.here.size(&digests(&payload(1, LENGTH)).blake3).unwrap(), None);
}

/// Just fast enough in every window, and still over after its deadline.
#[tokio::test(start_paused = true)]
async fn a_transfer_has_a_deadline_by_its_size() {
    let size = 64 * 1024 * 1024;
    let mut pace = Pace::new(OF_PEERS, size);
    let since = Instant::now();
    let slow = loop {
        let second = pace.keep(sleep(Duration::from_secs(1))).await;
        if let Err(slow) = second.and_then(|()| pace.moved(70 * 1024)) {
            break slow;
        }
    };
    let most = OF_PEERS.allowance + Duration::from_secs(size / OF_PEERS.bytes_per_second);
    assert_eq!((slow, since.elapsed().as_secs()), (TooSlow::Deadline { most }, most.as_secs()));
    // And one that keeps up has no trouble.
    let mut pace = Pace::new(OF_PEERS, size);
    for _ in 0..size / (600 * 1024) {
        pace.keep(sleep(Duration::from_secs(1))).await.unwrap();
        pace.moved(600 * 1024).unwrap();
    }
}

/// An artifact whose organisation has no room left waits for people; the others' come.
#[tokio::test(start_paused = true)]
async fn what_has_no_room_waits_and_does_not_hold_up_the_rest() {
    let length = LENGTH as u64;
    let (bytes_max, per_organisation_bytes_max) = (10 * length, length);
    let stores = Stores::new(ArtifactLimits { bytes_max, per_organisation_bytes_max, ..ArtifactLimits::default() });
    let (first, truth) = stores.answer(1);
    let (mut second, other_truth) = stores.answer(2);
    let town = Town::default().with(1, truth);
    stores.replicate(&town, std::slice::from_ref(&first), HOUR).await;
    assert!(stores.has(&first));

    let town = Town::default().with(1, other_truth);
    stores.replicate(&town, std::slice::from_ref(&second), HOUR).await;
    assert!(!stores.has(&second));
    let most = usize::try_from(HOUR.as_secs() / NO_ROOM_REST.as_secs()).unwrap() + 1;
    assert!(town.asked(1) <= most, "{} times", town.asked(1));
    // The same for somebody else has room.
    second.organisation = Name::new("bank").unwrap();
    stores.replicate(&town, std::slice::from_ref(&second), HOUR).await;
    assert!(stores.has(&second));
    assert_eq!(stores.here.held_by(&vendor()), length);
}

fn wanted(organisation: &str, number: u64) -> Wanted {
    let blake3 = Digest::blake3(&number.to_le_bytes());
    Wanted { organisation: Name::new(organisation).unwrap(), blake3, size: 1 + number }
}

/// Who publishes a thousand artifacts, and serves them slowly, leaves places to the others; so does a source.
#[tokio::test(start_paused = true)]
async fn fetches_are_bounded_altogether_for_each_organisation_and_for_each_source() {
    let now = Instant::now();
    let sources: Vec<_> = (0..10).map(source).collect();
    let running = |plan: &mut Plan, connected: &[PublicKey]| -> Vec<Job> {
        std::iter::from_fn(|| plan.next(now, connected)).take(1_000).collect()
    };
    let mut plan = Plan::new([0; 32]);
    for number in 0..1_000 {
        plan.want(now, wanted("depot", number));
    }
    assert_eq!(running(&mut plan, &sources).len(), FETCHES_PER_ORGANISATION_MAX);
    for organisation in ["bank", "clinic", "mill", "vendor"] {
        for number in 0..5 {
            plan.want(now, wanted(organisation, number));
        }
    }
    let more = running(&mut plan, &sources);
    assert_eq!(more.len(), FETCHES_MAX - FETCHES_PER_ORGANISATION_MAX);
    let organisations: BTreeSet<_> = more.iter().map(|job| job.wanted.organisation.clone()).collect();
    assert!(organisations.len() >= 3 && more.iter().all(|job| job.wanted.organisation.as_str() != "depot"));
    // The one that waited longest has the next place.
    plan.ended(now, &more[0], Ended::Here);
    let next = running(&mut plan, &sources);
    assert!(next.len() == 1 && next[0].wanted.organisation != more[0].wanted.organisation, "{next:?}");

    let mut plan = Plan::new([0; 32]);
    for organisation in ["bank", "clinic", "depot", "mill", "vendor"] {
        plan.want(now, wanted(organisation, 1));
        plan.want(now, wanted(organisation, 2));
    }
    assert_eq!(running(&mut plan, &sources[..1]).len(), FETCHES_PER_SOURCE_MAX);
}

/// What one organisation can make a node remember is bounded; what is newest counts.
#[tokio::test(start_paused = true)]
async fn the_list_of_what_is_missing_is_bounded_for_each_organisation() {
    let mut plan = Plan::new([0; 32]);
    let most = WANTED_PER_ORGANISATION_MAX as u64;
    plan.want(Instant::now(), wanted("bank", 1));
    for number in 0..2 * most {
        let forgotten = plan.want(Instant::now(), wanted("depot", number));
        assert_eq!(forgotten, (number >= most).then(|| wanted("depot", number.saturating_sub(most))));
        assert_eq!(plan.want(Instant::now(), wanted("depot", number)), None, "it is known");
    }
    assert_eq!(plan.missing(), WANTED_PER_ORGANISATION_MAX + 1);
    let forgotten = ["bank", "depot"].map(|organisation| plan.forgotten(&Name::new(organisation).unwrap()));
    assert_eq!(forgotten, [0, most]);
}

/// The same seed rests for the same time, another one for another.
#[tokio::test(start_paused = true)]
async fn rests_differ_between_nodes_and_not_between_runs() {
    let now = Instant::now();
    let rest = |seed: u8| {
        let mut plan = Plan::new([seed; 32]);
        plan.want(now, wanted("depot", 1));
        let job = plan.next(now, &[source(1)]).unwrap();
        plan.ended(now, &job, Ended::Failed);
        assert_eq!(plan.next(now, &[source(1)]), None, "it rests");
        // The artifact's rest and the source's: the sooner of them.
        plan.wake(now).unwrap() - now
    };
    let rests: BTreeSet<_> = (0..16).map(rest).collect();
    assert!(rests.len() > 8, "{rests:?}");
    assert_eq!(rest(3), rest(3));
    let (least, most) = (ABSENT_REST.first * 3 / 4, FAILURE_REST.first * 5 / 4);
    assert!(rests.iter().all(|rest| (least..=most).contains(rest)), "{rests:?}");
}

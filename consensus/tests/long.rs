//! The long run: worlds of every kind from as many seeds as one likes, on all cores, and one last line.
//!
//! `make sim SEEDS=… FIRST_SEED=…`. What fails is named with the command that plays it again.

use crate::ledger_simulation as ledgers;
use crate::sim::rng::Rng;
use crate::simulation::{self as replicas, chosen};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of a run whose length nobody said.
const SEEDS: u64 = 100;
/// How often it says how far it is.
const PROGRESS_LINES: u64 = 50;

/// What came of one world.
pub(crate) struct Played {
    /// Of everything that happened.
    pub(crate) hash: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) faults: u64,
    pub(crate) simulated_us: u64,
}

/// A kind of worlds: the test that plays one of them again, and what plays it.
type Kind = (&'static str, fn(u64) -> Played);

const KINDS: [Kind; 10] = [
    ("four_validators", |seed| replicas::FOUR.played(seed)),
    ("seven_validators", |seed| replicas::SEVEN.played(seed)),
    ("restless_validators", |seed| replicas::RESTLESS.played(seed)),
    ("followed_validators", |seed| replicas::FOLLOWED.played(seed)),
    ("ledgers_of_four", |seed| ledgers::FOUR.played(seed)),
    ("ledgers_of_seven", |seed| ledgers::SEVEN.played(seed)),
    ("restless_ledgers", |seed| ledgers::RESTLESS.played(seed)),
    ("forgetful_ledgers", |seed| ledgers::FORGETFUL.played(seed)),
    ("moving_ledgers", |seed| ledgers::MOVING.played(seed)),
    ("deceived_ledgers", |seed| ledgers::DECEIVED.played(seed)),
];

#[derive(Clone, Copy, Default)]
struct Total {
    seeds: u64,
    simulated_us: u64,
    faults: u64,
    violations: u64,
    /// Of everything that happened in all of them, in whatever order they were played.
    hash: u64,
}

impl Total {
    fn line(&self) -> String {
        let Self { seeds, faults, violations, .. } = self;
        let hours = self.simulated_us as f64 / 3.6e9;
        format!("{seeds} seeds, {hours:.2} simulated hours, {faults} faults, {violations} violations")
    }
}

#[test]
#[ignore = "as long as one likes: make sim SEEDS=1000"]
fn a_long_run_of_every_kind() {
    let seeds = chosen(0..SEEDS);
    let (next, total) = (AtomicU64::new(seeds.start), Mutex::new(Total::default()));
    let every = ((seeds.end - seeds.start) / PROGRESS_LINES).max(1);
    let work = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end) {
            let played = KINDS.map(|kind| play(kind, seed));
            let mut total = total.lock().unwrap();
            total.seeds += 1;
            for (kind, one) in played.into_iter().enumerate() {
                total.simulated_us += one.simulated_us;
                total.faults += one.faults;
                total.violations += one.violations.len() as u64;
                total.hash = total.hash.wrapping_add(mark(one.hash, seed, kind));
            }
            if total.seeds.is_multiple_of(every) {
                println!("so far: {}", total.line());
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let total = total.into_inner().unwrap();
    println!("event hash of all: {:016x}", total.hash);
    println!("{}", total.line());
    assert_eq!((total.violations, total.seeds), (0, seeds.end - seeds.start));
}

/// One number for what happened in a world, and for which world it was.
fn mark(hash: u64, seed: u64, kind: usize) -> u64 {
    let world = Rng::new(seed).next().wrapping_add(kind as u64);
    Rng::new(hash ^ Rng::new(world).next()).next()
}

/// Plays one world; what panics is a violation too.
fn play((test, play): Kind, seed: u64) -> Played {
    let played = catch_unwind(AssertUnwindSafe(|| play(seed))).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        Played { hash: 0, violations: vec![format!("it panicked: {words}")], faults: 0, simulated_us: 0 }
    });
    for violation in &played.violations {
        println!("{test}, seed {seed}, event hash {:016x}: {violation}", played.hash);
        println!("  play it again: FIRST_SEED={seed} SEEDS=1 LOUD=1 cargo test -p consensus {test} -- --nocapture");
    }
    played
}

//! Whole clusters, from seeds: faults for a while, then none, and then they must move on.
//!
//! `FIRST_SEED=… SEEDS=…` choose seeds, `LOUD=1` prints every message.

use crate::long::Played;
use crate::shadow::Shadow;
use crate::sim::block::{secret, set_of};
use crate::sim::faults::{self, Fault};
use crate::sim::host::Sets;
use crate::sim::rng::Rng;
use crate::sim::world::World;
use ledger::validators::ValidatorSet;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

const FAULTS_UNTIL_US: u64 = 6_000_000;
const PROGRESS_WITHIN_US: u64 = 30_000_000;

/// What one seed came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Of everything that happened.
    hash: u64,
    violations: Vec<String>,
    heights: u64,
    rounds_max: u32,
    faults: BTreeMap<&'static str, u64>,
    accused: usize,
    alarms: usize,
    moved_on_after_us: u64,
}

#[test]
fn four_replicas_decide_a_hundred_heights() {
    let mut world = World::calm(4, 1);
    world.boot();
    world.expect_progress(100, 10_000_000);
    assert_eq!(world.watch.violations, vec![]);
    assert_eq!(world.watch.alarms, vec![]);
    assert!(world.hosts.iter().all(|host| host.rounds_max == 0), "the good path waits for no timer");
}

#[test]
fn four_validators_agree_and_move_on_whatever_happens() {
    check("four_validators", &FOUR, 0..100);
}

#[test]
fn seven_validators_agree_and_move_on_whatever_happens() {
    check("seven_validators", &SEVEN, 0..30);
}

#[test]
fn restless_validators_agree_and_move_on_whenever_they_crash() {
    check("restless_validators", &RESTLESS, 0..60);
}

/// The seeds of `FOUR` in whose worlds everybody is honest and validates, without what goes wrong with machines: there an
/// oracle follows every replica, word for word.
#[test]
fn oracles_say_in_the_worlds_of_four_what_the_replicas_say() {
    let (mut worlds, mut agreed, mut late) = (0, 0, 0);
    for seed in chosen(0..400).filter(|seed| !matches!(seed % 5, 1 | 3) && !seed.is_multiple_of(4)) {
        let (mut world, mut plan) = world_of(seed, &FOUR);
        plan.retain(|(_, fault)| fault.is_of_the_network());
        world.hosts.iter_mut().for_each(|host| host.shadow = Some(Shadow::of(host.me())));
        world.plan(plan);
        world.boot();
        world.run(FAULTS_UNTIL_US, |_| false);
        let again = format!("FIRST_SEED={seed} SEEDS=1 cargo test -p consensus oracles_say -- --nocapture");
        let hash = world.hash();
        assert_eq!(world.watch.violations, vec![], "seed {seed}, event hash {hash:016x}; play it again: {again}");
        for shadow in world.hosts.iter().filter_map(|host| host.shadow.as_ref()) {
            (agreed, late) = (agreed + shadow.agreed, late + shadow.late);
        }
        worlds += 1;
    }
    println!("oracles: {worlds} worlds, {agreed} decisions agree, {late} of them after round 0");
    assert!(number("SEEDS").is_some() || (agreed > 10_000 && late > 100), "{agreed} {late}");
}

/// Draws what goes wrong among so many hosts until then.
type Plan = fn(&mut Rng, usize, u64) -> Vec<(u64, Fault)>;

/// A kind of clusters to draw from.
pub(crate) struct Kind {
    count: usize,
    plan: Plan,
}

pub(crate) const FOUR: Kind = Kind { count: 4, plan: faults::draw };
pub(crate) const SEVEN: Kind = Kind { count: 7, plan: faults::draw };
pub(crate) const RESTLESS: Kind = Kind { count: 4, plan: faults::restless };

impl Kind {
    /// One world of it, for a long run.
    pub(crate) fn played(&self, seed: u64) -> Played {
        let Outcome { hash, violations, faults, moved_on_after_us, .. } = play(seed, self);
        Played { hash, violations, faults: faults.values().sum(), simulated_us: FAULTS_UNTIL_US + moved_on_after_us }
    }
}

/// Plays seeds, each twice.
fn check(test: &str, kind: &Kind, seeds: Range<u64>) {
    let mut done: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in chosen(seeds) {
        let outcome = play(seed, kind);
        let again = format!("FIRST_SEED={seed} SEEDS=1 LOUD=1 cargo test -p consensus {test} -- --nocapture");
        assert!(outcome.violations.is_empty(), "seed {seed}: {outcome:#?}\nplay it again: {again}");
        assert_eq!(outcome, play(seed, kind), "seed {seed} does not replay\nplay it again: {again}");
        if number("SEEDS").is_some() {
            println!("{test} {seed}: {outcome:?}");
        }
        for (fault, times) in outcome.faults {
            *done.entry(fault).or_default() += times;
        }
        *done.entry("heights decided").or_default() += outcome.heights;
    }
    println!("{test}: {done:?}");
}

fn play(seed: u64, kind: &Kind) -> Outcome {
    let (mut world, plan) = world_of(seed, kind);
    world.loud = number("LOUD").is_some();
    world.plan(plan);
    world.boot();
    world.run(FAULTS_UNTIL_US, |_| false);
    world.heal();
    world.expect_progress(3, PROGRESS_WITHIN_US);
    world.expect_no_alarm_without_a_crash();
    Outcome {
        hash: world.hash(),
        violations: world.watch.violations.iter().map(ToString::to_string).collect(),
        heights: world.highest(),
        rounds_max: world.hosts.iter().map(|host| host.rounds_max).max().unwrap_or(0),
        faults: world.faults_done,
        accused: world.watch.accused.len(),
        alarms: world.watch.alarms.len(),
        moved_on_after_us: world.now_us.saturating_sub(FAULTS_UNTIL_US),
    }
}

/// The cluster of a seed, and what will go wrong in it.
fn world_of(seed: u64, kind: &Kind) -> (World, Vec<(u64, Fault)>) {
    let count = kind.count;
    let mut rng = Rng::new(seed);
    // At most f of them: one.
    let (with_twin, with_mischief) = (seed % 5 == 3, seed % 5 == 1);
    let sets = sets(count, seed.is_multiple_of(4) && !with_twin && !with_mischief);
    let mut world = World::with_sets(count, Sets(Rc::new(sets)), rng.between(20_000, 300_000), rng.next());
    if with_twin {
        world.add_twin(rng.index(count));
        world.twins_hear_all = rng.once_in(2);
    }
    if with_mischief {
        world.add_mischief(rng.index(count));
    }
    for host in &mut world.hosts {
        host.clock_percent = rng.between(70, 140);
        host.batches = rng.once_in(2);
    }
    let plan = (kind.plan)(&mut rng, world.hosts.len(), FAULTS_UNTIL_US);
    (world, plan)
}

/// The validators of each height; when they change, one leaves for some heights and comes back.
fn sets(count: usize, they_change: bool) -> Vec<(u64, ValidatorSet)> {
    let keys: Vec<_> = (0..count).map(secret).collect();
    let all = set_of(&keys);
    if !they_change {
        return vec![(0, all)];
    }
    vec![(0, all.clone()), (6, set_of(&keys[..count - 1])), (14, all)]
}

pub(crate) fn chosen(seeds: Range<u64>) -> Range<u64> {
    match (number("FIRST_SEED"), number("SEEDS")) {
        (None, None) => seeds,
        (first, count) => {
            let first = first.unwrap_or(seeds.start);
            first..first + count.unwrap_or(1)
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where a person chooses seeds")]
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

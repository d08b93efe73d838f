//! Whole clusters, from seeds: faults for a while, then none, and then they must move on.
//!
//! `FIRST_SEED=… SEEDS=…` choose seeds, `LOUD=1` prints every message.

use crate::long::Played;
use crate::shadow::{Compared, Shadow};
use crate::sim::block::{secret, set_of};
use crate::sim::faults::{self, Fault};
use crate::sim::host::Sets;
use crate::sim::rng::Rng;
use crate::sim::world::World;
use ledger::validators::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

const FAULTS_UNTIL_US: u64 = 6_000_000;
const PROGRESS_WITHIN_US: u64 = 30_000_000;

const TWINS: &str = "twins";
const FORGER: &str = "forger";
/// Who means harm in a run, at most one of them.
const LIARS: [&str; 2] = [TWINS, FORGER];

/// What one seed came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    liar: Option<&'static str>,
    /// Of everything that happened.
    hash: u64,
    violations: Vec<String>,
    heights: u64,
    rounds_max: u32,
    faults: BTreeMap<&'static str, u64>,
    accused: usize,
    alarms: usize,
    /// Decisions the oracles agree with, and those after round 0.
    agreed: u64,
    late: u64,
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
    let done = check("four_validators", &FOUR, 0..100);
    let agreed = done.get(AGREED).copied().unwrap_or_default();
    assert!(are_chosen() || agreed > 3_000, "{agreed} decisions of replicas agree with their oracles'");
}

#[test]
fn seven_validators_agree_and_move_on_whatever_happens() {
    check("seven_validators", &SEVEN, 0..30);
}

#[test]
fn restless_validators_agree_and_move_on_whenever_they_crash() {
    check("restless_validators", &RESTLESS, 0..60);
}

/// An oracle follows every replica, word for word, through whatever happens: where nobody means harm.
#[test]
fn followed_validators_say_what_the_oracles_say() {
    let done = check("followed_validators", &FOLLOWED, 0..200);
    let [agreed, late] = [AGREED, LATE].map(|what| done.get(what).copied().unwrap_or_default());
    assert!(are_chosen() || (agreed > 10_000 && late > 100), "{agreed} decisions agree, {late} of them late");
}

/// What they were: a quorum of an earlier round decides, whatever was precommitted since (followed); no vote outlives the body of
/// its block, or else all are bound to one that nobody has (restless).
#[test]
fn seeds_of_replicas_that_failed_once_are_kept() {
    for (kind, seed) in [(&FOLLOWED, 890_059), (&RESTLESS, 890_020)] {
        assert_eq!(play(seed, kind).violations, Vec::<String>::new(), "seed {seed}");
    }
}

/// Draws what goes wrong among so many hosts until then.
type Plan = fn(&mut Rng, usize, u64) -> Vec<(u64, Fault)>;

/// A kind of clusters to draw from.
pub(crate) struct Kind {
    count: usize,
    plan: Plan,
    /// Everything that goes wrong in its plans.
    faults: &'static [&'static str],
    liars: &'static [&'static str],
    /// An oracle behind every replica, and what is compared.
    followed: Option<Compared>,
}

pub(crate) const FOUR: Kind =
    Kind { count: 4, plan: faults::draw, faults: &faults::DRAWN, liars: &LIARS, followed: Some(Compared::Decisions) };
pub(crate) const SEVEN: Kind = Kind { count: 7, followed: None, ..FOUR };
pub(crate) const RESTLESS: Kind = Kind { plan: faults::restless, faults: &faults::RESTLESS, ..FOUR };
pub(crate) const FOLLOWED: Kind = Kind { liars: &[], followed: Some(Compared::Words), ..FOUR };

/// Decisions a replica and the oracle behind it both came to, and those of them after the first round.
const AGREED: &str = "decisions the oracles agree with";
const LATE: &str = "late decisions the oracles agree with";

impl Kind {
    /// One world of it, for a long run.
    pub(crate) fn played(&self, seed: u64) -> Played {
        let Outcome { hash, violations, faults, moved_on_after_us, .. } = play(seed, self);
        Played { hash, violations, faults: faults.values().sum(), simulated_us: FAULTS_UNTIL_US + moved_on_after_us }
    }
}

/// Plays seeds, each twice, and says how often there was what. Where nobody has chosen other seeds, everything goes wrong in
/// some of them that can, and every kind of liar is caught.
fn check(test: &str, kind: &Kind, seeds: Range<u64>) -> BTreeMap<&'static str, u64> {
    let (mut done, mut faults, mut caught) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for seed in chosen(seeds) {
        let outcome = play(seed, kind);
        let again = format!("FIRST_SEED={seed} SEEDS=1 LOUD=1 cargo test -p consensus {test} -- --nocapture");
        assert!(outcome.violations.is_empty(), "seed {seed}: {outcome:#?}\nplay it again: {again}");
        assert_eq!(outcome, play(seed, kind), "seed {seed} does not replay\nplay it again: {again}");
        if number("SEEDS").is_some() {
            println!("{test} {seed}: {outcome:?}");
        }
        for (fault, times) in outcome.faults {
            *faults.entry(fault).or_default() += times;
        }
        for (what, times) in [("heights", outcome.heights), (AGREED, outcome.agreed), (LATE, outcome.late)] {
            *done.entry(what).or_default() += times;
        }
        caught.extend(outcome.liar.filter(|_| outcome.accused > 0));
    }
    println!("{test}: {done:?}, {faults:?}, caught {caught:?}");
    if !are_chosen() {
        expect_every_fault(kind.faults, &faults);
        let liars: BTreeSet<&str> = kind.liars.iter().copied().collect();
        assert_eq!(caught, liars, "who was caught");
    }
    done
}

/// Nothing that is on the list was never drawn, or changed nothing whenever it was; and nothing is missing on it.
pub(crate) fn expect_every_fault(named: &[&'static str], done: &BTreeMap<&'static str, u64>) {
    let (done, named): (BTreeSet<_>, BTreeSet<_>) = (done.keys().collect(), named.iter().collect());
    assert_eq!(done, named, "what went wrong, and what is said to");
}

fn play(seed: u64, kind: &Kind) -> Outcome {
    let (mut world, plan, liar) = world_of(seed, kind);
    world.loud = number("LOUD").is_some();
    world.plan(plan);
    world.boot();
    world.run(FAULTS_UNTIL_US, |_| false);
    world.heal();
    world.expect_progress(3, PROGRESS_WITHIN_US);
    world.expect_no_alarm_without_a_crash();
    let shadows = || world.hosts.iter().filter_map(|host| host.shadow.as_ref());
    Outcome {
        liar,
        hash: world.hash(),
        violations: world.watch.violations.iter().map(ToString::to_string).collect(),
        heights: world.highest(),
        rounds_max: world.hosts.iter().map(|host| host.rounds_max).max().unwrap_or(0),
        accused: world.watch.accused.len(),
        alarms: world.watch.alarms.len(),
        agreed: shadows().map(|shadow| shadow.agreed).sum(),
        late: shadows().map(|shadow| shadow.late).sum(),
        moved_on_after_us: world.now_us.saturating_sub(FAULTS_UNTIL_US),
        faults: world.faults_done,
    }
}

/// The cluster of a seed, what will go wrong in it, and who means harm.
fn world_of(seed: u64, kind: &Kind) -> (World, Vec<(u64, Fault)>, Option<&'static str>) {
    let count = kind.count;
    let mut rng = Rng::new(seed);
    // At most f of them: one.
    let liar = match seed % 5 {
        3 => Some(TWINS),
        1 => Some(FORGER),
        _ => None,
    };
    let liar = liar.filter(|liar| kind.liars.contains(liar));
    let sets = sets(count, seed.is_multiple_of(4) && liar.is_none());
    let mut world = World::with_sets(count, Sets(Rc::new(sets)), rng.between(20_000, 300_000), rng.next());
    if liar == Some(TWINS) {
        world.add_twin(rng.index(count));
        world.twins_hear_all = rng.once_in(2);
    }
    if liar == Some(FORGER) {
        world.add_mischief(rng.index(count));
    }
    for host in &mut world.hosts {
        host.clock_percent = rng.between(70, 140);
        host.batches = rng.once_in(2);
        host.shadow = kind.followed.map(|compared| Shadow::of(host.me(), compared));
    }
    let plan = (kind.plan)(&mut rng, world.hosts.len(), FAULTS_UNTIL_US);
    (world, plan, liar)
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

/// Whether a person has chosen the seeds.
pub(crate) fn are_chosen() -> bool {
    number("FIRST_SEED").or(number("SEEDS")).is_some()
}

#[allow(clippy::disallowed_methods, reason = "the one place where a person chooses seeds")]
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

//! Ledgers whose members are built wrong on purpose, in the code around them. Each must be caught: a
//! simulation that never finds anything is no evidence.

use crate::adversaries::invalid_block::InvalidBlock;
use crate::adversaries::stale::Stale;
use crate::controls::first_of;
use crate::ledger_sim::cast::Cast;
use crate::ledger_sim::faults;
use crate::ledger_sim::host::Flaws;
use crate::ledger_sim::invariants::Violation;
use crate::ledger_sim::vault::Vault;
use crate::ledger_sim::world::World;
use crate::sim::invariants as voting;
use crate::sim::rng::Rng;
use ledger::evidence::CertifiedHeader;
use ledger::fork::Fork;
use ledger::proof::TrustRoot;
use ledger::state::record::{Record, RecordKey, UpcomingValidators};
use ledger::validators::{Validator, ValidatorSet};

/// Seeds tried before a flaw counts as overlooked.
const SEEDS: u64 = 40;
const UNTIL_US: u64 = 5_000_000;

/// Plays until the invariants notice something, and says what.
fn first_violation(flaw: &str, seeds: u64, play: impl Fn(u64) -> World) -> Option<Violation> {
    first_of(flaw, seeds, |seed| play(seed).around.watch.all().first().cloned())
}

/// Seen as it was signed, or by another member before.
fn is_double_sign(violation: Option<&Violation>) -> bool {
    use voting::Violation::{DoubleSign, HonestAccused};
    matches!(violation, Some(Violation::Voting(DoubleSign { .. } | HonestAccused(_))))
}

/// A ledger whose members lose power all the time.
fn restless(seed: u64, flaws: Flaws) -> World {
    let mut rng = Rng::new(seed);
    let mut world = World::new(4, rng.next());
    world.submit_every_us = 50_000;
    for host in &mut world.hosts {
        host.flaws = flaws;
        host.batch = *rng.pick(&[1, 4, 32]);
    }
    let plan = faults::restless(&mut rng, 4, UNTIL_US);
    world.plan(plan);
    world.boot(1_000_000);
    world.run(UNTIL_US, |_| false);
    world
}

#[test]
fn members_without_flaws_survive_the_same() {
    assert_eq!(first_violation("none", 10, |seed| restless(seed, Flaws::default())), None);
}

#[test]
fn the_guard_alone_prevents_double_signing_when_the_log_is_always_lost() {
    assert_eq!(
        first_violation("log lost", 10, |seed| restless(seed, Flaws { no_log: true, ..Flaws::default() })),
        None
    );
}

#[test]
fn members_without_guard_and_log_sign_twice_and_are_caught() {
    let flaws = Flaws { no_guard: true, no_log: true, ..Flaws::default() };
    let violation = first_violation("guard off, log lost", SEEDS, |seed| restless(seed, flaws));
    assert!(is_double_sign(violation.as_ref()), "{violation:?}");
}

#[test]
fn members_that_send_before_it_is_durable_sign_twice_and_are_caught() {
    let flaws = Flaws { sends_first: true, ..Flaws::default() };
    let violation = first_violation("sent before it is durable", SEEDS, |seed| restless(seed, flaws));
    assert!(is_double_sign(violation.as_ref()), "{violation:?}");
}

#[test]
fn members_that_answer_before_the_log_is_read_need_their_guard_and_are_caught() {
    let flaws = Flaws { answers_before_replay: true, ..Flaws::default() };
    let violation = first_violation("answers before replay", SEEDS, |seed| restless(seed, flaws));
    assert!(matches!(violation, Some(Violation::GuardSteppedIn { .. })), "{violation:?}");
}

/// One of them loses its disk, or has an earlier copy of it: with a voice at once it contradicts itself.
#[test]
fn members_that_speak_before_they_have_listened_sign_twice_and_are_caught() {
    let forgetful = |flaws: Flaws| {
        first_violation("speaks before it has listened", SEEDS, |seed| {
            let mut rng = Rng::new(seed);
            let mut world = World::new(4, rng.next());
            world.submit_every_us = 50_000;
            world.hosts.iter_mut().for_each(|host| host.flaws = flaws);
            let plan = faults::forgetful(&mut rng, 4, UNTIL_US);
            world.plan(plan);
            world.boot(1_000_000);
            world.run(UNTIL_US, |_| false);
            world
        })
    };
    assert_eq!(forgetful(Flaws::default()), None);
    let violation = forgetful(Flaws { speaks_at_once: true, ..Flaws::default() });
    assert!(is_double_sign(violation.as_ref()), "{violation:?}");
}

#[test]
fn a_chain_that_says_written_before_it_is_loses_what_was_answered_and_is_caught() {
    let flaws = Flaws { lazy_commit: true, ..Flaws::default() };
    let violation = first_violation("written lazily", SEEDS, |seed| restless(seed, flaws));
    assert!(matches!(violation, Some(Violation::FinalisedLost { .. })), "{violation:?}");
}

/// In calm weather no timer of a round before, or of a height before, may cost a round.
#[test]
fn timers_without_height_and_round_cost_rounds_and_are_caught() {
    let calm = |flaws: Flaws| {
        first_violation("timers without height and round", 3, |seed| {
            let mut world = World::new(4, seed);
            world.around.watch.calm = true;
            world.submit_every_us = 45_000;
            world.hosts.iter_mut().for_each(|host| host.flaws = flaws);
            world.boot(1_000_000);
            world.run(UNTIL_US, |_| false);
            world
        })
    };
    assert_eq!(calm(Flaws::default()), None);
    let violation = calm(Flaws { untagged_timers: true, ..Flaws::default() });
    assert!(matches!(violation, Some(Violation::RoundWasted { .. })), "{violation:?}");
}

/// One proposes blocks from ten minutes ahead; the others must not follow it there.
#[test]
fn members_that_do_not_look_at_the_time_of_a_block_are_caught() {
    let ahead = |flaws: Flaws| {
        first_violation("time of blocks not checked", 3, |seed| {
            let mut world = World::new(4, seed);
            world.add_adversary(0, Box::new(InvalidBlock::far_ahead()));
            world.submit_every_us = 45_000;
            world.hosts.iter_mut().for_each(|host| host.flaws = flaws);
            world.boot(1_000_000);
            world.run(UNTIL_US, |_| false);
            world
        })
    };
    assert_eq!(ahead(Flaws::default()), None);
    let violation = ahead(Flaws { no_clock_check: true, ..Flaws::default() });
    assert!(matches!(violation, Some(Violation::TimeAhead { .. })), "{violation:?}");
}

/// One shows blocks of its own under old certificates; an observer that is behind must not take them.
#[test]
fn a_member_that_syncs_without_checking_certificates_is_caught() {
    let shown = |no_certificate_check: bool| {
        first_violation("certificates not checked", SEEDS, |seed| {
            let mut world = World::new(4, seed);
            world.add_adversary(0, Box::<Stale>::default());
            world.submit_every_us = 45_000;
            world.hosts[1].flaws = Flaws { no_certificate_check, ..Flaws::default() };
            world.boot(1_000_000);
            world.run(UNTIL_US / 2, |_| false);
            world
        })
    };
    assert_eq!(shown(false), None);
    let violation = shown(true);
    assert!(matches!(violation, Some(Violation::Certificate { .. } | Violation::Fork { .. })), "{violation:?}");
}

/// Two and two that do not hear each other, and each pair takes itself for all. Their certificates do not verify, which
/// is noticed at once; that the ledger forks, too, as soon as both have written.
#[test]
fn half_of_the_validators_that_count_as_a_quorum_fork_the_ledger_and_are_caught() {
    let violation = first_of("quorum of two", SEEDS, |seed| {
        let mut world = World::new(4, seed);
        world.goes_on = true;
        let all = Cast::of(4).set().validators().to_vec();
        for host in 0..4 {
            let key = |place: usize| world.hosts[place].person.validator.as_ref().unwrap().public();
            let pair = if host < 2 { [key(0), key(1)] } else { [key(2), key(3)] };
            let half: Vec<Validator> = all.iter().filter(|one| pair.contains(&one.key)).cloned().collect();
            let half = ValidatorSet::new(half).unwrap();
            let sets = UpcomingValidators { next: half.clone(), after_next: half };
            world.hosts[host].vault.0.borrow_mut().lie(&RecordKey::Validators, Some(Record::Validators(sets)));
        }
        world.network.part(&[0, 1, 4].into_iter().collect(), 6, false);
        world.boot(UNTIL_US);
        world.run(UNTIL_US, |_| false);
        world.around.watch.all().into_iter().find(|violation| matches!(violation, Violation::Fork { .. }))
    });
    assert!(matches!(violation, Some(Violation::Fork { .. })), "{violation:?}");
}

/// Two of four keys used by two machines each, the honest ones on different sides: more liars than the
/// protocol bears.
#[test]
fn twins_of_more_than_a_third_fork_the_ledger_and_are_caught() {
    let violation = first_violation("twins of f + 1", SEEDS, |seed| {
        let mut world = World::new(4, seed);
        let twins = [world.add_twin(0), world.add_twin(1)];
        let side = [twins[0], twins[1], 3, 5];
        world.network.part(&side.into_iter().collect(), 8, false);
        world.submit_every_us = 45_000;
        world.boot(1_000_000);
        world.run(UNTIL_US, |_| false);
        world
    });
    assert!(matches!(violation, Some(Violation::Fork { .. })), "{violation:?}");
}

/// The same twins: where their two histories part, the certificates name exactly their keys, or nobody; in no
/// run one of the two who are honest.
#[test]
fn a_fork_by_two_of_four_names_exactly_these_two() {
    let (mut named, mut unnamed) = (0, 0);
    for seed in 0..SEEDS / 4 {
        let mut world = World::new(4, seed);
        world.goes_on = true;
        let twins = [world.add_twin(0), world.add_twin(1)];
        let side = [twins[0], twins[1], 3, 5];
        world.network.part(&side.into_iter().collect(), 8, false);
        world.submit_every_us = 45_000;
        world.boot(1_000_000);
        world.run(UNTIL_US, |_| false);
        let key = |place: usize| world.hosts[place].person.validator.as_ref().unwrap().public();
        let mut liars = vec![key(0), key(1)];
        liars.sort_unstable();
        let trust = TrustRoot::parse(&world.cast.genesis.genesis.bytes()).unwrap();
        let (one, other) = (world.hosts[2].vault.look(), world.hosts[3].vault.look());
        for height in 1..=one.height().min(other.height()) {
            let head = |vault: &Vault| {
                let (block, certificate) = vault.block(height).unwrap();
                (vault.links_before(height), CertifiedHeader { header: block.header, certificate })
            };
            let fork = Fork::of(head(&one), head(&other)).unwrap();
            let Ok(proven) = fork.verify(&trust) else { continue };
            let mut keys: Vec<_> = proven.culprits().iter().map(|culprit| culprit.key).collect();
            keys.sort_unstable();
            match keys.is_empty() {
                true => unnamed += 1,
                false => {
                    assert_eq!(keys, liars, "seed {seed}, height {height}");
                    named += 1;
                }
            }
        }
    }
    assert!(named > 0 && unnamed > 0, "{named} forks named the liars, {unnamed} nobody");
}

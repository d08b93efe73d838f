//! Twins (Bano et al. 2020, <https://arxiv.org/abs/2004.10617>): one of four keys is used by two replicas
//! that know nothing of each other, and in each round the five are split in two that do not hear each
//! other. All splits of all rounds, with the twins' key in every place of the order of proposers; then
//! everybody hears everybody, and the honest must have decided one block.
//!
//! Two rounds are played whole, 1,024 scenarios, and so are the 16,384 of three rounds, in four parts.

use crate::lockstep::{Lockstep, Ours, Step};
use crate::sim::block::CHAIN;
use consensus::{Message, TimerKind};
use ledger::id::BlockHash;
use std::collections::BTreeMap;

/// Replicas: four, and the twin of one.
const NODES: usize = 5;
/// Ways to put five into two groups that are not told apart, all in one among them.
const SPLITS: usize = 16;
/// Rounds in which everybody hears everybody, before the honest must have decided.
const ROUNDS_WHOLE: u32 = 8;

/// Where the twins' key stands, and on which side each replica is in each round.
#[derive(Clone, Debug)]
struct Scenario {
    twin_of: usize,
    /// One bit for each replica.
    splits: Vec<usize>,
}

impl Scenario {
    fn of(mut number: usize, rounds: u32) -> Self {
        let twin_of = number % 4;
        number /= 4;
        let splits = (0..rounds).map(|round| number / SPLITS.pow(round) % SPLITS).collect();
        Self { twin_of, splits }
    }

    fn count(rounds: u32) -> usize {
        4 * SPLITS.pow(rounds)
    }

    /// Words of a round travel within its groups; words that repeat others wait until all is whole.
    fn hears(&self, from: usize, to: usize, place: Option<(u32, Step)>) -> bool {
        let Some((round, _)) = place else { return false };
        let side = |split: usize, node: usize| split >> node & 1;
        self.splits.get(round as usize).is_none_or(|split| side(*split, from) == side(*split, to))
    }
}

/// The order of timers within a round.
const IN_TURN: [&[TimerKind]; 3] = [&[TimerKind::Propose], &[TimerKind::Prevote], &[TimerKind::Precommit]];

fn play(scenario: &Scenario) -> Result<(), String> {
    let places = vec![0, 1, 2, 3, scenario.twin_of];
    let replica = |node: usize| Ours::new(places[node], u8::try_from(node / 4).unwrap());
    let mut lockstep = Lockstep::new((0..NODES).map(replica).collect(), places.clone());
    let split = |from: usize, to: usize, place: Option<(u32, Step)>| scenario.hears(from, to, place);
    lockstep.start(&split);
    for _ in &scenario.splits {
        IN_TURN.iter().for_each(|kinds| lockstep.tick(kinds, &split));
    }
    let whole = |_: usize, _: usize, _: Option<(u32, Step)>| true;
    let honest: Vec<usize> = (0..4).filter(|node| *node != scenario.twin_of).collect();
    for _ in 0..ROUNDS_WHOLE {
        if honest.iter().all(|node| lockstep.decided[*node].is_some()) {
            break;
        }
        lockstep.tick(&[TimerKind::Rebroadcast], &whole);
        IN_TURN.iter().for_each(|kinds| lockstep.tick(kinds, &whole));
    }
    judge(&lockstep, &honest, scenario.twin_of)
}

fn judge(lockstep: &Lockstep<Ours>, honest: &[usize], twin_of: usize) -> Result<(), String> {
    let keys = crate::table::Table::of(4, 0);
    let mut decided: BTreeMap<BlockHash, Vec<usize>> = BTreeMap::new();
    for node in honest {
        let Some(certificate) = &lockstep.nodes[*node].certificate else {
            return Err(format!("{node} has not decided: {:?}", lockstep.decided));
        };
        if let Some(alarm) = lockstep.nodes[*node].alarms.first() {
            return Err(format!("at {node}: {alarm}"));
        }
        certificate.check(&CHAIN, &keys.set).map_err(|error| error.to_string())?;
        decided.entry(certificate.block).or_default().push(*node);
        let votes: Vec<_> = lockstep.nodes[*node].signed.iter().filter_map(vote).collect();
        if let Some((one, other)) =
            votes.iter().find_map(|one| Some((one, votes.iter().find(|v| v.conflicts_with(one))?)))
        {
            return Err(format!("{node} signed {one:?} and {other:?}"));
        }
    }
    if decided.len() > 1 {
        return Err(format!("two blocks are decided: {decided:?}"));
    }
    let accused = lockstep.nodes.iter().flat_map(|node| node.accused.iter());
    match accused.copied().find(|key| *key != keys.key(twin_of)) {
        Some(key) => Err(format!("evidence against honest {key}")),
        None => Ok(()),
    }
}

fn vote(message: &Message) -> Option<&consensus::SignedVote> {
    if let Message::Vote(vote) = message { Some(vote) } else { None }
}

/// Plays one scenario of so many, from this one on.
fn check(rounds: u32, first: usize, every: usize) {
    let mut played = 0;
    for number in (first..Scenario::count(rounds)).step_by(every) {
        let scenario = Scenario::of(number, rounds);
        if let Err(why) = play(&scenario) {
            panic!("scenario {number} of {rounds} rounds, {scenario:?}: {why}");
        }
        played += 1;
    }
    println!("twins: {played} of {} scenarios of {rounds} rounds", Scenario::count(rounds));
}

#[test]
fn twins_split_in_two_for_two_rounds_never_divide_the_honest() {
    check(2, 0, 1);
}

#[test]
fn twins_of_the_first_split_for_three_rounds_never_divide_the_honest() {
    check(3, 0, 4);
}

#[test]
fn twins_of_the_second_split_for_three_rounds_never_divide_the_honest() {
    check(3, 1, 4);
}

#[test]
fn twins_of_the_third_split_for_three_rounds_never_divide_the_honest() {
    check(3, 2, 4);
}

#[test]
fn twins_of_the_fourth_split_for_three_rounds_never_divide_the_honest() {
    check(3, 3, 4);
}

//! The oracle: the smallest Tendermint core that follows the paper
//! (<https://arxiv.org/abs/1807.04938>, Algorithm 1; its line numbers are in the code), without keys,
//! logs or guards. The same words lost, it must decide what our replica decides, in the same round.

use crate::controls::first_of;
use crate::lockstep::{Core, Deed, H, Lockstep, Ours, Rule, Step, block_of};
use crate::sim::block::{secret, set_of};
use crate::sim::rng::Rng;
use crate::simulation::chosen;
use consensus::TimerKind;
use ledger::id::BlockHash;
use std::collections::{BTreeMap, BTreeSet};

const VALIDATORS: usize = 4;
/// 2f + 1 of four; and as many of three, of whom none may be a liar.
pub(crate) const QUORUM: usize = 3;
const MORE_THAN_F: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    Proposal { round: u32, value: BlockHash, valid_round: Option<u32> },
    Vote { step: Step, round: u32, value: Option<BlockHash> },
}

/// Votes by round, step and voter.
type Votes = BTreeMap<(u32, Step), BTreeMap<usize, Option<BlockHash>>>;

pub(crate) struct Oracle {
    me: usize,
    quorum: usize,
    proposers: Vec<usize>,
    /// It is told what it proposes ([`Self::propose`]), unless it is bound to propose something.
    waits_for_values: bool,
    round: u32,
    step: Step,
    locked: Option<(u32, BlockHash)>,
    valid: Option<(u32, BlockHash)>,
    proposals: BTreeMap<u32, (BlockHash, Option<u32>)>,
    votes: Votes,
    /// What happens once: (line, round).
    done: BTreeSet<(u32, u32)>,
    decided: bool,
    deeds: Vec<Deed<Word>>,
}

impl Oracle {
    pub(crate) fn new(me: usize, quorum: usize, proposers: Vec<usize>) -> Self {
        Self {
            me,
            quorum,
            proposers,
            waits_for_values: false,
            round: 0,
            step: Step::Propose,
            locked: None,
            valid: None,
            proposals: BTreeMap::new(),
            votes: BTreeMap::new(),
            done: BTreeSet::new(),
            decided: false,
            deeds: Vec::new(),
        }
    }

    /// Lines 11-21.
    fn start_round(&mut self, round: u32) {
        (self.round, self.step) = (round, Step::Propose);
        self.deeds.push(Deed::CancelAll);
        if !self.is_in_turn() {
            self.deeds.push(Deed::Schedule(round, TimerKind::Propose));
        } else if let Some((valid_round, value)) = self.valid {
            self.say_proposal(value, Some(valid_round));
        } else if !self.waits_for_values {
            self.say_proposal(block_of(self.me, round, 0), None);
        }
    }

    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// Line 47, of the round it is in.
    pub(crate) fn has_heard_that_it_is_over(&self) -> bool {
        self.voters(self.round, Step::Precommit) >= self.quorum
    }

    fn is_in_turn(&self) -> bool {
        self.proposers[self.round as usize % self.proposers.len()] == self.me
    }

    fn say_proposal(&mut self, value: BlockHash, valid_round: Option<u32>) {
        let round = self.round;
        self.proposals.insert(round, (value, valid_round));
        self.deeds.push(Deed::Say(Word::Proposal { round, value, valid_round }));
    }

    /// An oracle that is told what to propose.
    pub(crate) fn waiting_for_values(self) -> Self {
        Self { waits_for_values: true, ..self }
    }

    /// What to propose in this round, if it is still the turn.
    pub(crate) fn propose(&mut self, round: u32, value: BlockHash) -> Vec<Deed<Word>> {
        let is_due = round == self.round && self.is_in_turn() && !self.proposals.contains_key(&round);
        if is_due && self.step == Step::Propose && !self.decided {
            self.say_proposal(value, None);
        }
        self.finish()
    }

    fn vote(&mut self, step: Step, value: Option<BlockHash>) {
        self.step = step;
        self.votes.entry((self.round, step)).or_default().insert(self.me, value);
        self.deeds.push(Deed::Say(Word::Vote { step, round: self.round, value }));
    }

    fn count(&self, round: u32, step: Step, value: Option<BlockHash>) -> usize {
        self.votes.get(&(round, step)).map_or(0, |votes| votes.values().filter(|one| **one == value).count())
    }

    fn voters(&self, round: u32, step: Step) -> usize {
        self.votes.get(&(round, step)).map_or(0, BTreeMap::len)
    }

    fn once(&mut self, line: u32, round: u32) -> bool {
        self.done.insert((line, round))
    }

    /// All rules, until none applies.
    fn apply_rules(&mut self) {
        while !self.decided && self.apply_one() {}
    }

    fn apply_one(&mut self) -> bool {
        let round = self.round;
        for (of_round, (value, _)) in self.proposals.clone() {
            if self.count(of_round, Step::Precommit, Some(value)) >= self.quorum {
                // Lines 49-54.
                self.decided = true;
                self.deeds.push(Deed::Decide(of_round, value));
                return false;
            }
        }
        if let Some((value, valid_round)) = self.proposals.get(&round).copied() {
            if self.step == Step::Propose && self.may_prevote(valid_round) {
                // Lines 22-33.
                let free = match (self.locked, valid_round) {
                    (None, _) => true,
                    (Some((locked, own)), Some(valid_round)) => locked <= valid_round || own == value,
                    (Some((_, own)), None) => own == value,
                };
                self.vote(Step::Prevote, free.then_some(value));
                return true;
            }
            let polka = self.count(round, Step::Prevote, Some(value)) >= self.quorum;
            if polka && self.step >= Step::Prevote && self.once(36, round) {
                // Lines 36-43.
                if self.step == Step::Prevote {
                    self.locked = Some((round, value));
                    self.vote(Step::Precommit, Some(value));
                }
                self.valid = Some((round, value));
                return true;
            }
        }
        if self.step == Step::Prevote && self.voters(round, Step::Prevote) >= self.quorum && self.once(34, round) {
            self.deeds.push(Deed::Schedule(round, TimerKind::Prevote));
            return true;
        }
        if self.step == Step::Prevote && self.count(round, Step::Prevote, None) >= self.quorum {
            // Lines 44-46.
            self.vote(Step::Precommit, None);
            return true;
        }
        if self.has_heard_that_it_is_over() && self.once(47, round) {
            self.deeds.push(Deed::Schedule(round, TimerKind::Precommit));
            return true;
        }
        let ahead: BTreeSet<u32> = self.votes.keys().map(|(round, _)| *round).filter(|one| *one > round).collect();
        for later in ahead.into_iter().rev() {
            let of = |step| self.votes.get(&(later, step)).into_iter().flat_map(BTreeMap::keys).copied();
            let who: BTreeSet<usize> = of(Step::Prevote).chain(of(Step::Precommit)).collect();
            if who.len() >= MORE_THAN_F {
                // Lines 55-56.
                self.start_round(later);
                return true;
            }
        }
        false
    }

    fn may_prevote(&self, valid_round: Option<u32>) -> bool {
        let Some(valid_round) = valid_round else { return true };
        let value = self.proposals[&self.round].0;
        valid_round < self.round && self.count(valid_round, Step::Prevote, Some(value)) >= self.quorum
    }

    fn finish(&mut self) -> Vec<Deed<Word>> {
        self.apply_rules();
        std::mem::take(&mut self.deeds)
    }
}

impl Core for Oracle {
    type Message = Word;

    fn start(&mut self) -> Vec<Deed<Word>> {
        self.start_round(0);
        self.finish()
    }

    fn hear(&mut self, from: usize, word: Word) -> Vec<Deed<Word>> {
        if self.decided {
            return Vec::new();
        }
        match word {
            Word::Proposal { round, value, valid_round } => drop(self.proposals.insert(round, (value, valid_round))),
            Word::Vote { step, round, value } => {
                self.votes.entry((round, step)).or_default().insert(from, value);
            }
        }
        self.finish()
    }

    /// Lines 57-67.
    fn ring(&mut self, round: u32, kind: TimerKind) -> Vec<Deed<Word>> {
        if self.decided || round != self.round {
            return Vec::new();
        }
        match kind {
            TimerKind::Propose if self.step == Step::Propose => self.vote(Step::Prevote, None),
            TimerKind::Prevote if self.step == Step::Prevote => self.vote(Step::Precommit, None),
            TimerKind::Precommit => self.start_round(round + 1),
            _ => {}
        }
        self.finish()
    }

    fn place(word: &Word) -> Option<(u32, Step)> {
        match word {
            Word::Proposal { round, .. } => Some((*round, Step::Propose)),
            Word::Vote { step, round, .. } => Some((*round, *step)),
        }
    }
}

/// What is lost: directed ways, by round and step.
fn losses(seed: u64) -> BTreeSet<(usize, usize, u32, Step)> {
    let mut rng = Rng::new(seed);
    let mut lost = BTreeSet::new();
    for round in 0..3 {
        for step in [Step::Propose, Step::Prevote, Step::Precommit] {
            let percent = *rng.pick(&[0, 0, 0, 5, 15, 30, 60]);
            for from in 0..VALIDATORS {
                for to in 0..VALIDATORS {
                    if rng.percent(percent) {
                        lost.insert((from, to, round, step));
                    }
                }
            }
        }
    }
    lost
}

fn play<C: Core>(nodes: Vec<C>, rule: Rule<'_>) -> Decided {
    let mut lockstep = Lockstep::new(nodes, (0..VALIDATORS).collect());
    lockstep.start(rule);
    for _ in 0..40 {
        for kind in [TimerKind::Propose, TimerKind::Prevote, TimerKind::Precommit] {
            lockstep.tick(&[kind], rule);
        }
    }
    lockstep.decided
}

/// Oracles with such a quorum.
fn oracles(quorum: usize) -> Vec<Oracle> {
    let mut keys: Vec<_> = (0..VALIDATORS).map(secret).collect();
    keys.sort_by_key(ledger::key::SecretKey::public);
    let set = set_of(&keys);
    let turn = |round| set.position(&consensus::proposer(&set, H, round)).unwrap();
    let proposers: Vec<usize> = (0..4).map(turn).collect();
    (0..VALIDATORS).map(|place| Oracle::new(place, quorum, proposers.clone())).collect()
}

type Decided = Vec<Option<(u32, BlockHash)>>;

/// What our replicas decide where these words are lost, and what oracles do.
fn both(seed: u64, quorum: usize) -> (Decided, Decided) {
    let lost = losses(seed);
    let rule = |from: usize, to: usize, place: Option<(u32, Step)>| {
        place.is_some_and(|(round, step)| !lost.contains(&(from, to, round, step)))
    };
    let ours = (0..VALIDATORS).map(|place| Ours::new(place, 0)).collect();
    (play(ours, &rule), play(oracles(quorum), &rule))
}

/// Only proposals and votes are heard: what our replica does to repeat and to ask for lost words is more
/// than the paper has, and would only help it.
#[test]
fn our_replica_decides_what_the_oracle_decides() {
    let (mut decisions, mut late) = (0, 0);
    for seed in chosen(0..400) {
        let (ours, theirs) = both(seed, QUORUM);
        let again = format!("FIRST_SEED={seed} SEEDS=1 cargo test -p consensus our_replica_decides -- --nocapture");
        assert_eq!(ours, theirs, "seed {seed}: ours and the oracle's; play it again: {again}");
        decisions += ours.iter().flatten().count();
        late += ours.iter().flatten().filter(|(round, _)| *round > 0).count();
    }
    println!("oracle: {decisions} decisions agree, {late} of them after round 0");
}

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("the honest are divided: {0:?}")]
    Divided(Decided),
    #[error("ours decided {ours:?}, the oracle {theirs:?}")]
    Differs { ours: Decided, theirs: Decided },
}

/// A core of our own with a formula that is wrong by one: a quorum is 2f, and not 2f + 1. Two and two that do not hear
/// each other are enough to see it, and so is our replica beside it.
#[test]
fn a_core_whose_quorum_is_2f_divides_the_honest_and_is_caught() {
    let pairs = |from: usize, to: usize, _: Option<(u32, Step)>| from / 2 == to / 2;
    let divided = |quorum: usize| {
        let decided = play(oracles(quorum), &pairs);
        let blocks: BTreeSet<BlockHash> = decided.iter().flatten().map(|(_, block)| *block).collect();
        (blocks.len() > 1).then_some(Wrong::Divided(decided))
    };
    assert!(first_of("none", 1, |_| divided(QUORUM)).is_none());
    assert!(first_of("a quorum of 2f", 1, |_| divided(QUORUM - 1)).is_some());
    let found = first_of("a quorum of 2f, beside ours", 400, |seed| {
        let (ours, theirs) = both(seed, QUORUM - 1);
        (ours != theirs).then_some(Wrong::Differs { ours, theirs })
    });
    assert!(found.is_some());
}

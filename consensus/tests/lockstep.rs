//! Cores in lockstep: all words are delivered before any timer runs out, and a rule says who hears what.
//! Runs our replicas and the oracle's alike, so that the same rule can be put to both.

use crate::table::Table;
use consensus::{Effect, Input, Message, Timer, TimerKind, VoteKind};
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use std::collections::{BTreeSet, VecDeque};

/// The height they decide.
pub(crate) const H: u64 = 8;
/// Words delivered before a run counts as endless.
const WORDS_MAX: u64 = 20_000;

/// The steps of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Propose,
    Prevote,
    Precommit,
}

/// What a core does.
pub(crate) enum Deed<M> {
    Say(M),
    /// To whoever holds this place in the set.
    Tell(usize, M),
    Schedule(u32, TimerKind),
    Cancel(u32, TimerKind),
    CancelAll,
    Decide(u32, BlockHash),
}

pub(crate) trait Core {
    type Message: Clone;

    fn start(&mut self) -> Vec<Deed<Self::Message>>;
    fn hear(&mut self, from: usize, message: Self::Message) -> Vec<Deed<Self::Message>>;
    fn ring(&mut self, round: u32, kind: TimerKind) -> Vec<Deed<Self::Message>>;
    /// Round and step a word belongs to; none for words that only repeat others or ask for them.
    fn place(message: &Self::Message) -> Option<(u32, Step)>;
}

/// Whether `to` hears what `from` says in this round and step.
pub(crate) type Rule<'a> = &'a dyn Fn(usize, usize, Option<(u32, Step)>) -> bool;

pub(crate) struct Lockstep<C: Core> {
    pub(crate) nodes: Vec<C>,
    /// Place in the set of each node: twins share one.
    places: Vec<usize>,
    timers: Vec<BTreeSet<(u32, TimerKind)>>,
    words: VecDeque<(usize, usize, C::Message)>,
    pub(crate) decided: Vec<Option<(u32, BlockHash)>>,
    delivered: u64,
}

impl<C: Core> Lockstep<C> {
    pub(crate) fn new(nodes: Vec<C>, places: Vec<usize>) -> Self {
        let count = nodes.len();
        let timers = vec![BTreeSet::new(); count];
        Self { nodes, places, timers, words: VecDeque::new(), decided: vec![None; count], delivered: 0 }
    }

    pub(crate) fn start(&mut self, rule: Rule<'_>) {
        for node in 0..self.nodes.len() {
            let deeds = self.nodes[node].start();
            self.carry_out(node, deeds, rule);
        }
        self.deliver(rule);
    }

    /// Everybody's timers of these kinds run out, once; then all that is said is heard.
    pub(crate) fn tick(&mut self, kinds: &[TimerKind], rule: Rule<'_>) {
        for node in 0..self.nodes.len() {
            let due: Vec<_> = self.timers[node].iter().filter(|(_, kind)| kinds.contains(kind)).copied().collect();
            for (round, kind) in due {
                if self.timers[node].remove(&(round, kind)) {
                    let deeds = self.nodes[node].ring(round, kind);
                    self.carry_out(node, deeds, rule);
                }
            }
        }
        self.deliver(rule);
    }

    fn deliver(&mut self, rule: Rule<'_>) {
        while let Some((from, to, message)) = self.words.pop_front() {
            self.delivered += 1;
            assert!(self.delivered < WORDS_MAX, "they talk without end");
            let deeds = self.nodes[to].hear(self.places[from], message);
            self.carry_out(to, deeds, rule);
        }
    }

    fn carry_out(&mut self, node: usize, deeds: Vec<Deed<C::Message>>, rule: Rule<'_>) {
        for deed in deeds {
            match deed {
                Deed::Say(message) => self.say(node, None, &message, rule),
                Deed::Tell(place, message) => self.say(node, Some(place), &message, rule),
                Deed::Schedule(round, kind) => drop(self.timers[node].insert((round, kind))),
                Deed::Cancel(round, kind) => drop(self.timers[node].remove(&(round, kind))),
                Deed::CancelAll => self.timers[node].clear(),
                Deed::Decide(round, block) => {
                    self.decided[node] = Some((round, block));
                    self.timers[node].clear();
                }
            }
        }
    }

    fn say(&mut self, from: usize, only: Option<usize>, message: &C::Message, rule: Rule<'_>) {
        let place = C::place(message);
        for to in 0..self.nodes.len() {
            // A twin does not listen to its twin.
            let wanted = self.places[to] != self.places[from] && only.is_none_or(|only| only == self.places[to]);
            if wanted && rule(from, to, place) {
                self.words.push_back((from, to, message.clone()));
            }
        }
    }
}

/// A replica of ours, over a node that finds every block good.
pub(crate) struct Ours {
    table: Table,
    /// Distinguishes what twins build.
    salt: u8,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) accused: BTreeSet<PublicKey>,
    pub(crate) signed: Vec<Message>,
    /// What a person should see. Nothing, for who is honest and has lost nothing.
    pub(crate) alarms: Vec<String>,
}

impl Ours {
    pub(crate) fn new(place: usize, salt: u8) -> Self {
        let table = Table::of(4, place);
        Self { table, salt, certificate: None, accused: BTreeSet::new(), signed: Vec::new(), alarms: Vec::new() }
    }

    fn step(&mut self, input: Input) -> Vec<Deed<Message>> {
        let mut deeds = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.table.replica.step(input) {
                match effect {
                    Effect::Send(message) => {
                        self.signed.push(message.clone());
                        deeds.push(Deed::Say(message));
                    }
                    Effect::SendTo { to, message } => {
                        let place = self.table.set.position(&to).expect("they talk to validators");
                        deeds.push(Deed::Tell(place, message));
                    }
                    Effect::Build { height, round, .. } => {
                        let block = block_of(self.table.me, round, self.salt);
                        inputs.push_back(Input::Propose { height, round, block });
                    }
                    Effect::Judge { height, block, .. } => {
                        inputs.push_back(Input::Judged { height, block, valid: true });
                    }
                    Effect::Schedule { timer, .. } => deeds.push(Deed::Schedule(timer.round, timer.kind)),
                    Effect::Cancel(timer) => deeds.push(Deed::Cancel(timer.round, timer.kind)),
                    Effect::CancelAll => deeds.push(Deed::CancelAll),
                    Effect::Decide(certificate) => {
                        deeds.push(Deed::Decide(certificate.round, certificate.block));
                        self.certificate = Some(certificate);
                    }
                    Effect::Evidence(evidence) => {
                        self.accused.extend(
                            evidence.check(&crate::sim::block::CHAIN).map(|charge| charge.keys).unwrap_or_default(),
                        );
                    }
                    Effect::Refused { from, why } => self.alarms.push(format!("{from} was refused: {why}")),
                    Effect::Append(_) | Effect::Guard(_) | Effect::Forgotten { .. } | Effect::Fetch { .. } => {}
                    Effect::Alarm(alarm) => self.alarms.push(alarm.to_string()),
                }
            }
        }
        deeds
    }
}

/// What the validator at a place builds in a round.
pub(crate) fn block_of(place: usize, round: u32, salt: u8) -> BlockHash {
    let mut hash = [salt; 32];
    hash[0] = u8::try_from(place).unwrap() + 1;
    hash[1] = u8::try_from(round).unwrap();
    BlockHash(hash)
}

impl Core for Ours {
    type Message = Message;

    fn start(&mut self) -> Vec<Deed<Message>> {
        let validators = self.table.set.clone();
        self.step(Input::StartHeight { height: H, validators, log: Vec::new() })
    }

    fn hear(&mut self, from: usize, message: Message) -> Vec<Deed<Message>> {
        let from = self.table.key(from);
        self.step(Input::Message { from, message })
    }

    fn ring(&mut self, round: u32, kind: TimerKind) -> Vec<Deed<Message>> {
        self.step(Input::Timer(Timer { height: H, round, kind }))
    }

    fn place(message: &Message) -> Option<(u32, Step)> {
        match message {
            Message::Proposal(proposal) => Some((proposal.body.round, Step::Propose)),
            Message::Vote(vote) if vote.kind == VoteKind::Prevote => Some((vote.body.round, Step::Prevote)),
            Message::Vote(vote) => Some((vote.body.round, Step::Precommit)),
            _ => None,
        }
    }
}

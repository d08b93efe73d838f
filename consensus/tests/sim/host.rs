//! One host: a replica, its disk, and a small model of the node around it.

use super::block::{Block, CHAIN};
use super::disk::Disk;
use super::invariants::{Invariants, Violation};
use super::network::Packet;
use super::rng::Rng;
use crate::adversaries::forger::Forger;
use crate::shadow::Shadow;
use consensus::{Alarm, Effect, Input, Message, Replica, ReplicaConfig, Timeouts, Timer};
use ledger::certificate::Certificate;
use ledger::encoding::{decode, encode};
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, SecretKey};
use ledger::validators::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const BLOCKS_PER_ANSWER: usize = 8;
const SYNC_EVERY_US: u64 = 300_000;

/// Which validators vote from which height on.
#[derive(Clone)]
pub(crate) struct Sets(pub(crate) Rc<Vec<(u64, ValidatorSet)>>);

impl Sets {
    pub(crate) fn at(&self, height: u64) -> &ValidatorSet {
        let current = self.0.iter().rev().find(|(from, _)| *from <= height);
        &current.expect("a set from height 0 on").1
    }
}

/// What a host wants to be woken for.
#[derive(Clone, Debug)]
pub(crate) enum Wake {
    Timer { timer: Timer, token: u64 },
    Built { height: u64, round: u32 },
    Judge(BlockHash),
    Start(u64),
    Fetch,
    Sync,
}

/// What comes out of a host.
pub(crate) enum Out {
    Packet { to: PublicKey, packet: Packet },
    Wake { after_us: u64, wake: Wake },
}

/// Ways in which a host is not built as it should be, for showing that the invariants notice.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flaws {
    /// The guard file is not read.
    pub(crate) no_guard: bool,
    /// The vote log is lost in every crash.
    pub(crate) no_log: bool,
    /// Blocks from peers are taken with any certificate.
    pub(crate) no_check: bool,
    /// Messages leave before what they depend on is on disk.
    pub(crate) no_sync: bool,
    /// Every block is called good, and nobody looks at it: what `ProposalOnly` makes of the core.
    pub(crate) judges_nothing: bool,
    /// Signs for another chain than the others.
    pub(crate) other_chain: bool,
    /// No timer runs out.
    pub(crate) no_timers: bool,
    /// What it called good it calls bad a moment later.
    pub(crate) fickle: bool,
    /// Its own blocks are bad.
    pub(crate) builds_bad_blocks: bool,
}

pub(crate) struct Host {
    pub(crate) key: SecretKey,
    pub(crate) honest: bool,
    pub(crate) flaws: Flaws,
    /// Set for one that means harm: it votes like everybody, and says things besides.
    pub(crate) mischief: Option<Forger>,
    /// Follows the replica, where it can.
    pub(crate) shadow: Option<Shadow>,
    pub(crate) disk: Disk,
    pub(crate) replica: Option<Replica>,
    /// Counts the times it was started; what was due in an earlier life is not.
    pub(crate) life: u64,
    /// Die after so many effects of the next list that has them, and of what.
    pub(crate) crash_after: Option<(usize, &'static str)>,
    /// What it has died of since the world last looked.
    pub(crate) suffered: Option<&'static str>,
    pub(crate) sets: Sets,
    /// How long it holds back a height while idle.
    pub(crate) pace_us: u64,
    /// How long this host's clock takes for 100 ms.
    pub(crate) clock_percent: u64,
    /// Writes everything of a list before it sends anything of it: one sync, as a busy node does.
    pub(crate) batches: bool,
    pub(crate) decisions: u64,
    pub(crate) rounds_max: u32,
    pub(crate) effects: u64,
    pub(super) rng: Rng,
    pub(super) bodies: BTreeMap<BlockHash, Block>,
    pub(super) wanted: BTreeSet<BlockHash>,
    pub(super) deciding: Option<Certificate>,
    timers: BTreeMap<Timer, u64>,
    tokens: u64,
    asked_for_blocks_at: u64,
    now_us: u64,
}

impl Host {
    pub(crate) fn new(key: SecretKey, honest: bool, sets: Sets, pace_us: u64, rng: Rng) -> Self {
        Self {
            key,
            honest,
            flaws: Flaws::default(),
            mischief: None,
            shadow: None,
            disk: Disk::new(),
            replica: None,
            life: 0,
            crash_after: None,
            suffered: None,
            sets,
            pace_us,
            clock_percent: 100,
            batches: false,
            decisions: 0,
            rounds_max: 0,
            effects: 0,
            rng,
            bodies: BTreeMap::new(),
            wanted: BTreeSet::new(),
            deciding: None,
            timers: BTreeMap::new(),
            tokens: 0,
            asked_for_blocks_at: 0,
            now_us: 0,
        }
    }

    pub(crate) fn me(&self) -> PublicKey {
        self.key.public()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// The height being worked on.
    pub(crate) fn next_height(&self) -> u64 {
        self.disk.chain.len() as u64 + 1
    }

    pub(super) fn tip(&self) -> BlockHash {
        self.disk.chain.last().map_or(BlockHash::ZERO, |(block, _)| block.hash())
    }

    /// Starts, or starts again, from what is on disk.
    pub(crate) fn boot(&mut self, now_us: u64, watch: &mut Invariants) -> Vec<Out> {
        self.now_us = now_us;
        self.life += 1;
        if let Some(shadow) = self.shadow.as_mut().filter(|_| self.life > 1) {
            shadow.restart();
        }
        let (guard, scan) = self.disk.journal.open();
        let guard = if self.flaws.no_guard { Vec::new() } else { guard };
        let chain = if self.flaws.other_chain { ChainId([9; 32]) } else { CHAIN };
        let config = ReplicaConfig { chain, key: self.key.clone(), timeouts: Timeouts::default() };
        self.replica = Some(Replica::new(config, guard));
        let height = self.next_height();
        let log = scan.entries_of(height);
        self.bodies = self.disk.bodies();
        if log.is_empty() {
            self.disk.journal.start_over();
        }
        let mut out = vec![Out::Wake { after_us: self.rng.between(1, SYNC_EVERY_US), wake: Wake::Sync }];
        let validators = self.sets.at(height).clone();
        self.step(Input::StartHeight { height, validators, log }, &mut out, watch);
        out
    }

    /// Loses power.
    pub(crate) fn crash(&mut self) {
        self.replica = None;
        self.crash_after = None;
        if self.flaws.no_log {
            self.disk.journal.lose_log();
        }
        let mut rng = self.rng.fork();
        self.disk.journal.crash(&mut rng);
        self.bodies.clear();
        self.wanted.clear();
        self.deciding = None;
        self.timers.clear();
    }

    pub(crate) fn wake(&mut self, now_us: u64, wake: Wake, watch: &mut Invariants) -> Vec<Out> {
        self.now_us = now_us;
        let mut out = Vec::new();
        match wake {
            Wake::Timer { timer, token } => {
                if self.timers.get(&timer) == Some(&token) && !self.flaws.no_timers {
                    self.timers.remove(&timer);
                    self.step(Input::Timer(timer), &mut out, watch);
                }
            }
            Wake::Built { height, round } => self.built(height, round, &mut out, watch),
            Wake::Judge(block) => self.judge(block, &mut out, watch),
            Wake::Start(height) => self.start(height, &mut out, watch),
            Wake::Fetch => {
                if let Some(certificate) = self.deciding.clone() {
                    self.fetch_decided(&certificate, &mut out);
                }
            }
            Wake::Sync => {
                let others: Vec<PublicKey> = self.others();
                if !others.is_empty() {
                    let to = *self.rng.pick(&others);
                    out.push(Out::Packet { to, packet: Packet::WantBlocks { from: self.next_height() } });
                }
                out.push(Out::Wake { after_us: SYNC_EVERY_US, wake: Wake::Sync });
            }
        }
        out
    }

    pub(crate) fn receive(&mut self, now_us: u64, from: PublicKey, packet: Packet, watch: &mut Invariants) -> Vec<Out> {
        self.now_us = now_us;
        let mut out = Vec::new();
        match packet {
            Packet::Consensus(bytes) => {
                self.make_mischief(&bytes, &mut out);
                if let Ok(message) = decode::<Message>(&bytes) {
                    self.hear(from, message, &mut out, watch);
                }
            }
            Packet::Body(block) => self.keep_body(block, &mut out, watch),
            // Whoever means harm keeps every other body to itself.
            Packet::WantBody(_) if self.mischief.is_some() && self.rng.once_in(2) => {}
            Packet::WantBody(hash) => {
                let stored = || self.disk.chain.iter().rev().map(|(block, _)| block).find(|b| b.hash() == hash);
                if let Some(block) = self.bodies.get(&hash).or_else(stored) {
                    out.push(Out::Packet { to: from, packet: Packet::Body(block.clone()) });
                }
            }
            Packet::WantBlocks { from: height } => {
                let first = usize::try_from(height.saturating_sub(1)).unwrap_or(usize::MAX);
                let blocks: Vec<_> = self.disk.chain.iter().skip(first).take(BLOCKS_PER_ANSWER).cloned().collect();
                if !blocks.is_empty() {
                    out.push(Out::Packet { to: from, packet: Packet::Blocks(blocks) });
                }
            }
            Packet::Blocks(blocks) => self.take_blocks(blocks, &mut out, watch),
        }
        out
    }

    fn make_mischief(&mut self, heard: &[u8], out: &mut Vec<Out>) {
        let (height, others) = (self.next_height(), self.others());
        let round = self.replica.as_ref().and_then(Replica::round).unwrap_or(0);
        let Some(mischief) = &mut self.mischief else { return };
        mischief.hear(heard, &mut self.rng);
        if self.rng.once_in(3) {
            let packet = if self.rng.once_in(12) {
                Packet::Body(Block { height, parent: BlockHash::ZERO, nonce: self.rng.next(), good: false })
            } else {
                Packet::Consensus(mischief.bytes(height, round, self.sets.at(height), &mut self.rng))
            };
            let to = *self.rng.pick(&others);
            out.push(Out::Packet { to, packet });
        }
    }

    fn hear(&mut self, from: PublicKey, message: Message, out: &mut Vec<Out>, watch: &mut Invariants) {
        let height = message.height();
        if height > self.next_height() && self.now_us >= self.asked_for_blocks_at + 20_000 {
            self.asked_for_blocks_at = self.now_us;
            out.push(Out::Packet { to: from, packet: Packet::WantBlocks { from: self.next_height() } });
        }
        self.start(height, out, watch);
        self.step(Input::Message { from, message }, out, watch);
    }

    /// Starts a height, if it is the next and has not started.
    pub(super) fn start(&mut self, height: u64, out: &mut Vec<Out>, watch: &mut Invariants) {
        let started = self.replica.as_ref().map_or(0, Replica::height);
        if height == self.next_height() && started < height {
            self.disk.journal.start_over();
            let validators = self.sets.at(height).clone();
            self.step(Input::StartHeight { height, validators, log: Vec::new() }, out, watch);
        }
    }

    pub(super) fn others(&self) -> Vec<PublicKey> {
        let validators = self.sets.at(self.next_height()).validators();
        validators.iter().map(|validator| validator.key).filter(|key| *key != self.me()).collect()
    }

    pub(super) fn step(&mut self, input: Input, out: &mut Vec<Out>, watch: &mut Invariants) {
        let Some(replica) = &mut self.replica else { return };
        let given = self.shadow.is_some().then(|| input.clone());
        let mut effects = replica.step(input);
        if let Some((shadow, given)) = self.shadow.as_mut().zip(given) {
            let differs = shadow.follow(&given, &effects).err();
            watch.violations.extend(differs.map(Violation::Differs));
        }
        if self.batches {
            effects.sort_by_key(|effect| !matches!(effect, Effect::Append(_) | Effect::Guard(_)));
        }
        if self.honest {
            watch.memory_stays_bounded(replica.kept());
        }
        self.rounds_max = self.rounds_max.max(replica.round().unwrap_or(0));
        let dies_after = self.crash_after.filter(|(after, _)| *after < effects.len());
        self.effects += effects.len() as u64;
        for (place, effect) in effects.into_iter().enumerate() {
            if let Some((_, of)) = dies_after.filter(|(after, _)| *after == place) {
                // The world sees a host that is down and starts it again later.
                self.crash();
                self.suffered = Some(of);
                return;
            }
            self.perform(effect, out, watch);
        }
    }

    fn perform(&mut self, effect: Effect, out: &mut Vec<Out>, watch: &mut Invariants) {
        match effect {
            Effect::Append(entry) => self.disk.journal.append(&entry),
            Effect::Guard(record) => self.disk.journal.guard(record),
            Effect::Forgotten { .. } => {}
            Effect::Send(message) => {
                for to in self.others() {
                    self.send(to, &message, out, watch);
                }
            }
            Effect::SendTo { to, message } => self.send(to, &message, out, watch),
            Effect::Build { height, round, .. } => {
                out.push(Out::Wake { after_us: self.rng.between(200, 5_000), wake: Wake::Built { height, round } });
            }
            Effect::Judge { block, .. } => {
                self.wanted.insert(block);
                if self.bodies.contains_key(&block) {
                    out.push(Out::Wake { after_us: self.rng.between(200, 2_000), wake: Wake::Judge(block) });
                }
            }
            Effect::Fetch { block, from, .. } => {
                if !self.bodies.contains_key(&block) {
                    let ask = |to| Out::Packet { to, packet: Packet::WantBody(block) };
                    out.extend(from.into_iter().map(ask));
                }
            }
            Effect::Schedule { timer, after_ms } => {
                self.tokens += 1;
                self.timers.insert(timer, self.tokens);
                out.push(Out::Wake {
                    after_us: after_ms * 10 * self.clock_percent,
                    wake: Wake::Timer { timer, token: self.tokens },
                });
            }
            Effect::Cancel(timer) => drop(self.timers.remove(&timer)),
            Effect::CancelAll => self.timers.clear(),
            Effect::Decide(certificate) => {
                self.decisions += 1;
                if self.honest {
                    watch.every_certificate_passes_the_check(&certificate, self.sets.at(certificate.height));
                    watch.no_two_honest_replicas_decide_differently(&certificate);
                }
                self.deciding = Some(certificate);
                self.finalize(out, watch);
            }
            Effect::Evidence(evidence) => {
                if self.honest {
                    watch.evidence_names_only_who_did_it(&evidence);
                }
            }
            Effect::Refused { from, why } => {
                if self.honest {
                    watch.nothing_an_honest_replica_sends_is_refused(from, why);
                }
            }
            Effect::Alarm(alarm) => {
                let is_a_bug = matches!(alarm, Alarm::CoreBrokeOff(_) | Alarm::Undecidable { .. });
                if self.honest && is_a_bug {
                    watch.violations.push(Violation::Alarm(format!("{alarm:?}")));
                }
                if self.honest {
                    watch.alarms.push(alarm);
                }
            }
        }
    }

    fn send(&mut self, to: PublicKey, message: &Message, out: &mut Vec<Out>, watch: &mut Invariants) {
        if !self.flaws.no_sync {
            self.disk.journal.sync();
        }
        if self.honest {
            watch.no_honest_validator_signs_two_things(message);
        }
        out.push(Out::Packet { to, packet: Packet::Consensus(encode(message)) });
    }
}

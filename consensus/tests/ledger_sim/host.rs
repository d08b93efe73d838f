//! One machine: a member, its disk, its clock, and the shell around it as the node has it.

use super::cast::Person;
use super::faults::{CRASH_AT_COMMIT, DISK_FULL};
use super::invariants::{ENDLESS, POOL};
use super::surroundings::{Clock, Surroundings};
use super::vault::{Power, SharedVault, Vault};
use crate::adversaries::{Adversary, Stage};
use crate::sim::journal::Journal;
use crate::sim::rng::Rng;
use consensus::member::{Action, Alarm, Event, Fatal, Member, MemberConfig, Memory, Now, OwnWords, PeerMessage};
use consensus::{Evidence, GuardRecord, LogEntry, Signed, Timeouts};
use ledger::block::Block;
use ledger::certificate::Certificate;
use ledger::execution;
use ledger::genesis::GenesisBlock;
use ledger::key::{PublicKey, SecretKey};
use ledger::transaction::VerifiedTransaction;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Transactions in a block of the simulation.
const BLOCK_TRANSACTIONS: usize = 6;
const BATCH_MS: u64 = 20;

/// What comes out of a host.
#[allow(clippy::large_enum_variant, reason = "it lives for a moment")]
pub(crate) enum Out {
    Frame {
        to: usize,
        message: PeerMessage,
    },
    /// Bytes that need not be a message.
    Bytes {
        to: usize,
        bytes: Vec<u8>,
    },
    Alarm {
        alarm: Alarm,
        token: u64,
        after_us: u64,
    },
    Unlink {
        peer: usize,
    },
    PowerGoes {
        after_us: u64,
    },
}

/// Ways in which a host is not built as it should be, for showing that the invariants notice.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flaws {
    /// The guard file is not read.
    pub(crate) no_guard: bool,
    /// The vote log is lost in every crash.
    pub(crate) no_log: bool,
    /// Messages leave before what they depend on is on disk.
    pub(crate) sends_first: bool,
    /// Starts and answers before its log is read: it has its guard file, and reads the log later.
    pub(crate) answers_before_replay: bool,
    /// Timers of consensus are not cancelled, and handed over as if they were of the newest height.
    pub(crate) untagged_timers: bool,
    /// Bodies are judged as if the clock were an hour ahead.
    pub(crate) no_clock_check: bool,
    /// Blocks of peers are written without a look at their certificates.
    pub(crate) no_certificate_check: bool,
    /// Speaks without having heard how far others are, and whatever the chain shows of its own words.
    pub(crate) speaks_at_once: bool,
    /// No timer runs out.
    pub(crate) no_timers: bool,
    /// The pool takes whatever comes.
    pub(crate) endless_pool: bool,
    /// The newest block is still in a cache when the commit says it is written.
    pub(crate) lazy_commit: bool,
}

/// Whether a word of its own is in a log.
fn is_in(log: &[LogEntry], signed: &Signed) -> bool {
    log.iter().any(|entry| match (entry, signed) {
        (LogEntry::Vote(logged), Signed::Vote(vote)) => logged == vote,
        (LogEntry::Proposal(logged), Signed::Proposal(proposal)) => logged == proposal,
        _ => false,
    })
}

/// Everything a machine keeps.
#[derive(Clone)]
pub(crate) struct Disk {
    vault: Vault,
    journal: Journal<Block>,
    evidence: Vec<Evidence>,
}

impl Disk {
    /// One with nothing on it.
    pub(crate) fn new(genesis: &GenesisBlock) -> Self {
        Self { vault: Vault::new(genesis), journal: Journal::new(), evidence: Vec::new() }
    }

    /// What its guard knows of the words of a key.
    pub(crate) fn words(&self, key: PublicKey) -> OwnWords {
        OwnWords::of(key, &self.journal.clone().open().0)
    }
}

pub(crate) struct Host {
    pub(crate) place: usize,
    pub(crate) person: Person,
    pub(crate) adversary: Option<Box<dyn Adversary>>,
    /// As what it means harm, if it does; and how often it has.
    pub(crate) liar: Option<&'static str>,
    pub(crate) deeds: u64,
    /// Loses guard and log in every crash, and means it.
    pub(crate) forgets: bool,
    pub(crate) flaws: Flaws,
    pub(crate) vault: SharedVault,
    pub(crate) journal: Journal<Block>,
    /// Evidence on disk: written whole, or not at all.
    pub(super) evidence: Vec<Evidence>,
    /// An earlier copy of all of it.
    pub(crate) backup: Option<Disk>,
    pub(crate) member: Option<Member<SharedVault>>,
    /// Counts the times it was started; what was due in an earlier life is not.
    pub(crate) life: u64,
    /// Die after so many actions of the next list that has them, and of what.
    pub(crate) crash_after: Option<(usize, &'static str)>,
    /// What it has died of since the world last looked.
    pub(crate) suffered: Option<&'static str>,
    /// Up to this height its guard may know words that its log does not have.
    pub(super) lacks_words_until: u64,
    /// Nothing can be appended to the journal either.
    pub(crate) journal_full: bool,
    pub(crate) clock: Clock,
    /// Events taken up at once.
    pub(crate) batch: usize,
    pub(crate) linked: BTreeSet<usize>,
    pub(crate) inbox: VecDeque<Event>,
    pub(crate) turn_is_due: bool,
    pub(crate) rng: Rng,
    pub(super) timers: BTreeMap<Alarm, u64>,
    pub(super) tokens: u64,
    /// The round its last vote was for.
    pub(super) round: u32,
    booted_us: u64,
    seen: u64,
    /// For a lazy commit: the chain before its newest block, and with it.
    cached: Option<(Vault, Vault)>,
}

impl Host {
    pub(crate) fn new(place: usize, person: Person, genesis: &GenesisBlock, rng: Rng) -> Self {
        Self {
            place,
            person,
            adversary: None,
            liar: None,
            deeds: 0,
            forgets: false,
            flaws: Flaws::default(),
            vault: SharedVault(Rc::new(RefCell::new(Vault::new(genesis)))),
            journal: Journal::new(),
            evidence: Vec::new(),
            backup: None,
            member: None,
            life: 0,
            crash_after: None,
            suffered: None,
            lacks_words_until: 0,
            journal_full: false,
            clock: Clock::TRUE,
            batch: 1,
            linked: BTreeSet::new(),
            inbox: VecDeque::new(),
            turn_is_due: false,
            rng,
            booted_us: 0,
            timers: BTreeMap::new(),
            tokens: 0,
            round: 0,
            seen: 0,
            cached: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.member.is_some()
    }

    pub(crate) fn height(&self) -> u64 {
        self.vault.look().height()
    }

    pub(crate) fn is_honest(&self, around: &Surroundings) -> bool {
        around.honest.contains(&self.place)
    }

    /// Starts, or starts again, from what is on disk.
    pub(crate) fn boot(&mut self, genesis: &GenesisBlock, remembers: bool, around: &mut Surroundings) -> Vec<Out> {
        self.life += 1;
        self.booted_us = around.now_us;
        self.inbox.clear();
        self.timers.clear();
        let height = self.height() + 1;
        let (guard, scan) = self.journal.open();
        let log = scan.entries_of(height);
        if guard.iter().any(|record| record.height() == height && !is_in(&log, &record.signed)) {
            self.lacks_words_until = self.lacks_words_until.max(height);
        }
        let log = if remembers { log } else { Vec::new() };
        if log.is_empty() && remembers {
            self.journal.start_over();
        }
        let guard = if self.flaws.no_guard { Vec::new() } else { guard };
        let kept = self.journal.bodies().iter().filter(|block| block.header.height == height);
        let bodies = kept.filter_map(|block| Some((block.clone(), around.door.verify_all(block)?))).collect();
        // Who means harm does not listen to itself.
        let memory = match self.flaws.speaks_at_once || !self.is_honest(around) {
            true => Memory::Trusted,
            false => self.memory(&guard),
        };
        let config = MemberConfig {
            told: std::collections::BTreeSet::new(),
            chain_id: genesis.chain_id,
            parameters: genesis.genesis.parameters.clone(),
            validator: self.person.validator.clone(),
            node: self.person.node.clone(),
            evidence: self.evidence.clone(),
            guard,
            memory,
            timeouts: Timeouts::default(),
            mempool: if self.flaws.endless_pool { ENDLESS } else { POOL },
            batch_ms: BATCH_MS,
            block_transactions: BLOCK_TRANSACTIONS,
        };
        if self.is_honest(around) {
            around.watch.nothing_answered_as_finalised_is_ever_missing(self.place, &self.vault.look());
        }
        self.seen = self.seen.min(self.height());
        self.member = Some(Member::new(config, self.vault.clone()));
        self.turn(Some(Event::Start { log, bodies }), around)
    }

    /// What the guard is good for, as a node finds it out.
    fn memory(&self, guard: &[GuardRecord]) -> Memory {
        let Some(key) = self.person.validator.as_ref().map(SecretKey::public) else { return Memory::Whole };
        if self.journal.is_silent() {
            return Memory::Lost;
        }
        let (words, vault) = (OwnWords::of(key, guard), self.vault.look());
        let lacks =
            |height| vault.block(height).is_some_and(|(_, certificate)| words.lack(&certificate, vault.set_of(height)));
        if words.to_be_looked_at(vault.height()).any(lacks) { Memory::Lost } else { Memory::Whole }
    }

    /// Loses power.
    pub(crate) fn crash(&mut self) {
        self.stop();
        let mut rng = self.rng.fork();
        self.journal.crash(&mut rng);
        if self.flaws.no_log || self.forgets {
            self.journal.lose_log();
        }
        if self.forgets {
            self.journal.lose_guard();
            self.journal.retain_bodies(|_| false);
        }
        if let Some((written, _)) = self.cached.take() {
            *self.vault.0.borrow_mut() = written;
        }
    }

    /// Copies the disk.
    pub(crate) fn back_up(&mut self) {
        let (vault, journal) = (self.vault.look().clone(), self.journal.clone());
        self.backup = Some(Disk { vault, journal, evidence: self.evidence.clone() });
    }

    /// What is on the disk now is something else.
    pub(crate) fn disk_becomes(&mut self, disk: Disk) {
        *self.vault.0.borrow_mut() = disk.vault;
        (self.journal, self.evidence) = (disk.journal, disk.evidence);
        // Others may tell it at any time what it has said.
        self.lacks_words_until = u64::MAX;
    }

    /// Whether everything its guard knows of the height it is in, or of the one it has just left, is in its log too.
    pub(super) fn has_a_whole_log(&self) -> bool {
        self.height() > self.lacks_words_until
    }

    /// The process ends, and the machine stays up: what was written is there.
    pub(super) fn stop(&mut self) {
        self.member = None;
        self.crash_after = None;
        self.vault.0.borrow_mut().power = None;
        self.inbox.clear();
        self.timers.clear();
    }

    /// An alarm is due, unless it was moved or cancelled.
    pub(crate) fn ring(&mut self, alarm: Alarm, token: u64, around: &mut Surroundings) -> Vec<Out> {
        if self.flaws.no_timers || self.timers.get(&alarm) != Some(&token) {
            return Vec::new();
        }
        self.timers.remove(&alarm);
        let alarm = match alarm {
            Alarm::Consensus(mut timer) if self.flaws.untagged_timers => {
                timer.height = self.height() + 1;
                timer.round = self.round;
                Alarm::Consensus(timer)
            }
            other => other,
        };
        self.turn(Some(Event::Due(alarm)), around)
    }

    /// Takes up some of what waits, and performs all of it together: one sync.
    pub(crate) fn turn(&mut self, first: Option<Event>, around: &mut Surroundings) -> Vec<Out> {
        let waiting = self.batch.min(self.inbox.len());
        let events: Vec<Event> = first.into_iter().chain(self.inbox.drain(..waiting)).collect();
        let (mut actions, mut out) = (Vec::new(), Vec::new());
        for event in events {
            let stepped = self.step(event, around);
            match stepped {
                Ok(more) => {
                    actions.extend(more);
                    if !self.write_what_is_waited_for(&mut actions, &mut out, around) {
                        return out;
                    }
                }
                Err(why) => {
                    self.fail(&why, around);
                    return out;
                }
            }
        }
        self.perform(actions, &mut out, around);
        if self.is_up() {
            let written = self.step(Event::Written, around);
            debug_assert!(written.is_ok_and(|more| more.is_empty()), "nothing was waited for");
        }
        out
    }

    /// Performs everything so far where the member waits for that; whether the machine still runs.
    fn write_what_is_waited_for(
        &mut self,
        actions: &mut Vec<Action>,
        out: &mut Vec<Out>,
        around: &mut Surroundings,
    ) -> bool {
        while self.member.as_ref().is_some_and(Member::waits_for_disk) {
            self.perform(std::mem::take(actions), out, around);
            if !self.is_up() {
                return false;
            }
            match self.step(Event::Written, around) {
                Ok(more) => actions.extend(more),
                Err(why) => self.fail(&why, around),
            }
        }
        self.is_up()
    }

    /// There was no room for a block, or no power. For any other reason nobody honest gives up.
    fn fail(&mut self, why: &Fatal, around: &mut Surroundings) {
        if self.vault.look().full {
            self.stop();
            self.suffered = Some(DISK_FULL);
            return;
        }
        let power_went = std::mem::take(&mut self.vault.0.borrow_mut().power_went);
        self.crash();
        if power_went {
            self.suffered = Some(CRASH_AT_COMMIT);
        } else if self.is_honest(around) {
            around.watch.nobody_gives_up_while_its_disk_works(self.place, &why.to_string());
        }
    }

    fn step(&mut self, event: Event, around: &mut Surroundings) -> Result<Vec<Action>, Fatal> {
        let now = self.now(&event, around);
        if self.flaws.lazy_commit {
            self.write_lazily();
        }
        let Some(member) = &mut self.member else { return Ok(Vec::new()) };
        let result = member.step(now, event);
        if self.is_honest(around) {
            self.look_at_member(around);
        }
        result
    }

    fn write_lazily(&mut self) {
        let newest = self.vault.look().clone();
        self.cached = match self.cached.take() {
            Some((written, cached)) if cached.height() == newest.height() => Some((written, cached)),
            Some((_, cached)) => Some((cached, newest)),
            None => Some((newest.clone(), newest)),
        };
    }

    fn now(&self, event: &Event, around: &Surroundings) -> Now {
        let judges = matches!(
            event,
            Event::Said { message: PeerMessage::Body { .. }, .. } | Event::Gossiped { .. } | Event::Given { .. }
        );
        let ahead_ms = if self.flaws.no_clock_check && judges { 3_600_000 } else { 0 };
        Now {
            wall_ms: self.clock.wall_ms(around.base_ms, around.now_us) + ahead_ms,
            steady_ms: (around.now_us - self.booted_us) * self.clock.percent / 100_000,
        }
    }

    /// What the invariants say about memory and new blocks, power or no power.
    fn look_at_member(&mut self, around: &mut Surroundings) {
        if let Some(member) = &self.member {
            around.watch.memory_stays_bounded(self.place, member);
        }
        while self.seen < self.height() {
            self.seen += 1;
            let Some((block, certificate)) = self.vault.look().block(self.seen) else { return };
            let transactions = around.door.verify_all(&block).unwrap_or_default();
            let true_ms = around.true_ms();
            around.watch.no_two_honest_members_have_different_blocks_at_a_height(
                &block,
                &certificate,
                transactions,
                true_ms,
            );
        }
    }

    /// What an adversary does besides, now and then.
    pub(crate) fn make_mischief(&mut self, around: &Surroundings) -> Vec<Out> {
        if !self.is_up() {
            return Vec::new();
        }
        let Some(mut adversary) = self.adversary.take() else { return Vec::new() };
        let said = adversary.speaks(&mut self.stage(around));
        self.deeds += said.len() as u64;
        self.adversary = Some(adversary);
        said.into_iter().map(|(to, bytes)| Out::Bytes { to, bytes }).collect()
    }

    pub(super) fn stage<'a>(&'a mut self, around: &'a Surroundings) -> Stage<'a> {
        Stage {
            key: self.person.validator.as_ref().expect("adversaries validate"),
            chain: around.watch.auditor.tip.header.chain_id,
            vault: self.vault.look(),
            height: self.height() + 1,
            round: self.round,
            wall_ms: around.true_ms(),
            peers: self.linked.iter().copied().collect(),
            rng: &mut self.rng,
        }
    }

    /// A flaw: a block of a peer is written without a look at its certificate.
    pub(crate) fn swallow(
        &mut self,
        block: &Block,
        transactions: &[VerifiedTransaction],
        certificate: &Certificate,
        around: &mut Surroundings,
    ) -> Vec<Out> {
        let (chain, tip) = (self.vault.clone(), self.vault.look().tip.clone());
        if let Ok(executed) = execution::execute(&chain, &tip, block.clone(), transactions.to_vec()) {
            chain.0.borrow_mut().write(&executed, certificate);
            self.look_at_member(around);
            self.crash();
        }
        Vec::new()
    }

    /// Power goes at the next commit, if it comes to one.
    pub(crate) fn lose_power_at_commit(&mut self, power: Power) {
        self.vault.0.borrow_mut().power = Some(power);
    }
}

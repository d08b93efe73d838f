//! The world: hosts, the network between them, time, and what happens next.

use super::block::{CHAIN, secret, set_of};
use super::faults::{Fault, OF_THE_NETWORK, changes, power_lost};
use super::host::{Host, Out, Sets, Wake};
use super::invariants::{Invariants, Violation};
use super::network::{Network, Packet};
use super::rng::Rng;
use crate::adversaries::forger::Forger;
use consensus::Message;
use ledger::encoding::{decode, encode};
use ledger::key::PublicKey;
use std::collections::BTreeMap;
use std::rc::Rc;

enum Event {
    Arrive { to: usize, from: PublicKey, packet: Packet },
    Wake { host: usize, life: u64, wake: Wake },
    Restart { host: usize },
    Fault(Fault),
}

pub(crate) struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) watch: Invariants,
    pub(crate) now_us: u64,
    pub(crate) events: u64,
    pub(crate) packets: u64,
    pub(crate) faults_done: BTreeMap<&'static str, u64>,
    pub(crate) rng: Rng,
    queue: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    hash: u64,
    down_us: BTreeMap<usize, u64>,
    /// For a key that two hosts use: which of them a given host talks to.
    pub(crate) sides: BTreeMap<(usize, PublicKey), usize>,
    /// Both hosts of a shared key hear everybody, and still each talks to its half only.
    pub(crate) twins_hear_all: bool,
    /// Print every consensus message as it arrives.
    pub(crate) loud: bool,
}

impl World {
    /// `count` honest validators, all of them voting.
    pub(crate) fn calm(count: usize, seed: u64) -> Self {
        let keys: Vec<_> = (0..count).map(secret).collect();
        let sets = Sets(Rc::new(vec![(0, set_of(&keys))]));
        Self::with_sets(count, sets, 10_000, seed)
    }

    pub(crate) fn with_sets(count: usize, sets: Sets, pace_us: u64, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut watch = Invariants::of(CHAIN);
        let hosts =
            (0..count).map(|n| Host::new(secret(n), true, sets.clone(), pace_us, rng.fork())).collect::<Vec<_>>();
        watch.honest = hosts.iter().map(Host::me).collect();
        Self {
            hosts,
            network: Network::calm(),
            watch,
            now_us: 0,
            events: 0,
            packets: 0,
            faults_done: BTreeMap::new(),
            rng,
            queue: BTreeMap::new(),
            scheduled: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            down_us: BTreeMap::new(),
            sides: BTreeMap::new(),
            twins_hear_all: false,
            loud: false,
        }
    }

    /// One host means harm: nothing is promised to it, and anything may come from it.
    pub(crate) fn distrust(&mut self, of: usize) {
        self.hosts[of].honest = false;
        self.watch.honest.remove(&self.hosts[of].me());
    }

    /// Lets one host do its worst.
    pub(crate) fn add_mischief(&mut self, of: usize) {
        self.distrust(of);
        let host = &mut self.hosts[of];
        host.mischief = Some(Forger::new(host.key.clone(), CHAIN));
    }

    /// Whom a host talks to when it talks to a key that two hosts use.
    pub(crate) fn take_side(&mut self, host: usize, key: PublicKey, side: usize) {
        self.sides.insert((host, key), side);
    }

    pub(crate) fn boot(&mut self) {
        for host in 0..self.hosts.len() {
            let out = self.hosts[host].boot(self.now_us, &mut self.watch);
            self.take(host, out);
        }
    }

    pub(crate) fn plan(&mut self, faults: Vec<(u64, Fault)>) {
        for (at_us, fault) in faults {
            self.schedule(at_us, Event::Fault(fault));
        }
    }

    /// Everything works from now on, and everybody is up.
    pub(crate) fn heal(&mut self) {
        self.network = Network::calm();
        for host in 0..self.hosts.len() {
            self.hosts[host].crash_after = None;
            if !self.hosts[host].is_up() {
                self.restart(host);
            }
        }
    }

    /// Lets things happen until `until_us`, or until `done` says so, or until an invariant is broken.
    pub(crate) fn run(&mut self, until_us: u64, mut done: impl FnMut(&Self) -> bool) {
        while self.watch.violations.is_empty() && !done(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until_us) else { break };
            let ((at_us, _), event) = entry.remove_entry();
            self.now_us = at_us;
            self.events += 1;
            self.happen(event);
        }
        if self.watch.violations.is_empty() && !done(self) {
            self.now_us = until_us;
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { to, from, packet } => {
                self.note_packet(to, &packet);
                self.show(to, &packet);
                if self.hosts[to].is_up() {
                    let out = self.hosts[to].receive(self.now_us, from, packet, &mut self.watch);
                    self.take(to, out);
                }
            }
            Event::Wake { host, life, wake } => {
                self.note(&[2, host as u64, life]);
                if self.hosts[host].is_up() && self.hosts[host].life == life {
                    let out = self.hosts[host].wake(self.now_us, wake, &mut self.watch);
                    self.take(host, out);
                }
            }
            Event::Restart { host } => {
                self.note(&[3, host as u64]);
                if !self.hosts[host].is_up() {
                    self.restart(host);
                }
            }
            Event::Fault(fault) => self.strike(fault),
        }
    }

    fn restart(&mut self, host: usize) {
        let out = self.hosts[host].boot(self.now_us, &mut self.watch);
        self.take(host, out);
    }

    /// A fault comes. It counts where it changes something; a loss of power that waits for its moment counts when that has come.
    fn strike(&mut self, fault: Fault) {
        let name = fault.name();
        let as_named = |struck: bool| struck.then_some(name);
        let struck = match fault {
            Fault::Crash { host, after_effects, down_us } => {
                self.lose_power_later(host, after_effects, down_us, name);
                None
            }
            Fault::LoseLog { host, down_us } => {
                let was_up = self.switch_off(host, down_us);
                power_lost(name, self.hosts[host].disk.journal.lose_log(), was_up)
            }
            Fault::Rot { host, down_us } => {
                let was_up = self.switch_off(host, down_us);
                let mut rng = self.rng.fork();
                power_lost(name, self.hosts[host].disk.journal.rot(&mut rng), was_up)
            }
            Fault::PowerOut { after_effects, lose_logs, down_us } => {
                let (mut harmed, mut was_up) = (false, false);
                for host in 0..self.hosts.len() {
                    self.lose_power_later(host, after_effects, down_us, name);
                    if lose_logs {
                        was_up |= self.switch_off(host, down_us);
                        harmed |= self.hosts[host].disk.journal.lose_log();
                    }
                }
                power_lost(name, harmed, was_up)
            }
            Fault::Part { group, one_way } => as_named(self.network.part(&group, self.hosts.len(), one_way)),
            Fault::Mend => as_named(self.network.mend()),
            Fault::Loss { percent } => as_named(changes(&mut self.network.loss_percent, percent)),
            Fault::Repeat { percent } => as_named(changes(&mut self.network.repeat_percent, percent)),
            Fault::Slow { max_us } => as_named(changes(&mut self.network.delay_us.1, max_us)),
        };
        self.count(struck);
        self.note(&[4, self.now_us]);
    }

    fn count(&mut self, struck: Option<&'static str>) {
        if let Some(name) = struck {
            *self.faults_done.entry(name).or_default() += 1;
        }
    }

    fn lose_power_later(&mut self, host: usize, after_effects: usize, down_us: u64, name: &'static str) {
        self.hosts[host].crash_after = Some((after_effects, name));
        self.down_us.insert(host, down_us);
    }

    /// Whether it was on.
    fn switch_off(&mut self, host: usize, down_us: u64) -> bool {
        let was_up = self.hosts[host].is_up();
        self.hosts[host].crash();
        self.schedule(self.now_us + down_us, Event::Restart { host });
        was_up
    }

    /// What came out of a host becomes events.
    fn take(&mut self, host: usize, out: Vec<Out>) {
        let suffered = self.hosts[host].suffered.take();
        self.count(suffered);
        for out in out {
            match out {
                Out::Packet { to, packet } => self.send(host, to, packet),
                Out::Wake { after_us, wake } => {
                    let life = self.hosts[host].life;
                    self.schedule(self.now_us + after_us, Event::Wake { host, life, wake });
                }
            }
        }
        if !self.hosts[host].is_up() {
            let down_us = self.down_us.get(&host).copied().unwrap_or(100_000);
            self.schedule(self.now_us + down_us, Event::Restart { host });
        }
    }

    pub(crate) fn send(&mut self, host: usize, to: PublicKey, packet: Packet) {
        self.packets += 1;
        let from = self.hosts[host].me();
        let side = self.sides.get(&(host, to)).copied().filter(|_| !self.twins_hear_all);
        let hears = |n: &usize| self.hosts[*n].me() == to && side.is_none_or(|side| side == *n);
        // A host with a shared key is heard by those only who talk to it.
        let is_heard_by = |n: &usize| self.sides.get(&(*n, from)).is_none_or(|side| *side == host);
        let receivers: Vec<usize> =
            (0..self.hosts.len()).filter(hears).filter(is_heard_by).filter(|n| *n != host).collect();
        for to in receivers {
            for after_us in self.network.arrivals_us(host, to, &mut self.rng) {
                self.schedule(self.now_us + after_us, Event::Arrive { to, from, packet: packet.clone() });
            }
        }
    }

    fn schedule(&mut self, at_us: u64, event: Event) {
        self.scheduled += 1;
        self.queue.insert((at_us, self.scheduled), event);
    }

    /// The lowest chain of the honest hosts.
    pub(crate) fn lowest(&self) -> u64 {
        self.honest().map(|host| host.disk.chain.len() as u64).min().unwrap_or(0)
    }

    /// The highest chain of the honest hosts.
    pub(crate) fn highest(&self) -> u64 {
        self.honest().map(|host| host.disk.chain.len() as u64).max().unwrap_or(0)
    }

    pub(crate) fn honest(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.honest)
    }

    pub(crate) fn expect_progress(&mut self, blocks: u64, within_us: u64) {
        let goal = self.highest() + blocks;
        let until_us = self.now_us + within_us;
        self.run(until_us, |world| world.lowest() >= goal);
        if self.watch.violations.is_empty() && self.lowest() < goal {
            let heights: Vec<String> = self
                .hosts
                .iter()
                .map(|h| format!("{}{:?}", h.disk.chain.len(), h.replica.as_ref().map(|r| (r.height(), r.round()))))
                .collect();
            self.watch.violations.push(Violation::NoProgress(format!("goal {goal}, heights {heights:?}")));
        }
    }

    /// The guard never has to step in, as long as nobody loses power.
    pub(crate) fn expect_no_alarm_without_a_crash(&mut self) {
        let crashed = self.faults_done.keys().any(|fault| !OF_THE_NETWORK.contains(fault));
        if let Some(alarm) = self.watch.alarms.first().filter(|_| !crashed) {
            self.watch.violations.push(Violation::Alarm(alarm.to_string()));
        }
    }

    /// Everything that happened, in one number.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    fn show(&self, to: usize, packet: &Packet) {
        if let (true, Packet::Consensus(bytes)) = (self.loud, packet) {
            println!("{:>6} ms  to {to}: {:?}", self.now_us / 1_000, decode::<Message>(bytes));
        }
    }

    fn note(&mut self, words: &[u64]) {
        let now = self.now_us;
        for word in words.iter().chain([&now]) {
            for byte in word.to_le_bytes() {
                self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }

    fn note_packet(&mut self, to: usize, packet: &Packet) {
        let bytes = match packet {
            Packet::Consensus(bytes) => bytes.clone(),
            Packet::Body(block) => encode(block),
            Packet::WantBody(hash) => hash.0.to_vec(),
            Packet::WantBlocks { from } => from.to_le_bytes().to_vec(),
            Packet::Blocks(blocks) => encode(blocks),
        };
        let folded = bytes.chunks(8).fold(0u64, |sum, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            sum.rotate_left(7).wrapping_mul(31) ^ u64::from_le_bytes(word)
        });
        self.note(&[1, to as u64, folded]);
    }
}

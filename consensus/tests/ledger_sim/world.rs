//! The world: machines, the network between them, clients, time, and what happens next.

use super::cast::{Cast, Person};
use super::door::Door;
use super::faults::Fault;
use super::host::{Host, Out};
use super::invariants::{Violation, Watch};
use super::light_client::LightClient;
use super::network::Network;
use super::surroundings::{Clock, Surroundings};
use crate::adversaries::Adversary;
use crate::sim::rng::Rng;
use consensus::member::{Alarm, Event};
use ledger::evidence::Offence;
use ledger::id::TransactionId;
use ledger::key::{PublicKey, SecretKey};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const FIRST_PROOF_US: u64 = 700_000;
const MISCHIEF_EVERY_US: u64 = 60_000;
/// How long who forgets is gone.
const FORGOTTEN_WITHIN_US: u64 = 5_000;
/// When a flawed host reads its log: after it has found others again, and has waited for a proposal.
const LATE_READING_US: u64 = 1_500_000;

pub(super) enum Happening {
    Frame {
        from: usize,
        to: usize,
        link: u64,
        bytes: Rc<[u8]>,
    },
    Turn {
        host: usize,
        life: u64,
    },
    Ring {
        host: usize,
        life: u64,
        alarm: Alarm,
        token: u64,
    },
    /// A connection came up or went, as one of its ends notices.
    Peer {
        host: usize,
        life: u64,
        peer: usize,
        up: bool,
    },
    Restart {
        host: usize,
        remembers: bool,
    },
    Fault(Fault),
    Dial,
    Submit,
    LightClient,
    Mischief,
}

pub(crate) struct World {
    pub(crate) cast: &'static Cast,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) around: Surroundings,
    pub(crate) events: u64,
    pub(crate) faults_done: BTreeMap<&'static str, u64>,
    pub(crate) proofs: u64,
    pub(crate) submitted: BTreeSet<TransactionId>,
    /// Between two submissions of clients; 0 for no clients.
    pub(crate) submit_every_us: u64,
    /// Clients that sign one transaction twice, and hand in both.
    pub(crate) signs_twice: bool,
    /// Print every message as it arrives.
    pub(crate) loud: bool,
    /// Go on when an invariant is broken.
    pub(crate) goes_on: bool,
    pub(crate) light_client: LightClient,
    pub(super) rng: Rng,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(super) scheduled: u64,
    hash: u64,
    pub(super) down_us: BTreeMap<usize, u64>,
    pub(super) healed: bool,
}

impl World {
    /// So many validators and two nodes that do not validate, all honest; the last stays off until it is
    /// started.
    pub(crate) fn new(validators: usize, seed: u64) -> Self {
        Self::of(Cast::of(validators), seed)
    }

    /// The same with a cast of one's own.
    pub(crate) fn of(cast: &'static Cast, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let around = Surroundings {
            now_us: 0,
            base_ms: cast.genesis.header.time_ms + 10_000,
            watch: Watch::new(cast),
            door: Door::new(cast),
            places: BTreeMap::new(),
            honest: BTreeSet::new(),
        };
        let mut world = Self {
            cast,
            hosts: Vec::new(),
            network: Network::new(),
            around,
            events: 0,
            faults_done: BTreeMap::new(),
            proofs: 0,
            submitted: BTreeSet::new(),
            submit_every_us: 0,
            signs_twice: false,
            loud: false,
            goes_on: false,
            light_client: LightClient::new(cast),
            rng: rng.fork(),
            queue: BTreeMap::new(),
            scheduled: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            down_us: BTreeMap::new(),
            healed: false,
        };
        for person in cast.validators.iter().chain(&cast.observers) {
            world.add(person.clone(), true);
        }
        world
    }

    pub(crate) fn add(&mut self, person: Person, honest: bool) {
        let place = self.hosts.len();
        self.around.places.insert(person.node.public(), place);
        if honest {
            self.around.honest.insert(place);
            self.around.watch.voting.honest.extend(person.validator.as_ref().map(SecretKey::public));
        }
        let rng = self.rng.fork();
        self.hosts.push(Host::new(place, person, &self.cast.genesis, rng));
    }

    /// Nothing is promised to this validator, and anything may come from it.
    pub(crate) fn distrust(&mut self, place: usize) {
        self.around.honest.remove(&place);
        let key = self.hosts[place].person.validator.as_ref().expect("a validator").public();
        self.around.watch.voting.honest.remove(&key);
    }

    /// One validator means harm.
    pub(crate) fn add_adversary(&mut self, place: usize, adversary: Box<dyn Adversary>) {
        self.distrust(place);
        self.hosts[place].adversary = Some(adversary);
    }

    /// The one that comes late.
    pub(crate) fn latecomer(&self) -> usize {
        self.cast.validators.len() + 1
    }

    /// Switches everybody on, the latecomer at its time.
    pub(crate) fn boot(&mut self, latecomer_us: u64) {
        for host in 0..self.hosts.len() {
            let at_us = if host == self.latecomer() { latecomer_us } else { 0 };
            self.schedule(at_us, Happening::Restart { host, remembers: true });
        }
        self.schedule(1_000, Happening::Dial);
        self.schedule(FIRST_PROOF_US, Happening::LightClient);
        if self.submit_every_us > 0 {
            self.schedule(self.submit_every_us, Happening::Submit);
        }
        if self.hosts.iter().any(|host| host.adversary.is_some()) {
            self.schedule(MISCHIEF_EVERY_US, Happening::Mischief);
        }
    }

    pub(crate) fn plan(&mut self, faults: Vec<(u64, Fault)>) {
        for (at_us, fault) in faults {
            self.schedule(at_us, Happening::Fault(fault));
        }
    }

    /// Everything works from now on, and everybody is up; who means harm goes on.
    pub(crate) fn heal(&mut self) {
        self.network.heal();
        self.healed = true;
        for host in 0..self.hosts.len() {
            self.hosts[host].crash_after = None;
            self.hosts[host].journal_full = false;
            self.hosts[host].vault.0.borrow_mut().full = false;
            self.hosts[host].vault.0.borrow_mut().power = None;
            self.hosts[host].clock = Clock::TRUE;
            self.restart(host, true);
        }
    }

    /// Lets things happen until `until_us`, or until `done` says so, or until an invariant is broken.
    pub(crate) fn run(&mut self, until_us: u64, mut done: impl FnMut(&Self) -> bool) {
        while (self.goes_on || !self.around.watch.found_something()) && !done(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until_us) else { break };
            let ((at_us, _), happening) = entry.remove_entry();
            self.around.now_us = at_us;
            self.events += 1;
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Frame { from, to, link, bytes } => self.arrive(from, to, link, &bytes),
            Happening::Turn { host, life } => {
                self.note(&[2, host as u64, life]);
                if self.hosts[host].is_up() && self.hosts[host].life == life {
                    self.hosts[host].turn_is_due = false;
                    let out = self.hosts[host].turn(None, &mut self.around);
                    self.take(host, out);
                }
            }
            Happening::Ring { host, life, alarm, token } => {
                self.note(&[3, host as u64, life, token]);
                if self.hosts[host].is_up() && self.hosts[host].life == life {
                    let out = self.hosts[host].ring(alarm, token, &mut self.around);
                    self.take(host, out);
                }
            }
            Happening::Peer { host, life, peer, up } => {
                if self.hosts[host].is_up() && self.hosts[host].life == life {
                    let peer = self.hosts[peer].person.node.public();
                    self.give(host, if up { Event::Connected { peer } } else { Event::Disconnected { peer } });
                }
            }
            Happening::Restart { host, remembers } => self.restart(host, remembers),
            Happening::Fault(fault) => self.strike(fault),
            Happening::Dial => self.dial(),
            Happening::Submit => self.submit(),
            Happening::LightClient => self.ask_for_light(),
            Happening::Mischief => {
                for host in 0..self.hosts.len() {
                    let out = self.hosts[host].make_mischief(&self.around);
                    self.take(host, out);
                }
                self.schedule(self.around.now_us + MISCHIEF_EVERY_US, Happening::Mischief);
            }
        }
    }

    // Machines.

    fn restart(&mut self, host: usize, remembers: bool) {
        self.note(&[4, host as u64]);
        let flawed = self.hosts[host].flaws.answers_before_replay;
        if self.hosts[host].is_up() && remembers && !flawed {
            return;
        }
        let remembers = remembers && (!flawed || self.hosts[host].is_up());
        if flawed && !remembers {
            self.schedule(self.around.now_us + LATE_READING_US, Happening::Restart { host, remembers: true });
        }
        self.hosts[host].vault.0.borrow_mut().full = false;
        self.hosts[host].journal_full = false;
        let out = self.hosts[host].boot(&self.cast.genesis, remembers, &mut self.around);
        self.hosts[host].turn_is_due = false;
        for peer in self.hosts[host].linked.clone() {
            let life = self.hosts[host].life;
            self.schedule(self.around.now_us, Happening::Peer { host, life, peer, up: true });
        }
        self.take(host, out);
    }

    /// Whether it was on.
    pub(crate) fn switch_off(&mut self, host: usize, down_us: u64) -> bool {
        let was_up = self.hosts[host].is_up();
        self.hosts[host].crash();
        self.down_us.insert(host, down_us);
        self.take(host, Vec::new());
        was_up
    }

    /// Puts an event where the host will find it.
    pub(super) fn give(&mut self, host: usize, event: Event) {
        self.hosts[host].inbox.push_back(event);
        self.plan_turn(host);
    }

    fn plan_turn(&mut self, host: usize) {
        if !self.hosts[host].turn_is_due && self.hosts[host].is_up() {
            self.hosts[host].turn_is_due = true;
            let life = self.hosts[host].life;
            let after_us = self.hosts[host].rng.between(20, 400);
            self.schedule(self.around.now_us + after_us, Happening::Turn { host, life });
        }
    }

    /// What came out of a host happens to others.
    pub(super) fn take(&mut self, host: usize, out: Vec<Out>) {
        let life = self.hosts[host].life;
        let suffered = self.hosts[host].suffered.take();
        self.count(suffered);
        for out in out {
            match out {
                Out::Frame { to, message } => self.send(host, to, &message),
                Out::Bytes { to, bytes } => self.transmit(host, to, true, bytes.into()),
                Out::Alarm { alarm, token, after_us } => {
                    self.schedule(self.around.now_us + after_us, Happening::Ring { host, life, alarm, token });
                }
                Out::Unlink { peer } => {
                    self.unlink(host, peer);
                }
                Out::PowerGoes { after_us } => {
                    let fault = Fault::Crash { host, after_actions: 0, down_us: FORGOTTEN_WITHIN_US };
                    self.schedule(self.around.now_us + after_us, Happening::Fault(fault));
                }
            }
        }
        if !self.hosts[host].is_up() {
            for peer in self.network.links_of(host) {
                self.unlink(host, peer);
            }
            let down_us = self.down_us.get(&host).copied().unwrap_or(100_000);
            self.schedule(self.around.now_us + down_us, Happening::Restart { host, remembers: true });
        } else if !self.hosts[host].inbox.is_empty() {
            self.plan_turn(host);
        }
    }

    // What came of it.

    pub(super) fn schedule(&mut self, at_us: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((at_us, self.scheduled), happening);
    }

    pub(crate) fn honest(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| self.around.honest.contains(&host.place))
    }

    pub(crate) fn lowest(&self) -> u64 {
        self.honest().map(Host::height).min().unwrap_or(0)
    }

    pub(crate) fn highest(&self) -> u64 {
        self.honest().map(Host::height).max().unwrap_or(0)
    }

    /// Every valid transaction that waits in the pool of a live honest member.
    pub(crate) fn held(&self) -> BTreeSet<TransactionId> {
        let allowed = self.cast.allowed();
        let pools = self.honest().filter_map(|host| host.member.as_ref()).map(|member| member.mempool().candidates());
        pools.flatten().map(|transaction| transaction.id()).filter(|id| allowed.contains(id)).collect()
    }

    /// What honest members keep on their disks: who did what.
    fn evidence_kept(&self) -> BTreeSet<(PublicKey, Offence)> {
        let charges = self.honest().flat_map(|host| &host.evidence).filter_map(|evidence| evidence.charge().ok());
        charges.flat_map(|charge| charge.keys.into_iter().map(move |key| (key, charge.offence))).collect()
    }

    /// Who has meant harm how often: by what it made of its member's words and said besides, or, where it only says what its
    /// member says, by contradicting itself.
    pub(crate) fn deeds(&self) -> BTreeMap<&'static str, u64> {
        let contradicted = |host: &Host| {
            let key = host.person.validator.as_ref().map(SecretKey::public);
            key.and_then(|key| self.around.watch.voting.contradicted.get(&key)).copied().unwrap_or(0)
        };
        let mut deeds = BTreeMap::new();
        for (liar, host) in self.hosts.iter().filter_map(|host| Some((host.liar?, host))) {
            *deeds.entry(liar).or_default() += host.deeds + contradicted(host);
        }
        deeds
    }

    /// Whose key the ledger has convicted.
    pub(crate) fn caught(&self) -> BTreeSet<&'static str> {
        let convicted: BTreeSet<PublicKey> = self.around.watch.convicted.keys().map(|(key, _)| *key).collect();
        let is_caught = |host: &&Host| {
            host.person.validator.as_ref().is_some_and(|validator| convicted.contains(&validator.public()))
        };
        self.hosts.iter().filter(is_caught).filter_map(|host| host.liar).collect()
    }

    /// All members reach one tip, some blocks on, and what they held has become final.
    pub(crate) fn expect_progress(&mut self, blocks: u64, within_us: u64) {
        let (goal, held) = (self.highest() + blocks, self.held());
        // Who goes on doing it is caught again and again; what was known by now must be on the ledger.
        let known = self.evidence_kept();
        let is_done = |world: &Self| {
            world.lowest() >= goal
                && world.lowest() == world.highest()
                && held.iter().all(|id| world.around.watch.finalised.contains_key(id))
                && world.held().is_empty()
                && known.iter().all(|(key, offence)| world.around.watch.is_on_the_ledger(*key, offence))
                && world.around.watch.unconvicted().is_empty()
                && world.around.watch.everything_accepted_is_decided()
        };
        self.run(self.around.now_us + within_us, is_done);
        if !self.around.watch.found_something() && !is_done(self) {
            let heights: Vec<String> = self.hosts.iter().map(|host| host.height().to_string()).collect();
            let waiting = self.held().len();
            let lax = known.iter().filter(|(key, offence)| !self.around.watch.is_on_the_ledger(*key, offence)).count();
            let what = format!(
                "heights {}, goal {goal}, {waiting} transactions wait, {lax} offences known then and {} keys caught are not \
                 on the ledger",
                heights.join(" "),
                self.around.watch.unconvicted().len()
            );
            self.around.watch.violations.push(Violation::NoProgress(what));
        }
    }

    /// Everything that happened, in one number.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn note(&mut self, words: &[u64]) {
        let now = self.around.now_us;
        for word in words.iter().chain([&now]) {
            self.hash = (self.hash ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(23);
        }
    }

    pub(super) fn note_bytes(&mut self, to: usize, bytes: &[u8]) {
        let folded = bytes.chunks(8).fold(0u64, |sum, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            sum.rotate_left(7).wrapping_mul(31) ^ u64::from_le_bytes(word)
        });
        self.note(&[1, to as u64, folded]);
    }
}

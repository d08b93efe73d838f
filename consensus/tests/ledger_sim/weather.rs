//! What connects machines, and what goes wrong with both.

use super::faults::Fault;
use super::host::{Disk, Host};
use super::world::{Happening, World};
use crate::sim::faults::{changes, power_lost};
use consensus::member::{Admittance, has_left};
use ledger::key::SecretKey;
use std::collections::BTreeSet;

const DIAL_EVERY_US: u64 = 500_000;

impl World {
    /// Every node tries those it is not connected to.
    pub(super) fn dial(&mut self) {
        for one in 0..self.hosts.len() {
            for other in one + 1..self.hosts.len() {
                let both_up = self.hosts[one].is_up() && self.hosts[other].is_up();
                if both_up
                    && self.network.link(one, other).is_none()
                    && self.network.lets_connect(one, other)
                    && (self.dials(one, other) || self.dials(other, one))
                {
                    self.network.connect(one, other);
                    self.notice(one, other, true);
                    self.notice(other, one, true);
                }
            }
        }
        self.schedule(self.around.now_us + DIAL_EVERY_US, Happening::Dial);
    }

    /// Whether one looks for the other: by its state both are members.
    fn dials(&self, one: usize, other: usize) -> bool {
        let Some(member) = &self.hosts[one].member else { return false };
        let (own, peer) = (self.hosts[one].person.node.public(), self.hosts[other].person.node.public());
        let heard = Admittance::of(member.chain(), &BTreeSet::new(), peer).is_ok_and(|is| is == Admittance::Heard);
        heard && !has_left(member.chain(), own).unwrap_or(true)
    }

    fn notice(&mut self, host: usize, peer: usize, up: bool) {
        if up {
            self.hosts[host].linked.insert(peer);
        } else {
            self.hosts[host].linked.remove(&peer);
        }
        let life = self.hosts[host].life;
        self.schedule(self.around.now_us, Happening::Peer { host, life, peer, up });
    }

    /// Whether there was a connection.
    pub(super) fn unlink(&mut self, one: usize, other: usize) -> bool {
        let was_there = self.network.disconnect(one, other);
        if was_there {
            self.notice(one, other, false);
            self.notice(other, one, false);
        }
        was_there
    }

    /// A fault comes. It counts where it changes something; what waits for its moment (power that goes in the middle of
    /// something, a disk that has no room) counts when that has come.
    pub(super) fn strike(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        self.note(&[5, self.around.now_us]);
        let name = fault.name();
        let as_named = |struck: bool| struck.then_some(name);
        let struck = match fault {
            Fault::Crash { host, after_actions, down_us } => {
                self.lose_power_later(host, after_actions, down_us, name);
                None
            }
            Fault::CrashAtCommit { host, power, down_us } => {
                self.hosts[host].lose_power_at_commit(power);
                self.down_us.insert(host, down_us);
                None
            }
            Fault::LoseLog { host, down_us } => {
                let was_up = self.switch_off(host, down_us);
                power_lost(name, self.hosts[host].journal.lose_log(), was_up)
            }
            Fault::LoseDisk { host, down_us } => {
                as_named(self.change_disk(host, down_us, Disk::new(&self.cast.genesis)))
            }
            Fault::BackUp { host } => {
                self.hosts[host].back_up();
                Some(name)
            }
            Fault::SetBack { host, down_us } => {
                let backup = self.hosts[host].backup.clone();
                as_named(backup.is_some_and(|disk| self.change_disk(host, down_us, disk)))
            }
            Fault::Rot { host, down_us } => {
                let was_up = self.switch_off(host, down_us);
                let mut rng = self.rng.fork();
                power_lost(name, self.hosts[host].journal.rot(&mut rng), was_up)
            }
            Fault::DiskFull { host, journal, down_us } => {
                self.down_us.insert(host, down_us);
                if journal {
                    self.hosts[host].journal_full = true;
                } else {
                    self.hosts[host].vault.0.borrow_mut().full = true;
                }
                None
            }
            Fault::PowerOut { after_actions, lose_logs, down_us } => {
                let (mut harmed, mut was_up) = (false, false);
                for host in 0..self.hosts.len() {
                    if lose_logs {
                        was_up |= self.switch_off(host, down_us);
                        harmed |= self.hosts[host].journal.lose_log();
                    } else {
                        self.lose_power_later(host, after_actions, down_us, name);
                    }
                }
                power_lost(name, harmed, was_up)
            }
            Fault::Part { group, one_way, breaks_links } => {
                let mut struck = self.network.part(&group, self.hosts.len(), one_way);
                for (one, other) in self.network.cut.clone() {
                    if breaks_links {
                        struck |= self.unlink(one, other);
                    }
                }
                as_named(struck)
            }
            Fault::Mend => as_named(self.network.mend()),
            Fault::Unlink { one, other } => as_named(self.unlink(one, other)),
            Fault::Loss { percent } => as_named(changes(&mut self.network.loss_percent, percent)),
            Fault::Repeat { percent } => as_named(changes(&mut self.network.repeat_percent, percent)),
            Fault::Reorder { on } => as_named(changes(&mut self.network.reorders, on)),
            Fault::Slow { max_us } => as_named(changes(&mut self.network.delay_us.1, max_us)),
            Fault::ClockStep { host, by_ms } => {
                self.hosts[host].clock.offset_ms += by_ms;
                as_named(by_ms != 0)
            }
        };
        self.count(struck);
    }

    pub(super) fn count(&mut self, struck: Option<&'static str>) {
        if let Some(name) = struck {
            *self.faults_done.entry(name).or_default() += 1;
        }
    }

    fn lose_power_later(&mut self, host: usize, after_actions: usize, down_us: u64, name: &'static str) {
        self.hosts[host].crash_after = Some((after_actions, name));
        self.down_us.insert(host, down_us);
    }

    /// Power off, and another disk. Only where the chains of all others show what is missing on it, whoever sends a block: not
    /// every certificate of it has the same signatures. What nobody can know, nobody can heed. Whether it was done.
    fn change_disk(&mut self, host: usize, down_us: u64, disk: Disk) -> bool {
        let Some(key) = self.hosts[host].person.validator.as_ref().map(SecretKey::public) else { return false };
        let others = || self.hosts.iter().filter(|other| other.place != host);
        // Those who do not validate decide nothing: what they have is a copy.
        let validates = |other: &&Host| other.person.validator.is_some();
        let least = others().filter(validates).map(Host::height).min().unwrap_or_default();
        let words = disk.words(key);
        let shows_it = |other: &Host, height: u64| {
            let vault = other.vault.look();
            let shows = |(_, certificate)| words.lack(&certificate, vault.set_of(height));
            vault.block(height).map_or(other.person.validator.is_none(), shows)
        };
        let shows = (words.height().max(1)..=least).any(|height| others().all(|other| shows_it(other, height)));
        if shows {
            self.switch_off(host, down_us);
            self.hosts[host].disk_becomes(disk);
            self.around.watch.nothing_is_asked_of_a_lost_disk(host);
        }
        shows
    }
}

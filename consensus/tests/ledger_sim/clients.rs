//! People and machines outside: clients hand in transactions, an endpoint asks for proofs.

use super::cast::Job;
use super::invariants::Violation;
use super::light_client::{self, Belief};
use super::world::{Happening, World};
use consensus::member::{Event, Ticket};
use ledger::transaction::VerifiedTransaction;

const LIGHT_CLIENT_EVERY_US: u64 = 700_000;

impl World {
    /// Somebody hands in a transaction somewhere: one whose time has come, or one that no rule allows.
    pub(super) fn submit(&mut self) {
        // What was handed in must get on without its clients' help.
        if self.healed {
            return;
        }
        self.schedule(self.around.now_us + self.submit_every_us, Happening::Submit);
        let up: Vec<usize> = (0..self.hosts.len()).filter(|host| self.hosts[*host].is_up()).collect();
        if up.is_empty() {
            return;
        }
        let host = *self.rng.pick(&up);
        let cast = self.cast;
        if self.signs_twice && self.rng.once_in(4) {
            let (one, other) = self.rng.pick(&cast.signed_twice);
            for host in up {
                let version = if self.rng.once_in(2) { one } else { other };
                self.offer(host, version.clone());
            }
            return;
        }
        let transaction = if self.rng.once_in(8) {
            self.rng.pick(&cast.forbidden).clone()
        } else {
            let finalised = &self.around.watch.finalised;
            let is_due = |job: &&Job| {
                !finalised.contains_key(&job.transaction.id()) && job.needs.iter().all(|id| finalised.contains_key(id))
            };
            let due: Vec<_> = cast.jobs.iter().filter(is_due).collect();
            if due.is_empty() {
                return;
            }
            // Where governors have something to say, every other one is theirs.
            let governing: Vec<_> = due.iter().copied().filter(|job| job.governs()).collect();
            let of = if !governing.is_empty() && self.rng.once_in(2) { &governing } else { &due };
            self.rng.pick(of).transaction.clone()
        };
        self.offer(host, transaction);
    }

    /// A client hands a transaction in.
    pub(crate) fn offer(&mut self, host: usize, transaction: VerifiedTransaction) {
        self.submitted.insert(transaction.id());
        let ticket = Ticket(self.scheduled);
        self.give(host, Event::Offered(vec![(transaction, ticket)]));
    }

    /// An endpoint asks somebody for the newest header, or for the proof of a patch.
    pub(super) fn ask_for_light(&mut self) {
        self.schedule(self.around.now_us + LIGHT_CLIENT_EVERY_US, Happening::LightClient);
        let host = self.rng.index(self.hosts.len());
        let honest = self.around.honest.contains(&host);
        let chain = self.hosts[host].vault.clone();
        let patch = *self.rng.pick(&self.cast.patches);
        let shown = if self.rng.once_in(2) {
            light_client::proof(&chain, patch)
        } else {
            light_client::head(&chain.look()).map(|shown| (shown, true))
        };
        let Some((mut shown, must_hold)) = shown else { return };
        let liar = self.hosts[host].person.validator.clone().filter(|_| !honest);
        if let Some(key) = &liar {
            shown = light_client::lie(shown, &chain.look(), key, self.cast, &mut self.rng);
        }
        // The endpoint's own clock is right, and the block's may be ahead of it.
        let now_ms = self.around.true_ms().max(chain.look().tip.header.time_ms);
        self.proofs += 1;
        match self.light_client.look(&shown, now_ms) {
            Belief::Accepted { height, hash } => self.around.watch.accepted(height, hash),
            Belief::Refused(why) if honest && must_hold => {
                self.around.watch.violations.push(Violation::Unprovable(why));
            }
            Belief::Refused(_) => {}
        }
    }
}

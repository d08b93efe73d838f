//! Twins: one key on two machines, each of them as honest as can be, and together a liar. They share no guard.

use crate::ledger_sim::world::World as Ledger;
use crate::sim::host::Host;
use crate::sim::world::World;

impl World {
    /// Gives the key of host `of` to a second host as well. Neither is honest any more: both sign, and
    /// each half of the others talks to one of them.
    pub(crate) fn add_twin(&mut self, of: usize) {
        let twin = self.hosts.len();
        let key = self.hosts[of].key.clone();
        let (sets, pace_us) = (self.hosts[of].sets.clone(), self.hosts[of].pace_us);
        self.distrust(of);
        let rng = self.rng.fork();
        self.hosts.push(Host::new(key.clone(), false, sets, pace_us, rng));
        for host in 0..self.hosts.len() {
            let side = if self.rng.once_in(2) { of } else { twin };
            self.sides.insert((host, key.public()), side);
        }
    }
}

impl Ledger {
    /// One validator runs twice with one key: its twin is a node of its own. Gives the twin's place.
    pub(crate) fn add_twin(&mut self, of: usize) -> usize {
        self.distrust(of);
        self.add(self.cast.twins[of].clone(), false);
        self.hosts.len() - 1
    }
}

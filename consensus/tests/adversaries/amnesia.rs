//! Amnesia: a validator that loses its guard file with its log, whenever it crashes, and speaks on as if nothing had been.
//! It crashes a moment after it has proposed, as often as not (`ledger_sim/shell.rs`).

use crate::ledger_sim::faults::Fault;
use crate::ledger_sim::world::World;

/// When somebody else is away, and for how long.
const AWAY_FROM_US: [u64; 2] = [750_000, 3_000_000];
const AWAY_US: u64 = 1_500_000;

impl World {
    /// One validator forgets. That it has matters only when it comes back to the same height; so now and then somebody else is
    /// away too, without whom the others cannot go on.
    pub(crate) fn add_amnesia(&mut self, place: usize) {
        self.distrust(place);
        self.hosts[place].forgets = true;
        let other = (place + 1) % self.cast.validators.len();
        let away = |at_us: u64| (at_us, Fault::Crash { host: other, after_actions: 0, down_us: AWAY_US });
        self.plan(AWAY_FROM_US.map(away).to_vec());
    }
}

//! Amnesia: a validator that loses its guard file with its log, whenever it crashes, and speaks on as if nothing had been.

use crate::ledger_sim::world::World;

impl World {
    /// One validator forgets.
    pub(crate) fn add_amnesia(&mut self, place: usize) {
        self.distrust(place);
        self.hosts[place].forgets = true;
    }
}

//! A network that delays, loses, repeats and reorders, and falls apart along lines.

use super::block::Block;
use super::rng::Rng;
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use std::collections::BTreeSet;

/// What travels between hosts.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    /// A consensus message, as bytes: the codec is part of what is simulated.
    Consensus(Vec<u8>),
    Body(Block),
    WantBody(BlockHash),
    WantBlocks {
        from: u64,
    },
    Blocks(Vec<(Block, Certificate)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) delay_us: (u64, u64),
    pub(crate) loss_percent: u64,
    pub(crate) repeat_percent: u64,
    /// Directed links that are cut.
    pub(crate) cut: BTreeSet<(usize, usize)>,
}

impl Network {
    pub(crate) fn calm() -> Self {
        Self { delay_us: (500, 3_000), loss_percent: 0, repeat_percent: 0, cut: BTreeSet::new() }
    }

    /// When the copies of a packet arrive, counted from now. None: it is lost.
    pub(crate) fn arrivals_us(&self, from: usize, to: usize, rng: &mut Rng) -> Vec<u64> {
        if self.cut.contains(&(from, to)) || rng.percent(self.loss_percent) {
            return Vec::new();
        }
        let copies = 1 + usize::from(rng.percent(self.repeat_percent));
        (0..copies).map(|_| rng.between(self.delay_us.0, self.delay_us.1)).collect()
    }

    /// Two groups that do not hear each other; or, one-way, one that is not heard. Whether more is cut than was before.
    pub(crate) fn part(&mut self, group: &BTreeSet<usize>, hosts: usize, one_way: bool) -> bool {
        let before = self.cut.len();
        for from in 0..hosts {
            for to in 0..hosts {
                let leaves = group.contains(&from) && !group.contains(&to);
                let enters = !group.contains(&from) && group.contains(&to);
                if leaves || (enters && !one_way) {
                    self.cut.insert((from, to));
                }
            }
        }
        self.cut.len() > before
    }

    /// Whether anything was cut.
    pub(crate) fn mend(&mut self) -> bool {
        let was_cut = !self.cut.is_empty();
        self.cut.clear();
        was_cut
    }
}

//! Connections and what travels over them: in order within a stream unless it is reordered, and lost,
//! late or twice when something is wrong.

use crate::sim::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Two places, the lower first.
type Pair = (usize, usize);

pub(crate) struct Network {
    pub(crate) delay_us: (u64, u64),
    pub(crate) loss_percent: u64,
    pub(crate) repeat_percent: u64,
    pub(crate) reorders: bool,
    /// Directed ways that are cut.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Connections, and how often each was made.
    links: BTreeMap<Pair, u64>,
    made: u64,
    /// When the last frame of a stream arrives: from, to, and whether it is the urgent one.
    last_us: BTreeMap<(usize, usize, bool), u64>,
}

pub(crate) fn pair(one: usize, other: usize) -> Pair {
    (one.min(other), one.max(other))
}

impl Network {
    pub(crate) fn new() -> Self {
        Self {
            delay_us: (500, 3_000),
            loss_percent: 0,
            repeat_percent: 0,
            reorders: false,
            cut: BTreeSet::new(),
            links: BTreeMap::new(),
            made: 0,
            last_us: BTreeMap::new(),
        }
    }

    /// Nothing goes wrong from now on. Connections stay as they are.
    pub(crate) fn heal(&mut self) {
        self.delay_us = (500, 3_000);
        (self.loss_percent, self.repeat_percent, self.reorders) = (0, 0, false);
        self.cut.clear();
    }

    /// The number of the connection between two, if there is one.
    pub(crate) fn link(&self, one: usize, other: usize) -> Option<u64> {
        self.links.get(&pair(one, other)).copied()
    }

    /// Whether a handshake would come through.
    pub(crate) fn lets_connect(&self, one: usize, other: usize) -> bool {
        !self.cut.contains(&(one, other)) && !self.cut.contains(&(other, one))
    }

    pub(crate) fn connect(&mut self, one: usize, other: usize) {
        self.made += 1;
        self.links.insert(pair(one, other), self.made);
        for urgent in [false, true] {
            self.last_us.remove(&(one, other, urgent));
            self.last_us.remove(&(other, one, urgent));
        }
    }

    /// Whether there was a connection.
    pub(crate) fn disconnect(&mut self, one: usize, other: usize) -> bool {
        self.links.remove(&pair(one, other)).is_some()
    }

    pub(crate) fn links_of(&self, place: usize) -> Vec<usize> {
        let other = |(one, other): &Pair| (*one == place).then_some(*other).or((*other == place).then_some(*one));
        self.links.keys().filter_map(other).collect()
    }

    /// When the copies of a frame arrive. None: it is lost.
    pub(crate) fn arrivals_us(
        &mut self,
        now_us: u64,
        (from, to): (usize, usize),
        urgent: bool,
        rng: &mut Rng,
    ) -> Vec<u64> {
        if self.cut.contains(&(from, to)) || rng.percent(self.loss_percent) {
            return Vec::new();
        }
        let copies = 1 + usize::from(rng.percent(self.repeat_percent));
        let reorders = self.reorders;
        let last = self.last_us.entry((from, to, urgent)).or_default();
        (0..copies)
            .map(|_| {
                let at_us = now_us + rng.between(self.delay_us.0, self.delay_us.1);
                if !reorders {
                    *last = at_us.max(*last + 1);
                }
                if reorders { at_us } else { *last }
            })
            .collect()
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

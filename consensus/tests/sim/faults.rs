//! What goes wrong in a run, drawn from its seed.

use super::rng::Rng;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Power off, in the middle of a list of effects.
    Crash {
        host: usize,
        after_effects: usize,
        down_us: u64,
    },
    /// Power off, and the vote log is gone when power is back. The guard file is not.
    LoseLog {
        host: usize,
        down_us: u64,
    },
    /// Power off, and one bit of the vote log has turned.
    Rot {
        host: usize,
        down_us: u64,
    },
    /// Power off everywhere, at once.
    PowerOut {
        after_effects: usize,
        lose_logs: bool,
        down_us: u64,
    },
    Part {
        group: BTreeSet<usize>,
        one_way: bool,
    },
    Mend,
    Loss {
        percent: u64,
    },
    Repeat {
        percent: u64,
    },
    Slow {
        max_us: u64,
    },
}

/// What goes wrong in the plans of [`draw`], by name.
pub(crate) const DRAWN: [&str; 11] = [
    CRASH,
    "log lost",
    "bit rot",
    "power out",
    "all logs lost",
    "partition",
    "one-way partition",
    "mend",
    "loss",
    "repeat",
    "slow",
];
/// Those of them in which nobody loses power, and no disk anything.
pub(crate) const OF_THE_NETWORK: [&str; 6] = ["partition", "one-way partition", "mend", "loss", "repeat", "slow"];
/// … and in those of [`restless`].
pub(crate) const RESTLESS: [&str; 2] = [CRASH, "loss"];

const CRASH: &str = "crash";

/// What a loss of power counts as that was to harm a disk too. Where there was nothing to harm it is a crash, and of a machine that
/// was off it is nothing.
pub(crate) fn power_lost(name: &'static str, harmed: bool, was_up: bool) -> Option<&'static str> {
    if harmed { Some(name) } else { was_up.then_some(CRASH) }
}

/// Sets something, and says whether it was otherwise before.
pub(crate) fn changes<T: PartialEq>(what: &mut T, to: T) -> bool {
    let changed = *what != to;
    *what = to;
    changed
}

impl Fault {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => CRASH,
            Self::LoseLog { .. } => "log lost",
            Self::Rot { .. } => "bit rot",
            Self::PowerOut { lose_logs: false, .. } => "power out",
            Self::PowerOut { lose_logs: true, .. } => "all logs lost",
            Self::Part { one_way: false, .. } => "partition",
            Self::Part { one_way: true, .. } => "one-way partition",
            Self::Mend => "mend",
            Self::Loss { .. } => "loss",
            Self::Repeat { .. } => "repeat",
            Self::Slow { .. } => "slow",
        }
    }
}

/// Faults until `until_us`; nothing after it.
pub(crate) fn draw(rng: &mut Rng, hosts: usize, until_us: u64) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    let count = rng.between(4, 14);
    for _ in 0..count {
        let at_us = rng.between(50_000, until_us - until_us / 5);
        let host = rng.index(hosts);
        let down_us = rng.between(5_000, 1_000_000);
        let fault = match rng.between(0, 12) {
            0..=3 => Fault::Crash { host, after_effects: rng.index(8), down_us },
            4 => Fault::LoseLog { host, down_us },
            5 => Fault::Rot { host, down_us },
            6 | 7 => {
                let mut order: Vec<usize> = (0..hosts).collect();
                rng.shuffle(&mut order);
                let size = 1 + rng.index(hosts - 1);
                let group = order.into_iter().take(size).collect();
                faults.push((at_us + rng.between(100_000, 2_000_000), Fault::Mend));
                Fault::Part { group, one_way: rng.once_in(3) }
            }
            8 | 9 => Fault::Loss { percent: *rng.pick(&[2, 5, 10, 30]) },
            11 => Fault::PowerOut { after_effects: rng.index(5), lose_logs: rng.once_in(4), down_us },
            10 => Fault::Repeat { percent: *rng.pick(&[5, 20, 50]) },
            _ => Fault::Slow { max_us: *rng.pick(&[20_000, 100_000, 400_000]) },
        };
        faults.push((at_us, fault));
    }
    faults
}

/// Somebody loses power every few dozen milliseconds, in the middle of something.
pub(crate) fn restless(rng: &mut Rng, hosts: usize, until_us: u64) -> Vec<(u64, Fault)> {
    let crash = |at_us: u64, rng: &mut Rng| {
        let down_us = rng.between(1_000, 50_000);
        (at_us, Fault::Crash { host: rng.index(hosts), after_effects: rng.index(8), down_us })
    };
    let mut faults = vec![(0, Fault::Loss { percent: *rng.pick(&[0, 10, 20]) })];
    let every_us = rng.between(20_000, 100_000);
    faults.extend((1..until_us / every_us).map(|n| crash(n * every_us, rng)));
    faults
}

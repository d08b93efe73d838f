//! What goes wrong in a run, drawn from its seed.

use super::vault::Power;
use crate::sim::rng::Rng;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Power off, between any two actions.
    Crash {
        host: usize,
        after_actions: usize,
        down_us: u64,
    },
    /// Power off in the middle of a commit: the block is there, or it is not.
    CrashAtCommit {
        host: usize,
        power: Power,
        down_us: u64,
    },
    /// Power off, and the vote log is gone when power is back. The guard file is not.
    LoseLog {
        host: usize,
        down_us: u64,
    },
    /// Power off, and the disk is another one, with nothing on it.
    LoseDisk {
        host: usize,
        down_us: u64,
    },
    /// The disk is copied, as it is.
    BackUp {
        host: usize,
    },
    /// Power off, and what is on the disk is the last copy of it.
    SetBack {
        host: usize,
        down_us: u64,
    },
    /// Power off, and one bit of the vote log has turned.
    Rot {
        host: usize,
        down_us: u64,
    },
    /// No room for blocks, or for the journal; some time later there is.
    DiskFull {
        host: usize,
        journal: bool,
        down_us: u64,
    },
    /// Power off everywhere, at once.
    PowerOut {
        after_actions: usize,
        lose_logs: bool,
        down_us: u64,
    },
    Part {
        group: BTreeSet<usize>,
        one_way: bool,
        breaks_links: bool,
    },
    Mend,
    /// One connection breaks.
    Unlink {
        one: usize,
        other: usize,
    },
    Loss {
        percent: u64,
    },
    Repeat {
        percent: u64,
    },
    Reorder {
        on: bool,
    },
    Slow {
        max_us: u64,
    },
    /// A wall clock is set, forth or back.
    ClockStep {
        host: usize,
        by_ms: i64,
    },
}

/// What goes wrong in the plans of [`draw`], by name.
pub(crate) const DRAWN: [&str; 18] = [
    "crash",
    CRASH_AT_COMMIT,
    "log lost",
    "bit rot",
    DISK_FULL,
    JOURNAL_FULL,
    "power out",
    "power out, logs lost",
    "partition",
    "one-way partition",
    "mend",
    "connection lost",
    "loss",
    "repeat",
    "reorder",
    "in order again",
    "slow",
    "clock step",
];
/// … in those of [`restless`] …
pub(crate) const RESTLESS: [&str; 5] = ["crash", CRASH_AT_COMMIT, DISK_FULL, JOURNAL_FULL, "loss"];
/// … and in those of [`forgetful`] besides.
pub(crate) const FORGOTTEN: [&str; 3] = ["disk lost", "backup", "set back"];

pub(crate) const CRASH_AT_COMMIT: &str = "crash at commit";
pub(crate) const DISK_FULL: &str = "disk full";
pub(crate) const JOURNAL_FULL: &str = "journal full";

impl Fault {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::CrashAtCommit { .. } => CRASH_AT_COMMIT,
            Self::LoseLog { .. } => "log lost",
            Self::LoseDisk { .. } => "disk lost",
            Self::BackUp { .. } => "backup",
            Self::SetBack { .. } => "set back",
            Self::Rot { .. } => "bit rot",
            Self::DiskFull { journal: false, .. } => DISK_FULL,
            Self::DiskFull { journal: true, .. } => JOURNAL_FULL,
            Self::PowerOut { lose_logs: false, .. } => "power out",
            Self::PowerOut { lose_logs: true, .. } => "power out, logs lost",
            Self::Part { one_way: false, .. } => "partition",
            Self::Part { one_way: true, .. } => "one-way partition",
            Self::Mend => "mend",
            Self::Unlink { .. } => "connection lost",
            Self::Loss { .. } => "loss",
            Self::Repeat { .. } => "repeat",
            Self::Reorder { on: true } => "reorder",
            Self::Reorder { on: false } => "in order again",
            Self::Slow { .. } => "slow",
            Self::ClockStep { .. } => "clock step",
        }
    }
}

/// Who may forget: the validators of the smallest ledger are the first hosts.
const VALIDATORS: usize = 4;

/// Draws what goes wrong among so many hosts until then.
pub(crate) type Plan = fn(&mut Rng, usize, u64) -> Vec<(u64, Fault)>;

/// Everything.
pub(crate) fn draw(rng: &mut Rng, hosts: usize, until_us: u64) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    for _ in 0..rng.between(5, 16) {
        let at_us = rng.between(50_000, until_us - until_us / 5);
        let fault = one(rng, hosts);
        if matches!(fault, Fault::Part { .. }) {
            faults.push((at_us + rng.between(100_000, 2_500_000), Fault::Mend));
        }
        if matches!(fault, Fault::Reorder { on: true }) {
            faults.push((at_us + rng.between(100_000, 2_500_000), Fault::Reorder { on: false }));
        }
        faults.push((at_us, fault));
    }
    faults
}

fn one(rng: &mut Rng, hosts: usize) -> Fault {
    let host = rng.index(hosts);
    let down_us = rng.between(5_000, 1_500_000);
    match rng.between(0, 19) {
        0..=2 => Fault::Crash { host, after_actions: rng.index(24), down_us },
        3 | 4 => Fault::CrashAtCommit { host, power: *rng.pick(&[Power::GoesBefore, Power::GoesAfter]), down_us },
        5 => Fault::LoseLog { host, down_us },
        6 => Fault::Rot { host, down_us },
        7 | 8 => Fault::DiskFull { host, journal: rng.once_in(2), down_us },
        9 => Fault::PowerOut { after_actions: rng.index(12), lose_logs: rng.once_in(4), down_us },
        10..=12 => {
            let mut order: Vec<usize> = (0..hosts).collect();
            rng.shuffle(&mut order);
            let size = 1 + rng.index(hosts - 1);
            let group = order.into_iter().take(size).collect();
            Fault::Part { group, one_way: rng.once_in(3), breaks_links: rng.once_in(2) }
        }
        13 | 14 => Fault::Unlink { one: host, other: (host + 1 + rng.index(hosts - 1)) % hosts },
        15 => Fault::Loss { percent: *rng.pick(&[2, 5, 10, 30]) },
        16 => Fault::Repeat { percent: *rng.pick(&[5, 20, 50]) },
        17 => Fault::Reorder { on: true },
        18 => Fault::Slow { max_us: *rng.pick(&[20_000, 100_000, 400_000]) },
        _ => {
            let by_ms = i64::try_from(rng.between(0, 3_000)).unwrap() - 1_500;
            Fault::ClockStep { host, by_ms }
        }
    }
}

/// Somebody loses power every few dozen milliseconds, in the middle of something.
pub(crate) fn restless(rng: &mut Rng, hosts: usize, until_us: u64) -> Vec<(u64, Fault)> {
    let mut faults = vec![(0, Fault::Loss { percent: *rng.pick(&[0, 5, 10]) })];
    let every_us = rng.between(30_000, 150_000);
    for n in 1..until_us / every_us {
        let (host, down_us) = (rng.index(hosts), rng.between(1_000, 50_000));
        let fault = match rng.between(0, 5) {
            0 => Fault::CrashAtCommit { host, power: *rng.pick(&[Power::GoesBefore, Power::GoesAfter]), down_us },
            1 => Fault::DiskFull { host, journal: rng.once_in(2), down_us },
            _ => Fault::Crash { host, after_actions: rng.index(16), down_us },
        };
        faults.push((n * every_us, fault));
    }
    faults
}

/// Everything, and one machine forgets what its key has signed: its disk is lost, or set back to an earlier copy,
/// of a moment ago perhaps; twice perhaps; and it loses power once more in the middle of its silence, perhaps.
pub(crate) fn forgetful(rng: &mut Rng, hosts: usize, until_us: u64) -> Vec<(u64, Fault)> {
    let mut faults = draw(rng, hosts, until_us);
    let host = rng.index(VALIDATORS);
    for _ in 0..rng.between(1, 2) {
        let at_us = rng.between(until_us / 10, until_us - until_us / 5);
        let down_us = rng.between(5_000, 300_000);
        if rng.once_in(2) {
            faults.push((at_us, Fault::LoseDisk { host, down_us }));
        } else {
            let since_us = if rng.once_in(2) { at_us } else { rng.between(1_000, 100_000) };
            faults.push((at_us - rng.between(0, since_us.min(at_us)), Fault::BackUp { host }));
            faults.push((at_us, Fault::SetBack { host, down_us }));
        }
        if rng.once_in(2) {
            let again_us = at_us + down_us + rng.between(10_000, 500_000);
            let fault = Fault::Crash { host, after_actions: rng.index(16), down_us: rng.between(1_000, 50_000) };
            faults.push((again_us, fault));
        }
    }
    faults
}

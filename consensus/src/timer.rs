//! Timers: what they are for, and how long they run.

use serde::{Deserialize, Serialize};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerKind {
    /// How long to wait for a proposal.
    Propose,
    /// How long to wait for more prevotes once a quorum voted for different things.
    Prevote,
    /// How long to wait for more precommits once a quorum voted for different things.
    Precommit,
    /// When to say again what was said, and ask again for what is missing.
    Rebroadcast,
}

/// One timer. Two equal timers are the same timer: scheduling it again moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timer {
    /// Height it was started in. It means nothing in another.
    pub height: u64,
    /// Round it was started in. It means nothing in another.
    pub round: u32,
    /// What it is for.
    pub kind: TimerKind,
}

/// How long timers run. The good path waits for none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Waiting for a proposal in round 0.
    pub propose_ms: u64,
    /// Added with each round.
    pub propose_step_ms: u64,
    /// Waiting for more prevotes or precommits in round 0.
    pub vote_ms: u64,
    /// Added with each round.
    pub vote_step_ms: u64,
    /// Between two rebroadcasts.
    pub rebroadcast_ms: u64,
    /// No timer runs longer.
    pub cap_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            propose_ms: 500,
            propose_step_ms: 250,
            vote_ms: 200,
            vote_step_ms: 100,
            rebroadcast_ms: 600,
            cap_ms: 5_000,
        }
    }
}

impl Timeouts {
    /// How long a timer of this kind runs in this round. Rounds come from votes of others, so the
    /// arithmetic saturates.
    #[must_use]
    pub fn after_ms(&self, kind: TimerKind, round: u32) -> u64 {
        let (first, step) = match kind {
            TimerKind::Propose => (self.propose_ms, self.propose_step_ms),
            TimerKind::Prevote | TimerKind::Precommit => (self.vote_ms, self.vote_step_ms),
            TimerKind::Rebroadcast => (self.rebroadcast_ms, 0),
        };
        first.saturating_add(step.saturating_mul(u64::from(round))).min(self.cap_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_grow_with_the_round_up_to_the_cap() {
        let timeouts = Timeouts::default();
        for (kind, round, expected_ms) in [
            (TimerKind::Propose, 0, 500),
            (TimerKind::Propose, 2, 1_000),
            (TimerKind::Prevote, 0, 200),
            (TimerKind::Precommit, 3, 500),
            (TimerKind::Rebroadcast, 0, 600),
            (TimerKind::Rebroadcast, 9, 600),
            (TimerKind::Propose, 1_000, 5_000),
            (TimerKind::Prevote, u32::MAX, 5_000),
        ] {
            assert_eq!(timeouts.after_ms(kind, round), expected_ms, "{kind:?} in round {round}");
        }
    }

    #[test]
    fn a_timer_never_overflows() {
        let endless =
            Timeouts { propose_ms: u64::MAX, propose_step_ms: u64::MAX, cap_ms: u64::MAX, ..Timeouts::default() };
        assert_eq!(endless.after_ms(TimerKind::Propose, u32::MAX), u64::MAX);
    }
}

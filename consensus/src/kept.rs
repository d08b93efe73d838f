//! How much a replica keeps of what others say. Every number has a bound that they cannot move, however they lie.

use crate::ballots::{ROUNDS_KEPT, VARIANTS_WITH_QUORUM_MAX};
use crate::early;
use crate::height::{ACCUSED_MAX, Height, PROPOSALS_PER_ROUND_MAX, UNNAMED_VERDICTS_MAX};
use crate::missing::BLOCKS_MAX;
use crate::past::{HEARD_MAX, Past};
use crate::replica::EARLY_VERDICTS_MAX;
use crate::running::ROUNDS_AHEAD;

/// Blocks that can find a quorum of prevotes in one round, where everybody is heard with
/// [`VARIANTS_WITH_QUORUM_MAX`] votes: four votes of each, and more than two thirds of all for each block.
const QUORUMS_PER_ROUND_MAX: usize = 4;
/// Prevotes and precommits.
const KINDS: usize = 2;

/// So many of something a replica holds, and the most it ever may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What.
    pub what: &'static str,
    /// How many there are.
    pub count: usize,
    /// How many there may be.
    pub most: usize,
}

impl Kept {
    /// Whether it is no more than it may be.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.count <= self.most
    }
}

/// Rounds that are looked at, from this one.
fn rounds(current: u32) -> usize {
    (current.min(ROUNDS_KEPT) + ROUNDS_AHEAD + 1) as usize
}

/// What is kept of the height under way.
pub(crate) fn of_height(now: &Height, round: u32) -> Vec<Kept> {
    let held = now.held();
    let (validators, per_round) = (now.validators.len(), PROPOSALS_PER_ROUND_MAX + QUORUMS_PER_ROUND_MAX);
    // One that turned out good or bad stays known until the height is decided.
    let judged = (round as usize + ROUNDS_AHEAD as usize + 1) * per_round;
    let kept = |what, count, most| Kept { what, count, most };
    vec![
        kept("votes", held.votes, validators * KINDS * VARIANTS_WITH_QUORUM_MAX * rounds(round)),
        kept("proposals", held.proposals, per_round * rounds(round)),
        kept("quorums of precommits", held.quorums, rounds(round)),
        kept("verdicts", held.verdicts, UNNAMED_VERDICTS_MAX + judged),
        kept("offences", held.offences, ACCUSED_MAX),
        kept("peers answered", held.answered, early::SENDERS_MAX),
        kept("rounds whose proposals are asked for", held.proposals_asked_for, rounds(round)),
        kept("blocks whose verdicts are waited for", held.judging, BLOCKS_MAX),
        kept("blocks whose bodies are asked for", held.bodies_asked_for, BLOCKS_MAX),
    ]
}

/// What is kept of the height decided last.
pub(crate) fn of_past(past: &Past) -> Vec<Kept> {
    let held = past.held();
    let kept = |what, count, most| Kept { what, count, most };
    vec![
        kept("votes of the last height that came late", held.late, HEARD_MAX),
        kept("voters of the last height", held.heard, HEARD_MAX),
        kept("offences of the last height", held.offences, ACCUSED_MAX),
        kept("peers answered about the last height", held.answered, early::SENDERS_MAX),
    ]
}

/// What is kept for the next height.
pub(crate) fn of_next(messages: usize, verdicts: usize) -> Vec<Kept> {
    vec![
        Kept {
            what: "messages that came early",
            count: messages,
            most: early::SENDERS_MAX * early::WEIGHT_PER_SENDER_MAX,
        },
        Kept { what: "verdicts that came early", count: verdicts, most: EARLY_VERDICTS_MAX },
    ]
}

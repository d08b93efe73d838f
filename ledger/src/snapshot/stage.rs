//! The order in which parts come.

use super::SnapshotPart;

/// What is due; also the kind of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Begin,
    Epochs,
    Leaves,
    Kept,
    Whole,
    Records,
    Outcomes,
    End,
}

impl SnapshotPart {
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Begin { .. } => Stage::Begin,
            Self::Epoch(_) => Stage::Epochs,
            Self::Leaves(_) => Stage::Leaves,
            Self::Kept { .. } => Stage::Kept,
            Self::Whole { .. } => Stage::Whole,
            Self::Records(_) => Stage::Records,
            Self::Outcomes(_) => Stage::Outcomes,
            Self::End => Stage::End,
        }
    }
}

impl Stage {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Begin => "the beginning",
            Self::Epochs => "a change of validators",
            Self::Leaves => "hashes of the history",
            Self::Kept => "an older block",
            Self::Whole => "a whole block",
            Self::Records => "records",
            Self::Outcomes => "outcomes",
            Self::End => "the end",
        }
    }
}

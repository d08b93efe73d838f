//! Convictions: what validating keys signed twice.

use super::Position;
use crate::bounded::{List, Name};
use crate::evidence::Offence;
use crate::limits;
use serde::{Deserialize, Serialize};

/// What a validating key is convicted of. It changes nothing by itself: governance removes the culprit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvictionRecord {
    /// Whose key it is.
    pub organisation: Name,
    /// What it did, in the order in which it was recorded; never none.
    pub offences: List<RecordedOffence, { limits::OFFENCES_PER_KEY_MAX }>,
}

/// One offence, and where its evidence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedOffence {
    /// What.
    pub offence: Offence,
    /// Where the accusation was finalised: the evidence is in it.
    pub position: Position,
}

impl ConvictionRecord {
    /// Whether another accusation of this would teach nothing: it is recorded, or so many others are.
    #[must_use]
    pub fn covers(&self, offence: &Offence) -> bool {
        self.offences.len() >= limits::OFFENCES_PER_KEY_MAX
            || self.offences.iter().any(|recorded| recorded.offence == *offence)
    }
}

//! The last update of each product that was kept: what can be taken back by hand, whatever was tried since. The journal
//! is of one update, and the next attempt begins it anew, also one that comes to nothing.

use super::journal::{Begun, Record};
use super::record;
use crate::files::FileError;
use crate::settled::Refusal;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Updates remembered: one of each product and channel.
const KEPT_MAX: usize = 256;
/// Largest such file.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// An update that was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastKept {
    /// What was begun.
    pub begun: Begun,
    /// The host has restarted with it before it was judged.
    pub restarted: bool,
}

impl LastKept {
    /// What the records of an update that is over say; nothing when it was not kept.
    fn of(records: &[Record]) -> Option<Self> {
        let Some(Record::Begun(begun)) = records.first() else { return None };
        let judged = records.iter().rev().find(|record| matches!(record, Record::Judged { .. } | Record::Restored));
        let kept = matches!(judged, Some(Record::Judged { against: None }));
        let restarted = records.contains(&Record::Restarted);
        kept.then(|| Self { begun: begun.clone(), restarted })
    }

    fn is_of(&self, other: &Begun) -> bool {
        self.begun.product == other.product && self.begun.channel == other.channel
    }
}

/// What was kept last, oldest first.
///
/// # Errors
/// [`FileError`] when it cannot be read.
pub fn read(path: &Path) -> Result<Vec<LastKept>, FileError> {
    Ok(record::read_if_there(path, KEPT_BYTES_MAX)?.unwrap_or_default())
}

/// Takes note of how an update ended: what was kept can be taken back, and what was taken back by hand cannot be once
/// more. Any other ending changes nothing. That what was there cannot be read is no obstacle: it is begun anew.
///
/// # Errors
/// [`Refusal`] when it cannot be written.
pub fn note(path: &Path, records: &[Record]) -> Result<(), Refusal> {
    let Some(Record::Begun(ended)) = records.first() else { return Ok(()) };
    let kept = LastKept::of(records);
    if kept.is_none() && !ended.by_hand {
        return Ok(());
    }
    let mut all = read(path).unwrap_or_else(|error| {
        tracing::warn!(%error, "which updates were kept last is begun anew");
        Vec::new()
    });
    all.retain(|one| !one.is_of(ended));
    all.extend(kept);
    all.drain(..all.len().saturating_sub(KEPT_MAX));
    record::write(path, &all, KEPT_BYTES_MAX)
}

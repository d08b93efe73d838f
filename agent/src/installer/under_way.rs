//! What an agent is at: whether an update is over is told by the journal, not by the link `current`.

use super::journal::{Begun, Journal, JournalError, Record};
use crate::clock::Now;
use ledger::moment::Moment;
use std::path::Path;

/// An update that was begun and is not over. What it has put in place is not judged yet, and may be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Which.
    pub begun: Begun,
    /// How far it is, for people.
    pub said: String,
    /// Whether it is in place, and is judged when the host has restarted, or by another program.
    pub is_judged_later: bool,
}

/// Reads it from a journal that an agent may be writing.
///
/// # Errors
/// [`JournalError`]: then it cannot be told.
pub fn under_way(journal: &Path) -> Result<Option<UnderWay>, JournalError> {
    let records = Journal::peek(journal)?;
    match (records.first(), records.last()) {
        (Some(Record::Begun(begun)), Some(last)) if *last != Record::Done => {
            let is_judged_later = matches!(last, Record::Restarting { .. } | Record::HandedOver);
            Ok(Some(UnderWay { begun: begun.clone(), said: said(begun, last), is_judged_later }))
        }
        _ => Ok(None),
    }
}

fn said(begun: &Begun, last: &Record) -> String {
    let step = match last {
        Record::Restarting { deadline_ms, .. } => {
            format!("waits for the host to restart, by {}", Moment(Now::here().as_set(*deadline_ms)))
        }
        Record::HandedOver => "is in place, and is judged by the program that it brings".to_owned(),
        Record::Judged { against: Some(reason) } => format!("is taken back: {reason}"),
        Record::Judged { against: None } => "is kept".to_owned(),
        _ => "is under way, or was interrupted".to_owned(),
    };
    format!("patch {} of {} {step}; nothing else is begun before that is over", begun.patch, begun.product)
}

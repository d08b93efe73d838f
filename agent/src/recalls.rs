//! Recalls of what is on this host: that a patch was withdrawn is proven, is final, and is kept on the
//! disk, so that the host says it whoever can be asked.
//!
//! `recalls.json`. What follows from it is the operator's decision: the agent goes on running what it was
//! told to run, and says so wherever somebody looks. By hand it does not go back to a version that was recalled;
//! an update that fails leaves the host as it was before, whatever became of that.

mod look;

pub use look::{Untold, look};

use crate::data::DataDir;
use crate::files::{self, FileError};
use crate::installer::by_hand::{self, Before};
use ledger::bounded::Sentence;
use ledger::id::PatchId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Recalls remembered.
const RECALLS_MAX: usize = 256;
/// Largest file.
const RECALLS_BYTES_MAX: usize = 512 * 1024;
/// Digits of an id in a command that somebody is to type.
const DIGITS: usize = 12;

/// That a patch was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recall {
    /// Where in the ledger.
    pub height: u64,
    /// Why, as whoever recalled it signed it; none while no node has shown the transaction.
    pub reason: Option<Sentence>,
}

impl fmt::Display for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "recalled: {}", one_line(reason.as_str())),
            None => write!(f, "recalled at height {} (why, no node has shown yet)", self.height),
        }
    }
}

/// A text of somebody else's as it may stand in a line at a terminal: it neither ends the line nor turns
/// the direction of what follows.
fn one_line(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// What is new in what is heard of a recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// That there is one.
    Recall,
    /// Why.
    Reason,
    /// Nothing.
    Nothing,
}

/// The recalls remembered.
#[derive(Debug)]
pub struct Recalls {
    path: PathBuf,
    kept: BTreeMap<PatchId, Recall>,
}

impl Recalls {
    /// Reads them, or begins; nothing is written.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read. One that makes no sense is begun anew: the worst that
    /// follows is that the nodes are asked once more.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let bytes = files::read_if_there(path, RECALLS_BYTES_MAX)?;
        let kept = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "recalls are not readable, begun anew");
            None
        });
        Ok(Self { path: path.to_owned(), kept: kept.unwrap_or_default() })
    }

    /// The recall of a patch, if one is known.
    #[must_use]
    pub fn of(&self, patch: PatchId) -> Option<&Recall> {
        self.kept.get(&patch)
    }

    /// Remembers a recall; what is new in it. What is known of the reason is not forgotten again.
    ///
    /// # Errors
    /// [`FileError`] when it is not on the disk.
    pub fn keep(&mut self, patch: PatchId, recall: Recall) -> Result<News, FileError> {
        let known = self.kept.get(&patch);
        let news = match (known, &recall.reason) {
            (None, _) => News::Recall,
            (Some(_), Some(_)) => News::Reason,
            (Some(_), None) => News::Nothing,
        };
        if known == Some(&recall) || known.is_some_and(|known| known.reason.is_some()) {
            return Ok(News::Nothing);
        }
        let mut kept = self.kept.clone();
        kept.insert(patch, recall);
        while kept.len() > RECALLS_MAX {
            let oldest = kept.iter().min_by_key(|(_, recall)| recall.height).map(|(patch, _)| *patch);
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        files::replace(&self.path, &serde_json::to_vec_pretty(&kept).unwrap_or_default())?;
        // Only what is on the disk is known: else it would never be written, nor said.
        self.kept = kept;
        Ok(news)
    }

    /// What an operator can do about an installed patch that was recalled.
    #[must_use]
    pub fn advice(&self, patch: PatchId, data: &DataDir) -> String {
        let back = by_hand::before(data, patch);
        match back.filter(|before| before.patch.is_none_or(|patch| self.of(patch).is_none())) {
            None => "install another version".to_owned(),
            Some(Before { version, .. }) => {
                let version =
                    if version.as_str().is_empty() { "nothing".to_owned() } else { terminal::escape(version.as_str()) };
                let digits = &patch.to_string()[..DIGITS];
                format!("install another version, or `countersign-agent rollback {digits}` (back to {version})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: PatchId = PatchId([7; 32]);

    fn recall(height: u64, reason: Option<&str>) -> Recall {
        Recall { height, reason: reason.map(Sentence::cut) }
    }

    #[test]
    fn a_recall_is_news_once_and_its_reason_is_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recalls.json");
        let mut recalls = Recalls::open(&path).unwrap();
        assert_eq!(recalls.keep(PATCH, recall(3, None)).unwrap(), News::Recall);
        assert_eq!(recalls.keep(PATCH, recall(4, None)).unwrap(), News::Nothing);
        assert_eq!(recalls.keep(PATCH, recall(3, Some("it eats data"))).unwrap(), News::Reason);
        assert_eq!(recalls.keep(PATCH, recall(3, None)).unwrap(), News::Nothing);
        let again = Recalls::open(&path).unwrap();
        assert_eq!(again.of(PATCH), Some(&recall(3, Some("it eats data"))));
        assert_eq!(again.of(PATCH).unwrap().to_string(), "recalled: it eats data");
        std::fs::write(&path, "no recalls").unwrap();
        assert_eq!(Recalls::open(&path).unwrap().of(PATCH), None);
    }

    /// A disk that was full for a while hides no recall for ever.
    #[test]
    fn what_could_not_be_written_is_news_still() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("away").join("recalls.json");
        let mut recalls = Recalls::open(&path).unwrap();
        recalls.keep(PATCH, recall(3, Some("it eats data"))).unwrap_err();
        assert_eq!(recalls.of(PATCH), None);
        std::fs::create_dir(directory.path().join("away")).unwrap();
        assert_eq!(recalls.keep(PATCH, recall(3, Some("it eats data"))).unwrap(), News::Recall);
        assert!(Recalls::open(&path).unwrap().of(PATCH).is_some());
    }

    #[test]
    fn the_oldest_recalls_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let mut recalls = Recalls::open(&directory.path().join("recalls.json")).unwrap();
        for height in 0..=RECALLS_MAX {
            let patch = PatchId(*ledger::id::Digest::blake3(&height.to_le_bytes()).as_bytes());
            recalls.keep(patch, recall(height as u64, Some("x"))).unwrap();
        }
        assert_eq!(recalls.kept.len(), RECALLS_MAX);
        assert!(recalls.kept.values().all(|recall| recall.height > 0));
    }

    #[test]
    fn a_reason_stays_in_its_line() {
        let shown = recall(3, Some("one\ntwo \u{202e}three")).to_string();
        assert_eq!(shown, "recalled: one two \u{fffd}three");
    }
}

//! What the nodes were told, for whoever looks whether it went out.

use crate::files::{self, FileError, failed};
use ledger::bounded::Sentence;
use ledger::id::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Largest such file: sixteen nodes, and a sentence of each.
const TOLD_BYTES_MAX: usize = 64 * 1024;

/// How far reports made in one millisecond may run ahead of the clock, by a millisecond each; a node takes what is two
/// minutes ahead of its own.
const AHEAD_MS_MAX: u64 = 1_000;

/// What the nodes were told, by their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// When the last report that was taken was made: the next one is later.
    pub at_ms: u64,
    /// Node by node.
    pub nodes: BTreeMap<String, ToldNode>,
}

/// What one node was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldNode {
    /// When it last took a report; 0: never.
    pub taken_at_ms: u64,
    /// Which inventory that was about.
    pub inventory: Option<Digest>,
    /// Why it did not take the last one.
    pub trouble: Option<String>,
    /// It is another organisation's, and is told nothing.
    pub is_strange: bool,
}

impl ToldNode {
    /// It did not take the last report, for this reason; of whatever a node says no more than a sentence is kept.
    pub(super) fn troubled(mut self, why: &str) -> Self {
        self.trouble = Some(Sentence::cut(why).to_string());
        self
    }
}

impl Told {
    /// What was told; nothing where nobody was told anything yet.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let Some(bytes) = files::read_if_there(path, TOLD_BYTES_MAX)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|error| failed("understand", path)(io::Error::other(error)))
    }

    /// When the next report is made: now, and after the last one. One that was made long after now was made by a clock
    /// that was ahead, and whoever went on from there would be refused for as long as that.
    #[must_use]
    pub(super) fn next_at_ms(&self, now_ms: u64) -> u64 {
        match self.at_ms.checked_sub(now_ms) {
            Some(ahead_ms) if ahead_ms < AHEAD_MS_MAX => self.at_ms.saturating_add(1),
            _ => now_ms,
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        files::replace(path, &serde_json::to_vec_pretty(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes may say what they like, and control characters take six times their room.
    #[test]
    fn what_the_worst_nodes_say_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("told.json");
        let trouble = ToldNode::default().troubled("\u{1}\"".repeat(8_192).as_str());
        let node = |number: usize| (format!("https://{number}.{}", "x".repeat(253)), trouble.clone());
        let told = Told { at_ms: 1, nodes: (0..crate::config::NODES_MAX).map(node).collect() };
        told.write(&path).unwrap();
        assert_eq!(Told::read(&path).unwrap(), told);
    }

    #[test]
    fn reports_follow_each_other_and_a_clock_that_was_ahead_silences_nobody() {
        let (now_ms, year_ms) = (1_700_000_000_000, 365 * 24 * 60 * 60 * 1000);
        let told = |at_ms| Told { at_ms, ..Told::default() };
        assert_eq!(told(0).next_at_ms(now_ms), now_ms);
        assert_eq!(told(now_ms - 1).next_at_ms(now_ms), now_ms);
        assert_eq!(told(now_ms).next_at_ms(now_ms), now_ms + 1, "two in one millisecond");
        assert_eq!(told(now_ms + 15).next_at_ms(now_ms), now_ms + 16, "and sixteen");
        assert_eq!(told(now_ms + year_ms).next_at_ms(now_ms), now_ms, "the clock was a year ahead");
        assert_eq!(told(u64::MAX).next_at_ms(u64::MAX), u64::MAX);
    }
}

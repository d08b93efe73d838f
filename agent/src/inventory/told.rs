//! What the nodes were told, for whoever looks whether it went out.

use crate::files::{self, FileError, failed};
use ledger::id::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Largest such file: sixteen nodes, and a sentence of each.
const TOLD_BYTES_MAX: usize = 64 * 1024;

/// What the nodes were told, by their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// When a report was made last: the next one is later.
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

impl Told {
    /// What was told; nothing where nobody was told anything yet.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let Some(bytes) = files::read_if_there(path, TOLD_BYTES_MAX)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).map_err(|error| failed("understand", path)(io::Error::other(error)))
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        files::replace(path, &serde_json::to_vec_pretty(self).unwrap_or_default())
    }
}

//! `[inventory]`: whether, how often and of what this host says what is on it, and to whom.

use super::installers::check_root;
use super::schedule::milliseconds;
use super::{Wrong, wrong};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How often a host looks at what is on it, if nobody says otherwise.
const EVERY_DEFAULT: &str = "1h";
/// The shortest and the longest there is.
const EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(7 * 24 * 60 * 60)];
/// By how much it strays from that, if nobody says otherwise.
const JITTER_PERCENT_DEFAULT: u64 = 20;

/// What is looked at, beside what system it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Packages, and what this agent installed.
    Packages,
    /// Services.
    Services,
    /// What the host is made of.
    Hardware,
    /// Where it is reached.
    Addresses,
}

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// How often it looks, at least.
    pub every: Duration,
    /// By how much it strays from that, so that a fleet does not speak in step.
    pub jitter_percent: u64,
    /// What it looks at.
    pub parts: BTreeSet<Part>,
    /// Beneath which it looks.
    pub root: PathBuf,
    /// To which of its nodes it says it; to the first that it follows when none is named. Nobody can tell beforehand whose
    /// a node is, and one that is another organisation's could say that it wants all.
    pub nodes: Vec<String>,
}

impl Inventory {
    /// Within which time the nodes are told again, if all is well.
    #[must_use]
    pub fn again_within(&self) -> Duration {
        self.every + self.every * u32::try_from(self.jitter_percent).unwrap_or(u32::MAX) / 100
    }
}

/// `[inventory]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawInventory {
    enabled: bool,
    every: String,
    jitter_percent: u64,
    gather: BTreeSet<Part>,
    root: PathBuf,
    nodes: Vec<String>,
}

impl Default for RawInventory {
    fn default() -> Self {
        let (every, gather) =
            (EVERY_DEFAULT.to_owned(), [Part::Packages, Part::Services, Part::Hardware, Part::Addresses]);
        let (jitter_percent, gather) = (JITTER_PERCENT_DEFAULT, gather.into());
        Self { enabled: true, every, jitter_percent, gather, root: "/".into(), nodes: Vec::new() }
    }
}

/// `followed` are the nodes of `[ledger]`. Nothing when the house wants none.
pub(super) fn parse(raw: &RawInventory, followed: &[String]) -> Result<Option<Inventory>, Wrong> {
    let [shortest, longest] = EVERY;
    let every = Duration::from_millis(milliseconds("inventory.every", &raw.every, longest)?);
    if every < shortest {
        return wrong("inventory.every", format!("{}: {} at least", raw.every, humantime::format_duration(shortest)));
    }
    if raw.jitter_percent > 100 {
        return wrong("inventory.jitter_percent", "must be at most 100");
    }
    check_root("inventory.root", &raw.root)?;
    let named: Vec<String> = raw.nodes.iter().map(|node| node.trim_end_matches('/').to_owned()).collect();
    let nodes = if named.is_empty() { followed.iter().take(1).cloned().collect() } else { named };
    if let Some(stranger) = nodes.iter().find(|node| !followed.contains(node)) {
        return wrong("inventory.nodes", format!("{stranger:?} is none of ledger.nodes"));
    }
    let (jitter_percent, parts, root) = (raw.jitter_percent, raw.gather.clone(), raw.root.clone());
    Ok(raw.enabled.then_some(Inventory { every, jitter_percent, parts, root, nodes }))
}

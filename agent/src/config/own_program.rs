//! `[self]`: whether this agent updates itself, and from which product.

use super::schedule::milliseconds;
use super::{CONFIG_BYTES_MAX, Wrong, name, product, wrong};
use crate::files;
use policy::Subscription;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Longest time a new program may take to be healthy.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How this agent updates itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProgram {
    /// The product that is this agent.
    pub of: Subscription,
    /// Its program in the trees of that product.
    pub program: PathBuf,
    /// How long a new program may take to be healthy; then it is ended, and the one before runs again.
    pub deadline: Duration,
}

/// `[self]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOwnProgram {
    product: String,
    #[serde(default = "default_channel")]
    channel: String,
    #[serde(default = "default_program")]
    program: PathBuf,
    #[serde(default = "default_deadline")]
    deadline: String,
}

fn default_channel() -> String {
    "stable".to_owned()
}

fn default_program() -> PathBuf {
    "countersign-agent".into()
}

fn default_deadline() -> String {
    "2m".to_owned()
}

/// `soak`: how long the house's health checks must go on passing, which is part of being healthy.
pub(super) fn parse(raw: Option<&RawOwnProgram>, soak: Duration) -> Result<Option<OwnProgram>, Wrong> {
    let Some(raw) = raw else { return Ok(None) };
    let RawOwnProgram { program, deadline, .. } = raw;
    if program.components().next().is_none() || !program.components().all(|part| matches!(part, Component::Normal(_))) {
        return wrong("self.program", format!("{} must be a path within the tree, without `..`", program.display()));
    }
    let deadline = match milliseconds("self.deadline", deadline, DEADLINE_MAX)? {
        0 => return wrong("self.deadline", "nothing is that quick"),
        ms if Duration::from_millis(ms) <= soak => {
            return wrong("self.deadline", "must be longer than health.soak, or nothing is ever healthy in time");
        }
        ms => Duration::from_millis(ms),
    };
    let of =
        Subscription { product: product("self.product", &raw.product)?, channel: name("self.channel", &raw.channel)? };
    Ok(Some(OwnProgram { of, program: program.clone(), deadline }))
}

/// All of a configuration that says which program is the agent's, whatever else a newer program may find in it.
#[derive(Deserialize)]
struct Bare {
    data_dir: PathBuf,
    #[serde(rename = "self")]
    own: Option<toml::Value>,
}

/// The data directory of a configuration whose agent updates itself. None also where that cannot be told: whoever reads
/// all of it says what is wrong.
#[must_use]
pub fn data_dir(config: &Path) -> Option<PathBuf> {
    let bytes = files::read(config, CONFIG_BYTES_MAX).ok()?;
    let Bare { data_dir, own } = toml::from_str(std::str::from_utf8(&bytes).ok()?).ok()?;
    own?;
    Some(std::path::absolute(config).ok()?.parent()?.join(data_dir))
}

//! The configuration as it stands in the file: every field, every default, nothing believed yet.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `agent.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) data_dir: PathBuf,
    #[serde(default = "default_key")]
    pub(super) key: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unseal: Option<keyring::SecretPlace>,
    pub(super) ledger: Ledger,
    pub(super) host: Host,
    #[serde(default)]
    pub(super) policy: Policy,
    #[serde(default)]
    pub(super) schedule: super::schedule::RawSchedule,
    #[serde(default)]
    pub(super) download: Download,
    #[serde(default)]
    pub(super) sources: Vec<super::sources::RawSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<super::sources::RawCache>,
    #[serde(default)]
    pub(super) parameters: BTreeMap<String, Scalar>,
    #[serde(default)]
    pub(super) subscriptions: Vec<Subscription>,
    #[serde(default)]
    pub(super) services: BTreeMap<String, Service>,
    #[serde(default)]
    pub(super) installers: super::installers::Raw,
    #[serde(default)]
    pub(super) health: super::health::RawHealth,
    #[serde(default)]
    pub(super) reboot: super::reboot::RawReboot,
    #[serde(default, rename = "self", skip_serializing_if = "Option::is_none")]
    pub(super) own: Option<super::own_program::RawOwnProgram>,
    #[serde(default)]
    pub(super) inventory: super::inventory::RawInventory,
    #[serde(default)]
    pub(super) windows: Vec<super::schedule::RawWindow>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    #[serde(default)]
    pub(super) nodes: Vec<String>,
    #[serde(default)]
    pub(super) ca: Option<PathBuf>,
    #[serde(default)]
    pub(super) genesis: Option<PathBuf>,
    #[serde(default)]
    pub(super) server_name: Option<String>,
    #[serde(default = "default_max_age_ms")]
    pub(super) max_age_ms: u64,
    #[serde(default = "default_poll_interval_ms")]
    pub(super) poll_interval_ms: u64,
    #[serde(default = "default_poll_jitter_percent")]
    pub(super) poll_jitter_percent: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Host {
    pub(super) name: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) hardware: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    #[serde(default)]
    pub(super) paused: bool,
    #[serde(default)]
    pub(super) paused_until_ms: Option<u64>,
    #[serde(default)]
    pub(super) reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Download {
    pub(super) minimum_bytes_per_s: u64,
    pub(super) patience_ms: u64,
    pub(super) deadline_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_per_s_max: Option<u64>,
    pub(super) delta_memory_mb: u64,
}

impl Default for Download {
    fn default() -> Self {
        Self {
            minimum_bytes_per_s: 4 * 1024,
            patience_ms: 10_000,
            deadline_ms: 60 * 60 * 1000,
            bytes_per_s_max: None,
            delta_memory_mb: 128,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscription {
    pub(super) product: String,
    pub(super) channel: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<String>,
    #[serde(default)]
    pub(super) container: bool,
    #[serde(default)]
    pub(super) product: Option<String>,
    #[serde(default)]
    pub(super) channel: Option<String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default = "default_stop_timeout_ms")]
    pub(super) stop_timeout_ms: u64,
    #[serde(default = "default_ready_wait_ms")]
    pub(super) ready_wait_ms: u64,
}

/// A parameter's value: people write ports as numbers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Number(i64),
    Text(String),
}

impl Scalar {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

fn default_key() -> PathBuf {
    "endpoint.key".into()
}

fn default_max_age_ms() -> u64 {
    ledger::proof::MAX_AGE_MS_DEFAULT
}

fn default_poll_interval_ms() -> u64 {
    60_000
}

fn default_poll_jitter_percent() -> u64 {
    20
}

fn default_stop_timeout_ms() -> u64 {
    10_000
}

fn default_ready_wait_ms() -> u64 {
    300
}

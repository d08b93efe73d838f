//! What is installed, and which of it was recalled.

use crate::config::Config;
use crate::data::DataDir;
use crate::files::FileError;
use crate::installer::installs;
use crate::recalls::{Recall, Recalls};
use ledger::bounded::{Name, Product, Sentence, Version};
use ledger::id::PatchId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Something installed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstalledStatus {
    /// Its product.
    pub product: Product,
    /// Its channel.
    pub channel: Name,
    /// Its version.
    pub version: Version,
    /// Its release counter.
    pub release: u64,
    /// The patch that brought it; none for a baseline.
    pub patch: Option<PatchId>,
    /// Where it stands.
    pub tree: PathBuf,
    /// That it was recalled since, which is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<RecalledStatus>,
}

/// Something installed was recalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecalledStatus {
    /// Where in the ledger.
    pub height: u64,
    /// Why, if a node has shown it.
    pub reason: Option<Sentence>,
    /// What to do about it.
    pub hint: String,
}

impl RecalledStatus {
    pub(crate) fn new(Recall { height, reason }: Recall, hint: String) -> Self {
        Self { height, reason, hint }
    }
}

impl InstalledStatus {
    /// That it was recalled, in a sentence, if it was.
    #[must_use]
    pub fn recall(&self) -> Option<String> {
        let RecalledStatus { height, reason, .. } = self.recalled.clone()?;
        Some(format!("{} {} was {}", self.product, self.version, Recall { height, reason }))
    }
}

/// Everything installed, and which of it was recalled.
pub(crate) fn installed(config: &Config) -> Result<Vec<InstalledStatus>, FileError> {
    let data = DataDir::at(config.data_dir.clone());
    let (all, recalls) = (installs::all_trees(&data.installs())?, Recalls::open(&data.recalls())?);
    let status = |(of, installed): (policy::Subscription, installs::InstalledTree)| {
        let installs::InstalledTree { tree, meta, .. } = installed;
        let recalled = meta.patch.and_then(|patch| {
            let recall = recalls.of(patch)?.clone();
            Some(RecalledStatus::new(recall, recalls.advice(patch, &data)))
        });
        let policy::Subscription { product, channel } = of;
        let installs::VersionMeta { version, release, patch, .. } = meta;
        InstalledStatus { product, channel, version, release, patch, tree, recalled }
    };
    Ok(all.into_iter().map(status).collect())
}

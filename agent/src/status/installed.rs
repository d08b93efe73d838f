//! What is installed, and which of it was recalled.

use crate::config::Config;
use crate::data::DataDir;
use crate::installer::installs;
use crate::installer::under_way::{UnderWay, under_way};
use crate::recalls::{Recall, Recalls};
use crate::settled::chain;
use crate::status::known;
use ledger::bounded::{Name, Product, Sentence, Version};
use ledger::id::PatchId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use terminal::escape;

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
    /// That its update is not over, and how far it is: it is not judged yet, and may be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_over: Option<String>,
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
        let version = escape(self.version.as_str());
        Some(format!("{} {version} was {}", self.product, Recall { height, reason }))
    }
}

/// Everything installed, and which of it was recalled. What of it cannot be read is named, and hides nothing else.
pub(crate) fn installed(config: &Config, trouble: &mut Vec<String>) -> Vec<InstalledStatus> {
    let data = DataDir::at(config.data_dir.clone());
    let recalls = known(Recalls::open(&data.recalls()).map(Some), trouble);
    let mut all = Vec::new();
    for (of, found) in known(installs::each(&data.installs()), trouble) {
        let policy::Subscription { product, channel } = of;
        let installs::InstalledTree { tree, meta, .. } = match found {
            Ok(Some(installed)) => installed,
            Ok(None) => continue,
            Err(error) => {
                trouble.push(format!("{product} (channel {channel}): {}", chain(&error)));
                continue;
            }
        };
        let recalled = meta.patch.and_then(|patch| {
            let recalls = recalls.as_ref()?;
            Some(RecalledStatus::new(recalls.of(patch)?.clone(), recalls.advice(patch, &data)))
        });
        let installs::VersionMeta { version, release, patch, .. } = meta;
        all.push(InstalledStatus { product, channel, version, release, patch, tree, not_over: None, recalled });
    }
    all
}

/// The same, and the update that is not over: what it put in place is marked as not judged.
pub(crate) fn installed_and_judged(
    config: &Config,
    trouble: &mut Vec<String>,
) -> (Vec<InstalledStatus>, Option<UnderWay>) {
    // In this order: what is put in place between the two looks is then seen to be under way.
    let mut all = installed(config, trouble);
    let under_way = under_way(&DataDir::at(config.data_dir.clone()).journal()).unwrap_or_else(|error| {
        trouble.push(chain(&error));
        None
    });
    for installed in &mut all {
        let of_it = under_way.as_ref().filter(|under_way| Some(under_way.begun.patch) == installed.patch);
        installed.not_over = of_it.map(|under_way| under_way.said.clone());
    }
    (all, under_way)
}

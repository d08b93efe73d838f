//! What was recalled and runs here, for whoever looks after many hosts.

use super::fact;
use crate::data::DataDir;
use crate::files::FileError;
use crate::installer::installs;
use crate::recalls::Recalls;
use crate::settled::chain;
use ledger::id::PatchId;
use ledger::inventory::Unhealthy;
use std::collections::BTreeMap;

/// Since when this agent sees that what is installed was recalled, by the host's clock.
#[derive(Debug, Default)]
pub(super) struct RecalledSince(BTreeMap<PatchId, u64>);

impl RecalledSince {
    /// What is installed and was recalled. What cannot be read is said by `status` and `doctor`, and hides nothing else.
    pub(super) fn see(&mut self, data: &DataDir, now_ms: u64) -> Vec<Unhealthy> {
        let looked =
            Recalls::open(&data.recalls()).and_then(|recalls| Ok((recalls, installs::each(&data.installs())?)));
        let unread = |error: &FileError| {
            tracing::warn!(error = chain(error), "whether what is installed was recalled is not said to the nodes");
        };
        let Ok((recalls, installed)) = looked.inspect_err(unread) else { return Vec::new() };
        let before = std::mem::take(&mut self.0);
        let mut all = Vec::new();
        for (of, found) in installed {
            let patch = found.ok().flatten().and_then(|tree| tree.meta.patch);
            let Some((patch, recall)) = patch.and_then(|patch| Some((patch, recalls.of(patch)?))) else { continue };
            let since_ms = before.get(&patch).copied().unwrap_or(now_ms);
            self.0.insert(patch, since_ms);
            let (product, channel) = (fact(&of.product.to_string()), fact(of.channel.as_str()));
            all.push(Unhealthy { product, channel, since_ms, why: fact(&recall.to_string()) });
        }
        all
    }
}

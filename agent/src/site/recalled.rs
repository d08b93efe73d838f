//! What an endpoint knows of recalls.

use super::Site;
use crate::recalls::{self, Recall};
use crate::settled::chain;
use ledger::id::PatchId;

impl Site {
    /// Whether a patch was recalled: what is known, or else what the nodes prove now. Where none can be asked,
    /// nothing is known.
    pub(crate) async fn look_for_recall(&mut self, patch: PatchId) -> Option<Recall> {
        let known = self.recalls.of(patch).cloned();
        if known.as_ref().is_some_and(|recall| recall.reason.is_some()) {
            return known;
        }
        match recalls::look(patch, &self.sources, &self.heads, &self.trust).await {
            Ok(Some((recall, offer))) => {
                self.keep_proof(&offer);
                self.take_note_of_recall(patch, recall);
            }
            Ok(None) => {}
            Err(untold) => tracing::debug!(%patch, why = chain(&untold), "whether it was recalled cannot be told"),
        }
        self.recalls.of(patch).cloned()
    }

    /// Said aloud once, however often the agent is started.
    fn take_note_of_recall(&mut self, patch: PatchId, recall: Recall) {
        let shown = recall.to_string();
        match self.recalls.keep(patch, recall) {
            Ok(true) => {
                let hint = self.recalls.advice(patch, &self.data);
                tracing::warn!(%patch, hint, "RECALLED: a patch that this host has was {shown}");
            }
            Ok(false) => {}
            Err(error) => tracing::error!(error = chain(&error), "that a patch was recalled is not on the disk"),
        }
    }
}

//! What an endpoint knows of recalls.

use super::Site;
use crate::installer::installs;
use crate::proofs::Offer;
use crate::recalls::{self, News, Recall};
use crate::settled::chain;
use ledger::id::PatchId;
use ledger::proof::{HostClock, ProofBundle, ProofError};

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

    /// A proof that somebody gave shows that its patch was recalled. That is final: its header is put where it cannot be
    /// forgotten, so that no older proof of the patch is taken afterwards, and what was recalled and is on this host is
    /// said to be. The proof is refused all the same, whatever becomes of this.
    pub(crate) fn heed(&mut self, offer: &Offer) {
        let Ok(bundle) = ProofBundle::parse(&offer.proof) else { return };
        let fresh = bundle.verify(&self.trust, offer.clock);
        if matches!(fresh, Err(ProofError::Recalled { .. }))
            && let Ok(header) = bundle.finalized_header(&self.trust, offer.clock)
        {
            let learnt = self.heads.learn(&bundle.epochs).map_err(|error| chain(&error));
            let seen = learnt.and_then(|_| self.heads.see(&header).map_err(|error| chain(&error)));
            if let Err(error) = seen.and_then(|()| self.heads.persist().map_err(|error| chain(&error))) {
                tracing::error!(patch = %offer.patch, error, "the header of a recall is not remembered");
            }
        }
        // However old: who was replaced since is not believed, and what was recalled stays so.
        let then = HostClock { max_age_ms: u64::MAX, height_seen: 0, ..offer.clock };
        let installed = installs::all_trees(&self.data.installs()).unwrap_or_default();
        if let Ok(Some(at)) = bundle.recalled(&self.trust, then)
            && installed.values().any(|tree| tree.meta.patch == Some(offer.patch))
        {
            self.take_note_of_recall(offer.patch, Recall { height: at.height, reason: None });
        }
    }

    /// Said aloud once, however often the agent is started.
    fn take_note_of_recall(&mut self, patch: PatchId, recall: Recall) {
        let shown = recall.to_string();
        match self.recalls.keep(patch, recall) {
            Ok(News::Recall) => {
                let hint = self.recalls.advice(patch, &self.data);
                tracing::warn!(%patch, hint, "RECALLED: a patch that this host has was {shown}");
                self.inventory.want();
            }
            // Whoever was told that it was recalled is told why, too.
            Ok(News::Reason) => self.inventory.want(),
            Ok(News::Nothing) => {}
            Err(error) => tracing::error!(error = chain(&error), "that a patch was recalled is not on the disk"),
        }
    }
}

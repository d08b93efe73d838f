//! What an endpoint knows of recalls.

use super::Site;
use crate::files::FileError;
use crate::installer::installs;
use crate::proofs::{self, Offer};
use crate::recalls::{self, Recall};
use crate::settled::chain;
use ledger::id::PatchId;
use ledger::proof::ProofBundle;

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

    /// Takes in what a proof says that somebody brought, whatever comes of it: how far the ledger is, and that an installed
    /// patch was recalled. A host that no node reaches hears of it in no other way, and an older proof must not undo it.
    pub(crate) fn heed(&mut self, offer: &Offer) -> Result<(), FileError> {
        let Ok(bundle) = ProofBundle::parse(&offer.proof) else { return Ok(()) };
        let Ok(header) = bundle.finalized_header(&self.trust, offer.clock) else { return Ok(()) };
        let heeded = self.heads.learn(&bundle.epochs).map_err(|error| chain(&error));
        // What contradicts what is known is refused with the proof, and said there.
        let heeded = heeded.and_then(|_| self.heads.see(&header).map_err(|error| chain(&error)));
        if let Err(why) = heeded {
            tracing::warn!(patch = %offer.patch, why, "a proof that does not fit what this host knows");
            return Ok(());
        }
        self.heads.persist()?;
        if proofs::claimed_patch(&offer.proof) == Some(offer.patch)
            && let Ok(Some(at)) = bundle.recalled(&self.trust, offer.clock)
            && installs::all_trees(&self.data.installs())?.values().any(|tree| tree.meta.patch == Some(offer.patch))
        {
            self.take_note_of_recall(offer.patch, Recall { height: at.height, reason: None });
        }
        Ok(())
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

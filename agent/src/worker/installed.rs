//! How what is installed stands in the ledger: whoever runs a patch is told when it is recalled.

use super::Worker;
use crate::clock;
use crate::files::FileError;
use crate::follow::sources::Listed;
use crate::installer::installs;
use ledger::id::PatchId;
use policy::Subscription;
use std::collections::{BTreeMap, BTreeSet};

/// How often it is proven anew that what is installed was not recalled, though the lists of the nodes say so:
/// a node that keeps a recall secret keeps it no longer than this from whoever has another node to ask.
const PROVE_AGAIN_MS: u64 = 15 * 60 * 1000;
/// The same while the lists do not have it as approved any more, or its reason is not known yet.
const LOOK_AGAIN_MS: u64 = 60 * 1000;

/// What is known of how installed patches stand.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Installed, and not among what a node lists as approved.
    unlisted: BTreeSet<PatchId>,
    looked: BTreeMap<PatchId, Look>,
}

/// When it was proven last, by how long the host has run, and whether it was listed then.
#[derive(Clone, Copy, Debug)]
struct Look {
    at_ms: u64,
    unlisted: bool,
}

impl Looks {
    fn is_due(&self, patch: PatchId, hurry: bool, running_ms: u64) -> bool {
        let Some(look) = self.looked.get(&patch) else { return true };
        let unlisted = self.unlisted.contains(&patch);
        let wait_ms = if unlisted || hurry { LOOK_AGAIN_MS } else { PROVE_AGAIN_MS };
        (unlisted && !look.unlisted) || running_ms >= look.at_ms.saturating_add(wait_ms)
    }

    fn looked(&mut self, patch: PatchId, running_ms: u64) {
        self.looked.insert(patch, Look { at_ms: running_ms, unlisted: self.unlisted.contains(&patch) });
    }

    fn forget_all_but(&mut self, installed: &BTreeSet<PatchId>) {
        self.unlisted.retain(|patch| installed.contains(patch));
        self.looked.retain(|patch, _| installed.contains(patch));
    }
}

impl Worker {
    /// Takes note of whether what is installed of a subscription is among what a node lists as approved:
    /// a list proves nothing, and says when to ask for a proof.
    pub(super) fn hear_of_installed(&mut self, of: &Subscription, listed: &[Listed]) -> Result<(), FileError> {
        let installed = installs::installed(&self.site.data().installs(), of)?;
        let Some(patch) = installed.and_then(|installed| installed.meta.patch) else { return Ok(()) };
        match listed.iter().any(|listed| listed.patch == patch) {
            true => self.looks.unlisted.remove(&patch),
            false => self.looks.unlisted.insert(patch),
        };
        Ok(())
    }

    /// Takes note that a patch was proven just now.
    pub(super) fn proven_just_now(&mut self, patch: PatchId) {
        self.looks.unlisted.remove(&patch);
        self.looks.looked(patch, clock::running_ms());
    }

    /// Looks after what is installed: when there is reason to, or the last look was long ago, the nodes are asked to
    /// prove how it stands; of one patch at a time, for somebody at the host may want something. A recall is final: of
    /// what was recalled, nobody is asked again. What cannot be read of one product hides no other.
    pub(super) async fn follow_installed(&mut self) -> Result<(), FileError> {
        let all = installs::each(&self.site.data().installs())?.into_iter();
        let of_a_patch = |found: Option<installs::InstalledTree>| found.and_then(|tree| tree.meta.patch);
        let installed: BTreeSet<PatchId> = all.filter_map(|(_, found)| of_a_patch(found.ok().flatten())).collect();
        self.looks.forget_all_but(&installed);
        let running_ms = clock::running_ms();
        let is_due = |patch: &PatchId| {
            let known = self.site.recalls.of(*patch);
            let (is_told, hurry) = (known.is_some_and(|recall| recall.reason.is_some()), known.is_some());
            !is_told && self.looks.is_due(*patch, hurry, running_ms)
        };
        if let Some(patch) = installed.into_iter().find(is_due) {
            self.site.look_for_recall(patch).await;
            self.looks.looked(patch, clock::running_ms());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: PatchId = PatchId([7; 32]);

    #[test]
    fn nobody_is_asked_all_the_time_and_everybody_now_and_then() {
        let mut looks = Looks::default();
        assert!(looks.is_due(PATCH, false, 0), "never looked");
        looks.looked(PATCH, 0);
        assert!(!looks.is_due(PATCH, false, PROVE_AGAIN_MS - 1));
        assert!(looks.is_due(PATCH, false, PROVE_AGAIN_MS), "a node may keep it secret");
        assert!(looks.is_due(PATCH, true, LOOK_AGAIN_MS), "why, is not known yet");
        looks.unlisted.insert(PATCH);
        assert!(looks.is_due(PATCH, false, 1), "it was listed, and is not any more");
        looks.looked(PATCH, 1);
        assert!(!looks.is_due(PATCH, false, LOOK_AGAIN_MS), "a hold may last");
        assert!(looks.is_due(PATCH, false, 1 + LOOK_AGAIN_MS));
        looks.forget_all_but(&BTreeSet::new());
        assert!(looks.is_due(PATCH, false, 2), "installed again");
    }
}

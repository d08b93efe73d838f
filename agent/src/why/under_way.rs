//! What the agent is at, and what `current` leads to.

use super::{Checked, Held, Verdict};
use crate::files::FileError;
use crate::installer::installs::{self, InstalledTree};
use crate::installer::journal::{Begun, JournalError};
use crate::installer::under_way;
use ledger::id::PatchId;
use policy::Subscription;

impl Held<'_> {
    /// Where `current` leads to this patch, if it does somewhere.
    pub(super) fn there(&self, patch: PatchId) -> Result<Option<There>, FileError> {
        let all = installs::all_trees(&self.data().installs())?;
        Ok(all.into_iter().find(|(_, tree)| tree.meta.patch == Some(patch)).map(|(of, tree)| There { of, tree }))
    }

    pub(super) fn under_way(&self) -> Result<UnderWay, FileError> {
        let (open, damaged, said) = match under_way::under_way(&self.data().journal()) {
            Ok(None) => (None, false, Ok("no other update is".to_owned())),
            Ok(Some(under_way)) => (Some(under_way.begun), false, Err(under_way.said)),
            Err(JournalError::File(error)) => return Err(error),
            Err(damaged) => (None, true, Err(damaged.to_string())),
        };
        let (verdict, said) = said.map_or_else(|said| (Verdict::No, said), |said| (Verdict::Yes, said));
        Ok(UnderWay { check: Checked { part: "agent", check: "under way", verdict, said }, open, damaged })
    }
}

/// What the agent is at.
pub(super) struct UnderWay {
    pub(super) check: Checked,
    /// The update that was begun and is not over.
    pub(super) open: Option<Begun>,
    /// What it is at cannot be told.
    pub(super) damaged: bool,
}

impl UnderWay {
    pub(super) fn open_patch(&self) -> Option<PatchId> {
        self.open.as_ref().map(|begun| begun.patch)
    }

    /// What is in place and not judged yet may be taken back: it does not count.
    pub(super) fn is_over(&self, patch: PatchId) -> bool {
        !self.damaged && self.open_patch() != Some(patch)
    }
}

/// What `current` leads to.
pub(super) struct There {
    of: Subscription,
    tree: InstalledTree,
}

impl There {
    pub(super) fn shown(&self) -> String {
        format!("the link `current` of {} ({})", self.of.product, self.of.channel)
    }

    pub(super) fn answer(&self, under_way: &UnderWay, against_file: Option<String>) -> String {
        let of_it = |begun: &&Begun| begun.product == self.of.product && begun.channel == self.of.channel;
        match (under_way.open.as_ref().filter(of_it), against_file) {
            (Some(_), _) => format!("it is installed, and what replaces it is under way: {}", under_way.check.said),
            (None, Some(against)) => format!("it is installed; this file proves nothing of it, because of {against}"),
            (None, None) => {
                format!("it is installed ({} {})", self.of.product, terminal::escape(self.tree.meta.version.as_str()))
            }
        }
    }
}

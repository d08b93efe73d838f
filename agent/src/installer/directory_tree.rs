//! Directory trees: one archive, unpacked beside the version that runs. The holding is the tree, so
//! there is nothing to put in place: the engine's own switch of `current` is the one step.

use super::install::{Held, Install, Job, Look, PutError, Story};
use super::tree;
use super::unpack::{LIMITS, Limits};
use crate::files::FileError;
use crate::settled::Refusal;
use ledger::patch::{InstallerKind, PatchManifest};
use ledger::receipt::{Reason, ReasonCode};
use std::path::Path;

/// Installs directory trees.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectoryTree {
    limits: Limits,
}

impl Default for DirectoryTree {
    fn default() -> Self {
        Self { limits: LIMITS }
    }
}

impl Install for DirectoryTree {
    fn kind(&self) -> InstallerKind {
        InstallerKind::DirectoryTree
    }

    fn lacks(&self) -> Option<String> {
        None
    }

    fn plan(&self, manifest: &PatchManifest) -> Result<(), Refusal> {
        match manifest.payloads().len() {
            1 => Ok(()),
            count => {
                let detail = format!("a directory tree is one archive, this patch has {count}");
                Err(Refusal::new(ReasonCode::InstallerMissing, detail))
            }
        }
    }

    fn prepare(&self, job: &Job, held: Vec<Held>, holding: &Path, _: &mut Story) -> Result<(), Refusal> {
        held.into_iter().try_for_each(|held| tree::unpack(held, holding, self.limits, job.deadline))
    }

    fn put(&self, _: &Job, _: &mut Story) -> Result<(), PutError> {
        Ok(())
    }

    fn look(&self, job: &Job) -> Result<Look, FileError> {
        // Trees are never changed in place: which one is installed is all there is to see.
        let way_back = job.begun.from.as_ref().is_none_or(|from| job.place.has(from));
        Ok(Look { old: true, new: job.place.has(&job.begun.to), way_back, ..Look::default() })
    }

    fn prove_new(&self, _: &Job) -> Result<(), Reason> {
        Ok(())
    }

    fn restore(&self, _: &Job, _: &mut Story) -> Result<(), String> {
        Ok(())
    }

    fn prove_old(&self, job: &Job) -> Result<(), String> {
        job.begun.from.as_ref().map_or(Ok(()), |from| tree::check(&job.place, from))
    }

    fn settle(&self, _: &Job) -> Result<(), FileError> {
        Ok(())
    }
}

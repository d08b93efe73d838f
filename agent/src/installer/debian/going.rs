//! There and back: what dpkg is told to do.

use super::super::footprint::Footprint;
use super::super::install::{Job, Story};
use super::closure::{self, Closure};
use super::command::DpkgError;
use super::database::Database;
use super::{Debian, install_failed};
use crate::settled::reason;
use ledger::receipt::{Reason, ReasonCode};
use std::path::Path;
use std::time::Duration;

impl Debian {
    /// The closure, all of it and nothing else.
    pub(super) fn install_new(
        &self,
        closure: &Closure,
        job: &Job,
        before: &Database,
        story: &mut Story,
    ) -> Result<(), Reason> {
        for go in closure.new_goes(&job.holding()) {
            self.dpkg.install(&go, job.deadline.left(), story).map_err(|error| install_failed(&error))?;
        }
        let after = self.dpkg.database().map_err(|error| install_failed(&error))?;
        match Database::first_difference(before, &after, closure) {
            None => Ok(()),
            Some(other) => Err(reason(ReasonCode::InstallFailed, format!("{other}, which the patch does not name"))),
        }
    }

    /// The packages of before, and none that was not there.
    pub(super) fn go_back(&self, closure: &Closure, holding: &Path, story: &mut Story) -> Result<(), DpkgError> {
        for go in closure.old_goes(holding) {
            self.dpkg.install(&go, Duration::MAX, story)?;
        }
        let database = self.dpkg.database()?;
        let came = |package: &&closure::Package| {
            package.old.is_none() && database.state(&package.name, &package.architecture).is_some()
        };
        let new: Vec<_> = closure.changes().filter(came).map(closure::Package::instance).collect();
        if new.is_empty() { Ok(()) } else { self.dpkg.purge(&new, story) }
    }

    /// Says which configuration files of the host's own were kept, and where the package's are.
    pub(super) fn tell_kept(&self, footprint: &Footprint, story: &mut Story) {
        for path in footprint.paths() {
            let dist = format!("{path}.dpkg-dist");
            if self.root.mark(&dist).is_ok_and(|mark| mark != *footprint.get(&dist)) {
                story.tell(format!("/{path} was changed on this host and is kept; the package's is /{dist}"));
            }
        }
    }
}

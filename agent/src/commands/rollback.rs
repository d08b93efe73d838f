//! `rollback`: take back the last update.

use super::settling::{settle, show};
use super::{ConfigArgs, block_on};
use crate::failure::{Failure, OK};
use agent::worker::Wish;
use clap::Args;
use ledger::receipt::Outcome;
use terminal::Answer;

/// Take back the last update of a product that was kept: the version before, as it was, and its services. It waits for no
/// window; a receipt says that it was done by hand, and the agent does not install the patch again by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign-agent rollback 66c5d1
  countersign-agent rollback 66c5d1 -o json

Directory trees, container images and images in slots can be taken back: the version before is kept until the next
update. Where a patch was put into the place of what was there (packages, file sets, what scripts made), that was
thrown away when the patch was kept. Nothing is taken back to a version that was recalled: the nodes are asked, where
they answer.
A running agent is asked to do it; without one, this command does it itself.
Exit codes: 0 taken back; 1 it could not be brought to its end; 3 nothing was done.")]
pub(super) struct Rollback {
    /// The patch of that update: its id, or the beginning of it.
    patch: String,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Rollback {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Some(config) = self.config.read_as_the_agent()? else { return Ok(Answer::silent(OK)) };
        let answered = block_on(settle(config, Wish::TakeBack { patch: self.patch }))?;
        Ok(show(&answered, Outcome::RolledBack))
    }
}

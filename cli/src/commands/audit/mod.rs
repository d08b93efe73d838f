//! `countersign audit`: whether the ledger was forked, and who signed two things.

mod accuse;
mod check;
mod fork;
mod side;
mod validating;
mod view;

use super::wait_for;
use crate::failure::Failure;
use crate::options::Global;
use crate::trust::Trust;
use clap::Subcommand;
use std::path::Path;
use terminal::Answer;

/// Find out whether the ledger was forked and who did it, check evidence, accuse.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Compare two histories: nodes, head files or proof files
    Fork(fork::Fork),
    /// Check an evidence file against a trust root, without a network
    Check(check::Check),
    /// Bring the evidence of a file onto the ledger
    Accuse(accuse::Accuse),
}

impl AuditCommand {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        match self {
            Self::Fork(fork) => wait_for(fork.run(global)),
            Self::Check(check) => check.run(global),
            Self::Accuse(accuse) => wait_for(accuse.run(global)),
        }
    }
}

/// The trust root a comparison or a check starts from.
fn trust_root(given: Option<&Path>, global: &Global) -> Result<Trust, Failure> {
    match given {
        Some(path) => Ok(Trust::read(path)?),
        None => global
            .trust()?
            .ok_or_else(|| Failure::usage("no trust root given", "say which ledger you trust with --trust GENESIS")),
    }
}

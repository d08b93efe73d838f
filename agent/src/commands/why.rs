//! `why`: why this host has a patch, or not.

use super::apply::read_proof;
use super::{ConfigArgs, answer, block_on, running};
use crate::failure::{Failure, OK, REFUSED};
use agent::site;
use agent::why::Held;
use clap::Args;
use std::path::PathBuf;
use terminal::Answer;

/// Say why this host has a patch, or not: every check of its proof and of this host, with its verdict.
///
/// Answered from what lies on this host's disk, whether an agent runs or not: the proof that was offered
/// last, what is installed, the configuration, what was tried. A running agent is asked for the newest header it
/// has seen, which proofs must not be older than; nobody else is asked, and nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign-agent why 66c5d1
  countersign-agent why 66c5d1 --from valkey.proof
  countersign-agent why 66c5d1 -o json

Exit codes: 0 it is installed, or nothing is in the way; 1 something is, or its update is not over, or it is
installed but was recalled: the answer says so.")]
pub(super) struct Why {
    /// The patch: its id, or the beginning of one that this host knows of.
    patch: String,
    /// Its proof file; without, the one that was offered last.
    #[arg(long, value_name = "FILE.proof")]
    from: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Why {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Some(config) = self.config.read_as_the_agent()? else { return Ok(Answer::silent(OK)) };
        let proof = self.from.as_deref().map(read_proof).transpose()?;
        let (trust, heads) = site::remembered(&config)?;
        let running = block_on(async { Ok(running(&config).await) })?;
        let held = Held { config: &config, trust: &trust, heads, running };
        let why = held.why(held.find(&self.patch)?, proof)?;
        Ok(answer(&why).with_code(if why.well { OK } else { REFUSED }))
    }
}

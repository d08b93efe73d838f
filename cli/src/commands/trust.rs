//! `countersign trust`: look into a trust root.

use crate::failure::Failure;
use crate::trust::{Trust, TrustView};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use terminal::Answer;

/// Look into a trust root.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Print a genesis file: organisations, keys, validators, approval rules
    Show(Show),
}

/// Show a trust root.
#[derive(Debug, Args)]
#[command(after_help = "\
Compare the chain id with the one you were told, over another channel than the file came.
JSON: {\"chain_id\", \"genesis\"}

Example:
  countersign trust show genesis")]
pub struct Show {
    /// The genesis file
    file: PathBuf,
}

impl TrustCommand {
    pub(super) fn run(&self) -> Result<Answer, Failure> {
        let Self::Show(Show { file }) = self;
        let trust = Trust::read(file)?;
        let view = TrustView::new(&trust);
        Ok(Answer::new(view.text(), &view))
    }
}

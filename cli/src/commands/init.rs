//! `countersign init`: build a genesis file.

use crate::failure::Failure;
use crate::files;
use crate::genesis_spec;
use clap::Args;
use ledger::id::ChainId;
use serde::Serialize;
use std::path::PathBuf;
use terminal::{Answer, note};

/// Build a genesis file.
#[derive(Debug, Args)]
#[command(
    override_usage = "\
countersign init [OPTIONS] --spec <FILE> --out <FILE>
       countersign init [OPTIONS] --example",
    after_help = "\
The genesis file is the trust root that every node, endpoint and auditor holds; its hash, the chain id, is printed.
JSON: {\"chain_id\", \"ledger\", \"file\"}; with --example {\"example\"}

Examples:
  countersign init --example > ledger.toml
  countersign init --spec ledger.toml --out genesis"
)]
pub struct Init {
    /// The description, TOML
    #[arg(long, value_name = "FILE", required_unless_present = "example", requires = "out")]
    spec: Option<PathBuf>,
    /// Where the genesis file is written
    #[arg(long, value_name = "FILE", requires = "spec")]
    out: Option<PathBuf>,
    /// Print a description with everything in it, explained
    #[arg(long, conflicts_with_all = ["spec", "out"])]
    example: bool,
}

#[derive(Serialize)]
struct Example {
    example: &'static str,
}

#[derive(Serialize)]
struct Initialised {
    chain_id: ChainId,
    ledger: String,
    file: String,
}

impl Init {
    pub(super) fn run(&self) -> Result<Answer, Failure> {
        let (Some(spec), Some(out)) = (&self.spec, &self.out) else {
            return Ok(Answer::new(genesis_spec::EXAMPLE.to_owned(), &Example { example: genesis_spec::EXAMPLE }));
        };
        let block = genesis_spec::build(spec)?;
        files::write_new(out, &block.genesis.bytes(), files::PUBLIC_MODE)?;
        let view = Initialised {
            chain_id: block.chain_id,
            ledger: block.genesis.name.to_string(),
            file: out.display().to_string(),
        };
        note(&format!("The genesis of ledger {} is in {}. Its chain id:", view.ledger, view.file));
        Ok(Answer::new(format!("{}\n", view.chain_id), &view))
    }
}

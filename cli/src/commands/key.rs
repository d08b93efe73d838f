//! `countersign key`: make and show key files.

use crate::failure::Failure;
use crate::key_file::{KeyFile, KeyRole, PublicPart};
use clap::{Args, Subcommand};
use ledger::bounded::Name;
use std::path::PathBuf;
use terminal::Answer;

/// Make and show key files.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and write it to a file of its own, for its owner's eyes only
    New(New),
    /// Print the public parts of a key file
    Show(Show),
}

/// Make a key.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is TOML (role, organisation, public_key, and secret_key, the 32-byte seed of RFC 8032; keys in hex) with mode \
0600, and never replaces another.
JSON: {\"role\", \"organisation\", \"public_key\"}

Example:
  countersign key new --role approver --organisation bank \\
      --out approver.key")]
pub struct New {
    /// What the key is for; a key has one use
    #[arg(long, value_enum)]
    role: KeyRole,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    organisation: Name,
    /// Where it is written
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Show a key.
#[derive(Debug, Args)]
#[command(after_help = "\
What it prints is a key file without the secret, good enough for `countersign init`.
JSON: {\"role\", \"organisation\", \"public_key\"}

Example:
  countersign key show approver.key > approver.pub")]
pub struct Show {
    /// The key file
    file: PathBuf,
}

impl KeyCommand {
    pub(super) fn run(&self) -> Result<Answer, Failure> {
        match self {
            Self::New(New { role, organisation, out }) => {
                let key = KeyFile::generate(*role, organisation.clone())?;
                key.write(out)?;
                Ok(Answer::new(key.public.toml(), &key.public))
            }
            Self::Show(Show { file }) => {
                let public = PublicPart::read(file)?;
                Ok(Answer::new(public.toml(), &public))
            }
        }
    }
}

//! `countersign propose`: ask the members to change who they are, or the law they live under.

use super::deliver::deliver;
use super::proposals::{list_members, tell_standing};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::options::{Global, Signing};
use crate::proposal_spec;
use crate::sign::Signer;
use crate::time;
use crate::view::{Owners, changes_in_words};
use clap::Args;
use keyring::KeyRole;
use ledger::transaction::Payload;
use serde::Serialize;
use std::path::PathBuf;
use terminal::{Answer, note};

/// Propose changes.
#[derive(Debug, Args)]
#[command(
    override_usage = "\
countersign propose [OPTIONS] <FILE>
       countersign propose --example",
    after_help = "\
What is signed is shown first, each change in words. A proposal is its organisation's ballot for it, too. When more \
than two thirds of the organisations that have a governor are for it, all its changes take place at once, in their \
order; when one is not possible any more, none does.
JSON: {\"proposal\", \"transaction\", \"position\": {\"height\", \"index\", \"time_ms\"}}, or \"file\" with --offline; \
with --example {\"example\"}

Examples:
  countersign propose --example > change.toml
  countersign propose change.toml --key governor.key
  countersign propose change.toml --key governor.key --offline \\
      --out change.tx"
)]
pub struct Propose {
    /// The description of the changes, TOML
    #[arg(value_name = "FILE", required_unless_present = "example")]
    file: Option<PathBuf>,
    /// Print a description with every kind of change in it, explained
    #[arg(long, conflicts_with_all = ["file", "offline"])]
    example: bool,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Serialize)]
struct Example {
    example: &'static str,
}

impl Propose {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let Some(file) = &self.file else {
            let example = proposal_spec::EXAMPLE;
            return Ok(Answer::new(example.to_owned(), &Example { example }));
        };
        let signer = Signer::new(global, &self.signing, &[KeyRole::Governor])?;
        let proposal = proposal_spec::read(file, &signer.trust, time::now_ms())?;
        let mut connection = match self.signing.offline {
            true => None,
            false => Some(Connection::open(global, Some(&signer.trust)).await?),
        };
        let members = list_members(connection.as_mut()).await?;
        let owners = Owners { trust: Some(&signer.trust), members: &members };
        note(&format!("This is what is proposed:\n{}", changes_in_words(&proposal, owners)));
        let transaction = signer.sign(Payload::Propose { proposal })?;
        let mut delivered = deliver(connection.as_mut(), &self.signing, &transaction).await?;
        delivered.proposal = Some(transaction.id());
        tell_standing(connection.as_mut(), transaction.id()).await;
        Ok(delivered.answer("proposed"))
    }
}

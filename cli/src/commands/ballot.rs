//! `countersign ballot`: what a governor's organisation says of a proposal.

use super::consent::consent;
use super::deliver::deliver;
use super::proposals::{fetch, from_file, list_members, tell_standing};
use crate::connection::{Connection, parse_prefix};
use crate::failure::Failure;
use crate::options::{Global, Signing};
use crate::sign::Signer;
use crate::time;
use crate::view::{Owners, signed_proposal_text};
use clap::{Args, ValueEnum};
use keyring::KeyRole;
use ledger::governance::Choice;
use ledger::transaction::Payload;
use std::path::PathBuf;
use terminal::{Answer, note};

/// Cast a ballot.
#[derive(Debug, Args)]
#[command(after_help = "\
What is signed is shown first, from the transaction that proposed it, checked here; what does not check is not signed. \
An organisation has one voice, however many governors: a later ballot takes the place of this one, until the proposal \
passes, cannot pass any more, or closes.
JSON: {\"proposal\", \"transaction\", \"position\": {\"height\", \"index\", \"time_ms\"}}, or \"file\" with --offline

Examples:
  countersign ballot 51c0 for --key governor.key
  countersign get proposal 51c0 --out change.tx
  countersign ballot 51c0 against --key governor.key --offline \\
      --proposed change.tx --out ballot.tx")]
pub struct Ballot {
    /// The id of the proposal: all 64 digits, or its beginning and a yes when asked
    #[arg(value_name = "PROPOSAL", value_parser = parse_prefix)]
    proposal: String,
    /// What the organisation says
    #[arg(value_name = "CHOICE")]
    say: Say,
    /// Take the proposal from this file, the transaction that proposed it, instead of asking the node
    #[arg(long, value_name = "FILE")]
    proposed: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

/// As people type it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Say {
    /// It shall be
    For,
    /// It shall not be
    Against,
}

impl Ballot {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let signer = Signer::new(global, &self.signing, &[KeyRole::Governor])?;
        let mut connection = match self.signing.offline {
            true => None,
            false => Some(Connection::open(global, Some(&signer.trust)).await?),
        };
        let (signed, view) = match (&self.proposed, &mut connection) {
            (Some(path), _) => (from_file(path, &self.proposal, &signer.trust)?, None),
            (None, Some(connection)) => {
                let (signed, view) = fetch(connection, &self.proposal).await?;
                (signed, Some(view))
            }
            (None, None) => {
                return Err(Failure::usage(
                    "without a node there is nothing to show of this proposal",
                    "nobody should sign what they have not seen: `countersign get proposal ID --out FILE` writes the \
                     transaction that proposed it; give that with --proposed FILE",
                ));
            }
        };
        let members = list_members(connection.as_mut()).await?;
        let owners = Owners { trust: Some(&signer.trust), members: &members };
        let (choice, did) = match self.say {
            Say::For => (Choice::For, "voted for"),
            Say::Against => (Choice::Against, "voted against"),
        };
        note(&format!("This is what is {did}:\n{}", signed_proposal_text(&signed, owners)));
        if let Some(view) = view {
            note(&format!("This is how it stands, by the node's word:\n{}", view.text(time::now_ms())));
        }
        consent(&self.proposal, &signed.id)?;
        let transaction = signer.sign(Payload::Ballot { proposal: signed.id, choice })?;
        let mut delivered = deliver(connection.as_mut(), &self.signing, &transaction).await?;
        delivered.proposal = Some(signed.id);
        tell_standing(connection.as_mut(), signed.id).await;
        Ok(delivered.answer(did))
    }
}

//! `countersign patch`: pack, publish, look at and recall patches.

use super::consent::consent;
use super::deliver::{Delivered, Stood, deliver};
use super::get::{self, Patches};
use super::pack::Pack;
use super::publish::Publish;
use super::subject::{signed_patch, subject};
use super::wait_for;
use crate::connection::{Connection, parse_prefix};
use crate::failure::Failure;
use crate::options::{Global, Signing};
use crate::sign::Signer;
use crate::view::{PatchView, signed_patch_text};
use clap::{Args, Subcommand};
use keyring::KeyRole;
use ledger::bounded::Sentence;
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::patch::PatchManifest;
use ledger::transaction::Payload;
use serde::Serialize;
use std::path::PathBuf;
use terminal::{Answer, note};

/// Pack, publish, look at and recall patches.
#[derive(Debug, Subcommand)]
pub enum PatchCommand {
    /// Pack a directory, an archive or packages into a patch
    Pack(Box<Pack>),
    /// Sign a packed patch and publish it
    Publish(Publish),
    /// Show a patch: what its vendor signed, and what became of it
    Show(Show),
    /// List patches, newest first
    List(Patches),
    /// Withdraw a patch: it must not be applied any more
    Recall(Recall),
}

/// Show a patch.
#[derive(Debug, Args)]
#[command(after_help = "\
The manifest is taken from the vendor's signed transaction, checked here; the rest is the node's word. What can be \
proven is in the proof file: `countersign proof get`.
JSON: {\"patch\": {\"id\", \"standing\", \"count\", \"verdicts\": [{\"key\", \"organisation\", \"decision\", \
\"position\", \"note\", \"evidence\", \"transaction\"}], \"missing\", \"published\", \"approved\", \"recalled\", \"recall\", \
\"outcomes\", …}, \"manifest\", \"publisher\", \"transaction\"}

Example:
  countersign patch show 3fa9")]
pub struct Show {
    /// The patch, or the beginning of its id
    #[arg(value_name = "PATCH", value_parser = parse_prefix)]
    patch: String,
}

/// Recall a patch.
#[derive(Debug, Args)]
#[command(after_help = "\
The vendor's own recall withdraws at once; an approver's counts as the approval rule says. A recall is final.
JSON: {\"patch\", \"transaction\", \"position\": {\"height\", \"index\", \"time_ms\"}, \"before\": {\"standing\", \"count\"}, \
\"after\"}, or \"file\" with --offline

Example:
  countersign patch recall 3fa9 --reason 'loses writes on replica restart' \\
      --key vendor.key")]
pub struct Recall {
    /// The id of the patch: all 64 digits, or its beginning and a yes when asked
    #[arg(value_name = "PATCH", value_parser = parse_prefix)]
    patch: String,
    /// Why, for people
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: Sentence,
    /// Take the patch from this proof file instead of asking the node
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

fn parse_reason(text: &str) -> Result<Sentence, String> {
    Sentence::new(text).map_err(|error| error.to_string())
}

/// A patch with what its vendor signed.
#[derive(Serialize)]
pub(super) struct ShownPatch<'a> {
    pub(super) patch: &'a PatchView,
    pub(super) manifest: &'a PatchManifest,
    pub(super) publisher: PublicKey,
    pub(super) transaction: TransactionId,
}

impl PatchCommand {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        match self {
            Self::Pack(pack) => pack.run(),
            Self::Publish(publish) => wait_for(publish.run(global)),
            Self::Show(show) => wait_for(show.run(global)),
            Self::List(list) => wait_for(get::patches(list, global)),
            Self::Recall(recall) => wait_for(recall.run(global)),
        }
    }
}

impl Show {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let trust = global.trust()?;
        let mut connection = Connection::open(global, trust.as_ref()).await?;
        let id = connection.resolve_patch(&self.patch).await?;
        let patch = connection.patch(id).await?;
        let signed = signed_patch(&patch, id, &connection.chain_id)?;
        let view = PatchView::new(patch)?;
        let text = signed_patch_text(&signed, trust.as_ref()) + "\n" + &view.text();
        let shown = ShownPatch {
            patch: &view,
            manifest: signed.manifest(),
            publisher: signed.transaction.signer(),
            transaction: signed.transaction.id(),
        };
        Ok(Answer::new(text, &shown))
    }
}

impl Recall {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let signer = Signer::new(global, &self.signing, &[KeyRole::Publisher, KeyRole::Approver])?;
        let mut connection = match self.signing.offline {
            true => None,
            false => Some(Connection::open(global, Some(&signer.trust)).await?),
        };
        let patch = subject(connection.as_mut(), &signer.trust, &self.patch, self.proof.as_deref()).await?;
        note(&format!("This is what is recalled:\n{}", signed_patch_text(&patch, Some(&signer.trust))));
        consent(&self.patch, &patch.id)?;
        let transaction = signer.sign(Payload::Recall { patch: patch.id, reason: self.reason.clone() })?;
        let before = Stood::ask(connection.as_mut(), patch.id).await;
        let delivered = deliver(connection.as_mut(), &self.signing, &transaction).await?;
        let after = Stood::ask(connection.as_mut(), patch.id).await;
        Ok(Delivered { before, after, ..delivered }.answer("recall signed"))
    }
}

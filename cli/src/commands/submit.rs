//! `countersign submit`: a transaction that was signed elsewhere.

use super::publish::{grant_path, has, upload};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::files;
use crate::options::Global;
use crate::pack::artifact_file;
use crate::submit::{self, PositionView};
use crate::tables::facts;
use crate::view::{Said, show_position};
use clap::Args;
use ledger::artifact::SignedUploadGrant;
use ledger::encoding::decode;
use ledger::id::TransactionId;
use ledger::limits;
use ledger::transaction::{Payload, SignedTransaction, VerifiedTransaction};
use serde::Serialize;
use std::path::PathBuf;
use terminal::{Answer, escape, note};

/// Submit a transaction.
#[derive(Debug, Args)]
#[command(after_help = "\
Submitting twice is harmless: a transaction is finalised once. A patch whose artifacts no node has can be published, \
and no host can fetch it until they are uploaded: what the node has not got is told.
JSON: {\"transaction\", \"kind\", \"position\": {\"height\", \"index\", \"time_ms\"}, \"missing_artifacts\"}

Examples:
  countersign submit approval.tx
  countersign submit publish.tx --artifacts redis-10")]
pub struct Submit {
    /// The signed transaction, as --offline --out writes it
    file: PathBuf,
    /// Upload the artifacts of the patch published first: what `countersign patch pack` made
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// How long to wait until it is finalised
    #[arg(long, value_name = "DURATION", value_parser = crate::time::parse_duration, default_value = "60s")]
    wait: u64,
}

#[derive(Serialize)]
struct SubmittedView {
    transaction: TransactionId,
    kind: &'static str,
    position: PositionView,
    /// Of a patch published: artifacts the node has not got, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_artifacts: Vec<String>,
}

/// What was signed, as far as a line or two say it.
fn told(transaction: &VerifiedTransaction) -> String {
    let payload = transaction.payload();
    let mut rows = vec![("submitting", format!("{} by key {}", payload.noun(), transaction.signer()))];
    rows.extend(payload.patch().map(|patch| ("  patch", patch.to_string())));
    rows.extend(Said::of(payload).iter().flat_map(Said::rows));
    facts(&rows)
}

impl Submit {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let bytes = files::read(&self.file, "transaction", limits::TRANSACTION_BYTES_MAX)?;
        let mut connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let transaction = SignedTransaction::verify_bytes(&bytes, &connection.chain_id).map_err(|error| {
            let message = format!("{} is no transaction of this ledger: {error}", self.file.display());
            Failure::usage(message, "is the node the right one, and the file whole?")
        })?;
        note(&told(&transaction));
        self.upload(&mut connection, &transaction).await?;
        let position = submit::submit(&mut connection, &transaction, self.wait).await?;
        let missing_artifacts = missing(&mut connection, &transaction).await;
        if !missing_artifacts.is_empty() {
            let (names, file) = (escape(&missing_artifacts.join(", ")), self.file.display());
            note(&format!("warning: the node has not got {names}: no host can fetch this patch from it"));
            note(&format!("hint: `countersign submit {file} --artifacts DIR` uploads what `patch pack` made"));
        }
        let (transaction, kind) = (transaction.id(), transaction.payload().kind());
        let view = SubmittedView { transaction, kind, position, missing_artifacts };
        let text = facts(&[
            ("transaction", view.transaction.to_string()),
            ("kind", view.kind.to_owned()),
            ("finalised", show_position(&position)),
        ]);
        Ok(Answer::new(text, &view))
    }

    async fn upload(&self, connection: &mut Connection, transaction: &VerifiedTransaction) -> Result<(), Failure> {
        let Some(directory) = &self.artifacts else { return Ok(()) };
        let Payload::Publish { manifest } = transaction.payload() else {
            let noun = transaction.payload().noun();
            return Err(Failure::usage(format!("{noun} has no artifacts"), "leave out --artifacts"));
        };
        submit::check(connection, transaction).await?;
        for artifact in manifest.artifacts.iter() {
            let path = grant_path(&self.file, artifact);
            let grant = files::read(&path, "upload grant", limits::MESSAGE_BYTES_MAX)?;
            let grant: SignedUploadGrant = decode(&grant)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), "sign the patch again"))?;
            upload(connection, artifact, &artifact_file(directory, artifact)?, &grant).await?;
        }
        Ok(())
    }
}

/// Artifacts of a patch published that the node has not got. What it does not say is not told: the patch is final.
async fn missing(connection: &mut Connection, transaction: &VerifiedTransaction) -> Vec<String> {
    let Payload::Publish { manifest } = transaction.payload() else { return Vec::new() };
    let mut missing = Vec::new();
    for artifact in manifest.artifacts.iter() {
        if matches!(has(connection, artifact).await, Ok(false)) {
            missing.push(artifact.name.to_string());
        }
    }
    missing
}

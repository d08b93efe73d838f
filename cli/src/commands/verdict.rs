//! `countersign approve`, `reject` and `hold`: an approver's verdict.

use super::consent::consent;
use super::deliver::{Delivered, Stood, deliver};
use super::subject::subject;
use crate::connection::{Connection, parse_prefix};
use crate::failure::Failure;
use crate::files::{self, FileError};
use crate::options::{Global, Signing};
use crate::sign::Signer;
use crate::view::signed_patch_text;
use clap::Args;
use keyring::KeyRole;
use ledger::artifact::PayloadHasher;
use ledger::bounded::Notes;
use ledger::id::Digest;
use ledger::transaction::{Payload, Verdict};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use terminal::{Answer, note};

/// Largest evidence file.
const EVIDENCE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Approve a patch.
#[derive(Debug, Args)]
#[command(after_help = "\
What is signed is shown first, from the vendor's signed transaction, checked here.
How the patch stood before and stands now is told by the node, and is its word.
JSON: {\"patch\", \"transaction\", \"position\": {\"height\", \"index\", \"time_ms\"}, \"before\": {\"standing\", \"count\"}, \
\"after\"}, or \"file\" with --offline

Examples:
  countersign approve 3fa9 --note 'trial of 12 hours passed' \\
      --evidence trial.log --key approver.key
  countersign approve 3fa9 --offline --proof redis.proof --out approval.tx \\
      --key approver.key")]
pub struct Approve {
    #[command(flatten)]
    on: On,
    /// Why, for people
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = parse_note)]
    note: Notes,
    /// Counts for the emergency rule too
    #[arg(long)]
    urgent: bool,
}

/// Reject a patch, or hold it back.
#[derive(Debug, Args)]
#[command(after_help = "\
What is signed is shown first, from the vendor's signed transaction, checked here. A later verdict of the same key \
takes the place of this one. How the patch stood before and stands now is told by the node, and is its word.
JSON: {\"patch\", \"transaction\", \"position\": {\"height\", \"index\", \"time_ms\"}, \"before\": {\"standing\", \"count\"}, \
\"after\"}, or \"file\" with --offline

Examples:
  countersign reject 3fa9 --note 'breaks replication, see ticket 4711' \\
      --key approver.key
  countersign hold 3fa9 --note 'waiting for the trial' --key approver.key")]
pub struct Negative {
    #[command(flatten)]
    on: On,
    /// Why, for people
    #[arg(long, value_name = "TEXT", value_parser = parse_note)]
    note: Notes,
}

/// What a verdict is on.
#[derive(Debug, Args)]
struct On {
    /// The id of the patch: all 64 digits, or its beginning and a yes when asked
    #[arg(value_name = "PATCH", value_parser = parse_prefix)]
    patch: String,
    /// What was looked at; its BLAKE3 is signed, the file stays here
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// Take the patch from this proof file instead of asking the node
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

/// Which negative verdict.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Reject,
    Hold,
}

fn parse_note(text: &str) -> Result<Notes, String> {
    Notes::new(text).map_err(|error| error.to_string())
}

impl Approve {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let urgent = self.urgent;
        self.on.sign(global, &self.note, "approved", |verdict| Payload::Approve { verdict, urgent }).await
    }
}

impl Negative {
    pub(super) async fn run(&self, global: &Global, kind: Kind) -> Result<Answer, Failure> {
        match kind {
            Kind::Reject => self.on.sign(global, &self.note, "rejected", |verdict| Payload::Reject { verdict }).await,
            Kind::Hold => self.on.sign(global, &self.note, "held", |verdict| Payload::Hold { verdict }).await,
        }
    }
}

impl On {
    async fn sign(
        &self,
        global: &Global,
        why: &Notes,
        did: &str,
        payload: impl FnOnce(Verdict) -> Payload,
    ) -> Result<Answer, Failure> {
        let signer = Signer::new(global, &self.signing, &[KeyRole::Approver])?;
        let evidence = self.evidence.as_deref().map(digest).transpose()?.unwrap_or(Digest::ZERO);
        let mut connection = match self.signing.offline {
            true => None,
            false => Some(Connection::open(global, Some(&signer.trust)).await?),
        };
        let patch = subject(connection.as_mut(), &signer.trust, &self.patch, self.proof.as_deref()).await?;
        note(&format!("This is what is {did}:\n{}", signed_patch_text(&patch, Some(&signer.trust))));
        consent(&self.patch, &patch.id)?;
        let verdict = Verdict { patch: patch.id, evidence, note: why.clone() };
        let transaction = signer.sign(payload(verdict))?;
        let before = Stood::ask(connection.as_mut(), patch.id).await;
        let delivered = deliver(connection.as_mut(), &self.signing, &transaction).await?;
        let after = Stood::ask(connection.as_mut(), patch.id).await;
        Ok(Delivered { before, after, ..delivered }.answer(did))
    }
}

fn digest(path: &Path) -> Result<Digest, FileError> {
    let what = "evidence";
    let mut from = files::open(path, what)?.take(EVIDENCE_BYTES_MAX + 1);
    let (mut hasher, mut buffer, mut size) = (PayloadHasher::default(), vec![0; 256 * 1024], 0u64);
    loop {
        let count = from.read(&mut buffer).map_err(|source| FileError::Read { what, path: path.to_owned(), source })?;
        if count == 0 {
            return Ok(hasher.finish().blake3);
        }
        size += count as u64;
        if size > EVIDENCE_BYTES_MAX {
            return Err(FileError::TooLarge { what, path: path.to_owned(), limit: EVIDENCE_BYTES_MAX });
        }
        hasher.update(&buffer[..count]);
    }
}

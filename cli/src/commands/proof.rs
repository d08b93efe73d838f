//! `countersign proof`: take a proof file away, or look into one without believing it.

use super::verify::epochs_in_words;
use super::wait_for;
use crate::connection::{Connection, NodeError, parse_prefix};
use crate::failure::Failure;
use crate::files;
use crate::options::Global;
use crate::tables::facts;
use crate::time;
use crate::trust::word;
use crate::view::Said;
use clap::{Args, Subcommand};
use ledger::id::{ChainId, PatchId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::patch::PatchManifest;
use ledger::proof::{ProofBundle, ProvenTransaction};
use ledger::transaction::{Payload, Transaction};
use proto::v1::GetProofRequest;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use terminal::{Answer, note};

/// Longest pause before a proof that is not there yet is asked for again.
const PAUSE_MS_MAX: u64 = 5_000;
/// Pause when the node names none.
const PAUSE_MS: u64 = 200;

/// Take a proof file away, or look into one.
#[derive(Debug, Subcommand)]
pub enum ProofCommand {
    /// Write the proof file of a patch
    Get(Get),
    /// Print what a proof file says, without believing it
    Show(Show),
}

/// Get a proof file.
#[derive(Debug, Args)]
#[command(after_help = "\
Works for patches that are not approved, too: verifying such a file names what is missing. An older file of the same \
name is replaced.
JSON: {\"patch\", \"file\", \"size\", \"height\", \"header_time_ms\"}

Example:
  countersign proof get 3fa9 --out redis.proof")]
pub struct Get {
    /// The patch, or the beginning of its id
    #[arg(value_name = "PATCH", value_parser = parse_prefix)]
    patch: String,
    /// Where it is written
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How long to wait for the header that proves the newest transactions
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, default_value = "30s")]
    wait: u64,
}

/// Show a proof file.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is checked: `countersign verify` does that.
JSON: {\"verified\": false, \"size\", \"version\", \"chain_id\", \"height\", \"header_time_ms\", \"epochs\", \"patch\", \
\"manifest\", \"approvals\", \"verdicts\": [{\"key\", \"kind\", \"note\", \"evidence\"}], \"parts\": {\"epochs\", \"header\", \"certificate\", \"publish\", \"approvals\", \"state\"}}

Example:
  countersign proof show redis.proof")]
pub struct Show {
    /// The proof file
    file: PathBuf,
}

#[derive(Serialize)]
struct GotView {
    patch: PatchId,
    file: String,
    size: usize,
    height: u64,
    header_time_ms: u64,
}

#[derive(Serialize)]
struct ShownView<'a> {
    verified: bool,
    size: usize,
    version: u16,
    chain_id: ChainId,
    height: u64,
    header_time_ms: u64,
    epochs: usize,
    patch: Option<PatchId>,
    manifest: Option<&'a PatchManifest>,
    approvals: usize,
    verdicts: Vec<ShownVerdict>,
    parts: Parts,
}

/// An approval as the proof file has it, its signature not checked.
#[derive(Serialize)]
struct ShownVerdict {
    key: PublicKey,
    kind: &'static str,
    #[serde(flatten)]
    said: Said,
}

impl ShownVerdict {
    fn of(approval: &ProvenTransaction) -> Option<Self> {
        let Transaction { signer, payload, .. } = &approval.transaction.transaction;
        Some(Self { key: *signer, kind: payload.kind(), said: Said::of(payload)? })
    }
}

/// Bytes of each part of a proof file.
#[derive(Serialize)]
struct Parts {
    epochs: usize,
    header: usize,
    certificate: usize,
    publish: usize,
    approvals: usize,
    state: usize,
}

impl ProofCommand {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        match self {
            Self::Get(get) => wait_for(get.run(global)),
            Self::Show(show) => show.run(),
        }
    }
}

impl Get {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let mut connection = Connection::open(global, global.trust()?.as_ref()).await?;
        let patch = connection.resolve_patch(&self.patch).await?;
        let bytes = self.ask(&mut connection, patch).await?;
        let unbelievable = |error: String| NodeError::Unbelievable(format!("its proof of {patch}: {error}"));
        let bundle = ProofBundle::parse(&bytes).map_err(|error| unbelievable(error.to_string()))?;
        if bundle.publish.transaction.transaction.payload.patch() != Some(patch) {
            return Err(unbelievable("it is of another patch".to_owned()).into());
        }
        files::write_over(&self.out, "proof file", &bytes, |old| ProofBundle::parse(old).is_ok())?;
        let view = GotView {
            patch,
            file: self.out.display().to_string(),
            size: bytes.len(),
            height: bundle.header.height,
            header_time_ms: bundle.header.time_ms,
        };
        let text = facts(&[
            ("patch", patch.to_string()),
            ("proof", format!("{}, {} bytes", view.file, view.size)),
            ("header", format!("height {}, {}", view.height, time::show(view.header_time_ms))),
        ]);
        Ok(Answer::new(text, &view))
    }

    /// Asks until the proof is there or the time is over.
    async fn ask(&self, connection: &mut Connection, patch: PatchId) -> Result<Vec<u8>, NodeError> {
        let started = Instant::now();
        loop {
            let error = match connection.ledger.get_proof(GetProofRequest { patch: patch.0.to_vec() }).await {
                Ok(answer) => return Ok(answer.into_inner().proof),
                Err(status) => NodeError::from(status),
            };
            let left = Duration::from_millis(self.wait).saturating_sub(started.elapsed());
            match error {
                NodeError::Refused { retry_after_ms: Some(after_ms), .. } if !left.is_zero() => {
                    let pause_ms = if after_ms == 0 { PAUSE_MS } else { after_ms.min(PAUSE_MS_MAX) };
                    tokio::time::sleep(Duration::from_millis(pause_ms).min(left)).await;
                }
                error => return Err(error),
            }
        }
    }
}

impl Show {
    fn run(&self) -> Result<Answer, Failure> {
        let bytes = files::read(&self.file, "proof file", limits::PROOF_BYTES_MAX)?;
        let bundle = parse(&self.file, &bytes)?;
        let manifest = match &bundle.publish.transaction.transaction.payload {
            Payload::Publish { manifest } => Some(manifest),
            _ => None,
        };
        let view = ShownView {
            verified: false,
            size: bytes.len(),
            version: bundle.version,
            chain_id: bundle.chain_id,
            height: bundle.header.height,
            header_time_ms: bundle.header.time_ms,
            epochs: bundle.epochs.len(),
            patch: manifest.map(PatchManifest::id),
            manifest,
            approvals: bundle.approvals.len(),
            verdicts: bundle.approvals.iter().filter_map(ShownVerdict::of).collect(),
            parts: Parts::of(&bundle),
        };
        note("Nothing of this is checked: `countersign verify` does that.");
        Ok(Answer::new(view.text(), &view))
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<ProofBundle, Failure> {
    ProofBundle::parse(bytes).map_err(|error| {
        Failure::usage(format!("{} is no proof file: {error}", path.display()), "`countersign proof get` writes them")
    })
}

impl Parts {
    fn of(bundle: &ProofBundle) -> Self {
        fn size(part: &impl Serialize) -> usize {
            ledger::encoding::encode(part).len()
        }
        Self {
            epochs: size(&bundle.epochs),
            header: size(&bundle.header),
            certificate: size(&bundle.certificate),
            publish: size(&bundle.publish),
            approvals: size(&bundle.approvals),
            state: size(&bundle.state),
        }
    }
}

impl ShownView<'_> {
    fn text(&self) -> String {
        let Parts { epochs, header, certificate, publish, approvals, state } = &self.parts;
        let mut rows = vec![
            ("says", "not checked".to_owned()),
            ("chain id", self.chain_id.to_string()),
            ("header", format!("height {}, {}", self.height, time::show(self.header_time_ms))),
            ("epochs", epochs_in_words(self.epochs)),
        ];
        rows.extend(self.patch.map(|patch| ("patch", patch.to_string())));
        if let Some(manifest) = self.manifest {
            rows.push(("product", format!("{} ({})", manifest.product, manifest.channel)));
            rows.push(("version", format!("{}, release {}", manifest.version, manifest.release)));
            rows.push(("claims", format!("{}, {}", word(&manifest.class), word(&manifest.severity))));
        }
        rows.push(("approvals", self.approvals.to_string()));
        for ShownVerdict { key, kind, said } in &self.verdicts {
            rows.push(("verdict", format!("{kind} by key {key}")));
            rows.extend(said.rows());
        }
        let parts = format!(
            "{} bytes: epochs {epochs}, header {header}, certificate {certificate}, publish {publish}, approvals \
             {approvals}, state {state}",
            self.size
        );
        rows.push(("size", parts));
        facts(&rows)
    }
}

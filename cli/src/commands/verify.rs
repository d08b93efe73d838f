//! `countersign verify`: a proof file against a trust root, without a network.

use crate::failure::Failure;
use crate::files;
use crate::kinds::kind_of;
use crate::options::Global;
use crate::tables::facts;
use crate::time;
use crate::trust::{Trust, word};
use crate::view::{Said, noun_of};
use clap::Args;
use ledger::bounded::Name;
use ledger::id::{BlockHash, PatchId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::patch::PatchManifest;
use ledger::proof::{FinalizedPatch, HostClock, MAX_AGE_MS_DEFAULT, ProofBundle, ProofError};
use ledger::receipt::ReasonCode;
use ledger::state::record::VerdictRecord;
use serde::Serialize;
use std::path::PathBuf;
use terminal::{Answer, EXIT_REFUSED, ErrorView, note};

/// Verify a proof file.
#[derive(Debug, Args)]
#[command(after_help = "\
Checks everything an endpoint checks of a proof before it applies a patch: the chain of validator sets from the trust root, the \
quorum's signatures, freshness, inclusion and signature of every transaction, the approval rule, recalls and halts.
Exit codes: 0 verified, 1 refused (the check is named), 2 a file that cannot be read.
JSON: {\"verified\": true, \"patch\", \"manifest\", \"vendor\", \"publisher\", \"approvals\": [{\"organisation\", \"key\", \
\"decision\", \"height\", \"index\", \"note\", \"evidence\"}], \"rule\", \"count\", \"epochs\", \"header\": {\"height\", \"hash\", \"time_ms\", \"signers\", \
\"validators\", \"quorum\"}} or {\"verified\": false, \"check\", \"message\", \"error\"}

Examples:
  countersign verify redis.proof --trust genesis
  countersign verify redis.proof --trust genesis --at 2026-01-31T12:00:00Z \\
      --max-age 1h")]
pub struct Verify {
    /// The proof file
    file: PathBuf,
    /// The trust root: the genesis file you were given; --genesis if not given
    #[arg(long, value_name = "GENESIS")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    clock: Clock,
}

/// What time it is for a verifier.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Clock {
    /// Verify as of this moment (milliseconds since 1970, or RFC 3339); now if not given
    #[arg(long, value_name = "TIME", value_parser = time::parse_moment)]
    at: Option<u64>,
    /// How old the header may be; 24h if not given
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    max_age: Option<u64>,
}

impl Clock {
    pub(super) fn host_clock(&self) -> HostClock {
        let at = HostClock::at(self.at.unwrap_or_else(time::now_ms));
        HostClock { max_age_ms: self.max_age.unwrap_or(MAX_AGE_MS_DEFAULT), ..at }
    }
}

#[derive(Serialize)]
struct VerifiedView<'a> {
    verified: bool,
    patch: PatchId,
    manifest: &'a PatchManifest,
    vendor: &'a Name,
    publisher: PublicKey,
    approvals: Vec<ApprovalView<'a>>,
    rule: &'a Name,
    count: String,
    epochs: usize,
    header: HeaderView,
}

#[derive(Serialize)]
struct ApprovalView<'a> {
    organisation: &'a Name,
    key: PublicKey,
    decision: String,
    height: u64,
    index: u64,
    #[serde(flatten)]
    said: Said,
}

#[derive(Serialize)]
struct HeaderView {
    height: u64,
    hash: BlockHash,
    time_ms: u64,
    signers: usize,
    validators: usize,
    quorum: usize,
}

#[derive(Serialize)]
struct RefusedView {
    verified: bool,
    check: &'static str,
    message: String,
    error: ErrorView,
}

impl Verify {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let trust = match &self.trust {
            Some(path) => Trust::read(path)?,
            None => global.trust()?.ok_or_else(|| {
                Failure::usage("no trust root given", "say which ledger you trust with --trust GENESIS")
            })?,
        };
        // One byte more than a proof may have: that it is too large is for the verifier to say, by name.
        let bytes = match files::read(&self.file, "proof file", limits::PROOF_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(files::FileError::TooLarge { .. }) => vec![0; limits::PROOF_BYTES_MAX + 1],
            Err(error) => return Err(error.into()),
        };
        let bundle = match ProofBundle::parse(&bytes) {
            Ok(bundle) => bundle,
            Err(error) => return Ok(self.no_proof(&error)),
        };
        Ok(match bundle.verify(trust.root(), self.clock.host_clock()) {
            Ok(patch) => verified(&bundle, &patch, &trust),
            Err(error) => refused(error.code(), error.to_string()),
        })
    }

    /// What cannot be read as a proof file may be something else altogether.
    fn no_proof(&self, error: &ProofError) -> Answer {
        let is = kind_of(&self.file).map(|kind| format!("; this file is {kind}")).unwrap_or_default();
        let message = format!("a proof file is wanted, of at most {} bytes: {error}{is}", limits::PROOF_BYTES_MAX);
        refused(error.code(), message)
    }
}

fn verified(bundle: &ProofBundle, patch: &FinalizedPatch, trust: &Trust) -> Answer {
    let (record, header, manifest) = (patch.record(), patch.header(), patch.manifest());
    // The set that certified the header: the last epoch's, or the one the ledger began with.
    let validators = bundle.epochs.last().map_or(&trust.genesis().validators, |epoch| &epoch.validators);
    // The record says of each approval whose it is, the transaction shown why.
    let approvals = record.verdicts.iter().filter_map(|VerdictRecord { key, organisation, decision, position }| {
        let signed = bundle.approvals.iter().find(|approval| approval.index == position.index)?;
        Some(ApprovalView {
            organisation,
            key: *key,
            decision: decision.to_string(),
            height: position.height,
            index: position.index,
            said: Said::of(&signed.transaction.transaction.payload)?,
        })
    });
    let view = VerifiedView {
        verified: true,
        patch: patch.id(),
        manifest,
        vendor: &record.organisation,
        publisher: record.publisher,
        approvals: approvals.collect(),
        rule: patch.rule(),
        count: patch.count().to_string(),
        epochs: bundle.epochs.len(),
        header: HeaderView {
            height: header.header().height,
            hash: header.hash(),
            time_ms: header.header().time_ms,
            signers: header.certificate().signers(validators).map_or(0, |signers| signers.len()),
            validators: validators.len(),
            quorum: validators.quorum(),
        },
    };
    Answer::new(view.text(), &view)
}

impl VerifiedView<'_> {
    fn text(&self) -> String {
        let (manifest, header) = (self.manifest, &self.header);
        let mut rows = vec![
            // Somebody may have recalled it since: whoever reads this must see of when it is.
            (
                "verified",
                format!("as of {}: published, approved, not recalled, not halted", time::show(header.time_ms)),
            ),
            ("patch", self.patch.to_string()),
            ("product", format!("{} ({})", manifest.product, manifest.channel)),
            ("version", format!("{}, release {}", manifest.version, manifest.release)),
            ("claims", format!("{}, {}", word(&manifest.class), word(&manifest.severity))),
            ("publisher", format!("{} (key {})", self.vendor, self.publisher)),
        ];
        for approval in &self.approvals {
            let ApprovalView { organisation, key, decision, height, said, .. } = approval;
            rows.push(("approval", format!("{decision} by {organisation} (key {key}) at height {height}")));
            rows.extend(said.rows());
        }
        rows.push(("rule", format!("{}: {}", self.rule, self.count)));
        for artifact in manifest.artifacts.iter() {
            rows.push((noun_of(artifact), format!("{}, {} bytes", artifact.name, artifact.size)));
            rows.push(("  blake3", artifact.blake3.to_string()));
            rows.push(("  sha256", artifact.sha256.to_string()));
        }
        rows.push(("header", format!("height {}, {}", header.height, time::show(header.time_ms))));
        rows.push(("  hash", header.hash.to_string()));
        rows.push(("epochs", epochs_in_words(self.epochs)));
        let HeaderView { signers, validators, quorum, .. } = header;
        rows.push(("quorum", format!("{signers} of {validators} validators signed, {quorum} needed")));
        facts(&rows)
    }
}

/// How far the validators that signed are from those of the trust root.
pub(super) fn epochs_in_words(epochs: usize) -> String {
    match epochs {
        0 => "0: the validators are those of the trust root".to_owned(),
        1 => "1: the validators changed once since the trust root".to_owned(),
        times => format!("{times}: the validators changed {times} times since the trust root"),
    }
}

/// A refusal is an answer: the check goes to standard output for programs and is told to people.
fn refused(code: ReasonCode, message: String) -> Answer {
    let check = code.word();
    let hint = hint(code);
    note(&format!("error: refused by check {check}: {}", terminal::escape(&message)));
    note(&format!("hint: {hint}"));
    let error = ErrorView {
        code: check.to_owned(),
        message: message.clone(),
        because: Vec::new(),
        hint: Some(hint.to_owned()),
    };
    Answer::new(String::new(), &RefusedView { verified: false, check, message, error }).with_code(EXIT_REFUSED)
}

fn hint(check: ReasonCode) -> &'static str {
    match check {
        ReasonCode::ProofSize | ReasonCode::ProofMalformed => {
            "the file is damaged or no proof file: `countersign proof get` writes one"
        }
        ReasonCode::ChainId => "the proof is of another ledger than the trust root",
        ReasonCode::Stale => "get a fresh proof, or verify as of an earlier moment with --at",
        ReasonCode::ClockBehind => "set this machine's clock, or say what time it is with --at",
        ReasonCode::ApprovalRule => "approvals are missing: `countersign review` says whose",
        ReasonCode::Rejected | ReasonCode::Held | ReasonCode::Recalled | ReasonCode::Halted => {
            "the proof is sound, and what it proves is that this patch must not be applied"
        }
        _ => "the file was changed or made up: do not apply this patch; get it from another organisation's node",
    }
}

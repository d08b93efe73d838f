//! What is shown of patches, endpoints, receipts and blocks: the JSON shapes scripts rely on, and the
//! same for people.
//!
//! Unless a type says otherwise its values are the node's word: convenient, and proof of nothing.

use crate::connection::{NodeError, id};
use crate::sign::SignedPatch;
use crate::submit::PositionView;
use crate::terminal::{facts, short, table};
use crate::time;
use crate::trust::{Trust, word};
use ledger::id::{BlockHash, PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::patch::{HealthCheck, PatchManifest, Probe, Relation, Target};
use serde::Serialize;
use std::collections::BTreeMap;

/// A patch, as a node tells of it.
#[derive(Clone, Debug, Serialize)]
pub struct PatchView {
    /// Its id.
    pub id: PatchId,
    /// Product.
    pub product: String,
    /// Channel.
    pub channel: String,
    /// Version it brings.
    pub version: String,
    /// Release counter.
    pub release: u64,
    /// Class claimed.
    pub class: String,
    /// Severity claimed.
    pub severity: String,
    /// One line for people.
    pub title: String,
    /// The vendor.
    pub organisation: String,
    /// `pending`, `approved`, `rejected`, `held` or `recalled`.
    pub standing: String,
    /// The arithmetic behind it.
    pub count: String,
    /// Verdicts, one per approver key.
    pub verdicts: Vec<VerdictView>,
    /// Organisations named by the rule that have not approved.
    pub missing: Vec<String>,
    /// Where it was published.
    pub published: Option<PositionView>,
    /// Where it first stood approved.
    pub approved: Option<PositionView>,
    /// Where it was recalled.
    pub recalled: Option<PositionView>,
    /// Receipts by outcome.
    pub outcomes: BTreeMap<String, u64>,
}

/// A verdict.
#[derive(Clone, Debug, Serialize)]
pub struct VerdictView {
    /// Who.
    pub key: PublicKey,
    /// Of which organisation.
    pub organisation: String,
    /// `approve`, `approve-urgently`, `reject`, `hold` or `recall`.
    pub decision: String,
    /// Where it was finalised.
    pub position: Option<PositionView>,
}

impl PatchView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when an id in it is none.
    pub fn new(patch: proto::v1::Patch) -> Result<Self, NodeError> {
        let verdicts = patch.verdicts.into_iter().map(|verdict| {
            Ok(VerdictView {
                key: PublicKey(id(&verdict.key, "key")?),
                organisation: verdict.organisation,
                decision: verdict.decision,
                position: verdict.position.map(PositionView::from),
            })
        });
        Ok(Self {
            id: PatchId(id(&patch.id, "patch id")?),
            product: patch.product,
            channel: patch.channel,
            version: patch.version,
            release: patch.release,
            class: patch.class,
            severity: patch.severity,
            title: patch.title,
            organisation: patch.organisation,
            standing: patch.standing,
            count: patch.count,
            verdicts: verdicts.collect::<Result<_, NodeError>>()?,
            missing: patch.missing,
            published: patch.published.map(PositionView::from),
            approved: patch.approved.map(PositionView::from),
            recalled: patch.recalled.map(PositionView::from),
            outcomes: patch.outcomes.into_iter().map(|count| (count.outcome, count.count)).collect(),
        })
    }

    /// What the ledger knows of it, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut rows = vec![("standing", self.standing.clone()), ("count", self.count.clone())];
        if !self.missing.is_empty() {
            rows.push(("missing", self.missing.join(", ")));
        }
        let positions = [("published", self.published), ("approved", self.approved), ("recalled", self.recalled)];
        rows.extend(positions.into_iter().filter_map(|(name, at)| Some((name, show_position(&at?)))));
        for verdict in &self.verdicts {
            let (decision, at) = (&verdict.decision, verdict.position.map_or(String::new(), |at| show_position(&at)));
            rows.push(("verdict", format!("{decision} by {} (key {}) {at}", verdict.organisation, verdict.key)));
        }
        let outcomes: Vec<_> = self.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        rows.push(("receipts", if outcomes.is_empty() { "none".to_owned() } else { outcomes.join(", ") }));
        facts(&rows)
    }
}

/// A table of patches.
#[must_use]
pub fn patch_table(patches: &[PatchView]) -> String {
    let rows: Vec<Vec<String>> = patches
        .iter()
        .map(|patch| {
            vec![
                short(&patch.id),
                patch.product.clone(),
                patch.channel.clone(),
                patch.version.clone(),
                patch.release.to_string(),
                patch.class.clone(),
                patch.severity.clone(),
                patch.standing.clone(),
                patch.missing.join(", "),
                patch.title.clone(),
            ]
        })
        .collect();
    let headings =
        ["PATCH", "PRODUCT", "CHANNEL", "VERSION", "RELEASE", "CLASS", "SEVERITY", "STANDING", "MISSING", "TITLE"];
    table(&headings, &rows)
}

/// An endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// Its key.
    pub key: PublicKey,
    /// What people call the host.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Whose it is.
    pub organisation: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `active`, `retired` or `revoked`.
    pub status: String,
    /// Where it was enrolled.
    pub enrolled: Option<PositionView>,
    /// Its newest receipt.
    pub last_receipt: Option<ReceiptView>,
}

impl EndpointView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when an id in it is none.
    pub fn new(endpoint: proto::v1::Endpoint) -> Result<Self, NodeError> {
        Ok(Self {
            key: PublicKey(id(&endpoint.key, "key")?),
            name: endpoint.name,
            group: endpoint.group,
            organisation: endpoint.organisation,
            labels: endpoint.labels.into_iter().collect(),
            status: endpoint.status,
            enrolled: endpoint.enrolled.map(PositionView::from),
            last_receipt: endpoint.last_receipt.map(ReceiptView::new).transpose()?,
        })
    }

    pub(crate) fn row(&self) -> Vec<String> {
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let last = self.last_receipt.as_ref();
        vec![
            short(&self.key),
            self.name.clone(),
            self.group.clone(),
            self.organisation.clone(),
            labels.join(","),
            self.status.clone(),
            last.map(|receipt| receipt.outcome.clone()).unwrap_or_default(),
            last.map(|receipt| receipt.to_version.clone()).unwrap_or_default(),
            last.map(|receipt| time::show(receipt.ended_at_ms)).unwrap_or_default(),
        ]
    }

    pub(crate) const HEADINGS: [&str; 9] =
        ["ENDPOINT", "NAME", "GROUP", "ORGANISATION", "LABELS", "STATUS", "LAST", "VERSION", "WHEN"];
}

/// A receipt.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiptView {
    /// The endpoint's key.
    pub endpoint: PublicKey,
    /// The endpoint's name.
    pub endpoint_name: String,
    /// The patch.
    pub patch: PatchId,
    /// Number of the receipt among the endpoint's for the patch.
    pub attempt: u32,
    /// `applied`, `rolled-back`, `failed`, `refused` or `not-applicable`.
    pub outcome: String,
    /// The check that said no; empty for `applied`.
    pub reason: String,
    /// What it saw.
    pub detail: String,
    /// `not-run`, `passed` or `failed`.
    pub health: String,
    /// Version before.
    pub from_version: String,
    /// Version now.
    pub to_version: String,
    /// The endpoint's clock when it ended.
    pub ended_at_ms: u64,
    /// Where it was finalised.
    pub position: Option<PositionView>,
    /// The transaction it is in.
    pub transaction: TransactionId,
}

impl ReceiptView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when an id in it is none.
    pub fn new(receipt: proto::v1::Receipt) -> Result<Self, NodeError> {
        Ok(Self {
            endpoint: PublicKey(id(&receipt.endpoint, "key")?),
            endpoint_name: receipt.endpoint_name,
            patch: PatchId(id(&receipt.patch, "patch id")?),
            attempt: receipt.attempt,
            outcome: receipt.outcome,
            reason: receipt.reason,
            detail: receipt.detail,
            health: receipt.health,
            from_version: receipt.from_version,
            to_version: receipt.to_version,
            ended_at_ms: receipt.ended_at_ms,
            position: receipt.position.map(PositionView::from),
            transaction: TransactionId(id(&receipt.transaction_id, "transaction id")?),
        })
    }

    pub(crate) fn row(&self) -> Vec<String> {
        vec![
            time::show(self.ended_at_ms),
            if self.endpoint_name.is_empty() { short(&self.endpoint) } else { self.endpoint_name.clone() },
            short(&self.patch),
            self.attempt.to_string(),
            self.outcome.clone(),
            self.reason.clone(),
            self.health.clone(),
            self.from_version.clone(),
            self.to_version.clone(),
            self.detail.clone(),
        ]
    }

    pub(crate) const HEADINGS: [&str; 10] =
        ["WHEN", "ENDPOINT", "PATCH", "ATTEMPT", "OUTCOME", "REASON", "HEALTH", "FROM", "TO", "DETAIL"];
}

/// A block, in one line.
#[derive(Clone, Debug, Serialize)]
pub struct BlockView {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: BlockHash,
    /// Its time.
    pub time_ms: u64,
    /// How many transactions it has.
    pub transactions: u32,
    /// The round it was decided in.
    pub round: u32,
    /// Whose validator proposed it.
    pub proposer_organisation: String,
    /// How many validators signed it.
    pub signers: u32,
}

impl BlockView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when the hash is none.
    pub fn new(block: proto::v1::BlockSummary) -> Result<Self, NodeError> {
        Ok(Self {
            height: block.height,
            hash: BlockHash(id(&block.hash, "block hash")?),
            time_ms: block.time_ms,
            transactions: block.transactions,
            round: block.round,
            proposer_organisation: block.proposer_organisation,
            signers: block.signers,
        })
    }

    pub(crate) fn row(&self) -> Vec<String> {
        vec![
            self.height.to_string(),
            time::show(self.time_ms),
            self.transactions.to_string(),
            self.round.to_string(),
            self.signers.to_string(),
            self.proposer_organisation.clone(),
            self.hash.to_string(),
        ]
    }

    pub(crate) const HEADINGS: [&str; 7] = ["HEIGHT", "TIME", "TRANSACTIONS", "ROUND", "SIGNERS", "PROPOSER", "HASH"];
}

/// What a vendor signed, for people: from the transaction itself.
#[must_use]
pub fn signed_patch_text(patch: &SignedPatch, trust: Option<&Trust>) -> String {
    let mut text = facts(&[("patch", patch.id.to_string()), ("signed by", patch.vendor(trust))]);
    text.push_str(&manifest_text(patch.manifest()));
    text
}

fn manifest_text(manifest: &PatchManifest) -> String {
    let mut rows = vec![
        ("product", manifest.product.to_string()),
        ("channel", manifest.channel.to_string()),
        ("version", manifest.version.to_string()),
        ("release", manifest.release.to_string()),
        ("class", word(&manifest.class)),
        ("severity", word(&manifest.severity)),
    ];
    let mut some = |name, value: String| {
        if !value.is_empty() {
            rows.push((name, value));
        }
    };
    some("title", manifest.title.to_string());
    some("advisories", join(manifest.advisories.iter(), ", "));
    some("targets", manifest.targets.iter().map(show_target).collect::<Vec<_>>().join("\n"));
    some("depends", manifest.depends.iter().map(show_relation).collect::<Vec<_>>().join("\n"));
    some("conflicts", manifest.conflicts.iter().map(show_relation).collect::<Vec<_>>().join("\n"));
    some("supersedes", manifest.supersedes.iter().map(show_relation).collect::<Vec<_>>().join("\n"));
    some("installer", word(&manifest.installer));
    for artifact in manifest.artifacts.iter() {
        some("artifact", format!("{}, {} bytes", artifact.name, artifact.size));
        some("  blake3", artifact.blake3.to_string());
        some("  sha256", artifact.sha256.to_string());
    }
    some("services", join(manifest.services.iter(), ", "));
    some("health", manifest.health.iter().map(show_check).collect::<Vec<_>>().join("\n"));
    some("reboot", word(&manifest.reboot));
    some("notes", manifest.notes.to_string());
    facts(&rows)
}

fn join<T: ToString>(values: impl Iterator<Item = T>, between: &str) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(between)
}

fn show_target(target: &Target) -> String {
    let mut parts = Vec::new();
    parts.extend(target.os.iter().map(|os| format!("os={os}")));
    parts.extend(target.architectures.iter().map(|arch| format!("arch={arch}")));
    parts.extend(target.hardware.iter().map(|id| format!("hardware={id}")));
    parts.extend(target.labels.iter().map(|label| format!("label:{}={}", label.key, label.value)));
    parts.extend(target.from_versions.iter().map(|version| format!("from={version}")));
    if parts.is_empty() { "every host".to_owned() } else { parts.join(",") }
}

fn show_relation(relation: &Relation) -> String {
    match relation.release_max {
        u64::MAX => format!("{}={}..", relation.product, relation.release_min),
        max => format!("{}={}..{max}", relation.product, relation.release_min),
    }
}

fn show_check(check: &HealthCheck) -> String {
    let HealthCheck { probe, timeout_ms, attempts, interval_ms } = check;
    let asked = match probe {
        Probe::Command { arguments, expect } => {
            let command = arguments.iter().map(|argument| format!("{:?}", argument.as_str())).collect::<Vec<_>>();
            let expect = expect.as_ref().map_or(String::new(), |expect| format!(" says {:?}", expect.as_str()));
            format!("command {}{expect}", command.join(" "))
        }
        Probe::Tcp { port } => format!("tcp port {port} accepts"),
        Probe::PackageVersion { package, version } => format!("package {package} has version {version}"),
    };
    format!("{asked} ({attempts} attempts of {timeout_ms} ms, {interval_ms} ms between)")
}

/// A position for people.
#[must_use]
pub fn show_position(position: &PositionView) -> String {
    let PositionView { height, index, time_ms } = position;
    match time_ms {
        0 => format!("at height {height} (transaction {index})"),
        time_ms => format!("at height {height} (transaction {index}), {}", time::show(*time_ms)),
    }
}

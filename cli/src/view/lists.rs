//! Endpoints, receipts and blocks, as a node tells of them.

use crate::connection::{NodeError, id};
use crate::submit::PositionView;
use crate::tables::short;
use crate::time;
use ledger::id::{BlockHash, PatchId, TransactionId};
use ledger::key::PublicKey;
use serde::Serialize;
use std::collections::BTreeMap;

/// An endpoint, as the ledger has it enrolled.
#[derive(Clone, Debug, Serialize)]
pub struct EnrolledView {
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
}

impl EnrolledView {
    /// Its row of a table, in which more stands than this.
    pub(super) fn row<const N: usize>(&self, more: [String; N]) -> Vec<String> {
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let row = [
            short(&self.key),
            self.name.clone(),
            self.group.clone(),
            self.organisation.clone(),
            labels.join(","),
            self.status.clone(),
        ];
        row.into_iter().chain(more).collect()
    }
}

impl TryFrom<proto::v1::Endpoint> for EnrolledView {
    type Error = NodeError;

    fn try_from(endpoint: proto::v1::Endpoint) -> Result<Self, NodeError> {
        Ok(Self {
            key: PublicKey(id(&endpoint.key, "key")?),
            name: endpoint.name,
            group: endpoint.group,
            organisation: endpoint.organisation,
            labels: endpoint.labels.into_iter().collect(),
            status: endpoint.status,
            enrolled: endpoint.enrolled.map(PositionView::from),
        })
    }
}

/// An endpoint, and what it said last.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// Which.
    #[serde(flatten)]
    pub endpoint: EnrolledView,
    /// Its newest receipt.
    pub last_receipt: Option<ReceiptView>,
}

impl EndpointView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when an id in it is none.
    pub fn new(mut endpoint: proto::v1::Endpoint) -> Result<Self, NodeError> {
        let last_receipt = endpoint.last_receipt.take().map(ReceiptView::new).transpose()?;
        Ok(Self { endpoint: endpoint.try_into()?, last_receipt })
    }

    pub(crate) fn row(&self) -> Vec<String> {
        let last = self.last_receipt.as_ref();
        self.endpoint.row([
            last.map(|receipt| receipt.outcome.clone()).unwrap_or_default(),
            last.map(|receipt| receipt.to_version.clone()).unwrap_or_default(),
            last.map(|receipt| time::show(receipt.ended_at_ms)).unwrap_or_default(),
        ])
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
            // Nodes of an older version spell it otherwise.
            health: if receipt.health == "notrun" { "not-run".to_owned() } else { receipt.health },
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

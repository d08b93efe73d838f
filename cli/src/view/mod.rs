//! What is shown of patches, endpoints, receipts, blocks, members and proposals: the JSON shapes scripts rely on, and the
//! same for people.
//!
//! Unless a type says otherwise its values are the node's word: convenient, and proof of nothing.

mod convictions;
mod governance;
mod lists;
mod manifest;

pub use convictions::{ConvictionView, CulpritView, conviction_table};
pub use governance::{BallotView, MemberKeyView, MemberView, Owners, ProposalView, changes_in_words, member_table};
pub use governance::{proposal_table, signed_proposal_text};
pub use lists::{BlockView, EndpointView, ReceiptView};
pub use manifest::signed_patch_text;

use crate::connection::{NodeError, id};
use crate::submit::PositionView;
use crate::terminal::{facts, short, table};
use crate::time;
use ledger::id::PatchId;
use ledger::key::PublicKey;
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

/// A position for people.
#[must_use]
pub fn show_position(position: &PositionView) -> String {
    let PositionView { height, index, time_ms } = position;
    match time_ms {
        0 => format!("at height {height} (transaction {index})"),
        time_ms => format!("at height {height} (transaction {index}), {}", time::show(*time_ms)),
    }
}

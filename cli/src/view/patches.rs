//! Patches: how each stands, who said so, and why.

use super::{first_line, show_position};
use crate::connection::{NodeError, id};
use crate::submit::PositionView;
use crate::tables::{facts, short, table};
use ledger::id::{Digest, PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::transaction::{Grounds, Payload};
use serde::Serialize;
use std::collections::BTreeMap;
use std::iter;

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
    /// The recall that withdrew it.
    pub recall: Option<VerdictView>,
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
    /// Why, and by what.
    #[serde(flatten)]
    pub said: Said,
    /// The transaction it was signed in.
    pub transaction: Option<TransactionId>,
}

/// What a signer gives people to understand a verdict or a recall by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The note of a verdict, the reason of a recall; in lists its beginning.
    pub note: String,
    /// BLAKE3 of the evidence looked at, when some was kept.
    pub evidence: Option<Digest>,
}

impl Said {
    /// What is said in a transaction; nothing, when it is no verdict and no recall.
    #[must_use]
    pub fn of(payload: &Payload) -> Option<Self> {
        let Grounds { note, evidence } = payload.grounds()?;
        Some(Self { note: note.to_owned(), evidence })
    }

    /// For people: a fact each, if there is one.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, String)> {
        let note = (!self.note.is_empty()).then(|| ("  note", self.note.clone()));
        let evidence = self.evidence.map(|digest| ("  evidence", format!("blake3 {digest}")));
        note.into_iter().chain(evidence)
    }

    /// The first line, as much of it as a table shows.
    pub(crate) fn line(&self) -> String {
        first_line(&self.note)
    }
}

impl VerdictView {
    fn new(verdict: proto::v1::PatchVerdict) -> Result<Self, NodeError> {
        let some = |bytes: &[u8], what| (!bytes.is_empty()).then(|| id(bytes, what)).transpose();
        Ok(Self {
            key: PublicKey(id(&verdict.key, "key")?),
            organisation: verdict.organisation,
            decision: verdict.decision,
            position: verdict.position.map(PositionView::from),
            said: Said { note: verdict.note, evidence: some(&verdict.evidence, "digest")?.map(Digest) },
            transaction: some(&verdict.transaction_id, "transaction id")?.map(TransactionId),
        })
    }

    fn rows(&self, name: &'static str) -> impl Iterator<Item = (&'static str, String)> {
        let Self { decision, organisation, key, .. } = self;
        let at = self.position.map_or(String::new(), |at| show_position(&at));
        iter::once((name, format!("{decision} by {organisation} (key {key}) {at}"))).chain(self.said.rows())
    }
}

impl PatchView {
    /// Takes a node's answer.
    ///
    /// # Errors
    /// [`NodeError::Unbelievable`] when an id in it is none.
    pub fn new(patch: proto::v1::Patch) -> Result<Self, NodeError> {
        let verdicts = patch.verdicts.into_iter().map(VerdictView::new);
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
            recall: patch.recall.map(VerdictView::new).transpose()?,
            outcomes: patch.outcomes.into_iter().map(|count| (count.outcome, count.count)).collect(),
        })
    }

    /// What the ledger knows of it, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut rows = vec![("standing", self.standing_in_words()), ("count", self.count.clone())];
        if !self.missing.is_empty() {
            rows.push(("missing", self.missing.join(", ")));
        }
        let positions = [("published", self.published), ("approved", self.approved), ("recalled", self.recalled)];
        rows.extend(positions.into_iter().filter_map(|(name, at)| Some((name, show_position(&at?)))));
        // An approver's recall is a verdict, too: it is told once.
        let withdrew = self.recall.iter().filter(|recall| self.verdicts.iter().all(|known| known.key != recall.key));
        rows.extend(withdrew.flat_map(|recall| recall.rows("verdict")));
        rows.extend(self.verdicts.iter().flat_map(|verdict| verdict.rows("verdict")));
        let outcomes: Vec<_> = self.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        rows.push(("receipts", if outcomes.is_empty() { "none".to_owned() } else { outcomes.join(", ") }));
        facts(&rows)
    }

    fn standing_in_words(&self) -> String {
        match self.standing.as_str() {
            "recalled" => {
                let by = self.recall.as_ref().map(|recall| format!(" by {}", recall.organisation)).unwrap_or_default();
                format!("recalled{by}: it must not be applied any more, whatever was approved")
            }
            standing => standing.to_owned(),
        }
    }

    /// Why it is not to be applied, in one line: of the recall, the rejection or the hold that came last.
    fn why_not(&self) -> String {
        let speaks = |wanted: &str| {
            let speaking = self.verdicts.iter().filter(move |verdict| verdict.decision == wanted);
            speaking.max_by_key(|verdict| verdict.position.map(|at| at.index))
        };
        let speaker = match self.standing.as_str() {
            "recalled" => self.recall.as_ref(),
            "rejected" => speaks("reject"),
            "held" => speaks("hold"),
            _ => None,
        };
        let alike = |verdict: &VerdictView| match self.standing.as_str() {
            // Who recalled it has the last word.
            "recalled" => 0,
            _ => self.verdicts.iter().filter(|other| other.decision == verdict.decision).count().saturating_sub(1),
        };
        let says = |verdict: &VerdictView| {
            let says = match verdict.said.line() {
                line if line.is_empty() => verdict.organisation.clone(),
                line => format!("{}: {line}", verdict.organisation),
            };
            match alike(verdict) {
                0 => says,
                more => format!("{says} (and {more} more)"),
            }
        };
        speaker.map(says).unwrap_or_default()
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
                patch.why_not(),
            ]
        })
        .collect();
    let headings = [
        "PATCH", "PRODUCT", "CHANNEL", "VERSION", "RELEASE", "CLASS", "SEVERITY", "STANDING", "MISSING", "TITLE",
        "WHY NOT",
    ];
    table(&headings, &rows)
}

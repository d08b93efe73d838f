//! What the double's services say, from its ledger.

use super::{Lie, PAGE_MAX, Shared, now_ms, refused};
use ledger::id::{PatchId, TransactionId};
use ledger::state::record::{PatchRecord, Position};
use ledger::state::{Rejection, StateView as _};
use ledger::transaction::{Payload, VerifiedTransaction};
use proto::v1::{OutcomeCount, Patch, PatchVerdict, Receipt};
use std::collections::BTreeMap;
use tonic::Status;

/// As a node refuses what a rule forbids; the words of most rules are of no interest here.
pub(super) fn refused_by_rule(rejection: Rejection) -> Status {
    match rejection {
        Rejection::AlreadyConvicted { .. } => refused("already-convicted", rejection),
        Rejection::AlreadyFinalised(_) => refused("already-finalised", rejection),
        rejection => refused("rule", rejection),
    }
}

impl Shared {
    pub(super) fn finalise(&mut self, transaction: VerifiedTransaction) -> Result<(), Status> {
        let time_ms = now_ms();
        self.ledger.check(&transaction, time_ms).map_err(refused_by_rule)?;
        match transaction.payload() {
            Payload::Enroll { endpoint, .. } => {
                self.endpoints.insert(*endpoint);
            }
            Payload::Receipt { receipt } => self.receipts.push(self.receipt(&transaction, receipt)),
            _ => {}
        }
        self.ledger.finalise(vec![transaction], time_ms);
        Ok(())
    }

    pub(super) fn position(&self, id: &TransactionId) -> Option<proto::v1::Position> {
        let index = self.ledger.log.iter().position(|(known, ..)| known.id() == *id)?;
        Some(self.position_at(index as u64))
    }

    pub(super) fn position_at(&self, index: u64) -> proto::v1::Position {
        let (_, height, time_ms) = &self.ledger.log[usize::try_from(index).unwrap()];
        proto::v1::Position { height: *height, index, time_ms: *time_ms }
    }

    pub(super) fn receipt(&self, transaction: &VerifiedTransaction, receipt: &ledger::receipt::Receipt) -> Receipt {
        let reason = receipt.reason.as_ref();
        Receipt {
            endpoint: transaction.signer().0.to_vec(),
            endpoint_name: self.ledger.storage.endpoint(transaction.signer()).unwrap().unwrap().name.to_string(),
            patch: receipt.patch.0.to_vec(),
            attempt: receipt.attempt,
            outcome: receipt.outcome.to_string(),
            reason: reason.map(|reason| reason.code.to_string()).unwrap_or_default(),
            detail: reason.map(|reason| reason.detail.to_string()).unwrap_or_default(),
            // As nodes of the first versions spelt it.
            health: format!("{:?}", receipt.health).to_lowercase(),
            from_version: receipt.from_version.to_string(),
            to_version: receipt.to_version.to_string(),
            ended_at_ms: receipt.ended_at_ms,
            position: None,
            transaction_id: transaction.id().0.to_vec(),
        }
    }

    /// Patches, newest first.
    pub(super) fn patches(&self) -> Vec<(PatchId, PatchRecord)> {
        let published = self.ledger.log.iter().rev().filter_map(|(known, ..)| match known.payload() {
            Payload::Publish { manifest } => Some(manifest.id()),
            _ => None,
        });
        published.map(|id| (id, self.ledger.storage.patch(id).unwrap().unwrap())).collect()
    }

    pub(super) fn patch(&self, id: PatchId, record: &PatchRecord) -> Patch {
        let at = |position: Position| self.position_at(position.index);
        let count = ledger::state::count_now(&self.ledger.storage, record).unwrap().unwrap();
        let published = self.ledger.log[usize::try_from(record.published.index).unwrap()].0.clone();
        let Payload::Publish { manifest } = published.payload() else { panic!("patches are published") };
        let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
        for receipt in self.receipts.iter().filter(|receipt| receipt.patch == id.0) {
            *outcomes.entry(receipt.outcome.clone()).or_default() += 1;
        }
        let mut publish_transaction = published.bytes().to_vec();
        match self.manners.lie {
            Some(Lie::OtherPatch) => publish_transaction = self.ledger.log[0].0.bytes().to_vec(),
            Some(Lie::Altered) => {
                // The last letter of the version, where a signature should notice.
                let version = record.version.as_str().as_bytes();
                let place = publish_transaction.windows(version.len()).position(|bytes| bytes == version).unwrap();
                publish_transaction[place + version.len() - 1] ^= 1;
            }
            _ => {}
        }
        let title = match self.manners.lie {
            Some(Lie::Hostile) => "\u{1b}[2J\u{202e}gnp.\u{7}\u{9b}31m".to_owned(),
            _ => manifest.title.to_string(),
        };
        Patch {
            id: id.0.to_vec(),
            product: record.product.to_string(),
            channel: record.channel.to_string(),
            version: record.version.to_string(),
            release: record.release,
            class: "security".to_owned(),
            severity: "important".to_owned(),
            title,
            organisation: record.organisation.to_string(),
            standing: record.standing.to_string(),
            count: count.to_string(),
            verdicts: record
                .verdicts
                .iter()
                .map(|verdict| self.said(verdict.position, &verdict.decision.to_string()))
                .collect(),
            missing: count.missing.iter().map(ToString::to_string).collect(),
            published: Some(at(record.published)),
            approved: record.approved.map(at),
            recalled: record.recalled.map(at),
            publish_transaction,
            outcomes: outcomes.into_iter().map(|(outcome, count)| OutcomeCount { outcome, count }).collect(),
            recall: record.recalled.map(|at| self.said(at, "recall")),
        }
    }

    /// A verdict or a recall, with what its signer wrote.
    fn said(&self, at: Position, decision: &str) -> PatchVerdict {
        let signed = &self.ledger.log[usize::try_from(at.index).unwrap()].0;
        let grounds = signed.payload().grounds().unwrap();
        let hostile = self.manners.lie == Some(Lie::Hostile);
        PatchVerdict {
            key: signed.signer().0.to_vec(),
            organisation: self.ledger.storage.key_owner(signed.signer()).unwrap().unwrap().organisation.to_string(),
            decision: decision.to_owned(),
            position: Some(self.position_at(at.index)),
            note: if hostile { "\u{1b}[2Jfine\u{7}".to_owned() } else { grounds.note.to_owned() },
            evidence: grounds.evidence.map(|digest| digest.0.to_vec()).unwrap_or_default(),
            transaction_id: signed.id().0.to_vec(),
        }
    }

    /// One page of a list, and the token of the next.
    pub(super) fn page<T>(&self, all: Vec<T>, size: u32, token: &str) -> (Vec<T>, String) {
        let start: usize = token.parse().unwrap_or(0);
        let end = (start + (size as usize).min(PAGE_MAX)).min(all.len());
        if self.manners.lie == Some(Lie::Endless) {
            return (Vec::new(), "again".to_owned());
        }
        let next = if end < all.len() { end.to_string() } else { String::new() };
        (all.into_iter().skip(start).take(end - start).collect(), next)
    }
}

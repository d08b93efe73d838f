//! What can be counted: the transactions a snapshot shows, the receipts its records are of, the outcomes it
//! tells.

use super::{OUTCOMES, SnapshotError};
use crate::id::PatchId;
use crate::state::storage::StateStorage;
use crate::state::{Record, RecordKey};
use crate::transaction::{Payload, SignedTransaction};
use std::collections::BTreeMap;

/// Counts of one snapshot. An endpoint numbers its receipts for a patch, and the newest number stands in the
/// state: so the records say how many receipts there ever were, and with the size of the history also how many
/// other transactions there must be.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Transactions shown that are no receipts.
    kept: u64,
    /// Receipts there ever were.
    receipts: u64,
    /// Receipts of the whole blocks, by patch, as long as the patch's outcomes are not told.
    shown: BTreeMap<PatchId, [u64; OUTCOMES]>,
    /// Receipts that outcomes are told of.
    told: u64,
    newest: Option<PatchId>,
}

impl Tally {
    /// Counts a transaction shown.
    pub(super) fn transaction(&mut self, signed: &SignedTransaction) {
        match &signed.transaction.payload {
            Payload::Receipt { receipt } => {
                self.shown.entry(receipt.patch).or_default()[receipt.outcome as usize] += 1;
            }
            _ => self.kept += 1,
        }
    }

    /// Counts what a record is of.
    pub(super) fn record(&mut self, record: &Record) {
        if let Record::Receipt(receipt) = record {
            self.receipts = self.receipts.saturating_add(receipt.attempt.into());
        }
    }

    /// Takes the outcomes told of a patch; `storage` has the records.
    pub(super) fn outcomes(
        &mut self,
        storage: &impl StateStorage,
        patch: PatchId,
        counts: &[u64; OUTCOMES],
    ) -> Result<(), SnapshotError> {
        let wrong = |detail| Err(SnapshotError::Outcomes { patch, detail });
        if self.newest.is_some_and(|newest| newest >= patch) {
            return wrong("it is not above the one before");
        }
        self.newest = Some(patch);
        let told = counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
        if told == 0 {
            return wrong("they are none");
        }
        if storage.record(&RecordKey::Patch(patch).state_key())?.is_none() {
            return wrong("there is no such patch");
        }
        let shown = self.shown.remove(&patch).unwrap_or_default();
        if counts.iter().zip(shown).any(|(told, shown)| *told < shown) {
            return wrong("they are fewer than the receipts of the whole blocks");
        }
        self.told = self.told.saturating_add(told);
        Ok(())
    }

    /// Compares all of it with the number of transactions there are. Where nothing is forgotten, each count is
    /// exact then: none is below what the blocks have, and together they are as many.
    pub(super) fn finish(&self, all: u64) -> Result<(), SnapshotError> {
        let &Self { kept, receipts, told, .. } = self;
        if kept.checked_add(receipts) != Some(all) {
            return Err(SnapshotError::Incomplete { kept, receipts, all });
        }
        if let Some((patch, _)) = self.shown.first_key_value() {
            return Err(SnapshotError::Outcomes { patch: *patch, detail: "those of the whole blocks are left out" });
        }
        match told == receipts {
            true => Ok(()),
            false => Err(SnapshotError::OutcomesInAll { told, receipts }),
        }
    }
}

//! What people ask by: rows that follow from a block's transactions.

use crate::column::{Column, id_and_index, numeric};
use crate::commit::Batch;
use crate::database::Database;
use crate::error::StoreError;
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::receipt::{Outcome, Receipt};
use ledger::transaction::{Payload, Transaction, VerifiedTransaction};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The outcomes, in the order their counts have in a row.
const OUTCOMES: [Outcome; 5] =
    [Outcome::Applied, Outcome::RolledBack, Outcome::Failed, Outcome::Refused, Outcome::NotApplicable];
const COUNT_BYTES: usize = 8;

/// Receipts for one patch, by outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(pub(crate) [u64; OUTCOMES.len()]);

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        if let Some(place) = OUTCOMES.iter().position(|other| *other == outcome) {
            self.0[place] += 1;
        }
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        self.0.iter().flat_map(|count| count.to_be_bytes()).collect()
    }

    /// The counts in a row; `None` when it has another length.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let mut counts = Self::default();
        if value.len() != OUTCOMES.len() * COUNT_BYTES {
            return None;
        }
        for (count, bytes) in counts.0.iter_mut().zip(value.chunks_exact(COUNT_BYTES)) {
            *count = u64::from_be_bytes(bytes.try_into().ok()?);
        }
        Some(counts)
    }

    /// Those that are not zero.
    pub(crate) fn by_outcome(&self) -> BTreeMap<Outcome, u64> {
        OUTCOMES.into_iter().zip(self.0).filter(|(_, count)| *count > 0).collect()
    }
}

/// Adds the index rows of a block's transactions, the first of which has index `first`.
pub(crate) fn write(
    database: &Database,
    batch: &mut Batch<'_>,
    first: u64,
    transactions: &[VerifiedTransaction],
) -> Result<(), StoreError> {
    let mut outcomes: BTreeMap<PatchId, Counts> = BTreeMap::new();
    for (index, transaction) in (first..).zip(transactions) {
        list(batch, index, transaction.id(), transaction.transaction());
        if let Payload::Receipt { receipt } = transaction.payload() {
            let counts = match outcomes.entry(receipt.patch) {
                Entry::Occupied(counted) => counted.into_mut(),
                Entry::Vacant(first) => first.insert(counts_before(database, receipt.patch)?),
            };
            counts.add(receipt.outcome);
        }
    }
    for (patch, counts) in outcomes {
        batch.put(Column::Outcomes, patch.as_bytes(), &counts.value());
    }
    Ok(())
}

/// The rows of the lists a transaction stands in.
pub(crate) fn list(batch: &mut Batch<'_>, index: u64, id: TransactionId, transaction: &Transaction) {
    match &transaction.payload {
        Payload::Publish { manifest } => batch.put(Column::Patches, &numeric(index), manifest.id().as_bytes()),
        Payload::Enroll { endpoint, .. } => batch.put(Column::Endpoints, &numeric(index), endpoint.as_bytes()),
        Payload::Propose { .. } => batch.put(Column::Proposals, &numeric(index), id.as_bytes()),
        Payload::Accuse { .. } => batch.put(Column::Accusations, &numeric(index), id.as_bytes()),
        Payload::Receipt { receipt } => {
            for (column, key) in receipt_rows(index, &transaction.signer, receipt) {
                batch.put(column, &key, &[]);
            }
        }
        _ => {}
    }
}

/// Where a receipt is listed.
pub(crate) fn receipt_rows(index: u64, endpoint: &PublicKey, receipt: &Receipt) -> [(Column, Vec<u8>); 3] {
    [
        (Column::Receipts, numeric(index).to_vec()),
        (Column::PatchReceipts, id_and_index(receipt.patch.as_bytes(), index).to_vec()),
        (Column::EndpointReceipts, id_and_index(endpoint.as_bytes(), index).to_vec()),
    ]
}

fn counts_before(database: &Database, patch: PatchId) -> Result<Counts, StoreError> {
    let key = patch.as_bytes();
    let Some(row) = database.get(Column::Outcomes, key)? else { return Ok(Counts::default()) };
    Counts::parse(&row).ok_or_else(|| StoreError::row(Column::Outcomes, key, None, "not five counts"))
}

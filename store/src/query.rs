//! What can be asked of a chain, beyond what the ledger itself asks: blocks, transactions, and the lists
//! people page through.

mod lists;
mod page;

pub use page::{Cursor, PAGE_ROWS_MAX, Page, ParseCursorError};

use crate::column::{Column, number, numeric, parse_place};
use crate::error::StoreError;
use crate::store::Store;
use crate::view::View;
use ledger::block::Header;
use ledger::certificate::Certificate;
use ledger::encoding::{Canonical, decode, encode};
use ledger::governance::ProposalRecord;
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::proof::EpochLink;
use ledger::receipt::{Outcome, Receipt};
use ledger::state::record::{EndpointRecord, PatchRecord, Position};
use rocksdb::Direction;
use std::collections::BTreeMap;

/// A finalised transaction and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Height of its block.
    pub height: u64,
    /// Index of its leaf in the history.
    pub index: u64,
    /// Time of its block.
    pub time_ms: u64,
    /// The signed transaction.
    pub bytes: Vec<u8>,
}

/// Which receipts; without a part, all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptFilter {
    /// Only for this patch.
    pub patch: Option<PatchId>,
    /// Only of this endpoint.
    pub endpoint: Option<PublicKey>,
}

/// A receipt and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptEntry {
    /// Who wrote it.
    pub endpoint: PublicKey,
    /// What it says.
    pub receipt: Receipt,
    /// Where it was finalised.
    pub position: Position,
    /// Time of its block.
    pub time_ms: u64,
    /// The transaction it came in.
    pub transaction: TransactionId,
}

impl View<'_> {
    /// The header of a block.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn header(&self, height: u64) -> Result<Option<Header>, StoreError> {
        self.decoded(Column::Headers, height)
    }

    /// The certificate of a block; genesis has none.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn certificate(&self, height: u64) -> Result<Option<Certificate>, StoreError> {
        self.decoded(Column::Certificates, height)
    }

    /// The bytes of a block, as they travel, and its certificate; genesis has none. `None` for blocks that are
    /// not there whole ([`View::floor`]), too.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    #[allow(clippy::type_complexity, reason = "two parts, each of which may be missing, say it best")]
    pub fn block(&self, height: u64) -> Result<Option<(Vec<u8>, Option<Certificate>)>, StoreError> {
        let Some(header) = self.header(height)? else { return Ok(None) };
        if height > 0 && height < self.floor()? {
            return Ok(None);
        }
        let certificate = self.certificate(height)?;
        if certificate.is_none() && height > 0 {
            return Err(StoreError::row(Column::Certificates, &numeric(height), None, "the row is missing"));
        }
        // A list is its length and its elements, nothing between (`ledger::encoding`).
        let mut bytes = encode(&header);
        bytes.extend_from_slice(&encode(&u64::from(header.tx_count)));
        for transaction in self.transactions_of(&header) {
            bytes.extend_from_slice(&transaction?);
        }
        Ok(Some((bytes, certificate)))
    }

    /// The signed bytes of a block's transactions, in order.
    pub(crate) fn transactions_of(&self, header: &Header) -> impl Iterator<Item = Result<Box<[u8]>, StoreError>> {
        let (first, height) = (header.history_size, header.height);
        let mut rows =
            (header.tx_count > 0).then(|| self.scan(Column::Transactions, &numeric(first), Direction::Forward));
        (first..header.history_size_after()).map(move |index| {
            match rows.as_mut().and_then(Iterator::next).transpose()? {
                Some((key, bytes)) if number(&key) == Some(index) => Ok(bytes),
                _ => Err(StoreError::row(Column::Transactions, &numeric(index), Some(height), "the row is missing")),
            }
        })
    }

    /// A finalised transaction by id.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn transaction(&self, id: &TransactionId) -> Result<Option<Located>, StoreError> {
        let key = id.as_bytes();
        let Some(row) = self.get(Column::TransactionIds, key)? else { return Ok(None) };
        let place = parse_place(&row);
        let (height, index) = place.ok_or_else(|| StoreError::row(Column::TransactionIds, key, None, "not a place"))?;
        let header = self.required_header(height)?;
        self.body(&header, index).map(Some)
    }

    /// The transaction at an index of the history.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn transaction_at(&self, index: u64) -> Result<Option<Located>, StoreError> {
        match self.header_over(index)? {
            Some(header) => self.body(&header, index).map(Some),
            None => Ok(None),
        }
    }

    /// Receipts for a patch by outcome, all attempts counted; outcomes nobody reported are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn outcome_counts(&self, patch: PatchId) -> Result<BTreeMap<Outcome, u64>, StoreError> {
        let key = patch.as_bytes();
        let Some(row) = self.get(Column::Outcomes, key)? else { return Ok(BTreeMap::new()) };
        let counts = crate::index::Counts::parse(&row);
        Ok(counts.ok_or_else(|| StoreError::row(Column::Outcomes, key, None, "not five counts"))?.by_outcome())
    }

    /// The header of the block that has the transaction at `index`.
    pub(crate) fn header_over(&self, index: u64) -> Result<Option<Header>, StoreError> {
        let mut spans = self.scan(Column::Spans, &numeric(index), Direction::Reverse);
        let Some((key, value)) = spans.next().transpose()? else { return Ok(None) };
        let height = number(&value).ok_or_else(|| StoreError::row(Column::Spans, &key, None, "not a height"))?;
        let header = self.required_header(height)?;
        Ok((index < header.history_size_after()).then_some(header))
    }

    pub(crate) fn required_header(&self, height: u64) -> Result<Header, StoreError> {
        let header = self.header(height)?;
        header.ok_or_else(|| StoreError::row(Column::Headers, &numeric(height), None, "the row is missing"))
    }

    fn body(&self, header: &Header, index: u64) -> Result<Located, StoreError> {
        let (height, time_ms) = (header.height, header.time_ms);
        let row = self.get(Column::Transactions, &numeric(index))?;
        let missing = || StoreError::row(Column::Transactions, &numeric(index), Some(height), "the row is missing");
        Ok(Located { height, index, time_ms, bytes: row.ok_or_else(missing)?.to_vec() })
    }

    fn decoded<T: Canonical>(&self, column: Column, height: u64) -> Result<Option<T>, StoreError> {
        let key = numeric(height);
        let Some(row) = self.get(column, &key)? else { return Ok(None) };
        decode(&row).map(Some).map_err(|error| StoreError::row(column, &key, None, error.to_string()))
    }
}

/// The same questions to a store, each answered as of now. [`View`] says what they mean.
#[allow(clippy::missing_errors_doc, reason = "said at the methods of `View`")]
impl Store {
    /// See [`View::header`].
    pub fn header(&self, height: u64) -> Result<Option<Header>, StoreError> {
        self.view().header(height)
    }

    /// See [`View::certificate`].
    pub fn certificate(&self, height: u64) -> Result<Option<Certificate>, StoreError> {
        self.view().certificate(height)
    }

    /// See [`View::block`].
    #[allow(clippy::type_complexity, reason = "two parts, each of which may be missing, say it best")]
    pub fn block(&self, height: u64) -> Result<Option<(Vec<u8>, Option<Certificate>)>, StoreError> {
        self.view().block(height)
    }

    /// See [`View::transaction`].
    pub fn transaction(&self, id: &TransactionId) -> Result<Option<Located>, StoreError> {
        self.view().transaction(id)
    }

    /// See [`View::transaction_at`].
    pub fn transaction_at(&self, index: u64) -> Result<Option<Located>, StoreError> {
        self.view().transaction_at(index)
    }

    /// See [`View::outcome_counts`].
    pub fn outcome_counts(&self, patch: PatchId) -> Result<BTreeMap<Outcome, u64>, StoreError> {
        self.view().outcome_counts(patch)
    }

    /// See [`View::patches`].
    pub fn patches(&self, after: Option<Cursor>, limit: usize) -> Result<Page<(PatchId, PatchRecord)>, StoreError> {
        self.view().patches(after, limit)
    }

    /// See [`View::endpoints`].
    pub fn endpoints(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<(PublicKey, EndpointRecord)>, StoreError> {
        self.view().endpoints(after, limit)
    }

    /// See [`View::proposals`].
    pub fn proposals(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<(TransactionId, ProposalRecord)>, StoreError> {
        self.view().proposals(after, limit)
    }

    /// See [`View::accusations`].
    pub fn accusations(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<(TransactionId, Located)>, StoreError> {
        self.view().accusations(after, limit)
    }

    /// See [`View::epochs`].
    pub fn epochs(&self, from: u64, limit: usize) -> Result<Vec<EpochLink>, StoreError> {
        self.view().epochs(from, limit)
    }

    /// See [`View::receipts`].
    pub fn receipts(
        &self,
        filter: ReceiptFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ReceiptEntry>, StoreError> {
        self.view().receipts(filter, after, limit)
    }
}

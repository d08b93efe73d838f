//! The lists people page through.

use super::{Cursor, Located, PAGE_ROWS_MAX, Page, ReceiptEntry, ReceiptFilter};
use crate::column::{Column, id_and_index, number, numeric};
use crate::database::Row;
use crate::error::StoreError;
use crate::view::View;
use ledger::block::Header;
use ledger::encoding::{decode, encode};
use ledger::governance::ProposalRecord;
use ledger::id::{PatchId, TransactionId, context, derive};
use ledger::key::PublicKey;
use ledger::proof::EpochLink;
use ledger::state::StateView as _;
use ledger::state::record::{EndpointRecord, PatchRecord, Position};
use ledger::transaction::{Payload, SignedTransaction};
use rocksdb::Direction;

/// Receipts looked at for one page, when only some of them are wanted. A page may therefore be short and
/// still have a next one.
const RECEIPTS_EXAMINED_MAX: usize = 10_000;

impl View<'_> {
    /// Patches, the newest publication first.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn patches(&self, after: Option<Cursor>, limit: usize) -> Result<Page<(PatchId, PatchRecord)>, StoreError> {
        let Some(from) = before(after) else { return Ok(last_page()) };
        let rows = self.scan(Column::Patches, &numeric(from), Direction::Reverse);
        self.page(rows, limit, |key, value| {
            let id = PatchId(id_in(Column::Patches, key, value)?);
            let record = self.patch(id)?;
            let record = record.ok_or_else(|| StoreError::row(Column::Patches, key, None, "no such patch"))?;
            Ok((id, record))
        })
    }

    /// Endpoints, in the order of their enrolment.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn endpoints(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<(PublicKey, EndpointRecord)>, StoreError> {
        let from = after.map_or(Some(0), |Cursor(last)| last.checked_add(1));
        let Some(from) = from else { return Ok(last_page()) };
        let rows = self.scan(Column::Endpoints, &numeric(from), Direction::Forward);
        self.page(rows, limit, |key, value| {
            let endpoint = PublicKey(id_in(Column::Endpoints, key, value)?);
            let record = self.endpoint(endpoint)?;
            let record = record.ok_or_else(|| StoreError::row(Column::Endpoints, key, None, "no such endpoint"))?;
            Ok((endpoint, record))
        })
    }

    /// Proposals, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn proposals(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<(TransactionId, ProposalRecord)>, StoreError> {
        let Some(from) = before(after) else { return Ok(last_page()) };
        let rows = self.scan(Column::Proposals, &numeric(from), Direction::Reverse);
        self.page(rows, limit, |key, value| {
            let id = TransactionId(id_in(Column::Proposals, key, value)?);
            let record = self.proposal(id)?;
            let record = record.ok_or_else(|| StoreError::row(Column::Proposals, key, None, "no such proposal"))?;
            Ok((id, record))
        })
    }

    /// Accusations, the newest first: where each stands, and its transaction.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn accusations(
        &self,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<(TransactionId, Located)>, StoreError> {
        let Some(from) = before(after) else { return Ok(last_page()) };
        let rows = self.scan(Column::Accusations, &numeric(from), Direction::Reverse);
        self.page(rows, limit, |key, value| {
            let id = TransactionId(id_in(Column::Accusations, key, value)?);
            let missing = || StoreError::row(Column::Accusations, key, None, "no such accusation");
            let located = self.transaction_at(number(key).ok_or_else(missing)?)?;
            Ok((id, located.ok_or_else(missing)?))
        })
    }

    /// Changes of the validator set, the oldest first, from a height on: each with the header that says
    /// so, certified by the set before.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn epochs(&self, from: u64, limit: usize) -> Result<Vec<EpochLink>, StoreError> {
        let mut links = Vec::new();
        for row in self.scan(Column::Epochs, &numeric(from), Direction::Forward).take(limit) {
            let (key, value) = row?;
            let broken = |detail: String| StoreError::row(Column::Epochs, &key, None, detail);
            let height = number(&key).ok_or_else(|| broken("not a height".to_owned()))?;
            let validators = decode(&value).map_err(|error| broken(error.to_string()))?;
            let (header, certificate) = (self.header(height)?, self.certificate(height)?);
            let (Some(header), Some(certificate)) = (header, certificate) else {
                return Err(broken("a block without header or certificate".to_owned()));
            };
            links.push(EpochLink { header, certificate, validators });
        }
        Ok(links)
    }

    /// Receipts, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no.
    pub fn receipts(
        &self,
        filter: ReceiptFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<ReceiptEntry>, StoreError> {
        let Some(from) = before(after) else { return Ok(last_page()) };
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let (column, owner) = match filter {
            ReceiptFilter { endpoint: Some(endpoint), .. } => (Column::EndpointReceipts, Some(endpoint.0)),
            ReceiptFilter { patch: Some(patch), .. } => (Column::PatchReceipts, Some(patch.0)),
            _ => (Column::Receipts, None),
        };
        let key = owner.map_or(numeric(from).to_vec(), |owner| id_and_index(&owner, from).to_vec());
        let (mut page, mut last) = (last_page(), None);
        let mut block: Option<Header> = None;
        for (examined, row) in self.scan(column, &key, Direction::Reverse).enumerate() {
            let (key, _) = row?;
            let Some(index) = index_of(column, &key, owner.as_ref())? else { break };
            if page.rows.len() == limit || examined == RECEIPTS_EXAMINED_MAX {
                page.next = last.map(Cursor);
                break;
            }
            let entry = self.receipt_at(index, &mut block)?;
            if filter.patch.is_none_or(|patch| entry.receipt.patch == patch) {
                page.rows.push(entry);
            }
            last = Some(index);
        }
        Ok(page)
    }

    /// The receipt at an index; `block` is the header the one before was under, which is often the same.
    fn receipt_at(&self, index: u64, block: &mut Option<Header>) -> Result<ReceiptEntry, StoreError> {
        let broken = |detail: &str| StoreError::row(Column::Receipts, &numeric(index), None, detail);
        let covers = |header: &Header| (header.history_size..header.history_size_after()).contains(&index);
        if !block.as_ref().is_some_and(covers) {
            *block = self.header_over(index)?;
        }
        let header = block.as_ref().ok_or_else(|| broken("beyond the end of the chain"))?;
        let located = self.body(header, index)?;
        let signed: SignedTransaction = decode(&located.bytes).map_err(|error| {
            StoreError::row(Column::Transactions, &numeric(index), Some(header.height), error.to_string())
        })?;
        let transaction = TransactionId(derive(&context::TRANSACTION_ID, &encode(&signed.transaction)));
        let endpoint = signed.transaction.signer;
        let Payload::Receipt { receipt } = signed.transaction.payload else { return Err(broken("not a receipt")) };
        let position = Position { height: located.height, index };
        Ok(ReceiptEntry { endpoint, receipt, position, time_ms: located.time_ms, transaction })
    }

    /// Up to `limit` rows, keyed by index, and whether there are more.
    fn page<T>(
        &self,
        rows: impl Iterator<Item = Result<Row, StoreError>>,
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let (mut page, mut last) = (last_page(), None);
        for row in rows {
            let (key, value) = row?;
            if page.rows.len() == limit {
                page.next = last.map(Cursor);
                break;
            }
            page.rows.push(read(&key, &value)?);
            last = number(&key);
        }
        Ok(page)
    }
}

/// Where a list that goes backwards continues; `None` when there is nothing left.
fn before(after: Option<Cursor>) -> Option<u64> {
    after.map_or(Some(u64::MAX), |Cursor(last)| last.checked_sub(1))
}

fn last_page<T>() -> Page<T> {
    Page { rows: Vec::new(), next: None }
}

/// The index at the end of a key, if the key still belongs to `owner`.
fn index_of(column: Column, key: &[u8], owner: Option<&[u8; 32]>) -> Result<Option<u64>, StoreError> {
    let index = match owner {
        Some(owner) => match key.strip_prefix(owner) {
            Some(index) => index,
            None => return Ok(None),
        },
        None => key,
    };
    number(index).map(Some).ok_or_else(|| StoreError::row(column, key, None, "the key has no index"))
}

fn id_in(column: Column, key: &[u8], value: &[u8]) -> Result<[u8; 32], StoreError> {
    value.try_into().map_err(|_| StoreError::row(column, key, None, "not an id of 32 bytes"))
}

//! Forgetting: the receipts of old blocks, and what nobody needs any more without them.
//!
//! What has not expired stays whole: whether a transaction was finalised before must be known as long as it
//! could come again. Everything proofs and lists show stays for ever.

use crate::column::{Column, number, numeric};
use crate::commit::Batch;
use crate::error::StoreError;
use crate::index::receipt_rows;
use crate::meta;
use crate::store::Store;
use crate::view::View;
use ledger::block::Header;
use ledger::encoding::{decode, encode};
use ledger::id::{TransactionId, context, derive};
use ledger::limits;
use ledger::snapshot::is_kept;
use ledger::transaction::{Payload, SignedTransaction};
use rocksdb::Direction;

/// Blocks forgotten in one batch: a batch is in memory, and the chain goes on between two of them.
const BLOCKS_AT_ONCE: u64 = 256;

/// What one pass came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Blocks that are not whole any more.
    pub blocks: u64,
    /// Receipts forgotten.
    pub receipts: u64,
    /// Whether there is more to forget now.
    pub more: bool,
}

impl Store {
    /// Forgets receipts of blocks that are older than `keep_ms`, before the newest block; never of younger
    /// ones than a transaction may live. Some blocks at a time: call again while [`Pruned::more`].
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no. Nothing, or all of this pass, is forgotten then.
    pub fn prune(&self, keep_ms: u64) -> Result<Pruned, StoreError> {
        let view = self.view();
        let (newest, floor) = (view.tip()?.header, view.floor()?);
        let keep_ms = keep_ms.max(limits::EXPIRY_AHEAD_MS_MAX);
        let mut batch = Batch::new(self.database(), newest.height);
        let mut pruned = Pruned::default();
        let mut height = floor;
        while height < newest.height {
            let header = view.required_header(height)?;
            if header.time_ms.saturating_add(keep_ms) > newest.time_ms {
                break;
            }
            if height - floor == BLOCKS_AT_ONCE {
                pruned.more = true;
                break;
            }
            pruned.receipts += forget_receipts(&view, &mut batch, &header)?;
            if height > 1 {
                let before = view.required_header(height - 1)?;
                if forget_what_proves(&view, &mut batch, &before)? {
                    batch.delete(Column::Headers, &numeric(before.height));
                }
            }
            height += 1;
        }
        pruned.blocks = height - floor;
        if pruned.blocks > 0 {
            // The header before the first whole block stays: that block is said to follow it. Nothing proves
            // it but that block, as in a store that began with a snapshot.
            forget_what_proves(&view, &mut batch, &view.required_header(height - 1)?)?;
            batch.put(Column::Meta, meta::FLOOR_KEY, &numeric(height));
            self.write_beside_blocks(batch)?;
        }
        Ok(pruned)
    }
}

fn forget_receipts(view: &View<'_>, batch: &mut Batch<'_>, header: &Header) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for (index, bytes) in (header.history_size..).zip(view.transactions_of(header)) {
        let broken = |detail: String| StoreError::row(Column::Transactions, &numeric(index), None, detail);
        let signed: SignedTransaction = decode(&bytes?).map_err(|error| broken(error.to_string()))?;
        let Payload::Receipt { receipt } = &signed.transaction.payload else { continue };
        let id = TransactionId(derive(&context::TRANSACTION_ID, &encode(&signed.transaction)));
        batch.delete(Column::Transactions, &numeric(index));
        batch.delete(Column::TransactionIds, id.as_bytes());
        for (column, key) in receipt_rows(index, &signed.transaction.signer, receipt) {
            batch.delete(column, &key);
        }
        forgotten += 1;
    }
    Ok(forgotten)
}

/// Forgets where a block's transactions begin when none of them is kept, and its certificate when no change of
/// the validators is in it either. Whether nobody needs its header any more then.
fn forget_what_proves(view: &View<'_>, batch: &mut Batch<'_>, header: &Header) -> Result<bool, StoreError> {
    if has_kept(view, header)? {
        return Ok(false);
    }
    // Where a block without transactions begins, the next one does.
    if header.tx_count > 0 {
        batch.delete(Column::Spans, &numeric(header.history_size));
    }
    if header.validators_hash != header.next_validators_hash {
        return Ok(false);
    }
    batch.delete(Column::Certificates, &numeric(header.height));
    Ok(true)
}

/// Whether a block has a transaction that is kept.
fn has_kept(view: &View<'_>, header: &Header) -> Result<bool, StoreError> {
    for row in view.scan(Column::Transactions, &numeric(header.history_size), Direction::Forward) {
        let (key, bytes) = row?;
        let broken = |detail: String| StoreError::row(Column::Transactions, &key, None, detail);
        let index = number(&key).ok_or_else(|| broken("not an index".to_owned()))?;
        if index >= header.history_size_after() {
            return Ok(false);
        }
        // Receipts of the block before may be forgotten in this very batch.
        let signed: SignedTransaction = decode(&bytes).map_err(|error| broken(error.to_string()))?;
        if is_kept(&signed) {
            return Ok(true);
        }
    }
    Ok(false)
}

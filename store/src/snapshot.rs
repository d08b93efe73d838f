//! A snapshot of the chain, part by part, for whoever begins here.

use crate::column::{Column, number, numeric};
use crate::error::StoreError;
use crate::index::Counts;
use crate::view::View;
use ledger::block::{Block, Header};
use ledger::bounded::{Blob, List};
use ledger::encoding::decode;
use ledger::history::{self, HistoryStorage as _};
use ledger::id::PatchId;
use ledger::limits;
use ledger::snapshot::{KeptTransaction, SNAPSHOT_VERSION, SnapshotPart, has_expired, is_kept};
use ledger::state::StateKey;
use ledger::transaction::SignedTransaction;
use rocksdb::Direction;

/// Bytes of records in one part: a part must fit a frame.
const PART_BYTES: usize = limits::FRAME_BYTES_MAX / 2;

/// Which blocks are in it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Those that somebody who begins here needs: what they have may not have expired yet.
    Needed,
    /// All that the store has whole.
    All,
}

impl View<'_> {
    /// Says the chain as of this moment, part by part.
    ///
    /// # Errors
    /// [`StoreError`] when the disk says no, or what `say` says. [`StoreError::NothingFinal`] while there is
    /// nothing but the genesis.
    pub fn snapshot<E: From<StoreError>>(
        &self,
        whole: Whole,
        mut say: impl FnMut(SnapshotPart) -> Result<(), E>,
    ) -> Result<(), E> {
        let header = self.tip()?.header;
        let certificate = self.certificate(header.height)?.ok_or(StoreError::NothingFinal)?;
        let before = self.before_whole(&header, whole)?;
        let first = before.height + 1;
        let version = SNAPSHOT_VERSION;
        say(SnapshotPart::Begin { version, header: header.clone(), certificate, before: before.clone() })?;
        self.say_epochs(&header, &mut say)?;
        self.say_leaves(header.history_size, &mut say)?;
        self.say_kept(before.history_size_after(), &mut say)?;
        for height in first..=header.height {
            let missing = || StoreError::row(Column::Headers, &numeric(height), None, "the row is missing");
            let (block, certificate) = self.block(height)?.ok_or_else(missing)?;
            let block = Block::parse(&block)
                .map_err(|error| StoreError::row(Column::Headers, &numeric(height), None, error.to_string()))?;
            say(SnapshotPart::Whole { block, certificate: certificate.ok_or_else(missing)? })?;
        }
        self.say_records(&mut say)?;
        self.say_outcomes(&mut say)?;
        say(SnapshotPart::End)
    }

    /// The header before the first block that goes in whole.
    fn before_whole(&self, newest: &Header, whole: Whole) -> Result<Header, StoreError> {
        let floor = self.floor()?;
        let mut before = self.required_header(newest.height - 1)?;
        while before.height >= floor && !(whole == Whole::Needed && has_expired(before.time_ms, newest.time_ms)) {
            before = self.required_header(before.height - 1)?;
        }
        Ok(before)
    }

    fn say_epochs<E: From<StoreError>>(
        &self,
        header: &Header,
        say: &mut impl FnMut(SnapshotPart) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = 0;
        loop {
            let links = self.epochs(from, limits::EPOCHS_MAX)?;
            let Some(last) = links.last() else { return Ok(()) };
            from = last.header.height + 1;
            // A change in the newest block itself is in force after it: its own block says so.
            for link in links.into_iter().filter(|link| link.header.height < header.height) {
                say(SnapshotPart::Epoch(link))?;
            }
        }
    }

    fn say_leaves<E: From<StoreError>>(
        &self,
        size: u64,
        say: &mut impl FnMut(SnapshotPart) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut hashes = Vec::with_capacity(limits::SNAPSHOT_LEAVES_MAX);
        for index in 0..size {
            let position = history::leaf_position(index);
            let hash = self.history_hash(position).map_err(StoreError::from)?;
            let missing = || StoreError::row(Column::History, &numeric(position), None, "the hash is missing");
            hashes.push(hash.ok_or_else(missing)?);
            if hashes.len() == limits::SNAPSHOT_LEAVES_MAX || index + 1 == size {
                say(SnapshotPart::Leaves(bounded(std::mem::take(&mut hashes))?))?;
            }
        }
        Ok(())
    }

    /// Transactions with an index below `end`, receipts left out, block by block.
    fn say_kept<E: From<StoreError>>(
        &self,
        end: u64,
        say: &mut impl FnMut(SnapshotPart) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut block: Option<(Header, Vec<KeptTransaction>)> = None;
        for row in self.scan(Column::Transactions, &numeric(0), Direction::Forward) {
            let (key, bytes) = row?;
            let broken = |detail: String| StoreError::row(Column::Transactions, &key, None, detail);
            let index = number(&key).ok_or_else(|| broken("not an index".to_owned()))?;
            if index >= end {
                break;
            }
            let transaction: SignedTransaction = decode(&bytes).map_err(|error| broken(error.to_string()))?;
            if !is_kept(&transaction) {
                continue;
            }
            match &mut block {
                Some((header, kept)) if index < header.history_size_after() => kept.push((index, transaction)),
                other => {
                    let header = self.header_over(index)?.ok_or_else(|| broken("no block has it".to_owned()))?;
                    if let Some(done) = other.replace((header, vec![(index, transaction)])) {
                        say(self.kept(done)?)?;
                    }
                }
            }
        }
        match block {
            Some(last) => say(self.kept(last)?),
            None => Ok(()),
        }
    }

    fn kept(&self, (header, transactions): (Header, Vec<KeptTransaction>)) -> Result<SnapshotPart, StoreError> {
        let missing = || StoreError::row(Column::Certificates, &numeric(header.height), None, "the row is missing");
        let certificate = self.certificate(header.height)?.ok_or_else(missing)?;
        Ok(SnapshotPart::Kept { certificate, transactions: bounded(transactions)?, header })
    }

    fn say_records<E: From<StoreError>>(&self, say: &mut impl FnMut(SnapshotPart) -> Result<(), E>) -> Result<(), E> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in self.scan(Column::Records, &[], Direction::Forward) {
            let (key, record) = row?;
            let broken = |detail: String| StoreError::row(Column::Records, &key, None, detail);
            let state_key = <[u8; 32]>::try_from(&key[..]).map_err(|_| broken("not a state key".to_owned()))?;
            if rows.len() == limits::SNAPSHOT_RECORDS_MAX || bytes + record.len() > PART_BYTES {
                say(SnapshotPart::Records(bounded(std::mem::take(&mut rows))?))?;
                bytes = 0;
            }
            // A row costs its key and a length beside its bytes.
            bytes += record.len() + state_key.len() + 8;
            let record = Blob::new(record.into_vec()).map_err(|error| broken(error.to_string()))?;
            rows.push((StateKey(state_key), record));
        }
        say(SnapshotPart::Records(bounded(rows)?))
    }

    fn say_outcomes<E: From<StoreError>>(&self, say: &mut impl FnMut(SnapshotPart) -> Result<(), E>) -> Result<(), E> {
        let mut rows = Vec::new();
        for row in self.scan(Column::Outcomes, &[], Direction::Forward) {
            let (key, value) = row?;
            let broken = || StoreError::row(Column::Outcomes, &key, None, "not counts of a patch");
            let patch = <[u8; 32]>::try_from(&key[..]).map_err(|_| broken())?;
            let counts = Counts::parse(&value).ok_or_else(broken)?;
            rows.push((PatchId(patch), counts.0));
            if rows.len() == limits::SNAPSHOT_RECORDS_MAX {
                say(SnapshotPart::Outcomes(bounded(std::mem::take(&mut rows))?))?;
            }
        }
        if rows.is_empty() { Ok(()) } else { say(SnapshotPart::Outcomes(bounded(rows)?)) }
    }
}

fn bounded<T, const MAX: usize>(elements: Vec<T>) -> Result<List<T, MAX>, StoreError> {
    List::new(elements).map_err(|error| StoreError::Database { detail: format!("a part of a snapshot: {error}") })
}

//! Every block again, from the genesis on.

use super::{Progress, Report};
use crate::column::{Column, number, numeric};
use crate::error::StoreError;
use crate::store::Store;
use crate::view::View;
use ledger::block::{Block, Header};
use ledger::bounded::List;
use ledger::certificate::{Certificate, CertificateError};
use ledger::execution::{self, ExecutionError, Tip};
use ledger::id::ChainId;
use ledger::state::StateView as _;
use ledger::state::storage::StorageError;
use ledger::transaction::{SignedTransaction, VerifiedTransaction};
use rocksdb::Direction;
use std::thread;

/// Executes all blocks of a chain again into `derived`. `false` when it had to stop before the end.
pub(super) fn replay(
    chain: &View<'_>,
    derived: &Store,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<bool, StoreError> {
    match end(chain) {
        Ok(height) => report.height = height,
        Err(error) => return report.add_error(error).map(|()| false),
    }
    for height in 1..=report.height {
        match replay_block(chain, derived, height) {
            Ok(transactions) => report.transactions += transactions,
            Err(error) => return report.add_error(at_height(error, height)).map(|()| false),
        }
        report.proven = height;
        progress(Progress::Replayed { height, of: report.height });
    }
    Ok(true)
}

/// Where the chain ends. A tip that is not the header it claims to be is named by the comparison; the
/// headers know as well.
fn end(chain: &View<'_>) -> Result<u64, StoreError> {
    if let Ok(tip) = chain.tip() {
        let height = tip.header.height;
        if chain.header(height)?.is_some_and(|header| header == tip.header) {
            return Ok(height);
        }
    }
    let mut rows = chain.scan(Column::Headers, &numeric(u64::MAX), Direction::Reverse);
    Ok(rows.next().transpose()?.and_then(|(key, _)| number(&key)).unwrap_or(0))
}

fn replay_block(chain: &View<'_>, derived: &Store, height: u64) -> Result<u64, StoreError> {
    let missing = |column| StoreError::row(column, &numeric(height), None, "the row is missing");
    let header = chain.header(height)?.ok_or_else(|| missing(Column::Headers))?;
    let certificate = chain.certificate(height)?.ok_or_else(|| missing(Column::Certificates))?;
    let tip = derived.tip();
    check_certificate(chain, derived, &header, &certificate)?;
    check_history_size(&tip, &header)?;

    let transactions = transactions(chain, &header, &derived.chain_id())?;
    let signed = transactions.iter().map(|transaction| transaction.signed().clone()).collect();
    let signed = List::new(signed)
        .map_err(|error| StoreError::row(Column::Headers, &numeric(height), None, format!("tx_count: {error}")))?;
    let first = header.history_size;
    let executed = execution::execute(derived, &tip, Block { header, transactions: signed }, transactions)
        .map_err(|error| not_what_follows(height, first, error))?;
    derived.commit(&executed, &certificate)?;
    Ok(executed.transactions.len() as u64)
}

/// A quorum of the right validators signed this header. When they signed another, the next block, or the
/// tip, tells which of the two was changed.
fn check_certificate(
    chain: &View<'_>,
    derived: &Store,
    header: &Header,
    certificate: &Certificate,
) -> Result<(), StoreError> {
    let unknown = || StorageError::new("state records", "no validator sets");
    let validators = derived.upcoming_validators()?.ok_or_else(unknown)?.next;
    let Err(error) = certificate.verify(header, &derived.chain_id(), &validators) else { return Ok(()) };
    let child = chain.header(header.height + 1).ok().flatten().map(|child| child.parent);
    let tip = chain.tip().ok().map(|tip| tip.header).filter(|tip| tip.height == header.height);
    let witness = child.or_else(|| tip.map(|tip| tip.hash()));
    let column = match &error {
        CertificateError::WrongBlock { certificate, .. } if witness == Some(*certificate) => Column::Headers,
        CertificateError::WrongValidators { .. } => Column::Headers,
        _ => Column::Certificates,
    };
    Err(StoreError::row(column, &numeric(header.height), None, error.to_string()))
}

/// Where the block's transactions are is asked before its header is believed.
fn check_history_size(tip: &Tip, header: &Header) -> Result<(), StoreError> {
    let (actual, expected) = (header.history_size, tip.header.history_size_after());
    if actual != expected {
        let detail = format!("history_size is {actual}, must be {expected}");
        return Err(StoreError::row(Column::Headers, &numeric(header.height), None, detail));
    }
    Ok(())
}

fn not_what_follows(height: u64, first: u64, error: ExecutionError) -> StoreError {
    let (column, key) = match &error {
        ExecutionError::Transaction { index, .. } => (Column::Transactions, first + *index as u64),
        ExecutionError::Block(_) => (Column::Headers, height),
        ExecutionError::Storage(error) => return error.clone().into(),
    };
    StoreError::row(column, &numeric(key), Some(height), error.to_string())
}

/// The block's transactions, each with its signature checked; on all cores, because nothing else takes
/// as long.
fn transactions(chain: &View<'_>, header: &Header, id: &ChainId) -> Result<Vec<VerifiedTransaction>, StoreError> {
    let rows: Vec<_> = chain.transactions_of(header).collect::<Result<_, _>>()?;
    let first = header.history_size;
    let verify = |place: usize, bytes: &[u8]| {
        SignedTransaction::verify_bytes(bytes, id).map_err(|error| {
            let key = numeric(first + place as u64);
            StoreError::row(Column::Transactions, &key, Some(header.height), error.to_string())
        })
    };
    let portion = rows.len().div_ceil(thread::available_parallelism().map_or(1, usize::from)).max(1);
    let portions: Result<Vec<Vec<_>>, StoreError> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (number, rows) in rows.chunks(portion).enumerate() {
            let places = number * portion..;
            threads.push(
                scope.spawn(move || places.zip(rows).map(|(place, row)| verify(place, row)).collect::<Result<_, _>>()),
            );
        }
        let joined = threads.into_iter().map(|thread| thread.join().expect("verifying a signature does not panic"));
        joined.collect()
    });
    Ok(portions?.into_iter().flatten().collect())
}

/// Adds the height to a corruption that was met while its block was read.
fn at_height(error: StoreError, height: u64) -> StoreError {
    match error {
        StoreError::Corrupt(mut found) => {
            found.height = found.height.or(Some(height));
            StoreError::Corrupt(found)
        }
        other => other,
    }
}

//! Executing a block: from verified transactions to everything that must be written, in one value.

use crate::block::{Block, BlockError, Header, Place};
use crate::history::{self, HistoryStorage, HistoryUpdate};
use crate::id::Digest;
use crate::key::PublicKey;
use crate::limits;
use crate::state::storage::{StateStorage, StorageError};
use crate::state::tree::{TreeHead, TreeUpdate};
use crate::state::{ApplyError, BlockContext, Rejection, State, StateView};
use crate::transaction::VerifiedTransaction;

/// The chain's newest end: what the next block is built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The newest header.
    pub header: Header,
    /// The newest version of the state tree.
    pub tree: TreeHead,
    /// RFC 6962 root over all transactions, the newest block's included.
    pub history_root: Digest,
}

/// A block with everything that follows from it: ready to be written once it is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutedBlock {
    /// The block.
    pub block: Block,
    /// Its transactions, verified, in the block's order.
    pub transactions: Vec<VerifiedTransaction>,
    /// Changes of the state.
    pub state: TreeUpdate,
    /// Additions to the history.
    pub history: HistoryUpdate,
}

impl ExecutedBlock {
    /// The tip once this block is written.
    #[must_use]
    pub fn tip(&self) -> Tip {
        Tip {
            header: self.block.header.clone(),
            tree: TreeHead { version: self.state.version, root: self.state.root },
            history_root: self.history.root,
        }
    }
}

/// Why a block is not the next one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// The block does not fit its place.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The rules forbid one of its transactions.
    #[error("transaction {index}: {rejection}")]
    Transaction {
        /// Place in the block.
        index: usize,
        /// The rule.
        rejection: Rejection,
    },
    /// The disk failed; no verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A candidate that did not make it into a proposed block.
pub type Dropped = (VerifiedTransaction, Rejection);

/// Puts together the next block from candidates: those the rules forbid are dropped, and the block
/// stops before its limits.
///
/// # Errors
/// [`ExecutionError::Storage`]; the others cannot arise from candidates.
pub fn propose<S: StateStorage + HistoryStorage>(
    storage: &S,
    tip: &Tip,
    candidates: impl IntoIterator<Item = VerifiedTransaction>,
    time_ms: u64,
    proposer: PublicKey,
) -> Result<(ExecutedBlock, Vec<Dropped>), ExecutionError> {
    let time_ms = time_ms.max(tip.header.time_ms + 1);
    let mut state = State::begin(storage, context(tip, time_ms));
    let (mut transactions, mut dropped) = (Vec::new(), Vec::new());
    let mut room = limits::BLOCK_BYTES_MAX - BLOCK_OVERHEAD_BYTES_MAX;
    for candidate in candidates {
        let size = candidate.bytes().len();
        if size > room || transactions.len() == limits::BLOCK_TRANSACTIONS_MAX {
            break;
        }
        match state.apply(&candidate) {
            Ok(()) => {
                room -= size;
                transactions.push(candidate);
            }
            Err(ApplyError::Rejected(rejection)) => dropped.push((candidate, rejection)),
            Err(ApplyError::Storage(error)) => return Err(error.into()),
        }
    }
    let state = state.finish(Some(tip.tree))?;
    let header = place(storage, tip)?.header(time_ms, proposer, &transactions, state.root);
    let block = Block::propose(header, &transactions)?;
    let history = append(storage, tip, &transactions)?;
    Ok((ExecutedBlock { block, transactions, state, history }, dropped))
}

/// Executes a block somebody else put together and checks that its header is what follows. The
/// signatures were checked when the transactions became verified; `transactions` are the block's, and
/// that is checked here: an id does not cover the signature, so a node that found them by id could
/// otherwise be led to store a block with other signatures in it.
///
/// # Errors
/// [`ExecutionError`] names the first thing that does not follow.
pub fn execute<S: StateStorage + HistoryStorage>(
    storage: &S,
    tip: &Tip,
    block: Block,
    transactions: Vec<VerifiedTransaction>,
) -> Result<ExecutedBlock, ExecutionError> {
    check_same(&block, &transactions)?;
    let mut state = State::begin(storage, context(tip, block.header.time_ms));
    for (index, transaction) in transactions.iter().enumerate() {
        state.apply(transaction).map_err(|error| match error {
            ApplyError::Rejected(rejection) => ExecutionError::Transaction { index, rejection },
            ApplyError::Storage(error) => ExecutionError::Storage(error),
        })?;
    }
    let state = state.finish(Some(tip.tree))?;
    place(storage, tip)?.check(&block.header, &transactions, state.root)?;
    let history = append(storage, tip, &transactions)?;
    Ok(ExecutedBlock { block, transactions, state, history })
}

fn check_same(block: &Block, transactions: &[VerifiedTransaction]) -> Result<(), BlockError> {
    let differs =
        block.transactions.iter().zip(transactions).position(|(signed, verified)| signed != verified.signed());
    let (carried, verified) = (block.transactions.len(), transactions.len());
    match differs.or((carried != verified).then_some(carried.min(verified))) {
        Some(index) => Err(BlockError::OtherTransactions { index }),
        None => Ok(()),
    }
}

/// Header and list length, generously: what a block's encoding needs besides its transactions.
const BLOCK_OVERHEAD_BYTES_MAX: usize = 1024;

fn context(tip: &Tip, time_ms: u64) -> BlockContext {
    BlockContext { height: tip.header.height + 1, time_ms, history_size: tip.header.history_size_after() }
}

/// The place after the tip. The set of height h + 2 is fixed by block h: it is in the state already.
fn place<S: StateStorage>(storage: &S, tip: &Tip) -> Result<Place, StorageError> {
    let upcoming =
        storage.upcoming_validators()?.ok_or_else(|| StorageError::new("state records", "no validator sets"))?;
    Ok(Place {
        parent: tip.header.clone(),
        history_root: tip.history_root,
        next_validators_hash: upcoming.after_next.hash(),
    })
}

fn append<S: HistoryStorage>(
    storage: &S,
    tip: &Tip,
    transactions: &[VerifiedTransaction],
) -> Result<HistoryUpdate, StorageError> {
    if transactions.is_empty() {
        let size = tip.header.history_size_after();
        return Ok(HistoryUpdate { first_index: 0, hashes: Vec::new(), size, root: tip.history_root });
    }
    let leaves = transactions.iter().map(VerifiedTransaction::bytes);
    history::append(storage, tip.header.history_size_after(), leaves)
}

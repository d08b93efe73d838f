//! Why a snapshot is not believed.

use super::SNAPSHOT_VERSION;
use crate::certificate::CertificateError;
use crate::id::{ChainId, Digest, PatchId};
use crate::moment::Moment;
use crate::proof::EpochError;
use crate::state::StateKey;
use crate::state::root::NotAscending;
use crate::state::storage::StorageError;

/// Why a snapshot is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A part that is not due.
    #[error("{actual} comes where {expected} is due")]
    OutOfOrder {
        /// What came.
        actual: &'static str,
        /// What was due.
        expected: &'static str,
    },
    /// Of a later or unknown format.
    #[error("it has version {0}, this program reads {SNAPSHOT_VERSION}")]
    Version(u16),
    /// Of another ledger.
    #[error("it is of chain {actual}, the trust root is {expected}")]
    WrongChain {
        /// Its chain.
        actual: ChainId,
        /// The chain trusted.
        expected: ChainId,
    },
    /// A change of validators that does not lead on.
    #[error("change of validators at height {height}: {problem}")]
    Epoch {
        /// Where.
        height: u64,
        /// Why not.
        problem: EpochError,
    },
    /// A header that no quorum signed.
    #[error("height {height}: {problem}")]
    Certificate {
        /// Where.
        height: u64,
        /// Why not.
        problem: CertificateError,
    },
    /// A transaction finalised before the first whole block may not have expired.
    #[error("its whole blocks begin after one of {}, too late to have everything that could come again", Moment(*before_ms))]
    TooShort {
        /// Time of the header before the first whole block.
        before_ms: u64,
    },
    /// The history is not the one the header names.
    #[error("the history does not lead to the header's root")]
    History,
    /// A transaction that is not at its place in the history.
    #[error("transaction {index} is not the one in the history")]
    Transaction {
        /// Its index.
        index: u64,
    },
    /// A receipt of a block that is not there whole: nobody keeps those.
    #[error("transaction {index} is a receipt of a block that is not there whole")]
    Receipt {
        /// Its index.
        index: u64,
    },
    /// A block or header that is not due.
    #[error("height {height}: {detail}")]
    Block {
        /// Where.
        height: u64,
        /// What does not fit.
        detail: &'static str,
    },
    /// Records that do not ascend.
    #[error(transparent)]
    Records(#[from] NotAscending),
    /// Bytes that are no record.
    #[error("what is under {0:?} is not a record")]
    NoRecord(StateKey),
    /// The records are not the state the header names.
    #[error("the records make state root {actual}, the header has {expected}")]
    State {
        /// Root of the records.
        actual: Digest,
        /// Root of the header.
        expected: Digest,
    },
    /// A record speaks of a transaction that is not there.
    #[error("a record of the state speaks of transaction {index}, which is left out")]
    LeftOut {
        /// Its index.
        index: u64,
    },
    /// Something that is kept for ever was left out: the records say how many receipts there ever were.
    #[error(
        "it shows {kept} transactions that are kept, and its records are of {receipts} receipts: these are not the {all} \
         of the history"
    )]
    Incomplete {
        /// Transactions shown that are no receipts.
        kept: u64,
        /// Receipts there are.
        receipts: u64,
        /// Transactions there are.
        all: u64,
    },
    /// Outcomes of a patch that cannot be.
    #[error("outcomes of patch {patch}: {detail}")]
    Outcomes {
        /// The patch.
        patch: PatchId,
        /// What does not fit.
        detail: &'static str,
    },
    /// Outcomes of more or fewer receipts than there are.
    #[error("its outcomes are of {told} receipts, its records of {receipts}")]
    OutcomesInAll {
        /// Outcomes told.
        told: u64,
        /// Receipts there are.
        receipts: u64,
    },
    /// The own disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

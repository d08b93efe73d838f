//! Snapshots: a ledger at one height, for whoever begins there instead of at genesis.
//!
//! Nothing in a snapshot is believed. Certificates prove its header and all older ones it shows, the
//! history root proves every transaction, the state root every record, and the records how many receipts there
//! are and so that nothing else is left out. It has all transactions that could still be handed in again, because
//! none of them has expired. Of old receipts, only what came of which is somebody's word (docs/protocol.md,
//! section 13).

mod error;
mod examination;
mod stage;
mod survey;
mod tally;

pub use error::SnapshotError;
pub use examination::Examination;
pub use survey::Survey;

use crate::block::{Block, Header};
use crate::bounded::{Blob, List};
use crate::certificate::Certificate;
use crate::encoding::{Canonical, Limit};
use crate::id::{Digest, PatchId};
use crate::limits;
use crate::proof::EpochLink;
use crate::state::StateKey;
use crate::transaction::{Payload, SignedTransaction};
use serde::{Deserialize, Serialize};

/// Version of the format.
pub const SNAPSHOT_VERSION: u16 = 1;
/// Outcomes counted for each patch, in the order of [`crate::receipt::Outcome`].
pub const OUTCOMES: usize = 5;

/// A transaction that is kept, and its place in the history.
pub type KeptTransaction = (u64, SignedTransaction);
/// A record as it stands in the state: its key, its bytes.
pub type StateRow = (StateKey, Blob<{ limits::MESSAGE_BYTES_MAX }>);

/// A piece of a snapshot. Pieces come in the order of the variants; [`SnapshotPart::Begin`] and
/// [`SnapshotPart::End`] once, the others as often as there is something to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "a part lives from one door to the next")]
pub enum SnapshotPart {
    /// 0: what the snapshot is of.
    Begin {
        /// Of the format.
        version: u16,
        /// The header it ends with.
        header: Header,
        /// Proves it final.
        certificate: Certificate,
        /// The header before the first whole block: genesis, or so old that whatever its block and those
        /// before it have has expired.
        before: Header,
    },
    /// 1: a change of the validators, the oldest first.
    Epoch(EpochLink),
    /// 2: leaf hashes of the history before `header`, in order.
    Leaves(List<Digest, { limits::SNAPSHOT_LEAVES_MAX }>),
    /// 3: of a block that is not there whole, the transactions that are kept: all but receipts.
    Kept {
        /// Its header.
        header: Header,
        /// Proves it final.
        certificate: Certificate,
        /// Ascending.
        transactions: List<KeptTransaction, { limits::BLOCK_TRANSACTIONS_MAX }>,
    },
    /// 4: a whole block: all after `before`, in order, the last with `header`.
    Whole {
        /// The block.
        block: Block,
        /// Proves it final.
        certificate: Certificate,
    },
    /// 5: records, ascending by key.
    Records(List<StateRow, { limits::SNAPSHOT_RECORDS_MAX }>),
    /// 6: receipts for patches by outcome, ascending by patch. Of old receipts told, not proven.
    Outcomes(List<(PatchId, [u64; OUTCOMES]), { limits::SNAPSHOT_RECORDS_MAX }>),
    /// 7: there is no more.
    End,
}

impl Canonical for SnapshotPart {
    const NAME: &'static str = "part of a snapshot";
    const LIMIT: Limit = Limit::Frame;
}

/// Whether a transaction is kept when its block is old. Receipts are what a fleet writes most of, and
/// what an endpoint last did stands in the state.
#[must_use]
pub fn is_kept(transaction: &SignedTransaction) -> bool {
    !matches!(transaction.transaction.payload, Payload::Receipt { .. })
}

/// Whether whatever a block of this time has, has expired for every block after `tip_ms`.
#[must_use]
pub fn has_expired(block_ms: u64, tip_ms: u64) -> bool {
    block_ms.saturating_add(limits::EXPIRY_AHEAD_MS_MAX) <= tip_ms
}

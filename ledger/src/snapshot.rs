//! Snapshots: a ledger at one height, for whoever begins there instead of at genesis.
//!
//! Nothing in a snapshot is believed. Certificates prove its header and all older ones it shows, the
//! history root proves every transaction, the state root every record; and it has all transactions that
//! could still be handed in again, because none of them has expired. Only the counts of outcomes are
//! somebody's word (docs/protocol.md, section 13).

use crate::block::{Block, Header, PROTOCOL_VERSION};
use crate::bounded::{Blob, List};
use crate::certificate::{Certificate, CertificateError};
use crate::encoding::{Canonical, Limit, encode};
use crate::genesis::GenesisBlock;
use crate::history::{self, HistoryStorage};
use crate::id::{ChainId, Digest, PatchId};
use crate::limits;
use crate::merkle;
use crate::moment::Moment;
use crate::proof::{EpochError, EpochLink};
use crate::state::StateKey;
use crate::state::storage::StorageError;
use crate::transaction::{Payload, SignedTransaction};
use crate::validators::ValidatorSet;
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
    /// 6: receipts for patches by outcome. Told, not proven.
    Outcomes(List<(PatchId, [u64; OUTCOMES]), { limits::SNAPSHOT_RECORDS_MAX }>),
    /// 7: there is no more.
    End,
}

impl Canonical for SnapshotPart {
    const NAME: &'static str = "part of a snapshot";
    const LIMIT: Limit = Limit::Frame;
}

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
    /// A block or header that is not due.
    #[error("height {height}: {detail}")]
    Block {
        /// Where.
        height: u64,
        /// What does not fit.
        detail: &'static str,
    },
    /// Records that do not ascend.
    #[error("record {0:?} is not above the one before")]
    Records(StateKey),
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
    /// The own disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Begin,
    Epochs,
    Leaves,
    Kept,
    Whole,
    Records,
    Outcomes,
    End,
}

/// Examines a snapshot part by part. What passes may be written down; what is written counts when
/// [`Examination::finish`] has passed too.
#[derive(Clone, Debug)]
pub struct Examination {
    chain: ChainId,
    genesis: Header,
    stage: Stage,
    /// The sets of validators and the heights above which they are in force.
    eras: Vec<(u64, ValidatorSet)>,
    /// Of the snapshot, its certificate and the header before its first whole block.
    begun: Option<(Header, Certificate, Header)>,
    leaves: u64,
    kept: u64,
    parent: Option<Header>,
    last_key: Option<StateKey>,
}

impl Examination {
    /// Begins with the trust root.
    #[must_use]
    pub fn new(genesis: &GenesisBlock) -> Self {
        Self {
            chain: genesis.chain_id,
            genesis: genesis.header.clone(),
            stage: Stage::Begin,
            eras: vec![(0, genesis.genesis.validators.clone())],
            begun: None,
            leaves: 0,
            kept: 0,
            parent: None,
            last_key: None,
        }
    }

    /// The header the snapshot is of, once it was shown.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.begun.as_ref().map(|(header, ..)| header)
    }

    /// Height of the first whole block.
    #[must_use]
    pub fn first_whole(&self) -> u64 {
        self.begun.as_ref().map_or(1, |(_, _, before)| before.height + 1)
    }

    /// Leaf hashes taken so far.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Whether the last part was [`SnapshotPart::End`].
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::End
    }

    /// Examines the next part. `storage` has what was taken before.
    ///
    /// # Errors
    /// [`SnapshotError`] names what does not hold.
    pub fn take(&mut self, storage: &impl HistoryStorage, part: &SnapshotPart) -> Result<(), SnapshotError> {
        let stage = part.stage();
        let repeats = matches!(stage, Stage::Epochs | Stage::Leaves | Stage::Kept | Stage::Whole);
        let repeats = repeats || matches!(stage, Stage::Records | Stage::Outcomes);
        let begins = self.stage == Stage::Begin && self.begun.is_none();
        if begins != (stage == Stage::Begin) || stage < self.stage || (stage == self.stage && !repeats && !begins) {
            return Err(SnapshotError::OutOfOrder { actual: stage.name(), expected: self.stage.name() });
        }
        self.pass(storage, stage)?;
        match part {
            SnapshotPart::Begin { version, header, certificate, before } => {
                self.begin(*version, header, certificate, before)
            }
            SnapshotPart::Epoch(link) => self.epoch(link),
            SnapshotPart::Leaves(hashes) => {
                self.leaves += hashes.len() as u64;
                let most = self.header().map_or(0, |header| header.history_size);
                if self.leaves > most { Err(SnapshotError::History) } else { Ok(()) }
            }
            SnapshotPart::Kept { header, certificate, transactions } => {
                self.older(storage, header, certificate, transactions)
            }
            SnapshotPart::Whole { block, certificate } => self.whole(storage, block, certificate),
            SnapshotPart::Records(rows) => self.records(rows),
            SnapshotPart::Outcomes(_) | SnapshotPart::End => Ok(()),
        }
    }

    /// Takes the root the records make.
    ///
    /// # Errors
    /// [`SnapshotError`] when it is not over, or the records are not those of its header.
    pub fn finish(&self, state_root: Digest) -> Result<(), SnapshotError> {
        let (Some(header), true) = (self.header(), self.is_over()) else {
            return Err(SnapshotError::OutOfOrder { actual: "nothing", expected: Stage::End.name() });
        };
        match state_root == header.state_root {
            true => Ok(()),
            false => Err(SnapshotError::State { actual: state_root, expected: header.state_root }),
        }
    }

    /// What must hold when one kind of part is over.
    fn pass(&mut self, storage: &impl HistoryStorage, stage: Stage) -> Result<(), SnapshotError> {
        let over = |last: Stage| self.stage <= last && stage > last;
        if let Some((header, certificate, before)) = &self.begun {
            if over(Stage::Epochs) {
                self.check(header, certificate)?;
            }
            if over(Stage::Leaves) {
                let all = self.leaves == header.history_size;
                if !all || history::root(storage, header.history_size)? != header.history_root {
                    return Err(SnapshotError::History);
                }
            }
            if over(Stage::Whole) && self.parent.as_ref().unwrap_or(before) != header {
                return Err(SnapshotError::Block { height: header.height, detail: "its block is not there" });
            }
        }
        self.stage = stage;
        Ok(())
    }

    fn begin(
        &mut self,
        version: u16,
        header: &Header,
        certificate: &Certificate,
        before: &Header,
    ) -> Result<(), SnapshotError> {
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(version));
        }
        if header.chain_id != self.chain {
            return Err(SnapshotError::WrongChain { actual: header.chain_id, expected: self.chain });
        }
        let height = before.height;
        if height >= header.height {
            return Err(SnapshotError::Block { height, detail: "whole blocks begin behind the snapshot's header" });
        }
        if height == 0 && *before != self.genesis {
            return Err(SnapshotError::Block { height, detail: "it is not the genesis of the trust root" });
        }
        if height > 0 && !has_expired(before.time_ms, header.time_ms) {
            return Err(SnapshotError::TooShort { before_ms: before.time_ms });
        }
        self.begun = Some((header.clone(), certificate.clone(), before.clone()));
        Ok(())
    }

    fn epoch(&mut self, link: &EpochLink) -> Result<(), SnapshotError> {
        let height = link.header.height;
        let (before, set) = &self.eras[self.eras.len() - 1];
        link.check(&self.chain, set, *before).map_err(|problem| SnapshotError::Epoch { height, problem })?;
        self.eras.push((height, link.validators.clone()));
        Ok(())
    }

    fn older(
        &mut self,
        storage: &impl HistoryStorage,
        header: &Header,
        certificate: &Certificate,
        transactions: &[KeptTransaction],
    ) -> Result<(), SnapshotError> {
        let height = header.height;
        if height <= self.kept || height >= self.first_whole() {
            return Err(SnapshotError::Block { height, detail: "it is not between the one before and the whole ones" });
        }
        self.check(header, certificate)?;
        self.kept = height;
        let mut due = header.history_size;
        for (index, transaction) in transactions {
            if *index < due || *index >= header.history_size_after() {
                return Err(SnapshotError::Transaction { index: *index });
            }
            check_leaf(storage, *index, &encode(transaction))?;
            due = index + 1;
        }
        Ok(())
    }

    fn whole(
        &mut self,
        storage: &impl HistoryStorage,
        block: &Block,
        certificate: &Certificate,
    ) -> Result<(), SnapshotError> {
        let Some((last, _, before)) = &self.begun else { return Ok(()) };
        let (header, parent) = (&block.header, self.parent.as_ref().unwrap_or(before));
        let height = header.height;
        let wrong = |detail| Err(SnapshotError::Block { height, detail });
        if height != parent.height + 1 || header.parent != parent.hash() {
            return wrong("it does not follow the one before");
        }
        if height > last.height {
            return wrong("it is behind the snapshot's header");
        }
        self.check(header, certificate)?;
        let leaves: Vec<Vec<u8>> = block.transactions.iter().map(encode).collect();
        let count = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
        if header.tx_count != count || header.tx_root != merkle::root(leaves.iter().map(Vec::as_slice)) {
            return wrong("these are not its transactions");
        }
        // The newest block's own transactions are in the history of the next one.
        if height < last.height {
            for (index, leaf) in (header.history_size..).zip(&leaves) {
                check_leaf(storage, index, leaf)?;
            }
        }
        self.parent = Some(header.clone());
        Ok(())
    }

    fn records(&mut self, rows: &[StateRow]) -> Result<(), SnapshotError> {
        for (key, _) in rows {
            if self.last_key.is_some_and(|last| last >= *key) {
                return Err(SnapshotError::Records(*key));
            }
            self.last_key = Some(*key);
        }
        Ok(())
    }

    fn check(&self, header: &Header, certificate: &Certificate) -> Result<(), SnapshotError> {
        let height = header.height;
        if header.version != PROTOCOL_VERSION {
            return Err(SnapshotError::Block { height, detail: "its header is of an unknown version" });
        }
        let era = self.eras.iter().rev().find(|(above, _)| *above < height).unwrap_or(&self.eras[0]);
        let verified = certificate.verify(header, &self.chain, &era.1);
        verified.map(|_| ()).map_err(|problem| SnapshotError::Certificate { height, problem })
    }
}

fn check_leaf(storage: &impl HistoryStorage, index: u64, leaf: &[u8]) -> Result<(), SnapshotError> {
    match storage.history_hash(history::leaf_position(index))? {
        Some(hash) if hash == history::leaf_hash(leaf) => Ok(()),
        _ => Err(SnapshotError::Transaction { index }),
    }
}

impl SnapshotPart {
    fn stage(&self) -> Stage {
        match self {
            Self::Begin { .. } => Stage::Begin,
            Self::Epoch(_) => Stage::Epochs,
            Self::Leaves(_) => Stage::Leaves,
            Self::Kept { .. } => Stage::Kept,
            Self::Whole { .. } => Stage::Whole,
            Self::Records(_) => Stage::Records,
            Self::Outcomes(_) => Stage::Outcomes,
            Self::End => Stage::End,
        }
    }
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Begin => "the beginning",
            Self::Epochs => "a change of validators",
            Self::Leaves => "hashes of the history",
            Self::Kept => "an older block",
            Self::Whole => "a whole block",
            Self::Records => "records",
            Self::Outcomes => "outcomes",
            Self::End => "the end",
        }
    }
}

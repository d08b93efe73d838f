//! Headers and blocks.

use crate::bounded::List;
use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::id::{BlockHash, ChainId, Digest, context, derive};
use crate::key::PublicKey;
use crate::limits;
use crate::merkle;
use crate::moment::{Moment, Span};
use crate::transaction::{SignedTransaction, VerifiedTransaction};
use serde::{Deserialize, Serialize};

/// Version of header and transaction formats.
pub const PROTOCOL_VERSION: u16 = 1;

/// What a quorum signs (docs/protocol.md §3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`PROTOCOL_VERSION`].
    pub version: u16,
    /// The ledger this block belongs to.
    pub chain_id: ChainId,
    /// Number of the block; the genesis header is 0.
    pub height: u64,
    /// Milliseconds since 1970-01-01 UTC, strictly greater than the parent's.
    pub time_ms: u64,
    /// Hash of the header before.
    pub parent: BlockHash,
    /// Root of the Merkle tree over this block's transactions.
    pub tx_root: Digest,
    /// How many transactions this block has.
    pub tx_count: u32,
    /// RFC 6962 root over all transactions of all blocks *before* this one.
    pub history_root: Digest,
    /// How many transactions those are.
    pub history_size: u64,
    /// Root of the state *after* this block.
    pub state_root: Digest,
    /// Hash of the validator set that certifies this block.
    pub validators_hash: Digest,
    /// Hash of the validator set that certifies the next block.
    pub next_validators_hash: Digest,
    /// Validating key of the proposer; zero in the genesis header.
    pub proposer: PublicKey,
}

impl Canonical for Header {
    const NAME: &'static str = "header";
    const LIMIT: Limit = Limit::Message;
}

impl Header {
    /// `BLAKE3 derive_key("countersign/v1/block-hash", encoding)`.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        BlockHash(derive(&context::BLOCK_HASH, &encode(self)))
    }

    /// Transactions in the history after this block.
    #[must_use]
    pub fn history_size_after(&self) -> u64 {
        self.history_size.saturating_add(u64::from(self.tx_count))
    }
}

/// A header and its transactions, as they travel and as they are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The transactions, in order.
    pub transactions: List<SignedTransaction, { limits::BLOCK_TRANSACTIONS_MAX }>,
}

impl Canonical for Block {
    const NAME: &'static str = "block";
    const LIMIT: Limit = Limit::Block;
}

/// Why a block does not follow its parent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not bytes of a block.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A header field has not the one value it must have after this parent.
    #[error("header field {field} is {actual}, must be {expected}")]
    Header {
        /// Name of the field, as in docs/protocol.md.
        field: &'static str,
        /// Value found.
        actual: String,
        /// Value required.
        expected: String,
    },
    /// Time does not advance.
    #[error("time {} is not after the parent's {}", Moment(*time_ms), Moment(*parent_ms))]
    TimeNotIncreasing {
        /// Time of the block.
        time_ms: u64,
        /// Time of its parent.
        parent_ms: u64,
    },
    /// Time is too far ahead of the judge's clock.
    #[error("time {} is more than {} ahead of this clock ({})", Moment(*time_ms), Span(limits::CLOCK_AHEAD_MS_MAX), Moment(*now_ms))]
    TimeAhead {
        /// Time of the block.
        time_ms: u64,
        /// The judge's clock.
        now_ms: u64,
    },
    /// What was verified is not what the block carries.
    #[error("transaction {index} of the block is not the one that was verified")]
    OtherTransactions {
        /// The first place where they differ.
        index: usize,
    },
    /// The encoded block is over the limit.
    #[error("block has {actual} bytes, at most {} allowed", limits::BLOCK_BYTES_MAX)]
    TooLarge {
        /// Encoded bytes.
        actual: usize,
    },
}

/// What a block must follow: everything about its place that is known before it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The header before.
    pub parent: Header,
    /// RFC 6962 root over all transactions up to and including the parent's.
    pub history_root: Digest,
    /// Hash of the set of validators for the height after this one.
    pub next_validators_hash: Digest,
}

impl Place {
    /// The one header a block at this place with these transactions and this outcome can have.
    #[must_use]
    pub fn header(
        &self,
        time_ms: u64,
        proposer: PublicKey,
        transactions: &[VerifiedTransaction],
        state_root: Digest,
    ) -> Header {
        Header {
            version: PROTOCOL_VERSION,
            chain_id: self.parent.chain_id,
            height: self.parent.height + 1,
            time_ms,
            parent: self.parent.hash(),
            tx_root: merkle::root(transactions.iter().map(VerifiedTransaction::bytes)),
            tx_count: u32::try_from(transactions.len()).expect("a block is bounded to 5,000 transactions"),
            history_root: self.history_root,
            history_size: self.parent.history_size_after(),
            state_root,
            validators_hash: self.parent.next_validators_hash,
            next_validators_hash: self.next_validators_hash,
            proposer,
        }
    }

    /// Checks that `header` is the one header for these transactions and this outcome here. Its time
    /// and proposer are its own to choose: time is checked against the parent, the proposer by
    /// whoever knows the rounds.
    ///
    /// # Errors
    /// [`BlockError`] names the first field that differs.
    pub fn check(
        &self,
        header: &Header,
        transactions: &[VerifiedTransaction],
        state_root: Digest,
    ) -> Result<(), BlockError> {
        if header.time_ms <= self.parent.time_ms {
            return Err(BlockError::TimeNotIncreasing { time_ms: header.time_ms, parent_ms: self.parent.time_ms });
        }
        let expected = self.header(header.time_ms, header.proposer, transactions, state_root);
        let field = |name, actual: &dyn ToString, expected: &dyn ToString| {
            let (actual, expected) = (actual.to_string(), expected.to_string());
            if actual == expected { Ok(()) } else { Err(BlockError::Header { field: name, actual, expected }) }
        };
        if *header == expected {
            return Ok(());
        }
        field("version", &header.version, &expected.version)?;
        field("chain_id", &header.chain_id, &expected.chain_id)?;
        field("height", &header.height, &expected.height)?;
        field("parent", &header.parent, &expected.parent)?;
        field("tx_root", &header.tx_root, &expected.tx_root)?;
        field("tx_count", &header.tx_count, &expected.tx_count)?;
        field("history_root", &header.history_root, &expected.history_root)?;
        field("history_size", &header.history_size, &expected.history_size)?;
        field("state_root", &header.state_root, &expected.state_root)?;
        field("validators_hash", &header.validators_hash, &expected.validators_hash)?;
        field("next_validators_hash", &header.next_validators_hash, &expected.next_validators_hash)
    }
}

/// Whether a proposed time is acceptable to a validator whose clock shows `now_ms`. Asked before
/// voting only: a finalised block is never judged by a clock.
///
/// # Errors
/// [`BlockError::TimeAhead`].
pub fn check_clock(header: &Header, now_ms: u64) -> Result<(), BlockError> {
    if header.time_ms > now_ms.saturating_add(limits::CLOCK_AHEAD_MS_MAX) {
        return Err(BlockError::TimeAhead { time_ms: header.time_ms, now_ms });
    }
    Ok(())
}

impl Block {
    /// Puts a block together.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`] when the encoding would not be accepted anywhere.
    pub fn propose(header: Header, transactions: &[VerifiedTransaction]) -> Result<Self, BlockError> {
        let signed = transactions.iter().map(|transaction| transaction.signed().clone()).collect();
        let block =
            Self { header, transactions: List::new(signed).map_err(|_| BlockError::TooLarge { actual: usize::MAX })? };
        let actual = encode(&block).len();
        if actual > limits::BLOCK_BYTES_MAX {
            return Err(BlockError::TooLarge { actual });
        }
        Ok(block)
    }

    /// Parses a block from outside.
    ///
    /// # Errors
    /// [`BlockError::Decode`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BlockError> {
        Ok(decode(bytes)?)
    }
}

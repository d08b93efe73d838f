//! What members' nodes say to each other.

use ledger::block::{Block, Header};
use ledger::bounded::{Blob, List};
use ledger::certificate::Certificate;
use ledger::encoding::{Canonical, Limit};
use ledger::id::{BlockHash, ChainId, TransactionId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::transaction::VerifiedTransaction;
use serde::{Deserialize, Serialize};

/// Version of this language; peers of another one are not talked to.
pub const PEER_VERSION: u16 = 1;
/// Transactions in one gossip message.
pub const GOSSIP_TRANSACTIONS_MAX: usize = 2_000;
/// Bytes of transactions in one gossip message.
pub const GOSSIP_BYTES_MAX: usize = 1024 * 1024;
/// Blocks asked for at once.
pub const BLOCKS_PER_REQUEST_MAX: u32 = 64;

/// One signed transaction, opaque.
pub type TransactionBytes = Blob<{ limits::TRANSACTION_BYTES_MAX }>;

/// One message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// First of all: who I am.
    Hello {
        /// [`PEER_VERSION`].
        version: u16,
        /// My ledger.
        chain: ChainId,
        /// My newest height.
        height: u64,
        /// My validating key, if I have one.
        validator: Option<PublicKey>,
    },
    /// My newest height, after every block.
    Status {
        /// It.
        height: u64,
    },
    /// A consensus message.
    Consensus(crate::Message),
    /// The body of a proposal: header and transaction ids. The transactions are in everybody's pool.
    Body {
        /// The header.
        header: Header,
        /// Ids in the order of the block.
        transactions: List<TransactionId, { limits::BLOCK_TRANSACTIONS_MAX }>,
    },
    /// Send me that body.
    WantBody {
        /// Which.
        block: BlockHash,
    },
    /// Send me these transactions of that body.
    WantTransactions {
        /// Which body.
        block: BlockHash,
        /// Places in it.
        places: List<u32, { limits::BLOCK_TRANSACTIONS_MAX }>,
    },
    /// Transactions for everybody's pool.
    Transactions(List<TransactionBytes, GOSSIP_TRANSACTIONS_MAX>),
    /// Send me finalised blocks.
    WantBlocks {
        /// From this height on.
        from: u64,
        /// So many.
        count: u32,
    },
    /// A finalised block, asked for.
    FinalisedBlock {
        /// The block.
        block: Block,
        /// Its certificate.
        certificate: Certificate,
    },
    /// Transactions that were asked for.
    Given(List<TransactionBytes, GOSSIP_TRANSACTIONS_MAX>),
}

impl Canonical for PeerMessage {
    const NAME: &'static str = "peer message";
    const LIMIT: Limit = Limit::Frame;
}

impl PeerMessage {
    /// What logs call it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Status { .. } => "status",
            Self::Consensus(_) => "consensus",
            Self::Body { .. } => "body",
            Self::WantBody { .. } => "want-body",
            Self::WantTransactions { .. } => "want-transactions",
            Self::Transactions(_) => "transactions",
            Self::WantBlocks { .. } => "want-blocks",
            Self::FinalisedBlock { .. } => "finalised-block",
            Self::Given(_) => "given",
        }
    }

    /// Whether it goes on the fast stream: what finality waits for never queues behind bulk.
    #[must_use]
    pub const fn is_urgent(&self) -> bool {
        !matches!(self, Self::Transactions(_) | Self::FinalisedBlock { .. } | Self::Given(_))
    }
}

/// Transactions for everybody's pool, in as many messages as their number and size need.
pub(super) fn gossip(transactions: &[VerifiedTransaction]) -> Vec<PeerMessage> {
    in_messages(transactions, PeerMessage::Transactions)
}

/// The same of transactions that were asked for.
pub(super) fn given(transactions: &[VerifiedTransaction]) -> Vec<PeerMessage> {
    in_messages(transactions, PeerMessage::Given)
}

fn in_messages(
    transactions: &[VerifiedTransaction],
    message: fn(List<TransactionBytes, GOSSIP_TRANSACTIONS_MAX>) -> PeerMessage,
) -> Vec<PeerMessage> {
    let (mut messages, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut close = |batch: &mut Vec<TransactionBytes>| {
        let list = List::new(std::mem::take(batch)).expect("a batch is closed before its bound");
        messages.push(message(list));
    };
    for transaction in transactions {
        let size = transaction.bytes().len();
        if batch.len() == GOSSIP_TRANSACTIONS_MAX || (bytes + size > GOSSIP_BYTES_MAX && !batch.is_empty()) {
            close(&mut batch);
            bytes = 0;
        }
        bytes += size;
        batch.push(Blob::new(transaction.bytes().to_vec()).expect("a verified transaction is within its bound"));
    }
    if !batch.is_empty() {
        close(&mut batch);
    }
    messages
}

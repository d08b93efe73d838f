//! What wakes a member, and when.

use super::PeerMessage;
use crate::{LogEntry, Timer};
use ledger::block::Block;
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;

/// The time an event happened, as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, milliseconds since 1970: goes into headers.
    pub wall_ms: u64,
    /// A clock that never goes back, in milliseconds: measures distances.
    pub steady_ms: u64,
}

/// Everything that wakes a node.
#[derive(Debug)]
pub enum Event {
    /// The node starts. `log`: what the vote log holds for the height after the tip; `bodies`: blocks
    /// judged before the stop.
    Start {
        /// Recovered log entries.
        log: Vec<LogEntry>,
        /// Recovered blocks with verified transactions.
        bodies: Vec<(Block, Vec<VerifiedTransaction>)>,
    },
    /// Clients offer transactions; signatures are verified.
    Offered(Vec<(VerifiedTransaction, Ticket)>),
    /// A peer is connected; its key was checked by the handshake.
    Connected {
        /// Its node key.
        peer: PublicKey,
    },
    /// A peer is gone.
    Disconnected {
        /// Its node key.
        peer: PublicKey,
    },
    /// A peer says something.
    Said {
        /// Its node key.
        peer: PublicKey,
        /// What.
        message: PeerMessage,
    },
    /// A peer passed on transactions; signatures are verified.
    Gossiped {
        /// Its node key.
        peer: PublicKey,
        /// The transactions.
        transactions: Vec<VerifiedTransaction>,
    },
    /// A peer gave transactions that it was asked for; signatures are verified.
    Given {
        /// Its node key.
        peer: PublicKey,
        /// The transactions.
        transactions: Vec<VerifiedTransaction>,
    },
    /// A peer sent a finalised block; its transactions' signatures are verified, nothing else is.
    Synced {
        /// Its node key.
        peer: PublicKey,
        /// The block.
        block: Block,
        /// Its transactions.
        transactions: Vec<VerifiedTransaction>,
        /// Its certificate.
        certificate: Certificate,
    },
    /// All actions so far were performed: asked for by [`Member::waits_for_disk`](super::Member::waits_for_disk), and
    /// harmless otherwise, as long as it is true.
    Written,
    /// A timer is due.
    Due(Alarm),
}

/// Names one offer, so that its answer finds the client. Zero asks for no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Timers of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// Of the replica.
    Consensus(Timer),
    /// Begin the next height although nothing happened: heartbeat, or the block that seals the last.
    NextHeight {
        /// Which.
        height: u64,
    },
    /// Transactions of a body are still missing: ask for them.
    Missing(BlockHash),
    /// No answer to a request for blocks: ask somebody else.
    Sync,
    /// No answer to a question for a block of another history.
    LookBack,
}

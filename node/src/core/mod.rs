//! The deciding part of a node: events in, actions out, no clock, no socket, no thread.
//!
//! [`Core::step`] is the whole node as a value: replica, pool, bodies, block sync. The shell
//! ([`crate::shell`]) feeds it events with the time they happened, and performs its actions: what must
//! be durable first, then what leaves the machine. The only thing the core does itself is read and
//! write its [`Chain`], which is synchronous and deterministic.

mod blocks;
mod bodies;
mod chain;
mod consensus_effects;
mod mempool;
mod message;
mod peers;

pub use chain::Chain;
pub use mempool::{Crowd, Mempool, MempoolLimits, NoRoom, Source};
pub use message::{
    BLOCKS_PER_REQUEST_MAX, GOSSIP_BYTES_MAX, GOSSIP_TRANSACTIONS_MAX, PEER_VERSION, PeerMessage, TransactionBytes,
};

use bodies::Bodies;
use consensus::{GuardRecord, LogEntry, Replica, ReplicaConfig, Timeouts, Timer};
use ledger::block::Block;
use ledger::bounded::Name;
use ledger::certificate::Certificate;
use ledger::execution::ExecutedBlock;
use ledger::id::{BlockHash, ChainId, TransactionId};
use ledger::key::{PublicKey, SecretKey};
use ledger::limits;
use ledger::state::record::{KeyStatus, Parameters, Role};
use ledger::state::storage::StorageError;
use ledger::state::{ApplyError, BlockContext, Rejection, State, StateView as _};
use ledger::transaction::VerifiedTransaction;
use peers::Peers;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

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
}

/// Why an offered transaction was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The rules forbid it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No room; try again.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// One node.
    Peer(PublicKey),
    /// Every connected node.
    All,
    /// Every connected node that says it validates.
    Validators,
}

/// What a node does.
#[derive(Debug)]
pub enum Action {
    /// Append to the vote log; durable before any send of this or a later step.
    AppendLog(LogEntry),
    /// Write to the signing guard; durable likewise.
    WriteGuard(GuardRecord),
    /// Keep a judged block until its height is decided; durable likewise.
    KeepBody(Arc<ExecutedBlock>),
    /// The height before this one is decided: vote log and kept bodies start over.
    BeginLog {
        /// The new height.
        height: u64,
    },
    /// Send.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: PeerMessage,
    },
    /// Send finalised blocks from the chain.
    SendBlocks {
        /// To whom.
        to: PublicKey,
        /// From this height on.
        from: u64,
        /// So many at most.
        count: u32,
    },
    /// Wake me.
    Schedule {
        /// For what. An equal alarm set before is moved.
        alarm: Alarm,
        /// In how long.
        after_ms: u64,
    },
    /// Do not wake me for this.
    Cancel(Alarm),
    /// Do not wake me for anything of the replica's.
    CancelConsensus,
    /// Answer a client.
    Answer {
        /// Whom.
        ticket: Ticket,
        /// Admitted, or why not.
        result: Result<(), OfferError>,
    },
    /// A block is final and written.
    Finalised(Arc<ExecutedBlock>),
    /// A transaction that was admitted turned out wrong and left the pool.
    Dropped {
        /// Which.
        id: TransactionId,
        /// Why.
        rejection: Rejection,
    },
    /// End the connection: this peer is no member, speaks another language, or lied.
    Disconnect {
        /// Which.
        peer: PublicKey,
        /// Why.
        why: String,
    },
    /// Proof that a validator signed two contradicting messages.
    Evidence(consensus::Evidence),
    /// Something a person should see.
    Alarm(String),
}

/// What a core is made from.
pub struct CoreConfig {
    /// The ledger.
    pub chain_id: ChainId,
    /// The numbers all nodes agree on.
    pub parameters: Parameters,
    /// The validating key, if this node has one.
    pub validator: Option<SecretKey>,
    /// Messages signed before, from the signing guard.
    pub guard: Vec<GuardRecord>,
    /// Consensus timeouts.
    pub timeouts: Timeouts,
    /// Bounds of the pool.
    pub mempool: MempoolLimits,
    /// Under load, how long a height waits after the one before began, so that blocks fill.
    pub batch_ms: u64,
    /// Transactions this node puts into a block of its own at most.
    pub block_transactions: usize,
}

/// The node as a value.
pub struct Core<C> {
    chain: C,
    chain_id: ChainId,
    parameters: Parameters,
    batch_ms: u64,
    block_transactions: usize,
    me: Option<PublicKey>,
    replica: Option<Replica>,
    mempool: Mempool,
    peers: Peers,
    bodies: Bodies,
    /// Executed candidates for the height after the tip, ours and others'.
    executed: BTreeMap<BlockHash, Arc<ExecutedBlock>>,
    /// Whether the replica works on the height after the tip.
    started: bool,
    began_ms: u64,
    /// Inputs for the replica that arose while it was stepping: taken up in order, one at a time.
    inputs: VecDeque<consensus::Input>,
    stepping: bool,
    now: Now,
    actions: Vec<Action>,
}

/// How a step ends when it cannot go on: the disk failed. The node must stop.
#[derive(Debug, thiserror::Error)]
#[error("the chain cannot be read or written: {0}")]
pub struct Fatal(#[from] pub StorageError);

impl<C: Chain> Core<C> {
    /// A core over a chain. Nothing happens before [`Event::Start`].
    pub fn new(config: CoreConfig, chain: C) -> Self {
        let me = config.validator.as_ref().map(SecretKey::public);
        let replica = config.validator.map(|key| {
            let replica = ReplicaConfig { chain: config.chain_id, key, timeouts: config.timeouts };
            Replica::new(replica, config.guard)
        });
        Self {
            chain,
            chain_id: config.chain_id,
            parameters: config.parameters,
            batch_ms: config.batch_ms,
            block_transactions: config.block_transactions.clamp(1, limits::BLOCK_TRANSACTIONS_MAX),
            me,
            replica,
            mempool: Mempool::new(config.mempool),
            peers: Peers::default(),
            bodies: Bodies::default(),
            executed: BTreeMap::new(),
            started: false,
            began_ms: 0,
            inputs: VecDeque::new(),
            stepping: false,
            now: Now { wall_ms: 0, steady_ms: 0 },
            actions: Vec::new(),
        }
    }

    /// What an event leads to.
    ///
    /// # Errors
    /// [`Fatal`] when the chain cannot be read or written.
    pub fn step(&mut self, now: Now, event: Event) -> Result<Vec<Action>, Fatal> {
        self.now = now;
        match event {
            Event::Start { log, bodies } => self.start(log, bodies)?,
            Event::Offered(offers) => self.offered(offers)?,
            Event::Connected { peer } => self.connected(peer)?,
            Event::Disconnected { peer } => self.peers.remove(&peer),
            Event::Said { peer, message } => self.said(peer, message)?,
            Event::Gossiped { transactions, .. } => self.gossiped(transactions)?,
            Event::Synced { peer, block, transactions, certificate } => {
                self.synced(peer, block, transactions, &certificate)?;
            }
            Event::Due(alarm) => self.due(alarm)?,
        }
        Ok(std::mem::take(&mut self.actions))
    }

    /// The chain, for reading.
    pub fn chain(&self) -> &C {
        &self.chain
    }

    /// The pool, for reading.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Whether this node's validating key is in the set of the next height.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn validates(&self) -> Result<bool, StorageError> {
        let Some(me) = self.me else { return Ok(false) };
        let upcoming = self.chain.upcoming_validators()?;
        Ok(upcoming.is_some_and(|upcoming| upcoming.next.position(&me).is_some()))
    }

    /// Whether a connected node speaks for a validator.
    pub fn is_validator_node(&self, peer: &PublicKey) -> bool {
        self.peers.validator_of(peer).is_some()
    }

    fn start(&mut self, log: Vec<LogEntry>, bodies: Vec<(Block, Vec<VerifiedTransaction>)>) -> Result<(), Fatal> {
        for (block, transactions) in bodies {
            self.judge_block(block, transactions)?;
        }
        // A log with votes means that the height was under way: go on with it at once.
        if log.is_empty() { self.plan_next_height() } else { self.begin_height(log) }
    }

    fn due(&mut self, alarm: Alarm) -> Result<(), Fatal> {
        match alarm {
            Alarm::Consensus(timer) => self.replica_step(consensus::Input::Timer(timer)),
            Alarm::NextHeight { height } if height == self.next_height() && !self.started => {
                self.begin_height(Vec::new())
            }
            Alarm::NextHeight { .. } => Ok(()),
            Alarm::Missing(block) => {
                self.look_again_at_bodies()?;
                self.ask_for_missing(block);
                Ok(())
            }
            Alarm::Sync => {
                self.peers.sync_failed();
                self.sync();
                Ok(())
            }
        }
    }

    // Transactions.

    fn offered(&mut self, offers: Vec<(VerifiedTransaction, Ticket)>) -> Result<(), Fatal> {
        let mut fresh = Vec::new();
        for (transaction, ticket) in offers {
            let known = self.mempool.contains(&transaction.id());
            let result = self.admit(&transaction, Source::Client)?;
            if result.is_ok() && !known {
                fresh.push(transaction);
            }
            if ticket != Ticket(0) {
                self.actions.push(Action::Answer { ticket, result });
            }
        }
        self.pass_on(&fresh);
        self.wake_for_transactions()
    }

    fn gossiped(&mut self, transactions: Vec<VerifiedTransaction>) -> Result<(), Fatal> {
        for transaction in &transactions {
            self.bodies.offer(transaction);
            // No answer and no blame: a transaction may have been right when the peer passed it on.
            let _ = self.admit(transaction, Source::Peer)?;
        }
        self.look_again_at_bodies()?;
        self.wake_for_transactions()
    }

    fn admit(&mut self, transaction: &VerifiedTransaction, source: Source) -> Result<Result<(), OfferError>, Fatal> {
        if self.mempool.contains(&transaction.id()) {
            return Ok(Ok(()));
        }
        match self.check(transaction) {
            Ok(organisation) => {
                Ok(self.mempool.insert(transaction.clone(), organisation, source).map_err(OfferError::from))
            }
            Err(ApplyError::Rejected(rejection)) => Ok(Err(rejection.into())),
            Err(ApplyError::Storage(error)) => Err(error.into()),
        }
    }

    /// What the rules say of it now, and whose it is.
    fn check(&self, transaction: &VerifiedTransaction) -> Result<Name, ApplyError> {
        let tip = self.chain.tip();
        let block = BlockContext {
            height: tip.header.height + 1,
            time_ms: self.now.wall_ms.max(tip.header.time_ms + 1),
            history_size: tip.header.history_size_after(),
        };
        State::begin(&self.chain, block).check(transaction)?;
        let signer = transaction.signer();
        if let Some(owner) = self.chain.key_owner(signer)? {
            return Ok(owner.organisation);
        }
        let endpoint = self.chain.endpoint(signer)?.ok_or(Rejection::UnknownKey(signer))?;
        Ok(endpoint.organisation)
    }

    /// Tells every validator of transactions that came in here.
    fn pass_on(&mut self, transactions: &[VerifiedTransaction]) {
        for message in message::gossip(transactions) {
            self.actions.push(Action::Send { to: To::Validators, message });
        }
    }

    fn wake_for_transactions(&mut self) -> Result<(), Fatal> {
        if self.started || self.mempool.is_empty() { Ok(()) } else { self.plan_next_height() }
    }

    // Membership.

    /// Whether a key is a member's node.
    fn is_member(&self, peer: PublicKey) -> Result<bool, StorageError> {
        let owner = self.chain.key_owner(peer)?;
        Ok(owner.is_some_and(|owner| owner.role == Role::Node && owner.status == KeyStatus::Active))
    }

    /// Whether a validating key belongs to the same organisation as a node.
    fn may_speak_for(&self, peer: PublicKey, validator: PublicKey) -> Result<bool, StorageError> {
        let (node, key) = (self.chain.key_owner(peer)?, self.chain.key_owner(validator)?);
        Ok(matches!((node, key), (Some(node), Some(key))
            if key.role == Role::Validator && node.organisation == key.organisation))
    }
}

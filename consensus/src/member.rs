//! A member of the ledger as a value: replica, pool, bodies, block sync.
//!
//! [`Member::step`] takes an [`Event`] and the time it happened, and gives [`Action`]s: no clock, no
//! socket, no thread. Whoever runs it performs the actions in their order, what must be durable before
//! what leaves the machine. The only thing a member does itself is read and write its [`Chain`], which
//! is synchronous and deterministic; so whole ledgers can be simulated from a seed.

mod accusations;
mod action;
mod admission;
mod admittance;
mod allowance;
mod blocks;
mod bodies;
mod candidates;
mod chain;
mod effects;
mod event;
mod finality;
mod forks;
mod mempool;
mod message;
mod peers;
mod sync;
mod voice;

pub use accusations::EVIDENCE_KEPT_MAX;
pub use action::{Action, OfferError, Parting, To};
pub use admittance::{Admittance, has_left};
pub use allowance::WORDS_MAX;
pub use chain::Chain;
pub use event::{Alarm, Event, Now, Ticket};
pub use finality::{certifiers, is_final};
pub use forks::LOOK_BACK_MAX;
pub use mempool::{
    Crowd, Mempool, MempoolLimits, NoRoom, OWN_PLACES_BYTES_MAX, OWN_PLACES_MAX, PassedOver, Places, Source, takes_long,
};
pub use message::{
    BLOCKS_PER_REQUEST_MAX, GOSSIP_BYTES_MAX, GOSSIP_TRANSACTIONS_MAX, PEER_VERSION, PeerMessage, TransactionBytes,
};

pub use voice::{Memory, OwnWords, SILENCE_MS};

use crate::{Evidence, GuardRecord, Input, LogEntry, Replica, ReplicaConfig, Timeouts};
use accusations::Accusations;
use admission::GIVEN_LONG_MAX;
use blocks::Body;
use bodies::{Asking, Bodies};
use candidates::Candidates;
use ledger::block::Block;
use ledger::certificate::Certificate;
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, SecretKey};
use ledger::limits;
use ledger::state::StateView as _;
use ledger::state::record::{Parameters, Role};
use ledger::state::storage::StorageError;
use ledger::transaction::VerifiedTransaction;
use peers::Peers;
use std::collections::{BTreeSet, VecDeque};
use voice::Voice;

/// What a member is made from.
pub struct MemberConfig {
    /// The ledger.
    pub chain_id: ChainId,
    /// The numbers all nodes agree on.
    pub parameters: Parameters,
    /// The validating key, if this node has one.
    pub validator: Option<SecretKey>,
    /// Node keys a person told this node of: see [`Admittance::of`].
    pub told: BTreeSet<PublicKey>,
    /// The node's own key: it signs accusations.
    pub node: SecretKey,
    /// Messages signed before, from the signing guard.
    pub guard: Vec<GuardRecord>,
    /// Whether these are all of them.
    pub memory: Memory,
    /// Evidence kept before ([`Action::KeepEvidence`]).
    pub evidence: Vec<Evidence>,
    /// Consensus timeouts.
    pub timeouts: Timeouts,
    /// Bounds of the pool.
    pub mempool: MempoolLimits,
    /// Under load, how long a height waits after the one before began, so that blocks fill.
    pub batch_ms: u64,
    /// Transactions this node puts into a block of its own at most.
    pub block_transactions: usize,
}

/// A member as a value.
pub struct Member<C> {
    chain: C,
    chain_id: ChainId,
    parameters: Parameters,
    batch_ms: u64,
    block_transactions: usize,
    me: Option<PublicKey>,
    /// This node's own key.
    node: PublicKey,
    told: BTreeSet<PublicKey>,
    replica: Option<Replica>,
    /// Of the validating key.
    voice: Option<Voice>,
    /// The vote log of the height that was under way at the end of the last life, until it is taken up.
    log: Vec<LogEntry>,
    /// Whether something is not in the guard file yet that was signed.
    unwritten: bool,
    /// That its key is silent is not on the disk yet: what may come into the chain meanwhile would outlive it.
    hushes: bool,
    /// A decision that waits for that.
    undone: Option<Certificate>,
    mempool: Mempool,
    accusations: Accusations,
    peers: Peers,
    bodies: Bodies,
    executed: Candidates,
    /// Whether the replica works on the height after the tip.
    started: bool,
    began_ms: u64,
    /// When it last began a height that nothing was there for.
    idled_ms: Option<u64>,
    /// This node's own block of this height, and when it was begun.
    built: Option<(BlockHash, u64)>,
    /// Inputs for the replica that arose while it was stepping: taken up in order, one at a time.
    inputs: VecDeque<Input>,
    stepping: bool,
    /// The node whose consensus message is being heard.
    hearing: Option<PublicKey>,
    now: Now,
    actions: Vec<Action>,
}

/// How a step ends when it cannot go on: the disk failed. It must stop.
#[derive(Debug, thiserror::Error)]
#[error("the chain cannot be read or written: {0}")]
pub struct Fatal(#[from] pub StorageError);

impl<C: Chain> Member<C> {
    /// A member over a chain. Nothing happens before [`Event::Start`].
    pub fn new(config: MemberConfig, chain: C) -> Self {
        let me = config.validator.as_ref().map(SecretKey::public);
        let mut executed = Candidates::default();
        // What binds this node since before a restart.
        let precommits = config.guard.iter().filter(|record| record.binding.is_some());
        let newest = precommits.max_by_key(|record| (record.signed.height(), record.signed.round()));
        newest.and_then(|record| record.signed.block()).into_iter().for_each(|block| executed.bind(block));
        let voice = me.map(|key| Voice::new(OwnWords::of(key, &config.guard), config.memory));
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
            node: config.node.public(),
            told: config.told,
            replica,
            voice,
            log: Vec::new(),
            unwritten: false,
            hushes: false,
            undone: None,
            mempool: Mempool::new(config.mempool),
            accusations: Accusations::new(config.node, config.evidence),
            peers: Peers::default(),
            bodies: Bodies::default(),
            executed,
            started: false,
            began_ms: 0,
            idled_ms: None,
            built: None,
            inputs: VecDeque::new(),
            stepping: false,
            hearing: None,
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
            Event::Disconnected { peer } => {
                self.disconnected(&peer);
                // Who is gone is not waited for.
                self.heard_how_far()?;
            }
            Event::Said { peer, message } => self.said(peer, message)?,
            Event::Gossiped { peer, transactions } => self.heard_transactions(peer, &transactions, usize::MAX)?,
            Event::Given { peer, transactions } => self.heard_transactions(peer, &transactions, GIVEN_LONG_MAX)?,
            Event::Synced { peer, block, transactions, certificate } => {
                self.synced(peer, block, transactions, &certificate)?;
            }
            Event::Due(alarm) => self.due(alarm)?,
            Event::Written => self.written()?,
        }
        Ok(std::mem::take(&mut self.actions))
    }

    /// Whether the actions so far are to be performed before anything else happens to the member, and it is to be told so
    /// ([`Event::Written`]).
    pub fn waits_for_disk(&self) -> bool {
        self.undone.is_some() || self.hushes
    }

    /// The chain, for reading.
    pub fn chain(&self) -> &C {
        &self.chain
    }

    /// The pool, for reading.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Bodies being put together, and blocks executed, for the next height: both bounded.
    pub fn work_in_progress(&self) -> (usize, usize) {
        (self.bodies.len(), self.executed.len())
    }

    /// How much its replica keeps of what others said.
    pub fn kept(&self) -> Vec<crate::Kept> {
        self.replica.as_ref().map(Replica::kept).unwrap_or_default()
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
            self.bodies.name(block.header.hash());
            self.judge_block(block, transactions, Body::Kept)?;
        }
        self.accuse()?;
        self.log = log;
        let tip = self.chain.tip().header;
        if let Some(voice) = &mut self.voice {
            voice.begin(self.now, &tip);
            if voice.has_forgotten() || voice.is_trusted() {
                self.actions.push(Action::KeepSilence(voice.has_forgotten()));
            }
        }
        self.take_up()
    }

    fn due(&mut self, alarm: Alarm) -> Result<(), Fatal> {
        match alarm {
            Alarm::Consensus(timer) => self.replica_step(Input::Timer(timer)),
            Alarm::NextHeight { height } if height == self.next_height() && !self.started => self.begin_height(),
            Alarm::NextHeight { .. } => Ok(()),
            Alarm::LookBack => {
                self.stop_looking_back();
                Ok(())
            }
            Alarm::Missing(block) => {
                self.look_again_at_bodies()?;
                self.ask_for_missing(block, Asking::Again);
                Ok(())
            }
            Alarm::Sync => {
                self.peers.patient_at = None;
                self.peers.forget_what_is_here(self.chain.tip().header.height);
                self.say_who_is_silent();
                self.peers.sync_is_late(self.now.steady_ms);
                self.sync();
                // Who did not deliver is not waited for.
                self.heard_how_far()
            }
        }
    }

    // Membership.

    /// Whether a node is listened to, or may listen.
    fn admittance(&self, peer: PublicKey) -> Result<Admittance, StorageError> {
        Admittance::by(self.node, &self.chain, &self.told, peer)
    }

    /// Whether this node's own key is one of the past.
    fn has_left(&self) -> Result<bool, StorageError> {
        has_left(&self.chain, self.node)
    }

    /// Whether a validating key belongs to the same organisation as a node.
    fn may_speak_for(&self, peer: PublicKey, validator: PublicKey) -> Result<bool, StorageError> {
        let (node, key) = (self.chain.key_owner(peer)?, self.chain.key_owner(validator)?);
        Ok(matches!((node, key), (Some(node), Some(key))
            if key.role == Role::Validator && node.organisation == key.organisation))
    }
}

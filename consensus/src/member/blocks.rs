//! Blocks: building, judging, committing, and when the next height begins.

use super::allowance::words_for_vain_block;
use super::bodies::Asking;
use super::mempool::PassedOver;
use super::mempool::takes_long;
use super::voice::Voice;
use super::{Action, Alarm, Chain, Fatal, Member, Parting, PeerMessage, SILENCE_MS, Source, To};
use crate::{Input, Message};
use ledger::block::{Block, Header, check_clock};
use ledger::bounded::List;
use ledger::certificate::Certificate;
use ledger::execution::{self, ExecutedBlock, ExecutionError};
use ledger::id::{BlockHash, TransactionId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::state::record::KeyStatus;
use ledger::state::{ApplyError, StateView as _};
use ledger::transaction::{Payload, VerifiedTransaction};
use std::sync::Arc;

/// How long a body waits for transactions that are on their way before they are asked for.
const MISSING_PATIENCE_MS: u64 = 20;
/// Bytes of transactions taken for a block: what it may have, less more than its header needs.
const BLOCK_BYTES_MAX: usize = limits::BLOCK_BYTES_MAX - 4 * 1024;
/// Transactions that take long and are said again after a block without a check: whoever hears one that became wrong has
/// the work, and makes this node pay for it.
const LONG_SAID_AGAIN_MAX: usize = 4;
/// Transactions looked at again after a block they were not in.
const LOOK_AGAIN_MAX: usize = 64;

/// How far apart heights begin at least for which this node has nothing to say, and has heard of nothing but that another
/// one is in them: with words alone, one validator would have the others make empty blocks as fast as they can.
const CALLED_PACE_MS: u64 = 250;

/// Whether a body lies in the file of judged bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    New,
    /// It came from there: kept again, it would be there twice, and after the next start four times.
    Kept,
}

impl<C: Chain> Member<C> {
    pub(super) fn next_height(&self) -> u64 {
        self.chain.tip().header.height + 1
    }

    // When a height begins.

    /// Begins the next height now, or says when to. There are no empty blocks while idle, except the
    /// heartbeat and the one that seals a block with transactions (its history root makes them
    /// provable).
    pub(super) fn plan_next_height(&mut self) -> Result<(), Fatal> {
        let tip = self.chain.tip();
        let height = tip.header.height + 1;
        let after_ms = if !self.mempool.is_empty() {
            let since_ms = self.now.steady_ms.saturating_sub(self.began_ms);
            let patience_ms = self.mempool.patience_ms(self.batch_ms);
            let is_ripe = self.mempool.is_ripe(self.block_transactions, BLOCK_BYTES_MAX);
            if is_ripe { 0 } else { patience_ms.saturating_sub(since_ms) }
        } else if tip.header.tx_count > 0 {
            self.parameters.seal_ms
        } else {
            self.parameters.heartbeat_ms
        };
        if after_ms == 0 {
            return self.begin_height();
        }
        self.actions.push(Action::Schedule { alarm: Alarm::NextHeight { height }, after_ms });
        Ok(())
    }

    /// A validator speaks of the next height, which has not begun here. Mostly this node is about to hear what for, and
    /// begins it, too; and where that was so a moment ago, it hears that first, or waits a little. What the one who has the
    /// first turn proposes is begun with at once: that is as often as it has the turn.
    pub(super) fn is_called(&mut self, by_first_turn: bool) -> Result<(), Fatal> {
        let pace_ms = CALLED_PACE_MS.min(self.parameters.heartbeat_ms);
        let next_ms = self.idled_ms.map_or(0, |idled_ms| idled_ms.saturating_add(pace_ms));
        let after_ms = next_ms.saturating_sub(self.now.steady_ms);
        if after_ms == 0 || by_first_turn || self.has_reason() {
            return self.begin_height();
        }
        let alarm = Alarm::NextHeight { height: self.next_height() };
        self.actions.push(Action::Schedule { alarm, after_ms });
        Ok(())
    }

    /// Whether there is something for a next block to have, or to seal.
    fn has_reason(&self) -> bool {
        !self.mempool.is_empty() || self.chain.tip().header.tx_count > 0
    }

    /// Whether a validator is the one to propose first at the next height.
    pub(super) fn has_first_turn(&self, validator: PublicKey) -> Result<bool, Fatal> {
        let upcoming = self.chain.upcoming_validators()?;
        Ok(upcoming.is_some_and(|upcoming| crate::proposer(&upcoming.next, self.next_height(), 0) == validator))
    }

    /// Goes on where the last life ended: a log with votes means that the height was under way.
    pub(super) fn take_up(&mut self) -> Result<(), Fatal> {
        if self.log.is_empty() { self.plan_next_height() } else { self.begin_height() }
    }

    /// Whether this node's key may sign at the next height.
    pub(super) fn may_speak(&mut self) -> Result<bool, Fatal> {
        let upcoming = self.chain.upcoming_validators()?;
        let Some((upcoming, voice)) = upcoming.zip(self.voice.as_mut()) else { return Ok(false) };
        let tip = self.chain.tip().header;
        let others = self.peers.of_validators(&upcoming.next, self.me, tip.height);
        let had_forgotten = voice.has_forgotten();
        let may_speak = voice.may_speak(&tip, &upcoming.next, self.now, others);
        if may_speak && had_forgotten {
            self.actions.push(Action::KeepSilence(false));
        }
        Ok(may_speak)
    }

    /// Begins the next height, if this node has a vote in it, and may speak. Who has left speaks no more: its validator may
    /// be with the node that took its place.
    pub(super) fn begin_height(&mut self) -> Result<(), Fatal> {
        if !self.validates()? || self.has_left()? || !self.may_speak()? {
            return Ok(());
        }
        let Some(upcoming) = self.chain.upcoming_validators()? else { return Ok(()) };
        let log = std::mem::take(&mut self.log);
        self.started = true;
        self.began_ms = self.now.steady_ms;
        if !self.has_reason() {
            self.idled_ms = Some(self.now.steady_ms);
        }
        let height = self.next_height();
        self.actions.push(Action::Cancel(Alarm::NextHeight { height }));
        self.replica_step(Input::StartHeight { height, validators: upcoming.next, log })
    }

    // Building.

    /// It is this node's turn: the next block out of the pool.
    pub(super) fn build(&mut self, height: u64, round: u32) -> Result<(), Fatal> {
        let Some(me) = self.me.filter(|_| height == self.next_height()) else { return Ok(()) };
        let tip = self.chain.tip();
        let candidates = self.mempool.for_block(self.block_transactions, BLOCK_BYTES_MAX);
        let built = execution::propose(&self.chain, &tip, candidates, self.now.wall_ms, me);
        let (executed, dropped) = match built {
            Ok(built) => built,
            Err(ExecutionError::Storage(error)) => return Err(error.into()),
            Err(error) => {
                self.actions.push(Action::Alarm(format!("cannot build block {height}: {error}")));
                return Ok(());
            }
        };
        for (transaction, rejection) in dropped {
            self.mempool.remove(&transaction.id());
            self.actions.push(Action::Dropped { id: transaction.id(), rejection });
        }
        let block = executed.block.header.hash();
        self.mempool.proposed();
        self.built = Some((block, self.now.steady_ms));
        self.bodies.name(block);
        self.keep(block, Arc::new(executed), Body::New);
        self.send_body(To::Validators, block);
        self.replica_step(Input::Propose { height, round, block })
    }

    pub(super) fn send_body(&mut self, to: To, block: BlockHash) {
        let Some(executed) = self.executed.to_tell(&block) else { return };
        let ids = executed.transactions.iter().map(VerifiedTransaction::id).collect();
        let Ok(transactions) = List::new(ids) else { return };
        let message = PeerMessage::Body { header: executed.block.header.clone(), transactions };
        self.actions.push(Action::Send { to, message });
    }

    fn keep(&mut self, block: BlockHash, executed: Arc<ExecutedBlock>, body: Body) {
        if body == Body::New {
            self.actions.push(Action::KeepBody(executed.clone()));
        }
        self.executed.insert(block, executed);
    }

    // Judging.

    /// A proposal names a block: judge its body, or get it first.
    pub(super) fn judge(&mut self, height: u64, block: BlockHash, from: &[PublicKey]) -> Result<(), Fatal> {
        // The chain may be further than the replica: a block came by sync.
        if height != self.next_height() {
            return Ok(());
        }
        self.bodies.name(block);
        if self.executed.contains(&block) {
            return self.replica_step(Input::Judged { height, block, valid: true });
        }
        if self.try_body(block)? || self.bodies.is_judged(&block) {
            return Ok(());
        }
        // Who has voted for it has its body and its transactions. What is here may be false.
        for node in from.iter().filter_map(|validator| self.peers.node_of(validator)).collect::<Vec<_>>() {
            if self.bodies.ask_for_body(&block, node) {
                self.actions.push(Action::Send { to: To::Peer(node), message: PeerMessage::WantBody { block } });
            }
        }
        self.ask_for_missing(block, Asking::First);
        Ok(())
    }

    pub(super) fn heard_body(&mut self, peer: PublicKey, header: Header, ids: Vec<TransactionId>) -> Result<(), Fatal> {
        if header.height != self.next_height() {
            return Ok(());
        }
        // Unasked, a body comes from its proposer and from nobody else.
        let is_answer = self.bodies.is_answer(&header.hash(), &peer);
        if !is_answer && self.peers.validator_of(&peer) != Some(header.proposer) {
            return Ok(());
        }
        if !self.started {
            self.is_called(self.has_first_turn(header.proposer)?)?;
        }
        match self.bodies.insert(header, ids, peer) {
            Some(block) if !self.executed.contains(&block) => {
                self.try_body(block)?;
                if !self.executed.contains(&block) {
                    let after_ms = MISSING_PATIENCE_MS;
                    self.actions.push(Action::Schedule { alarm: Alarm::Missing(block), after_ms });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn look_again_at_bodies(&mut self) -> Result<(), Fatal> {
        for block in self.bodies.open() {
            if !self.executed.contains(&block) {
                self.try_body(block)?;
            }
        }
        Ok(())
    }

    /// Judges a block if a body of it is whole; whether one is.
    fn try_body(&mut self, block: BlockHash) -> Result<bool, Fatal> {
        let Some((header, transactions)) = self.bodies.complete(&block, &self.mempool) else { return Ok(false) };
        match Block::propose(header, &transactions) {
            Ok(block) => self.judge_block(block, transactions, Body::New)?,
            Err(error) => self.refused(block, &error.into())?,
        }
        Ok(true)
    }

    /// These are the block's transactions, and it is not the next block.
    fn refused(&mut self, block: BlockHash, error: &ExecutionError) -> Result<(), Fatal> {
        self.actions.push(Action::Alarm(format!("block {block} refused: {error}")));
        self.judged(block, false)
    }

    pub(super) fn judge_block(
        &mut self,
        block: Block,
        transactions: Vec<VerifiedTransaction>,
        body: Body,
    ) -> Result<(), Fatal> {
        let tip = self.chain.tip();
        let hash = block.header.hash();
        let may_be_executed = self.bodies.is_named(&hash) || self.executed.has_room_for_unnamed();
        if block.header.height != tip.header.height + 1 || !may_be_executed || self.executed.contains(&hash) {
            return Ok(());
        }
        // A verdict depends on nothing but the block and its chain; so a block ahead of this clock gets
        // none until the clock has caught up. (What was kept had its verdict before a restart.)
        if body == Body::New && check_clock(&block.header, self.now.wall_ms).is_err() {
            let alarm = Alarm::Missing(hash);
            self.actions.push(Action::Schedule { alarm, after_ms: limits::CLOCK_AHEAD_MS_MAX });
            return Ok(());
        }
        match execution::execute(&self.chain, &tip, block, transactions) {
            Ok(executed) => {
                self.keep(hash, Arc::new(executed), body);
                self.judged(hash, true)
            }
            Err(ExecutionError::Storage(error)) => Err(error.into()),
            Err(error) => self.refused(hash, &error),
        }
    }

    fn judged(&mut self, block: BlockHash, valid: bool) -> Result<(), Fatal> {
        self.bodies.close(&block);
        let height = self.next_height();
        if self.started { self.replica_step(Input::Judged { height, block, valid }) } else { Ok(()) }
    }

    // Committing.

    /// What was signed is in the guard file: now the chain may have it, and not before. Or else a chain that outlived its
    /// guard by a crash would look like one whose guard was lost.
    pub(super) fn written(&mut self) -> Result<(), Fatal> {
        (self.unwritten, self.hushes) = (false, false);
        self.undone.take().map_or(Ok(()), |certificate| self.decided(&certificate))
    }

    /// The replica decided.
    pub(super) fn decided(&mut self, certificate: &Certificate) -> Result<(), Fatal> {
        // It is always of this height: what the replica hears is. If it were not, its block would not be here either.
        if certificate.height != self.next_height() {
            return Ok(());
        }
        match self.executed.get(&certificate.block).cloned() {
            Some(executed) => {
                if let Some((_, since_ms)) = self.built.filter(|(block, _)| *block == certificate.block)
                    && certificate.round == 0
                {
                    self.mempool.took(&executed.transactions, self.now.steady_ms.saturating_sub(since_ms));
                }
                self.commit(&executed, certificate)
            }
            // A quorum has the body and this node has not: block sync brings it.
            None => {
                self.sync();
                Ok(())
            }
        }
    }

    /// A finalised block came by sync. Nothing is believed: certificate, place, rules, roots.
    pub(super) fn synced(
        &mut self,
        peer: PublicKey,
        block: Block,
        transactions: Vec<VerifiedTransaction>,
        certificate: &Certificate,
    ) -> Result<(), Fatal> {
        let height = block.header.height;
        let was_asked = self.peers.pays(&peer);
        if self.looks_back_at(&peer, height) {
            return self.compare_histories(block.header, certificate.clone());
        }
        if height != self.next_height() {
            // Late, or here already by another way: that is nobody's fault.
            let words = words_for_vain_block(&transactions, was_asked);
            if words > 0 {
                self.spends(peer, words);
            }
            return Ok(());
        }
        let Some(upcoming) = self.chain.upcoming_validators()? else { return Ok(()) };
        let verified = certificate.verify(&block.header, &self.chain_id, &upcoming.next);
        if verified.is_ok() {
            if self.voice.as_ref().is_some_and(|voice| voice.finds_itself(certificate, &upcoming.next)) {
                self.is_told_of_own_words(height);
            }
            // Who voted for something else here, and signed this, is caught.
            let message = Message::Decided(certificate.clone());
            self.replica_step(Input::Compare { from: None, message })?;
        }
        let follows = block.header.parent == self.chain.tip().header.hash();
        let lie = match verified {
            Ok(_) if !follows => {
                // It stays: what it was asked for before is still on its way, and comes for nothing.
                self.peers.disbelieve(&peer);
                self.look_back(peer, height);
                self.sync();
                return Ok(());
            }
            Ok(_) => match execution::execute(&self.chain, &self.chain.tip(), block, transactions) {
                Ok(executed) => {
                    self.commit(&Arc::new(executed), certificate)?;
                    self.synced_up_to(height);
                    return self.heard_how_far();
                }
                Err(ExecutionError::Storage(error)) => return Err(error.into()),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        self.actions
            .push(Action::Disconnect { peer, why: Parting::Fault(format!("it sent a false block {height}: {lie}")) });
        self.peers.lied(&peer);
        self.sync();
        Ok(())
    }

    /// Others know something that this node's key said at a height, and its guard does not.
    pub(super) fn is_told_of_own_words(&mut self, height: u64) {
        if self.voice.as_mut().is_some_and(Voice::forgot) {
            (self.started, self.hushes) = (false, true);
            self.actions.push(Action::KeepSilence(true));
            self.actions.push(Action::CancelConsensus);
            self.actions.push(Action::Alarm(format!(
                "this node's validating key signed something at height {height}, and its signing guard does not know of \
                 it: the guard was lost, or is an older one, or another machine has this key. Nothing is signed until a \
                 block is {} s later than now",
                SILENCE_MS / 1_000
            )));
        }
    }

    pub(super) fn has_forgotten(&self) -> bool {
        self.voice.as_ref().is_some_and(Voice::has_forgotten)
    }

    fn commit(&mut self, executed: &Arc<ExecutedBlock>, certificate: &Certificate) -> Result<(), Fatal> {
        self.chain.commit(executed, certificate)?;
        let height = executed.block.header.height;
        let ids: Vec<_> = executed.transactions.iter().map(VerifiedTransaction::id).collect();
        self.mempool.committed(ids.iter());
        self.executed.begin_behind(executed.clone());
        self.built = None;
        self.bodies.clear();
        self.peers.begin_height();
        self.started = false;
        self.log.clear();
        self.actions.push(Action::CancelConsensus);
        self.actions.push(Action::BeginLog { height: height + 1 });
        self.actions.push(Action::Finalised(executed.clone()));
        self.actions.push(Action::Send { to: To::All, message: PeerMessage::Status { height } });
        let governed = |transaction: &VerifiedTransaction| {
            matches!(transaction.payload(), Payload::Propose { .. } | Payload::Ballot { .. })
        };
        // The last block before another set of validators: whoever left may go now.
        let header = &executed.block.header;
        let epoch = header.validators_hash != header.next_validators_hash;
        if epoch || executed.transactions.iter().any(governed) {
            self.look_at_the_law()?;
        }
        self.drop_what_became_wrong()?;
        self.accuse()?;
        self.plan_next_height()
    }

    /// Members and parameters may be others than before.
    fn look_at_the_law(&mut self) -> Result<(), Fatal> {
        if let Some(parameters) = self.chain.parameters()? {
            self.parameters = parameters;
        }
        self.drop_what_is_of_the_past()?;
        self.look_at_the_peers()
    }

    /// What takes long is dropped with the key that signed it: where few may wait, those of a stolen key would keep out the
    /// one that revokes the next.
    fn drop_what_is_of_the_past(&mut self) -> Result<(), Fatal> {
        for (key, transactions) in self.mempool.long_by_key() {
            if self.chain.key_owner(key)?.is_some_and(|owner| owner.status == KeyStatus::Active) {
                continue;
            }
            for transaction in transactions {
                self.drop_if_wrong(&transaction)?;
            }
        }
        Ok(())
    }

    /// Whether a transaction that waits may wait on.
    fn drop_if_wrong(&mut self, transaction: &VerifiedTransaction) -> Result<bool, Fatal> {
        match self.check(transaction) {
            Ok(_) => Ok(true),
            Err(ApplyError::Rejected(rejection)) => {
                self.mempool.remove(&transaction.id());
                self.actions.push(Action::Dropped { id: transaction.id(), rejection });
                Ok(false)
            }
            Err(ApplyError::Storage(error)) => Err(error.into()),
        }
    }

    fn drop_what_became_wrong(&mut self) -> Result<(), Fatal> {
        let mut unheard = Vec::new();
        // What peers passed on, a validator puts into a block of its own; nobody else can.
        let validates = self.validates()?;
        let passed_over = self.mempool.passed_over(LOOK_AGAIN_MAX);
        // Of those that take long one is checked after a block, and another one after the next: all together they would take
        // longer than the block. A few of the others are said again unchecked.
        let is_long = |it: &&PassedOver| takes_long(&it.transaction);
        let long = passed_over.iter().filter(is_long).count() as u64;
        let (mut place, chosen) = (0, self.chain.tip().header.height % long.max(1));
        let mut unchecked = 0;
        for PassedOver { transaction, source, say_again } in passed_over {
            if takes_long(&transaction) {
                place += 1;
                if place != chosen + 1 {
                    if say_again && unchecked < LONG_SAID_AGAIN_MAX && (source == Source::Client || !validates) {
                        unchecked += 1;
                        unheard.push(transaction);
                    }
                    continue;
                }
            }
            let is_to_be_said = say_again && (source == Source::Client || !validates);
            if self.drop_if_wrong(&transaction)? && is_to_be_said {
                unheard.push(transaction);
            }
        }
        // Gossip is not answered, and may have been lost.
        self.pass_on(&unheard);
        Ok(())
    }
}

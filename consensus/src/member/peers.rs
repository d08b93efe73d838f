//! Peers: who is connected, how far each is, what each says.

use super::allowance::{Allowances, CONNECTION_WORDS};
use super::bodies::Asking;
use super::forks::LookingBack;
use super::sync::{SYNC_PATIENCE_MS, SYNC_TIMEOUT_MS};
use super::voice::{Others, Voice};
use super::{Action, Admittance, Alarm, Chain, Fatal, Member, PEER_VERSION, Parting, PeerMessage, To, message};
use ledger::bounded::List;
use ledger::key::PublicKey;
use ledger::state::StateView as _;
use ledger::validators::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of waiting transactions that a validator is told when it comes: what the next blocks are made of.
const GREETING_BYTES_MAX: usize = 4 * super::GOSSIP_BYTES_MAX;

/// Bodies and transactions one peer is given in a height as fast as it asks. After that there is a pause between
/// two answers: a question costs little, and its answer may be a whole block.
const ANSWERS_MAX: u32 = 64;

/// How often in a row the time for a block passes, or who was asked goes away, before its claim to be ahead is not
/// believed. Once may be a slow disk, or a line that broke.
const VAIN_WAITS_MAX: u32 = 3;

/// Blocks for which a peer is waited at a time: of so many requests the answers may all be late.
const OWED_MAX: u32 = 4 * super::BLOCKS_PER_REQUEST_MAX;

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Whether what it says counts; or else it is here to learn.
    heard: bool,
    pub(super) height: u64,
    /// How far it said it was when it came. (A ledger under load is always further than who catches up with it.)
    came_with: Option<u64>,
    /// The validating key it says is its own.
    claims: Option<PublicKey>,
    /// The same, as long as the members' keys say so too.
    pub(super) validator: Option<PublicKey>,
    /// Finalised blocks it was asked for and has not sent.
    owed: u32,
    /// Whether it was told what waits in the pool.
    told: bool,
    /// Answers it was given in this height, and when the last.
    answers: (u32, u64),
}

/// Connected peers, by node key.
#[derive(Default)]
pub(super) struct Peers {
    known: BTreeMap<PublicKey, Peer>,
    /// Requests for blocks that members' nodes left unanswered since they last kept a promise. Kept while
    /// a peer is away: or else who boasts of blocks it does not have comes back with a clean slate.
    pub(super) failures: BTreeMap<PublicKey, u32>,
    /// How often in a row members' nodes let the time for a block pass, or went away. Kept while a peer is away, likewise.
    vain: BTreeMap<PublicKey, u32>,
    /// What each may still say. Kept while a peer is away, likewise.
    pub(super) allowances: Allowances,
    /// The height at which blocks are about to be asked for, as soon as a moment has passed.
    pub(super) patient_at: Option<u64>,
    /// The request for blocks that is under way.
    pub(super) asked: Option<Asked>,
    /// The block of another history that is waited for.
    pub(super) looking_back: Option<LookingBack>,
}

/// Who was asked for blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) peer: PublicKey,
    /// Up to which height.
    pub(super) last: u64,
    /// Since when a block is waited for.
    pub(super) since_ms: u64,
    /// When all of them should be here.
    pub(super) until_ms: u64,
}

impl Peers {
    /// A peer is gone. Whether blocks were expected of it.
    pub(super) fn remove(&mut self, peer: &PublicKey) -> bool {
        self.known.remove(peer);
        let was_asked = self.asked.is_some_and(|asked| asked.peer == *peer);
        if was_asked {
            // Once may be a line that broke. Or else who comes and goes would be waited for without end.
            *self.vain.entry(*peer).or_default() += 1;
            self.sync_failed();
        }
        was_asked
    }

    pub(super) fn sync_failed(&mut self) {
        if let Some(asked) = self.asked.take() {
            *self.failures.entry(asked.peer).or_default() += 1;
        }
    }

    /// What came by another way is not missed.
    pub(super) fn forget_what_is_here(&mut self, height: u64) {
        self.asked.take_if(|asked| asked.last <= height);
    }

    /// The time for a block is over.
    pub(super) fn sync_is_late(&mut self, now_ms: u64) {
        if let Some(Asked { peer, since_ms, .. }) = self.asked
            && since_ms.saturating_add(SYNC_TIMEOUT_MS) <= now_ms
        {
            *self.vain.entry(peer).or_default() += 1;
        }
        self.sync_failed();
    }

    /// A block came while blocks were expected of somebody.
    pub(super) fn sync_delivers(&mut self, now_ms: u64) {
        if let Some(asked) = &mut self.asked {
            asked.since_ms = now_ms;
            self.vain.remove(&asked.peer);
        }
    }

    /// A peer sent a false block: it is gone, and its claims are not believed before it sends a true one.
    pub(super) fn lied(&mut self, peer: &PublicKey) {
        self.remove(peer);
        self.disbelieve(peer);
    }

    /// What a peer claims is not believed before it sends a block that follows this node's, and none is expected of it.
    pub(super) fn disbelieve(&mut self, peer: &PublicKey) {
        if self.asked.is_some_and(|asked| asked.peer == *peer) {
            self.sync_failed();
        }
        self.vain.insert(*peer, VAIN_WAITS_MAX);
    }

    /// The node that speaks for a validating key.
    pub(super) fn node_of(&self, validator: &PublicKey) -> Option<PublicKey> {
        self.known.iter().find(|(_, peer)| peer.validator == Some(*validator)).map(|(key, _)| *key)
    }

    pub(super) fn validator_of(&self, node: &PublicKey) -> Option<PublicKey> {
        self.known.get(node).and_then(|peer| peer.validator)
    }

    pub(super) fn heard_height(&mut self, node: &PublicKey, height: u64) {
        if let Some(peer) = self.known.get_mut(node) {
            peer.height = peer.height.max(height);
        }
    }

    /// Whether a peer may be answered now.
    fn may_answer(&mut self, peer: &PublicKey, now_ms: u64) -> bool {
        let Some(Peer { answers: (count, last_ms), .. }) = self.known.get_mut(peer) else { return false };
        let may = *count < ANSWERS_MAX || last_ms.saturating_add(SYNC_PATIENCE_MS) <= now_ms;
        if may {
            (*count, *last_ms) = (count.saturating_add(1), now_ms);
        }
        may
    }

    /// A peer is asked for so many blocks.
    pub(super) fn owes(&mut self, peer: &PublicKey, blocks: u32) {
        if let Some(known) = self.known.get_mut(peer) {
            known.owed = known.owed.saturating_add(blocks).min(OWED_MAX);
        }
    }

    /// A block of a peer is here; whether it was asked for one.
    pub(super) fn pays(&mut self, peer: &PublicKey) -> bool {
        let owed = self.known.get_mut(peer).map(|known| &mut known.owed);
        owed.is_some_and(|owed| owed.checked_sub(1).map(|rest| *owed = rest).is_some())
    }

    /// Another height: everybody may ask again.
    pub(super) fn begin_height(&mut self) {
        self.known.values_mut().for_each(|peer| peer.answers = (0, 0));
        self.allowances.begin_height();
    }

    /// The peer to ask for blocks after `height`: one that has some, the most reliable first.
    pub(super) fn ahead_of(&self, height: u64) -> Option<(PublicKey, u64)> {
        // Whose history is another one has no block for this node.
        let is_of_ours = |key: &PublicKey| self.looking_back.is_none_or(|looking| looking.peer != *key);
        let ahead = self.known.iter().filter(|(key, peer)| peer.heard && peer.height > height && is_of_ours(key));
        ahead
            .min_by_key(|(key, peer)| (self.failures_of(key), u64::MAX - peer.height))
            .map(|(key, peer)| (*key, peer.height))
    }

    /// How the others are doing, seen from this height. Whose claim to be ahead was put to the test often enough, and
    /// who did not deliver, is not believed; unless so many validators claim it that one of them is honest.
    pub(super) fn of_validators(&self, set: &ValidatorSet, me: Option<PublicKey>, height: u64) -> Others {
        let key = |peer: &Peer| peer.validator.filter(|key| Some(*key) != me && set.position(key).is_some());
        let is_ahead = |peer: &Peer| peer.heard && peer.came_with.is_some_and(|came_with| came_with > height);
        let is_believed = |node: &PublicKey| self.vain.get(node).copied().unwrap_or(0) < VAIN_WAITS_MAX;
        let here: BTreeSet<_> = self.known.values().filter_map(key).collect();
        let ahead: BTreeSet<_> = self.known.values().filter(|peer| is_ahead(peer)).filter_map(key).collect();
        Others {
            count: here.len(),
            many_are_ahead: ahead.len() > set.len() - set.quorum(),
            one_is_ahead: self.known.iter().any(|(node, peer)| is_ahead(peer) && is_believed(node)),
        }
    }

    pub(super) fn failures_of(&self, peer: &PublicKey) -> u32 {
        self.failures.get(peer).copied().unwrap_or(0)
    }

    /// Whether blocks are expected of somebody at least as reliable as this one.
    pub(super) fn waits_rather_than_asks(&self, peer: &PublicKey) -> bool {
        self.asked.is_some_and(|asked| self.failures_of(&asked.peer) <= self.failures_of(peer))
    }
}

impl<C: Chain> Member<C> {
    /// A peer is connected: it is greeted if it may be here.
    pub(super) fn connected(&mut self, peer: PublicKey) -> Result<(), Fatal> {
        let why = if !self.peers.allowances.lets_in(&peer, self.now.steady_ms) {
            Parting::TooSoon
        } else if self.meet(peer)? == Admittance::Refused {
            Parting::Stranger
        } else {
            // It has more: or else it would not be let in.
            self.peers.allowances.spend(&peer, CONNECTION_WORDS, self.now.steady_ms);
            let hello = PeerMessage::Hello {
                version: PEER_VERSION,
                chain: self.chain_id,
                height: self.chain.tip().header.height,
                validator: self.me,
            };
            self.actions.push(Action::Send { to: To::Peer(peer), message: hello });
            return Ok(());
        };
        self.actions.push(Action::Disconnect { peer, why });
        Ok(())
    }

    /// What a peer may do here. Its first word may come before the news that it is connected.
    pub(super) fn meet(&mut self, peer: PublicKey) -> Result<Admittance, Fatal> {
        if let Some(known) = self.peers.known.get(&peer) {
            return Ok(if known.heard { Admittance::Heard } else { Admittance::Taught });
        }
        let admittance = self.admittance(peer)?;
        if admittance != Admittance::Refused {
            let heard = admittance == Admittance::Heard;
            self.peers.known.insert(peer, Peer { heard, ..Peer::default() });
        }
        Ok(admittance)
    }

    pub(super) fn said(&mut self, peer: PublicKey, message: PeerMessage) -> Result<(), Fatal> {
        if !self.spends(peer, 1) {
            return Ok(());
        }
        match self.meet(peer)? {
            Admittance::Heard => self.heard(peer, message),
            Admittance::Taught => self.taught(peer, &message),
            Admittance::Refused => Ok(()),
        }
    }

    /// Of one whose key was retired, and of everybody when this node's own was, only questions for blocks are answered: one
    /// of them has the news. Who is as far as this node has had it.
    fn taught(&mut self, peer: PublicKey, message: &PeerMessage) -> Result<(), Fatal> {
        match message {
            PeerMessage::Hello { height, .. } | PeerMessage::Status { height }
                if *height >= self.chain.tip().header.height =>
            {
                let why = if self.has_left()? { Parting::Left } else { Parting::Taught };
                self.part_with(peer, why);
            }
            PeerMessage::WantBlocks { from, count } => self.send_blocks(peer, *from, *count),
            // It still votes on what is decided, and may have missed the news.
            PeerMessage::Consensus(message) if message.height() < self.next_height() => {
                let status = PeerMessage::Status { height: self.next_height() - 1 };
                self.actions.push(Action::Send { to: To::Peer(peer), message: status });
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes words of a peer; who has none left goes. Whether it had them.
    pub(super) fn spends(&mut self, peer: PublicKey, words: u32) -> bool {
        let has = self.peers.allowances.spend(&peer, words, self.now.steady_ms);
        if !has {
            self.part_with(peer, Parting::Fault("it says more than anybody has to say".to_owned()));
        }
        has
    }

    pub(super) fn part_with(&mut self, peer: PublicKey, why: Parting) {
        self.actions.push(Action::Disconnect { peer, why });
        self.disconnected(&peer);
    }

    fn send_blocks(&mut self, to: PublicKey, from: u64, count: u32) {
        let count = count.min(super::BLOCKS_PER_REQUEST_MAX);
        self.actions.push(Action::SendBlocks { to, from, count });
    }

    fn heard(&mut self, peer: PublicKey, message: PeerMessage) -> Result<(), Fatal> {
        match message {
            PeerMessage::Hello { version, chain, height, validator } => {
                let why = if version != PEER_VERSION {
                    format!("it speaks version {version}, this node {PEER_VERSION}")
                } else if chain != self.chain_id {
                    format!("it is on chain {chain}")
                } else {
                    return self.greeted(peer, height, validator);
                };
                self.actions.push(Action::Disconnect { peer, why: Parting::Fault(why) });
                Ok(())
            }
            PeerMessage::Status { height } => {
                self.peers.heard_height(&peer, height);
                self.maybe_sync();
                self.heard_how_far()
            }
            PeerMessage::Consensus(message) => self.heard_consensus(peer, message),
            PeerMessage::Body { header, transactions } => self.heard_body(peer, header, transactions.into_vec()),
            PeerMessage::WantBody { .. } | PeerMessage::WantTransactions { .. }
                if !self.peers.may_answer(&peer, self.now.steady_ms) =>
            {
                Ok(())
            }
            PeerMessage::WantBody { block } => {
                self.send_body(To::Peer(peer), block);
                Ok(())
            }
            // One small question must not have the same large answer many times.
            PeerMessage::WantTransactions { places, .. } if !places.is_sorted_by(|a, b| a < b) => {
                let why = Parting::Fault("it asks for transactions twice".to_owned());
                self.actions.push(Action::Disconnect { peer, why });
                Ok(())
            }
            PeerMessage::WantTransactions { block, places } => {
                self.send_transactions(peer, block, &places);
                Ok(())
            }
            PeerMessage::WantBlocks { from, count } => {
                self.send_blocks(peer, from, count);
                Ok(())
            }
            // The shell verifies these before they come here, as events of their own.
            PeerMessage::Transactions(_) | PeerMessage::FinalisedBlock { .. } | PeerMessage::Given(_) => Ok(()),
        }
    }

    /// A peer is gone: blocks expected of it are asked of another at once.
    pub(super) fn disconnected(&mut self, peer: &PublicKey) {
        self.left_while_looking_back(peer);
        if self.peers.remove(peer) {
            self.sync();
        }
    }

    /// After members or their keys changed: who is no member any more goes or is only taught, and each speaks
    /// for the validating key it has a right to now.
    pub(super) fn look_at_the_peers(&mut self) -> Result<(), Fatal> {
        let known: Vec<_> = self.peers.known.iter().map(|(key, peer)| (*key, peer.claims)).collect();
        if self.has_left()? {
            self.actions.push(Action::Alarm(format!(
                "this node's key {} is no member's any more: when the others have block {}, start it with the key that \
                 took its place",
                self.node,
                self.chain.tip().header.height
            )));
        }
        for (peer, claims) in known {
            let admittance = self.admittance(peer)?;
            if admittance == Admittance::Refused {
                self.part_with(peer, Parting::Stranger);
                continue;
            }
            let heard = admittance == Admittance::Heard;
            let validator = if heard { self.rightful(peer, claims)? } else { None };
            if let Some(known) = self.peers.known.get_mut(&peer) {
                (known.heard, known.validator) = (heard, validator);
            }
        }
        Ok(())
    }

    /// The validating key a node claims, if it is its organisation's.
    fn rightful(&self, peer: PublicKey, claims: Option<PublicKey>) -> Result<Option<PublicKey>, Fatal> {
        match claims {
            Some(key) if self.may_speak_for(peer, key)? => Ok(Some(key)),
            _ => Ok(None),
        }
    }

    fn greeted(&mut self, peer: PublicKey, height: u64, claims: Option<PublicKey>) -> Result<(), Fatal> {
        let validator = self.rightful(peer, claims)?;
        if let Some(known) = self.peers.known.get_mut(&peer) {
            known.height = known.height.max(height);
            known.came_with.get_or_insert(height);
            (known.claims, known.validator) = (claims, validator);
        }
        self.maybe_sync();
        // It may have missed what was said before it came. A hello said again tells nothing new.
        let first = self.peers.known.get_mut(&peer).is_some_and(|known| !std::mem::replace(&mut known.told, true));
        if first && validator.is_some() {
            let waiting = self.mempool.for_greeting(super::GOSSIP_TRANSACTIONS_MAX, GREETING_BYTES_MAX);
            for message in message::gossip(&waiting) {
                self.actions.push(Action::Send { to: To::Peer(peer), message });
            }
        }
        self.heard_how_far()
    }

    /// A member that keeps silent speaks when it has heard enough.
    pub(super) fn heard_how_far(&mut self) -> Result<(), Fatal> {
        let is_silent = self.voice.as_ref().is_some_and(Voice::is_silent);
        if is_silent && self.may_speak()? { self.take_up() } else { Ok(()) }
    }

    fn heard_consensus(&mut self, peer: PublicKey, message: crate::Message) -> Result<(), Fatal> {
        let Some(from) = self.peers.validator_of(&peer) else { return Ok(()) };
        let (height, next) = (message.height(), self.next_height());
        if height < next {
            // It is behind: tell it how far this node is, and it will ask for blocks.
            let status = PeerMessage::Status { height: next - 1 };
            self.actions.push(Action::Send { to: To::Peer(peer), message: status });
            return self.hearing(peer, crate::Input::Compare { from: Some(from), message });
        }
        if height > next {
            self.peers.heard_height(&peer, height - 1);
            self.maybe_sync();
        } else if let crate::Message::Decided(_) = &message {
            self.peers.heard_height(&peer, height);
            self.maybe_sync();
        } else if !self.started {
            // Before anything is signed there.
            if self.shows_unknown_words(&message)? {
                self.is_told_of_own_words(height);
            }
            let is_first = matches!(&message, crate::Message::Proposal(proposal) if proposal.body.round == 0);
            self.is_called(is_first && self.has_first_turn(from)?)?;
        }
        self.hearing(peer, crate::Input::Message { from, message })
    }

    /// A step for which a peer is to blame.
    fn hearing(&mut self, peer: PublicKey, input: crate::Input) -> Result<(), Fatal> {
        self.hearing = Some(peer);
        let stepped = self.replica_step(input);
        self.hearing = None;
        stepped
    }

    /// Whether this has signatures of this node's key for a height at which it knows of none.
    fn shows_unknown_words(&self, message: &crate::Message) -> Result<bool, Fatal> {
        let Some((me, voice)) = self.me.zip(self.voice.as_ref()) else { return Ok(false) };
        let Some(upcoming) = self.chain.upcoming_validators()? else { return Ok(false) };
        if voice.was_heard_at(message.height()) {
            return Ok(false);
        }
        let proposed = match message {
            crate::Message::Proposal(proposal) => proposal.proposer == me && proposal.verify(&self.chain_id).is_ok(),
            _ => false,
        };
        let mut votes = message.votes(&upcoming.next).into_iter();
        Ok(proposed || votes.any(|vote| vote.voter == me && vote.verify(&self.chain_id).is_ok()))
    }

    fn send_transactions(&mut self, peer: PublicKey, block: ledger::id::BlockHash, places: &[u32]) {
        let Some(executed) = self.executed.to_tell(&block) else { return };
        let wanted = places.iter().filter_map(|place| executed.transactions.get(*place as usize));
        let wanted: Vec<_> = wanted.cloned().collect();
        for message in message::given(&wanted) {
            self.actions.push(Action::Send { to: To::Peer(peer), message });
        }
    }

    /// Asks for the transactions that bodies of a block still miss, one of their senders after another.
    pub(super) fn ask_for_missing(&mut self, block: ledger::id::BlockHash, asking: Asking) {
        if self.executed.contains(&block) {
            return;
        }
        let Some((peer, places)) = self.bodies.ask_for_missing(&block, &self.mempool, asking) else { return };
        let Ok(places) = List::new(places) else { return };
        let message = PeerMessage::WantTransactions { block, places };
        self.actions.push(Action::Send { to: To::Peer(peer), message });
        self.actions.push(Action::Schedule { alarm: Alarm::Missing(block), after_ms: SYNC_PATIENCE_MS });
    }
}

//! Peers: who is connected, how far each is, what each says; and block sync from those who are ahead.

use super::{Action, Alarm, Chain, Fatal, Member, PEER_VERSION, PeerMessage, To, message};
use ledger::bounded::List;
use ledger::key::PublicKey;
use std::collections::BTreeMap;

/// How long a peer may take to answer a request for blocks.
const SYNC_TIMEOUT_MS: u64 = 3_000;
/// Questions for blocks a peer leaves unanswered before people are told.
const SILENT_AFTER: u32 = 5;
/// How long a validator one block behind waits for its own decision before it asks for the block.
const SYNC_PATIENCE_MS: u64 = 150;

/// Bytes of waiting transactions that a validator is told when it comes: what the next blocks are made of.
const GREETING_BYTES_MAX: usize = 4 * super::GOSSIP_BYTES_MAX;

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) height: u64,
    /// The validating key it says is its own.
    claims: Option<PublicKey>,
    /// The same, as long as the members' keys say so too.
    pub(super) validator: Option<PublicKey>,
    /// Whether it was told what waits in the pool.
    told: bool,
}

/// Connected peers, by node key.
#[derive(Default)]
pub(super) struct Peers {
    known: BTreeMap<PublicKey, Peer>,
    /// Requests for blocks that members' nodes left unanswered since they last kept a promise. Kept while
    /// a peer is away: or else who boasts of blocks it does not have comes back with a clean slate.
    failures: BTreeMap<PublicKey, u32>,
    /// Who was asked for blocks, and up to which height.
    asked: Option<(PublicKey, u64)>,
}

impl Peers {
    /// A peer is gone. Whether blocks were expected of it.
    pub(super) fn remove(&mut self, peer: &PublicKey) -> bool {
        self.known.remove(peer);
        let was_asked = self.asked.is_some_and(|(asked, _)| asked == *peer);
        if was_asked {
            self.sync_failed();
        }
        was_asked
    }

    pub(super) fn sync_failed(&mut self) {
        if let Some((asked, _)) = self.asked.take() {
            *self.failures.entry(asked).or_default() += 1;
        }
    }

    /// The node that speaks for a validating key.
    pub(super) fn node_of(&self, validator: &PublicKey) -> Option<PublicKey> {
        self.known.iter().find(|(_, peer)| peer.validator == Some(*validator)).map(|(key, _)| *key)
    }

    pub(super) fn validator_of(&self, node: &PublicKey) -> Option<PublicKey> {
        self.known.get(node).and_then(|peer| peer.validator)
    }

    fn heard_height(&mut self, node: &PublicKey, height: u64) {
        if let Some(peer) = self.known.get_mut(node) {
            peer.height = peer.height.max(height);
        }
    }

    /// The peer to ask for blocks after `height`: one that has some, the most reliable first.
    fn ahead_of(&self, height: u64) -> Option<(PublicKey, u64)> {
        let ahead = self.known.iter().filter(|(_, peer)| peer.height > height);
        ahead
            .min_by_key(|(key, peer)| (self.failures_of(key), u64::MAX - peer.height))
            .map(|(key, peer)| (*key, peer.height))
    }

    fn failures_of(&self, peer: &PublicKey) -> u32 {
        self.failures.get(peer).copied().unwrap_or(0)
    }

    /// Whether blocks are expected of somebody at least as reliable as this one.
    fn waits_rather_than_asks(&self, peer: &PublicKey) -> bool {
        self.asked.is_some_and(|(asked, _)| self.failures_of(&asked) <= self.failures_of(peer))
    }
}

impl<C: Chain> Member<C> {
    pub(super) fn connected(&mut self, peer: PublicKey) -> Result<(), Fatal> {
        if !self.is_admitted(peer)? {
            self.actions.push(Action::Disconnect { peer, why: "its key is no member's node".to_owned() });
            return Ok(());
        }
        self.peers.known.entry(peer).or_default();
        let hello = PeerMessage::Hello {
            version: PEER_VERSION,
            chain: self.chain_id,
            height: self.chain.tip().header.height,
            validator: self.me,
        };
        self.actions.push(Action::Send { to: To::Peer(peer), message: hello });
        Ok(())
    }

    pub(super) fn said(&mut self, peer: PublicKey, message: PeerMessage) -> Result<(), Fatal> {
        // Its first word may be here before the news that it is connected.
        if !self.peers.known.contains_key(&peer) {
            if !self.is_admitted(peer)? {
                return Ok(());
            }
            self.peers.known.insert(peer, Peer::default());
        }
        match message {
            PeerMessage::Hello { version, chain, height, validator } => {
                let why = if version != PEER_VERSION {
                    format!("it speaks version {version}, this node {PEER_VERSION}")
                } else if chain != self.chain_id {
                    format!("it is on chain {chain}")
                } else {
                    return self.greeted(peer, height, validator);
                };
                self.actions.push(Action::Disconnect { peer, why });
                Ok(())
            }
            PeerMessage::Status { height } => {
                self.peers.heard_height(&peer, height);
                self.maybe_sync();
                Ok(())
            }
            PeerMessage::Consensus(message) => self.heard_consensus(peer, message),
            PeerMessage::Body { header, transactions } => self.heard_body(peer, header, transactions.into_vec()),
            PeerMessage::WantBody { block } => {
                self.send_body(To::Peer(peer), block);
                Ok(())
            }
            // One small question must not have the same large answer many times.
            PeerMessage::WantTransactions { places, .. } if !places.is_sorted_by(|a, b| a < b) => {
                self.actions.push(Action::Disconnect { peer, why: "it asks for transactions twice".to_owned() });
                Ok(())
            }
            PeerMessage::WantTransactions { block, places } => {
                self.send_transactions(peer, block, &places);
                Ok(())
            }
            PeerMessage::WantBlocks { from, count } => {
                self.actions.push(Action::SendBlocks {
                    to: peer,
                    from,
                    count: count.min(super::BLOCKS_PER_REQUEST_MAX),
                });
                Ok(())
            }
            // The shell verifies these before they come here, as events of their own.
            PeerMessage::Transactions(_) | PeerMessage::FinalisedBlock { .. } => Ok(()),
        }
    }

    /// A peer is gone: blocks expected of it are asked of another at once.
    pub(super) fn disconnected(&mut self, peer: &PublicKey) {
        if self.peers.remove(peer) {
            self.sync();
        }
    }

    /// After members or their keys changed: who is no member any more goes, and each speaks for the
    /// validating key it has a right to now.
    pub(super) fn look_at_the_peers(&mut self) -> Result<(), Fatal> {
        let known: Vec<_> = self.peers.known.iter().map(|(key, peer)| (*key, peer.claims)).collect();
        for (peer, claims) in known {
            if !self.is_admitted(peer)? {
                self.actions.push(Action::Disconnect { peer, why: "its key is no member's node any more".to_owned() });
                self.disconnected(&peer);
                continue;
            }
            let validator = self.rightful(peer, claims)?;
            if let Some(known) = self.peers.known.get_mut(&peer) {
                known.validator = validator;
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
            (known.claims, known.validator) = (claims, validator);
        }
        self.maybe_sync();
        // It may have missed what was said before it came. A hello said again tells nothing new.
        let first = self.peers.known.get_mut(&peer).is_some_and(|known| !std::mem::replace(&mut known.told, true));
        if first && validator.is_some() {
            let waiting = self.mempool.for_block(super::GOSSIP_TRANSACTIONS_MAX, GREETING_BYTES_MAX);
            for message in message::gossip(&waiting) {
                self.actions.push(Action::Send { to: To::Peer(peer), message });
            }
        }
        Ok(())
    }

    fn heard_consensus(&mut self, peer: PublicKey, message: crate::Message) -> Result<(), Fatal> {
        let Some(from) = self.peers.validator_of(&peer) else { return Ok(()) };
        let (height, next) = (message.height(), self.next_height());
        if height < next {
            // It is behind: tell it how far this node is, and it will ask for blocks.
            let status = PeerMessage::Status { height: next - 1 };
            self.actions.push(Action::Send { to: To::Peer(peer), message: status });
            return self.replica_step(crate::Input::Compare { from: Some(from), message });
        }
        if height > next {
            self.peers.heard_height(&peer, height - 1);
            self.maybe_sync();
        } else if let crate::Message::Decided(_) = &message {
            self.peers.heard_height(&peer, height);
            self.maybe_sync();
        } else if !self.started {
            self.begin_height(Vec::new())?;
        }
        self.hearing = Some(peer);
        let stepped = self.replica_step(crate::Input::Message { from, message });
        self.hearing = None;
        stepped
    }

    fn send_transactions(&mut self, peer: PublicKey, block: ledger::id::BlockHash, places: &[u32]) {
        let Some(executed) = self.executed.get(&block) else { return };
        let wanted = places.iter().filter_map(|place| executed.transactions.get(*place as usize));
        let wanted: Vec<_> = wanted.cloned().collect();
        for message in message::gossip(&wanted) {
            self.actions.push(Action::Send { to: To::Peer(peer), message });
        }
    }

    /// Asks for the transactions a body still misses.
    pub(super) fn ask_for_missing(&mut self, block: ledger::id::BlockHash) {
        let Some((peer, places)) = self.bodies.missing(&block, &self.mempool) else { return };
        if places.is_empty() || self.executed.contains(&block) {
            return;
        }
        let Ok(places) = List::new(places) else { return };
        let message = PeerMessage::WantTransactions { block, places };
        self.actions.push(Action::Send { to: To::Peer(peer), message });
        self.actions.push(Action::Schedule { alarm: Alarm::Missing(block), after_ms: SYNC_PATIENCE_MS });
    }

    // Block sync.

    /// Asks at once when there is no other way to the block; a validator that is one block behind
    /// gives its own decision a moment first.
    pub(super) fn maybe_sync(&mut self) {
        let height = self.chain.tip().header.height;
        let Some((peer, ahead)) = self.peers.ahead_of(height) else { return };
        if self.peers.waits_rather_than_asks(&peer) {
            return;
        }
        if self.started && ahead == height + 1 {
            self.actions.push(Action::Schedule { alarm: Alarm::Sync, after_ms: SYNC_PATIENCE_MS });
        } else {
            self.sync();
        }
    }

    /// A peer that has been asked this often and never sent a block has forgotten it, or lies.
    pub(super) fn say_who_is_silent(&mut self) {
        let Some((peer, _)) = self.peers.asked else { return };
        if self.peers.failures_of(&peer) + 1 == SILENT_AFTER {
            let height = self.next_height();
            let what = format!(
                "{peer} says that it has block {height}, and does not send it: if all have forgotten it, begin \
                 again with a snapshot"
            );
            self.actions.push(Action::Alarm(what));
        }
    }

    pub(super) fn sync(&mut self) {
        let height = self.chain.tip().header.height;
        let Some((peer, ahead)) = self.peers.ahead_of(height) else { return };
        let count = (ahead - height).min(u64::from(super::BLOCKS_PER_REQUEST_MAX));
        self.peers.asked = Some((peer, height + count));
        let count = u32::try_from(count).expect("bounded by a u32 above");
        let message = PeerMessage::WantBlocks { from: height + 1, count };
        self.actions.push(Action::Send { to: To::Peer(peer), message });
        self.actions.push(Action::Schedule { alarm: Alarm::Sync, after_ms: SYNC_TIMEOUT_MS });
    }

    /// After a block came by sync: more of the same answer, the next request, or done.
    pub(super) fn synced_up_to(&mut self, height: u64) {
        match self.peers.asked {
            Some((peer, last)) if height < last => {
                self.peers.heard_height(&peer, last);
                self.actions.push(Action::Schedule { alarm: Alarm::Sync, after_ms: SYNC_TIMEOUT_MS });
            }
            asked => {
                if let Some((peer, _)) = asked {
                    self.peers.failures.remove(&peer);
                }
                self.peers.asked = None;
                self.actions.push(Action::Cancel(Alarm::Sync));
                self.maybe_sync();
            }
        }
    }
}

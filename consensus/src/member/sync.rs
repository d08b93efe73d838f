//! Block sync: whoever is behind asks one who is ahead, and after a while another.

use super::peers::Asked;
use super::{Action, Alarm, Chain, Member, PeerMessage, To};

/// How long a peer may take for all the blocks of a request.
const REQUEST_MS: u64 = 10_000;
/// How long it may take for the first of them, and between two.
pub(super) const SYNC_TIMEOUT_MS: u64 = 3_000;
/// Questions for blocks a peer leaves unanswered before people are told.
const SILENT_AFTER: u32 = 5;

/// How long a validator one block behind waits for its own decision, or for what is on its way, before it asks.
pub(super) const SYNC_PATIENCE_MS: u64 = 150;

impl<C: Chain> Member<C> {
    /// Asks at once when there is no other way to the block; a validator that is one block behind
    /// gives its own decision a moment first.
    pub(super) fn maybe_sync(&mut self) {
        let height = self.chain.tip().header.height;
        let Some((peer, ahead)) = self.peers.ahead_of(height) else { return };
        if self.peers.waits_rather_than_asks(&peer) {
            return;
        }
        if self.started && ahead == height + 1 {
            // However often it is told: a moment that begins anew with every word never ends.
            if self.peers.patient_at.replace(height) == Some(height) {
                return;
            }
            self.actions.push(Action::Schedule { alarm: Alarm::Sync, after_ms: SYNC_PATIENCE_MS });
        } else {
            self.sync();
        }
    }

    /// A peer that has been asked this often and never sent a block has forgotten it, or lies.
    pub(super) fn say_who_is_silent(&mut self) {
        let Some(Asked { peer, .. }) = self.peers.asked else { return };
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
        let since_ms = self.now.steady_ms;
        let until_ms = since_ms.saturating_add(REQUEST_MS);
        self.peers.asked = Some(Asked { peer, last: height + count, since_ms, until_ms });
        let count = u32::try_from(count).expect("bounded by a u32 above");
        self.peers.owes(&peer, count);
        let message = PeerMessage::WantBlocks { from: height + 1, count };
        self.actions.push(Action::Send { to: To::Peer(peer), message });
        self.actions.push(Action::Schedule { alarm: Alarm::Sync, after_ms: SYNC_TIMEOUT_MS });
    }

    /// After a block came by sync: more of the same answer, the next request, or done. An answer that takes too
    /// long is none: others are asked, and what still comes of it is taken all the same.
    pub(super) fn synced_up_to(&mut self, height: u64) {
        self.peers.sync_delivers(self.now.steady_ms);
        match self.peers.asked {
            Some(Asked { last, until_ms, .. }) if height < last && until_ms <= self.now.steady_ms => {
                self.peers.sync_failed();
                self.sync();
            }
            Some(Asked { peer, last, .. }) if height < last => {
                self.peers.heard_height(&peer, last);
                self.actions.push(Action::Schedule { alarm: Alarm::Sync, after_ms: SYNC_TIMEOUT_MS });
            }
            asked => {
                if let Some(Asked { peer, .. }) = asked {
                    self.peers.failures.remove(&peer);
                }
                self.peers.asked = None;
                self.actions.push(Action::Cancel(Alarm::Sync));
                self.maybe_sync();
            }
        }
    }
}

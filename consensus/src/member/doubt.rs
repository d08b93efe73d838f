//! A validator that does not know what it signed: how it waits until that cannot matter any more.
//!
//! The signing guard is what keeps a key from signing two things in one place (docs/adr/0014). A node that has
//! lost it may have voted in the height that is decided now, and must not vote in it again. It need not know more
//! than that: before it votes in a height it has the block before it. So when a block is final that was made
//! after this node began to doubt, the height after that one is one it never voted in.

use super::{Action, Chain, Member};
use crate::Replica;
use ledger::block::Header;
use ledger::certificate::Certificate;
use ledger::limits;
use ledger::validators::ValidatorSet;

/// How much later than the beginning of the doubt the header must be: what a header may be ahead of a clock, and
/// as much as clocks of members differ in the worst case.
pub const DOUBT_MARGIN_MS: u64 = 5 * limits::CLOCK_AHEAD_MS_MAX;

/// What is known of the signing guard that a member begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It has whatever the key signed, or the key never signed.
    Whole,
    /// It was lost, or is older than the key's newest signature: known at this time of the wall clock.
    Lost {
        /// When it was found out.
        since_ms: u64,
    },
}

/// A replica that is silent.
pub(super) struct Doubt {
    replica: Replica,
    since_ms: u64,
}

impl<C: Chain> Member<C> {
    /// The same member, which keeps its key silent while its guard is lost; and which looks whether blocks from
    /// elsewhere carry signatures of its key that the guard does not know.
    #[must_use]
    pub fn guarded(mut self, guard: Guard) -> Self {
        self.watches_its_guard = true;
        if let Guard::Lost { since_ms } = guard {
            self.doubt(since_ms);
        }
        self
    }

    /// Whether this member keeps its validating key silent.
    pub fn is_silent(&self) -> bool {
        self.doubt.is_some()
    }

    fn doubt(&mut self, since_ms: u64) {
        self.doubt = self.replica.take().map(|replica| Doubt { replica, since_ms });
    }

    /// A final block came by sync, and this is who signed it. A signature of our own that the guard does not know
    /// was made before the guard was lost, or somewhere else.
    pub(super) fn look_for_our_signature(&mut self, certificate: &Certificate, validators: &ValidatorSet) {
        let Some(replica) = self.replica.as_ref().filter(|_| self.watches_its_guard) else { return };
        let height = certificate.height;
        if replica.signed_up_to() >= height || !certificate.is_signed_by(validators, &replica.me()) {
            return;
        }
        self.doubt(self.now.wall_ms);
        self.started = false;
        self.actions.push(Action::CancelConsensus);
        self.actions.push(Action::DoubtGuard { height });
    }

    /// A block is final: perhaps it ends the doubt.
    pub(super) fn end_doubt(&mut self, header: &Header) {
        let is_over = |doubt: &mut Doubt| header.time_ms > doubt.since_ms.saturating_add(DOUBT_MARGIN_MS);
        if let Some(Doubt { replica, .. }) = self.doubt.take_if(is_over) {
            self.replica = Some(replica);
            self.actions.push(Action::TrustGuard { height: header.height + 1 });
        }
    }
}

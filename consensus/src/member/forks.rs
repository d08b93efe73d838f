//! Forks: a quorum made another history final than this node's. From where that shows this node looks back, block by
//! block, for a height at which both were made final in one round: who signed both there is convicted by it.

use super::{Action, Alarm, Chain, Fatal, Member, Parting, PeerMessage, To};
use crate::Evidence;
use ledger::block::Header;
use ledger::certificate::Certificate;
use ledger::evidence::{CertifiedHeader, EvidenceError, TwoCertificates};
use ledger::key::PublicKey;
use ledger::state::StateView as _;

/// Blocks of another history that are looked at, back from where it shows. Of those who keep two histories alive,
/// nearly every height convicts; whoever wants more compares the whole of both (`countersign audit fork`).
pub const LOOK_BACK_MAX: u64 = 64;
/// How long a peer may take for each.
const ANSWER_MS: u64 = super::sync::SYNC_TIMEOUT_MS;

/// The block that is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookingBack {
    pub(super) peer: PublicKey,
    height: u64,
    /// Nothing below this is asked for.
    floor: u64,
}

impl<C: Chain> Member<C> {
    /// A peer has a block that a quorum signed and that does not follow this node's. One peer is looked at at a time.
    pub(super) fn look_back(&mut self, peer: PublicKey, height: u64) {
        self.actions.push(Action::Alarm(format!(
            "the ledger is forked: {peer} has a block {height} that a quorum signed, and it does not follow this node's; \
             compare the two nodes with `countersign audit fork`"
        )));
        let floor = height.saturating_sub(LOOK_BACK_MAX).max(1);
        match self.peers.looking_back {
            None => self.ask_further_back(LookingBack { peer, height, floor }),
            // What it was asked for before.
            Some(looking) if looking.peer == peer => {}
            Some(_) => self.part_after_a_fork(peer),
        }
    }

    /// Whether this is the block that is waited for.
    pub(super) fn looks_back_at(&self, peer: &PublicKey, height: u64) -> bool {
        self.peers.looking_back.is_some_and(|looking| looking.peer == *peer && looking.height == height)
    }

    /// It came: it convicts somebody, or the one before it may. Where the two histories are one again, or validators
    /// were others than today's, there is nothing more to be seen from here.
    pub(super) fn compare_histories(&mut self, header: Header, certificate: Certificate) -> Result<(), Fatal> {
        let Some(looking) = self.peers.looking_back else { return Ok(()) };
        let evidence = self.two_certificates(header, certificate)?;
        let goes_on = match evidence.as_ref().map(|evidence| evidence.check(&self.chain_id)) {
            Some(Ok(charge)) if self.accusations.is_new(&charge) => {
                evidence.map_or(Ok(()), |evidence| self.caught(evidence))?;
                false
            }
            // It names nobody.
            Some(Err(EvidenceError::OtherRounds { .. })) => true,
            _ => false,
        };
        if goes_on {
            self.ask_further_back(looking)
        } else {
            self.part_after_a_fork(looking.peer)
        }
        Ok(())
    }

    /// This node's block of a height beside another, if they are two and today's validators made this node's.
    fn two_certificates(&self, header: Header, certificate: Certificate) -> Result<Option<Evidence>, Fatal> {
        let Some(one) = self.chain.certified(header.height)? else { return Ok(None) };
        let Some(upcoming) = self.chain.upcoming_validators()? else { return Ok(None) };
        let validators = upcoming.next;
        let hash = validators.hash();
        let by_today = one.header.validators_hash == hash && header.validators_hash == hash;
        let are_two = one.header.hash() != header.hash();
        let other = CertifiedHeader { header, certificate };
        let evidence = || Evidence::Certificates(Box::new(TwoCertificates { validators, one, other }));
        Ok((by_today && are_two).then(evidence))
    }

    fn ask_further_back(&mut self, looking: LookingBack) {
        let LookingBack { peer, height, floor } = looking;
        let height = height - 1;
        if height < floor {
            return self.part_after_a_fork(peer);
        }
        self.peers.looking_back = Some(LookingBack { height, ..looking });
        let message = PeerMessage::WantBlocks { from: height, count: 1 };
        self.actions.push(Action::Send { to: To::Peer(peer), message });
        self.actions.push(Action::Schedule { alarm: Alarm::LookBack, after_ms: ANSWER_MS });
    }

    /// It does not answer.
    pub(super) fn stop_looking_back(&mut self) {
        if let Some(LookingBack { peer, .. }) = self.peers.looking_back {
            self.part_after_a_fork(peer);
        }
    }

    /// The peer went away by itself.
    pub(super) fn left_while_looking_back(&mut self, peer: &PublicKey) {
        if self.peers.looking_back.is_some_and(|looking| looking.peer == *peer) {
            self.peers.looking_back = None;
            self.actions.push(Action::Cancel(Alarm::LookBack));
        }
    }

    /// Nothing more is asked for: found, or not to be found.
    fn part_after_a_fork(&mut self, peer: PublicKey) {
        self.part_with(peer, Parting::Fault("its history follows another block than this node's".to_owned()));
    }
}

//! The impostor: a node that says it speaks for another validator of its own organisation, and then says
//! what nobody honest says.

use super::{Adversary, Stage};
use consensus::Message;
use consensus::member::{PEER_VERSION, PeerMessage};
use ledger::id::BlockHash;
use ledger::key::PublicKey;

pub(crate) struct Impostor {
    /// Whose name it takes.
    pub(crate) victim: PublicKey,
}

impl Adversary for Impostor {
    fn speaks(&mut self, stage: &mut Stage<'_>) -> Vec<(usize, Vec<u8>)> {
        let (chain, height) = (stage.chain, stage.height - 1);
        let hello = PeerMessage::Hello { version: PEER_VERSION, chain, height, validator: Some(self.victim) };
        let mut said = stage.all_hear(&hello);
        for round in 0..3 {
            let proposal = stage.proposal(round, BlockHash([3; 32]));
            said.extend(stage.all_hear(&PeerMessage::Consensus(Message::Proposal(proposal))));
        }
        said
    }
}

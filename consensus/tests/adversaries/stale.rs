//! The one with stale certificates: old certificates for new heights, old blocks once more, old proofs
//! under new blocks.

use super::{Adversary, Stage};
use consensus::Message;
use consensus::member::PeerMessage;
use ledger::block::Block;
use ledger::bounded::List;
use ledger::encoding::encode;

#[derive(Default)]
pub(crate) struct Stale {
    heard: Vec<PeerMessage>,
}

/// Messages it keeps for later.
const MEMORY: usize = 48;

impl Adversary for Stale {
    fn hears(&mut self, message: &PeerMessage) {
        let is_proof = matches!(
            message,
            PeerMessage::Consensus(Message::Decided(_) | Message::Polka(_) | Message::Skip(_))
                | PeerMessage::FinalisedBlock { .. }
        );
        if is_proof && self.heard.len() < MEMORY {
            self.heard.push(message.clone());
        }
    }

    fn speaks(&mut self, stage: &mut Stage<'_>) -> Vec<(usize, Vec<u8>)> {
        let height = stage.height;
        if stage.rng.once_in(2) && !self.heard.is_empty() {
            let message = stage.rng.pick(&self.heard).clone();
            return stage.one_hears(&message);
        }
        let old = stage.rng.between(1, height.max(2) - 1);
        let Some((old_block, mut certificate)) = stage.vault.block(old) else { return Vec::new() };
        let message = match stage.rng.between(0, 3) {
            0 => PeerMessage::FinalisedBlock { block: old_block, certificate },
            1 => {
                certificate.height = height;
                PeerMessage::Consensus(Message::Decided(certificate))
            }
            2 => {
                let header = stage.empty_block(stage.wall_ms);
                certificate.height = height;
                certificate.block = header.hash();
                PeerMessage::FinalisedBlock { block: Block { header, transactions: List::default() }, certificate }
            }
            _ => PeerMessage::Consensus(Message::Decided(certificate)),
        };
        let peer = *stage.rng.pick(&[0, 1, 2, 3]);
        if stage.peers.contains(&peer) { vec![(peer, encode(&message))] } else { Vec::new() }
    }
}

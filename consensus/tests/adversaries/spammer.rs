//! The spammer of future rounds and heights: well signed votes, proposals and questions that nobody
//! can use yet, by the dozen.

use super::{Adversary, Stage};
use consensus::member::PeerMessage;
use consensus::{Message, VoteKind};
use ledger::id::BlockHash;

#[derive(Default)]
pub(crate) struct Spammer;

impl Adversary for Spammer {
    fn speaks(&mut self, stage: &mut Stage<'_>) -> Vec<(usize, Vec<u8>)> {
        let mut said = Vec::new();
        for _ in 0..6 {
            let height = stage.height + *stage.rng.pick(&[0, 0, 0, 1, 1, 2, 50, u64::MAX / 2]);
            let round = stage.round.saturating_add(*stage.rng.pick(&[1, 2, 9, 10, 11, 500, u32::MAX]));
            let block = BlockHash([u8::try_from(stage.rng.between(0, 255)).unwrap(); 32]);
            let message = match stage.rng.between(0, 3) {
                0 => Message::Vote(stage.vote(VoteKind::Prevote, height, round, Some(block))),
                1 => Message::Vote(stage.vote(VoteKind::Precommit, height, round, None)),
                2 => Message::Proposal(stage.proposal(round, block)),
                _ => Message::WantProposal { height, round },
            };
            said.extend(stage.one_hears(&PeerMessage::Consensus(message)));
        }
        said
    }
}

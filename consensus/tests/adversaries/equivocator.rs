//! The equivocating proposer: two blocks in its turn, one for each half of the others, and a vote for
//! each of them to those who have it.

use super::{Adversary, Stage};
use consensus::Message;
use consensus::member::PeerMessage;
use ledger::block::Header;
use ledger::bounded::List;
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Equivocator {
    /// The second block of a height and round.
    second: BTreeMap<(u64, u32), Header>,
}

impl Adversary for Equivocator {
    fn sends(&mut self, stage: &mut Stage<'_>, to: usize, message: PeerMessage) -> Vec<PeerMessage> {
        let is_other_half = to % 2 == 1;
        match message {
            PeerMessage::Consensus(Message::Proposal(proposal))
                if is_other_half && proposal.proposer == stage.key.public() && proposal.body.height == stage.height =>
            {
                let round = proposal.body.round;
                let time_ms = stage.wall_ms + 1;
                let header =
                    self.second.entry((stage.height, round)).or_insert_with(|| stage.empty_block(time_ms)).clone();
                let second = Message::Proposal(stage.proposal(round, header.hash()));
                vec![PeerMessage::Body { header, transactions: List::default() }, PeerMessage::Consensus(second)]
            }
            PeerMessage::Consensus(Message::Vote(vote)) if is_other_half && vote.voter == stage.key.public() => {
                let second = self.second.get(&(vote.body.height, vote.body.round)).map(Header::hash);
                let vote = stage.vote(vote.kind, vote.body.height, vote.body.round, second);
                vec![PeerMessage::Consensus(Message::Vote(vote))]
            }
            other => vec![other],
        }
    }
}

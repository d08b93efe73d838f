//! The proposer of invalid blocks: wrong time, wrong roots, wrong count, wrong sets; well signed.

use super::{Adversary, Stage};
use consensus::Message;
use consensus::member::PeerMessage;
use ledger::block::Header;
use ledger::bounded::List;
use ledger::id::Digest;
use std::collections::BTreeMap;

pub(crate) struct InvalidBlock {
    /// One kind only, or any.
    only: Option<u64>,
    made: BTreeMap<(u64, u32), Header>,
}

/// Ways in which a header can be wrong.
const KINDS: u64 = 9;
/// The way that is wrong about time alone.
const FAR_AHEAD: u64 = 1;

impl InvalidBlock {
    pub(crate) fn of_any_kind() -> Self {
        Self { only: None, made: BTreeMap::new() }
    }

    pub(crate) fn far_ahead() -> Self {
        Self { only: Some(FAR_AHEAD), made: BTreeMap::new() }
    }

    fn make(&mut self, stage: &mut Stage<'_>, round: u32) -> Header {
        let kind = self.only.unwrap_or_else(|| stage.rng.between(0, KINDS - 1));
        let height = stage.height;
        self.made.entry((height, round)).or_insert_with(|| invalid(stage, kind)).clone()
    }
}

fn invalid(stage: &Stage<'_>, kind: u64) -> Header {
    let parent_ms = stage.vault.tip.header.time_ms;
    if kind == FAR_AHEAD {
        return stage.empty_block(stage.wall_ms + 600_000);
    }
    let mut header = stage.empty_block(stage.wall_ms);
    match kind {
        0 => header.time_ms = parent_ms,
        2 => header.state_root = Digest::ZERO,
        3 => header.tx_root = Digest::ZERO,
        4 => header.tx_count += 1,
        5 => header.history_root = Digest::ZERO,
        6 => header.history_size += 1,
        7 => header.validators_hash = Digest::ZERO,
        _ => header.next_validators_hash = Digest::ZERO,
    }
    header
}

impl Adversary for InvalidBlock {
    fn sends(&mut self, stage: &mut Stage<'_>, _: usize, message: PeerMessage) -> Vec<PeerMessage> {
        match message {
            PeerMessage::Consensus(Message::Proposal(proposal))
                if proposal.proposer == stage.key.public() && proposal.body.height == stage.height =>
            {
                let round = proposal.body.round;
                let header = self.make(stage, round);
                let proposal = Message::Proposal(stage.proposal(round, header.hash()));
                vec![PeerMessage::Body { header, transactions: List::default() }, PeerMessage::Consensus(proposal)]
            }
            PeerMessage::Consensus(Message::Vote(vote)) if vote.voter == stage.key.public() => {
                let place = (vote.body.height, vote.body.round);
                let block = self.made.get(&place).map(Header::hash).or(vote.body.block);
                let vote = stage.vote(vote.kind, place.0, place.1, block);
                vec![PeerMessage::Consensus(Message::Vote(vote))]
            }
            other => vec![other],
        }
    }
}

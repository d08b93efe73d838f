//! The proposer of invalid blocks: wrong time, wrong roots, wrong count, wrong sets; well signed. And blocks of a ledger of
//! its own: the same organisations with keys that it made up, and their certificates.

use super::{Adversary, Stage};
use crate::ledger_sim::cast::secret;
use consensus::member::PeerMessage;
use consensus::{Message, SignedVote, VoteKind};
use ledger::block::{Block, Header};
use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::id::Digest;
use ledger::key::SecretKey;
use ledger::validators::{Validator, ValidatorSet};
use std::collections::BTreeMap;

pub(crate) struct InvalidBlock {
    /// One kind only, or any.
    only: Option<u64>,
    made: BTreeMap<(u64, u32), Header>,
}

/// Ways in which a header can be wrong.
const KINDS: u64 = 10;
/// The way that is wrong about time alone.
const FAR_AHEAD: u64 = 1;
/// The way that is right for another set of validators.
const FOREIGN: u64 = 9;

impl InvalidBlock {
    pub(crate) fn of_any_kind() -> Self {
        Self { only: None, made: BTreeMap::new() }
    }

    pub(crate) fn far_ahead() -> Self {
        Self { only: Some(FAR_AHEAD), made: BTreeMap::new() }
    }

    pub(crate) fn of_a_foreign_set() -> Self {
        Self { only: Some(FOREIGN), made: BTreeMap::new() }
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
        FOREIGN => {
            let (set, _) = foreign(stage);
            (header.validators_hash, header.next_validators_hash) = (set.hash(), set.hash());
        }
        _ => header.next_validators_hash = Digest::ZERO,
    }
    header
}

/// As many validators as there are, of the same organisations, with keys in the liar's hands.
fn foreign(stage: &Stage<'_>) -> (ValidatorSet, Vec<SecretKey>) {
    let known = stage.vault.set_of(stage.height).validators();
    let keys: Vec<SecretKey> = (0..known.len()).map(|n| secret(&format!("foreign {n}"))).collect();
    let pairs = keys.iter().zip(known);
    let validators =
        pairs.map(|(key, one)| Validator { key: key.public(), organisation: one.organisation.clone() }).collect();
    (ValidatorSet::new(validators).expect("as many as are known, and no key twice"), keys)
}

/// What that set would have made of a block of its own.
fn certified(stage: &Stage<'_>, header: &Header) -> PeerMessage {
    let (set, keys) = foreign(stage);
    let body = VoteBody { height: header.height, round: 0, block: Some(header.hash()) };
    let votes = keys.iter().map(|key| SignedVote::sign(VoteKind::Precommit, body, key, &stage.chain));
    let signed: Vec<_> = votes.map(|vote| (vote.voter, vote.signature)).collect();
    let certificate = Certificate::assemble(header.height, 0, header.hash(), &signed, &set);
    PeerMessage::FinalisedBlock { block: Block { header: header.clone(), transactions: List::default() }, certificate }
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
                let is_foreign = header.validators_hash == foreign(stage).0.hash();
                let certified = is_foreign.then(|| certified(stage, &header));
                let body = PeerMessage::Body { header, transactions: List::default() };
                [body, PeerMessage::Consensus(proposal)].into_iter().chain(certified).collect()
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

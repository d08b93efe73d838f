//! One validator that says whatever may hurt: contradictions, forgeries, nonsense, old news.

use super::block::{Block, CHAIN};
use super::network::Packet;
use super::rng::Rng;
use consensus::{Message, Polka, ProposalBody, RoundVote, SignedProposal, SignedVote, Skip, SkipReason, VoteKind};
use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::encode;
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, SecretKey, Signature};
use ledger::validators::ValidatorSet;

/// Old messages kept to be said again at a bad time.
const MEMORY: usize = 64;

pub(crate) struct Mischief {
    key: SecretKey,
    heard: Vec<Vec<u8>>,
}

impl Mischief {
    pub(crate) fn new(key: SecretKey) -> Self {
        Self { key, heard: Vec::new() }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8], rng: &mut Rng) {
        if self.heard.len() < MEMORY {
            self.heard.push(bytes.to_vec());
        } else {
            let place = rng.index(MEMORY);
            self.heard[place] = bytes.to_vec();
        }
    }

    pub(crate) fn packet(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Packet {
        if rng.once_in(8) {
            let length = rng.index(300);
            return Packet::Consensus(rng.bytes(length));
        }
        if rng.once_in(8) && !self.heard.is_empty() {
            return Packet::Consensus(rng.pick(&self.heard).clone());
        }
        if rng.once_in(12) {
            let block = Block { height, parent: BlockHash::ZERO, nonce: rng.next(), good: false };
            return Packet::Body(block);
        }
        Packet::Consensus(encode(&self.message(height, round, validators, rng)))
    }

    fn message(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Message {
        let height = *rng.pick(&[height, height, height, height + 1, height.saturating_sub(1), 0, u64::MAX]);
        let round = *rng.pick(&[round, round, round + 1, round + 9, round + 500, u32::MAX]);
        match rng.between(0, 8) {
            0..=2 => Message::Vote(self.vote(height, round, validators, rng)),
            3 | 4 => Message::Proposal(self.proposal(height, round, validators, rng)),
            5 => Message::Polka(self.polka(height, round, validators, rng)),
            6 => Message::Skip(self.skip(height, round, validators, rng)),
            7 => Message::WantProposal { height, round },
            _ => Message::Decided(self.certificate(height, round, validators, rng)),
        }
    }

    fn vote(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> SignedVote {
        let kind = *rng.pick(&[VoteKind::Prevote, VoteKind::Precommit]);
        let body = VoteBody { height, round, block: rng.percent(80).then(|| nonsense(rng)) };
        let mut vote = SignedVote::sign(kind, body, &self.key, &CHAIN);
        match rng.between(0, 5) {
            0 => vote.voter = rng.pick(validators.validators()).key,
            1 => vote.signature = Signature([u8::try_from(rng.between(0, 255)).unwrap(); 64]),
            2 => vote = SignedVote::sign(kind, body, &self.key, &ChainId([9; 32])),
            _ => {}
        }
        vote
    }

    fn proposal(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> SignedProposal {
        let pol_round = *rng.pick(&[None, None, Some(0), Some(round), Some(u32::MAX)]);
        let body = ProposalBody { height, round, pol_round, block: nonsense(rng) };
        let mut proposal = SignedProposal::sign(body, &self.key, &CHAIN);
        if rng.once_in(4) {
            proposal.proposer = rng.pick(validators.validators()).key;
        }
        proposal
    }

    /// Enough votes in number, and none of them good, or all of them its own.
    fn polka(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Polka {
        let block = nonsense(rng);
        let own =
            SignedVote::sign(VoteKind::Prevote, VoteBody { height, round, block: Some(block) }, &self.key, &CHAIN);
        let prevotes = self.pretend(validators, own.signature, rng);
        Polka { height, round, block, prevotes: List::new(prevotes).unwrap() }
    }

    fn skip(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Skip {
        let kind = *rng.pick(&[VoteKind::Prevote, VoteKind::Precommit]);
        let own = SignedVote::sign(kind, VoteBody { height, round, block: None }, &self.key, &CHAIN);
        let votes = self.pretend(validators, own.signature, rng);
        let vote = |(voter, signature)| RoundVote { kind, block: None, voter, signature };
        Skip {
            height,
            round,
            reason: *rng.pick(&[SkipReason::Ahead, SkipReason::Over]),
            votes: List::new(votes.into_iter().map(vote).collect()).unwrap(),
        }
    }

    fn certificate(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Certificate {
        let block = nonsense(rng);
        let body = VoteBody { height, round, block: Some(block) };
        let own = SignedVote::sign(VoteKind::Precommit, body, &self.key, &CHAIN);
        Certificate::assemble(height, round, block, &self.pretend(validators, own.signature, rng), validators)
    }

    fn pretend(&self, validators: &ValidatorSet, own: Signature, rng: &mut Rng) -> Vec<(PublicKey, Signature)> {
        let me = self.key.public();
        match rng.between(0, 2) {
            0 => validators.validators().iter().map(|validator| (validator.key, own)).collect(),
            1 => vec![(me, own); validators.len()],
            _ => vec![(me, own)],
        }
    }
}

fn nonsense(rng: &mut Rng) -> BlockHash {
    BlockHash([u8::try_from(rng.between(0, 3)).unwrap(); 32])
}

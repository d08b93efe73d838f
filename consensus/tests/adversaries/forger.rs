//! The forger: a validator that says whatever may hurt, with bad signatures, stolen names, of a foreign
//! chain; and nonsense, and old news.

use super::{Adversary, Stage};
use crate::ledger_sim::cast::Cast;
use crate::ledger_sim::vault::Vault;
use crate::sim::rng::Rng;
use consensus::member::{PEER_VERSION, PeerMessage};
use consensus::{Message, Polka, ProposalBody, RoundVote, SignedProposal, SignedVote, Skip, SkipReason, VoteKind};
use ledger::bounded::{Blob, List};
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::encode;
use ledger::id::{BlockHash, ChainId};
use ledger::key::{PublicKey, SecretKey, Signature};
use ledger::validators::ValidatorSet;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Old messages kept to be said again at a bad time.
const MEMORY: usize = 64;

pub(crate) struct Forger {
    key: SecretKey,
    chain: ChainId,
    heard: Vec<Vec<u8>>,
}

impl Forger {
    pub(crate) fn new(key: SecretKey, chain: ChainId) -> Self {
        Self { key, chain, heard: Vec::new() }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8], rng: &mut Rng) {
        if self.heard.len() < MEMORY {
            self.heard.push(bytes.to_vec());
        } else {
            let place = rng.index(MEMORY);
            self.heard[place] = bytes.to_vec();
        }
    }

    /// Bytes for the wire: a message made up, one heard before, or noise.
    pub(crate) fn bytes(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Vec<u8> {
        if rng.once_in(8) {
            let length = rng.index(300);
            return rng.bytes(length);
        }
        if rng.once_in(8) && !self.heard.is_empty() {
            return rng.pick(&self.heard).clone();
        }
        encode(&self.message(height, round, validators, rng))
    }

    pub(crate) fn message(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Message {
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
        let mut vote = SignedVote::sign(kind, body, &self.key, &self.chain);
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
        let mut proposal = SignedProposal::sign(body, &self.key, &self.chain);
        if rng.once_in(4) {
            proposal.proposer = rng.pick(validators.validators()).key;
        }
        proposal
    }

    /// Enough votes in number, and none of them good, or all of them its own.
    fn polka(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Polka {
        let block = nonsense(rng);
        let own =
            SignedVote::sign(VoteKind::Prevote, VoteBody { height, round, block: Some(block) }, &self.key, &self.chain);
        let prevotes = self.pretend(validators, own.signature, rng);
        Polka { height, round, block, prevotes: List::new(prevotes).unwrap() }
    }

    fn skip(&self, height: u64, round: u32, validators: &ValidatorSet, rng: &mut Rng) -> Skip {
        let kind = *rng.pick(&[VoteKind::Prevote, VoteKind::Precommit]);
        let own = SignedVote::sign(kind, VoteBody { height, round, block: None }, &self.key, &self.chain);
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
        let own = SignedVote::sign(VoteKind::Precommit, body, &self.key, &self.chain);
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

/// In the simulation of whole members it forges messages between nodes too.
impl Adversary for Forger {
    fn hears(&mut self, message: &PeerMessage) {
        if self.heard.len() == MEMORY {
            self.heard.remove(0);
        }
        self.heard.push(encode(message));
    }

    fn speaks(&mut self, stage: &mut Stage<'_>) -> Vec<(usize, Vec<u8>)> {
        let message = match stage.rng.between(0, 9) {
            0 => {
                let length = stage.rng.index(300);
                let bytes = stage.rng.bytes(length);
                return stage.peers.first().map(|peer| vec![(*peer, bytes)]).unwrap_or_default();
            }
            1 => PeerMessage::Hello { version: PEER_VERSION, chain: ChainId([9; 32]), height: 3, validator: None },
            2 => PeerMessage::Hello { version: 77, chain: stage.chain, height: 3, validator: None },
            // In the name of somebody else.
            3 => {
                let validator = stage.rng.pick(stage.vault.set_of(stage.height).validators()).key;
                PeerMessage::Hello { version: PEER_VERSION, chain: stage.chain, height: 0, validator: Some(validator) }
            }
            4 => {
                let Some(mut bytes) = stage.vault.leaves.last().cloned() else { return Vec::new() };
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                PeerMessage::Transactions(List::new(vec![Blob::new(bytes).unwrap()]).unwrap())
            }
            // What somebody else said, as if it were its own.
            5 if !self.heard.is_empty() && !stage.peers.is_empty() => {
                let bytes = stage.rng.pick(&self.heard).clone();
                return vec![(*stage.rng.pick(&stage.peers), bytes)];
            }
            _ => PeerMessage::Consensus(self.message(
                stage.height,
                stage.round,
                stage.vault.set_of(stage.height),
                stage.rng,
            )),
        };
        stage.one_hears(&message)
    }
}

/// And the latest of it.
#[test]
fn what_the_forger_has_heard_it_says_again() {
    let cast = Cast::of(4);
    let (vault, mut rng) = (RefCell::new(Vault::new(&cast.genesis)), Rng::new(1));
    let key = cast.validators[0].validator.as_ref().unwrap();
    let mut forger = Forger::new(key.clone(), cast.chain_id());
    let status = |height| PeerMessage::Status { height };
    (0..100).for_each(|height| forger.hears(&status(height)));
    let mut said = BTreeSet::new();
    for _ in 0..2_000 {
        let (chain, vault, peers) = (cast.chain_id(), vault.borrow(), vec![1, 2]);
        let mut stage = Stage { key, chain, vault, height: 1, round: 0, wall_ms: 0, peers, rng: &mut rng };
        said.extend(forger.speaks(&mut stage).into_iter().map(|(_, bytes)| bytes));
    }
    let again: Vec<u64> = (0..100).filter(|height| said.contains(&encode(&status(*height)))).collect();
    assert!(again.len() > 32 && again.iter().all(|height| *height >= 36), "{again:?}");
}

//! Validators that sign two things, as evidence shows it.

use super::world::{World, certify, validator_set};
use super::{digest, key};
use ledger::block::Header;
use ledger::certificate::VoteBody;
use ledger::evidence::{CertifiedHeader, Evidence, TwoCertificates};
use ledger::id::{BlockHash, ChainId};
use ledger::key::SecretKey;
use ledger::transaction::Payload;
use ledger::vote::{ProposalBody, SignedProposal, SignedVote, VoteKind};

/// A block told apart by a word.
pub fn block(word: &str) -> BlockHash {
    BlockHash(digest(word).0)
}

pub fn vote(chain: &ChainId, who: &str, kind: VoteKind, place: (u64, u32), word: Option<&str>) -> SignedVote {
    let body = VoteBody { height: place.0, round: place.1, block: word.map(block) };
    SignedVote::sign(kind, body, &key(who), chain)
}

/// Two precommits of one round.
pub fn two_votes(who: &str, height: u64) -> Evidence {
    let chain = World::new().chain();
    let precommit = |word| vote(&chain, who, VoteKind::Precommit, (height, 3), word);
    Evidence::Votes(precommit(Some("one")), precommit(Some("other")))
}

pub fn proposal(chain: &ChainId, who: &str, place: (u64, u32), word: &str) -> SignedProposal {
    let body = ProposalBody { height: place.0, round: place.1, pol_round: None, block: block(word) };
    SignedProposal::sign(body, &key(who), chain)
}

/// Two proposals of one round.
pub fn two_proposals(who: &str, height: u64) -> Evidence {
    let chain = World::new().chain();
    Evidence::Proposals(proposal(&chain, who, (height, 0), "one"), proposal(&chain, who, (height, 0), "other"))
}

/// A final header over the genesis of the test ledger, at this time, certified in a round by these.
pub fn certified(height: u64, time_ms: u64, round: u32, who: &[&str]) -> CertifiedHeader {
    let world = World::new();
    let header = Header { height, time_ms, parent: block("parent"), ..world.genesis.header };
    let keys: Vec<SecretKey> = who.iter().map(|who| key(&format!("{who}/validator"))).collect();
    let certificate = certify(&header, round, &keys, &validator_set(&world.validators));
    CertifiedHeader { header, certificate }
}

/// Two certificates of height 9, in these rounds, by these.
pub fn two_certificates(rounds: (u32, u32), one: &[&str], other: &[&str]) -> Evidence {
    let validators = validator_set(&World::new().validators);
    let (one, other) = (certified(9, 1, rounds.0, one), certified(9, 2, rounds.1, other));
    Evidence::Certificates(Box::new(TwoCertificates { validators, one, other }))
}

pub fn accuse(evidence: Evidence) -> Payload {
    Payload::Accuse { evidence }
}

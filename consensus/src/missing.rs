//! What we lack, and whom we have asked for it.
//!
//! The core waits for what it lacks until its tenth round. A vote for something we have not seen says
//! who has it: so they are asked at once, and once each, and again only when the rebroadcast timer runs
//! out.

use ledger::id::BlockHash;
use ledger::key::PublicKey;
use std::collections::{BTreeMap, BTreeSet};

/// Peers asked for one proposal between two rebroadcasts: one may have gone silent.
const ASKED_FOR_PROPOSAL_MAX: usize = 2;
/// Blocks of one height whose bodies are asked for at a time.
pub(crate) const BLOCKS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Missing {
    proposals: BTreeMap<u32, BTreeSet<PublicKey>>,
    /// With the round that named it, so that the oldest makes room.
    judging: BTreeMap<BlockHash, u32>,
    bodies: BTreeMap<BlockHash, BTreeSet<PublicKey>>,
    /// How often everybody was asked again.
    times: usize,
}

impl Missing {
    /// Whether to ask this peer for the proposal of this round now.
    pub(crate) fn ask_for_proposal(&mut self, round: u32, peer: PublicKey) -> bool {
        let asked = self.proposals.entry(round).or_default();
        asked.len() < ASKED_FOR_PROPOSAL_MAX && asked.insert(peer)
    }

    /// Whether the node has been asked for a verdict on this block, so that its body is on its way.
    pub(crate) fn is_judging(&self, block: &BlockHash) -> bool {
        self.judging.contains_key(block)
    }

    /// Whether to ask the node for a verdict on this block now.
    pub(crate) fn ask_to_judge(&mut self, round: u32, block: BlockHash) -> bool {
        if self.is_judging(&block) {
            return false;
        }
        let oldest = self.judging.iter().map(|(block, named_in)| (*named_in, *block)).min();
        match oldest.filter(|_| self.judging.len() >= BLOCKS_MAX) {
            Some((named_in, _)) if named_in >= round => return false,
            Some((_, oldest)) => drop(self.judging.remove(&oldest)),
            None => {}
        }
        self.judging.insert(block, round);
        true
    }

    /// The blocks the node has been asked to judge.
    pub(crate) fn judging(&self) -> impl Iterator<Item = BlockHash> {
        self.judging.keys().copied()
    }

    /// Those of these peers who have not been asked for this body yet.
    pub(crate) fn ask_for_body(&mut self, block: BlockHash, peers: Vec<PublicKey>) -> Vec<PublicKey> {
        if self.bodies.len() >= BLOCKS_MAX && !self.bodies.contains_key(&block) {
            return Vec::new();
        }
        let asked = self.bodies.entry(block).or_default();
        peers.into_iter().filter(|peer| asked.insert(*peer)).collect()
    }

    /// Time has passed: everybody may be asked again.
    pub(crate) fn ask_again(&mut self) {
        self.times = self.times.wrapping_add(1);
        self.proposals.clear();
        self.bodies.clear();
    }

    /// These peers in the order in which they are asked for a proposal now: others first than the last time.
    pub(crate) fn in_turn<T>(&self, mut peers: Vec<T>) -> Vec<T> {
        let first = (ASKED_FOR_PROPOSAL_MAX * self.times).checked_rem(peers.len()).unwrap_or(0);
        peers.rotate_left(first);
        peers
    }

    /// How many rounds' proposals, how many verdicts and how many bodies are waited for.
    pub(crate) fn held(&self) -> (usize, usize, usize) {
        (self.proposals.len(), self.judging.len(), self.bodies.len())
    }

    pub(crate) fn forget_before(&mut self, round: u32) {
        self.proposals = self.proposals.split_off(&round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(n: u32) -> BlockHash {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        BlockHash(hash)
    }

    #[test]
    fn however_many_rounds_pass_the_latest_block_is_judged_and_none_is_asked_for_twice() {
        let mut missing = Missing::default();
        for round in 0..500 {
            let asked: Vec<u32> = (0..=round).filter(|n| missing.ask_to_judge(*n, block(*n))).collect();
            assert_eq!(asked, vec![round]);
            assert!(missing.judging().count() <= BLOCKS_MAX);
        }
    }

    #[test]
    fn few_bodies_are_asked_for_at_a_time() {
        let mut missing = Missing::default();
        let peer = PublicKey([1; 32]);
        let asked = (0..500).filter(|n| !missing.ask_for_body(block(*n), vec![peer]).is_empty()).count();
        assert_eq!((asked, missing.held()), (64, (0, 0, 64)));
        let other = PublicKey([2; 32]);
        assert_eq!(missing.ask_for_body(block(63), vec![other]), vec![other], "of those, anybody is asked");
        missing.ask_again();
        assert_eq!(missing.ask_for_body(block(499), vec![peer]), vec![peer], "and others later");
    }

    #[test]
    fn rounds_long_past_are_not_asked_for() {
        let mut missing = Missing::default();
        (0..500).for_each(|round| assert!(missing.ask_for_proposal(round, PublicKey([1; 32]))));
        missing.forget_before(490);
        assert_eq!(missing.held(), (10, 0, 0));
    }

    #[test]
    fn peers_are_asked_once_each_until_time_has_passed() {
        let mut missing = Missing::default();
        let peers: Vec<PublicKey> = (0..5).map(|n| PublicKey([n; 32])).collect();
        let ask = |missing: &mut Missing| peers.iter().filter(|peer| missing.ask_for_proposal(3, **peer)).count();
        assert_eq!(ask(&mut missing), ASKED_FOR_PROPOSAL_MAX);
        assert_eq!(ask(&mut missing), 0);
        missing.ask_again();
        assert_eq!(ask(&mut missing), ASKED_FOR_PROPOSAL_MAX);
        assert_eq!(missing.ask_for_body(block(1), peers.clone()), peers);
        assert_eq!(missing.ask_for_body(block(1), peers.clone()), vec![]);
    }
}

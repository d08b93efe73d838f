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
/// Blocks of one height whose bodies are asked for.
const BLOCKS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Missing {
    proposals: BTreeMap<u32, BTreeSet<PublicKey>>,
    judging: BTreeSet<BlockHash>,
    bodies: BTreeMap<BlockHash, BTreeSet<PublicKey>>,
}

impl Missing {
    /// Whether to ask this peer for the proposal of this round now.
    pub(crate) fn ask_for_proposal(&mut self, round: u32, peer: PublicKey) -> bool {
        let asked = self.proposals.entry(round).or_default();
        asked.len() < ASKED_FOR_PROPOSAL_MAX && asked.insert(peer)
    }

    /// Whether the node has been asked for a verdict on this block, so that its body is on its way.
    pub(crate) fn is_judging(&self, block: &BlockHash) -> bool {
        self.judging.contains(block)
    }

    /// Whether to ask the node for a verdict on this block now.
    pub(crate) fn ask_to_judge(&mut self, block: BlockHash) -> bool {
        self.judging.len() < BLOCKS_MAX && self.judging.insert(block)
    }

    /// The blocks the node has been asked to judge.
    pub(crate) fn judging(&self) -> impl Iterator<Item = BlockHash> {
        self.judging.iter().copied()
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
        self.proposals.clear();
        self.bodies.clear();
    }

    pub(crate) fn forget_before(&mut self, round: u32) {
        self.proposals = self.proposals.split_off(&round);
    }
}

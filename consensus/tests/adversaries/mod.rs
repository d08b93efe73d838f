//! Those who mean harm, one file each. Each runs a whole member of its own, changes what that says to
//! others, and says things besides; but for the twins and the one with amnesia, who only say what their members say.

mod amnesia;
pub(crate) mod boaster;
pub(crate) mod dripper;
pub(crate) mod equivocator;
pub(crate) mod flooder;
pub(crate) mod forger;
pub(crate) mod impostor;
pub(crate) mod invalid_block;
pub(crate) mod silent;
pub(crate) mod spammer;
pub(crate) mod stale;
mod twins;
pub(crate) mod withholder;

use crate::ledger_sim::vault::Vault;
use crate::sim::rng::Rng;
use consensus::member::PeerMessage;
use consensus::{ProposalBody, SignedProposal, SignedVote, VoteKind};
use ledger::block::Header;
use ledger::certificate::VoteBody;
use ledger::encoding::encode;
use ledger::execution;
use ledger::id::{BlockHash, ChainId};
use ledger::key::SecretKey;
use std::cell::Ref;

/// What an adversary has at hand.
pub(crate) struct Stage<'a> {
    pub(crate) key: &'a SecretKey,
    pub(crate) chain: ChainId,
    /// Its member's chain.
    pub(crate) vault: Ref<'a, Vault>,
    /// The height that is being decided.
    pub(crate) height: u64,
    /// The round its member is in.
    pub(crate) round: u32,
    pub(crate) wall_ms: u64,
    /// Whom it is connected to.
    pub(crate) peers: Vec<usize>,
    pub(crate) rng: &'a mut Rng,
}

pub(crate) trait Adversary {
    /// What becomes of a message its member sends.
    fn sends(&mut self, stage: &mut Stage<'_>, to: usize, message: PeerMessage) -> Vec<PeerMessage> {
        let _ = (stage, to);
        vec![message]
    }

    /// What it says besides, now and then: bytes, to whom.
    fn speaks(&mut self, stage: &mut Stage<'_>) -> Vec<(usize, Vec<u8>)> {
        let _ = stage;
        Vec::new()
    }

    /// What its member hears.
    fn hears(&mut self, message: &PeerMessage) {
        let _ = message;
    }
}

impl Stage<'_> {
    fn vote(&self, kind: VoteKind, height: u64, round: u32, block: Option<BlockHash>) -> SignedVote {
        SignedVote::sign(kind, VoteBody { height, round, block }, self.key, &self.chain)
    }

    fn proposal(&self, round: u32, block: BlockHash) -> SignedProposal {
        let body = ProposalBody { height: self.height, round, pol_round: None, block };
        SignedProposal::sign(body, self.key, &self.chain)
    }

    /// The header of a good empty block, its own for each time.
    fn empty_block(&self, time_ms: u64) -> Header {
        let built = execution::propose(&self.vault.memory, &self.vault.tip, [], time_ms, self.key.public());
        built.expect("memory does not fail").0.block.header
    }

    fn all_hear(&self, message: &PeerMessage) -> Vec<(usize, Vec<u8>)> {
        self.peers.iter().map(|peer| (*peer, encode(message))).collect()
    }

    fn one_hears(&mut self, message: &PeerMessage) -> Vec<(usize, Vec<u8>)> {
        if self.peers.is_empty() { Vec::new() } else { vec![(*self.rng.pick(&self.peers), encode(message))] }
    }
}

//! A disk: vote journal and finalised blocks.

use super::block::Block;
use super::journal::Journal;
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use std::collections::BTreeMap;

#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) journal: Journal<Block>,
    /// Finalised blocks; height `n` is at place `n - 1`.
    pub(crate) chain: Vec<(Block, Certificate)>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { journal: Journal::new(), chain: Vec::new() }
    }

    pub(crate) fn bodies(&self) -> BTreeMap<BlockHash, Block> {
        self.journal.bodies().iter().map(|block| (block.hash(), block.clone())).collect()
    }

    pub(crate) fn finalize(&mut self, block: Block, certificate: Certificate) {
        let height = block.height;
        self.chain.push((block, certificate));
        self.journal.retain_bodies(|block| block.height > height);
    }
}

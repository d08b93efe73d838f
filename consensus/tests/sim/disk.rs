//! A disk: what has been synced survives a crash, and what has not may be lost or torn.

use super::block::Block;
use super::rng::Rng;
use consensus::log::{Scan, Tail, scan};
use consensus::{GuardRecord, LogEntry};
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use std::collections::BTreeMap;

const LOG_BYTES: usize = 512 * 1024;

#[derive(Clone)]
pub(crate) struct Disk {
    log: Vec<u8>,
    guard: BTreeMap<u32, GuardRecord>,
    /// Finalised blocks; height `n` is at place `n - 1`.
    pub(crate) chain: Vec<(Block, Certificate)>,
    /// Bodies of blocks found good and not final yet.
    bodies: BTreeMap<BlockHash, Block>,
    unsynced_bodies: Vec<Block>,
    tail: Tail,
    unsynced_log: Vec<(usize, Vec<u8>)>,
    unsynced_guard: Vec<GuardRecord>,
    pub(crate) syncs: u64,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            log: vec![0; LOG_BYTES],
            guard: BTreeMap::new(),
            chain: Vec::new(),
            bodies: BTreeMap::new(),
            unsynced_bodies: Vec::new(),
            tail: Tail::blank(),
            unsynced_log: Vec::new(),
            unsynced_guard: Vec::new(),
            syncs: 0,
        }
    }

    pub(crate) fn append(&mut self, entry: &LogEntry) {
        let offset = self.tail.offset();
        let frame = self.tail.append(entry);
        assert!(offset + frame.len() <= LOG_BYTES, "the log of one height outgrew its file");
        self.unsynced_log.push((offset, frame));
    }

    pub(crate) fn guard(&mut self, record: GuardRecord) {
        assert!(record.slot < GuardRecord::SLOTS);
        self.unsynced_guard.push(record);
    }

    /// The body of a block found good: durable before the vote for it leaves.
    pub(crate) fn keep_body(&mut self, block: Block) {
        self.unsynced_bodies.push(block);
    }

    pub(crate) fn bodies(&self) -> BTreeMap<BlockHash, Block> {
        self.bodies.clone()
    }

    pub(crate) fn finalize(&mut self, block: Block, certificate: Certificate) {
        let height = block.height;
        self.chain.push((block, certificate));
        self.bodies.retain(|_, block| block.height > height);
        self.unsynced_bodies.retain(|block| block.height > height);
    }

    pub(crate) fn sync(&mut self) {
        if self.unsynced_log.is_empty() && self.unsynced_guard.is_empty() && self.unsynced_bodies.is_empty() {
            return;
        }
        for block in std::mem::take(&mut self.unsynced_bodies) {
            self.bodies.insert(block.hash(), block);
        }
        self.syncs += 1;
        for (offset, frame) in std::mem::take(&mut self.unsynced_log) {
            self.log[offset..offset + frame.len()].copy_from_slice(&frame);
        }
        for record in std::mem::take(&mut self.unsynced_guard) {
            self.guard.insert(record.slot, record);
        }
    }

    /// The log starts over in place; what it held stays behind as bytes.
    pub(crate) fn start_over(&mut self) {
        self.unsynced_log.clear();
        self.tail = self.tail.start_over();
    }

    /// Power is lost: of what was not synced, some is written, some is not, and one write is torn.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        for (offset, mut frame) in std::mem::take(&mut self.unsynced_log) {
            match rng.between(0, 3) {
                0 => {}
                1 => frame.truncate(rng.index(frame.len())),
                2 => {
                    let place = rng.index(frame.len());
                    frame[place] ^= 1 << rng.between(0, 7);
                }
                _ => frame.clear(),
            }
            self.log[offset..offset + frame.len()].copy_from_slice(&frame);
        }
        self.unsynced_bodies.clear();
        for record in std::mem::take(&mut self.unsynced_guard) {
            match rng.between(0, 2) {
                0 => drop(self.guard.insert(record.slot, record)),
                // Torn: the slot holds nothing readable.
                1 => drop(self.guard.remove(&record.slot)),
                _ => {}
            }
        }
    }

    /// Reads everything back, as a node does when it starts.
    pub(crate) fn open(&mut self) -> (Vec<GuardRecord>, Scan) {
        let scan = scan(&self.log);
        self.log[scan.tail.offset()..].fill(0);
        self.tail = scan.tail;
        (self.guard.values().cloned().collect(), scan)
    }

    /// The vote log is gone, as after a disk was replaced or a file removed.
    pub(crate) fn lose_log(&mut self) {
        self.log.fill(0);
    }

    /// One bit of the log turns.
    pub(crate) fn rot(&mut self, rng: &mut Rng) {
        let used = self.tail.offset().max(1);
        let place = rng.index(used);
        self.log[place] ^= 1 << rng.between(0, 7);
    }
}

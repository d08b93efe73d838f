//! A vote journal as bytes and slots: what has been synced survives a crash, and what has not may be
//! lost or torn. Shared by both simulations; `B` is whatever a body is there.

use super::rng::Rng;
use consensus::log::{Scan, Tail, scan};
use consensus::{GuardRecord, LogEntry};
use std::collections::BTreeMap;

const LOG_BYTES: usize = 512 * 1024;

#[derive(Clone)]
pub(crate) struct Journal<B> {
    log: Vec<u8>,
    guard: BTreeMap<u32, GuardRecord>,
    /// Whether its key was silent.
    is_silent: bool,
    /// Bodies of blocks found good and not final yet.
    bodies: Vec<B>,
    tail: Tail,
    unsynced_log: Vec<(usize, Vec<u8>)>,
    unsynced_guard: Vec<GuardRecord>,
    unsynced_silence: Option<bool>,
    unsynced_bodies: Vec<B>,
    pub(crate) syncs: u64,
}

impl<B: Clone> Journal<B> {
    pub(crate) fn new() -> Self {
        Self {
            log: vec![0; LOG_BYTES],
            guard: BTreeMap::new(),
            is_silent: false,
            bodies: Vec::new(),
            tail: Tail::blank(),
            unsynced_log: Vec::new(),
            unsynced_guard: Vec::new(),
            unsynced_silence: None,
            unsynced_bodies: Vec::new(),
            syncs: 0,
        }
    }

    /// No word outlives the body of the block it is for.
    fn sync_bodies(&mut self) {
        self.bodies.append(&mut self.unsynced_bodies);
    }

    pub(crate) fn append(&mut self, entry: &LogEntry) {
        self.sync_bodies();
        let offset = self.tail.offset();
        let frame = self.tail.append(entry);
        assert!(offset + frame.len() <= LOG_BYTES, "the log of one height outgrew its file");
        self.unsynced_log.push((offset, frame));
    }

    pub(crate) fn guard(&mut self, record: GuardRecord) {
        self.sync_bodies();
        assert!(record.slot < GuardRecord::SLOTS);
        self.unsynced_guard.push(record);
    }

    pub(crate) fn keep_silence(&mut self, is_silent: bool) {
        self.unsynced_silence = Some(is_silent);
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// The body of a block found good: durable before a word about it is written.
    pub(crate) fn keep_body(&mut self, body: B) {
        self.unsynced_bodies.push(body);
    }

    pub(crate) fn bodies(&self) -> &[B] {
        &self.bodies
    }

    /// Drops bodies that are of no use any more.
    pub(crate) fn retain_bodies(&mut self, mut wanted: impl FnMut(&B) -> bool) {
        self.bodies.retain(&mut wanted);
        self.unsynced_bodies.retain(&mut wanted);
    }

    pub(crate) fn sync(&mut self) {
        self.is_silent = self.unsynced_silence.take().unwrap_or(self.is_silent);
        if self.unsynced_log.is_empty() && self.unsynced_guard.is_empty() && self.unsynced_bodies.is_empty() {
            return;
        }
        self.sync_bodies();
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
        // Bodies are read from the beginning to the first doubt: some are there, none after a torn one.
        let whole = rng.index(self.unsynced_bodies.len() + 1);
        self.bodies.extend(std::mem::take(&mut self.unsynced_bodies).into_iter().take(whole));
        if let Some(is_silent) = self.unsynced_silence.take()
            && rng.once_in(2)
        {
            self.is_silent = is_silent;
        }
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

    /// The vote log is gone, as after a disk was replaced or a file removed. Whether there was anything in it.
    pub(crate) fn lose_log(&mut self) -> bool {
        self.log.fill(0);
        self.tail.offset() > 0
    }

    /// The guard file is gone: what no honest operator may let happen.
    pub(crate) fn lose_guard(&mut self) {
        self.guard.clear();
    }

    /// One bit of the log turns. Whether there was anything in it.
    pub(crate) fn rot(&mut self, rng: &mut Rng) -> bool {
        let used = self.tail.offset().max(1);
        let place = rng.index(used);
        self.log[place] ^= 1 << rng.between(0, 7);
        self.tail.offset() > 0
    }
}

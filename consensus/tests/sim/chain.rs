//! What a host does about blocks: build, judge, fetch, append, and catch up.

use super::block::{Block, CHAIN};
use super::host::{Host, Out, Wake};
use super::invariants::Invariants;
use super::network::Packet;
use consensus::Input;
use ledger::certificate::Certificate;
use ledger::id::BlockHash;

const FETCH_EVERY_US: u64 = 100_000;

impl Host {
    pub(super) fn built(&mut self, height: u64, round: u32, out: &mut Vec<Out>, watch: &mut Invariants) {
        if height != self.next_height() {
            return;
        }
        let block = Block { height, parent: self.tip(), nonce: self.rng.next(), good: !self.flaws.builds_bad_blocks };
        let hash = block.hash();
        for to in self.others() {
            out.push(Out::Packet { to, packet: Packet::Body(block.clone()) });
        }
        self.disk.journal.keep_body(block.clone());
        self.bodies.insert(hash, block);
        self.step(Input::Propose { height, round, block: hash }, out, watch);
    }

    pub(super) fn keep_body(&mut self, block: Block, out: &mut Vec<Out>, watch: &mut Invariants) {
        let hash = block.hash();
        if block.height < self.next_height() || block.height > self.next_height() + 1 {
            return;
        }
        let is_ours_to_judge = self.wanted.contains(&hash) || block.height == self.next_height();
        let is_new = self.bodies.insert(hash, block).is_none();
        if self.deciding.as_ref().is_some_and(|certificate| certificate.block == hash) {
            self.finalize(out, watch);
        } else if is_ours_to_judge && is_new {
            out.push(Out::Wake { after_us: self.rng.between(200, 2_000), wake: Wake::Judge(hash) });
        }
    }

    pub(super) fn judge(&mut self, hash: BlockHash, out: &mut Vec<Out>, watch: &mut Invariants) {
        let Some(block) = self.bodies.get(&hash).cloned() else { return };
        if block.height == self.next_height() {
            self.wanted.remove(&hash);
            let valid = self.flaws.judges_nothing || (block.good && block.parent == self.tip());
            if valid {
                self.disk.journal.keep_body(block.clone());
            }
            self.step(Input::Judged { height: block.height, block: hash, valid }, out, watch);
            if self.flaws.fickle && valid {
                self.step(Input::Judged { height: block.height, block: hash, valid: false }, out, watch);
            }
        }
    }

    pub(super) fn take_blocks(
        &mut self,
        blocks: Vec<(Block, Certificate)>,
        out: &mut Vec<Out>,
        watch: &mut Invariants,
    ) {
        for (block, certificate) in blocks {
            let height = self.next_height();
            let fits = block.height == height
                && certificate.height == height
                && block.parent == self.tip()
                && certificate.block == block.hash();
            if !fits || !(self.flaws.no_check || certificate.check(&CHAIN, self.sets.at(height)).is_ok()) {
                continue;
            }
            self.append_to_chain(block, certificate, watch);
            self.start(self.next_height(), out, watch);
        }
    }

    fn append_to_chain(&mut self, block: Block, certificate: Certificate, watch: &mut Invariants) {
        if self.honest {
            watch.every_certificate_passes_the_check(&certificate, self.sets.at(certificate.height));
            watch.no_two_honest_replicas_decide_differently(&certificate);
            watch.no_bad_block_is_decided(&block, self.tip());
        }
        self.disk.finalize(block, certificate);
        self.deciding = None;
        let next = self.next_height();
        self.bodies.retain(|_, block| block.height >= next);
        self.wanted.clear();
    }

    /// The decided block, once its body is here too.
    pub(super) fn finalize(&mut self, out: &mut Vec<Out>, watch: &mut Invariants) {
        let Some(certificate) = self.deciding.clone() else { return };
        match self.bodies.get(&certificate.block).cloned() {
            Some(block) => {
                self.append_to_chain(block, certificate, watch);
                let pace_us = self.rng.between(self.pace_us / 2, self.pace_us);
                out.push(Out::Wake { after_us: pace_us, wake: Wake::Start(self.next_height()) });
            }
            None => self.fetch_decided(&certificate, out),
        }
    }

    pub(super) fn fetch_decided(&mut self, certificate: &Certificate, out: &mut Vec<Out>) {
        let signers = certificate.signers(self.sets.at(certificate.height)).unwrap_or_default();
        for (to, _) in signers.into_iter().filter(|(key, _)| *key != self.me()) {
            out.push(Out::Packet { to, packet: Packet::WantBody(certificate.block) });
        }
        out.push(Out::Wake { after_us: FETCH_EVERY_US, wake: Wake::Fetch });
    }
}

//! The signing guard: one key never signs two things where it may sign one, whatever else goes wrong.
//!
//! It stands between the core and the key. Its records lie beside the key, apart from the vote log, and
//! survive the loss of the log. Three rules:
//!
//! 1. One message per height, round and kind. Asked for the same again it gives the same signature;
//!    asked for another it refuses, and gives what was signed, so that the replica can say that again.
//! 2. Never backwards: nothing new for an earlier height or round than something signed already. Within
//!    a round the order does not matter, and a record torn in a crash may leave a gap to fill.
//! 3. A precommit for a block binds. As long as no later quorum of prevotes is seen, another block in
//!    the same height is not prevoted. The core keeps this rule from memory; when the log is lost, so
//!    is that memory, and only this record of the precommit is left.
//!
//! Refusing alone would cost liveness: when enough validators are bound and none of them remembers why,
//! no block of the height finds a quorum ever again. So a binding precommit is kept with its reason
//! ([`Binding`]), from which the core's memory is restored.

use crate::message::{Polka, SignedProposal, SignedVote, VoteKind};
use ledger::encoding::{Canonical, Limit};
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rounds of a height whose messages are kept, counted back from the latest signed one.
const ROUNDS_KEPT: u32 = 16;

/// A message of ours, with its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signed {
    /// A vote.
    Vote(SignedVote),
    /// A proposal.
    Proposal(SignedProposal),
}

/// The steps of a round, in the order in which a replica signs for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignedKind {
    /// A proposal.
    Proposal,
    /// A prevote.
    Prevote,
    /// A precommit.
    Precommit,
}

impl From<VoteKind> for SignedKind {
    fn from(kind: VoteKind) -> Self {
        match kind {
            VoteKind::Prevote => Self::Prevote,
            VoteKind::Precommit => Self::Precommit,
        }
    }
}

impl Signed {
    /// Height it is for.
    #[must_use]
    pub fn height(&self) -> u64 {
        match self {
            Self::Vote(vote) => vote.body.height,
            Self::Proposal(proposal) => proposal.body.height,
        }
    }

    /// Round it is for.
    #[must_use]
    pub fn round(&self) -> u32 {
        match self {
            Self::Vote(vote) => vote.body.round,
            Self::Proposal(proposal) => proposal.body.round,
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> SignedKind {
        match self {
            Self::Vote(vote) => vote.kind.into(),
            Self::Proposal(_) => SignedKind::Proposal,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn author(&self) -> PublicKey {
        match self {
            Self::Vote(vote) => vote.voter,
            Self::Proposal(proposal) => proposal.proposer,
        }
    }

    /// The block it is for, or none.
    #[must_use]
    pub fn block(&self) -> Option<BlockHash> {
        match self {
            Self::Vote(vote) => vote.body.block,
            Self::Proposal(proposal) => Some(proposal.body.block),
        }
    }
}

/// Why we precommitted a block: it was proposed in that round, and a quorum prevoted for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The proposal.
    pub proposal: SignedProposal,
    /// The quorum.
    pub polka: Polka,
}

/// What the guard file holds, one per slot. Slots that are still needed are never written over: a torn
/// write can only harm the record being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardRecord {
    /// Place in the guard file, below [`GuardRecord::SLOTS`].
    pub slot: u32,
    /// The message signed.
    pub signed: Signed,
    /// Its reason, when it is a precommit for a block.
    pub binding: Option<Binding>,
}

impl Canonical for GuardRecord {
    const NAME: &'static str = "guard record";
    const LIMIT: Limit = Limit::Message;
}

impl GuardRecord {
    /// Slots of a guard file: every kind in every round kept, the precommit that binds, one to write.
    pub const SLOTS: u32 = 3 * ROUNDS_KEPT + 2;
    /// No encoding of a record is larger, whatever the number of validators.
    pub const BYTES_MAX: usize = 16 * 1024;

    /// Height of the message. Records of lower heights than the highest in the file are of no use.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.signed.height()
    }
}

/// May this be signed?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing stands against it.
    Sign,
    /// It was signed already, word for word.
    Again(Signed),
    /// Something else was signed in its place.
    Conflict(Signed),
    /// Something later was signed already.
    Backwards,
}

/// The records of one height, in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct SigningGuard {
    height: u64,
    records: BTreeMap<(u32, SignedKind), GuardRecord>,
    /// The latest precommit of ours for a block, when it is older than the rounds kept.
    bound: Option<GuardRecord>,
    /// The slot after the one written last. Going round them all, a torn write of a new height harms nothing of the height
    /// before, and what is on the disk is never less than what the chain shows.
    next: u32,
}

impl SigningGuard {
    /// From whatever could be read of the guard file.
    pub(crate) fn new(records: Vec<GuardRecord>) -> Self {
        let height = records.iter().map(GuardRecord::height).max().unwrap_or(0);
        let mut guard = Self { height, ..Self::default() };
        for record in records.into_iter().filter(|record| record.height() == height) {
            guard.records.insert((record.signed.round(), record.signed.kind()), record);
        }
        guard.next = guard.records.last_key_value().map_or(0, |(_, newest)| newest.slot % GuardRecord::SLOTS + 1);
        guard.forget_old_rounds();
        guard
    }

    /// Enters the height of a message to be signed. Messages of lower heights are of no use any more: those heights
    /// are decided.
    fn start_height(&mut self, height: u64) {
        if height > self.height {
            *self = Self { height, next: self.next, ..Self::default() };
        }
    }

    /// Rules 1 and 2 for a message without its signature.
    pub(crate) fn ask(&self, height: u64, round: u32, kind: SignedKind, same: impl Fn(&Signed) -> bool) -> Answer {
        if height < self.height {
            return Answer::Backwards;
        }
        if height > self.height {
            return Answer::Sign;
        }
        match self.records.get(&(round, kind)) {
            Some(record) if same(&record.signed) => Answer::Again(record.signed),
            Some(record) => Answer::Conflict(record.signed),
            None if self.records.last_key_value().is_some_and(|((latest, _), _)| *latest > round) => Answer::Backwards,
            None => Answer::Sign,
        }
    }

    /// Rule 3: the block we are bound to, and the round that bound us.
    pub(crate) fn bound_to(&self, height: u64) -> Option<(u32, BlockHash)> {
        let signed = self.binding_records(height).next()?.signed;
        signed.block().map(|block| (signed.round(), block))
    }

    /// What bound us last, if its reason is known.
    pub(crate) fn binding(&self, height: u64) -> Option<&Binding> {
        self.binding_records(height).next()?.binding.as_ref()
    }

    /// Precommits for blocks, the latest first.
    fn binding_records(&self, height: u64) -> impl Iterator<Item = &GuardRecord> {
        let records = self.records.values().rev().filter(|record| binds(record)).chain(&self.bound);
        records.filter(move |record| record.height() == height)
    }

    /// Remembers a message that is about to be signed and sent, and says where to write it.
    pub(crate) fn record(&mut self, signed: Signed, binding: Option<Binding>) -> GuardRecord {
        self.start_height(signed.height());
        let record = GuardRecord { slot: self.free_slot(), signed, binding };
        self.next = record.slot + 1;
        self.records.insert((signed.round(), signed.kind()), record.clone());
        self.forget_old_rounds();
        record
    }

    /// The messages of this height, for saying them again.
    pub(crate) fn messages(&self, height: u64) -> impl Iterator<Item = Signed> {
        let records = self.bound.iter().chain(self.records.values());
        records.filter(move |record| record.height() == height).map(|record| record.signed)
    }

    /// Whether a proposal of ours for this round could be signed now, or has been.
    pub(crate) fn lets_propose(&self, height: u64, round: u32) -> bool {
        self.ask(height, round, SignedKind::Proposal, |_| true) != Answer::Backwards
    }

    pub(crate) fn proposal(&self, height: u64, round: u32) -> Option<SignedProposal> {
        match self.records.get(&(round, SignedKind::Proposal))?.signed {
            Signed::Proposal(proposal) if proposal.body.height == height => Some(proposal),
            _ => None,
        }
    }

    /// A slot no record in use lies in. There is one: more slots than records are kept.
    fn free_slot(&self) -> u32 {
        let used = |slot: &u32| self.records.values().chain(&self.bound).any(|record| record.slot == *slot);
        let round = (0..GuardRecord::SLOTS).map(|after| (self.next + after) % GuardRecord::SLOTS);
        round.into_iter().find(|slot| !used(slot)).unwrap_or(0)
    }

    /// Whether a message of ours for this height and round would be among the records if it had been signed here. (One for a
    /// later height or round than any of them surely would.)
    pub(crate) fn keeps(&self, height: u64, round: u32) -> bool {
        let latest = self.records.last_key_value().map_or(0, |((latest, _), _)| *latest);
        height > self.height || height == self.height && round.saturating_add(ROUNDS_KEPT) > latest
    }

    fn forget_old_rounds(&mut self) {
        let Some(((latest, _), _)) = self.records.last_key_value() else { return };
        let first_kept = latest.saturating_sub(ROUNDS_KEPT - 1);
        let kept = self.records.split_off(&(first_kept, SignedKind::Proposal));
        let forgotten = std::mem::replace(&mut self.records, kept);
        if let Some(record) = forgotten.into_values().rfind(binds) {
            self.bound = Some(record);
        }
    }
}

/// Whether this is a precommit for a block.
fn binds(record: &GuardRecord) -> bool {
    record.signed.kind() == SignedKind::Precommit && record.signed.block().is_some()
}

#[cfg(test)]
mod tests;

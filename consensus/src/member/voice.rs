//! Whether a member's own key may sign at all: not before it is clear what that key has signed already.
//!
//! The signing guard knows every message this machine signed, as long as it is the guard this machine wrote last. A
//! disk that was lost, a directory that was restored from a backup, a machine set back to an earlier image: each has
//! a key whose words are known to others and not to itself. It would contradict itself at the first height it had a
//! part in, and be convicted for it. So a member listens before it speaks, and when others show it signatures of its
//! own that its guard does not know, it keeps silent until nothing it says can meet what it has forgotten.

use crate::{GuardRecord, SignedKind};
use ledger::block::Header;
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;
use std::ops::RangeInclusive;

/// How much later than the moment when it had caught up a block must be before a member that has forgotten speaks at
/// the height behind it. A header is at most 2 s ahead of an honest validator's clock
/// ([`ledger::limits::CLOCK_AHEAD_MS_MAX`]); the rest is what two honest clocks may differ.
pub const SILENCE_MS: u64 = 10_000;
/// Rounds of a height whose messages a guard surely has, counted back from the latest.
const ROUNDS_KNOWN: u32 = 8;

/// What this machine knows of the messages its key signed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// As far as the chain that is here shows, all of them.
    Whole,
    /// Less than the chain that is here shows.
    Lost,
    /// Perhaps less, and a person says that it should speak all the same.
    Trusted,
}

/// What a guard knows that its key has signed: the precommits of the highest height it has a message of.
#[derive(Clone, Debug)]
pub struct OwnWords {
    key: PublicKey,
    height: u64,
    latest_round: u32,
    precommits: Vec<(u32, BlockHash)>,
}

impl OwnWords {
    /// From the records of a guard, which may have been another key's.
    #[must_use]
    pub fn of<'a>(key: PublicKey, guard: impl IntoIterator<Item = &'a GuardRecord>) -> Self {
        let mut words = Self { key, height: 0, latest_round: 0, precommits: Vec::new() };
        guard.into_iter().for_each(|record| words.learn(record));
        words
    }

    /// The highest height it has a message of; 0 when it knows nothing.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The heights of a chain beside the guard that are to be searched for signatures which it does not know, up to this
    /// tip. The first message of a height may be written over one of the height before, and be torn: so much less than
    /// its chain a guard may know that is the last one.
    pub fn to_be_looked_at(&self, tip: u64) -> RangeInclusive<u64> {
        self.height.saturating_add(2)..=tip
    }

    fn learn(&mut self, record: &GuardRecord) {
        let signed = &record.signed;
        if signed.author() != self.key || signed.height() < self.height {
            return;
        }
        if signed.height() > self.height {
            (self.height, self.latest_round) = (signed.height(), 0);
            self.precommits.clear();
        }
        self.latest_round = self.latest_round.max(signed.round());
        let oldest = self.latest_round.saturating_sub(ROUNDS_KNOWN);
        self.precommits.retain(|(round, _)| *round >= oldest);
        if let (SignedKind::Precommit, Some(block)) = (signed.kind(), signed.block()) {
            self.precommits.push((signed.round(), block));
        }
    }

    /// Whether a certificate has a signature of the key that is not among them. (Who proposed a block says nothing: a
    /// header may name anybody.)
    #[must_use]
    pub fn lack(&self, certificate: &Certificate, validators: &ValidatorSet) -> bool {
        let is_new = if certificate.height == self.height {
            let word = (certificate.round, certificate.block);
            let is_kept = certificate.round.saturating_add(ROUNDS_KNOWN) >= self.latest_round;
            is_kept && !self.precommits.contains(&word)
        } else {
            certificate.height > self.height
        };
        let signers = || certificate.signers(validators).unwrap_or_default();
        is_new && signers().iter().any(|(key, _)| *key == self.key)
    }
}

/// Why a member does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// It is not connected with a quorum, or not as far as they.
    Listens,
    /// It has forgotten what it said: it waits for a height that began after it had caught up.
    Forgot { caught_up_ms: Option<u64> },
}

/// How the others are doing, as far as they are connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Others {
    /// How many other validators' nodes are.
    pub(super) count: usize,
    /// Whether one of them came with a block that is not here, and has not been caught without it.
    pub(super) are_ahead: bool,
}

/// The voice of one key.
pub(super) struct Voice {
    words: OwnWords,
    silence: Option<Silence>,
    trusted: bool,
}

impl Voice {
    pub(super) fn new(words: OwnWords, memory: Memory) -> Self {
        let silence = match memory {
            Memory::Whole => Some(Silence::Listens),
            Memory::Lost => Some(Silence::Forgot { caught_up_ms: None }),
            Memory::Trusted => None,
        };
        Self { words, silence, trusted: memory == Memory::Trusted }
    }

    /// The guard has one more message.
    pub(super) fn knows(&mut self, record: &GuardRecord) {
        self.words.learn(record);
    }

    /// Whether a certificate shows words of this key that its guard does not know.
    pub(super) fn finds_itself(&self, certificate: &Certificate, validators: &ValidatorSet) -> bool {
        !self.trusted && self.words.lack(certificate, validators)
    }

    /// It was shown words of its own that it did not know of. Whether that is news, and makes it silent.
    pub(super) fn forgot(&mut self) -> bool {
        let is_news = !self.trusted && !self.has_forgotten();
        if is_news {
            self.silence = Some(Silence::Forgot { caught_up_ms: None });
        }
        is_news
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silence.is_some()
    }

    pub(super) fn has_forgotten(&self) -> bool {
        matches!(self.silence, Some(Silence::Forgot { .. }))
    }

    /// Whether it may speak at the height after this tip, whose validators these are.
    pub(super) fn may_speak(&mut self, tip: &Header, validators: &ValidatorSet, now_ms: u64, others: Others) -> bool {
        let Some(silence) = &mut self.silence else { return true };
        if others.count + 1 < validators.quorum() || others.are_ahead {
            return false;
        }
        let is_over = match silence {
            Silence::Listens => true,
            // Whoever voted for this block did so after this member had caught up; so the height behind it was begun
            // by nobody before, and by this key least of all. A clock that is behind is no excuse: it is at least as
            // late as the blocks it has.
            Silence::Forgot { caught_up_ms } => {
                let since = *caught_up_ms.get_or_insert(now_ms.max(tip.time_ms));
                tip.time_ms > since.saturating_add(SILENCE_MS)
            }
        };
        if is_over {
            self.silence = None;
        }
        is_over
    }
}

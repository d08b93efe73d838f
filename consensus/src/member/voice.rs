//! Whether a member's own key may sign at all: not before it is clear what that key has signed already.
//!
//! The signing guard knows every message this machine signed, as long as it is the guard this machine wrote last. A
//! disk that was lost, a directory that was restored from a backup, a machine set back to an earlier image: each has
//! a key whose words are known to others and not to itself. It would contradict itself at the first height it had a
//! part in, and be convicted for it. So a member listens before it speaks, and when the chain shows more of its
//! signatures than its guard knows, it keeps silent until nothing it says can meet what it has forgotten.

use ledger::block::Header;
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;
use std::collections::BTreeMap;

/// How much later than the start of this member a block must be before its height counts as begun after that start.
/// A header is at most 2 s ahead of an honest validator's clock ([`ledger::limits::CLOCK_AHEAD_MS_MAX`]); the
/// rest is what two honest clocks may differ.
pub const SILENCE_MS: u64 = 10_000;

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

/// Why a member does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// It has not heard from a quorum how far they are, or is not as far as they.
    Listens,
    /// It has forgotten what it said: it waits for a height that began after it did.
    Forgot,
}

/// The voice of one key.
pub(super) struct Voice {
    key: PublicKey,
    silence: Option<Silence>,
    /// The highest height the guard has a message of.
    known: u64,
    began_ms: u64,
    /// How far those are who speak for other validators.
    heard: BTreeMap<PublicKey, u64>,
    trusted: bool,
}

impl Voice {
    pub(super) fn new(key: PublicKey, memory: Memory, known: u64) -> Self {
        let silence = match memory {
            Memory::Whole => Some(Silence::Listens),
            Memory::Lost => Some(Silence::Forgot),
            Memory::Trusted => None,
        };
        Self { key, silence, known, began_ms: u64::MAX, heard: BTreeMap::new(), trusted: memory == Memory::Trusted }
    }

    /// The member starts, by its wall clock.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.began_ms = now_ms;
    }

    /// The guard has a message of this height.
    pub(super) fn knows(&mut self, height: u64) {
        self.known = self.known.max(height);
    }

    /// Whether it waits to hear how far others are.
    pub(super) fn listens(&self) -> bool {
        self.silence == Some(Silence::Listens)
    }

    /// A validator's node says how far it is.
    pub(super) fn hear(&mut self, validator: PublicKey, height: u64) {
        if validator != self.key {
            self.heard.insert(validator, height);
        }
    }

    /// A final block that somebody brought, and who signed it. Whether it has words of this key that its guard does not
    /// know.
    pub(super) fn finds_itself(&self, header: &Header, mut signers: impl Iterator<Item = PublicKey>) -> bool {
        header.height > self.known && (header.proposer == self.key || signers.any(|key| key == self.key))
    }

    /// It was shown words of its own that it did not know of. Whether that is news, and makes it silent.
    pub(super) fn forgot(&mut self) -> bool {
        let is_news = !self.trusted && !self.has_forgotten();
        if is_news {
            self.silence = Some(Silence::Forgot);
        }
        is_news
    }

    pub(super) fn has_forgotten(&self) -> bool {
        self.silence == Some(Silence::Forgot)
    }

    /// Whether it may speak at the height after this tip, whose validators these are.
    pub(super) fn may_speak(&mut self, tip: &Header, validators: &ValidatorSet) -> bool {
        let is_over = match self.silence {
            None => true,
            Some(Silence::Listens) => self.is_as_far_as_others(tip.height, validators),
            // Whoever voted for this block did so after this member began; so the height behind it was begun by
            // nobody before, and by this key least of all.
            Some(Silence::Forgot) => tip.time_ms > self.began_ms.saturating_add(SILENCE_MS),
        };
        if is_over {
            self.silence = None;
            self.heard.clear();
        }
        is_over
    }

    /// Whether a quorum is heard, this key included, and this member is as far as one of them that is honest.
    fn is_as_far_as_others(&self, height: u64, validators: &ValidatorSet) -> bool {
        let others = self.heard.iter().filter(|(key, _)| validators.position(key).is_some());
        let mut heights: Vec<u64> = others.map(|(_, height)| *height).collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        let faulty = validators.len() - validators.quorum();
        // The highest of all may be a lie; with one more than may lie, one of them is not.
        heights.len() + 1 >= validators.quorum() && heights.get(faulty).is_none_or(|claimed| height >= *claimed)
    }
}

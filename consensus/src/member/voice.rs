//! Whether a member's own key may sign at all: not before it is clear what that key has signed already.
//!
//! The signing guard knows every message this machine signed, as long as it is the guard this machine wrote last. A
//! disk that was lost, a directory that was restored from a backup, a machine set back to an earlier image: each has
//! a key whose words are known to others and not to itself. It would contradict itself at the first height it had a
//! part in, and be convicted for it. So a member listens before it speaks, and when others show it signatures of its
//! own that its guard does not know, it keeps silent until nothing it says can meet what it has forgotten.

use super::Now;
use crate::{GuardRecord, SignedKind};
use ledger::block::Header;
use ledger::certificate::Certificate;
use ledger::id::BlockHash;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::validators::ValidatorSet;

/// How much later than the moment when it had caught up a block must be before a member that has forgotten speaks at
/// the height behind it. A header is at most 2 s ahead of an honest validator's clock
/// ([`ledger::limits::CLOCK_AHEAD_MS_MAX`]); the rest is what two honest clocks may differ.
pub const SILENCE_MS: u64 = 10_000;
/// Blocks looked back for a signature of a key: whoever votes is in most certificates.
const BLOCKS_LOOKED_AT: usize = 2 * limits::VALIDATORS_MAX;
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

    /// The heights of a chain beside the guard that are to be searched for signatures which it does not know, from this
    /// tip down.
    pub fn to_be_looked_at(&self, tip: u64) -> impl Iterator<Item = u64> + use<> {
        (self.height.max(1)..=tip).rev().take(BLOCKS_LOOKED_AT)
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
    Forgot { caught_up: Option<Moment> },
}

/// A moment of this life: no block that was final then has a later time, and how long ago it is, is measured besides,
/// for a clock may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    block_ms: u64,
    steady_ms: u64,
}

impl Moment {
    /// Now. A clock that is behind is at least as late as the blocks that are here.
    fn of(now: Now, tip: &Header) -> Self {
        Self { block_ms: now.wall_ms.max(tip.time_ms), steady_ms: now.steady_ms }
    }

    /// Whether whoever voted for this block did so after that moment: then the height behind it was begun by nobody before.
    fn is_before(&self, now: Now, tip: &Header) -> bool {
        tip.time_ms > self.block_ms.saturating_add(SILENCE_MS)
            && now.steady_ms > self.steady_ms.saturating_add(SILENCE_MS)
    }
}

/// How the others are doing, as far as they are connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Others {
    /// How many other validators' nodes are.
    pub(super) count: usize,
    /// Whether so many validators came with a block that is not here that one of them is honest.
    pub(super) many_are_ahead: bool,
    /// Whether anybody came with a block that is not here, and has not been caught without it.
    pub(super) one_is_ahead: bool,
}

/// The voice of one key.
pub(super) struct Voice {
    words: OwnWords,
    silence: Option<Silence>,
    trusted: bool,
    /// When this life began.
    began: Moment,
}

impl Voice {
    pub(super) fn new(words: OwnWords, memory: Memory) -> Self {
        let silence = match memory {
            Memory::Whole | Memory::Trusted => Silence::Listens,
            Memory::Lost => Silence::Forgot { caught_up: None },
        };
        let began = Moment { block_ms: 0, steady_ms: 0 };
        Self { words, silence: Some(silence), trusted: memory == Memory::Trusted, began }
    }

    /// Its life begins, with this tip.
    pub(super) fn begin(&mut self, now: Now, tip: &Header) {
        self.began = Moment::of(now, tip);
    }

    /// Whether a person said that it should speak whatever it has forgotten.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Whether it knows of having signed anything at this height, or a later one.
    pub(super) fn was_heard_at(&self, height: u64) -> bool {
        self.words.height() >= height
    }

    /// The guard has one more message.
    pub(super) fn knows(&mut self, record: &GuardRecord) {
        self.words.learn(record);
    }

    /// Whether a certificate shows words of this key that its guard does not know.
    pub(super) fn finds_itself(&self, certificate: &Certificate, validators: &ValidatorSet) -> bool {
        self.words.lack(certificate, validators)
    }

    /// It was shown words of its own that it did not know of. Whether that is news, and makes it silent. If it is none, it
    /// has not caught up with itself: or another machine goes on speaking with this key.
    pub(super) fn forgot(&mut self) -> bool {
        let is_news = !self.trusted && !self.has_forgotten();
        if !self.trusted {
            self.silence = Some(Silence::Forgot { caught_up: None });
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
    pub(super) fn may_speak(&mut self, tip: &Header, validators: &ValidatorSet, now: Now, others: Others) -> bool {
        let Some(silence) = &mut self.silence else { return true };
        // Few may claim for ever to be further than anybody is. What they could have come with is here as soon as a
        // block is that was made after this life began.
        let are_ahead = others.many_are_ahead || others.one_is_ahead && !self.began.is_before(now, tip);
        if are_ahead || others.count + 1 < validators.quorum() {
            if let Silence::Forgot { caught_up } = silence {
                *caught_up = None;
            }
            return false;
        }
        let is_over = match silence {
            Silence::Listens => true,
            // So the height behind this block was begun by nobody before this member had caught up, and by this key
            // least of all.
            Silence::Forgot { caught_up } => caught_up.get_or_insert_with(|| Moment::of(now, tip)).is_before(now, tip),
        };
        if is_over {
            self.silence = None;
        }
        is_over
    }
}

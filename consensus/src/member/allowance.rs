//! How much a peer may say: far more than anybody honest has to, and less than what would keep others from being heard.
//!
//! What a peer says costs *words*. They come back with time and with every block, for whoever makes blocks faster has more
//! to say about them. Who has none left is sent away, and is not let in before half of them are back; they are counted
//! while it is away, too.

use super::OfferError;
use ledger::key::PublicKey;
use ledger::state::Rejection;
use ledger::transaction::{Payload, VerifiedTransaction};
use std::collections::BTreeMap;

/// Words of who has said nothing for long. A peer that is not heard for five seconds has gone, and what an honest one says
/// in five seconds, of a thousand blocks in each, is not more.
pub const WORDS_MAX: u32 = 16_384;
/// Words that come back in a millisecond.
const WORDS_PER_MS: u64 = 1;
/// Words that come back with a block: its proposal, votes of some rounds, and what is asked about it.
const WORDS_PER_BLOCK: u32 = 64;
/// Words of who is let in again.
const WORDS_TO_COME_BACK: u32 = WORDS_MAX / 2;
/// Transactions for a word, of those that were here or that the rules refuse: each was verified for nothing, and counts
/// what it weighs.
pub(super) const VAIN_TRANSACTIONS_PER_WORD: usize = 8;
/// Words for a proposal or a ballot that the rules refuse, besides: its records are larger than any others.
const VAIN_GOVERNING_WORDS: u32 = 1;
/// Words for a proposal whose changes are not possible, and one more for each of them. All of them were tried out, on
/// everything that is on record of all members, and it leaves no trace that would count.
const IMPOSSIBLE_WORDS: u32 = 32;
/// Words for coming: a validator's node is told what waits, and every one is greeted.
pub(super) const CONNECTION_WORDS: u32 = 256;
/// Words for a finalised block that it was not asked for.
const VAIN_BLOCK_WORDS: u32 = 128;
/// … and transactions in it for one more, as far as they were verified, by their weight: a tenth of the time that they took.
const VAIN_VERIFIED_PER_WORD: usize = 4;

/// Words for a finalised block that is of no use, and these of its transactions were verified. What was asked for may come
/// late, and costs nothing; but for what nobody has to say: evidence whose signatures are more than its transactions.
pub(super) fn words_for_vain_block(verified: &[VerifiedTransaction], was_asked: bool) -> u32 {
    let weight: usize = verified.iter().map(|transaction| transaction.payload().weight()).sum();
    let (words, counted) = if was_asked { (0, weight - verified.len()) } else { (VAIN_BLOCK_WORDS, weight) };
    words + u32::try_from(counted / VAIN_VERIFIED_PER_WORD).unwrap_or(WORDS_MAX)
}

/// Words for a transaction that was not taken, besides what it weighs.
pub(super) fn words_for_refusal(payload: &Payload, refused: &OfferError) -> u32 {
    match (payload, refused) {
        (Payload::Propose { proposal }, OfferError::Rejected(Rejection::Change(_))) => {
            IMPOSSIBLE_WORDS + u32::try_from(proposal.changes.len()).unwrap_or(WORDS_MAX)
        }
        (Payload::Propose { .. } | Payload::Ballot { .. }, OfferError::Rejected(_)) => VAIN_GOVERNING_WORDS,
        _ => 0,
    }
}

/// What one peer has left.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    words: u32,
    /// Up to when words came back.
    at_ms: u64,
}

/// What members' nodes have left. Of who has all, nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Allowances(BTreeMap<PublicKey, Allowance>);

impl Allowances {
    /// Takes words of a peer; whether it had them.
    pub(super) fn spend(&mut self, peer: &PublicKey, words: u32, now_ms: u64) -> bool {
        let allowance = self.0.entry(*peer).or_insert(Allowance { words: WORDS_MAX, at_ms: now_ms });
        allowance.earn(now_ms);
        let rest = allowance.words.checked_sub(words);
        allowance.words = rest.unwrap_or(0);
        rest.is_some()
    }

    /// Whether a peer that comes is let in.
    pub(super) fn lets_in(&mut self, peer: &PublicKey, now_ms: u64) -> bool {
        let Some(allowance) = self.0.get_mut(peer) else { return true };
        allowance.earn(now_ms);
        let (words, is_whole) = (allowance.words, allowance.words == WORDS_MAX);
        if is_whole {
            self.0.remove(peer);
        }
        words >= WORDS_TO_COME_BACK
    }

    /// Another block.
    pub(super) fn begin_height(&mut self) {
        self.0.values_mut().for_each(|allowance| allowance.get(WORDS_PER_BLOCK));
    }
}

impl Allowance {
    fn get(&mut self, words: u32) {
        self.words = self.words.saturating_add(words).min(WORDS_MAX);
    }

    fn earn(&mut self, now_ms: u64) {
        let words = now_ms.saturating_sub(self.at_ms).saturating_mul(WORDS_PER_MS);
        self.get(u32::try_from(words).unwrap_or(u32::MAX));
        self.at_ms = now_ms;
    }
}

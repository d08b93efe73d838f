//! Transactions that a peer passes on, and whose signatures step back while the machine is busy: they wait aside, and what
//! comes after them overtakes them. One transaction of somebody who waits for it does not wait for the hundreds before it.
//! What one key said stays in its order.

use ledger::key::PublicKey;
use ledger::transaction::SignedTransaction;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes of one peer's transactions that wait aside: as much as one of the largest messages has. What there is no room for
/// does not step back.
pub const ASIDE_PER_PEER_BYTES_MAX: usize = 1024 * 1024;
/// Batches of one peer that wait aside, however small.
pub(super) const ASIDE_PER_PEER_MAX: usize = 256;

/// Transactions of one message, nothing of them checked.
pub(super) struct Batch {
    pub(super) transactions: Vec<Vec<u8>>,
    signers: BTreeSet<PublicKey>,
    bytes: usize,
    /// What they weigh, as they say.
    pub(super) weight: usize,
}

impl Batch {
    pub(super) fn new(transactions: Vec<Vec<u8>>) -> Self {
        let signers = transactions.iter().filter_map(|bytes| SignedTransaction::claimed_signer(bytes)).collect();
        let bytes = transactions.iter().map(Vec::len).sum();
        let weight = transactions.iter().map(|bytes| SignedTransaction::claimed_weight(bytes)).sum();
        Self { transactions, signers, bytes, weight }
    }
}

/// What of one peer waits aside.
#[derive(Default)]
pub(super) struct Aside {
    waiting: Mutex<Waiting>,
    over: Notify,
}

#[derive(Default)]
struct Waiting {
    batches: usize,
    bytes: usize,
    /// In how many of the batches each key says something; none is zero.
    of: BTreeMap<PublicKey, usize>,
}

impl Aside {
    /// Whether there is room for a batch; if there is, it has it until it is over.
    pub(super) fn takes(&self, batch: &Batch) -> bool {
        let mut waiting = self.waiting();
        let has_room = waiting.bytes + batch.bytes <= ASIDE_PER_PEER_BYTES_MAX && waiting.batches < ASIDE_PER_PEER_MAX;
        if has_room {
            waiting.batches += 1;
            waiting.bytes += batch.bytes;
            for signer in &batch.signers {
                *waiting.of.entry(*signer).or_default() += 1;
            }
        }
        has_room
    }

    /// A batch was heard, or will never be.
    pub(super) fn is_over(&self, signers: &BTreeSet<PublicKey>, bytes: usize) {
        let mut waiting = self.waiting();
        waiting.batches -= 1;
        waiting.bytes -= bytes;
        for signer in signers {
            if let Some(count) = waiting.of.get_mut(signer) {
                *count -= 1;
                if *count == 0 {
                    waiting.of.remove(signer);
                }
            }
        }
        self.over.notify_one();
    }

    /// Whether somebody who says something in a batch has said something before that still waits.
    pub(super) fn comes_before(&self, batch: &Batch) -> bool {
        let waiting = self.waiting();
        batch.signers.iter().any(|signer| waiting.of.contains_key(signer))
    }

    /// Waits until nothing comes before a batch any more.
    pub(super) async fn let_pass(&self, batch: &Batch) {
        while self.comes_before(batch) {
            self.over.notified().await;
        }
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// What was taken for it.
    pub(super) fn into_parts(self) -> (Vec<Vec<u8>>, BTreeSet<PublicKey>, usize) {
        (self.transactions, self.signers, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use ledger::block::PROTOCOL_VERSION;
    use ledger::bounded::Sentence;
    use ledger::encoding::encode;
    use ledger::id::{ChainId, PatchId};
    use ledger::key::Signature;
    use ledger::transaction::{Payload, Transaction};

    /// So many transactions that name this signer.
    fn of(signer: u8, count: usize) -> Batch {
        let payload = Payload::Recall { patch: PatchId([1; 32]), reason: Sentence::cut("broken") };
        let (version, chain_id, signer) = (PROTOCOL_VERSION, ChainId([7; 32]), PublicKey([signer; 32]));
        let transaction = Transaction { version, chain_id, signer, nonce: 0, expires_at_ms: 1, payload };
        // Nobody looks at the signature here.
        let bytes = encode(&SignedTransaction { transaction, signature: Signature([0; 64]) });
        Batch::new(vec![bytes; count])
    }

    fn is_over(aside: &Aside, batch: Batch) {
        let (_, signers, bytes) = batch.into_parts();
        aside.is_over(&signers, bytes);
    }

    #[test]
    fn whoever_has_something_aside_comes_before_what_he_says_next_and_nobody_else_does() {
        let aside = Aside::default();
        let (first, second) = (of(1, 100), of(1, 100));
        assert!(!aside.comes_before(&first) && aside.takes(&first) && aside.takes(&second));
        assert!(aside.comes_before(&of(1, 1)) && !aside.comes_before(&of(2, 1)));
        is_over(&aside, first);
        assert!(aside.comes_before(&of(1, 1)), "there is another one");
        let next = of(1, 1);
        assert!(aside.let_pass(&next).now_or_never().is_none());
        is_over(&aside, second);
        assert!(aside.let_pass(&next).now_or_never().is_some());
        assert!(aside.waiting().of.is_empty(), "who has nothing here is forgotten");
    }

    #[test]
    fn bytes_and_batches_have_their_bounds() {
        let aside = Aside::default();
        let each = of(1, 1).bytes;
        let largest = of(1, ASIDE_PER_PEER_BYTES_MAX / each);
        assert!(aside.takes(&largest) && !aside.takes(&of(2, 1)));
        is_over(&aside, largest);
        for _ in 0..ASIDE_PER_PEER_MAX {
            assert!(aside.takes(&of(1, 1)));
        }
        assert!(!aside.takes(&of(2, 1)));
    }
}

//! The desk between clients and the member: who waits for which answer, and what everybody may watch.

mod claims;

use crate::origin::Origin;
use claims::Claims;
pub(crate) use claims::{Claim, Claimant, NoClaim};
pub use claims::{FORGERIES_MAX, FORGERY_COST};
use consensus::member::{Crowd, OfferError, Ticket};
use ledger::execution::ExecutedBlock;
use ledger::id::TransactionId;
use ledger::key::PublicKey;
use ledger::patch::Artifact;
use ledger::state::Rejection;
use ledger::transaction::Payload;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};

/// Latencies kept for the status page.
const LATENCIES_MAX: usize = 1_024;
/// Calls that wait for finality.
pub const WAITING_MAX: usize = 65_536;
/// … of one transaction: who asks again while he is being answered has a reason, but not many.
pub const WAITING_FOR_ONE_MAX: usize = 64;

/// Where a transaction was finalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Height of its block.
    pub height: u64,
    /// Index of its leaf in the history.
    pub index: u64,
    /// Time of its block.
    pub time_ms: u64,
}

/// How waiting for finality ends.
pub type Outcome = Result<Place, Rejection>;

/// An artifact of a patch that was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Whose key signed the patch.
    pub publisher: PublicKey,
    /// The artifact.
    pub artifact: Artifact,
}

/// The newest block, for watchers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadNotice {
    /// Its height.
    pub height: u64,
    /// Its time.
    pub time_ms: u64,
    /// Whether it has transactions: then a block that seals them follows soon.
    pub sealing: bool,
}

#[derive(Default)]
struct Waiting {
    admissions: HashMap<Ticket, oneshot::Sender<Result<(), OfferError>>>,
    finality: HashMap<TransactionId, (Instant, Vec<oneshot::Sender<Outcome>>)>,
    /// How many senders there are in all of them.
    calls: usize,
    /// What is in the pool: admitted, and not in a block yet.
    pending: HashSet<TransactionId>,
    latencies_ms: VecDeque<f64>,
}

/// A question that is out, until it is answered or dropped: who has gone needs no answer.
pub struct Asked {
    desk: Arc<Desk>,
    ticket: Ticket,
    answer: oneshot::Receiver<Result<(), OfferError>>,
}

/// Waiting for the finality of a transaction, until this is dropped.
pub struct Finality {
    desk: Arc<Desk>,
    id: TransactionId,
    outcome: oneshot::Receiver<Outcome>,
}

/// The desk.
pub struct Desk {
    waiting: Mutex<Waiting>,
    next_ticket: AtomicU64,
    crowd: RwLock<Arc<Crowd>>,
    claims: Arc<Claims>,
    head: watch::Sender<HeadNotice>,
    published: mpsc::UnboundedSender<Published>,
}

impl Desk {
    /// A desk at a chain whose newest block is this, and where the artifacts of patches come out as
    /// they are published.
    #[must_use]
    pub fn new(head: HeadNotice) -> (Self, mpsc::UnboundedReceiver<Published>) {
        let (published, artifacts) = mpsc::unbounded_channel();
        let desk = Self {
            waiting: Mutex::default(),
            next_ticket: AtomicU64::new(1),
            crowd: RwLock::default(),
            claims: Arc::default(),
            head: watch::channel(head).0,
            published,
        };
        (desk, artifacts)
    }

    /// A ticket, and where its answer will come.
    pub fn ticket(self: &Arc<Self>) -> Asked {
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let (sender, answer) = oneshot::channel();
        self.waiting().admissions.insert(ticket, sender);
        Asked { desk: self.clone(), ticket, answer }
    }

    /// Where the finality of a transaction will be told. `None` when too many wait already.
    pub fn await_finality(self: &Arc<Self>, id: TransactionId) -> Option<Finality> {
        let mut waiting = self.waiting();
        let of = waiting.finality.get(&id).map_or(0, |(_, senders)| senders.len());
        if waiting.calls >= WAITING_MAX || of >= WAITING_FOR_ONE_MAX {
            return None;
        }
        let (sender, outcome) = oneshot::channel();
        waiting.calls += 1;
        waiting.finality.entry(id).or_insert_with(|| (Instant::now(), Vec::new())).1.push(sender);
        Some(Finality { desk: self.clone(), id, outcome })
    }

    /// Who has closed his end does not wait for this one any more.
    fn forget(&self, id: &TransactionId) {
        let mut waiting = self.waiting();
        let Some((_, senders)) = waiting.finality.get_mut(id) else { return };
        let before = senders.len();
        senders.retain(|sender| !sender.is_closed());
        let left = senders.len();
        if left == 0 {
            waiting.finality.remove(id);
        }
        waiting.calls -= before - left;
    }

    /// Whether a transaction is in the pool. Ask this before asking the chain: what leaves the pool for
    /// a block is in the chain by then.
    #[must_use]
    pub fn is_pending(&self, id: &TransactionId) -> bool {
        self.waiting().pending.contains(id)
    }

    /// How full the pool is, as of a moment ago.
    #[must_use]
    pub fn crowd(&self) -> Arc<Crowd> {
        self.crowd.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how full the pool is.
    pub fn set_crowd(&self, crowd: Crowd) {
        *self.crowd.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(crowd);
    }

    /// Claims a place in the pool for a transaction, by what it says of itself.
    ///
    /// # Errors
    /// [`NoClaim`] when none is left, all that are left are claimed, or as many by this address or key as it leaves.
    pub(crate) fn claim(&self, claimant: Claimant) -> Result<Claim, NoClaim> {
        self.claims.claim(&self.crowd(), claimant)
    }

    /// What came from there was not what it said.
    pub(crate) fn forged(&self, origin: Origin) {
        self.claims.forged(origin);
    }

    /// Watches the newest block.
    #[must_use]
    pub fn watch_head(&self) -> watch::Receiver<HeadNotice> {
        self.head.subscribe()
    }

    /// A transaction is in the pool.
    pub fn admitted(&self, id: TransactionId) {
        self.waiting().pending.insert(id);
    }

    /// Answers a ticket.
    pub fn answer(&self, ticket: Ticket, result: Result<(), OfferError>) {
        if let Some(sender) = self.waiting().admissions.remove(&ticket) {
            // A client that left needs no answer.
            let _ = sender.send(result);
        }
    }

    /// Tells everybody who waits for a transaction of this block, and everybody who watches.
    pub fn finalised(&self, executed: &ExecutedBlock) {
        let header = &executed.block.header;
        for transaction in &executed.transactions {
            if let Payload::Publish { manifest } = transaction.payload() {
                for artifact in manifest.artifacts.iter() {
                    // Nobody replicates when the node stops.
                    let published = Published { publisher: transaction.signer(), artifact: artifact.clone() };
                    let _ = self.published.send(published);
                }
            }
        }
        {
            let mut waiting = self.waiting();
            for (index, transaction) in (header.history_size..).zip(&executed.transactions) {
                waiting.pending.remove(&transaction.id());
                let Some((since, senders)) = waiting.finality.remove(&transaction.id()) else { continue };
                waiting.calls -= senders.len();
                if waiting.latencies_ms.len() == LATENCIES_MAX {
                    waiting.latencies_ms.pop_front();
                }
                waiting.latencies_ms.push_back(since.elapsed().as_secs_f64() * 1000.0);
                for sender in senders {
                    let _ = sender.send(Ok(Place { height: header.height, index, time_ms: header.time_ms }));
                }
            }
        }
        self.head.send_replace(HeadNotice {
            height: header.height,
            time_ms: header.time_ms,
            sealing: header.tx_count > 0,
        });
    }

    /// Tells everybody who waits for a transaction that it turned out wrong.
    pub fn dropped(&self, id: TransactionId, rejection: &Rejection) {
        let mut waiting = self.waiting();
        waiting.pending.remove(&id);
        if let Some((_, senders)) = waiting.finality.remove(&id) {
            waiting.calls -= senders.len();
            for sender in senders {
                let _ = sender.send(Err(rejection.clone()));
            }
        }
    }

    /// Median and 99th percentile of submit to finalised, of the newest transactions waited for here.
    #[must_use]
    pub fn latencies_ms(&self) -> (f64, f64) {
        let mut sorted: Vec<f64> = self.waiting().latencies_ms.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1))).copied();
        (at(50).unwrap_or(0.0), at(99).unwrap_or(0.0))
    }

    /// The lock's holder only moves values, so a panic elsewhere cannot have left it half-way.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// What it is answered by.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The answer; `None` when nobody will give one any more.
    pub async fn answer(mut self) -> Option<Result<(), OfferError>> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.desk.waiting().admissions.remove(&self.ticket);
    }
}

impl Finality {
    /// How it ended; `None` when nobody will know any more.
    pub async fn outcome(&mut self) -> Option<Outcome> {
        (&mut self.outcome).await.ok()
    }
}

impl Drop for Finality {
    fn drop(&mut self) {
        self.outcome.close();
        self.desk.forget(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> TransactionId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        TransactionId(id)
    }

    fn desk() -> Arc<Desk> {
        Arc::new(Desk::new(HeadNotice::default()).0)
    }

    /// A client that goes away in the middle of a call leaves nothing behind, whatever becomes of its transaction.
    #[test]
    fn who_has_gone_is_not_waited_for_any_more() {
        let desk = desk();
        for number in 0..=WAITING_MAX {
            assert!(desk.await_finality(id(number)).is_some(), "{number} have gone, and nobody can wait");
            drop(desk.ticket());
        }
        assert!(desk.waiting().finality.is_empty() && desk.waiting().admissions.is_empty());
        // One that goes does not take the others with it.
        let kept = desk.await_finality(id(0)).unwrap();
        drop(desk.await_finality(id(0)));
        assert_eq!(desk.waiting().finality[&id(0)].1.len(), 1);
        drop(kept);
        assert!(desk.waiting().finality.is_empty());
    }

    /// Waiting for one transaction in very many calls is not free either.
    #[test]
    fn so_many_wait_for_one_transaction_and_so_many_for_all_and_no_more() {
        let desk = desk();
        let wait = |number| desk.await_finality(id(number));
        let mut waiting: Vec<_> = (0..WAITING_FOR_ONE_MAX).map(|_| wait(0).unwrap()).collect();
        assert!(wait(0).is_none());
        waiting.extend((1..=WAITING_MAX - WAITING_FOR_ONE_MAX).map(|number| wait(number).unwrap()));
        assert!(wait(WAITING_MAX).is_none());
        waiting.pop();
        assert!(wait(WAITING_MAX).is_some());
    }
}

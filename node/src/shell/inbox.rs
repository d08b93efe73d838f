//! Where events wait for the main loop: what finality hangs on never queues behind the load, and neither
//! takes more than its bytes.

use crate::shares::Queues;
use consensus::member::{Event, PeerMessage};
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Events of consensus and membership that may wait; who brings more has to wait himself.
const URGENT_MAX: usize = 4_096;
/// Batches of offered and passed-on transactions that may wait.
const BULK_MAX: usize = 64;
/// Bytes of urgent events that may wait: thirty finalised blocks, or two thousand of the largest messages.
const URGENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// … that one peer said: one finalised block, or sixty of the largest messages, where a round has four. Who says
/// more is not read until these were heard; nothing is lost by that, and nobody else waits behind it.
pub const URGENT_PER_PEER_BYTES_MAX: usize = URGENT_BYTES_MAX / 32;
/// Bytes of batches that may wait: as much as the whole pool takes.
const BULK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// More than any consensus message has: the votes of 128 validators.
const CONSENSUS_BYTES: usize = 16 * 1024;
/// More than any other event has.
const EVENT_BYTES: usize = 1024;

/// The sending side: for sockets, any number of them.
#[derive(Clone)]
pub struct Inbox {
    urgent: Lane,
    bulk: Lane,
    /// Urgent events of each peer.
    of_peers: Arc<Queues<PublicKey>>,
}

#[derive(Clone)]
struct Lane {
    events: mpsc::Sender<Held>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

/// An event that waits, and the bytes it takes until it is taken out.
struct Held {
    event: Event,
    _of_peer: Option<OwnedSemaphorePermit>,
    _bytes: OwnedSemaphorePermit,
}

/// The main loop is gone.
#[derive(Debug, thiserror::Error)]
#[error("the node is stopping")]
pub struct Closed;

impl Inbox {
    /// Puts an event in; waits while there is no room.
    ///
    /// # Errors
    /// [`Closed`] when nobody takes events out any more.
    pub async fn send(&self, event: Event) -> Result<(), Closed> {
        let bulk = matches!(event, Event::Offered(_) | Event::Gossiped { .. });
        let lane = if bulk { &self.bulk } else { &self.urgent };
        let size = size(&event);
        let of_peer = match speaker(&event) {
            Some(peer) => Some(lane.room(self.of_peers.of(peer), size.min(self.of_peers.most())).await?),
            None => None,
        };
        let bytes = lane.room(lane.bytes.clone(), size.min(lane.bytes_max)).await?;
        lane.events.send(Held { event, _of_peer: of_peer, _bytes: bytes }).await.map_err(|_| Closed)
    }
}

impl Lane {
    /// Waits for so many bytes. What is larger than all the room there is asks for all of it.
    async fn room(&self, bytes: Arc<Semaphore>, size: usize) -> Result<OwnedSemaphorePermit, Closed> {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        tokio::select! {
            room = bytes.acquire_many_owned(size) => room.map_err(|_| Closed),
            () = self.events.closed() => Err(Closed),
        }
    }
}

/// The peer whose stream an urgent event came on. Whether a peer is there says who sees to all of them, and must
/// not wait for one.
fn speaker(event: &Event) -> Option<PublicKey> {
    match event {
        Event::Said { peer, .. } | Event::Synced { peer, .. } => Some(*peer),
        _ => None,
    }
}

/// What an event takes in memory, as far as somebody outside decides it.
fn size(event: &Event) -> usize {
    let bytes = |transaction: &VerifiedTransaction| transaction.bytes().len();
    let of_transactions = match event {
        Event::Offered(offers) => offers.iter().map(|(transaction, _)| bytes(transaction)).sum(),
        Event::Gossiped { transactions, .. } => transactions.iter().map(bytes).sum(),
        // The block has them once more.
        Event::Synced { transactions, .. } => 2 * transactions.iter().map(bytes).sum::<usize>(),
        Event::Said { message: PeerMessage::Body { transactions, .. }, .. } => size_of_val(&transactions[..]),
        Event::Said { message: PeerMessage::WantTransactions { places, .. }, .. } => size_of_val(&places[..]),
        Event::Said { message: PeerMessage::Consensus(_), .. } => CONSENSUS_BYTES,
        _ => 0,
    };
    of_transactions + EVENT_BYTES
}

/// The receiving side.
pub struct Events {
    urgent: mpsc::Receiver<Held>,
    bulk: mpsc::Receiver<Held>,
}

/// Both sides.
#[must_use]
pub fn inbox() -> (Inbox, Events) {
    let (urgent, urgent_events) = lane(URGENT_MAX, URGENT_BYTES_MAX);
    let (bulk, bulk_events) = lane(BULK_MAX, BULK_BYTES_MAX);
    let of_peers = Arc::new(Queues::new(URGENT_PER_PEER_BYTES_MAX));
    (Inbox { urgent, bulk, of_peers }, Events { urgent: urgent_events, bulk: bulk_events })
}

fn lane(events_max: usize, bytes_max: usize) -> (Lane, mpsc::Receiver<Held>) {
    let (events, received) = mpsc::channel(events_max);
    (Lane { events, bytes: Arc::new(Semaphore::new(bytes_max)), bytes_max }, received)
}

impl Events {
    /// The next one, urgent ones first. `None` when all senders are gone.
    pub(super) async fn recv(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            Some(held) = self.urgent.recv() => Some(held.event),
            Some(held) = self.bulk.recv() => Some(held.event),
            else => None,
        }
    }

    /// An urgent one that is there already.
    pub(super) fn urgent(&mut self) -> Option<Event> {
        self.urgent.try_recv().ok().map(|held| held.event)
    }

    /// A batch of transactions that is there already.
    pub(super) fn bulk(&mut self) -> Option<Event> {
        self.bulk.try_recv().ok().map(|held| held.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::Chain;
    use consensus::Message;
    use futures::FutureExt as _;
    use ledger::key::SecretKey;

    /// A block of many transactions, from a peer.
    fn batch(count: usize) -> Event {
        let mut chain = Chain::new(1);
        chain.publish();
        let transaction = chain.finalise().executed.transactions[0].clone();
        Event::Gossiped { peer: SecretKey::from_seed(&[1; 32]).public(), transactions: vec![transaction; count] }
    }

    /// Large batches fill the inbox by their bytes long before their number does; consensus has room all the
    /// while, and whoever waits goes on when a batch was taken out.
    #[tokio::test]
    async fn the_inbox_is_bounded_by_bytes_and_the_load_does_not_fill_it_for_consensus() {
        let (inbox, mut events) = inbox();
        let batch = || batch(2_000);
        let (each, mut sent) = (size(&batch()), 0);
        while inbox.send(batch()).now_or_never().is_some() {
            sent += 1;
        }
        assert!(sent < BULK_MAX && sent == BULK_BYTES_MAX / each, "{sent} batches of {each} bytes");
        let peer = SecretKey::from_seed(&[2; 32]).public();
        assert!(inbox.send(Event::Connected { peer }).now_or_never().is_some());
        assert!(matches!(events.recv().await, Some(Event::Connected { .. })), "it goes first");
        assert!(events.bulk().is_some());
        assert!(inbox.send(batch()).now_or_never().is_some(), "there is room again");
        drop(events);
        assert!(inbox.send(batch()).await.is_err(), "nobody waits for a node that is gone");
    }

    /// Whether it went in at once, however many did before it.
    fn goes_in(inbox: &Inbox, event: Event) -> bool {
        tokio::task::unconstrained(inbox.send(event)).now_or_never().is_some()
    }

    /// A message for consensus, from a peer.
    fn said(peer: PublicKey) -> Event {
        Event::Said { peer, message: PeerMessage::Consensus(Message::WantProposal { height: 7, round: 0 }) }
    }

    /// A peer that says as much as it can is not read any further until it was heard; others do not wait, and
    /// what they say is heard after a peer's share and not after a full lane.
    #[tokio::test]
    async fn one_peer_does_not_fill_the_urgent_lane() {
        let (inbox, mut events) = inbox();
        let [flooder, honest] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32]).public());
        let mut heard = 0;
        while goes_in(&inbox, said(flooder)) {
            heard += 1;
        }
        assert_eq!(heard, URGENT_PER_PEER_BYTES_MAX / size(&said(flooder)));
        assert!(goes_in(&inbox, said(honest)), "others are heard");
        assert!(goes_in(&inbox, Event::Disconnected { peer: flooder }), "it may go");
        for _ in 0..heard {
            assert!(matches!(events.urgent(), Some(Event::Said { peer, .. }) if peer == flooder));
        }
        assert!(matches!(events.urgent(), Some(Event::Said { peer, .. }) if peer == honest));
        assert!(goes_in(&inbox, said(flooder)), "it was heard, and goes on");
    }
}

//! Where events wait for the main loop: what finality hangs on never queues behind the load, and neither
//! takes more than its bytes.

use crate::shares::Queues;
use consensus::member::{Event, PeerMessage, takes_long};
use ledger::key::PublicKey;
use ledger::transaction::VerifiedTransaction;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Events of consensus and membership that may wait; who brings more has to wait himself. As many as there are bytes
/// for: so nobody who has his share of those takes the places of others.
const URGENT_MAX: usize = URGENT_BYTES_MAX / EVENT_BYTES;
/// Batches of offered and passed-on transactions that may wait.
const BULK_MAX: usize = 64;
/// Bytes of urgent events that may wait: thirty finalised blocks, or two thousand of the largest messages.
const URGENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// … that one peer said: one finalised block, or sixty of the largest messages, where a round has four. Who says
/// more is not read until these were heard; nothing is lost by that, and nobody else waits behind it.
pub const URGENT_PER_PEER_BYTES_MAX: usize = URGENT_BYTES_MAX / 32;
/// Bytes of batches that may wait: as much as the whole pool takes.
const BULK_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a batch counts at least: an even part of it.
pub const BATCH_BYTES: usize = BULK_BYTES_MAX / BULK_MAX;
/// Bytes of batches that one peer passed on: one of the largest, or four. Who passes on more is not read meanwhile.
pub const BULK_PER_PEER_BYTES_MAX: usize = BULK_BYTES_MAX / 16;
/// Bytes of batches that clients of this node offered: half of all, the rest being for what others admitted.
pub const BULK_OF_CLIENTS_BYTES_MAX: usize = BULK_BYTES_MAX / 2;
/// Transactions of a batch taken out at once; the rest stays until what is urgent was heard. Some of them take half a
/// millisecond, and a vote that waits for a whole batch comes many times as late.
pub(super) const TRANSACTIONS_AT_ONCE_MAX: usize = 64;
/// … and of these such as take many times as long as others ([`takes_long`]).
const LONG_AT_ONCE_MAX: usize = 1;
/// More than any consensus message has: the votes of 128 validators.
const CONSENSUS_BYTES: usize = 16 * 1024;
/// More than any other event has.
const EVENT_BYTES: usize = 1024;

/// The sending side: for sockets, any number of them.
#[derive(Clone)]
pub struct Inbox {
    urgent: Lane,
    bulk: Lane,
    /// Batches that clients offered.
    of_clients: Arc<Semaphore>,
}

#[derive(Clone)]
struct Lane {
    events: mpsc::Sender<Held>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    /// What each peer has of it.
    of_peers: Arc<Queues<PublicKey>>,
}

/// An event that waits, and the bytes it takes until it is taken out.
struct Held {
    event: Event,
    _of_speaker: Option<OwnedSemaphorePermit>,
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
        let (lane, size) = match event {
            Event::Offered(_) | Event::Gossiped { .. } => (&self.bulk, size(&event).max(BATCH_BYTES)),
            _ => (&self.urgent, size(&event)),
        };
        let of_speaker = match speaker(&event) {
            Speaker::Peer(peer) => Some(lane.room(lane.of_peers.of(peer), size.min(lane.of_peers.most())).await?),
            Speaker::Clients => Some(lane.room(self.of_clients.clone(), size.min(BULK_OF_CLIENTS_BYTES_MAX)).await?),
            Speaker::Nobody => None,
        };
        let bytes = lane.room(lane.bytes.clone(), size.min(lane.bytes_max)).await?;
        lane.events.send(Held { event, _of_speaker: of_speaker, _bytes: bytes }).await.map_err(|_| Closed)
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

/// Of whose share an event is.
enum Speaker {
    /// The peer whose stream it came on.
    Peer(PublicKey),
    /// All clients.
    Clients,
    /// Whether a peer is there says who sees to all of them, and must not wait for one.
    Nobody,
}

fn speaker(event: &Event) -> Speaker {
    match event {
        Event::Said { peer, .. }
        | Event::Synced { peer, .. }
        | Event::Gossiped { peer, .. }
        | Event::Given { peer, .. } => Speaker::Peer(*peer),
        Event::Offered(_) => Speaker::Clients,
        _ => Speaker::Nobody,
    }
}

/// What an event takes in memory, as far as somebody outside decides it.
fn size(event: &Event) -> usize {
    let bytes = |transaction: &VerifiedTransaction| transaction.bytes().len();
    let of_transactions = match event {
        Event::Offered(offers) => offers.iter().map(|(transaction, _)| bytes(transaction)).sum(),
        Event::Gossiped { transactions, .. } | Event::Given { transactions, .. } => {
            transactions.iter().map(bytes).sum()
        }
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
    /// What is left of a batch that was begun.
    begun: Option<Held>,
}

/// Both sides.
#[must_use]
pub fn inbox() -> (Inbox, Events) {
    let (urgent, urgent_events) = lane(URGENT_MAX, URGENT_BYTES_MAX, URGENT_PER_PEER_BYTES_MAX);
    let (bulk, bulk_events) = lane(BULK_MAX, BULK_BYTES_MAX, BULK_PER_PEER_BYTES_MAX);
    let of_clients = Arc::new(Semaphore::new(BULK_OF_CLIENTS_BYTES_MAX));
    (Inbox { urgent, bulk, of_clients }, Events { urgent: urgent_events, bulk: bulk_events, begun: None })
}

fn lane(events_max: usize, bytes_max: usize, per_peer_bytes_max: usize) -> (Lane, mpsc::Receiver<Held>) {
    let (events, received) = mpsc::channel(events_max);
    let (bytes, of_peers) = (Arc::new(Semaphore::new(bytes_max)), Arc::new(Queues::new(per_peer_bytes_max)));
    (Lane { events, bytes, bytes_max, of_peers }, received)
}

impl Events {
    /// The next one, urgent ones first. `None` when all senders are gone.
    pub(super) async fn recv(&mut self) -> Option<Event> {
        if self.begun.is_some() {
            return self.urgent().or_else(|| self.bulk());
        }
        tokio::select! {
            biased;
            Some(held) = self.urgent.recv() => Some(held.event),
            Some(held) = self.bulk.recv() => Some(self.begin(held)),
            else => None,
        }
    }

    /// An urgent one that is there already.
    pub(super) fn urgent(&mut self) -> Option<Event> {
        self.urgent.try_recv().ok().map(|held| held.event)
    }

    /// A batch of transactions that is there already, or a part of one.
    pub(super) fn bulk(&mut self) -> Option<Event> {
        let held = self.begun.take().or_else(|| self.bulk.try_recv().ok())?;
        Some(self.begin(held))
    }

    /// Takes out the beginning of a batch. What it takes in memory is given back when all of it was taken out.
    fn begin(&mut self, mut held: Held) -> Event {
        let rest = match &mut held.event {
            Event::Offered(offers) => rest_of(offers, |(transaction, _)| transaction).map(Event::Offered),
            Event::Gossiped { peer, transactions } => {
                let rest = rest_of(transactions, |transaction| transaction);
                rest.map(|transactions| Event::Gossiped { peer: *peer, transactions })
            }
            _ => None,
        };
        let Some(rest) = rest else { return held.event };
        let first = std::mem::replace(&mut held.event, rest);
        self.begun = Some(held);
        first
    }
}

/// What is left of a batch, if it is more than is taken out at once.
fn rest_of<T>(batch: &mut Vec<T>, transaction: impl Fn(&T) -> &VerifiedTransaction) -> Option<Vec<T>> {
    let mut long = 0;
    let is_one_too_many = |it: &T| {
        long += usize::from(takes_long(transaction(it)));
        long > LONG_AT_ONCE_MAX
    };
    let first = batch.iter().take(TRANSACTIONS_AT_ONCE_MAX).position(is_one_too_many);
    let first = first.unwrap_or(TRANSACTIONS_AT_ONCE_MAX);
    (batch.len() > first).then(|| batch.split_off(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::Chain;
    use consensus::Message;
    use consensus::member::Ticket;
    use futures::FutureExt as _;
    use ledger::block::PROTOCOL_VERSION;
    use ledger::bounded::{List, Notes};
    use ledger::governance::Proposal;
    use ledger::id::ChainId;
    use ledger::key::SecretKey;
    use ledger::transaction::{Payload, Transaction};

    fn peer(seed: u8) -> PublicKey {
        SecretKey::from_seed(&[seed; 32]).public()
    }

    fn transaction() -> VerifiedTransaction {
        let mut chain = Chain::new(1);
        chain.publish();
        chain.finalise().executed.transactions[0].clone()
    }

    /// A batch of transactions, from a peer.
    fn batch(peer: PublicKey, count: usize) -> Event {
        Event::Gossiped { peer, transactions: vec![transaction(); count] }
    }

    /// Takes out a whole batch; who passed it on, and how many transactions.
    fn passed_on(events: &mut Events) -> (PublicKey, usize) {
        let (mut from, mut count) = (None, 0);
        while from.is_none() || events.begun.is_some() {
            let Some(Event::Gossiped { peer, transactions }) = events.bulk() else { panic!("no batch") };
            count += transactions.len();
            assert!(from.replace(peer).is_none_or(|first| first == peer));
        }
        (from.unwrap(), count)
    }

    /// Large batches fill the inbox by their bytes long before their number does; consensus has room all the
    /// while, and whoever waits goes on when a batch was taken out.
    #[tokio::test]
    async fn the_inbox_is_bounded_by_bytes_and_the_load_does_not_fill_it_for_consensus() {
        let (inbox, mut events) = inbox();
        let batch = |seed: usize| batch(peer(u8::try_from(seed % 100).unwrap()), 2_000);
        let (each, mut sent) = (size(&batch(0)), 0);
        while inbox.send(batch(sent)).now_or_never().is_some() {
            sent += 1;
        }
        assert!(sent < BULK_MAX && sent == BULK_BYTES_MAX / each, "{sent} batches of {each} bytes");
        assert!(inbox.send(Event::Connected { peer: peer(2) }).now_or_never().is_some());
        assert!(matches!(events.recv().await, Some(Event::Connected { .. })), "it goes first");
        assert_eq!(passed_on(&mut events).1, 2_000);
        assert!(inbox.send(batch(99)).now_or_never().is_some(), "there is room again");
        drop(events);
        assert!(inbox.send(batch(98)).await.is_err(), "nobody waits for a node that is gone");
    }

    /// A peer that passes on as much as it can, in large batches or in small ones, is not read any further until it
    /// was heard; what others pass on, and what clients offer, is heard after a peer's share.
    #[tokio::test]
    async fn one_peer_does_not_fill_the_lane_of_transactions() {
        for count in [1, 2_000] {
            let (inbox, mut events) = inbox();
            let mut heard = 0;
            while goes_in(&inbox, batch(peer(1), count)) {
                heard += 1;
            }
            let each = size(&batch(peer(1), count)).max(BATCH_BYTES);
            assert_eq!(heard, BULK_PER_PEER_BYTES_MAX / each, "batches of {count}");
            assert!(heard > 0 && goes_in(&inbox, batch(peer(2), count)), "others are heard");
            assert!(goes_in(&inbox, Event::Offered(vec![(transaction(), Ticket(1))])), "and clients");
            for _ in 0..heard {
                assert_eq!(passed_on(&mut events), (peer(1), count));
            }
            assert_eq!(passed_on(&mut events), (peer(2), count));
            assert!(goes_in(&inbox, batch(peer(1), count)), "it was heard, and goes on");
        }
    }

    /// However many clients offer something at once, what peers pass on finds room beside it.
    #[tokio::test]
    async fn clients_do_not_fill_the_lane_of_transactions() {
        let (inbox, _events) = inbox();
        let mut offered = 0;
        while goes_in(&inbox, Event::Offered(vec![(transaction(), Ticket(1))])) {
            offered += 1;
        }
        assert_eq!(offered, BULK_MAX / 2);
        assert!(goes_in(&inbox, batch(peer(1), 1)));
    }

    /// Whether it went in at once, however many did before it.
    fn goes_in(inbox: &Inbox, event: Event) -> bool {
        tokio::task::unconstrained(inbox.send(event)).now_or_never().is_some()
    }

    /// However large a batch is, what is urgent is heard in between, and nothing of it is lost.
    #[tokio::test]
    async fn a_large_batch_does_not_hold_up_what_is_urgent() {
        let (inbox, mut events) = inbox();
        let count = 2 * TRANSACTIONS_AT_ONCE_MAX + 1;
        assert!(goes_in(&inbox, batch(peer(1), count)));
        let mut parts = Vec::new();
        while let Some(Some(Event::Gossiped { transactions, .. })) = events.recv().now_or_never() {
            parts.push(transactions.len());
            if parts.len() == 1 {
                assert!(goes_in(&inbox, said(peer(2))));
                assert!(matches!(events.recv().await, Some(Event::Said { .. })), "it goes first");
            }
        }
        assert_eq!(parts, vec![TRANSACTIONS_AT_ONCE_MAX, TRANSACTIONS_AT_ONCE_MAX, 1]);
    }

    /// Proposals take long, and between two of them is heard what is urgent; whoever brings them.
    #[tokio::test]
    async fn of_what_takes_long_one_is_taken_out_at_once() {
        let (inbox, mut events) = inbox();
        let (quick, long) = (transaction(), proposal());
        let mixed: Vec<_> =
            [&quick, &long, &quick, &long, &long, &quick].map(VerifiedTransaction::clone).into_iter().collect();
        let offers = mixed.iter().map(|transaction| (transaction.clone(), Ticket(0))).collect();
        for event in [Event::Gossiped { peer: peer(1), transactions: mixed }, Event::Offered(offers)] {
            assert!(goes_in(&inbox, event));
            let mut parts = Vec::new();
            while let Some(Some(event)) = events.recv().now_or_never() {
                match event {
                    Event::Gossiped { transactions, .. } => parts.push(transactions.len()),
                    Event::Offered(offers) => parts.push(offers.len()),
                    _ => continue,
                }
                assert!(goes_in(&inbox, said(peer(2))));
                assert!(matches!(events.recv().await, Some(Event::Said { .. })), "it goes first");
            }
            assert_eq!(parts, vec![3, 1, 2]);
        }
    }

    fn proposal() -> VerifiedTransaction {
        let key = SecretKey::from_seed(&[9; 32]);
        let proposal = Proposal { changes: List::default(), note: Notes::default(), closes_at_ms: 1 };
        let (version, chain_id, payload) = (PROTOCOL_VERSION, ChainId([7; 32]), Payload::Propose { proposal });
        let transaction = Transaction { version, chain_id, signer: key.public(), nonce: 0, expires_at_ms: 1, payload };
        transaction.sign(&key).verify(&chain_id).unwrap()
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
        let [flooder, honest] = [1, 2].map(peer);
        let mut heard = 0;
        while goes_in(&inbox, said(flooder)) {
            heard += 1;
        }
        assert_eq!(heard, URGENT_PER_PEER_BYTES_MAX / size(&said(flooder)));
        for other in 3..3 + u8::try_from(URGENT_BYTES_MAX / URGENT_PER_PEER_BYTES_MAX - 2).unwrap() {
            while goes_in(&inbox, said(peer(other))) {}
        }
        assert!(goes_in(&inbox, said(honest)), "others are heard, however many flood");
        assert!(goes_in(&inbox, Event::Disconnected { peer: flooder }), "it may go");
        for _ in 0..heard {
            assert!(matches!(events.urgent(), Some(Event::Said { peer, .. }) if peer == flooder));
        }
        while let Some(Event::Said { peer, .. }) = events.urgent()
            && peer != honest
        {}
        assert!(goes_in(&inbox, said(flooder)), "it was heard, and goes on");
    }
}

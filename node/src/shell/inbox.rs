//! Where events wait for the main loop: what finality hangs on never queues behind the load.

use consensus::member::Event;
use tokio::sync::mpsc;

/// Events of consensus and membership that may wait; who brings more has to wait himself.
const URGENT_MAX: usize = 4_096;
/// Batches of offered and passed-on transactions that may wait.
const BULK_MAX: usize = 64;

/// The sending side: for sockets, any number of them.
#[derive(Clone)]
pub struct Inbox {
    urgent: mpsc::Sender<Event>,
    bulk: mpsc::Sender<Event>,
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
        let sender = if bulk { &self.bulk } else { &self.urgent };
        sender.send(event).await.map_err(|_| Closed)
    }
}

/// The receiving side.
pub struct Events {
    urgent: mpsc::Receiver<Event>,
    bulk: mpsc::Receiver<Event>,
}

/// Both sides.
#[must_use]
pub fn inbox() -> (Inbox, Events) {
    let (urgent, urgent_events) = mpsc::channel(URGENT_MAX);
    let (bulk, bulk_events) = mpsc::channel(BULK_MAX);
    (Inbox { urgent, bulk }, Events { urgent: urgent_events, bulk: bulk_events })
}

impl Events {
    /// The next one, urgent ones first. `None` when all senders are gone.
    pub(super) async fn recv(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            Some(event) = self.urgent.recv() => Some(event),
            Some(event) = self.bulk.recv() => Some(event),
            else => None,
        }
    }

    /// An urgent one that is there already.
    pub(super) fn urgent(&mut self) -> Option<Event> {
        self.urgent.try_recv().ok()
    }

    /// A batch of transactions that is there already.
    pub(super) fn bulk(&mut self) -> Option<Event> {
        self.bulk.try_recv().ok()
    }
}

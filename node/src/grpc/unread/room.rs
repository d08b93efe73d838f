//! Room for answers: some is every address's own as long as there is any, and who needs more waits for it in the
//! order of asking. Short answers have theirs apart.

use super::Refused;
use crate::origin::Origin;
use crate::shares::{NoShare, Queues, Share, Shares};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

/// Bytes of answers that their clients have not taken, what addresses have of their own aside.
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// … of one address: a quarter of all.
pub const ANSWERS_PER_ADDRESS_BYTES_MAX: usize = ANSWERS_BYTES_MAX / 4;
/// As much again is for what addresses have of their own, and nobody waits for that.
pub const OWN_ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// … of one address, and no more than it leaves to others: one of the largest answers, one that is made meanwhile.
pub const OWN_ANSWERS_PER_ADDRESS_BYTES_MAX: usize = 2 * (proto::MESSAGE_BYTES_MAX + 64 * 1024);
/// Bytes of short answers: all calls that may wait for finality have half of them.
pub const SHORT_ANSWERS_BYTES_MAX: usize = 2 * crate::desk::WAITING_MAX * super::SHORT_ANSWER_BYTES;
/// … of one address: a quarter of all, and no more than it leaves to others.
pub const SHORT_ANSWERS_PER_ADDRESS_BYTES_MAX: usize = SHORT_ANSWERS_BYTES_MAX / 4;
/// How long an answer waits for room. Whoever reads makes some at once.
pub const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// How often who waits looks whether there is room of its address's own again.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// When to try again after "no room": the others have read then, or were shown out.
const RETRY_AFTER_MS: u64 = 5_000;

/// Counts what answers take.
#[derive(Clone)]
pub struct Unread {
    short: Arc<Shares>,
    own: Arc<Shares>,
    all: Arc<Semaphore>,
    of_addresses: Arc<Queues<Origin>>,
}

/// Memory of an answer, until it is dropped.
pub(super) enum Room {
    /// Of what nobody waits for.
    Share(Share),
    /// Of what is given in the order of asking.
    Waited { all: OwnedSemaphorePermit, of_address: OwnedSemaphorePermit },
}

impl Room {
    /// So many bytes of it, or what there is.
    pub(super) fn split(&mut self, bytes: usize) -> Option<Self> {
        match self {
            Self::Share(share) => Some(Self::Share(share.split(bytes))),
            Self::Waited { all, of_address } => {
                let bytes = bytes.min(all.num_permits());
                Some(Self::Waited { all: all.split(bytes)?, of_address: of_address.split(bytes)? })
            }
        }
    }
}

impl Default for Unread {
    fn default() -> Self {
        Self {
            short: Shares::of_all(SHORT_ANSWERS_BYTES_MAX, SHORT_ANSWERS_PER_ADDRESS_BYTES_MAX),
            own: Shares::of_all(OWN_ANSWERS_BYTES_MAX, OWN_ANSWERS_PER_ADDRESS_BYTES_MAX),
            all: Arc::new(Semaphore::new(ANSWERS_BYTES_MAX)),
            of_addresses: Arc::new(Queues::new(ANSWERS_PER_ADDRESS_BYTES_MAX)),
        }
    }
}

impl Unread {
    /// Room for a short answer: at once, or not.
    pub(super) fn short(&self, origin: Origin, bytes: usize) -> Result<Room, Refused> {
        let share = self.short.take_many(origin, bytes);
        share.map(Room::Share).map_err(|no_share| match no_share {
            NoShare::Most(most) => {
                full(&format!("short answers of address {origin}"), most, "the limit of one address")
            }
            NoShare::Leaves(free) => full(&format!("short answers of address {origin}"), free, "as much as it leaves"),
            NoShare::All(all) => full("short answers", all, "the limit of all clients together"),
        })
    }

    /// Room that is an address's own, if it has some.
    pub(super) fn own(&self, origin: Origin, bytes: usize) -> Option<Room> {
        self.own.take_many(origin, bytes).ok().map(Room::Share)
    }

    /// Room for an answer of so many bytes: an address's own, or else in the order of asking.
    pub(super) async fn room(self, origin: Origin, bytes: usize) -> Result<Room, Refused> {
        if let Some(own) = self.own(origin, bytes) {
            return Ok(own);
        }
        tokio::select! {
            room = self.in_turn(origin, bytes) => room,
            own = self.own_again(origin, bytes) => Ok(own),
        }
    }

    /// Room that is an address's own, as soon as enough of it was given back.
    async fn own_again(&self, origin: Origin, bytes: usize) -> Room {
        loop {
            sleep(LOOK_INTERVAL).await;
            if let Some(own) = self.own(origin, bytes) {
                return own;
            }
        }
    }

    /// Room in the order of asking.
    async fn in_turn(&self, origin: Origin, bytes: usize) -> Result<Room, Refused> {
        let deadline = Instant::now() + ROOM_PATIENCE;
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let most = self.of_addresses.most();
        let of_address = timeout_at(deadline, self.of_addresses.of(origin).acquire_many_owned(count)).await;
        let of_address = of_address
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| full(&format!("answers of address {origin}"), most, "the limit of one address"))?;
        let all = timeout_at(deadline, self.all.clone().acquire_many_owned(count)).await.ok().and_then(Result::ok);
        let all = all.ok_or_else(|| full("answers", ANSWERS_BYTES_MAX, "the limit of all clients together"))?;
        Ok(Room::Waited { all, of_address })
    }

    /// What is taken of all of it, short answers aside.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        ANSWERS_BYTES_MAX - self.all.available_permits() + OWN_ANSWERS_BYTES_MAX - self.own.free()
    }
}

fn full(which: &str, bytes: usize, limit: &str) -> Refused {
    Refused::busy(format!("{which} that are not taken have {bytes} bytes, {limit}")).retry_after(RETRY_AFTER_MS)
}

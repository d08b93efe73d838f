//! A snapshot of the chain, as a stream. It holds old rows on disk while it is read, so few are read at a time
//! and none by somebody who does not read.

use super::answers::{Answers, Gone, answers};
use super::refusal::Refused;
use crate::artifacts::{OF_PEERS, Pace, TooSlow};
use crate::origin::Origin;
use crate::shares::Shares;
use ledger::frame::frame;
use proto::v1::SnapshotPart;
use std::sync::Arc;
use store::{Store, StoreError, Whole};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Snapshots being read at a time.
pub const SNAPSHOTS_MAX: usize = 4;
/// … by one address: whoever begins a node needs one.
pub const SNAPSHOTS_PER_ADDRESS_MAX: usize = 1;

/// Places for those who read.
#[derive(Clone)]
pub struct Snapshots {
    all: Arc<Semaphore>,
    shares: Arc<Shares>,
}

impl Default for Snapshots {
    fn default() -> Self {
        let shares = Shares::new(SNAPSHOTS_PER_ADDRESS_MAX);
        Self { all: Arc::new(Semaphore::new(SNAPSHOTS_MAX)), shares }
    }
}

/// Why a snapshot is not read to its end.
enum Ended {
    /// It is not taken fast enough.
    Slow(TooSlow),
    /// Nobody is there.
    Gone,
    /// The disk.
    Store(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Snapshots {
    /// Begins to read.
    pub(super) fn stream(&self, store: Arc<Store>, origin: Origin) -> Result<Answers<SnapshotPart, ()>, Refused> {
        let share = self.shares.take(origin).ok_or_else(|| {
            let most = self.shares.most();
            Refused::busy(format!("{most} snapshot of address {origin} is being read, the limit of one address"))
        })?;
        let place = self.all.clone().try_acquire_owned().map_err(|_| {
            Refused::busy(format!("{SNAPSHOTS_MAX} snapshots are being read, the limit of all clients together"))
        })?;
        let (writer, reader) = answers(());
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            // Held by who reads the disk, not by the client: one that leaves the last part lying keeps no place.
            let _held = (place, share);
            // Whoever begins a node has a node's line.
            let mut pace = Pace::open(OF_PEERS);
            let mut since = Instant::now();
            let read = store.view().snapshot(Whole::Needed, |part| {
                // The disk's time is not the reader's.
                pace.excused(since.elapsed());
                let part = SnapshotPart { part: frame(&part) };
                let length = part.part.len();
                let put = runtime.block_on(pace.keep(writer.put(part)));
                since = Instant::now();
                match put.and_then(|put| pace.moved(length).map(|()| put)) {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(Gone)) => Err(Ended::Gone),
                    Err(slow) => Err(Ended::Slow(slow)),
                }
            });
            match read {
                // The last part is taken before the writer is dropped, or nobody wants it.
                Ok(()) | Err(Ended::Gone) => {}
                Err(Ended::Slow(slow)) => writer.refuse(Refused::slow(slow).into()),
                Err(Ended::Store(StoreError::NothingFinal)) => {
                    writer.refuse(Refused::not_found("nothing is final yet but the genesis").into());
                }
                Err(Ended::Store(error)) => writer.refuse(Refused::internal(error).into()),
            }
        });
        Ok(reader)
    }
}

//! A snapshot of the chain, as a stream. It holds old rows on disk while it is read, so few are read at a time
//! and none by somebody who does not read.

use super::answers::{Answers, answers};
use super::refusal::Refused;
use proto::v1::SnapshotPart;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError, Whole, frame};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Snapshots being read at a time.
const SNAPSHOTS_MAX: usize = 2;
/// How long a part, of at most two mebibytes, may wait to be taken.
const PART_PATIENCE: Duration = Duration::from_secs(30);

/// Places for those who read.
#[derive(Clone)]
pub struct Snapshots(Arc<Semaphore>);

impl Default for Snapshots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SNAPSHOTS_MAX)))
    }
}

/// Why a snapshot is not read to its end.
enum Ended {
    /// Nobody takes it.
    Slow,
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
    pub(super) fn stream(&self, store: Arc<Store>) -> Result<Answers<SnapshotPart, ()>, Refused> {
        let place = self.0.clone().try_acquire_owned();
        let message = format!("{SNAPSHOTS_MAX} snapshots are being read already");
        let place = place.map_err(|_| Refused::busy(message))?;
        let (writer, reader) = answers(());
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            // Held by who reads the disk, not by the client: one that leaves the last part lying keeps no place.
            let _place = place;
            let read = store.view().snapshot(Whole::Needed, |part| {
                let part = SnapshotPart { part: frame(&part) };
                match runtime.block_on(timeout(PART_PATIENCE, writer.put(part))) {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(Ended::Gone),
                    Err(_) => Err(Ended::Slow),
                }
            });
            match read {
                // The last part is taken before the writer is dropped, or nobody wants it.
                Ok(()) | Err(Ended::Gone) => {}
                Err(Ended::Slow) => {
                    let message = format!("a part waited for more than {} s", PART_PATIENCE.as_secs());
                    writer.refuse(Refused::slow(message).into());
                }
                Err(Ended::Store(StoreError::NothingFinal)) => {
                    writer.refuse(Refused::not_found("nothing is final yet but the genesis").into());
                }
                Err(Ended::Store(error)) => writer.refuse(Refused::internal(error).into()),
            }
        });
        Ok(reader)
    }
}

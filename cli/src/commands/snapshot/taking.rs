//! Taking what a node streams, part by part, within bounds: a node that lies must not fill a disk.

use crate::connection::NodeError;
use crate::files::{self, FileError, New};
use ledger::frame;
use ledger::id::ChainId;
use ledger::snapshot::SnapshotPart;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_stream::{Stream, StreamExt as _};

/// The part of a disk that stays free.
const SHARE_LEFT_FREE: u64 = 16;
/// … and no more than so much, however large it is: whoever else writes there has time to notice.
const LEFT_FREE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes written between two looks at the room on the disk.
const LOOK_BYTES: u64 = 16 * 1024 * 1024;
/// In this time so much of a snapshot must come, or its end: a node has a disk, too, but one that sends a little now
/// and then could keep somebody waiting for years.
const BYTES_MIN: u64 = 1024 * 1024;
/// See [`BYTES_MIN`].
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a snapshot is not taken to its end. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// More than was asked for.
    #[error("the snapshot has more than {most} bytes")]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// It does not fit.
    #[error("{} has {available} bytes of room, and {reserve} of them stay free", directory.display())]
    NoRoom {
        /// Where it was to be.
        directory: PathBuf,
        /// Bytes there are.
        available: u64,
        /// Bytes that stay.
        reserve: u64,
    },
    /// The node says nothing more, or too little.
    #[error("the node sent {bytes} bytes in {} s, at least {BYTES_MIN} must come", PATIENCE.as_secs())]
    Slow {
        /// Bytes that came.
        bytes: u64,
    },
    /// Somebody does not want it any more.
    #[error("interrupted after {bytes} bytes")]
    Interrupted {
        /// Bytes that came.
        bytes: u64,
    },
}

impl SnapshotError {
    /// Whether the node asks too much, as against something that is in the way here.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::TooLarge { .. } => {
                "compare with the size of a member's own data directory: if a ledger is really so \
                                      large, allow more with --max-bytes; else ask another node"
                    .to_owned()
            }
            Self::NoRoom { .. } => "make room, or choose another disk with --out".to_owned(),
            Self::Slow { .. } => "try again, or ask another node".to_owned(),
            Self::Interrupted { .. } => "nothing was kept: begin again when there is time".to_owned(),
        })
    }
}

/// How long a node is waited for.
pub(super) struct Patience {
    until: Instant,
    /// Since it began anew.
    bytes: u64,
}

impl Patience {
    /// Begins to wait.
    pub(super) fn new() -> Self {
        Self { until: Instant::now() + PATIENCE, bytes: 0 }
    }

    /// The next part; `None` at the end.
    pub(super) async fn next<E>(
        &mut self,
        parts: &mut (impl Stream<Item = Result<proto::v1::SnapshotPart, E>> + Unpin),
    ) -> Result<Option<Result<Vec<u8>, E>>, SnapshotError> {
        let next = timeout_at(self.until, parts.next()).await;
        let next = next.map_err(|_| SnapshotError::Slow { bytes: self.bytes })?;
        if let Some(Ok(piece)) = &next {
            self.bytes += piece.part.len() as u64;
            if self.bytes >= BYTES_MIN {
                *self = Self::new();
            }
        }
        Ok(next.map(|piece| piece.map(|piece| piece.part)))
    }
}

/// What has come so far.
pub(super) struct Taking {
    file: New,
    directory: PathBuf,
    path: PathBuf,
    chain: ChainId,
    most: u64,
    /// Where to look at the room again.
    look_at: u64,
    pub(super) bytes: u64,
    pub(super) parts: u64,
    /// Height, and the first height whose block is whole.
    pub(super) begun: Option<(u64, u64)>,
    is_over: bool,
}

impl Taking {
    /// Begins a file.
    pub(super) fn begin(path: &Path, chain: ChainId, most: u64) -> Result<Self, crate::failure::Failure> {
        let directory = files::directory_of(path).to_owned();
        let file = New::begin(path)?;
        let (begun, is_over) = (None, false);
        let taking = Self {
            file,
            directory,
            path: path.to_owned(),
            chain,
            most,
            look_at: 0,
            bytes: 0,
            parts: 0,
            begun,
            is_over,
        };
        taking.has_room(0)?;
        Ok(taking)
    }

    /// Takes a part, with its length.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), crate::failure::Failure> {
        let wrong = |detail: String| NodeError::Unbelievable(format!("part {} of a snapshot: {detail}", self.parts));
        let bytes = self.bytes + piece.len() as u64;
        if bytes > self.most {
            return Err(SnapshotError::TooLarge { most: self.most }.into());
        }
        match (parse(piece).map_err(wrong)?, self.begun) {
            _ if self.is_over => return Err(wrong("it comes after the end".to_owned()).into()),
            (SnapshotPart::Begin { header, .. }, None) if header.chain_id != self.chain => {
                return Err(NodeError::Unbelievable(format!("a snapshot of chain {}", header.chain_id)).into());
            }
            (SnapshotPart::Begin { header, before, .. }, None) => {
                self.begun = Some((header.height, before.height.saturating_add(1)));
            }
            (SnapshotPart::Begin { .. }, Some(_)) => return Err(wrong("it begins twice".to_owned()).into()),
            (_, None) => return Err(wrong("nothing has begun".to_owned()).into()),
            (part, Some(_)) => self.is_over = part == SnapshotPart::End,
        }
        if bytes > self.look_at {
            self.has_room(piece.len() as u64)?;
            self.look_at = bytes + LOOK_BYTES;
        }
        self.file.write_all(piece).map_err(|source| FileError::Write { path: self.path.clone(), source })?;
        self.bytes = bytes;
        self.parts += 1;
        Ok(())
    }

    /// Puts it under its name, if it is whole.
    pub(super) fn keep(self) -> Result<(), crate::failure::Failure> {
        if !self.is_over {
            let what = format!("a snapshot that breaks off after {} parts", self.parts);
            return Err(NodeError::Unbelievable(what).into());
        }
        Ok(self.file.keep()?)
    }

    /// Whether so many bytes more, and what comes until the next look, leave enough of the disk free.
    fn has_room(&self, bytes: u64) -> Result<(), crate::failure::Failure> {
        let failed = |source: rustix::io::Errno| FileError::Write { path: self.path.clone(), source: source.into() };
        let disk = rustix::fs::statvfs(&self.directory).map_err(failed)?;
        let available = disk.f_bavail.saturating_mul(disk.f_frsize);
        let reserve = disk.f_blocks.saturating_mul(disk.f_frsize) / SHARE_LEFT_FREE;
        let reserve = reserve.min(LEFT_FREE_BYTES_MAX);
        if available < reserve.saturating_add(bytes).saturating_add(LOOK_BYTES) {
            let directory = self.directory.clone();
            return Err(SnapshotError::NoRoom { directory, available, reserve }.into());
        }
        Ok(())
    }
}

fn parse(piece: &[u8]) -> Result<SnapshotPart, String> {
    let mut rest = piece;
    let part = frame::read(&mut rest).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(part) } else { Err(format!("{} bytes more than its length says", rest.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// A node that sends a part of so many bytes every second, so many times: what came, when it ended, and how.
    async fn from_a_node(bytes: usize, parts: u64) -> (u64, u64, Option<SnapshotError>) {
        let piece = vec![7; bytes];
        let parts = tokio_stream::iter(0..parts).then(|_| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, Infallible>(proto::v1::SnapshotPart { part: piece.clone() })
        });
        let mut parts = std::pin::pin!(parts);
        let (since, mut patience, mut came) = (Instant::now(), Patience::new(), 0);
        loop {
            let end = match patience.next(&mut parts).await {
                Ok(Some(Ok(part))) => {
                    came += part.len() as u64;
                    continue;
                }
                Ok(_) => None,
                Err(slow) => Some(slow),
            };
            return (came, since.elapsed().as_secs(), end);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_sends_a_little_now_and_then_is_given_up() {
        let (_, seconds, end) = from_a_node(1, 1_000_000).await;
        assert_eq!(seconds, PATIENCE.as_secs());
        let end = end.expect("it is given up").to_string();
        assert_eq!(end, "the node sent 60 bytes in 60 s, at least 1048576 must come");
        // One that is slow gets it done, and so does one that has little to send.
        let (came, seconds, end) = from_a_node(20 * 1024, 3_600).await;
        assert!(end.is_none() && (came, seconds) == (3_600 * 20 * 1024, 3_600), "{end:?}");
        assert!(from_a_node(10, 50).await.2.is_none());
    }
}

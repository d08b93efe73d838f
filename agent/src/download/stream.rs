//! A stream of an artifact: handed on while it is fast enough, checked before it is written.

use super::error::Disappointment;
use crate::config;
use bao_tree::io::{BaoContentItem, DecodeError, sync::DecodeResponseIter};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges, blake3};
use ledger::id::Digest;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;

/// 2^4 BLAKE3 chunks of 1 KiB.
const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);
/// Bytes of a BLAKE3 chunk.
const CHUNK_BYTES: u64 = 1024;
/// Why no more came.
pub(super) enum Ended {
    /// The source has no more, or no more is wanted.
    Over,
    /// It is too slow.
    Slow,
    /// The deadline is over.
    Deadline,
    /// The stream broke.
    Broken(tonic::Status),
}

/// Hands pieces to the checking thread until it wants no more.
pub(super) async fn feed(
    stream: &mut tonic::Streaming<proto::v1::FetchResponse>,
    pieces: &mpsc::Sender<Vec<u8>>,
    patience: &config::Download,
    deadline: Instant,
) -> Ended {
    let wanted = patience.minimum_bytes_per_s.saturating_mul(window_ms(patience.patience)) / 1000;
    let (mut window_end, mut received) = (Instant::now() + patience.patience, 0u64);
    loop {
        let next = match timeout(until(window_end.min(deadline)), stream.next()).await {
            Ok(Some(Ok(message))) => Some(message.data),
            Ok(Some(Err(status))) => return Ended::Broken(status),
            Ok(None) => return Ended::Over,
            Err(_) => None,
        };
        if let Some(piece) = next {
            received = received.saturating_add(piece.len() as u64);
            // The thread stops listening when it has everything, or has seen enough.
            if pieces.send(piece).await.is_err() {
                return Ended::Over;
            }
        }
        if Instant::now() >= deadline {
            return Ended::Deadline;
        }
        if Instant::now() >= window_end {
            if received < wanted.max(1) {
                return Ended::Slow;
            }
            (window_end, received) = (Instant::now() + patience.patience, 0);
        }
    }
}

fn window_ms(window: Duration) -> u64 {
    u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
}

fn until(instant: Instant) -> Duration {
    instant.saturating_duration_since(Instant::now())
}

/// Checks group after group and writes each at its place. Blocking.
pub(super) fn check_and_write(
    file: &File,
    blake3: Digest,
    size: u64,
    offset: u64,
    pieces: Pieces,
) -> Result<(), Disappointment> {
    let tree = BaoTree::new(size, BLOCK_SIZE);
    let ranges = ChunkRanges::from(ChunkNum(offset / CHUNK_BYTES)..ChunkNum(size.div_ceil(CHUNK_BYTES)));
    let root = blake3::Hash::from_bytes(blake3.0);
    let mut place = offset;
    for item in DecodeResponseIter::new(root, tree, pieces, &ranges) {
        let leaf = match item.map_err(judge)? {
            BaoContentItem::Leaf(leaf) => leaf,
            BaoContentItem::Parent(_) => continue,
        };
        // Without gaps: the length of the file is what is there.
        if leaf.offset != place {
            return Err(Disappointment::Forged(format!("a group for {} where {place} is due", leaf.offset)));
        }
        file.write_all_at(&leaf.data, place).map_err(Disappointment::Disk)?;
        place += leaf.data.len() as u64;
    }
    match place == size {
        true => Ok(()),
        false => Err(Disappointment::Length(format!("it ended after {place} bytes"))),
    }
}

fn judge(error: DecodeError) -> Disappointment {
    match error {
        DecodeError::ParentNotFound(_) | DecodeError::LeafNotFound(_) => {
            Disappointment::Length("it ended early".to_owned())
        }
        DecodeError::ParentHashMismatch(_) | DecodeError::LeafHashMismatch(_) => {
            Disappointment::Forged("sent bytes that do not belong to it".to_owned())
        }
        DecodeError::Io(error) => Disappointment::Cannot(error.to_string()),
    }
}

/// Reads what comes out of a channel.
pub(super) struct Pieces {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl From<mpsc::Receiver<Vec<u8>>> for Pieces {
    fn from(pieces: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { pieces, piece: io::Cursor::new(Vec::new()) }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

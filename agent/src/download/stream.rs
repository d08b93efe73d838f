//! Bytes of a source: handed on while they are fast enough, checked before they are written.

use super::error::Disappointment;
use super::origins::Origins;
use super::pieces::{Incoming, Piece};
use super::tree::{BLOCK_SIZE, ranges_from};
use bao_tree::io::{BaoContentItem, DecodeError, sync::DecodeResponseIter};
use bao_tree::{BaoTree, blake3};
use ledger::id::Digest;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Pieces of a stream between the socket and the checking thread.
const PIECES_MAX: usize = 2;

/// How long a source may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Slower than this is too slow.
    pub(super) minimum_bytes_per_s: u64,
    /// Over how long that is measured.
    pub(super) window: Duration,
    /// And all of it, over all sources.
    pub(super) deadline: Instant,
}

impl Patience {
    /// What must come in a window.
    fn wanted(&self) -> u64 {
        let window_ms = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
        (self.minimum_bytes_per_s.saturating_mul(window_ms) / 1000).max(1)
    }

    pub(super) fn over() -> Disappointment {
        Disappointment::Cannot("the deadline is over".to_owned())
    }

    fn slow(&self) -> Disappointment {
        Disappointment::Slow(format!("slower than {} bytes/s for {:?}", self.minimum_bytes_per_s, self.window))
    }
}

/// Why no more came.
enum Ended {
    /// The source has no more, or no more is wanted.
    Over,
    /// It is too slow.
    Slow,
    /// The deadline is over.
    Deadline,
    /// The stream broke.
    Broken(Disappointment),
}

/// Takes a stream apart on a thread of its own, as long as it is fast enough; `work` reads it, and stops when it has
/// everything or has seen enough.
pub(super) async fn take(
    mut incoming: Incoming,
    origins: &Origins,
    patience: Patience,
    work: impl FnOnce(Pieces) -> Result<(), Disappointment> + Send + 'static,
) -> Result<(), Disappointment> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
    let working = tokio::task::spawn_blocking(move || work(Pieces::from(receiver)));
    let ended = feed(&mut incoming, &sender, origins, patience).await;
    drop(sender);
    let worked = working.await.unwrap_or_else(|error| Err(Disappointment::Disk(io::Error::other(error))));
    match (worked, ended) {
        // Whatever follows the last byte is not looked at: the stream is let go.
        (Ok(()), _) => Ok(()),
        // That it is short has a reason that says more.
        (Err(Disappointment::Length(_)), Ended::Slow) => Err(patience.slow()),
        (Err(Disappointment::Length(_)), Ended::Deadline) => Err(Patience::over()),
        (Err(Disappointment::Length(_)), Ended::Broken(why)) => Err(why),
        (Err(disappointment), _) => Err(disappointment),
    }
}

/// Hands pieces to the thread until it wants no more.
async fn feed(incoming: &mut Incoming, pieces: &mpsc::Sender<Vec<u8>>, origins: &Origins, patience: Patience) -> Ended {
    let (mut window_end, mut received) = (Instant::now() + patience.window, 0_u64);
    loop {
        let next = async {
            tokio::select! {
                next = incoming.next() => next,
                // A source that says nothing after its last byte is not waited for.
                () = pieces.closed() => Ok(None),
            }
        };
        match timeout_at(window_end.min(patience.deadline), next).await {
            Ok(Ok(Some(Piece { data, moved }))) => {
                received = received.saturating_add(moved);
                let (asked, rest) = (Instant::now(), origins.pay(moved));
                // The thread stops listening when it has everything, or has seen enough.
                if pieces.send(data).await.is_err() {
                    return Ended::Over;
                }
                sleep_until((asked + rest).min(patience.deadline)).await;
                // The time we took ourselves is not the source's.
                window_end += asked.elapsed();
            }
            Ok(Ok(None)) => return Ended::Over,
            Ok(Err(why)) => return Ended::Broken(why),
            Err(_) => {}
        }
        if Instant::now() >= patience.deadline {
            return Ended::Deadline;
        }
        if Instant::now() >= window_end {
            if received < patience.wanted() {
                return Ended::Slow;
            }
            (window_end, received) = (Instant::now() + patience.window, 0);
        }
    }
}

/// Checks group after group and writes each at its place: the self-checking form of a payload from an offset on, all
/// before which is in the file already. Blocking.
///
/// # Errors
/// [`Disappointment`]; what was written before is right.
pub fn check_and_write(
    file: &File,
    blake3: Digest,
    size: u64,
    offset: u64,
    encoded: impl Read,
) -> Result<(), Disappointment> {
    let (tree, ranges) = (BaoTree::new(size, BLOCK_SIZE), ranges_from(offset));
    let root = blake3::Hash::from_bytes(blake3.0);
    let mut place = offset;
    for item in DecodeResponseIter::new(root, tree, encoded, &ranges) {
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
        DecodeError::Io(error) => Disappointment::Disk(error),
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

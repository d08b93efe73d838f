//! Artifacts on their way: between threads that read disks and tasks that move bytes, and between members'
//! nodes.

use super::{ArtifactError, Artifacts, OF_PEERS, Pace};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use ledger::bounded::Name;
use ledger::id::Digest;
use std::io::{self, Read, Write};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces of a stream on their way between a reading thread and a socket.
const PIECES_MAX: usize = 8;
/// Bytes of one piece.
const PIECE_BYTES: usize = 64 * 1024;
/// What the size field says when there is no such artifact.
const ABSENT: u64 = 0;

/// A writer whose bytes come out of a channel, in pieces.
pub struct PieceWriter {
    pieces: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

/// A writer and the channel its pieces come out of.
#[must_use]
pub fn pieces() -> (PieceWriter, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    (PieceWriter { pieces: sender, piece: Vec::with_capacity(PIECE_BYTES) }, receiver)
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.blocking_send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// A reader whose bytes go into a channel, in pieces.
struct PieceReader {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

/// Answers one request of a peer: digest in, size and self-checking bytes out.
///
/// # Errors
/// [`ArtifactError`] when the peer goes away, asks for something strange, or does not keep the pace.
pub async fn serve_peer(
    artifacts: &Arc<Artifacts>,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), ArtifactError> {
    let mut digest = [0; 32];
    let mut pace = Pace::new(OF_PEERS, 0);
    moved(pace.keep(stream.read_exact(&mut digest)).await?)?;
    let blake3 = Digest(digest);
    let transfer = artifacts.transfer_to_peer().await?;
    let size = artifacts.size(&blake3)?.unwrap_or(ABSENT);
    // Waiting for a place was not the peer's fault.
    let mut pace = Pace::new(OF_PEERS, size);
    moved(pace.keep(stream.write_all(&size.to_le_bytes())).await?)?;
    if size != ABSENT {
        let (mut writer, mut pieces) = pieces();
        let artifacts = artifacts.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            let _transfer = transfer;
            artifacts.encode(&blake3, 0, 0, &mut writer)?;
            Ok::<_, ArtifactError>(writer.flush()?)
        });
        while let Some(piece) = pace.excuse(pieces.recv()).await {
            moved(pace.keep(stream.write_all(&piece)).await?)?;
            pace.moved(piece.len())?;
        }
        encoding.await.map_err(io::Error::other)??;
    }
    moved(pace.keep(stream.close()).await?)
}

/// Gets a whole artifact from a peer, into an organisation's room.
///
/// # Errors
/// [`ArtifactError`] when there is no room, the peer has not got it, sends something else, breaks off or does
/// not keep the pace.
pub async fn fetch_from_peer(
    artifacts: &Arc<Artifacts>,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    organisation: &Name,
    (blake3, size): (Digest, u64),
) -> Result<(), ArtifactError> {
    let mut pace = Pace::new(OF_PEERS, size);
    moved(pace.keep(stream.write_all(&blake3.0)).await?)?;
    moved(pace.keep(stream.flush()).await?)?;
    let mut has = [0; 8];
    moved(pace.keep(stream.read_exact(&mut has)).await?)?;
    match u64::from_le_bytes(has) {
        ABSENT => return Err(ArtifactError::Absent(blake3)),
        has if has != size => return Err(ArtifactError::Length { blake3, expected: size, actual: has }),
        _ => {}
    }
    let incoming = artifacts.receive(organisation, blake3, size)?;
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let reader = PieceReader { pieces: receiver, piece: io::Cursor::new(Vec::new()) };
    let artifacts = artifacts.clone();
    let decoding = tokio::task::spawn_blocking(move || artifacts.decode(incoming, reader));
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = moved(pace.keep(stream.read(&mut buffer)).await?)?;
        // The decoder stops listening when it has everything, or has seen enough.
        if read == 0 || pace.excuse(sender.send(buffer[..read].to_vec())).await.is_err() {
            break;
        }
        pace.moved(read)?;
    }
    drop(sender);
    decoding.await.map_err(io::Error::other)?
}

/// An error of a peer's stream is the peer's, not this node's disk's.
fn moved<T>(result: io::Result<T>) -> Result<T, ArtifactError> {
    result.map_err(ArtifactError::Broken)
}

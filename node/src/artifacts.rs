//! Artifacts by content: one file per BLAKE3 digest and, beside it, the tree of its hashes, so that
//! any range can be served in a form the receiver checks by itself (bao, 16 KiB groups).
//!
//! What arrives is checked before it has a name: an upload against its grant, a transfer from a peer
//! group by group. A file under its digest is therefore whole and right.

use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{CreateOutboard as _, decode_ranges, encode_ranges_validated};
use bao_tree::{BaoTree, BlockSize, ByteRanges, ChunkRanges, io::round_up_to_chunks_groups};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use ledger::artifact::GROUP_BYTES;
use ledger::id::Digest;
use ledger::limits;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// 2^4 BLAKE3 chunks of 1 KiB.
const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);
/// Pieces of a stream on their way between a reading thread and a socket.
const PIECES_MAX: usize = 8;
/// Bytes of one piece.
const PIECE_BYTES: usize = 64 * 1024;
/// How long the other side may be silent in the middle of a transfer, or take nothing of it.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Transfers to clients at once, and as many to peers. Each holds a thread while its reader is slow, and
/// there must always be threads left for checking signatures.
pub const TRANSFERS_MAX: usize = 128;
/// What the size field says when there is no such artifact.
const ABSENT: u64 = 0;

/// Why an artifact cannot be stored or served.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It is not here.
    #[error("artifact {0} is not stored here")]
    Absent(Digest),
    /// The bytes are not what was announced.
    #[error("artifact {expected}: the bytes hash to {actual}")]
    Digest {
        /// Announced.
        expected: Digest,
        /// Found.
        actual: Digest,
    },
    /// More or fewer bytes than announced.
    #[error("artifact {blake3}: {actual} bytes, announced were {expected}")]
    Length {
        /// Which.
        blake3: Digest,
        /// Bytes announced.
        expected: u64,
        /// Bytes found.
        actual: u64,
    },
    /// A range that does not begin at a group, or is outside.
    #[error("range {offset}+{length} does not fit artifact of {size} bytes: begin at a multiple of {GROUP_BYTES}")]
    Range {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        length: u64,
        /// Size of the artifact.
        size: u64,
    },
    /// A piece from a peer that does not belong to the artifact.
    #[error("a peer sent bytes that are not artifact {0}")]
    Forged(Digest),
    /// The operating system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The artifacts of a node.
pub struct Artifacts {
    directory: PathBuf,
    to_clients: Arc<Semaphore>,
    to_peers: Arc<Semaphore>,
}

/// A place among the transfers there may be at once, until it is dropped.
pub struct Transfer {
    _place: OwnedSemaphorePermit,
}

impl Artifacts {
    /// Opens (or makes) the directory, and clears what was only half there.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn open(directory: PathBuf) -> Result<Self, ArtifactError> {
        let incoming = directory.join("incoming");
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        fs::create_dir_all(&incoming)?;
        let transfers = || Arc::new(Semaphore::new(TRANSFERS_MAX));
        Ok(Self { directory, to_clients: transfers(), to_peers: transfers() })
    }

    /// A place for a transfer to a client; `None` when all are taken.
    #[must_use]
    pub fn transfer_to_client(&self) -> Option<Transfer> {
        let place = self.to_clients.clone().try_acquire_owned().ok()?;
        Some(Transfer { _place: place })
    }

    /// A place for a transfer to a peer, as soon as there is one.
    async fn transfer_to_peer(&self) -> io::Result<Transfer> {
        let place = self.to_peers.clone().acquire_owned().await.map_err(io::Error::other)?;
        Ok(Transfer { _place: place })
    }

    fn path(&self, blake3: &Digest) -> PathBuf {
        let name = blake3.to_string();
        self.directory.join(&name[..2]).join(name)
    }

    fn tree_path(&self, blake3: &Digest) -> PathBuf {
        self.path(blake3).with_extension("tree")
    }

    /// Size of an artifact that is here, whole.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn size(&self, blake3: &Digest) -> Result<Option<u64>, ArtifactError> {
        match fs::metadata(self.path(blake3)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins to take in an artifact whose digest and size are known.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn receive(&self, blake3: Digest, size: u64) -> Result<Incoming, ArtifactError> {
        let directory = self.directory.join("incoming");
        let file = tempfile::NamedTempFile::new_in(directory)?;
        Ok(Incoming { file, blake3, size, written: 0 })
    }

    /// Checks what came and gives it its name.
    ///
    /// # Errors
    /// [`ArtifactError`] when the bytes are not the ones announced.
    pub fn keep(&self, incoming: Incoming) -> Result<(), ArtifactError> {
        let Incoming { file, blake3, size, written } = incoming;
        if written != size {
            return Err(ArtifactError::Length { blake3, expected: size, actual: written });
        }
        let path = self.path(&blake3);
        fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
        // The tree first: an artifact that has its name can be served.
        let mut tree = PreOrderOutboard {
            root: blake3::Hash::from_bytes(blake3.0),
            tree: BaoTree::new(size, BLOCK_SIZE),
            data: tempfile::tempfile_in(self.directory.join("incoming"))?,
        };
        tree.init_from(io::BufReader::with_capacity(PIECE_BYTES, file.reopen()?))?;
        let actual = Digest(*tree.root.as_bytes());
        if actual != blake3 {
            return Err(ArtifactError::Digest { expected: blake3, actual });
        }
        write_whole(&self.tree_path(&blake3), tree.data)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        sync_directory(path.parent().unwrap_or(&self.directory))?;
        Ok(())
    }

    /// Writes a range in the self-checking form. Blocking.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn encode(&self, blake3: &Digest, offset: u64, length: u64, to: impl Write) -> Result<(), ArtifactError> {
        let size = self.size(blake3)?.ok_or(ArtifactError::Absent(*blake3))?;
        let ranges = ranges(size, offset, length)?;
        let data = File::open(self.path(blake3))?;
        let tree = PreOrderOutboard {
            root: blake3::Hash::from_bytes(blake3.0),
            tree: BaoTree::new(size, BLOCK_SIZE),
            data: File::open(self.tree_path(blake3))?,
        };
        encode_ranges_validated(&data, &tree, &ranges, to).map_err(io::Error::other)?;
        Ok(())
    }

    /// Takes in the self-checking form of a whole artifact; each group is checked before it is
    /// written. Blocking.
    ///
    /// # Errors
    /// [`ArtifactError::Forged`] at the first group that does not belong.
    pub fn decode(&self, blake3: Digest, size: u64, from: impl Read) -> Result<(), ArtifactError> {
        let incoming = tempfile::NamedTempFile::new_in(self.directory.join("incoming"))?;
        let tree = PreOrderOutboard {
            root: blake3::Hash::from_bytes(blake3.0),
            tree: BaoTree::new(size, BLOCK_SIZE),
            data: tempfile::tempfile_in(self.directory.join("incoming"))?,
        };
        decode_ranges(from, &ChunkRanges::all(), incoming.reopen()?, tree).map_err(|error| match error {
            bao_tree::io::DecodeError::Io(error) => ArtifactError::Io(error),
            _ => ArtifactError::Forged(blake3),
        })?;
        self.keep(Incoming { file: incoming, blake3, size, written: size })
    }
}

/// Group-aligned chunk ranges of a byte range; length 0 means to the end.
fn ranges(size: u64, offset: u64, length: u64) -> Result<ChunkRanges, ArtifactError> {
    let end = if length == 0 { size } else { offset.saturating_add(length).min(size) };
    if !offset.is_multiple_of(GROUP_BYTES) || offset >= end {
        return Err(ArtifactError::Range { offset, length, size });
    }
    let chunks = bao_tree::io::round_up_to_chunks(&ByteRanges::from(offset..end));
    Ok(round_up_to_chunks_groups(chunks, BLOCK_SIZE))
}

fn write_whole(path: &Path, mut from: File) -> io::Result<()> {
    use std::io::Seek as _;
    from.rewind()?;
    let partial = path.with_extension("tree-partial");
    let mut to = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()?;
    fs::rename(partial, path)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// An artifact on its way in.
pub struct Incoming {
    file: tempfile::NamedTempFile,
    blake3: Digest,
    size: u64,
    written: u64,
}

impl Incoming {
    /// What it must hash to.
    #[must_use]
    pub fn blake3(&self) -> Digest {
        self.blake3
    }

    /// How long it must be.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ArtifactError::Length`] as soon as there is one byte too many.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.written += bytes.len() as u64;
        if self.written > self.size {
            return Err(ArtifactError::Length { blake3: self.blake3, expected: self.size, actual: self.written });
        }
        Ok(self.file.write_all(bytes)?)
    }
}

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
/// [`ArtifactError`] when the peer goes away or asks for something strange.
pub async fn serve_peer(artifacts: &Arc<Artifacts>, mut stream: libp2p::Stream) -> Result<(), ArtifactError> {
    let mut digest = [0; 32];
    timed(stream.read_exact(&mut digest)).await?;
    let blake3 = Digest(digest);
    let transfer = artifacts.transfer_to_peer().await?;
    let size = artifacts.size(&blake3)?.unwrap_or(ABSENT);
    timed(stream.write_all(&size.to_le_bytes())).await?;
    if size != ABSENT {
        let (mut writer, mut pieces) = pieces();
        let artifacts = artifacts.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            let _transfer = transfer;
            artifacts.encode(&blake3, 0, 0, &mut writer)?;
            Ok::<_, ArtifactError>(writer.flush()?)
        });
        while let Some(piece) = pieces.recv().await {
            timed(stream.write_all(&piece)).await?;
        }
        encoding.await.map_err(io::Error::other)??;
    }
    Ok(timed(stream.close()).await?)
}

/// Gets a whole artifact from a peer.
///
/// # Errors
/// [`ArtifactError`] when the peer has not got it, sends something else, or falls silent.
pub async fn fetch_from_peer(
    artifacts: &Arc<Artifacts>,
    mut stream: libp2p::Stream,
    blake3: Digest,
    size: u64,
) -> Result<(), ArtifactError> {
    stream.write_all(&blake3.0).await?;
    stream.flush().await?;
    let mut has = [0; 8];
    timed(stream.read_exact(&mut has)).await?;
    match u64::from_le_bytes(has) {
        ABSENT => return Err(ArtifactError::Absent(blake3)),
        has if has != size => return Err(ArtifactError::Length { blake3, expected: size, actual: has }),
        _ => {}
    }
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let reader = PieceReader { pieces: receiver, piece: io::Cursor::new(Vec::new()) };
    let artifacts = artifacts.clone();
    let decoding = tokio::task::spawn_blocking(move || artifacts.decode(blake3, size, reader));
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = timed(stream.read(&mut buffer)).await?;
        // The decoder stops listening when it has everything, or has seen enough.
        if read == 0 || sender.send(buffer[..read].to_vec()).await.is_err() {
            break;
        }
    }
    drop(sender);
    decoding.await.map_err(io::Error::other)?
}

async fn timed<T>(moving: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(SILENCE_MAX, moving).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Whether a manifest's sizes are within what this node would ever store.
#[must_use]
pub fn is_storable(size: u64) -> bool {
    (1..=limits::ARTIFACT_BYTES_MAX).contains(&size)
}

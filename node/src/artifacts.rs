//! Artifacts by content: one file per BLAKE3 digest and, beside it, the tree of its hashes, so that
//! any range can be served in a form the receiver checks by itself (bao, 16 KiB groups).
//!
//! What arrives is checked before it has a name: an upload against its grant, a transfer from a peer
//! group by group. A file under its digest is therefore whole and right. Beside it is the name of the
//! organisation whose room it takes.

mod coding;
mod pace;
mod quota;
mod transfer;
mod uploads;

pub use pace::{Expected, OF_CLIENTS, OF_PEERS, Pace, TooSlow};
pub use quota::ArtifactLimits;
pub use transfer::{PieceWriter, fetch_from_peer, pieces, serve_peer};
pub use uploads::{NoPlace, UPLOADS_MAX, UPLOADS_PER_ORGANISATION_MAX, Upload, Uploads};

use bao_tree::BlockSize;
use bao_tree::io::sync::CreateOutboard as _;
use ledger::artifact::{GROUP_BYTES, tree_bytes};
use ledger::bounded::Name;
use ledger::id::Digest;
use ledger::limits;
use quota::{Quota, Reservation};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// 2^4 BLAKE3 chunks of 1 KiB.
const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);
/// Bytes read from a disk at once.
const READ_BYTES: usize = 64 * 1024;
/// Transfers to clients at once, and as many to peers. Each holds a thread while its reader is slow, and
/// there must always be threads left for checking signatures.
pub const TRANSFERS_MAX: usize = 128;

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
    /// What is stored is not it any more.
    #[error("artifact {blake3} is damaged on this node's disk, from byte {place} on")]
    Damaged {
        /// Which.
        blake3: Digest,
        /// Where the first piece begins that does not check out.
        place: u64,
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
    /// The other side went away in the middle.
    #[error("the transfer broke off: {0}")]
    Broken(io::Error),
    /// The other side does not keep the pace.
    #[error(transparent)]
    Slow(#[from] TooSlow),
    /// The organisation has its share of the disk.
    #[error("artifacts of {organisation} take {held} bytes here, with {bytes} more its quota of {most} is exceeded")]
    Quota {
        /// Whose.
        organisation: Name,
        /// What it has.
        held: u64,
        /// What it wants besides.
        bytes: u64,
        /// What it may have.
        most: u64,
    },
    /// All artifacts together have their share of the disk.
    #[error("artifacts take {held} bytes here, with {bytes} more the quota of all, {most}, is exceeded")]
    Full {
        /// What there is.
        held: u64,
        /// What would come.
        bytes: u64,
        /// What there may be.
        most: u64,
    },
    /// The disk has not enough room left for the chain and this.
    #[error("{free} bytes are free on the disk, {bytes} are needed and {left_free} are left to the chain")]
    DiskFull {
        /// What is free.
        free: u64,
        /// What would come.
        bytes: u64,
        /// What is not for artifacts.
        left_free: u64,
    },
    /// The operating system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The artifacts of a node.
pub struct Artifacts {
    directory: PathBuf,
    quota: Arc<Quota>,
    to_clients: Arc<Semaphore>,
    to_peers: Arc<Semaphore>,
    uploads: Uploads,
}

/// A place among the transfers there may be at once, until it is dropped.
pub struct Transfer {
    _place: OwnedSemaphorePermit,
}

impl Artifacts {
    /// Opens (or makes) the directory, clears what was only half there, and counts what is whole.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn open(directory: PathBuf, limits: ArtifactLimits) -> Result<Self, ArtifactError> {
        let incoming = directory.join("incoming");
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        fs::create_dir_all(&incoming)?;
        let transfers = || Arc::new(Semaphore::new(TRANSFERS_MAX));
        let quota = Arc::new(Quota::new(limits));
        let uploads = Uploads::default();
        let artifacts = Self { directory, quota, to_clients: transfers(), to_peers: transfers(), uploads };
        artifacts.count()?;
        Ok(artifacts)
    }

    /// Counts what is stored, and for whom.
    fn count(&self) -> Result<(), ArtifactError> {
        for shelf in fs::read_dir(&self.directory)? {
            let shelf = shelf?;
            if !shelf.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(shelf.path())? {
                let file = file?;
                // Trees, owners and what a crash left are no artifacts: their names are no digests.
                let Some(blake3) = file.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()) else {
                    continue;
                };
                self.quota.found(blake3, file.metadata()?.len(), self.owner(&blake3));
            }
        }
        Ok(())
    }

    /// Whose room an artifact takes.
    fn owner(&self, blake3: &Digest) -> Option<Name> {
        let mut name = String::new();
        let file = File::open(self.owner_path(blake3)).ok()?;
        file.take(limits::NAME_BYTES_MAX as u64).read_to_string(&mut name).ok()?;
        Name::new(name).ok()
    }

    /// Bytes of an organisation's artifacts, stored or on their way.
    #[must_use]
    pub fn held_by(&self, organisation: &Name) -> u64 {
        self.quota.of(organisation)
    }

    /// A place for a transfer to a client; `None` when all are taken.
    #[must_use]
    pub fn transfer_to_client(&self) -> Option<Transfer> {
        let place = self.to_clients.clone().try_acquire_owned().ok()?;
        Some(Transfer { _place: place })
    }

    /// Places for uploads.
    #[must_use]
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
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

    fn owner_path(&self, blake3: &Digest) -> PathBuf {
        self.path(blake3).with_extension("owner")
    }

    /// Size of an artifact that is here, whole: one that was cut off, or lost its tree, is none. Its last group is
    /// looked at for that.
    ///
    /// # Errors
    /// [`ArtifactError::Io`].
    pub fn size(&self, blake3: &Digest) -> Result<Option<u64>, ArtifactError> {
        let length = |path: PathBuf| match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ArtifactError::from(error)),
        };
        let (size, tree) = (length(self.path(blake3))?, length(self.tree_path(blake3))?);
        let Some(size) = size.filter(|size| *size > 0 && tree == Some(tree_bytes(*size))) else { return Ok(None) };
        let last_group = (size - 1) / GROUP_BYTES * GROUP_BYTES;
        match self.encode_of(size, blake3, last_group, 0, io::sink()) {
            Ok(()) => Ok(Some(size)),
            Err(ArtifactError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to take in an artifact whose digest and size are known, in an organisation's room.
    ///
    /// # Errors
    /// [`ArtifactError::Quota`], [`ArtifactError::Full`] or [`ArtifactError::DiskFull`] when there is none;
    /// [`ArtifactError::Io`].
    pub fn receive(&self, organisation: &Name, blake3: Digest, size: u64) -> Result<Incoming, ArtifactError> {
        let directory = self.directory.join("incoming");
        let room = self.quota.reserve(organisation, size, &directory)?;
        let file = tempfile::NamedTempFile::new_in(directory)?;
        Ok(Incoming { file, blake3, size, written: 0, room })
    }

    /// Checks what came and gives it its name.
    ///
    /// # Errors
    /// [`ArtifactError`] when the bytes are not the ones announced.
    pub fn keep(&self, incoming: Incoming) -> Result<(), ArtifactError> {
        let Incoming { file, blake3, size, written, room } = incoming;
        if written != size {
            return Err(ArtifactError::Length { blake3, expected: size, actual: written });
        }
        let mut tree = self.new_tree(blake3, size)?;
        tree.init_from(io::BufReader::with_capacity(READ_BYTES, file.reopen()?))?;
        let actual = Digest(*tree.root.as_bytes());
        if actual != blake3 {
            return Err(ArtifactError::Digest { expected: blake3, actual });
        }
        let stored = self.store(file, tree.data, &blake3, room.organisation());
        match stored {
            Ok(()) => room.keep(blake3),
            // Nothing is left of what did not get its name, unless somebody else gave it one meanwhile.
            Err(_) if matches!(self.size(&blake3), Ok(None)) => {
                let _ = fs::remove_file(self.tree_path(&blake3));
                let _ = fs::remove_file(self.owner_path(&blake3));
            }
            Err(_) => {}
        }
        Ok(stored?)
    }

    /// Tree and owner first: an artifact that has its name can be served, and is somebody's.
    fn store(&self, file: tempfile::NamedTempFile, tree: File, blake3: &Digest, owner: &Name) -> io::Result<()> {
        let path = self.path(blake3);
        let shelf = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(shelf)?;
        write_whole(&self.tree_path(blake3), tree)?;
        let mut name = tempfile::NamedTempFile::new_in(self.directory.join("incoming"))?;
        name.write_all(owner.as_str().as_bytes())?;
        name.as_file().sync_all()?;
        name.persist(self.owner_path(blake3)).map_err(|error| error.error)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        sync_directory(shelf)
    }
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
    room: Reservation,
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

/// Whether a manifest's sizes are within what this node would ever store.
#[must_use]
pub fn is_storable(size: u64) -> bool {
    (1..=limits::ARTIFACT_BYTES_MAX).contains(&size)
}

//! Making a version's tree, and making sure that one is still what it was.

use super::archive;
use super::deadline::Deadline;
use super::digest;
use super::install::Held;
use super::installs::{self, Place, VersionId, VersionMeta};
use super::unpack::{self, Limits, UnpackError};
use crate::download::Verified;
use crate::files::{self, FileError, failed};
use crate::settled::{Refusal, chain};
use bao_tree::blake3;
use ledger::bounded::Version;
use ledger::id::Digest;
use ledger::patch::{Artifact, InstallerKind};
use ledger::receipt::ReasonCode;
use policy::Subscription;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Makes an empty directory for a version to grow in, under no name yet.
pub(super) fn fresh(place: &Place, id: &VersionId) -> Result<PathBuf, FileError> {
    place.make()?;
    place.discard(id)?;
    let partial = place.partial(id);
    files::private_dir(&partial)?;
    Ok(partial)
}

/// Puts a grown version onto the disk and gives it its name; its digest.
pub(super) fn name(place: &Place, id: &VersionId, meta: impl FnOnce(Digest) -> VersionMeta) -> Result<Digest, Refusal> {
    let partial = place.partial(id);
    let tree = digest::digest(&partial, true).map_err(|error| io_refusal(&error.to_string(), &error.source))?;
    place.name(id, &meta(tree))?;
    Ok(tree)
}

/// Unpacks an archive. What is unpacked is hashed on its way once more: what was verified is what is
/// applied. Blocking.
pub(super) fn unpack(held: Held, into: &Path, limits: Limits, deadline: Deadline) -> Result<(), Refusal> {
    pass_held(held, deadline, |bytes| {
        archive::unpack(BufReader::with_capacity(READ_BYTES, bytes), into, limits).map_err(refusal)
    })
}

/// Copies an artifact into a holding, hashed on its way once more. Blocking.
pub(super) fn copy_held(held: Held, to: &Path, deadline: Deadline) -> Result<(), Refusal> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(files::PRIVATE_FILE_MODE);
    let mut file = options.open(to).map_err(failed("create", to))?;
    pass_held(held, deadline, |bytes| Ok(io::copy(bytes, &mut file).map(drop).map_err(failed("write", to))?))
}

/// Hands an artifact to whoever takes it, hashed on its way once more. Blocking.
pub(super) fn pass_held<T>(
    held: Held,
    deadline: Deadline,
    take: impl FnOnce(&mut dyn Read) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let Held { artifact, bytes } = held;
    let mut passing = Passing::of(bytes, &artifact, deadline)?;
    let taken = take(&mut passing);
    deadline.check()?;
    // A byte that was changed after it was verified may look like anything: say that it was changed.
    passing.finish(&artifact)?;
    taken
}

pub(super) fn refusal(error: UnpackError) -> Refusal {
    match &error {
        UnpackError::Io { source, .. } => io_refusal(&error.to_string(), source),
        _ => Refusal::new(ReasonCode::ArchiveUnsafe, chain(&error)),
    }
}

pub(super) fn io_refusal(act: &str, error: &io::Error) -> Refusal {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let code = if full { ReasonCode::DiskFull } else { ReasonCode::Io };
    Refusal::new(code, format!("{act}: {error}"))
}

/// Hashes what passes, as long as there is time.
struct Passing {
    file: io::Take<File>,
    hasher: blake3::Hasher,
    deadline: Deadline,
}

impl Read for Passing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.check()?;
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl Passing {
    fn of(bytes: Verified, artifact: &Artifact, deadline: Deadline) -> Result<Self, Refusal> {
        let file = bytes.rewound().map_err(|error| io_refusal("read the artifact", &error))?;
        Ok(Self { file: file.take(artifact.size), hasher: blake3::Hasher::new(), deadline })
    }

    /// Makes sure that all of it, whatever was left over, is what was verified.
    fn finish(mut self, artifact: &Artifact) -> Result<(), Refusal> {
        io::copy(&mut self, &mut io::sink()).map_err(|error| io_refusal("read the artifact", &error))?;
        let actual = Digest(*self.hasher.finalize().as_bytes());
        if actual == artifact.blake3 {
            return Ok(());
        }
        let detail = format!("artifact {} was changed after it was verified: it hashes to {actual}", artifact.blake3);
        Err(Refusal::new(ReasonCode::ArtifactDigest, detail))
    }
}

/// Makes sure that a version's tree is what was once put there.
pub(super) fn check(place: &Place, id: &VersionId) -> Result<(), String> {
    let meta = place.meta(id).map_err(|error| chain(&error))?;
    let actual = digest::digest(&place.tree(id), false).map_err(|error| chain(&error))?;
    match actual == meta.tree {
        true => Ok(()),
        false => Err(format!("the tree of {id} is not what it was: its digest is {actual}, was {}", meta.tree)),
    }
}

/// Why a baseline cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Something is installed already.
    #[error("{} on channel {} has version {installed} installed", of.product, of.channel)]
    AlreadyInstalled {
        /// Of what.
        of: Subscription,
        /// What.
        installed: Version,
    },
    /// The tree has something that could not be in a patch either.
    #[error("the tree cannot be taken as a baseline")]
    Unpack(#[from] UnpackError),
    /// The tree cannot be read.
    #[error(transparent)]
    Digest(#[from] digest::DigestError),
    /// The operating system said no.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Takes a directory, or a tar archive of one, as what is installed today. It is copied; its digest is
/// returned. Blocking.
///
/// # Errors
/// [`AdoptError`]; then nothing is installed.
pub fn adopt(
    installs: &Path,
    of: &Subscription,
    version: Version,
    release: u64,
    from: &Path,
) -> Result<Digest, AdoptError> {
    if let Some(there) = installs::installed(installs, of)? {
        return Err(AdoptError::AlreadyInstalled { of: of.clone(), installed: there.meta.version });
    }
    let (place, growing) = (Place::new(installs, of), VersionId::of_baseline(Digest::ZERO));
    let partial = fresh(&place, &growing)?;
    if from.is_dir() {
        archive::copy(from, &partial, unpack::LIMITS)?;
    } else {
        let file = File::open(from).map_err(failed("open", from))?;
        archive::unpack(BufReader::with_capacity(READ_BYTES, file), &partial, unpack::LIMITS)?;
    }
    let tree = digest::digest(&partial, true)?;
    let id = VersionId::of_baseline(tree);
    place.discard(&id)?;
    std::fs::rename(&partial, place.partial(&id)).map_err(failed("rename", &partial))?;
    let kind = InstallerKind::DirectoryTree;
    place.name(&id, &VersionMeta { version, release, patch: None, tree, kind, runs_from: None })?;
    place.discard(&growing)?;
    place.switch(Some(&id))?;
    Ok(tree)
}

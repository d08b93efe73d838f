//! Making a version's tree, and making sure that one is still what it was.

use super::archive;
use super::digest;
use super::installs::{self, Place, VersionId, VersionMeta};
use super::journal::Begun;
use super::unpack::{self, Limits, UnpackError};
use crate::download::Verified;
use crate::files::{self, FileError};
use crate::settled::{Refusal, chain};
use bao_tree::blake3;
use ledger::bounded::Version;
use ledger::id::{Digest, PatchId};
use ledger::patch::{Artifact, PatchManifest};
use ledger::receipt::ReasonCode;
use policy::Subscription;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

/// A version about to be made.
pub(super) struct New {
    place: Place,
    id: VersionId,
    version: Version,
    release: u64,
    patch: Option<PatchId>,
}

impl New {
    pub(super) fn of(begun: &Begun, place: &Place, manifest: &PatchManifest) -> Self {
        Self {
            place: place.clone(),
            id: begun.to.clone(),
            version: manifest.version.clone(),
            release: manifest.release,
            patch: Some(begun.patch),
        }
    }

    /// Unpacks beside the installed version; the digest of the tree, which is on the disk then. What
    /// is unpacked is hashed on its way once more: what was verified is what is applied. Blocking.
    pub(super) fn unpack(&self, bytes: Verified, artifact: &Artifact, limits: Limits) -> Result<Digest, Refusal> {
        let partial = self.fresh()?;
        let file = bytes.rewound().map_err(|error| io_refusal("read the artifact", &error))?;
        let mut passing = Passing { file: file.take(artifact.size), hasher: blake3::Hasher::new() };
        let unpacked = archive::unpack(BufReader::with_capacity(READ_BYTES, &mut passing), &partial, limits);
        // A byte that was changed after it was verified may look like anything: say that it was changed.
        let actual = passing.finish().map_err(|error| io_refusal("read the artifact", &error))?;
        if actual != artifact.blake3 {
            let detail =
                format!("artifact {} was changed after it was verified: it hashes to {actual}", artifact.blake3);
            return Err(Refusal::new(ReasonCode::ArtifactDigest, detail));
        }
        unpacked.map_err(refusal)?;
        self.name(&partial)
    }

    fn fresh(&self) -> Result<std::path::PathBuf, FileError> {
        self.place.make()?;
        self.place.discard(&self.id)?;
        let partial = self.place.partial(&self.id);
        files::private_dir(&partial)?;
        Ok(partial)
    }

    fn name(&self, partial: &Path) -> Result<Digest, Refusal> {
        let tree = digest::digest(partial, true).map_err(|error| io_refusal(&error.to_string(), &error.source))?;
        let meta = VersionMeta { version: self.version.clone(), release: self.release, patch: self.patch, tree };
        self.place.name(&self.id, &meta)?;
        Ok(tree)
    }
}

fn refusal(error: UnpackError) -> Refusal {
    match &error {
        UnpackError::Io { source, .. } => io_refusal(&error.to_string(), source),
        _ => Refusal::new(ReasonCode::ArchiveUnsafe, chain(&error)),
    }
}

fn io_refusal(act: &str, error: &io::Error) -> Refusal {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let code = if full { ReasonCode::DiskFull } else { ReasonCode::Io };
    Refusal::new(code, format!("{act}: {error}"))
}

/// Hashes what passes.
struct Passing {
    file: io::Take<File>,
    hasher: blake3::Hasher,
}

impl Read for Passing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl Passing {
    /// The hash of all of it, whatever was left over.
    fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Digest(*self.hasher.finalize().as_bytes()))
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
    let place = Place::new(installs, of);
    let growing = New { place, id: VersionId::of_baseline(Digest::ZERO), version, release, patch: None };
    let partial = growing.fresh()?;
    if from.is_dir() {
        archive::copy(from, &partial, unpack::LIMITS)?;
    } else {
        let file = File::open(from).map_err(files::failed("open", from))?;
        archive::unpack(BufReader::with_capacity(READ_BYTES, file), &partial, unpack::LIMITS)?;
    }
    let tree = digest::digest(&partial, true)?;
    let New { place, id: growing, version, .. } = growing;
    let id = VersionId::of_baseline(tree);
    place.discard(&id)?;
    std::fs::rename(&partial, place.partial(&id)).map_err(files::failed("rename", &partial))?;
    place.name(&id, &VersionMeta { version, release, patch: None, tree })?;
    place.discard(&growing)?;
    place.switch(Some(&id))?;
    Ok(tree)
}

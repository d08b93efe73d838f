//! The packed patch on disk: written whole or not at all, read back with every byte checked.

use super::error::PackError;
use super::limits::Limits;
use super::tree::{COPY_BYTES, Node, Tree};
use crate::files::{self, FileError, StagedDirectory};
use ledger::artifact::{PayloadDigests, PayloadHasher};
use ledger::id::Digest;
use ledger::limits;
use ledger::patch::{Artifact, PatchManifest};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

/// The manifest's file within a packed patch.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The directory of artifacts within a packed patch.
pub const ARTIFACTS_DIRECTORY: &str = "artifacts";
/// Largest manifest file: what fits into a transaction, written out in JSON.
const MANIFEST_FILE_BYTES_MAX: usize = 512 * 1024;
/// Longest link target that fits into a plain header.
const PLAIN_LINK_BYTES_MAX: usize = 100;

/// A result being written beside where it will stand.
pub(super) struct Staging {
    out: PathBuf,
    directory: StagedDirectory,
}

impl Staging {
    pub(super) fn begin(out: &Path) -> Result<Self, PackError> {
        let failed = |source| PackError::Write { path: out.to_owned(), source };
        let directory = StagedDirectory::begin(out).map_err(failed)?;
        fs::create_dir(directory.path().join(ARTIFACTS_DIRECTORY)).map_err(failed)?;
        Ok(Self { out: out.to_owned(), directory })
    }

    pub(super) fn spool(&self, limits: Limits) -> Result<Tree, PackError> {
        Tree::new(limits, self.directory.path(), &self.out).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> PackError {
        PackError::Write { path: self.out.clone(), source }
    }

    /// Writes the tree as an archive named by its content.
    pub(super) fn write_artifact(&self, tree: &Tree) -> Result<PayloadDigests, PackError> {
        self.write(|sink| write_tar(tree, BufWriter::with_capacity(COPY_BYTES, sink)))
    }

    /// Takes a file as an artifact, as it is.
    pub(super) fn copy_artifact(&self, input: &Path) -> Result<PayloadDigests, PackError> {
        let from = files::open(input, "input")?;
        let (mut from, mut buffer) = (from.take(limits::ARTIFACT_BYTES_MAX.saturating_add(1)), vec![0; COPY_BYTES]);
        let mut unread = None;
        let copy = |mut sink: &mut HashingWriter| loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => sink.write_all(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    unread = Some(error);
                    return Err(kind.into());
                }
            }
        };
        let written = self.write(copy);
        // Of the two disks the one that failed is named.
        match unread {
            Some(source) => Err(FileError::Read { what: "input", path: input.to_owned(), source }.into()),
            None => written,
        }
    }

    /// Writes an artifact, which then is named by its content.
    pub(super) fn write(
        &self,
        write: impl FnOnce(&mut HashingWriter) -> io::Result<()>,
    ) -> Result<PayloadDigests, PackError> {
        let artifacts = self.directory.path().join(ARTIFACTS_DIRECTORY);
        let unnamed = artifacts.join("unnamed");
        let write = || {
            let mut sink = HashingWriter { to: File::create_new(&unnamed)?, hasher: PayloadHasher::default() };
            write(&mut sink)?;
            sink.to.sync_all()?;
            let digests = sink.hasher.finish();
            fs::rename(&unnamed, artifacts.join(digests.blake3.to_string()))?;
            Ok(digests)
        };
        write().map_err(|source| self.failed(source))
    }

    /// Where an artifact lies.
    pub(super) fn artifact(&self, blake3: &Digest) -> PathBuf {
        artifact_path(self.directory.path(), blake3)
    }

    /// Takes an artifact away again.
    pub(super) fn remove(&self, blake3: &Digest) -> Result<(), PackError> {
        fs::remove_file(self.artifact(blake3)).map_err(|source| self.failed(source))
    }

    /// Writes the manifest and puts the result where it was asked for.
    pub(super) fn finish(self, manifest: &PatchManifest) -> Result<(), PackError> {
        let mut text = serde_json::to_string_pretty(manifest).expect("a manifest has string keys and plain values");
        text.push('\n');
        let write = || {
            let mut file = File::create_new(self.directory.path().join(MANIFEST_FILE))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| self.failed(source))?;
        fs::rename(self.directory.path(), &self.out).map_err(|source| self.failed(source))
    }
}

/// Writes the tree in the one way it can be written: sorted, owned by root, without a time.
fn write_tar(tree: &Tree, to: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    for (path, node) in tree.nodes() {
        let mut header = Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(0);
        header.set_size(0);
        match node {
            Node::Directory { mode, .. } => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                archive.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Node::File { mode, offset, content } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(content.size);
                archive.append_data(&mut header, path, tree.content(*offset, content.size)?)?;
            }
            Node::Link { target } => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                if target.len() <= PLAIN_LINK_BYTES_MAX {
                    // Literally: the target is kept as it is, `.` parts and all.
                    header.set_link_name_literal(target)?;
                    archive.append_data(&mut header, path, io::empty())?;
                } else {
                    archive.append_link(&mut header, path, target)?;
                }
            }
        }
    }
    archive.into_inner()?.flush()
}

pub(super) struct HashingWriter {
    to: File,
    hasher: PayloadHasher,
}

impl Write for &mut HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A packed patch that was read back: the manifest is sound and every artifact is the one it names.
#[derive(Clone, Debug)]
pub struct PackedPatch {
    /// The manifest.
    pub manifest: PatchManifest,
    directory: PathBuf,
}

impl PackedPatch {
    /// Where an artifact lies.
    #[must_use]
    pub fn artifact(&self, blake3: &Digest) -> PathBuf {
        artifact_path(&self.directory, blake3)
    }
}

/// Where a packed patch has this artifact, after its length and digests were checked.
///
/// # Errors
/// [`PackError`] says how it differs.
pub(crate) fn artifact_file(directory: &Path, artifact: &Artifact) -> Result<PathBuf, PackError> {
    let path = artifact_path(directory, &artifact.blake3);
    check_artifact(&path, artifact)?;
    Ok(path)
}

/// Where an artifact lies within a packed patch.
fn artifact_path(directory: &Path, blake3: &Digest) -> PathBuf {
    directory.join(ARTIFACTS_DIRECTORY).join(blake3.to_string())
}

/// Reads a packed patch back. The manifest may have been edited by hand, so it is judged again, and so
/// are the artifacts: a disk forgets, and what is signed next is what everybody will trust.
///
/// # Errors
/// [`PackError`] names the file and what is wrong with it.
pub fn read_packed(directory: &Path) -> Result<PackedPatch, PackError> {
    let path = directory.join(MANIFEST_FILE);
    let manifest = parse_manifest(&path, &files::read(&path, "manifest", MANIFEST_FILE_BYTES_MAX)?)?;
    super::manifest::check(&manifest)?;
    let packed = PackedPatch { manifest, directory: directory.to_owned() };
    for artifact in packed.manifest.artifacts.iter() {
        check_artifact(&packed.artifact(&artifact.blake3), artifact)?;
    }
    Ok(packed)
}

fn parse_manifest(path: &Path, bytes: &[u8]) -> Result<PatchManifest, PackError> {
    let no_manifest = |detail: String| PackError::ManifestFormat { path: path.to_owned(), detail };
    let manifest: PatchManifest = serde_json::from_slice(bytes).map_err(|error| no_manifest(error.to_string()))?;
    // A field the ledger does not know would be left out of what is signed, silently.
    let written: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| no_manifest(error.to_string()))?;
    let meant = serde_json::to_value(&manifest).map_err(|error| no_manifest(error.to_string()))?;
    match difference(&written, &meant, "") {
        None => Ok(manifest),
        Some(place) => Err(no_manifest(format!("{place} is not what a manifest has there"))),
    }
}

/// The first place where two documents differ.
fn difference(a: &serde_json::Value, b: &serde_json::Value, place: &str) -> Option<String> {
    use serde_json::Value::{Array, Object};
    match (a, b) {
        (Object(a), Object(b)) => {
            let unknown = a.keys().chain(b.keys()).find(|key| !(a.contains_key(*key) && b.contains_key(*key)));
            match unknown {
                Some(key) => Some(format!("{place}/{key}")),
                None => a.iter().find_map(|(key, value)| difference(value, &b[key], &format!("{place}/{key}"))),
            }
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.into_iter().find_map(|(index, (a, b))| difference(a, b, &format!("{place}/{index}")))
        }
        _ if a == b => None,
        _ => Some(place.to_owned()),
    }
}

/// Length and both digests of an artifact on disk.
fn check_artifact(path: &Path, artifact: &Artifact) -> Result<(), PackError> {
    let file = files::open(path, "artifact")?;
    let actual = digest(file, artifact.size).map_err(|source| FileError::Read {
        what: "artifact",
        path: path.to_owned(),
        source,
    })?;
    let differs = |what, actual: String, expected: String| {
        Err(PackError::ArtifactDiffers { path: path.to_owned(), what, actual, expected })
    };
    if actual.size != artifact.size {
        return differs("its length", actual.size.to_string(), artifact.size.to_string());
    }
    if actual.blake3 != artifact.blake3 {
        return differs("its BLAKE3", actual.blake3.to_string(), artifact.blake3.to_string());
    }
    if actual.sha256 != artifact.sha256 {
        return differs("its SHA-256", actual.sha256.to_string(), artifact.sha256.to_string());
    }
    Ok(())
}

/// Digests of a file of `size` bytes; one byte more is enough to see that it is longer.
fn digest(file: File, size: u64) -> io::Result<PayloadDigests> {
    let mut hasher = PayloadHasher::default();
    let mut from = file.take(size.saturating_add(1));
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

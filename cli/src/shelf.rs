//! Artifacts in the layout of mirrors (protocol.md 7.11): each under its digest, with its hash tree beside it.

use crate::files::FileError;
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{CreateOutboard as _, DecodeResponseIter};
use bao_tree::io::{BaoContentItem, DecodeError};
use bao_tree::{BaoTree, BlockSize, ChunkRanges, blake3};
use ledger::artifact::{TREE_SUFFIX, shelf_path, tree_bytes};
use ledger::id::Digest;
use ledger::patch::Artifact;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// 2^4 BLAKE3 chunks of 1 KiB.
const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);
/// Anybody may read it: it is there to be served.
const MODE: u32 = 0o644;

/// A directory of artifacts.
pub(crate) struct Shelf<'a>(pub(crate) &'a Path);

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// What came is something else.
    #[error("{name}: {detail}")]
    Differs {
        /// Of the artifact.
        name: String,
        /// What does not fit.
        detail: String,
    },
}

impl Shelf<'_> {
    fn path(&self, artifact: &Artifact) -> PathBuf {
        self.0.join(shelf_path(&artifact.blake3))
    }

    /// Whether an artifact is there, with its tree: by their lengths, as whoever fetches it checks it anyway.
    pub(crate) fn has(&self, artifact: &Artifact) -> bool {
        let path = self.path(artifact);
        let is =
            |path: &Path, length: u64| fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == length);
        is(&path, artifact.size) && is(&tree_path(&path), tree_bytes(artifact.size))
    }

    /// Takes an artifact in its plain form. Blocking.
    pub(crate) fn take_plain(&self, artifact: &Artifact, from: impl Read) -> Result<(), ShelfError> {
        self.take(artifact, |file| io::copy(&mut from.take(artifact.size.saturating_add(1)), file).map(|_| None))
    }

    /// Takes an artifact in its self-checking form, as nodes give it. Blocking.
    pub(crate) fn take_checked(&self, artifact: &Artifact, from: impl Read) -> Result<(), ShelfError> {
        self.take(artifact, |file| {
            let (tree, all) = (BaoTree::new(artifact.size, BLOCK_SIZE), ChunkRanges::all());
            let root = blake3::Hash::from_bytes(artifact.blake3.0);
            for item in DecodeResponseIter::new(root, tree, from, &all) {
                match item {
                    Ok(BaoContentItem::Leaf(leaf)) => file.write_all(&leaf.data)?,
                    Ok(BaoContentItem::Parent(_)) => {}
                    Err(DecodeError::Io(error)) => return Err(error),
                    Err(error) => return Ok(Some(error.to_string())),
                }
            }
            Ok(None)
        })
    }

    /// Writes an artifact and its tree; neither has its name before both are whole and right, and the tree has it first.
    fn take(
        &self,
        artifact: &Artifact,
        write: impl FnOnce(&mut File) -> io::Result<Option<String>>,
    ) -> Result<(), ShelfError> {
        let path = self.path(artifact);
        let failed = |source| FileError::Write { path: path.clone(), source };
        let differs = |detail: String| ShelfError::Differs { name: artifact.name.to_string(), detail };
        let directory = path.parent().unwrap_or(self.0);
        fs::create_dir_all(directory).map_err(failed)?;
        let temporary = || NamedTempFile::with_prefix_in(".countersign-", directory).map_err(failed);
        let (mut payload, mut tree) = (temporary()?, temporary()?);
        if let Some(wrong) = write(payload.as_file_mut()).map_err(failed)? {
            return Err(differs(wrong));
        }
        let length = payload.as_file().metadata().map_err(failed)?.len();
        if length != artifact.size {
            return Err(differs(format!("{length} bytes came, {} were signed", artifact.size)));
        }
        let made = make_tree(payload.as_file_mut(), length, tree.as_file_mut()).map_err(failed)?;
        if made != artifact.blake3 {
            return Err(differs(format!("its BLAKE3 is {made}, {} was signed", artifact.blake3)));
        }
        for (file, name) in [(tree, tree_path(&path)), (payload, path.clone())] {
            file.as_file().set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
            file.as_file().sync_all().map_err(failed)?;
            file.persist(&name).map_err(|error| failed(error.error))?;
        }
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(())
    }
}

fn make_tree(payload: &mut File, size: u64, into: &mut File) -> io::Result<Digest> {
    payload.seek(SeekFrom::Start(0))?;
    let tree = BaoTree::new(size, BLOCK_SIZE);
    let mut made = PreOrderOutboard { root: blake3::Hash::from_bytes(Digest::ZERO.0), tree, data: into };
    made.init_from(io::BufReader::new(payload))?;
    Ok(Digest(*made.root.as_bytes()))
}

fn tree_path(path: &Path) -> PathBuf {
    path.with_extension(TREE_SUFFIX.trim_start_matches('.'))
}

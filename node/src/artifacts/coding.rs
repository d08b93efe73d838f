//! The self-checking form of artifacts (docs/protocol.md 7.2): written for others, and read from them.

use super::{ArtifactError, Artifacts, BLOCK_SIZE, Incoming};
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::round_up_to_chunks_groups;
use bao_tree::io::sync::{decode_ranges, encode_ranges_validated};
use bao_tree::io::{DecodeError, EncodeError};
use bao_tree::{BaoTree, ByteRanges, ChunkRanges};
use ledger::artifact::GROUP_BYTES;
use ledger::id::Digest;
use std::fs::File;
use std::io::{self, Read, Write};

impl Artifacts {
    pub(super) fn new_tree(&self, blake3: Digest, size: u64) -> io::Result<PreOrderOutboard<File>> {
        Ok(PreOrderOutboard {
            root: blake3::Hash::from_bytes(blake3.0),
            tree: BaoTree::new(size, BLOCK_SIZE),
            data: tempfile::tempfile_in(self.directory.join("incoming"))?,
        })
    }

    /// Writes a range in the self-checking form. Blocking.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn encode(&self, blake3: &Digest, offset: u64, length: u64, to: impl Write) -> Result<(), ArtifactError> {
        let size = self.size(blake3)?.ok_or(ArtifactError::Absent(*blake3))?;
        self.encode_of(size, blake3, offset, length, to)
    }

    /// The same of one whose size is known, whether all of it is there or not.
    pub(super) fn encode_of(
        &self,
        size: u64,
        blake3: &Digest,
        offset: u64,
        length: u64,
        to: impl Write,
    ) -> Result<(), ArtifactError> {
        let ranges = ranges(size, offset, length)?;
        let data = File::open(self.path(blake3))?;
        let tree = PreOrderOutboard {
            root: blake3::Hash::from_bytes(blake3.0),
            tree: BaoTree::new(size, BLOCK_SIZE),
            data: File::open(self.tree_path(blake3))?,
        };
        encode_ranges_validated(&data, &tree, &ranges, to).map_err(|error| match error {
            EncodeError::LeafHashMismatch(chunk) => ArtifactError::Damaged { blake3: *blake3, place: chunk.to_bytes() },
            EncodeError::Io(error) => ArtifactError::Io(error),
            _ => ArtifactError::Damaged { blake3: *blake3, place: 0 },
        })
    }

    /// Takes in the self-checking form of a whole artifact, into the room made for it; each group is checked
    /// before it is written. Blocking.
    ///
    /// # Errors
    /// [`ArtifactError::Forged`] at the first group that does not belong; [`ArtifactError::Broken`] when there
    /// is not all of it.
    pub fn decode(&self, mut incoming: Incoming, from: impl Read) -> Result<(), ArtifactError> {
        let blake3 = incoming.blake3;
        let tree = self.new_tree(blake3, incoming.size)?;
        decode_ranges(from, &ChunkRanges::all(), incoming.file.reopen()?, tree).map_err(|error| match error {
            DecodeError::Io(error) => ArtifactError::Io(error),
            DecodeError::ParentNotFound(_) | DecodeError::LeafNotFound(_) => {
                ArtifactError::Broken(io::ErrorKind::UnexpectedEof.into())
            }
            DecodeError::ParentHashMismatch(_) | DecodeError::LeafHashMismatch(_) => ArtifactError::Forged(blake3),
        })?;
        incoming.written = incoming.size;
        self.keep(incoming)
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

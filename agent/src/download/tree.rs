//! Hash trees of artifacts, as mirrors and directories have them beside each: what lets plain bytes be checked group
//! by group (protocol.md 7.12).

use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{CreateOutboard as _, valid_outboard_ranges};
use bao_tree::iter::{BaoChunk, ResponseIter};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges, blake3};
use ledger::artifact::{PAIR_BYTES, tree_bytes};
use ledger::id::Digest;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

/// 2^4 BLAKE3 chunks of 1 KiB.
pub(super) const BLOCK_SIZE: BlockSize = BlockSize::from_chunk_log(4);
/// Bytes of a BLAKE3 chunk.
const CHUNK_BYTES: u64 = 1024;

/// Everything from an offset on.
pub(super) fn ranges_from(offset: u64, size: u64) -> ChunkRanges {
    ChunkRanges::from(ChunkNum(offset / CHUNK_BYTES)..ChunkNum(size.div_ceil(CHUNK_BYTES)))
}

fn outboard<D>(blake3: Digest, size: u64, data: D) -> PreOrderOutboard<D> {
    PreOrderOutboard { root: blake3::Hash::from_bytes(blake3.0), tree: BaoTree::new(size, BLOCK_SIZE), data }
}

/// Makes the tree of a payload into an empty file; the payload's digest.
pub(crate) fn make(payload: &File, size: u64, into: &File) -> io::Result<Digest> {
    let mut payload = payload.try_clone()?;
    payload.seek(SeekFrom::Start(0))?;
    let mut made = outboard(Digest::ZERO, size, into.try_clone()?);
    made.init_from(io::BufReader::new(payload.take(size)))?;
    Ok(Digest(*made.root.as_bytes()))
}

/// Whether all of a tree belongs to a digest.
pub(super) fn check(tree: &File, blake3: Digest, size: u64) -> io::Result<bool> {
    if tree.metadata()?.len() != tree_bytes(size) {
        return Ok(false);
    }
    let all = ChunkRanges::from(..ChunkNum(size.div_ceil(CHUNK_BYTES)));
    let mut valid = ChunkRanges::empty();
    for range in valid_outboard_ranges(outboard(blake3, size, tree), &all) {
        valid |= ChunkRanges::from(range?);
    }
    Ok(all.is_subset(&valid))
}

/// A plain payload from an offset on, with what its tree says between: the self-checking form.
pub(super) struct Woven<R> {
    tree: Option<File>,
    payload: R,
    parts: ResponseIter,
    pair: io::Cursor<Vec<u8>>,
    /// What is left of the group being read.
    group: usize,
}

impl<R: Read> Woven<R> {
    /// `tree` may be absent where there is none to have: an artifact of one group.
    pub(super) fn new(tree: Option<File>, payload: R, size: u64, offset: u64) -> Self {
        let parts = ResponseIter::new(BaoTree::new(size, BLOCK_SIZE), ranges_from(offset, size));
        Self { tree, payload, parts, pair: io::Cursor::new(Vec::new()), group: 0 }
    }
}

impl<R: Read> Read for Woven<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.pair.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            if self.group > 0 {
                let most = self.group.min(buffer.len());
                let read = self.payload.read(&mut buffer[..most])?;
                self.group -= read;
                return Ok(read);
            }
            match (self.parts.next(), &self.tree) {
                (Some(BaoChunk::Leaf { size, .. }), _) => self.group = size,
                (Some(BaoChunk::Parent { node, .. }), Some(tree)) => {
                    let place = self.parts.tree().pre_order_offset(node).ok_or(io::ErrorKind::InvalidData)?;
                    let mut pair = vec![0; PAIR_BYTES as usize];
                    tree.read_exact_at(&mut pair, place.saturating_mul(PAIR_BYTES))?;
                    self.pair = io::Cursor::new(pair);
                }
                (Some(BaoChunk::Parent { .. }), None) | (None, _) => return Ok(0),
            }
        }
    }
}

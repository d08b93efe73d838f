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

/// Everything from an offset on. Without an end: one within the last group would ask for what is inside of it, which no
/// tree has.
pub(super) fn ranges_from(offset: u64) -> ChunkRanges {
    ChunkRanges::from(ChunkNum(offset / CHUNK_BYTES)..)
}

fn outboard<D>(blake3: Digest, size: u64, data: D) -> PreOrderOutboard<D> {
    PreOrderOutboard { root: blake3::Hash::from_bytes(blake3.0), tree: BaoTree::new(size, BLOCK_SIZE), data }
}

/// Makes the tree of a payload into an empty file; the payload's digest.
///
/// # Errors
/// The disk's.
pub fn make(payload: &File, size: u64, into: &File) -> io::Result<Digest> {
    let mut payload = payload.try_clone()?;
    payload.seek(SeekFrom::Start(0))?;
    let mut made = outboard(Digest::ZERO, size, into.try_clone()?);
    made.init_from(io::BufReader::new(payload.take(size)))?;
    Ok(Digest(*made.root.as_bytes()))
}

/// Whether all of a tree belongs to a digest.
///
/// # Errors
/// The disk's.
pub fn check(tree: &File, blake3: Digest, size: u64) -> io::Result<bool> {
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
pub struct Woven<R> {
    tree: Option<File>,
    payload: R,
    parts: ResponseIter,
    pair: io::Cursor<Vec<u8>>,
    /// What is left of the group being read.
    group: usize,
}

impl<R: Read> Woven<R> {
    /// `tree` may be absent where there is none to have: an artifact of one group.
    #[must_use]
    pub fn new(tree: Option<File>, payload: R, size: u64, offset: u64) -> Self {
        let parts = ResponseIter::new(BaoTree::new(size, BLOCK_SIZE), ranges_from(offset));
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

#[cfg(test)]
mod tests {
    use super::super::stream::check_and_write;
    use super::*;
    use ledger::artifact::GROUP_BYTES;

    /// Bytes no two groups of which are alike, in a file.
    fn payload(size: u64) -> (Vec<u8>, File) {
        let mut bytes: Vec<u8> = (0..size).map(|place| (place / 7 % 251) as u8).collect();
        for (number, group) in bytes.chunks_mut(GROUP_BYTES as usize).enumerate() {
            group[0] = u8::try_from(number).unwrap();
        }
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        (bytes, file)
    }

    /// Sizes at which groups and chunks end, and between.
    const SIZES: [u64; 14] =
        [1, 1_023, 1_024, 1_025, 16_383, 16_384, 16_385, 17_408, 32_768, 49_152, 145_408, 163_840, 163_841, 200_000];

    #[test]
    fn plain_bytes_with_their_tree_are_checked_from_every_group_on() {
        for size in SIZES {
            let (bytes, file) = payload(size);
            let (blake3, tree) = (Digest::blake3(&bytes), tempfile::tempfile().unwrap());
            assert_eq!(make(&file, size, &tree).unwrap(), blake3, "{size}");
            assert!(check(&tree, blake3, size).unwrap(), "{size}");
            for offset in (0..size).step_by(GROUP_BYTES as usize) {
                let into = tempfile::tempfile().unwrap();
                let begins = usize::try_from(offset).unwrap();
                into.write_all_at(&bytes[..begins], 0).unwrap();
                let woven = |rest| Woven::new(Some(tree.try_clone().unwrap()), rest, size, offset);
                check_and_write(&into, blake3, size, offset, woven(&bytes[begins..])).unwrap();
                let mut there = vec![0; bytes.len()];
                into.read_exact_at(&mut there, 0).unwrap();
                assert_eq!(there, bytes, "{size} from {offset}");

                let mut wrong = bytes[begins..].to_vec();
                *wrong.last_mut().unwrap() ^= 1;
                assert!(check_and_write(&into, blake3, size, offset, woven(&wrong)).is_err(), "{size} from {offset}");
            }
        }
    }

    #[test]
    fn a_tree_with_one_wrong_bit_is_none() {
        for size in SIZES {
            let (bytes, file) = payload(size);
            let (blake3, tree) = (Digest::blake3(&bytes), tempfile::tempfile().unwrap());
            make(&file, size, &tree).unwrap();
            for place in 0..tree_bytes(size) {
                let mut byte = [0];
                tree.read_exact_at(&mut byte, place).unwrap();
                tree.write_all_at(&[byte[0] ^ 1], place).unwrap();
                assert!(!check(&tree, blake3, size).unwrap(), "{size}: {place}");
                tree.write_all_at(&byte, place).unwrap();
            }
            tree.set_len(tree_bytes(size) + 1).unwrap();
            assert!(!check(&tree, blake3, size).unwrap());
        }
    }
}

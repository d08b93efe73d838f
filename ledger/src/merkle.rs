//! The Merkle tree over one block's transactions: built with `rs_merkle`, verified by our own code.
//!
//! `rs_merkle`'s verifier can be made to accept a forged leaf (it takes the tree's shape from the
//! proof), so it is never asked about a proof from outside. Ours takes leaf index and leaf count from
//! the certified header and follows RFC 9162 §2.1.3.2.

use crate::id::{Digest, context, derive};
use rs_merkle::{Hasher, MerkleTree};

/// Leaves and nodes hashed under contexts of their own: that separates the two without the second
/// compression a prefix byte costs.
#[derive(Clone)]
struct BlockHasher;

impl Hasher for BlockHasher {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        derive(&context::BLOCK_LEAF, data)
    }

    /// A node without a right sibling moves up unchanged: the RFC 6962 shape.
    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        right.map_or(*left, |right| node(left, right))
    }
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut both = [0; 64];
    both[..32].copy_from_slice(left);
    both[32..].copy_from_slice(right);
    derive(&context::BLOCK_NODE, &both)
}

fn tree<'a>(leaves: impl Iterator<Item = &'a [u8]>) -> MerkleTree<BlockHasher> {
    MerkleTree::from_leaves(&leaves.map(BlockHasher::hash).collect::<Vec<_>>())
}

/// Root over leaves in order. Without leaves: `derive_key("countersign/v1/block-empty", "")`.
#[must_use]
pub fn root<'a>(leaves: impl Iterator<Item = &'a [u8]>) -> Digest {
    Digest(tree(leaves).root().unwrap_or_else(|| derive(&context::BLOCK_EMPTY, &[])))
}

/// The path from leaf `index` to the root: sibling hashes, lowest first. `None` when there is no such
/// leaf.
#[must_use]
pub fn path<'a>(leaves: impl Iterator<Item = &'a [u8]>, index: usize) -> Option<Vec<Digest>> {
    let tree = tree(leaves);
    (index < tree.leaves_len()).then(|| tree.proof(&[index]).proof_hashes().iter().map(|hash| Digest(*hash)).collect())
}

/// Why a path does not lead from the leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No such leaf.
    #[error("index {index} in a tree of {count} leaves")]
    IndexOutOfRange {
        /// Index claimed.
        index: u64,
        /// Leaves in the tree.
        count: u64,
    },
    /// A path to this leaf in this tree has another length.
    #[error("path to leaf {index} of {count} has {actual} hashes, must have another number")]
    WrongLength {
        /// Index claimed.
        index: u64,
        /// Leaves in the tree.
        count: u64,
        /// Hashes given.
        actual: usize,
    },
    /// The path ends at another root.
    #[error("path leads to root {actual}, header has {expected}")]
    WrongRoot {
        /// Root computed.
        actual: Digest,
        /// Root required.
        expected: Digest,
    },
}

/// Checks that `leaf` is at `index` of the tree with `count` leaves and this root.
///
/// # Errors
/// [`PathError`] names what does not fit.
pub fn verify(root: &Digest, count: u64, index: u64, leaf: &[u8], path: &[Digest]) -> Result<(), PathError> {
    follow(root, count, index, BlockHasher::hash(leaf), path, node)
}

/// RFC 9162 §2.1.3.2 over any leaf and node hash; the history tree uses it too.
pub(crate) fn follow(
    root: &Digest,
    count: u64,
    index: u64,
    leaf: [u8; 32],
    path: &[Digest],
    node: impl Fn(&[u8; 32], &[u8; 32]) -> [u8; 32],
) -> Result<(), PathError> {
    // 1. Compare leaf_index from the inclusion_proof with tree_size.
    if index >= count {
        return Err(PathError::IndexOutOfRange { index, count });
    }
    let wrong_length = PathError::WrongLength { index, count, actual: path.len() };
    // 2. Set fn to leaf_index and sn to tree_size - 1.
    let (mut position, mut last) = (index, count - 1);
    // 3. Set r to hash.
    let mut hash = leaf;
    // 4. For each value p in the inclusion_path array:
    for sibling in path {
        // a. If sn is 0, then stop the iteration and fail the proof verification.
        if last == 0 {
            return Err(wrong_length);
        }
        // b. If LSB(fn) is set, or if fn is equal to sn, then
        if position & 1 == 1 || position == last {
            hash = node(&sibling.0, &hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, &sibling.0);
        }
        // c. Right-shift both fn and sn one time.
        position >>= 1;
        last >>= 1;
    }
    // 5. Compare sn to 0, and r to the root_hash.
    if last != 0 {
        return Err(wrong_length);
    }
    if hash != root.0 {
        return Err(PathError::WrongRoot { actual: Digest(hash), expected: *root });
    }
    Ok(())
}

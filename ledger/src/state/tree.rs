//! The authenticated state: a Jellyfish Merkle tree (crate `jmt`) over all records, and proofs that a
//! record is there or is not.
//!
//! Hashing (docs/protocol.md §5), all under the context `countersign/v1/state-tree`:
//! value `H(record)`, leaf `H("JMT::LeafNode" ‖ key ‖ value hash)`, node
//! `H("JMT::IntrnalNode" ‖ left ‖ right)`, empty `"SPARSE_MERKLE_PLACEHOLDER_HASH__"`.

use super::storage::{StateStorage, StorageError};
use crate::bounded::List;
use crate::id::{Digest, context};
use crate::limits;
use crate::state::StateKey;
use jmt::storage::{LeafNode, NibblePath, Node, NodeKey, TreeReader};
use jmt::{JellyfishMerkleTree, KeyHash, SimpleHasher};
use serde::{Deserialize, Serialize};

/// Hash of an empty subtree.
pub(super) const EMPTY: [u8; 32] = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";
const LEAF_TAG: &[u8] = b"JMT::LeafNode";
const NODE_TAG: &[u8] = b"JMT::IntrnalNode";

struct StateHasher(blake3::Hasher);

impl SimpleHasher for StateHasher {
    fn new() -> Self {
        Self(context::STATE_TREE.hasher())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

pub(super) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = StateHasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

pub(super) fn leaf_hash(key: &StateKey, value_hash: &[u8; 32]) -> [u8; 32] {
    hash(&[LEAF_TAG, &key.0, value_hash])
}

pub(super) fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    hash(&[NODE_TAG, left, right])
}

/// What one block changes in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeUpdate {
    /// Version of the tree afterwards: the number of blocks that changed it.
    pub version: u64,
    /// State root afterwards.
    pub root: Digest,
    /// Records to write.
    pub records: Vec<(StateKey, Vec<u8>)>,
    /// Tree nodes to write.
    pub nodes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Tree nodes no longer needed.
    pub stale: Vec<Vec<u8>>,
}

/// Lets `jmt` read our storage.
struct Reader<'a, S>(&'a S);

impl<S: StateStorage> TreeReader for Reader<'_, S> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let key = borsh::to_vec(key)?;
        let node = self.0.tree_node(&key)?;
        Ok(node.map(|bytes| borsh::from_slice(&bytes)).transpose()?)
    }

    fn get_value_option(&self, _: jmt::Version, key: KeyHash) -> anyhow::Result<Option<jmt::OwnedValue>> {
        Ok(self.0.record(&StateKey(key.0))?)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Err(anyhow::anyhow!("only restoring a tree asks for its rightmost leaf"))
    }
}

fn unreadable(error: impl std::fmt::Display) -> StorageError {
    StorageError::new("state tree", error.to_string())
}

/// The state's place in its storage: which version of the tree is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of blocks that changed the tree, genesis included.
    pub version: u64,
    /// Root of that version.
    pub root: Digest,
}

/// Puts records into the tree. Without records, nothing changes and the version stays.
///
/// # Errors
/// [`StorageError`] when nodes are missing or unreadable.
pub fn update<S: StateStorage>(
    storage: &S,
    head: Option<TreeHead>,
    records: Vec<(StateKey, Vec<u8>)>,
) -> Result<TreeUpdate, StorageError> {
    if let (Some(head), true) = (head, records.is_empty()) {
        let (nodes, stale) = (Vec::new(), Vec::new());
        return Ok(TreeUpdate { version: head.version, root: head.root, records, nodes, stale });
    }
    let version = head.map_or(0, |head| head.version + 1);
    let reader = Reader(storage);
    let tree = JellyfishMerkleTree::<_, StateHasher>::new(&reader);
    let values = records.iter().map(|(key, record)| (KeyHash(key.0), Some(record.clone())));
    let (root, batch) = tree.put_value_set(values, version).map_err(unreadable)?;
    let encode = |key: &NodeKey| borsh::to_vec(key).map_err(unreadable);
    let nodes = batch.node_batch.nodes().iter();
    Ok(TreeUpdate {
        version,
        root: Digest(root.0),
        records,
        nodes: nodes
            .map(|(key, node)| Ok((encode(key)?, borsh::to_vec(node).map_err(unreadable)?)))
            .collect::<Result<_, StorageError>>()?,
        stale: batch
            .stale_node_index_batch
            .iter()
            .map(|stale| encode(&stale.node_key))
            .collect::<Result<_, StorageError>>()?,
    })
}

/// Examines the whole tree: every node is the one its parent names, every leaf is of a record that is there.
/// Gives the number of nodes.
///
/// # Errors
/// [`StorageError`] names the first node that is not what it must be.
pub fn examine<S: StateStorage>(storage: &S, head: TreeHead) -> Result<u64, StorageError> {
    let mut nodes = 0;
    examine_node(storage, head.version, &mut Vec::new(), &head.root.0, &mut nodes)?;
    Ok(nodes)
}

/// One node and what is below; gives the number of leaves.
fn examine_node<S: StateStorage>(
    storage: &S,
    version: u64,
    path: &mut Vec<u8>,
    expected: &[u8; 32],
    nodes: &mut u64,
) -> Result<usize, StorageError> {
    let place = |path: &[u8]| path.iter().map(|nibble| format!("{nibble:x}")).collect::<String>();
    let damaged = |path: &[u8], detail: &str| unreadable(format!("node {version}/{}: {detail}", place(path)));
    let key = NodeKey::new(version, path.iter().map(|nibble| (*nibble).into()).collect::<NibblePath>());
    let bytes = storage.tree_node(&borsh::to_vec(&key).map_err(unreadable)?)?;
    let bytes = bytes.ok_or_else(|| damaged(path, "missing"))?;
    *nodes += 1;
    match borsh::from_slice(&bytes).map_err(|error| damaged(path, &error.to_string()))? {
        Node::Null => Err(damaged(path, "empty")),
        Node::Leaf(leaf) => {
            let key = StateKey(leaf.key_hash().0);
            let record = storage.record(&key)?.ok_or_else(|| damaged(path, "a leaf without its record"))?;
            let is_right = leaf_hash(&key, &hash(&[&record])) == *expected;
            let is_itself = leaf.hash::<StateHasher>() == *expected;
            if is_right && is_itself { Ok(1) } else { Err(damaged(path, "not what its parent names")) }
        }
        Node::Internal(node) => {
            if node.hash::<StateHasher>() != *expected {
                return Err(damaged(path, "not what its parent names"));
            }
            let mut leaves = 0;
            for (nibble, child) in node.children_sorted() {
                path.push(nibble.into());
                let below = examine_node(storage, child.version, path, &child.hash, nodes)?;
                path.pop();
                if below != child.leaf_count() {
                    return Err(damaged(path, "counts other leaves than there are"));
                }
                leaves += below;
            }
            if leaves == node.leaf_count() { Ok(leaves) } else { Err(damaged(path, "counts other leaves")) }
        }
    }
}

/// What stands at the end of a path in the state tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum PathEnd {
    /// The record.
    Present(Vec<u8>),
    /// Nothing.
    Empty,
    /// Another record's leaf, whose key shares the path so far.
    Other { key: StateKey, value_hash: Digest },
}

/// Proof that a record is in the state, or that none is under its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProof {
    end: PathEnd,
    /// Siblings from the leaf up; an absent one is an empty subtree.
    siblings: List<Option<Digest>, { limits::STATE_PATH_MAX }>,
}

/// A state proof that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateProofError {
    /// The path ends at another root.
    #[error("path leads to state root {actual}, header has {expected}")]
    WrongRoot {
        /// Root computed.
        actual: Digest,
        /// Root required.
        expected: Digest,
    },
    /// An empty subtree is spelled out: it has one spelling, the absent sibling, or one proof would
    /// have many files.
    #[error("an empty subtree is spelled out as a hash")]
    EmptySpelledOut,
    /// The leaf shown for absence is not on the way to the key.
    #[error("absence shown by a leaf that is elsewhere")]
    UnrelatedLeaf,
}

impl StateProof {
    /// Checks the proof and gives the record's bytes, or `None` when it proves there is no record.
    ///
    /// # Errors
    /// [`StateProofError`].
    pub fn verify(&self, root: &Digest, key: &StateKey) -> Result<Option<&[u8]>, StateProofError> {
        if self.siblings.contains(&Some(Digest(EMPTY))) {
            return Err(StateProofError::EmptySpelledOut);
        }
        let (mut current, record) = match &self.end {
            PathEnd::Present(record) => (leaf_hash(key, &hash(&[record])), Some(record.as_slice())),
            PathEnd::Empty => (EMPTY, None),
            PathEnd::Other { key: other, value_hash } => {
                if other == key || common_bits(key, other) < self.siblings.len() {
                    return Err(StateProofError::UnrelatedLeaf);
                }
                (leaf_hash(other, &value_hash.0), None)
            }
        };
        for (height, sibling) in self.siblings.iter().enumerate() {
            let sibling = sibling.map_or(EMPTY, |digest| digest.0);
            let depth = self.siblings.len() - 1 - height;
            current = if key.bit(depth) { node_hash(&sibling, &current) } else { node_hash(&current, &sibling) };
        }
        if current != root.0 {
            return Err(StateProofError::WrongRoot { actual: Digest(current), expected: *root });
        }
        Ok(record)
    }
}

pub(super) fn common_bits(a: &StateKey, b: &StateKey) -> usize {
    (0..256).take_while(|place| a.bit(*place) == b.bit(*place)).count()
}

/// `jmt`'s sibling, read back from its serialisation: it keeps its parts to itself.
#[derive(borsh::BorshDeserialize)]
enum JmtSibling {
    Null,
    Internal { left: [u8; 32], right: [u8; 32] },
    Leaf { key: [u8; 32], value_hash: [u8; 32] },
}

#[derive(borsh::BorshDeserialize)]
struct JmtLeaf {
    key: [u8; 32],
    value_hash: [u8; 32],
}

#[derive(borsh::BorshDeserialize)]
struct JmtProof {
    leaf: Option<JmtLeaf>,
    siblings: Vec<JmtSibling>,
}

/// Proves what is, or that nothing is, under a key in the newest state.
///
/// # Errors
/// [`StorageError`] when nodes are missing or unreadable.
pub fn prove<S: StateStorage>(storage: &S, head: TreeHead, key: &StateKey) -> Result<StateProof, StorageError> {
    let reader = Reader(storage);
    let tree = JellyfishMerkleTree::<_, StateHasher>::new(&reader);
    let (record, proof) = tree.get_with_proof(KeyHash(key.0), head.version).map_err(unreadable)?;
    let proof: JmtProof = borsh::from_slice(&borsh::to_vec(&proof).map_err(unreadable)?).map_err(unreadable)?;
    let end = match (record, proof.leaf) {
        (Some(record), _) => PathEnd::Present(record),
        (None, None) => PathEnd::Empty,
        (None, Some(leaf)) => PathEnd::Other { key: StateKey(leaf.key), value_hash: Digest(leaf.value_hash) },
    };
    let siblings = proof
        .siblings
        .iter()
        .map(|sibling| match sibling {
            JmtSibling::Null => None,
            JmtSibling::Internal { left, right } => Some(Digest(node_hash(left, right))),
            JmtSibling::Leaf { key, value_hash } => Some(Digest(leaf_hash(&StateKey(*key), value_hash))),
        })
        .collect();
    Ok(StateProof { end, siblings: List::new(siblings).map_err(unreadable)? })
}

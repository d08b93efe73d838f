//! The three trees. Roots and paths are computed a second time as sentences 3.6, 4.1 to 4.3 and 5.6 define
//! them, by recursion over all leaves; and of paths from outside exactly the right one is accepted.

use crate::choices::{Choices, alter_list};
use crate::parts::{EMPTY, StateProofParts};
use ledger::encoding::encode;
use ledger::id::Digest;
use ledger::state::StateKey;
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, TreeHead};
use ledger::{history, merkle};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Leaves of one tree.
const LEAVES_MAX: usize = 140;
/// Records of one state.
const RECORDS_MAX: usize = 24;
/// Blocks that make one history or state.
const STEPS_MAX: usize = 4;
/// What is done to one path.
const DEEDS_MAX: usize = 4;

/// The hashes of a tree of RFC 6962 shape.
struct Shape {
    leaf: fn(&[u8]) -> Digest,
    node: fn(&Digest, &Digest) -> Digest,
    empty: fn() -> Digest,
}

const BLOCK: Shape = Shape {
    leaf: |data| Digest(blake3::derive_key("countersign/v1/block-leaf", data)),
    node: |a, b| Digest(blake3::derive_key("countersign/v1/block-node", &[a.0, b.0].concat())),
    empty: || Digest(blake3::derive_key("countersign/v1/block-empty", b"")),
};

const HISTORY: Shape = Shape {
    leaf: |data| Digest(Sha256::digest([&[0], data].concat()).into()),
    node: |a, b| Digest(Sha256::digest([&[1], &a.0[..], &b.0[..]].concat()).into()),
    empty: || Digest(Sha256::digest([]).into()),
};

impl Shape {
    /// MTH of RFC 6962, 2.1.
    fn root(&self, leaves: &[Vec<u8>]) -> Digest {
        match leaves {
            [] => (self.empty)(),
            [leaf] => (self.leaf)(leaf),
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                (self.node)(&self.root(left), &self.root(right))
            }
        }
    }

    /// PATH of RFC 6962, 2.1.1.
    fn path(&self, leaves: &[Vec<u8>], index: usize) -> Vec<Digest> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut path, other) = if index < left.len() {
            (self.path(left, index), self.root(right))
        } else {
            (self.path(right, index - left.len()), self.root(left))
        };
        path.push(other);
        path
    }

    /// Alters an honest path; whatever comes of it is accepted exactly if it is the honest path of its leaf.
    fn check(
        &self,
        choices: &mut Choices<'_>,
        leaves: &[Vec<u8>],
        index: usize,
        verify: impl Fn(&Digest, u64, u64, &[u8], &[Digest]) -> bool,
    ) {
        let (root, count) = (self.root(leaves), leaves.len() as u64);
        let (mut at, mut leaf, mut path) = (index as u64, leaves[index].clone(), self.path(leaves, index));
        assert!(verify(&root, count, at, &leaf, &path), "an honest path is refused");
        for _ in 0..DEEDS_MAX {
            if !choices.any() {
                break;
            }
            match choices.below(7) {
                0 => at = choices.number(at),
                1 => leaf.push(choices.byte()),
                2 => leaf = choices.of(leaves).cloned().unwrap_or_default(),
                3 => leaf = path.iter().take(2).flat_map(|hash| hash.0).collect(),
                4 => path = self.path(leaves, choices.below(leaves.len())),
                5 => alter_list(choices, &mut path, &[root, (self.leaf)(&leaf), Digest::ZERO]),
                _ => {
                    let place = choices.below(path.len());
                    path.get_mut(place).map(|hash| hash.0[choices.below(32)] ^= choices.byte()).unwrap_or_default();
                }
            }
            let honest = usize::try_from(at).ok().filter(|at| *at < leaves.len());
            let honest = honest.is_some_and(|at| leaf == leaves[at] && path == self.path(leaves, at));
            assert_eq!(verify(&root, count, at, &leaf, &path), honest, "leaf {at} of {count}");
            // Root and count come from a certified header. Should they not, nothing may break.
            verify(&Digest([choices.byte(); 32]), choices.number(count), at, &leaf, &path);
        }
    }
}

/// The largest power of two smaller than `count`.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// Leaves of all lengths, some of them equal.
fn leaves(choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
    let (count, period) = (1 + choices.below(LEAVES_MAX), 1 + choices.below(LEAVES_MAX));
    (0..count).map(|number| vec![(number % period) as u8; number % period % 67]).collect()
}

/// A block's tree (3.6): built with the library in use, verified by our own code.
pub fn block_path(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let leaves = leaves(&mut choices);
    let index = choices.below(leaves.len());
    let slices = || leaves.iter().map(Vec::as_slice);
    assert_eq!(merkle::root(slices()), BLOCK.root(&leaves));
    assert_eq!(merkle::path(slices(), index), Some(BLOCK.path(&leaves, index)));
    assert_eq!(merkle::path(slices(), leaves.len()), None);
    assert_eq!(merkle::root(std::iter::empty()), (BLOCK.empty)());
    BLOCK.check(&mut choices, &leaves, index, |root, count, at, leaf, path| {
        merkle::verify(root, count, at, leaf, path).is_ok()
    });
}

/// The history (4.1), grown in steps, proven at any size it had.
pub fn history_path(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut leaves = leaves(&mut choices);
    let (mut storage, mut size) = (MemoryStorage::default(), 0);
    for left in (0..STEPS_MAX).rev() {
        let step = if left == 0 { leaves.len() } else { choices.below(leaves.len()) }.min(leaves.len() - size);
        let new = leaves[size..size + step].iter().map(Vec::as_slice);
        let update = history::append(&storage, size as u64, new).expect("memory does not fail");
        storage.write_history(&update);
        size += step;
        assert_eq!((update.size, update.root), (size as u64, HISTORY.root(&leaves[..size])));
    }
    let at_size = 1 + choices.below(size);
    let index = choices.below(at_size);
    leaves.truncate(at_size);
    let path = history::prove(&storage, at_size as u64, index as u64).expect("there is such a leaf");
    assert_eq!(path, HISTORY.path(&leaves, index));
    assert!(history::prove(&storage, at_size as u64, at_size as u64).is_err());
    HISTORY.check(&mut choices, &leaves, index, |root, count, at, leaf, path| {
        history::verify(root, count, at, leaf, path).is_ok()
    });
}

type Records = BTreeMap<StateKey, Vec<u8>>;

/// `T` of 5.6.
fn hashed(parts: &[&[u8]]) -> Digest {
    thread_local! {
        static BEGUN: blake3::Hasher = blake3::Hasher::new_derive_key("countersign/v1/state-tree");
    }
    Digest(*BEGUN.with(blake3::Hasher::clone).update(&parts.concat()).finalize().as_bytes())
}

/// 5.6: the subtree of the records that share the first `depth` bits.
pub fn state_root(records: &[(&StateKey, &Vec<u8>)], depth: usize) -> Digest {
    match records {
        [] => EMPTY,
        [(key, record)] => hashed(&[b"JMT::LeafNode", &key.0, &hashed(&[record]).0]),
        _ => {
            let middle = records.partition_point(|(key, _)| !key.bit(depth));
            let (left, right) = (state_root(&records[..middle], depth + 1), state_root(&records[middle..], depth + 1));
            hashed(&[b"JMT::IntrnalNode", &left.0, &right.0])
        }
    }
}

/// A key that has much in common with another, as far as an attacker can search for one.
fn state_key(choices: &mut Choices<'_>, records: &Records) -> StateKey {
    let known: Vec<&StateKey> = records.keys().collect();
    let mut key = choices.of(&known).map_or([choices.byte(); 32], |key| key.0);
    for _ in 0..choices.below(3) {
        let bit = choices.below(256);
        key[bit / 8] ^= 0x80 >> (bit % 8);
    }
    StateKey(key)
}

/// The state (5.6), grown in steps: of every key exactly the truth is proven, by exactly one proof.
pub fn state_proof(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (mut storage, mut head, mut records) = (MemoryStorage::default(), None, Records::new());
    for _ in 0..1 + choices.below(STEPS_MAX) {
        let mut written = Records::new();
        for _ in 0..1 + choices.below(RECORDS_MAX / STEPS_MAX) {
            let all = records.iter().chain(&written).map(|(key, record)| (*key, record.clone())).collect();
            written.insert(state_key(&mut choices, &all), vec![choices.byte(); choices.below(80)]);
        }
        records.extend(written.clone());
        let update = tree::update(&storage, head, written.into_iter().collect()).expect("memory does not fail");
        storage.write_state(&update);
        head = Some(TreeHead { version: update.version, root: update.root });
        let all: Vec<_> = records.iter().collect();
        assert_eq!(update.root, state_root(&all, 0), "the root of {} records", all.len());
    }
    let head = head.expect("something was written");
    let key = state_key(&mut choices, &records);
    let truth = records.get(&key).map(Vec::as_slice);
    let honest = tree::prove(&storage, head, &key).expect("memory does not fail");
    assert_eq!(honest.verify(&head.root, &key), Ok(truth), "the honest proof");
    let other_key = state_key(&mut choices, &records);
    let other = tree::prove(&storage, head, &other_key).expect("memory does not fail");
    let mut parts = StateProofParts::of(&honest);
    assert!(encode(&parts) == encode(&honest), "taken apart and put together");
    for _ in 0..DEEDS_MAX {
        if !choices.any() {
            return;
        }
        parts.alter(&mut choices, std::slice::from_ref(&other));
        let Some(proof) = parts.proof() else { continue };
        if let Ok(shown) = proof.verify(&head.root, &key) {
            assert_eq!(shown, truth, "what is proven is true");
            assert!(proof == honest, "one proof has many spellings");
        }
        if let Ok(shown) = proof.verify(&head.root, &other_key) {
            assert_eq!(shown, records.get(&other_key).map(Vec::as_slice), "what is proven is true");
        }
    }
}

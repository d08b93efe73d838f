//! The root of records that come in the order of their keys: found without a tree, and without keeping
//! them (sentence 5.6).

use super::StateKey;
use super::tree::{EMPTY, common_bits, hash, leaf_hash, node_hash};
use crate::id::Digest;

/// The state root of the records taken so far. Keeps one hash for every level of the path to the newest.
#[derive(Clone, Debug, Default)]
pub struct RunningRoot {
    /// Whole subtrees to the left of the newest record, from the top down.
    left: Vec<Left>,
    newest: Option<Newest>,
}

/// A subtree to whose right there is more.
#[derive(Clone, Debug)]
struct Left {
    /// Of the inner node that has it on its left.
    depth: usize,
    hash: [u8; 32],
}

/// The subtree that has the newest record, as far as it is known.
#[derive(Clone, Debug)]
struct Newest {
    key: StateKey,
    /// Of its topmost inner node; `None` for a leaf, which stands at whatever depth.
    depth: Option<usize>,
    hash: [u8; 32],
}

/// A record that does not come after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {0:?} is not above the one before")]
pub struct NotAscending(pub StateKey);

impl RunningRoot {
    /// Takes the next record.
    ///
    /// # Errors
    /// [`NotAscending`] when its key is not above the one before.
    pub fn take(&mut self, key: &StateKey, record: &[u8]) -> Result<(), NotAscending> {
        if let Some(newest) = self.newest.take() {
            if newest.key >= *key {
                return Err(NotAscending(*key));
            }
            // The two part here: all that is below is whole.
            let depth = common_bits(&newest.key, key);
            let whole = self.close(newest, depth + 1);
            self.left.push(Left { depth, hash: whole.at(depth + 1) });
        }
        self.newest = Some(Newest { key: *key, depth: None, hash: leaf_hash(key, &hash(&[record])) });
        Ok(())
    }

    /// The root of all that was taken.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut whole = self.clone();
        whole.newest.take().map_or(Digest(EMPTY), |newest| Digest(whole.close(newest, 0).at(0)))
    }

    /// Puts the subtrees on the left together with the newest one, from the bottom up to a depth.
    fn close(&mut self, mut newest: Newest, to: usize) -> Newest {
        while let Some(left) = self.left.pop_if(|left| left.depth >= to) {
            newest.hash = node_hash(&left.hash, &newest.at(left.depth + 1));
            newest.depth = Some(left.depth);
        }
        newest
    }
}

impl Newest {
    /// Its hash as a subtree at a depth: above its topmost inner node, the other side is empty.
    fn at(&self, depth: usize) -> [u8; 32] {
        let Some(top) = self.depth else { return self.hash };
        (depth..top).rev().fold(self.hash, |below, place| match self.key.bit(place) {
            true => node_hash(&EMPTY, &below),
            false => node_hash(&below, &EMPTY),
        })
    }
}

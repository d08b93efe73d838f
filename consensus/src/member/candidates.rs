//! Blocks executed for the height after the tip: ours and others', a bounded number.

use ledger::execution::ExecutedBlock;
use ledger::id::BlockHash;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Candidates kept at once.
const CANDIDATES_MAX: usize = 16;
/// Of those, candidates that no proposal has named: more of them are not executed.
const UNNAMED_MAX: usize = 8;

/// Executed blocks of one height.
#[derive(Default)]
pub(super) struct Candidates {
    executed: BTreeMap<BlockHash, Arc<ExecutedBlock>>,
    /// Oldest first.
    order: VecDeque<BlockHash>,
    /// The block this node precommitted last: the one that others may decide on with its vote.
    bound_to: Option<BlockHash>,
    /// The block decided last: who is a step behind asks for what it lacks of that.
    decided: Option<(BlockHash, Arc<ExecutedBlock>)>,
}

impl Candidates {
    /// A new height, behind this block: forget everything else.
    pub(super) fn begin_behind(&mut self, decided: Arc<ExecutedBlock>) {
        *self = Self { decided: Some((decided.block.header.hash(), decided)), ..Self::default() };
    }

    pub(super) fn len(&self) -> usize {
        self.executed.len()
    }

    pub(super) fn contains(&self, block: &BlockHash) -> bool {
        self.executed.contains_key(block)
    }

    pub(super) fn get(&self, block: &BlockHash) -> Option<&Arc<ExecutedBlock>> {
        self.executed.get(block)
    }

    /// A block to tell others of: of this height, or the one decided last.
    pub(super) fn to_tell(&self, block: &BlockHash) -> Option<&Arc<ExecutedBlock>> {
        let decided = self.decided.as_ref().filter(|(decided, _)| decided == block);
        self.get(block).or(decided.map(|(_, executed)| executed))
    }

    /// This node has precommitted a block: that one stays.
    pub(super) fn bind(&mut self, block: BlockHash) {
        self.bound_to = Some(block);
    }

    /// Whether a block that no proposal has named may be executed beforehand.
    pub(super) fn has_room_for_unnamed(&self) -> bool {
        self.len() < UNNAMED_MAX
    }

    /// Keeps a block; the oldest goes when there are too many. Should that one be decided after all, it
    /// comes by sync from those who are bound to it.
    pub(super) fn insert(&mut self, block: BlockHash, executed: Arc<ExecutedBlock>) {
        if self.executed.insert(block, executed).is_none() {
            self.order.push_back(block);
        }
        if self.order.len() > CANDIDATES_MAX
            && let Some(place) = self.order.iter().position(|old| Some(*old) != self.bound_to)
            && let Some(oldest) = self.order.remove(place)
        {
            self.executed.remove(&oldest);
        }
    }
}

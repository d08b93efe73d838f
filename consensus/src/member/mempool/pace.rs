//! Who had much to say lately and who a little: so that nobody who has a little waits for the end of somebody
//! else's load.
//!
//! A block is executed before it is voted for, so whoever is in it waits for all of it. Beside an organisation with
//! little to say, any other gets a share of a block and no more; and after a block that had such a share in it, one
//! that is wanted by somebody with little to say is made of that alone. Half of the blocks are then as quick as
//! those of a quiet ledger, and whoever has much still gets the other half. When nobody with little to say is heard
//! of any more, shares grow until they are whole blocks again. And blocks that are of nobody else begin further apart, for
//! as long as somebody with little to say was heard of just before.
//!
//! What is much and what is little is the same number everywhere: it tells people and their scripts from floods. How
//! large a share is is not, but as much as takes half of a quiet height (`Length`).

use ledger::bounded::Name;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks after which a share is twice as large, while nobody with little to say is in them.
const DOUBLE_AFTER: u64 = 8;
/// Blocks for which one is waited for that had little to say: the one it was in, and the one that those with much to say
/// had after it. He who comes more rarely finds every second block begun, and slows nobody down by more than that.
const PATIENT_BLOCKS: u64 = 2;
/// Blocks for which an organisation that had little to say is remembered: shares have grown to 256 times what they
/// were by then.
const REMEMBERED_BLOCKS: u64 = 8 * DOUBLE_AFTER;

/// What the last blocks had of whom.
pub(super) struct Pace {
    share: usize,
    blocks: u64,
    /// Organisations that had much to say in the last block: a share of it, or a share that still waits.
    much: BTreeSet<Name>,
    /// Organisations that had less in a block, and in which last.
    little: BTreeMap<Name, u64>,
}

impl Pace {
    pub(super) fn new(share: usize) -> Self {
        Self { share: share.max(1), blocks: 0, much: BTreeSet::new(), little: BTreeMap::new() }
    }

    /// A block is final, with so many of each organisation; and so many of one still wait.
    pub(super) fn committed(&mut self, counts: BTreeMap<Name, usize>, waiting: impl Fn(&Name) -> usize) {
        self.blocks += 1;
        self.much.clear();
        for (organisation, count) in counts {
            if count < self.share && waiting(&organisation) < self.share {
                self.little.insert(organisation, self.blocks);
            } else {
                self.much.insert(organisation);
            }
        }
        let share = self.share;
        self.little.retain(|organisation, block| {
            *block + REMEMBERED_BLOCKS > self.blocks
                && waiting(organisation) < share
                && !self.much.contains(organisation)
        });
    }

    /// Transactions of one organisation in a block, so many blocks after another had little to say, if it is this
    /// share right after.
    pub(super) fn share(share: usize, since: u64) -> usize {
        let doubled = u32::try_from(since / DOUBLE_AFTER).unwrap_or(u32::MAX);
        share.saturating_mul(2usize.saturating_pow(doubled))
    }

    /// Whether so many that wait are much.
    pub(super) fn is_much(&self, waiting: usize) -> bool {
        waiting >= self.share
    }

    /// Whether an organisation of which so many wait has little to say.
    pub(super) fn is_little(&self, organisation: &Name, waiting: usize) -> bool {
        !self.is_much(waiting) && !self.much.contains(organisation)
    }

    /// Whether somebody had much to say in the last block.
    pub(super) fn was_much(&self) -> bool {
        !self.much.is_empty()
    }

    /// Whether somebody with little to say was in one of the last blocks, and is none of these.
    pub(super) fn has_heard_little_lately(&self, but_of: impl Fn(&Name) -> bool) -> bool {
        self.little().any(|(since, organisation)| since < PATIENT_BLOCKS && !but_of(organisation))
    }

    /// Organisations that had little to say lately, and how many blocks ago.
    pub(super) fn little(&self) -> impl Iterator<Item = (u64, &Name)> {
        self.little.iter().map(|(organisation, block)| (self.blocks - block, organisation))
    }
}

//! Who had much to say lately and who a little: so that nobody who has a little waits for the end of somebody
//! else's load.
//!
//! A block is executed before it is voted for, so whoever is in it waits for all of it. While there is an
//! organisation with little to say, any other gets a share of a block and no more; and after a block that had
//! such a share in it, one that is wanted by somebody with little to say is made of that alone. Half of the
//! blocks are then as quick as those of a quiet ledger, and whoever has much still gets the other half.

use ledger::bounded::Name;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks for which an organisation that had little to say is remembered: most of a second of them under load.
const REMEMBERED_BLOCKS: u64 = 32;

/// What the last blocks had of whom.
pub(super) struct Pace {
    share: usize,
    blocks: u64,
    /// Organisations that filled their share of the last block.
    much: BTreeSet<Name>,
    /// Organisations that had less in a block, and in which last.
    little: BTreeMap<Name, u64>,
}

impl Pace {
    pub(super) fn new(share: usize) -> Self {
        Self { share: share.max(1), blocks: 0, much: BTreeSet::new(), little: BTreeMap::new() }
    }

    /// Transactions of one organisation in a block, while another has little to say.
    pub(super) fn share(&self) -> usize {
        self.share
    }

    /// A block is final, with so many of each organisation.
    pub(super) fn committed(&mut self, counts: BTreeMap<Name, usize>) {
        self.blocks += 1;
        self.much.clear();
        for (organisation, count) in counts {
            if count < self.share {
                self.little.insert(organisation, self.blocks);
            } else {
                self.little.remove(&organisation);
                self.much.insert(organisation);
            }
        }
        self.little.retain(|_, block| *block + REMEMBERED_BLOCKS > self.blocks);
    }

    /// Whether an organisation of which so many wait has little to say.
    pub(super) fn is_little(&self, organisation: &Name, waiting: usize) -> bool {
        waiting < self.share && !self.much.contains(organisation)
    }

    /// Whether somebody filled his share of the last block.
    pub(super) fn was_much(&self) -> bool {
        !self.much.is_empty()
    }

    /// Organisations that had little to say lately.
    pub(super) fn little(&self) -> impl Iterator<Item = &Name> {
        self.little.keys()
    }
}

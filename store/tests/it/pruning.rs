//! The edge of what was forgotten: whatever the last forgotten block has, the store is sound, and so is
//! one that begins with its snapshot.

use crate::snapshots::{DAY_MS, bytes, go_on, parts, restore};
use crate::support::{Kept, Oracle, check};
use ledger::id::PatchId;
use ledger::receipt::Outcome;
use std::path::Path;
use store::Store;
use tests::APPROVERS;

/// What the last block that is old enough to be forgotten has.
#[derive(Clone, Copy, Debug)]
enum Last {
    /// Nothing: a heartbeat.
    Nothing,
    /// Receipts, which are forgotten.
    Receipts,
    /// Something that stays for ever.
    Kept,
    /// A change of the validators and no transaction.
    Epoch,
    /// A change of the validators and receipts.
    EpochAndReceipts,
}

const ALL: [Last; 5] = [Last::Nothing, Last::Receipts, Last::Kept, Last::Epoch, Last::EpochAndReceipts];

/// A ledger that grows by hand: an approved patch, and an endpoint that writes receipts for it.
struct Story {
    kept: Kept,
    patch: PatchId,
    endpoint: u64,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut kept = Kept::new(seed, 0);
        let chain = &mut kept.oracle.chain;
        let patch = chain.publish();
        APPROVERS.iter().for_each(|approver| chain.approve(approver, patch));
        let endpoint = chain.enroll();
        let mut story = Self { kept, patch, endpoint };
        story.block();
        story
    }

    fn oracle(&mut self) -> &mut Oracle {
        &mut self.kept.oracle
    }

    fn receipt(&mut self) {
        let (endpoint, patch) = (self.endpoint, self.patch);
        self.oracle().chain.receipt(endpoint, patch, Outcome::Applied);
    }

    fn block(&mut self) {
        let block = self.oracle().chain.finalise();
        self.oracle().blocks.push(block);
    }

    /// Some blocks, the last of them such a one; then nothing for 31 days, an empty block, and one with a receipt.
    fn rest_after(&mut self, last: Last) {
        self.receipt();
        self.block();
        self.oracle().chain.enroll();
        if matches!(last, Last::Epoch | Last::EpochAndReceipts) {
            // The set changes behind the block after the one that says so.
            self.oracle().chain.rotate_validator();
        }
        self.block();
        match last {
            Last::Nothing | Last::Epoch => {}
            Last::Receipts | Last::EpochAndReceipts => (0..3).for_each(|_| self.receipt()),
            Last::Kept => {
                self.receipt();
                self.oracle().chain.enroll();
            }
        }
        self.block();
        let block = self.oracle().chain.rest(31 * DAY_MS);
        self.oracle().blocks.push(block);
        self.receipt();
        self.block();
    }

    fn height(&self) -> u64 {
        self.kept.oracle.blocks.len() as u64
    }

    /// What a store at `path` is after it went on and forgot what it could: sound, and like the other ones.
    fn go_on_and_forget(&self, path: &Path, story: &str) -> Vec<ledger::snapshot::SnapshotPart> {
        let store = Store::open(path).unwrap();
        go_on(&self.kept.oracle, &store);
        assert!(store.prune(0).unwrap().blocks > 0, "{story}");
        assert_eq!(store.view().floor().unwrap(), self.height() - 1, "{story}");
        let parts = parts(&store);
        drop(store);
        let report = check(path, self.kept.directory.path()).unwrap();
        assert!(report.is_sound(), "{story}: {:?}", report.problems);
        parts
    }
}

#[test]
fn a_pruned_store_is_sound_whatever_the_last_forgotten_block_has() {
    for (seed, last) in (61..).zip(ALL) {
        let mut story = Story::new(seed);
        let mut stores = vec![story.kept.path()];
        // Then the edge moves on over this block to one of each kind.
        for (round, last) in [last, ALL[(seed % 5) as usize], last].into_iter().enumerate() {
            let said = format!("seed {seed}, round {round}, {last:?}");
            story.rest_after(last);
            let all: Vec<_> = stores.iter().map(|path| story.go_on_and_forget(path, &said)).collect();
            assert!(all.iter().all(|parts| *parts == all[0]), "{said}: they say different things");
            let (path, restored) = restore(&story.kept, &format!("restored-{round}"), &bytes(&all[0])).unwrap();
            assert_eq!((restored.height, restored.first_whole), (story.height(), story.height() - 1), "{said}");
            let report = check(&path, story.kept.directory.path()).unwrap();
            assert!(report.is_sound(), "{said}, restored: {:?}", report.problems);
            stores.push(path);
        }
    }
}

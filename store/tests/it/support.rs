//! What the tests share: a seeded chain kept twice, on disk and in memory.

use ledger::execution::Tip;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use store::{Report, Store, StoreError, fsck};
use tempfile::TempDir;
use tests::{Chain, Finalised};

/// Transactions in a seeded block, at most.
pub(crate) const MOST: usize = 12;

/// A seeded chain: in memory block by block, so that any height can be compared with.
pub(crate) struct Oracle {
    pub(crate) chain: Chain,
    pub(crate) blocks: Vec<Finalised>,
    genesis: Tip,
}

impl Oracle {
    pub(crate) fn new(seed: u64) -> Self {
        let chain = Chain::new(seed);
        Self { genesis: chain.tip().clone(), chain, blocks: Vec::new() }
    }

    /// With this many blocks.
    pub(crate) fn of(seed: u64, blocks: u64) -> Self {
        let mut oracle = Self::new(seed);
        oracle.block(blocks);
        oracle
    }

    /// The block of a height, made if it was not yet.
    pub(crate) fn block(&mut self, height: u64) -> Option<&Finalised> {
        while (self.blocks.len() as u64) < height {
            self.blocks.push(self.chain.finalise_seeded(MOST));
        }
        self.blocks.get(usize::try_from(height).unwrap().checked_sub(1)?)
    }

    /// The tip when the chain had this height.
    pub(crate) fn tip(&mut self, height: u64) -> Tip {
        let genesis = self.genesis.clone();
        self.block(height).map_or(genesis, |block| block.executed.tip())
    }

    /// Commits the blocks that the store does not have yet.
    pub(crate) fn commit_to(&self, store: &Store) {
        let from = usize::try_from(store.tip().header.height).unwrap();
        for Finalised { executed, certificate } in &self.blocks[from..] {
            store.commit(executed, certificate).unwrap();
        }
    }
}

/// A directory with a store of so many seeded blocks in it.
pub(crate) struct Kept {
    pub(crate) directory: TempDir,
    pub(crate) oracle: Oracle,
}

impl Kept {
    pub(crate) fn new(seed: u64, blocks: u64) -> Self {
        let kept = Self { directory: tempfile::tempdir().unwrap(), oracle: Oracle::of(seed, blocks) };
        let store = Store::create(kept.path(), kept.oracle.chain.scenario().genesis()).unwrap();
        kept.oracle.commit_to(&store);
        kept
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.path()).unwrap()
    }

    pub(crate) fn fsck(&self) -> Result<Report, StoreError> {
        check(&self.path(), self.directory.path())
    }
}

/// How long a program may take to begin.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Checks a store, with a scratch beside it.
pub(crate) fn check(path: &Path, beside: &Path) -> Result<Report, StoreError> {
    fsck(path, &beside.join("scratch"), &mut |_| {})
}

/// What comes of it when nobody has the store locked: a program that another test was about to start has what was open
/// here, locks too, until it has begun.
fn unlocked<T>(mut act: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let began = Instant::now();
    loop {
        match act() {
            Err(StoreError::Locked { .. }) if began.elapsed() < LOCK_PATIENCE => std::thread::yield_now(),
            done => return done,
        }
    }
}

/// That a store is exactly the chain of its own height, and every byte of it what it must be.
pub(crate) fn assert_is_the_chain(path: &Path, beside: &Path, oracle: &mut Oracle) -> u64 {
    let tip = unlocked(|| Store::open(path)).unwrap().tip();
    let height = tip.header.height;
    assert_eq!(tip, oracle.tip(height), "the store's tip is not the chain's at height {height}");
    let report = unlocked(|| check(path, beside)).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.height, report.proven), (height, height));
    height
}

/// Copies the files of a store that nobody has open.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The files of a store with this extension, in order.
pub(crate) fn files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|file| file.extension().is_some_and(|other| other == extension)).collect();
    files.sort();
    files
}

//! Beginning with a snapshot, and forgetting: the chain goes on as if nothing had been left out.

use crate::support::{Kept, Oracle, check, copy};
use ledger::execution;
use ledger::frame::frame;
use ledger::history;
use ledger::snapshot::{SnapshotError, SnapshotPart, is_kept};
use ledger::state::StateView as _;
use ledger::state::storage::StateStorage as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use store::{RestoreError, Restored, Store, StoreError, Whole};
use tests::{Dice, Finalised};

pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The parts of a snapshot of the chain as it is now.
pub(crate) fn parts(store: &Store) -> Vec<SnapshotPart> {
    let mut parts = Vec::new();
    let say = |part| -> Result<(), StoreError> {
        parts.push(part);
        Ok(())
    };
    store.view().snapshot(Whole::Needed, say).unwrap();
    parts
}

pub(crate) fn bytes(parts: &[SnapshotPart]) -> Vec<u8> {
    parts.iter().flat_map(frame).collect()
}

/// Executes the blocks the store does not have yet, as a node does: its tree has its own versions.
pub(crate) fn go_on(oracle: &Oracle, store: &Store) {
    let from = usize::try_from(store.tip().header.height).unwrap();
    for Finalised { executed, certificate } in &oracle.blocks[from..] {
        let (block, transactions) = (executed.block.clone(), executed.transactions.clone());
        let again = execution::execute(store, &store.tip(), block, transactions).unwrap();
        store.commit(&again, certificate).unwrap();
    }
}

/// A chain with a rest of 31 days in its middle, so that the first half has expired.
pub(crate) fn rested(seed: u64) -> Kept {
    let mut kept = Kept::new(seed, 30);
    let block = kept.oracle.chain.rest(31 * DAY_MS);
    kept.oracle.blocks.push(block);
    kept.oracle.block(55);
    kept.oracle.commit_to(&kept.open());
    kept
}

pub(crate) fn restore(kept: &Kept, name: &str, from: &[u8]) -> Result<(PathBuf, Restored), RestoreError> {
    let path = kept.directory.path().join(name);
    let restored = Store::restore(&path, kept.oracle.chain.scenario().genesis(), Cursor::new(from));
    let draft = kept.directory.path().join(format!("{name}.creating"));
    assert!(!draft.exists(), "{} is left behind", draft.display());
    Ok((path, restored?))
}

#[test]
fn a_store_from_a_snapshot_goes_on_like_the_one_it_is_of() {
    let mut kept = rested(51);
    let (path, restored) = restore(&kept, "restored", &bytes(&parts(&kept.open()))).unwrap();
    assert_eq!((restored.height, restored.first_whole), (55, 31));
    let store = Store::open(&path).unwrap();
    let (one, other) = (store.tip(), kept.oracle.tip(55));
    assert_eq!((&one.header, one.tree.root, one.history_root), (&other.header, other.tree.root, other.history_root));

    // The blocks to come give the same roots, which their headers name; and both are sound.
    kept.oracle.block(80);
    go_on(&kept.oracle, &store);
    kept.oracle.commit_to(&kept.open());
    assert_eq!(store.tip().header, kept.open().tip().header);
    drop(store);
    for path in [&path, &kept.path()] {
        let report = check(path, kept.directory.path()).unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!((report.height, report.proven), (80, 80));
    }
}

#[test]
fn what_proofs_and_lists_need_is_there_and_only_old_receipts_are_not() {
    let kept = rested(52);
    let (path, restored) = restore(&kept, "restored", &bytes(&parts(&kept.open()))).unwrap();
    let (whole, store) = (kept.open(), Store::open(path).unwrap());
    let (whole, store) = (whole.view(), store.view());
    let mut forgotten = 0;
    for block in &kept.oracle.blocks {
        for transaction in &block.executed.transactions {
            let id = transaction.id();
            let (one, other) = (whole.transaction(&id).unwrap().unwrap(), store.transaction(&id).unwrap());
            let old = one.height < restored.first_whole;
            if old && !is_kept(transaction.signed()) {
                assert_eq!((other, store.is_finalised(&id).unwrap()), (None, false), "an old receipt");
                forgotten += 1;
            } else {
                assert_eq!(other.as_ref(), Some(&one));
                assert_eq!(store.transaction_at(one.index).unwrap(), Some(one));
            }
        }
    }
    assert!(forgotten > 10, "{forgotten} old receipts");
    let size = whole.tip().unwrap().header.history_size;
    for index in 0..size {
        assert_eq!(history::prove(&whole, size, index).unwrap(), history::prove(&store, size, index).unwrap());
    }
    assert_eq!(whole.patches(None, 100).unwrap().rows, store.patches(None, 100).unwrap().rows);
    assert_eq!(whole.endpoints(None, 100).unwrap().rows, store.endpoints(None, 100).unwrap().rows);
    assert_eq!(whole.proposals(None, 100).unwrap().rows, store.proposals(None, 100).unwrap().rows);
    assert_eq!(whole.epochs(0, 100).unwrap(), store.epochs(0, 100).unwrap());
    for patch in kept.oracle.chain.patches() {
        assert_eq!(whole.patch(patch).unwrap(), store.patch(patch).unwrap());
        assert_eq!(whole.outcome_counts(patch).unwrap(), store.outcome_counts(patch).unwrap());
    }
    for height in restored.first_whole..=55 {
        assert_eq!(whole.block(height).unwrap(), store.block(height).unwrap());
    }
}

#[test]
fn a_young_ledger_has_everything_in_its_snapshot() {
    let kept = Kept::new(53, 40);
    let (path, restored) = restore(&kept, "restored", &bytes(&parts(&kept.open()))).unwrap();
    assert_eq!(restored, Restored { height: 40, first_whole: 1, history_size: restored.history_size });
    let report = check(&path, kept.directory.path()).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.proven, report.height), (40, 40));
}

#[test]
fn nothing_is_at_the_place_of_a_store_whose_snapshot_broke_off_or_was_changed() {
    let kept = rested(54);
    let good = bytes(&parts(&kept.open()));
    let mut dice = Dice::new(54);
    for length in [0, 3, 4, 100, good.len() / 2, good.len() - 1] {
        let error = restore(&kept, "cut", &good[..length]).unwrap_err();
        assert!(matches!(error, RestoreError::Read(_)), "{length}: {error}");
    }
    for _ in 0..60 {
        let (mut changed, place) = (good.clone(), dice.below(good.len() as u64) as usize);
        changed[place] ^= 1 << dice.below(8);
        let error = restore(&kept, "changed", &changed).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, RestoreError::Snapshot(_) | RestoreError::Part { .. } | RestoreError::Read(_)),
            "{error}"
        );
        assert!(!kept.directory.path().join("changed").exists());
    }
}

#[test]
fn each_lie_has_its_name() {
    let kept = rested(55);
    let good = parts(&kept.open());
    let lie = |change: &dyn Fn(&mut Vec<SnapshotPart>)| {
        let mut parts = good.clone();
        change(&mut parts);
        match restore(&kept, "lie", &bytes(&parts)) {
            Err(RestoreError::Snapshot(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let place = |wanted: fn(&SnapshotPart) -> bool| good.iter().position(wanted).unwrap();
    let (kept_at, whole_at) = (
        place(|part| matches!(part, SnapshotPart::Kept { .. })),
        place(|part| matches!(part, SnapshotPart::Whole { .. })),
    );
    let records_at = place(|part| matches!(part, SnapshotPart::Records(_)));

    let error = lie(&|parts| {
        parts.swap(kept_at, whole_at);
    });
    assert!(matches!(error, SnapshotError::Block { .. } | SnapshotError::OutOfOrder { .. }), "{error}");
    let error = lie(&|parts| {
        parts.remove(kept_at);
    });
    assert!(matches!(error, SnapshotError::LeftOut { .. }), "an enrolment or a publication is left out: {error}");
    let error = lie(&|parts| {
        parts.remove(whole_at);
    });
    assert!(matches!(error, SnapshotError::Block { detail: "it does not follow the one before", .. }), "{error}");
    let error = lie(&|parts| {
        parts.retain(|part| !matches!(part, SnapshotPart::Whole { block, .. } if block.header.height == 55));
    });
    assert!(matches!(error, SnapshotError::Block { height: 55, .. }), "{error}");
    let error = lie(&|parts| {
        parts.remove(records_at);
    });
    assert!(matches!(error, SnapshotError::State { .. }), "{error}");
    let error = lie(&|parts| {
        parts.retain(|part| !matches!(part, SnapshotPart::Leaves(_)));
    });
    assert!(matches!(error, SnapshotError::History), "{error}");
    let error = lie(&|parts| {
        parts.retain(|part| !matches!(part, SnapshotPart::Epoch(_)));
    });
    assert!(matches!(error, SnapshotError::Certificate { .. }), "the validators have changed: {error}");
    // Younger than a transaction may live: one of those before could be handed in again.
    let error = lie(&|parts| {
        let SnapshotPart::Begin { before, .. } = &mut parts[0] else { panic!("the beginning") };
        *before = kept.oracle.blocks[39].executed.block.header.clone();
    });
    assert!(matches!(error, SnapshotError::TooShort { .. }), "{error}");
    let other = Oracle::of(56, 3);
    let genesis = other.chain.scenario().genesis();
    let error = Store::restore(kept.directory.path().join("lie"), genesis, Cursor::new(bytes(&good))).unwrap_err();
    assert!(matches!(error, RestoreError::Snapshot(SnapshotError::WrongChain { .. })), "{error}");
}

#[test]
fn a_pruned_store_forgets_old_receipts_goes_on_and_is_sound() {
    let mut kept = rested(57);
    let store = kept.open();
    let before: Vec<_> = kept.oracle.chain.patches().map(|patch| store.outcome_counts(patch).unwrap()).collect();
    let mut pruned = store.prune(0).unwrap();
    assert_eq!((pruned.blocks, pruned.more), (30, false), "a month stays, whoever asks for less");
    assert!(pruned.receipts > 10, "{pruned:?}");
    assert_eq!(store.view().floor().unwrap(), 31);
    pruned = store.prune(0).unwrap();
    assert_eq!((pruned.blocks, pruned.receipts), (0, 0));
    let after: Vec<_> = kept.oracle.chain.patches().map(|patch| store.outcome_counts(patch).unwrap()).collect();
    assert_eq!(before, after, "counts stay");
    kept.oracle.block(70);
    kept.oracle.commit_to(&store);
    assert_eq!(store.tip(), kept.oracle.tip(70));
    assert!((1..=30).all(|height| store.block(height).unwrap().is_none()), "old blocks are not whole");
    drop(store);
    let report = kept.fsck().unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.height, report.proven), (70, 70));

    // And somebody may begin with its snapshot.
    let (path, restored) = restore(&kept, "restored", &bytes(&parts(&kept.open()))).unwrap();
    assert_eq!(restored.first_whole, 31);
    assert!(check(&path, kept.directory.path()).unwrap().is_sound());
}

#[test]
fn a_changed_byte_in_a_store_that_began_with_a_snapshot_is_found() {
    let kept = rested(58);
    let (path, _) = restore(&kept, "restored", &bytes(&parts(&kept.open()))).unwrap();
    for column in crate::corruption::columns(&path) {
        // The chain's name, its genesis and where it stands are compared with each other on opening.
        if column == "meta" {
            continue;
        }
        for in_key in [false, true] {
            let (changed, mut dice) = (kept.directory.path().join("changed"), Dice::new(58));
            copy(&path, &changed);
            if crate::corruption::flip(&changed, &column, in_key, &mut dice).is_some() {
                let report = check(&changed, kept.directory.path()).unwrap();
                assert!(!report.is_sound(), "a bit of column {column} (key: {in_key}) was not missed");
            }
            std::fs::remove_dir_all(&changed).unwrap();
        }
    }
}

#[test]
fn there_is_no_snapshot_of_nothing_and_none_over_something() {
    let kept = Kept::new(59, 0);
    let error = kept.open().view().snapshot(Whole::Needed, |_| Ok::<_, StoreError>(())).unwrap_err();
    assert!(matches!(error, StoreError::NothingFinal), "{error}");
    let genesis = kept.oracle.chain.scenario().genesis();
    let error = Store::restore(kept.path(), genesis, Cursor::new([])).unwrap_err();
    assert!(matches!(error, RestoreError::Store(StoreError::AlreadyExists { .. })), "{error}");
    assert!(Path::new(&kept.path()).exists());
}

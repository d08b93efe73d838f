//! Making, opening and refusing to.

use crate::children::{Child, Role};
use crate::support::{Kept, Oracle, check};
use std::fs;
use store::{Store, StoreError};
use tests::Scenario;

#[test]
fn a_store_is_the_same_chain_after_opening_it_again() {
    let mut kept = Kept::new(1, 10);
    for height in [10, 25, 40] {
        kept.oracle.block(height);
        let store = kept.open();
        kept.oracle.commit_to(&store);
        drop(store);
        let store = kept.open();
        assert_eq!(store.tip(), kept.oracle.tip(height));
        assert_eq!(store.chain_id(), kept.oracle.chain.scenario().chain_id());
    }
    let mut columns = Vec::new();
    let mut blocks = 0;
    let report = store::fsck(&kept.path(), &kept.directory.path().join("scratch"), &mut |progress| match progress {
        store::Progress::Replayed { height, of } => {
            assert!(height <= of);
            blocks += 1;
        }
        store::Progress::Compared { column, .. } => columns.push(column),
    });
    let report = report.unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.height, report.proven, blocks), (40, 40, 40));
    assert_eq!(report.transactions, kept.open().tip().header.history_size_after());
    assert_eq!(columns.len(), 18);
    assert!(report.rows > 1_000, "{report:?}");
    assert!(!kept.directory.path().join("scratch").exists());
}

#[test]
fn a_store_is_not_made_over_anything() {
    let kept = Kept::new(2, 1);
    let scenario = Scenario::new(2);
    let refused = |path| matches!(Store::create(path, scenario.genesis()), Err(StoreError::AlreadyExists { .. }));
    assert!(refused(kept.path()));
    let file = kept.directory.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(refused(file.clone()));
    let full = kept.directory.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("diary"), "mine").unwrap();
    assert!(refused(full));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");

    let empty = kept.directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    Store::create(&empty, scenario.genesis()).unwrap();
    let deep = kept.directory.path().join("a/b/c");
    Store::create(deep, scenario.genesis()).unwrap();
}

#[test]
fn what_an_interrupted_creation_left_behind_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let draft = directory.path().join("store.creating");
    fs::create_dir(&draft).unwrap();
    fs::write(draft.join("CURRENT"), "MANIFEST-000001\n").unwrap();
    fs::write(draft.join("000004.log"), "half").unwrap();
    let path = directory.path().join("store");
    Store::create(&path, Scenario::new(3).genesis()).unwrap();
    assert!(!draft.exists());
    assert_eq!(Store::open(&path).unwrap().tip(), Oracle::new(3).tip(0));
}

#[test]
fn what_is_not_a_store_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    assert!(matches!(Store::open(&missing), Err(StoreError::NotAStore { .. })));
    assert!(!missing.exists());
    assert!(matches!(Store::open(directory.path()), Err(StoreError::NotAStore { .. })));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "asking leaves nothing behind");

    let other = directory.path().join("other");
    drop(rocksdb::DB::open_default(&other).unwrap());
    assert!(matches!(Store::open(&other), Err(StoreError::NotAStore { .. })));
    assert!(matches!(check(&missing, directory.path()), Err(StoreError::NotAStore { .. })));
}

#[test]
fn one_store_has_one_owner() {
    let kept = Kept::new(4, 5);
    let store = kept.open();
    assert!(matches!(Store::open(kept.path()), Err(StoreError::Locked { .. })), "in one process");
    assert!(matches!(kept.fsck(), Err(StoreError::Locked { .. })));
    drop(store);

    let mut child = Child::spawn(Role::Hold, &[("STORE_PATH", kept.path().as_os_str())]);
    assert_eq!(child.line().as_deref(), Some("open"));
    assert!(matches!(Store::open(kept.path()), Err(StoreError::Locked { .. })), "across processes");
    assert!(matches!(kept.fsck(), Err(StoreError::Locked { .. })));
    child.kill();
    assert_eq!(kept.open().tip().header.height, 5);
}

#[test]
fn errors_say_what_a_person_can_do() {
    let kept = Kept::new(5, 1);
    let error = Store::create(kept.path(), Scenario::new(5).genesis()).unwrap_err();
    assert!(error.to_string().ends_with("exists already and is not empty"), "{error}");
    assert!(error.hint().is_some());
    let error = Store::open(kept.directory.path()).unwrap_err();
    assert!(error.to_string().ends_with("is not a store: there is no database in it"), "{error}");
    assert!(error.hint().is_some());
}

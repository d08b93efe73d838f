//! A changed byte anywhere in what the columns say is found, and named with its block.

use crate::support::{Kept, check, copy};
use rocksdb::{DB, IteratorMode, Options};
use std::path::Path;
use store::{Corruption, StoreError};
use tests::Dice;

/// Changes tried per column, in values and in keys each.
const CHANGES: usize = 4;

fn raw(path: &Path) -> DB {
    let options = Options::default();
    let columns = DB::list_cf(&options, path).unwrap();
    DB::open_cf(&options, path, columns).unwrap()
}

pub(crate) fn columns(path: &Path) -> Vec<String> {
    let columns = DB::list_cf(&Options::default(), path).unwrap();
    columns.into_iter().filter(|column| column != "default").collect()
}

/// Flips one bit, anywhere in a row of the column; gives the row's key. `None` when there is nothing to flip.
pub(crate) fn flip(path: &Path, column: &str, in_key: bool, dice: &mut Dice) -> Option<Vec<u8>> {
    let database = raw(path);
    let handle = database.cf_handle(column).unwrap();
    let rows: Vec<_> = database.iterator_cf(handle, IteratorMode::Start).map(Result::unwrap).collect();
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| in_key || !value.is_empty()).collect();
    let (key, value) = dice.pick(&rows)?;
    let (mut new_key, mut new_value) = (key.to_vec(), value.to_vec());
    let flipped = if in_key { &mut new_key } else { &mut new_value };
    let place = dice.below(flipped.len() as u64) as usize;
    flipped[place] ^= 1 << dice.below(8);
    database.delete_cf(handle, key).unwrap();
    database.put_cf(handle, new_key, new_value).unwrap();
    Some(key.to_vec())
}

/// What a check of the changed store says: the first problem whose block is known, or else the first.
fn problem(path: &Path, beside: &Path) -> Result<Corruption, StoreError> {
    let problems = check(path, beside)?.problems;
    let placed = problems.iter().find(|problem| problem.height.is_some());
    Ok(placed.or(problems.first()).unwrap_or_else(|| panic!("a changed byte was not found")).clone())
}

fn assert_every_change_is_named(in_key: bool, seed: u64) {
    let kept = Kept::new(seed, 25);
    let changed = kept.directory.path().join("changed");
    let mut dice = Dice::new(seed);
    for column in columns(&kept.path()) {
        for _ in 0..CHANGES {
            copy(&kept.path(), &changed);
            if let Some(key) = flip(&changed, &column, in_key, &mut dice) {
                assert_named(&column, &key, in_key, problem(&changed, kept.directory.path()));
            }
            std::fs::remove_dir_all(&changed).unwrap();
        }
    }
}

fn assert_named(column: &str, key: &[u8], in_key: bool, found: Result<Corruption, StoreError>) {
    let what = format!("{column} {key:x?}, in the key: {in_key}: {found:?}");
    let found = match found {
        Ok(found) => found,
        // Without its schema, or with another one, a store is another program's.
        Err(StoreError::Schema { .. }) => return assert_eq!((column, key), ("meta", &b"schema"[..]), "{what}"),
        Err(StoreError::Corrupt(found)) => *found,
        Err(_) => panic!("{what}"),
    };
    assert_eq!(found.column, Some(column), "{what}");
    assert!(found.key.is_some(), "{what}");
    if column != "meta" {
        let height = found.height.unwrap_or_else(|| panic!("{what}"));
        assert!(height <= 25, "{what}");
        if ["headers", "certificates"].contains(&column) && !in_key {
            assert_eq!(height, u64::from_be_bytes(key.try_into().unwrap()), "{what}");
        }
    }
}

#[test]
fn a_bit_flipped_in_any_value_is_named() {
    assert_every_change_is_named(false, 31);
}

#[test]
fn a_bit_flipped_in_any_key_is_named() {
    assert_every_change_is_named(true, 32);
}

#[test]
fn a_transaction_of_another_chain_is_named_by_its_block() {
    let kept = Kept::new(33, 12);
    let block = kept.oracle.blocks.iter().rfind(|block| !block.executed.transactions.is_empty()).unwrap();
    let header = &block.executed.block.header;
    let stranger = Kept::new(34, 12);
    let forged = stranger.oracle.blocks.iter().find_map(|block| block.executed.transactions.first()).unwrap();
    let database = raw(&kept.path());
    let handle = database.cf_handle("transactions").unwrap();
    database.put_cf(handle, header.history_size.to_be_bytes(), forged.bytes()).unwrap();
    drop(database);

    let report = kept.fsck().unwrap();
    assert_eq!(report.proven, header.height - 1);
    let found = &report.problems[0];
    assert_eq!((found.column, found.height), (Some("transactions"), Some(header.height)));
    assert_eq!(found.key, Some(format!("index {}", header.history_size)));
    assert!(found.detail.starts_with("transaction is for chain"), "{found}");
}

#[test]
fn a_store_of_another_schema_is_not_opened() {
    let kept = Kept::new(35, 2);
    let database = raw(&kept.path());
    database.put_cf(database.cf_handle("meta").unwrap(), "schema", 7_u64.to_be_bytes()).unwrap();
    drop(database);
    let refused = |result| matches!(result, Err(StoreError::Schema { found: 7, expected: 3 }));
    assert!(refused(store::Store::open(kept.path()).map(drop)));
    assert!(refused(kept.fsck().map(drop)));
}

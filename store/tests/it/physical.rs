//! A changed byte in a file of the database is an error with a name, never a panic and never silence.

use crate::support::{Kept, assert_is_the_chain, check, copy, files};
use rocksdb::{DB, Options};
use std::fs;
use std::path::Path;
use store::{Corruption, Store, StoreError};
use tests::Dice;

/// Makes sorted files of everything that is only in the log.
fn flush(path: &Path) {
    let options = Options::default();
    let columns = DB::list_cf(&options, path).unwrap();
    let database = DB::open_cf(&options, path, &columns).unwrap();
    for column in &columns {
        database.flush_cf(database.cf_handle(column).unwrap()).unwrap();
    }
}

fn flip(file: &Path, place: usize, dice: &mut Dice) {
    let mut bytes = fs::read(file).unwrap();
    bytes[place] ^= 1 << dice.below(8);
    fs::write(file, bytes).unwrap();
}

/// What was found, wherever: on opening or in the report.
fn found(path: &Path, beside: &Path) -> Option<Corruption> {
    match check(path, beside) {
        Ok(report) => report.problems.first().cloned(),
        Err(StoreError::Corrupt(found)) => Some(*found),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_bit_flipped_in_a_sorted_file_names_the_file() {
    let mut kept = Kept::new(41, 25);
    flush(&kept.path());
    let changed = kept.directory.path().join("changed");
    let mut dice = Dice::new(41);
    let sorted = files(&kept.path(), "sst");
    assert!(sorted.len() >= 14, "a file per column");
    let (mut named, mut placed, mut harmless) = (0, 0, 0);
    for file in sorted {
        let name = file.file_name().unwrap().to_str().unwrap();
        let size = fs::metadata(&file).unwrap().len();
        for _ in 0..8 {
            copy(&kept.path(), &changed);
            let place = dice.below(size);
            flip(&changed.join(name), place as usize, &mut dice);
            match found(&changed, kept.directory.path()) {
                Some(found) => {
                    let said = found.file.as_deref().unwrap_or_else(|| panic!("byte {place} of {name}: {found}"));
                    named += u32::from(said == name);
                    placed += u32::from(found.column.is_some() && found.height.is_some());
                }
                // A filter: it says which keys a file does not have, and when it is damaged, nothing.
                None => {
                    assert_is_the_chain(&changed, kept.directory.path(), &mut kept.oracle);
                    harmless += 1;
                }
            }
            fs::remove_dir_all(&changed).unwrap();
        }
    }
    let all = named + harmless;
    assert!(harmless <= 4 && all >= 8 * 14 - 4, "{named} named, {harmless} harmless");
    assert!(placed > 50, "{placed}");
}

#[test]
fn a_bit_flipped_in_the_list_of_files_does_not_pass_for_an_empty_store() {
    let mut kept = Kept::new(43, 12);
    let entries = fs::read_dir(kept.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let lists: Vec<String> = entries.filter(|name| name.starts_with("MANIFEST") || name == "CURRENT").collect();
    assert_eq!(lists.len(), 2);
    let changed = kept.directory.path().join("changed");
    let mut dice = Dice::new(43);
    for name in lists {
        let size = fs::metadata(kept.path().join(&name)).unwrap().len();
        for _ in 0..25 {
            copy(&kept.path(), &changed);
            let place = dice.below(size);
            flip(&changed.join(&name), place as usize, &mut dice);
            match Store::open(&changed) {
                Err(StoreError::Corrupt(_) | StoreError::NotAStore { .. }) => {
                    // The check says it as a finding: that it cannot be made would be no answer.
                    let report = check(&changed, kept.directory.path());
                    let first = report.ok().and_then(|report| report.problems.first().cloned());
                    let first = first.unwrap_or_else(|| panic!("byte {place} of {name}: nothing is found"));
                    // What it lists are files: whichever is lost, no one block of it can be named.
                    assert_eq!(first.height, None, "byte {place} of {name}: {first}");
                }
                Err(other) => panic!("byte {place} of {name}: {other:?}"),
                Ok(store) => {
                    drop(store);
                    let height = assert_is_the_chain(&changed, kept.directory.path(), &mut kept.oracle);
                    assert_eq!(height, 12, "byte {place} of {name}");
                }
            }
            fs::remove_dir_all(&changed).unwrap();
        }
    }
}

#[test]
fn a_bit_flipped_in_the_log_is_not_taken_for_a_crash() {
    let mut kept = Kept::new(42, 25);
    let log = files(&kept.path(), "log").pop().unwrap();
    let name = log.file_name().unwrap().to_str().unwrap().to_owned();
    let bytes = fs::read(&log).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let changed = kept.directory.path().join("changed");
    let mut dice = Dice::new(42);
    let mut named = 0;
    for _ in 0..60 {
        let place = dice.below(written as u64) as usize;
        copy(&kept.path(), &changed);
        flip(&changed.join(&name), place, &mut dice);
        let report = check(&changed, kept.directory.path()).unwrap();
        match Store::open(&changed) {
            Err(StoreError::Corrupt(found)) => {
                assert_eq!(found.file.as_deref(), Some(&name[..]), "{found}");
                let first = report.problems.first().unwrap_or_else(|| panic!("byte {place}: nothing is found"));
                assert_eq!((&first.file, first.height), (&found.file, Some(report.height + 1)), "{first}");
                named += 1;
            }
            // In the very last batch: just like one that a crash tore.
            Ok(store) => {
                assert_eq!(store.tip(), kept.oracle.tip(24), "byte {place} of {written}");
                assert!(report.is_sound(), "{report:?}");
                let torn = report.torn.unwrap_or_else(|| panic!("byte {place} of {written}: nothing is said"));
                assert!(torn.starts_with("block 25 is not there: the last record of"), "{torn}");
            }
            Err(other) => panic!("byte {place} of {written}: {other:?}"),
        }
        fs::remove_dir_all(&changed).unwrap();
    }
    assert!(named > 50, "{named}");
}

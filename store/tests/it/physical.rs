//! A changed byte in a file of the database is an error with a name, never a panic and never silence.

use crate::support::{Kept, Oracle, check, copy, files};
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
    let kept = Kept::new(41, 25);
    flush(&kept.path());
    let changed = kept.directory.path().join("changed");
    let mut dice = Dice::new(41);
    let sorted = files(&kept.path(), "sst");
    assert!(sorted.len() >= 14, "a file per column");
    for file in sorted {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let size = fs::metadata(&file).unwrap().len();
        for _ in 0..12 {
            copy(&kept.path(), &changed);
            let place = dice.below(size) as usize;
            flip(&changed.join(&name), place, &mut dice);
            let found = found(&changed, kept.directory.path());
            eprintln!("{name} {place}/{size}: {}", found.as_ref().map_or("SILENT".to_owned(), |f| f.to_string()));
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
        match Store::open(&changed) {
            Err(StoreError::Corrupt(found)) => {
                assert_eq!(found.file.as_deref(), Some(&name[..]), "{found}");
                named += 1;
            }
            // In the very last batch: just like one that a crash tore.
            Ok(store) => assert_eq!(store.tip(), kept.oracle.tip(24), "byte {place} of {written}"),
            Err(other) => panic!("byte {place} of {written}: {other:?}"),
        }
        fs::remove_dir_all(&changed).unwrap();
    }
    assert!(named > 50, "{named}");
    let _ = Oracle::new(0);
}

#[test]
fn zz_layout() {
    let kept = Kept::new(41, 25);
    flush(&kept.path());
    let changed = kept.directory.path().join("changed");
    let mut dice = Dice::new(41);
    for name in ["000010.sst", "000020.sst"] {
        let size = fs::metadata(kept.path().join(name)).unwrap().len() as usize;
        for place in (0..size).rev().take(2600) {
            copy(&kept.path(), &changed);
            flip(&changed.join(name), place, &mut dice);
            let found = found(&changed, kept.directory.path());
            if found.is_none() { eprintln!("{name} {place}/{size} SILENT"); }
            fs::remove_dir_all(&changed).unwrap();
        }
    }
    let _ = fs::copy(kept.path().join("000010.sst"), "/tmp/000010.sst");
}

//! Killed at any moment, the store is the chain up to the last acknowledged block, or one more.

use crate::children::{Child, Role};
use crate::support::{Kept, assert_is_the_chain, copy, files};
use std::ffi::OsStr;
use std::fs;
use tests::Dice;

/// How often one store is killed.
const KILLS: usize = 12;

#[test]
fn no_acknowledged_block_is_lost_when_the_process_is_killed() {
    let seed = 11;
    let mut kept = Kept::new(seed, 0);
    let mut dice = Dice::new(seed);
    let mut acknowledged = 0;
    for _ in 0..KILLS {
        let environment = [("STORE_PATH", kept.path().into_os_string()), ("STORE_SEED", seed.to_string().into())];
        let environment = environment.each_ref().map(|(name, value)| (*name, OsStr::new(value)));
        let mut child = Child::spawn(Role::Commit, &environment);
        for _ in 0..=dice.below(25) {
            acknowledged = child.line().unwrap().parse().unwrap();
        }
        // Somewhere inside what it does next: a block is made and committed in about a millisecond.
        for _ in 0..dice.below(2_000_000) {
            std::hint::spin_loop();
        }
        child.kill();
        // What it said before it died, and nobody read.
        while let Some(height) = child.line() {
            acknowledged = height.parse().unwrap();
        }
        let height = assert_is_the_chain(&kept.path(), kept.directory.path(), &mut kept.oracle);
        assert!(height == acknowledged || height == acknowledged + 1, "acknowledged {acknowledged}, kept {height}");
        acknowledged = height;
    }
}

#[test]
fn a_torn_end_of_the_log_costs_the_last_block_and_nothing_else() {
    let mut kept = Kept::new(12, 30);
    let logs = files(&kept.path(), "log");
    let log = logs.last().unwrap().file_name().unwrap().to_owned();
    let whole = fs::read(kept.path().join(&log)).unwrap();
    let written = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = kept.directory.path().join("torn");
    let mut dice = Dice::new(12);
    let mut heights = Vec::new();
    // All lengths close to the end, and some anywhere: each is what a crash could have left.
    let near = (0..40).map(|place| written - 1 - place * 7);
    let anywhere: Vec<usize> = (0..20).map(|_| dice.below(written as u64) as usize).collect();
    for length in near.chain(anywhere) {
        copy(&kept.path(), &torn);
        fs::write(torn.join(&log), &whole[..length]).unwrap();
        heights.push((length, assert_is_the_chain(&torn, kept.directory.path(), &mut kept.oracle)));
        fs::remove_dir_all(&torn).unwrap();
    }
    assert!(heights.iter().take(40).all(|(_, height)| *height >= 28), "{heights:?}");
    heights.sort_unstable();
    assert!(heights.is_sorted_by_key(|(_, height)| height), "a longer log never gives a shorter chain: {heights:?}");
    assert!(heights.iter().all(|(_, height)| *height < 30));
}

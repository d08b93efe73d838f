//! Hot rows: what the next block will ask for again, kept in memory.
//!
//! Executing a block reads tree nodes and records one by one, and most of them were written or read a
//! few blocks ago. Rows are taken in when they are read and when they are committed, and never differ
//! from the disk for the thread that commits.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a row costs beside its bytes: the table's slot and two allocations.
const ROW_OVERHEAD_BYTES: usize = 96;

/// Rows of one column, bounded.
pub(crate) struct Hot {
    rows: Mutex<Generations>,
    bytes_max: usize,
    /// Whether a row that nobody asked for yet is worth its room.
    take_new: bool,
}

/// Two generations instead of a list in order of use: a row that is read moves to the young one, and when
/// that has half of the room, the old one is dropped whole.
#[derive(Default)]
struct Generations {
    young: HashMap<Box<[u8]>, Box<[u8]>>,
    old: HashMap<Box<[u8]>, Box<[u8]>>,
    young_bytes: usize,
    commits: u64,
}

/// Says that a row read from disk may be older than what was committed meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Moment(u64);

impl Hot {
    /// For rows that are written to be read by the next block.
    pub(crate) fn of_all(bytes_max: usize) -> Self {
        Self { rows: Mutex::default(), bytes_max, take_new: true }
    }

    /// For rows of which many are written and few are ever read again.
    pub(crate) fn of_read(bytes_max: usize) -> Self {
        Self { rows: Mutex::default(), bytes_max, take_new: false }
    }

    /// The row, or the moment from which it is to be read from disk.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Vec<u8>, Moment> {
        let mut rows = self.lock();
        if let Some(value) = rows.young.get(key) {
            return Ok(value.to_vec());
        }
        match rows.old.remove_entry(key) {
            Some((key, value)) => {
                let copy = value.to_vec();
                self.insert(&mut rows, key, value);
                Ok(copy)
            }
            None => Err(Moment(rows.commits)),
        }
    }

    /// Takes in a row that was read from disk, unless a block was committed since `moment`.
    pub(crate) fn fill(&self, moment: Moment, key: &[u8], value: &[u8]) {
        let mut rows = self.lock();
        if rows.commits == moment.0 {
            self.insert(&mut rows, key.into(), value.into());
        }
    }

    /// Takes in what a block wrote and forgets what it deleted. Called once the block is on disk.
    pub(crate) fn commit<'a>(
        &self,
        written: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        deleted: impl Iterator<Item = &'a [u8]>,
    ) {
        let mut rows = self.lock();
        rows.commits += 1;
        for (key, value) in written {
            let known = rows.old.remove(key).is_some() || rows.young.contains_key(key);
            if known || self.take_new {
                self.insert(&mut rows, key.into(), value.into());
            }
        }
        for key in deleted {
            rows.old.remove(key);
            if let Some(value) = rows.young.remove(key) {
                rows.young_bytes -= cost(key, &value);
            }
        }
    }

    fn insert(&self, rows: &mut Generations, key: Box<[u8]>, value: Box<[u8]>) {
        if rows.young_bytes > self.bytes_max / 2 {
            rows.old = std::mem::take(&mut rows.young);
            rows.young_bytes = 0;
        }
        rows.young_bytes += cost(&key, &value);
        let length = key.len();
        if let Some(replaced) = rows.young.insert(key, value) {
            rows.young_bytes -= length + replaced.len() + ROW_OVERHEAD_BYTES;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + ROW_OVERHEAD_BYTES
}

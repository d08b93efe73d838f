//! Is the log whole?
//!
//! When it opens, RocksDB plays its log up to the first record that does not check out and forgets the
//! rest: right for a batch that a crash tore, which is always the last, and wrong for a byte that rotted in
//! the middle, because then blocks that were acknowledged would be gone without a word. So this looks
//! first: a record that is broken may be followed by the rest of its own batch, but not by the beginning
//! of a later one, which is only written once the earlier is on the disk.
//!
//! Format (RocksDB, `db/log_format.h`): blocks of 32 KiB; in them records of checksum (CRC-32C, masked),
//! length, type, low half of the log's number, payload. A log that is written over an older one ends where
//! records of another number begin.

use crate::error::{Corruption, StoreError};
use crate::lock::file_error;
use std::fs;
use std::path::Path;

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 4 + 2 + 1 + 4;
/// Types of records whose header has the log's number: whole batches, first, middle and last parts, and
/// notes of RocksDB's own.
const TYPES: [u8; 6] = [FULL, FIRST, 7, 8, 11, 131];
const FULL: u8 = 5;
const FIRST: u8 = 6;

/// Checks all logs of the database in `path`.
pub(crate) fn check(path: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(path).map_err(|source| file_error(path, source))? {
        let file = entry.map_err(|source| file_error(path, source))?.path();
        let number = file.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), true) = (number, file.extension().is_some_and(|extension| extension == "log")) {
            let log = fs::read(&file).map_err(|source| file_error(&file, source))?;
            if let Some((broken, later)) = find_hole(&log, number as u32) {
                let file = file.file_name().map(|name| name.to_string_lossy().into_owned());
                let detail = format!(
                    "the record at byte {broken} does not check out, and a later batch begins at byte {later}: \
                     acknowledged blocks are in between"
                );
                let column = None;
                return Err(StoreError::Corrupt(Box::new(Corruption {
                    column,
                    key: None,
                    height: None,
                    file,
                    detail,
                })));
            }
        }
    }
    Ok(())
}

/// Where a log breaks off, and where a batch begins after that; `None` when it is whole, or only its last
/// batch is torn.
fn find_hole(log: &[u8], number: u32) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some(record) = Record::at(log, at, number) {
        at = record.end;
        if BLOCK_BYTES - at % BLOCK_BYTES < HEADER_BYTES {
            at = at.next_multiple_of(BLOCK_BYTES);
        }
    }
    let number = number.to_le_bytes();
    let begins = |place: &usize| {
        log.get(place + 7..place + HEADER_BYTES) == Some(&number[..])
            && Record::at(log, *place, u32::from_le_bytes(number)).is_some_and(|record| record.begins_batch)
    };
    // Not at `at` itself: what stands there is what did not check out.
    (at + 1..log.len().saturating_sub(HEADER_BYTES)).find(begins).map(|later| (at, later))
}

struct Record {
    end: usize,
    begins_batch: bool,
}

impl Record {
    /// The record at a place, if there is one that checks out.
    fn at(log: &[u8], place: usize, number: u32) -> Option<Self> {
        let header = log.get(place..place + HEADER_BYTES)?;
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let (kind, end) = (header[6], place + HEADER_BYTES + length);
        let in_one_block = place / BLOCK_BYTES == (end - 1) / BLOCK_BYTES;
        if !TYPES.contains(&kind) || header[7..] != number.to_le_bytes() || !in_one_block {
            return None;
        }
        let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let computed = crc32c::crc32c(log.get(place + 6..end)?);
        (stored == mask(computed)).then_some(Self { end, begins_batch: matches!(kind, FULL | FIRST) })
    }
}

/// RocksDB stores checksums masked, because what it sums up may itself hold checksums.
const fn mask(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

//! Records in a log of RocksDB: where it breaks off, and whether that is its end.
//!
//! Format (RocksDB, `db/log_format.h`): blocks of 32 KiB; in them records of checksum (CRC-32C, masked),
//! length, type, low half of the log's number, payload. A log that is written over an older one ends where
//! records of another number begin. The list of files is never written over: its records have no number.

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 4 + 2 + 1 + 4;
/// Without the log's number.
const PLAIN_HEADER_BYTES: usize = 4 + 2 + 1;
/// Types of records without it: whole ones, and first, middle and last parts.
const PLAIN_TYPES: [u8; 4] = [PLAIN_FULL, PLAIN_FIRST, 3, 4];
const PLAIN_FULL: u8 = 1;
const PLAIN_FIRST: u8 = 2;
/// Types of records whose header has the log's number: whole batches, first, middle and last parts, and
/// notes of RocksDB's own.
const TYPES: [u8; 6] = [FULL, FIRST, 7, 8, 11, 131];
const FULL: u8 = 5;
const FIRST: u8 = 6;

/// Where a log breaks off, and where a batch begins after that; no such batch when it is whole, or only its last one is
/// torn.
pub(super) fn find_break(log: &[u8], number: Option<u32>) -> (Option<usize>, Option<usize>) {
    let header_bytes = header_bytes(number);
    let mut at = 0;
    while let Some(record) = Record::at(log, at, number) {
        at = record.end;
        if BLOCK_BYTES - at % BLOCK_BYTES < header_bytes {
            at = at.next_multiple_of(BLOCK_BYTES);
        }
    }
    let begins = |place: &usize| Record::at(log, *place, number).is_some_and(|record| record.begins_batch);
    // Not at `at` itself: what stands there is what did not check out.
    let later = (at + 1..log.len().saturating_sub(header_bytes)).find(begins);
    ((at < log.len()).then_some(at), later)
}

/// Whether a record with a log's own number begins at a place. Behind the end of a log there is nothing, or what was
/// there before it: zeros, or the middle of what an older log had there.
pub(super) fn is_begun(log: &[u8], at: usize, number: u32) -> bool {
    log.get(at + PLAIN_HEADER_BYTES..at + HEADER_BYTES).is_some_and(|bytes| bytes == number.to_le_bytes())
}

const fn header_bytes(number: Option<u32>) -> usize {
    if number.is_some() { HEADER_BYTES } else { PLAIN_HEADER_BYTES }
}

struct Record {
    end: usize,
    begins_batch: bool,
}

impl Record {
    /// The record at a place, if there is one that checks out.
    fn at(log: &[u8], place: usize, number: Option<u32>) -> Option<Self> {
        let header = log.get(place..place + header_bytes(number))?;
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let (kind, end) = (header[6], place + header.len() + length);
        let in_one_block = place / BLOCK_BYTES == (end - 1) / BLOCK_BYTES;
        let is_one = match number {
            Some(number) => TYPES.contains(&kind) && header[7..] == number.to_le_bytes(),
            None => PLAIN_TYPES.contains(&kind),
        };
        if !is_one || !in_one_block {
            return None;
        }
        let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let computed = crc32c::crc32c(log.get(place + 6..end)?);
        (stored == mask(computed))
            .then_some(Self { end, begins_batch: matches!(kind, FULL | FIRST | PLAIN_FULL | PLAIN_FIRST) })
    }
}

/// RocksDB stores checksums masked, because what it sums up may itself hold checksums.
const fn mask(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

//! The vote log as it is found after a crash: read to the first doubt, and written on from there.

use crate::memory::peak_of;
use consensus::LogEntry;
use consensus::log::{FRAME_HEADER_BYTES, Scan, scan};
use ledger::encoding::encode;

/// Memory for each byte of a log, and for a log at all.
const BYTES_PER_BYTE_MAX: usize = 24;
const BYTES_BEGUN_MAX: usize = 512 * 1024;
/// The largest generation a log reaches: it grows by one with each height and each start.
const GENERATION_MAX: u64 = u64::MAX / 2;

/// The first byte says whether checksums are made to fit: a bit that fell over has none that does, a careless
/// writer has.
pub fn scan_a_log(bytes: &[u8]) {
    let Some((repaired, bytes)) = bytes.split_first() else { return };
    let mut file = bytes.to_vec();
    if repaired & 1 == 1 {
        repair(&mut file);
    }
    let (found, taken) = peak_of(|| scan(&file));
    assert!(taken <= file.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes for {}", file.len());
    crate::doors::is_a_sentence(&found.stopped.to_string());
    let end = found.tail.offset();
    let read: usize = found.entries.iter().map(|entry| FRAME_HEADER_BYTES + encode(entry).len()).sum();
    assert_eq!(read, end, "the tail is behind the last entry");
    assert!(found.entries.iter().all(|entry| Some(entry.height()) == found.height()), "a log is of one height");

    // What was cut off is gone, and what was read stays read.
    file.truncate(end);
    assert_eq!(scan(&file).entries, found.entries);
    let cut = file.len().saturating_sub(usize::from(*repaired));
    assert!(found.entries.starts_with(&scan(&file[..cut]).entries), "a shorter log has the same beginning");
    goes_on(&file, found);
}

/// Another entry behind the tail is read with the others.
fn goes_on(file: &[u8], found: Scan) {
    let Some(entry) = found.entries.first().cloned() else { return };
    let (mut tail, mut file) = (found.tail, file.to_vec());
    file.extend(tail.append(&entry));
    file.extend([0; FRAME_HEADER_BYTES]);
    let expected: Vec<LogEntry> = found.entries.into_iter().chain([entry]).collect();
    let again = scan(&file);
    assert_eq!((again.entries, again.tail.offset()), (expected, tail.offset()));
}

/// Makes the checksums of all frames fit what is in them.
fn repair(file: &mut [u8]) {
    let (mut at, mut before) = (0, 0);
    while let Some(frame) = file.get_mut(at..).filter(|rest| rest.len() >= FRAME_HEADER_BYTES) {
        let length = u32::from_le_bytes(std::array::from_fn(|byte| frame[byte])) as usize;
        let generation = u64::from_le_bytes(std::array::from_fn(|byte| frame[4 + byte])).min(GENERATION_MAX);
        frame[4..12].copy_from_slice(&generation.to_le_bytes());
        let Some(entry) = frame.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length).filter(|_| length > 0) else {
            return;
        };
        let mut hasher = crc32fast::Hasher::new_with_initial(before);
        hasher.update(&frame[..12]);
        hasher.update(entry);
        before = hasher.finalize();
        frame[12..16].copy_from_slice(&before.to_le_bytes());
        at += FRAME_HEADER_BYTES + length;
    }
}

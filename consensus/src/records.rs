//! What a member writes down beside its vote log, and how it is read again: what it has signed, bodies it has judged,
//! evidence that is not on the ledger yet.
//!
//! This is only the framing, over bytes; the files are the node's. Each value stands behind its length and a checksum
//! (CRC-32), so that what a crash tore, or a disk forgot, is not there rather than something else. Nothing that a
//! checksum does not fit is looked at.

use crate::guard::GuardRecord;
use crate::member::EVIDENCE_KEPT_MAX;
use ledger::block::Block;
use ledger::encoding::{Canonical, decode, encode};
use ledger::evidence::Evidence;
use ledger::limits::MESSAGE_BYTES_MAX;

/// Length and checksum before a value.
const HEADER_BYTES: usize = 8;
/// Height before a body, behind its length and checksum.
const HEIGHT_BYTES: usize = 8;

/// A slot of the guard file: whole disk sectors with room for the largest record, so that writing one slot never
/// touches another.
pub const SLOT_BYTES: usize = (HEADER_BYTES + GuardRecord::BYTES_MAX).next_multiple_of(512);
/// More than all pieces of evidence have that are kept.
pub const EVIDENCE_BYTES_MAX: usize = EVIDENCE_KEPT_MAX * (HEADER_BYTES + MESSAGE_BYTES_MAX);

/// A guard record as it is written at the beginning of its slot. What an earlier, longer record left behind lies beyond
/// its length and is never read.
#[must_use]
pub fn slot(record: &GuardRecord) -> Vec<u8> {
    let slot = checked(&encode(record), &[]);
    debug_assert!(slot.len() <= SLOT_BYTES, "a guard record is within its bound");
    slot
}

/// The records of a guard file. A slot that does not read is empty.
#[must_use]
pub fn read_slots(file: &[u8]) -> Vec<GuardRecord> {
    let record = |slot: &[u8]| Some(value(slot, 0)?.0);
    file.chunks(SLOT_BYTES).filter_map(record).collect()
}

/// A judged body as it is written behind those of its height.
#[must_use]
pub fn body(block: &Block) -> Vec<u8> {
    checked(&encode(block), &block.header.height.to_le_bytes())
}

/// Blocks of `height`, from the beginning to the first doubt, and where they end.
#[must_use]
pub fn read_bodies(file: &[u8], height: u64) -> (Vec<Block>, usize) {
    let (mut blocks, mut rest) = (Vec::new(), file);
    // It stands before the body as well: what is of another height is not even read.
    while rest.get(HEADER_BYTES..HEADER_BYTES + HEIGHT_BYTES) == Some(&height.to_le_bytes()[..])
        && let Some((block, behind)) = value::<Block>(rest, HEIGHT_BYTES)
        && block.header.height == height
    {
        blocks.push(block);
        rest = behind;
    }
    (blocks, file.len() - rest.len())
}

/// Pieces of evidence as they are written, one after the other.
#[must_use]
pub fn evidence(pieces: &[Evidence]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| checked(&encode(piece), &[])).collect()
}

/// Pieces of evidence, from the beginning to the first doubt.
#[must_use]
pub fn read_evidence(file: &[u8]) -> Vec<Evidence> {
    let mut rest = file;
    std::iter::from_fn(|| {
        let (piece, behind) = value(rest, 0)?;
        rest = behind;
        Some(piece)
    })
    .collect()
}

/// Length, checksum, whatever stands between, value.
fn checked(value: &[u8], between: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("records and blocks are within their limits");
    [&length.to_le_bytes()[..], &crc32fast::hash(value).to_le_bytes(), between, value].concat()
}

/// The value at the beginning, with so many bytes between it and its header, and what stands behind it.
fn value<T: Canonical>(bytes: &[u8], between: usize) -> Option<(T, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (value, behind) = rest.get(between..)?.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (crc32fast::hash(value) == u32::from_le_bytes(*checksum)).then_some(())?;
    Some((decode(value).ok()?, behind))
}

#[cfg(test)]
mod tests;

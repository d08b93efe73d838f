//! Values one after the other: on streams of peers, in snapshots, in the files beside a vote log, in requests; and where
//! a list goes on.

use crate::doors::is_a_sentence;
use crate::memory::peak_of;
use consensus::member::PeerMessage;
use consensus::records;
use ledger::encoding::Canonical;
use ledger::frame::{FrameError, frame, read};
use ledger::limits::INVENTORY_PACKED_BYTES_MAX;
use ledger::snapshot::SnapshotPart;
use std::fmt::Debug;

/// Memory for each byte of a file or stream …
const BYTES_PER_BYTE_MAX: usize = 32;
/// … and for what was begun, as in [`crate::doors`].
const BYTES_BEGUN_MAX: usize = 1280 * 1024;
/// Longest message of a request, here: small, so that it is met.
const MESSAGE_BYTES_MAX: usize = 300;

// Both rooms link what no fuzz target may (RocksDB, libp2p). These files of theirs need nothing of them.
#[path = "../../node/src/grpc/intake/frames.rs"]
mod intake;
#[allow(dead_code, reason = "of the room's file, one type is looked at")]
#[path = "../../node/src/inventories/record.rs"]
mod inventories;
#[allow(dead_code, reason = "of the room's file, one type is looked at")]
#[path = "../../store/src/query/page.rs"]
mod page;
#[path = "../../store/src/wal/records.rs"]
mod wal;

/// The first byte says of what: what peers say, or parts of a snapshot. What is read is what a peer, or a store, would
/// have written, up to the first frame that is none.
pub fn read_stream(bytes: &[u8]) {
    let Some((which, stream)) = bytes.split_first() else { return };
    if which & 1 == 0 { stream_of::<PeerMessage>(stream) } else { stream_of::<SnapshotPart>(stream) }
}

fn stream_of<T: Canonical + Debug>(stream: &[u8]) {
    let (mut rest, mut written) = (stream, Vec::new());
    loop {
        let begins = stream.len() - rest.len();
        let (value, taken) = peak_of(|| read::<T>(&mut rest));
        let came = stream.len() - begins;
        assert!(taken <= came * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory for {came}");
        match value {
            Ok(value) => written.extend(frame(&value)),
            Err(error) => {
                is_a_sentence(&error.to_string());
                let breaks_off = matches!(error, FrameError::Read(_));
                assert!(rest.is_empty() || !breaks_off, "it breaks off before its end");
                return assert!(stream.starts_with(&written) && written.len() == begins, "one value, two frames");
            }
        }
    }
}

/// The first byte says which file it is, and whether its checksums are made to fit. What is read is what was written.
pub fn read_records(bytes: &[u8]) {
    let [how, height, file @ ..] = bytes else { return };
    let mut file = file.to_vec();
    let between = if how & 3 == 1 { 8 } else { 0 };
    if how & 4 == 4 {
        let stride = if how & 3 == 0 { Some(records::SLOT_BYTES) } else { None };
        repair(&mut file, between, stride);
    }
    let (kept, taken) = peak_of(|| match how & 3 {
        0 => {
            let found = records::read_slots(&file);
            let slots = found.iter().map(records::slot).collect();
            (slots, file.len())
        }
        1 => {
            let (blocks, end) = records::read_bodies(&file, u64::from(*height));
            assert!(blocks.iter().all(|block| block.header.height == u64::from(*height)), "of another height");
            (blocks.iter().map(records::body).collect::<Vec<_>>(), end)
        }
        _ => {
            let written = records::evidence(&records::read_evidence(&file));
            let end = written.len();
            (vec![written], end)
        }
    });
    assert!(taken <= file.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory");
    let (written, end) = kept;
    if how & 3 == 0 {
        let mut slots = file.chunks(records::SLOT_BYTES);
        assert!(written.iter().all(|record| slots.any(|slot| slot.starts_with(record))), "nobody wrote that");
    } else {
        assert!(file[..end] == written.concat(), "nobody wrote that");
    }
}

/// Makes the checksums of all frames fit what is in them: they stand one after the other, or at the beginnings of slots.
fn repair(file: &mut [u8], between: usize, stride: Option<usize>) {
    let mut at = 0;
    while let Some(header) = file.get(at..at + 8) {
        let length = u32::from_le_bytes(std::array::from_fn(|byte| header[byte])) as usize;
        let begins = at + 8 + between;
        let value = begins.checked_add(length).and_then(|end| file.get(begins..end)).filter(|_| length > 0);
        if let Some(checksum) = value.map(crc32fast::hash) {
            file[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
        }
        at += match stride {
            Some(stride) => stride,
            None => 8 + between + length,
        };
    }
}

/// The first byte says in what pieces the rest comes: however it does, the same messages are counted, and nothing after
/// one that is too long.
pub fn count_messages(bytes: &[u8]) {
    let Some((piece, body)) = bytes.split_first() else { return };
    let expected = counted(body);
    for piece in [body.len().max(1), usize::from(*piece).max(1), 1] {
        let mut frames = intake::Frames::new(MESSAGE_BYTES_MAX);
        let mut at = 0;
        let refused = body.chunks(piece).find_map(|chunk| {
            at += chunk.len();
            match frames.advance(chunk) {
                Ok(begun) => {
                    assert!(begun.is_none_or(|length| (1..=frames.most).contains(&length)));
                    assert!(begun.is_none() || !frames.is_between(), "one that is begun is not over");
                    None
                }
                Err(intake::TooLong(length)) => Some(length),
            }
        });
        assert_eq!((frames.whole, refused), (expected.0, expected.2), "in pieces of {piece}");
        assert!(refused.is_some() || frames.is_between() == expected.1, "in pieces of {piece}");
    }
}

/// Whole messages, whether the bytes end with one, and the length of one that is too long.
fn counted(mut body: &[u8]) -> (u64, bool, Option<usize>) {
    let mut whole = 0;
    loop {
        let [_, a, b, c, d, rest @ ..] = body else { return (whole, body.is_empty(), None) };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if length > MESSAGE_BYTES_MAX {
            return (whole, false, Some(length));
        }
        let Some(behind) = rest.get(length..) else { return (whole, false, None) };
        (whole, body) = (whole + 1, behind);
    }
}

/// Where a list goes on: one text for one place.
pub fn parse_page_token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<page::Cursor>() {
        Ok(cursor) => assert_eq!(cursor.to_string(), text),
        Err(error) => is_a_sentence(&error.to_string()),
    }
}

/// What a node has noted of an endpoint: what is counted for it is possible, and it is written as it was read.
pub fn read_inventory_record(bytes: &[u8]) {
    let (parsed, taken) = peak_of(|| inventories::Record::parse(bytes));
    assert!(taken <= bytes.len() * BYTES_PER_BYTE_MAX + BYTES_BEGUN_MAX, "{taken} bytes of memory");
    let Ok(mut record) = parsed else { return };
    assert_eq!(inventories::Record::parse(&record.to_bytes()).ok().as_ref(), Some(&record), "written, and not read");
    let each = INVENTORY_PACKED_BYTES_MAX as u64;
    assert!(record.bytes() <= record.entries.len() as u64 * each + inventories::RECORD_BYTES);
    let newest = record.newest();
    record.forget_oldest(2, each);
    assert!(record.newest() == newest && record.entries.len() <= 2, "the newest is never forgotten");
}

/// How the log of a database ends. The first byte says whether records have the log's number, and whether checksums are
/// made to fit. Whatever the bytes are, a break lies behind records that check out, and what begins later behind the
/// break.
pub fn find_break(bytes: &[u8]) {
    let Some((how, log)) = bytes.split_first() else { return };
    let mut log = log.to_vec();
    let number = (how & 1 == 1).then_some(WAL_NUMBER);
    if how & 2 == 2 {
        repair_records(&mut log, number);
    }
    let (broken, later) = wal::find_break(&log, number);
    let Some(at) = broken else { return assert_eq!(later, None, "something begins behind the end") };
    assert!(at < log.len() && later.is_none_or(|later| later > at));
    // What stands before the break is whole without what is behind it.
    assert_eq!(wal::find_break(&log[..at], number), (None, None));
    if let Some(number) = number {
        let _ = wal::is_begun(&log, at, number);
    }
}

/// Number of the log that is read.
pub const WAL_NUMBER: u32 = 7;

/// Makes the checksums of all records fit what is in them: of type and what follows, masked (CRC-32C).
pub fn repair_records(log: &mut [u8], number: Option<u32>) {
    let (header_bytes, mut at) = (if number.is_some() { 11 } else { 7 }, 0);
    while let Some(header) = log.get(at..at + header_bytes) {
        let end = at + header_bytes + usize::from(u16::from_le_bytes([header[4], header[5]]));
        if let Some(summed) = log.get(at + 6..end) {
            let checksum = crc32c::crc32c(summed).rotate_right(15).wrapping_add(0xa282_ead8);
            log[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        }
        at = end;
    }
}

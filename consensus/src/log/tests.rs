use super::*;
use crate::message::VoteKind;
use crate::timer::TimerKind;
use ledger::certificate::VoteBody;
use ledger::key::{PublicKey, Signature};

const FILE_BYTES: usize = 8 * 1024;

fn vote(height: u64, round: u32) -> LogEntry {
    LogEntry::Vote(SignedVote {
        kind: VoteKind::Prevote,
        body: VoteBody { height, round, block: Some(BlockHash([u8::try_from(round % 256).unwrap(); 32])) },
        voter: PublicKey([3; 32]),
        signature: Signature([4; 64]),
    })
}

fn timer(height: u64, round: u32) -> LogEntry {
    LogEntry::Timer(Timer { height, round, kind: TimerKind::Propose })
}

/// A file as a node keeps it: preallocated, written in place.
struct File {
    bytes: Vec<u8>,
    tail: Tail,
    /// Where each frame of the current generation starts.
    starts: Vec<usize>,
}

impl File {
    fn blank() -> Self {
        Self { bytes: vec![0; FILE_BYTES], tail: Tail::blank(), starts: Vec::new() }
    }

    fn append(&mut self, entry: &LogEntry) {
        let offset = self.tail.offset();
        let frame = self.tail.append(entry);
        self.bytes[offset..offset + frame.len()].copy_from_slice(&frame);
        self.starts.push(offset);
    }

    fn start_over(&mut self) {
        self.tail = self.tail.start_over();
        self.starts.clear();
    }

    fn of(entries: &[LogEntry]) -> Self {
        let mut file = Self::blank();
        entries.iter().for_each(|entry| file.append(entry));
        file
    }
}

fn entries() -> Vec<LogEntry> {
    vec![vote(5, 0), timer(5, 0), vote(5, 1), timer(5, 1), vote(5, 2)]
}

#[test]
fn what_was_written_is_read() {
    let file = File::of(&entries());
    let scan = scan(&file.bytes);
    assert_eq!((&scan.entries, &scan.stopped), (&entries(), &Stop::End));
    assert_eq!(scan.tail.offset(), file.tail.offset());
    assert_eq!(scan.height(), Some(5));
    assert_eq!(scan.clone().entries_of(5), entries());
    assert_eq!(scan.entries_of(6), vec![], "another height wants nothing of it");
}

#[test]
fn a_blank_file_is_an_empty_log() {
    for bytes in [vec![], vec![0; 3], vec![0; FILE_BYTES]] {
        let scan = scan(&bytes);
        assert_eq!((scan.entries, scan.tail, scan.stopped), (vec![], Tail::blank(), Stop::End));
    }
}

#[test]
fn wherever_the_last_write_is_torn_the_entries_before_it_are_read_and_no_more() {
    let file = File::of(&entries());
    let last = *file.starts.last().unwrap();
    for kept in last..file.tail.offset() {
        let mut torn = file.bytes.clone();
        torn[kept..].fill(0);
        assert_eq!(scan(&torn).entries, entries()[..4], "torn after {kept} bytes, zeros behind");
        assert_eq!(scan(&file.bytes[..kept]).entries, entries()[..4], "torn after {kept} bytes, end of file");
    }
}

#[test]
fn whichever_bit_turns_its_entry_and_all_behind_it_are_cut() {
    let file = File::of(&entries());
    for place in 0..file.tail.offset() {
        for bit in 0..8 {
            let mut rotten = file.bytes.clone();
            rotten[place] ^= 1 << bit;
            let intact = file.starts.iter().filter(|start| **start <= place).count() - 1;
            let scan = scan(&rotten);
            assert_eq!(scan.entries, entries()[..intact], "bit {bit} of byte {place}");
            assert_eq!(scan.tail.offset(), file.starts[intact]);
        }
    }
}

#[test]
fn frames_of_an_earlier_height_are_never_taken_for_current() {
    let mut file = File::of(&(0..8).map(|round| vote(5, round)).collect::<Vec<_>>());
    file.start_over();
    for round in 0..8 {
        file.append(&vote(6, round));
        let expected: Vec<LogEntry> = (0..=round).map(|round| vote(6, round)).collect();
        let scan = scan(&file.bytes);
        assert_eq!(scan.entries, expected, "frames of one length, so old ones follow without a gap");
        assert!(round == 7 || scan.stopped == Stop::Older, "{:?}", scan.stopped);
    }
}

#[test]
fn a_log_that_started_over_and_wrote_nothing_still_says_its_old_height() {
    let mut file = File::of(&entries());
    file.start_over();
    assert_eq!(scan(&file.bytes).entries_of(6), vec![]);
}

/// After a corrupt frame there may be good ones. Once cut, they stay cut, even when what is written over
/// the corrupt one is byte for byte what stood there.
#[test]
fn what_was_cut_off_does_not_come_back() {
    let file = File::of(&entries());
    let mut rotten = File { bytes: file.bytes.clone(), ..File::blank() };
    rotten.bytes[file.starts[2] + FRAME_HEADER_BYTES] ^= 1;
    let scanned = scan(&rotten.bytes);
    assert_eq!(scanned.entries, entries()[..2]);
    assert_eq!(scanned.stopped, Stop::Corrupt);
    rotten.tail = scanned.tail;
    rotten.append(&entries()[2]);
    let again = scan(&rotten.bytes);
    assert_eq!(again.entries, entries()[..3], "even without wiping, as the node must");
    assert_eq!(again.stopped, Stop::Older);
}

/// Two frames of one length in one generation: only their place tells them apart.
#[test]
fn a_frame_out_of_its_place_is_cut() {
    let file = File::of(&[vote(5, 0), vote(5, 1), vote(5, 2)]);
    let length = file.starts[1] - file.starts[0];
    for (from, to, intact) in [(0, 1, 1), (2, 0, 0), (2, 1, 1)] {
        let mut misplaced = file.bytes.clone();
        misplaced.copy_within(file.starts[from]..file.starts[from] + length, file.starts[to]);
        let scan = scan(&misplaced);
        assert_eq!((scan.entries.len(), scan.stopped), (intact, Stop::Corrupt), "frame {from} at place {to}");
    }
}

#[test]
fn generations_grow_with_every_opening() {
    let mut file = File::blank();
    for round in 0..20 {
        file.append(&vote(5, round));
        file.tail = scan(&file.bytes).tail;
    }
    assert_eq!(scan(&file.bytes).entries.len(), 20, "a log written in twenty sittings is one log");
}

#[test]
fn entries_of_two_heights_are_not_one_log() {
    let file = File::of(&[vote(5, 0), vote(6, 0)]);
    let scan = scan(&file.bytes);
    assert_eq!((scan.entries, scan.stopped), (vec![vote(5, 0)], Stop::Older));
}

#[test]
fn arbitrary_bytes_are_no_log() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for length in 0..2_000 {
        let bytes: Vec<u8> = (0..length).map(|_| next()).collect();
        assert_eq!(scan(&bytes).entries, vec![]);
    }
}

#[test]
fn a_frame_with_a_good_checksum_and_no_entry_is_cut() {
    let mut file = File::of(&entries()[..1]);
    let nonsense = [0xff; 40];
    let length = u32::try_from(nonsense.len()).unwrap();
    let sum = checksum(file.tail.checksum, length, file.tail.generation, &nonsense);
    let header = [length.to_le_bytes().as_slice(), &file.tail.generation.to_le_bytes(), &sum.to_le_bytes()].concat();
    let frame = [header.as_slice(), &nonsense].concat();
    let offset = file.tail.offset();
    file.bytes[offset..offset + frame.len()].copy_from_slice(&frame);
    let scan = scan(&file.bytes);
    assert_eq!(scan.entries, entries()[..1]);
    assert!(matches!(scan.stopped, Stop::Entry(_)), "{:?}", scan.stopped);
}

/// A file may be larger than any frame, and rot may say so with a checksum that fits.
#[test]
fn a_frame_longer_than_any_is_not_read() {
    let length = MESSAGE_BYTES_MAX + 1;
    let entry = vec![0; length];
    let announced = u32::try_from(length).unwrap();
    let sum = checksum(0, announced, 1, &entry);
    let header = [announced.to_le_bytes().as_slice(), &1u64.to_le_bytes(), &sum.to_le_bytes()].concat();
    let scan = scan(&[header, entry].concat());
    assert_eq!((scan.entries, scan.stopped), (vec![], Stop::Torn { length, left: length }));
}

#[test]
fn a_vote_fits_into_an_eighth_of_a_page() {
    let mut tail = Tail::blank();
    let frame = tail.append(&vote(u64::MAX, u32::MAX));
    assert!(frame.len() <= 512, "{} bytes", frame.len());
}

//! The vote log: what a replica writes down before it speaks, and how it is read again.
//!
//! This is only the framing, over bytes; the file is the node's. The file is allocated once and used
//! over and over: every height starts again at its beginning, because writing in place is what a disk
//! does fastest. So behind the end of the log there are always frames of earlier heights, whole and
//! with good checksums, and none of them may ever be taken for current:
//!
//! - every frame carries a *generation*, which grows each time the log starts over or is opened;
//! - the checksum of a frame covers the checksum of the frame before it, so that a frame means
//!   something only behind the very frames it was written behind.
//!
//! A frame is `length u32 ‖ generation u64 ‖ checksum u32 ‖ entry`, little-endian. Reading stops at the
//! first frame that is not beyond doubt. Nothing behind it is looked at: a gap is not guessed over.

use crate::message::{Polka, SignedProposal, SignedVote};
use crate::timer::Timer;
use ledger::certificate::Certificate;
use ledger::encoding::{Canonical, DecodeError, Limit, decode, encode};
use ledger::id::BlockHash;
use ledger::limits::MESSAGE_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// One thing that happened to a replica and must not be forgotten in a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogEntry {
    /// A vote, ours or another's.
    Vote(SignedVote),
    /// A proposal, ours or another's.
    Proposal(SignedProposal),
    /// A quorum of prevotes shown to us.
    Polka(Polka),
    /// What the node found about a block.
    Verdict {
        /// Height of the block.
        height: u64,
        /// Round it was named in.
        round: u32,
        /// The block.
        block: BlockHash,
        /// Whether it is good.
        valid: bool,
        /// Named by a certificate rather than by a proposal.
        certified: bool,
    },
    /// A timer that ran out.
    Timer(Timer),
    /// A certificate shown to us by a replica that had decided.
    Decided(Certificate),
}

impl Canonical for LogEntry {
    const NAME: &'static str = "vote log entry";
    const LIMIT: Limit = Limit::Message;
}

impl LogEntry {
    /// The height it belongs to.
    #[must_use]
    pub fn height(&self) -> u64 {
        match self {
            Self::Vote(vote) => vote.body.height,
            Self::Proposal(proposal) => proposal.body.height,
            Self::Polka(polka) => polka.height,
            Self::Verdict { height, .. } => *height,
            Self::Timer(timer) => timer.height,
            Self::Decided(certificate) => certificate.height,
        }
    }
}

/// Bytes before the entry in a frame.
pub const FRAME_HEADER_BYTES: usize = 16;
/// The largest frame.
pub const FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + MESSAGE_BYTES_MAX;

/// Where a log ends: what the next frame depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    generation: u64,
    checksum: u32,
    offset: usize,
}

impl Tail {
    /// The tail of a log that has never been written. Its bytes are all zero.
    #[must_use]
    pub const fn blank() -> Self {
        Self { generation: 1, checksum: 0, offset: 0 }
    }

    /// Starts over at the beginning, for the next height. What was written before is forgotten, though
    /// its bytes are still there.
    #[must_use]
    pub const fn start_over(self) -> Self {
        Self { generation: self.generation.saturating_add(1), checksum: 0, offset: 0 }
    }

    /// Where the next frame goes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes of the next frame; they belong at [`Tail::offset`] as it was before the call.
    #[must_use]
    pub fn append(&mut self, entry: &LogEntry) -> Vec<u8> {
        let entry = encode(entry);
        let length = u32::try_from(entry.len()).expect("an entry is within the message limit");
        self.checksum = checksum(self.checksum, length, self.generation, &entry);
        let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + entry.len());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&self.generation.to_le_bytes());
        frame.extend_from_slice(&self.checksum.to_le_bytes());
        frame.extend_from_slice(&entry);
        self.offset += frame.len();
        frame
    }
}

fn checksum(before: u32, length: u32, generation: u64, entry: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(&length.to_le_bytes());
    hasher.update(&generation.to_le_bytes());
    hasher.update(entry);
    hasher.finalize()
}

/// Why reading a log stopped where it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// At bytes never written, or at the end of the file: the log ends here.
    #[error("end of the log")]
    End,
    /// At a frame left over from before the log last started over or was opened: the log ends here.
    #[error("end of the log: an older generation follows")]
    Older,
    /// In a frame longer than what is left of the file, or than any frame may be.
    #[error("torn frame: {length} bytes announced, {left} left")]
    Torn {
        /// Bytes announced.
        length: usize,
        /// Bytes left.
        left: usize,
    },
    /// At a frame whose bytes are not those that were written.
    #[error("a frame does not match its checksum")]
    Corrupt,
    /// At a frame that is whole but holds no entry.
    #[error(transparent)]
    Entry(#[from] DecodeError),
}

/// What could be read of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The entries, in the order they were written. All of one height.
    pub entries: Vec<LogEntry>,
    /// Where to go on. **Everything from `tail.offset()` on must be overwritten with zeros before the
    /// first append**: after a corrupt frame there may be good ones, and they are cut off for ever.
    pub tail: Tail,
    /// Why reading stopped.
    pub stopped: Stop,
}

impl Scan {
    /// The height the entries belong to.
    #[must_use]
    pub fn height(&self) -> Option<u64> {
        self.entries.first().map(LogEntry::height)
    }

    /// The entries, if they belong to this height: what [`crate::Input::StartHeight`] wants to know.
    #[must_use]
    pub fn entries_of(self, height: u64) -> Vec<LogEntry> {
        if self.height() == Some(height) { self.entries } else { Vec::new() }
    }
}

/// Reads a log from its first byte to the first doubt.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scan {
    let mut scan =
        Scan { entries: Vec::new(), tail: Tail { generation: 0, checksum: 0, offset: 0 }, stopped: Stop::End };
    scan.stopped = loop {
        if let Err(stop) = read_frame(bytes, &mut scan) {
            break stop;
        }
    };
    scan.tail.generation = scan.tail.generation.saturating_add(1);
    scan
}

/// Reads the frame at the tail and moves the tail behind it.
fn read_frame(bytes: &[u8], scan: &mut Scan) -> Result<(), Stop> {
    let rest = bytes.get(scan.tail.offset..).unwrap_or_default();
    let Some((length, generation, stored)) = read_header(rest) else { return Err(Stop::End) };
    if length == 0 {
        return Err(Stop::End);
    }
    if generation < scan.tail.generation {
        return Err(Stop::Older);
    }
    let left = rest.len() - FRAME_HEADER_BYTES;
    let announced = usize::try_from(length).unwrap_or(usize::MAX);
    if announced > left || announced > MESSAGE_BYTES_MAX {
        return Err(Stop::Torn { length: announced, left });
    }
    let entry = &rest[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + announced];
    if checksum(scan.tail.checksum, length, generation, entry) != stored {
        return Err(Stop::Corrupt);
    }
    let entry: LogEntry = decode(entry)?;
    // The log starts over with every height, so another height in it is not of this log.
    if scan.height().is_some_and(|height| height != entry.height()) {
        return Err(Stop::Older);
    }
    scan.entries.push(entry);
    scan.tail = Tail { generation, checksum: stored, offset: scan.tail.offset + FRAME_HEADER_BYTES + announced };
    Ok(())
}

fn read_header(bytes: &[u8]) -> Option<(u32, u64, u32)> {
    let (length, bytes) = bytes.split_first_chunk()?;
    let (generation, bytes) = bytes.split_first_chunk()?;
    let (checksum, _) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*length), u64::from_le_bytes(*generation), u32::from_le_bytes(*checksum)))
}

#[cfg(test)]
mod tests;

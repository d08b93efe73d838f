//! The boot environment: the few bytes in which the boot loader and the agent tell each other which slot is started.
//!
//! It is a GRUB environment block (1024 bytes: a header, lines `name=value`, filled up with `#`), in a file of its own.
//! Three of its variables are Countersign's, each of one character, so that whoever writes them changes bytes and
//! moves none:
//!
//! ```text
//! countersign_active      a | b       the slot that is known to be good
//! countersign_trying      a | b | -   the slot that is tried, if one is
//! countersign_tries_left  0 … 9       how often it may still be started
//! ```
//!
//! Neither side replaces the file. GRUB can only write into the blocks a file has; and a write into them needs no
//! room and is one sector, as long as all three variables stand in the first one, which is checked. Wherever the
//! write is torn, the loader starts one slot or the other ([`Choice`]'s tests try every place).

use crate::files::{FileError, failed};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes of a block, always.
pub const BLOCK_BYTES: usize = 1024;
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;
/// How every block begins.
const HEADER: &[u8] = b"# GRUB Environment Block\n";
/// Most tries there can be: one digit.
pub const TRIES_MAX: u8 = 9;

const ACTIVE: &str = "countersign_active";
const TRYING: &str = "countersign_trying";
const TRIES_LEFT: &str = "countersign_tries_left";

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotName {
    /// The one.
    A,
    /// The other.
    B,
}

impl SlotName {
    /// The one this is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::A => b'a',
            Self::B => b'b',
        }
    }

    pub(super) fn of(text: &[u8]) -> Option<Self> {
        match text {
            b"a" => Some(Self::A),
            b"b" => Some(Self::B),
            _ => None,
        }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::A { "a" } else { "b" })
    }
}

/// What a block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The slot that is known to be good.
    pub active: SlotName,
    /// The slot that is tried.
    pub trying: Option<SlotName>,
    /// How often it may still be started.
    pub tries_left: u8,
}

impl Choice {
    /// One slot, and no other.
    #[must_use]
    pub fn only(active: SlotName) -> Self {
        Self { active, trying: None, tries_left: 0 }
    }
}

/// Why bytes are no block that can be gone by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// GRUB takes no other.
    #[error("it has {0} bytes, an environment block has {BLOCK_BYTES}")]
    Length(usize),
    /// Something else, or a write that went wrong.
    #[error("it does not begin as an environment block does")]
    Header,
    /// A variable is not there.
    #[error("{0} is not in it")]
    Missing(&'static str),
    /// A variable is there twice.
    #[error("{0} is in it twice")]
    Twice(&'static str),
    /// A variable has a value it cannot have.
    #[error("{0} has a value that it cannot have")]
    Value(&'static str),
    /// A write of it could be torn.
    #[error("{0} is not within the first {SECTOR_BYTES} bytes: make the block anew, with it first")]
    Place(&'static str),
}

/// A block, and where the variables are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    bytes: [u8; BLOCK_BYTES],
    active: usize,
    trying: usize,
    tries_left: usize,
}

impl Block {
    /// Reads a block.
    ///
    /// # Errors
    /// [`BlockError`] is the first thing that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BlockError> {
        let bytes: [u8; BLOCK_BYTES] = bytes.try_into().map_err(|_| BlockError::Length(bytes.len()))?;
        if !bytes.starts_with(HEADER) {
            return Err(BlockError::Header);
        }
        let (active, trying) = (place(&bytes, ACTIVE)?, place(&bytes, TRYING)?);
        let block = Self { active, trying, tries_left: place(&bytes, TRIES_LEFT)?, bytes };
        block.read().map(|_| block)
    }

    fn read(&self) -> Result<Choice, BlockError> {
        let byte = |at: usize| self.bytes[at];
        let active = SlotName::of(&[byte(self.active)]).ok_or(BlockError::Value(ACTIVE))?;
        let trying = match byte(self.trying) {
            b'-' => None,
            slot => Some(SlotName::of(&[slot]).ok_or(BlockError::Value(TRYING))?),
        };
        let left = byte(self.tries_left);
        let tries_left = left.is_ascii_digit().then(|| left - b'0').ok_or(BlockError::Value(TRIES_LEFT))?;
        Ok(Choice { active, trying, tries_left })
    }

    /// What it says.
    #[must_use]
    pub fn choice(&self) -> Choice {
        // It was read when it was parsed, and only `set` has changed it since.
        self.read().unwrap_or(Choice::only(SlotName::A))
    }

    /// Makes it say something else; nothing but these three bytes changes.
    pub fn set(&mut self, choice: Choice) {
        self.bytes[self.active] = choice.active.byte();
        self.bytes[self.trying] = choice.trying.map_or(b'-', SlotName::byte);
        self.bytes[self.tries_left] = b'0' + choice.tries_left.min(TRIES_MAX);
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BLOCK_BYTES] {
        &self.bytes
    }
}

/// Where the value of a variable is: one byte, and the end of its line behind it.
fn place(bytes: &[u8; BLOCK_BYTES], name: &'static str) -> Result<usize, BlockError> {
    let (mut at, mut found) = (HEADER.len(), None);
    while at < bytes.len() {
        let length = line_length(&bytes[at..]);
        let line = &bytes[at..at + length];
        if let Some(value) = line.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
            match (found, value.len(), bytes.get(at + length)) {
                (Some(_), ..) => return Err(BlockError::Twice(name)),
                (None, 1, Some(b'\n')) => found = Some(at + name.len() + 1),
                _ => return Err(BlockError::Value(name)),
            }
        }
        at += length + 1;
    }
    match found {
        None => Err(BlockError::Missing(name)),
        Some(at) if at >= SECTOR_BYTES => Err(BlockError::Place(name)),
        Some(at) => Ok(at),
    }
}

/// Bytes up to the end of the line. As GRUB has it, a backslash takes away the meaning of what follows it.
fn line_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != b'\n' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// Why an environment cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvironmentError {
    /// The operating system said no.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is there is damaged.
    #[error("{} is no boot environment: {damage}", path.display())]
    Damaged { path: PathBuf, damage: BlockError },
}

impl From<EnvironmentError> for FileError {
    fn from(error: EnvironmentError) -> Self {
        match error {
            EnvironmentError::File(error) => error,
            EnvironmentError::Damaged { path, damage } => {
                failed("understand", &path)(io::Error::new(io::ErrorKind::InvalidData, damage))
            }
        }
    }
}

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Environment(PathBuf);

impl Environment {
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn read(&self) -> Result<Block, EnvironmentError> {
        // What is longer is as damaged as what is shorter, and mended the same way.
        let mut bytes = Vec::new();
        let file = File::open(&self.0).map_err(failed("open", &self.0))?;
        file.take(BLOCK_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed("read", &self.0))?;
        Block::parse(&bytes).map_err(|damage| EnvironmentError::Damaged { path: self.0.clone(), damage })
    }

    /// Writes a block into the place of the one that is there; it is on the disk when this returns.
    pub(super) fn write(&self, block: &Block) -> Result<(), FileError> {
        let file = OpenOptions::new().write(true).open(&self.0).map_err(failed("open", &self.0))?;
        file.write_all_at(block.bytes(), 0).map_err(failed("write", &self.0))?;
        file.set_len(BLOCK_BYTES as u64).map_err(failed("cut", &self.0))?;
        file.sync_all().map_err(failed("sync", &self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: &str) -> Vec<u8> {
        let mut bytes = [HEADER, lines.as_bytes()].concat();
        bytes.resize(BLOCK_BYTES, b'#');
        bytes
    }

    const LINES: &str = "countersign_active=a\ncountersign_trying=-\ncountersign_tries_left=0\n";

    /// What a loader does that goes by the documented script: the slot it starts.
    fn started(choice: Choice) -> SlotName {
        choice.trying.filter(|_| choice.tries_left > 0).unwrap_or(choice.active)
    }

    #[test]
    fn nothing_but_three_bytes_is_changed() {
        let before = block(&format!("saved_entry=1\n{LINES}note=a\\\ncountersign_active=b\n"));
        let mut changed = Block::parse(&before).unwrap();
        assert_eq!(changed.choice(), Choice::only(SlotName::A));
        let choice = Choice { active: SlotName::B, trying: Some(SlotName::A), tries_left: 3 };
        changed.set(choice);
        let differing: Vec<_> = before.iter().zip(changed.bytes()).filter(|(a, b)| a != b).collect();
        assert_eq!(differing, [(&b'a', &b'b'), (&b'-', &b'a'), (&b'0', &b'3')]);
        assert_eq!(Block::parse(changed.bytes()).unwrap().choice(), choice);
    }

    #[test]
    fn what_is_no_block_is_said_by_name() {
        let far = format!("{}\n{LINES}", "x".repeat(600));
        for (bytes, error) in [
            (Vec::new(), BlockError::Length(0)),
            (block(LINES)[1..].to_vec(), BlockError::Length(BLOCK_BYTES - 1)),
            (vec![0; BLOCK_BYTES], BlockError::Header),
            (block(""), BlockError::Missing(ACTIVE)),
            (block(&LINES.replace("trying=-", "trying=c")), BlockError::Value(TRYING)),
            (block(&LINES.replace("left=0", "left=10")), BlockError::Value(TRIES_LEFT)),
            (block(&LINES.replace("left=0", "left=")), BlockError::Value(TRIES_LEFT)),
            (block(&LINES.replace("left=0\n", "left=0")), BlockError::Value(TRIES_LEFT)),
            (block(&LINES.replace("active=a\n", "active=a\\\n")), BlockError::Value(ACTIVE)),
            (block(&format!("{LINES}countersign_active=b\n")), BlockError::Twice(ACTIVE)),
            (block(&far), BlockError::Place(ACTIVE)),
            // Behind a backslash a line goes on.
            (block(&format!("x=\\\n{LINES}")), BlockError::Missing(ACTIVE)),
        ] {
            assert_eq!(Block::parse(&bytes), Err(error), "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(90)]));
        }
    }

    /// Every write the agent makes, torn at every byte: what is there then starts what was started before, or what
    /// was to be started.
    #[test]
    fn torn_anywhere_it_starts_the_old_or_the_new() {
        let (old, new) = (SlotName::A, SlotName::B);
        let tried = |left| Choice { active: old, trying: Some(new), tries_left: left };
        let mut steps = vec![(Choice::only(old), tried(3)), (Choice::only(new), Choice::only(old))];
        // Kept, or taken back, with however many tries left.
        steps.extend((0..=3).flat_map(|left| [(tried(left), Choice::only(new)), (tried(left), Choice::only(old))]));
        for (before, after) in steps {
            let mut there = Block::parse(&block(LINES)).unwrap();
            there.set(before);
            let mut wanted = there.clone();
            wanted.set(after);
            for cut in 0..=BLOCK_BYTES {
                let torn = [&wanted.bytes()[..cut], &there.bytes()[cut..]].concat();
                let starts = started(Block::parse(&torn).unwrap().choice());
                assert!(starts == started(before) || starts == started(after), "{before:?} → {after:?} at {cut}");
            }
        }
    }
}

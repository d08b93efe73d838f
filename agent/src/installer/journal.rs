//! The journal of the update under way: what is about to be done, on the disk before it is done.
//!
//! An append-only file of records, each `length u32 LE ‖ first 8 bytes of BLAKE3(payload) ‖ payload`
//! (JSON). When an update is over, the next one begins with an empty file.
//!
//! A record that was only half written when the power went was never written: the step it announces had
//! not begun. There is at most one, and it is the last: each is on the disk before the next is written.
//! Anything else that cannot be read is damage, and said by name ([`JournalError::Damaged`]): what it
//! said is not guessed at, and nothing is done about the update until a person has seen to it.

use super::installs::{self, VersionId};
use super::restarts::BootId;
use crate::files::{self, FileError, failed};
use crate::settled::chain;
use ledger::bounded::{Name, Product, Version};
use ledger::id::{Digest, PatchId};
use ledger::patch::InstallerKind;
use ledger::receipt::Reason;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Largest payload of one record.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Largest journal: one update writes a handful of records.
const JOURNAL_BYTES_MAX: usize = 64 * RECORD_BYTES_MAX;
/// Bytes before a payload.
const FRAME_BYTES: usize = 12;

/// What an update is about: enough to finish it, or to take it back, and to write its receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// Number of this attempt among all of this agent.
    pub run: u64,
    /// The patch.
    pub patch: PatchId,
    /// Its product.
    pub product: Product,
    /// Its channel.
    pub channel: Name,
    /// Installed before, if anything was.
    pub from: Option<VersionId>,
    /// To be installed.
    pub to: VersionId,
    /// Version installed before; empty when none was.
    pub from_version: Version,
    /// Version to be installed.
    pub to_version: Version,
    /// By which kind of installer.
    #[serde(default = "installs::directory_tree")]
    pub kind: InstallerKind,
    /// It is in place, was kept, and is being taken back because somebody at the host says so.
    #[serde(default)]
    pub by_hand: bool,
    /// The host has restarted with what is taken back by hand: once it is, a restart is owed.
    #[serde(default)]
    pub after_restart: bool,
    /// It is the agent's own program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_program: bool,
    /// Nobody could be asked whether it works: neither the patch nor the house has a check, and no service runs from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unasked: bool,
}

/// A step of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Record {
    /// The new version is about to be prepared; the host is untouched.
    Begun(Begun),
    /// Its holding is whole and on the disk, with all that going back needs.
    #[serde(alias = "unpacked")]
    Prepared {
        /// Digest of the holding.
        tree: Digest,
    },
    /// It is about to be put in place, and `current` switched to it.
    Switching,
    /// It was. Services are about to be restarted, and health judged.
    Switched,
    /// Health is judged when the host has restarted. What was not judged by the deadline is taken back.
    Restarting {
        /// Which run of the host the new version was put in place in.
        boot_id: BootId,
        /// By when it must be judged, by how long the host has run: nobody sets that clock, and as long as this counts
        /// the host runs on.
        deadline_ms: u64,
    },
    /// The host has restarted, and is given time to come up. Services are about to be started.
    CameUp {
        /// Which run of the host this is.
        boot_id: BootId,
    },
    /// The host, or the agent as its new program, has restarted and is up. Health is about to be judged.
    Restarted,
    /// The agent ends, and the program that the patch brings is tried: it judges whether it runs.
    HandedOver,
    /// Health was judged: kept when there is no reason against it, else about to be rolled back.
    Judged {
        /// What failed.
        against: Option<Reason>,
    },
    /// The old version is in place again, and `current` switched back.
    Restored,
    /// The receipt is on its way; nothing is left to do.
    Done,
}

/// When an observer is told of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Not written yet.
    Before,
    /// On the disk.
    After,
}

/// Told of every record: for the log, and for tests that cut the power.
pub type Observer = Box<dyn Fn(Moment, &Record) + Send + Sync>;

/// Why a journal cannot be gone by.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system said no.
    #[error(transparent)]
    File(#[from] FileError),
    /// It says something that cannot be read, and that was not merely half written.
    #[error("{} is damaged: {damage} ({about})", path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
        /// What can still be read.
        about: String,
    },
}

impl JournalError {
    /// What to do about one that is damaged.
    pub const PUT_RIGHT: &'static str = "see what is installed, put it right by hand, then move the journal away";
}

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// There is a whole record behind one that is not: this is not the work of a power cut.
    #[error("record {record}, at byte {at}, is not what was written, and there are others behind it")]
    InTheMiddle {
        /// Which, from 1.
        record: usize,
        /// Where it begins.
        at: usize,
    },
    /// More than one record can have left.
    #[error("there are {bytes} bytes at byte {at} that are no record, and one has {} at the most", FRAME_BYTES + RECORD_BYTES_MAX)]
    TooLong {
        /// Where they begin.
        at: usize,
        /// How many there are.
        bytes: usize,
    },
    /// It is whole, and of a step this agent does not know.
    #[error("record {record} is of no step this agent knows ({source}); a newer one may have written it")]
    Unknown {
        /// Which, from 1.
        record: usize,
        /// What the reader said.
        source: serde_json::Error,
    },
    /// It begins in the middle of an update.
    #[error("it does not begin with the beginning of an update")]
    NoBeginning,
}

/// The journal.
pub struct Journal {
    path: PathBuf,
    file: File,
    records: Vec<Record>,
    /// Bytes of the records: what the file has beyond them was not to be written.
    whole: u64,
    observer: Observer,
}

impl Journal {
    /// Opens the journal and reads what is whole in it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path, observer: Observer) -> Result<Self, JournalError> {
        let Contents { records, whole } = Contents::read(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(files::PRIVATE_FILE_MODE);
        let file = options.open(path).map_err(failed("open", path))?;
        let mut journal = Self { path: path.to_owned(), file, records, whole: whole as u64, observer };
        journal.cut()?;
        journal.file.seek(SeekFrom::End(0)).map_err(failed("seek in", path))?;
        files::sync_parent(path)?;
        Ok(journal)
    }

    /// Reads the records of a journal that somebody else may be writing.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn peek(path: &Path) -> Result<Vec<Record>, JournalError> {
        Contents::read(path).map(|contents| contents.records)
    }

    /// The records of the update under way, or of the last one.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Whether an update was begun and not brought to its end.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.records.last().is_some_and(|last| *last != Record::Done)
    }

    /// Begins an update.
    pub(super) fn begin(&mut self, begun: Begun) -> Result<(), FileError> {
        self.records.clear();
        self.whole = 0;
        self.append(Record::Begun(begun))
    }

    /// Writes a record; when this returns it is on the disk. One that could not be written is cut off
    /// again, at the latest before the next one ([`Journal::is_in_doubt`]).
    pub(super) fn append(&mut self, record: Record) -> Result<(), FileError> {
        (self.observer)(Moment::Before, &record);
        let frame = self.frame(&record)?;
        self.cut()?;
        let written = self.file.write_all(&frame).map_err(failed("write", &self.path));
        if let Err(error) = written.and_then(|()| self.file.sync_data().map_err(failed("sync", &self.path))) {
            if let Err(error) = self.cut() {
                tracing::error!(error = chain(&error), "a record that could not be written is not cut off yet");
            }
            return Err(error);
        }
        (self.observer)(Moment::After, &record);
        self.whole += frame.len() as u64;
        self.records.push(record);
        Ok(())
    }

    /// Whether there may be a record on the disk that this journal knows nothing of: one that could
    /// neither be written nor cut off again.
    pub(super) fn is_in_doubt(&mut self) -> bool {
        self.cut().is_err()
    }

    /// Cuts off what is behind the records, so that the next one does not stand behind it.
    fn cut(&mut self) -> Result<(), FileError> {
        let there = self.file.metadata().map_err(failed("examine", &self.path))?.len();
        if there != self.whole {
            self.file.set_len(self.whole).map_err(failed("cut", &self.path))?;
            self.file.seek(SeekFrom::Start(self.whole)).map_err(failed("seek in", &self.path))?;
            self.file.sync_data().map_err(failed("sync", &self.path))?;
        }
        Ok(())
    }

    fn frame(&self, record: &Record) -> Result<Vec<u8>, FileError> {
        let payload = serde_json::to_vec(record).map_err(io::Error::other);
        let fits = |payload: &Vec<u8>| payload.len() <= RECORD_BYTES_MAX;
        let too_long = || io::Error::new(io::ErrorKind::InvalidData, format!("more than {RECORD_BYTES_MAX} bytes"));
        let payload = payload.and_then(|payload| Some(payload).filter(fits).ok_or_else(too_long));
        let payload = payload.map_err(failed("make a record for", &self.path))?;
        let mut frame = Vec::with_capacity(FRAME_BYTES + payload.len());
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend_from_slice(&Digest::blake3(&payload).0[..8]);
        frame.extend_from_slice(&payload);
        Ok(frame)
    }
}

/// What is in a journal.
#[derive(Debug, Default)]
struct Contents {
    records: Vec<Record>,
    /// How many bytes they are.
    whole: usize,
}

impl Contents {
    fn read(path: &Path) -> Result<Self, JournalError> {
        let bytes = files::read_if_there(path, JOURNAL_BYTES_MAX)?.unwrap_or_default();
        let mut contents = Self::default();
        match contents.parse(&bytes) {
            Ok(()) => Ok(contents),
            Err(damage) => Err(JournalError::Damaged { path: path.to_owned(), damage, about: contents.about() }),
        }
    }

    /// Takes in the whole records at the beginning, and makes sure that there is nothing behind them but
    /// one that was half written.
    fn parse(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        while let Some(payload) = payload(&bytes[self.whole..]) {
            let record = serde_json::from_slice(payload);
            self.records.push(record.map_err(|source| Damage::Unknown { record: self.records.len() + 1, source })?);
            self.whole += FRAME_BYTES + payload.len();
        }
        let (at, left) = (self.whole, &bytes[self.whole..]);
        if (1..left.len()).any(|place| payload(&left[place..]).is_some()) {
            return Err(Damage::InTheMiddle { record: self.records.len() + 1, at });
        }
        if left.len() > FRAME_BYTES + RECORD_BYTES_MAX {
            return Err(Damage::TooLong { at, bytes: left.len() });
        }
        match self.records.first() {
            None | Some(Record::Begun(_)) => Ok(()),
            Some(_) => Err(Damage::NoBeginning),
        }
    }

    fn about(&self) -> String {
        match self.records.first() {
            Some(Record::Begun(begun)) => format!(
                "it is about patch {} of {}; {} of its records can be read",
                begun.patch,
                begun.product,
                self.records.len()
            ),
            _ => "which patch it is about cannot be read".to_owned(),
        }
    }
}

/// The payload of the record that stands at the beginning, if a whole one does.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    // An empty one was never written; zeros look like one.
    let payload = bytes.get(FRAME_BYTES..FRAME_BYTES + length).filter(|_| (1..=RECORD_BYTES_MAX).contains(&length))?;
    (Digest::blake3(payload).0[..8] == bytes[4..FRAME_BYTES]).then_some(payload)
}

#[cfg(test)]
mod tests;

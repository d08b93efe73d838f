//! The journal of the update under way: what is about to be done, on the disk before it is done.
//!
//! An append-only file of records, each `length u32 LE ‖ first 8 bytes of BLAKE3(payload) ‖ payload`
//! (JSON). A record that was only half written when the power went was never written: the step it
//! announces had not begun. When an update is over, the next one begins with an empty file.

use super::installs::{self, VersionId};
use super::restarts::BootId;
use crate::files::{self, FileError, failed};
use ledger::bounded::{Name, Product, Version};
use ledger::id::{Digest, PatchId};
use ledger::patch::InstallerKind;
use ledger::receipt::Reason;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
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
        /// By when it must be judged.
        deadline_ms: u64,
    },
    /// The host has restarted. Services are about to be started, and health judged.
    Restarted,
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

/// The journal.
pub struct Journal {
    path: PathBuf,
    file: File,
    records: Vec<Record>,
    observer: Observer,
}

impl Journal {
    /// Opens the journal and reads what is whole in it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path, observer: Observer) -> Result<Self, FileError> {
        let bytes = files::read_if_there(path, JOURNAL_BYTES_MAX)?.unwrap_or_default();
        let (records, whole) = parse(&bytes);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(files::PRIVATE_FILE_MODE);
        let mut file = options.open(path).map_err(failed("open", path))?;
        // What was half written is cut off, so that the next record does not stand behind it.
        file.set_len(whole as u64).map_err(failed("cut", path))?;
        file.seek(SeekFrom::End(0)).map_err(failed("seek in", path))?;
        files::sync_parent(path)?;
        Ok(Self { path: path.to_owned(), file, records, observer })
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
        self.file.set_len(0).map_err(failed("empty", &self.path))?;
        self.file.rewind().map_err(failed("seek in", &self.path))?;
        self.records.clear();
        self.append(Record::Begun(begun))
    }

    /// Writes a record; when this returns it is on the disk.
    pub(super) fn append(&mut self, record: Record) -> Result<(), FileError> {
        (self.observer)(Moment::Before, &record);
        let payload = serde_json::to_vec(&record).unwrap_or_default();
        let mut frame = Vec::with_capacity(FRAME_BYTES + payload.len());
        frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend_from_slice(&Digest::blake3(&payload).0[..8]);
        frame.extend_from_slice(&payload);
        self.file.write_all(&frame).map_err(failed("write", &self.path))?;
        self.file.sync_data().map_err(failed("sync", &self.path))?;
        (self.observer)(Moment::After, &record);
        self.records.push(record);
        Ok(())
    }
}

/// The whole records at the beginning, and how many bytes they are.
fn parse(bytes: &[u8]) -> (Vec<Record>, usize) {
    let (mut records, mut place) = (Vec::new(), 0);
    while let Some((record, length)) = parse_one(&bytes[place..]) {
        records.push(record);
        place += length;
    }
    (records, place)
}

fn parse_one(bytes: &[u8]) -> Option<(Record, usize)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if length > RECORD_BYTES_MAX {
        return None;
    }
    let payload = bytes.get(FRAME_BYTES..FRAME_BYTES + length)?;
    if Digest::blake3(payload).0[..8] != bytes[4..FRAME_BYTES] {
        return None;
    }
    Some((serde_json::from_slice(payload).ok()?, FRAME_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Observer {
        Box::new(|_, _| {})
    }

    #[test]
    fn cut_or_changed_anywhere_the_journal_is_a_beginning_of_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path, silent()).unwrap();
        let written =
            [Record::Switching, Record::Switched, Record::Judged { against: None }, Record::Restored, Record::Done];
        for record in &written {
            journal.append(record.clone()).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            for bytes in [&whole[..place], &changed[..]] {
                std::fs::write(&path, bytes).unwrap();
                let mut journal = Journal::open(&path, silent()).unwrap();
                let count = journal.records().len();
                assert!(count < written.len(), "{place}");
                assert_eq!(journal.records(), &written[..count], "{place}");
                // And it can be written on from there.
                journal.append(Record::Done).unwrap();
                assert_eq!(Journal::open(&path, silent()).unwrap().records().len(), count + 1, "{place}");
            }
        }
    }
}

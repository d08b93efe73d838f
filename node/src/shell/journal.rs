//! What must survive a crash before a vote may leave: vote log, signing guard, judged bodies; and evidence.
//!
//! The first three files are written in place and made long beforehand: a synced write into a growing file
//! costs up to forty times as much.

mod evidence;

use super::perform::Durable;
use consensus::log::{self, Tail};
use consensus::records::{self, SLOT_BYTES};
use consensus::{Evidence, GuardRecord, LogEntry};
use evidence::EvidenceFile;
use ledger::block::Block;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Length the vote log is made with. One height writes a few KiB per round.
const LOG_BYTES: u64 = 4 * 1024 * 1024;
/// Length the file of judged bodies is made with; more than one body per height is rare.
const BODIES_BYTES: u64 = 4 * 1024 * 1024;
/// The file that says whether the key is silent: its first byte does.
const SILENCE_BYTES: u64 = 512;

/// A journal file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
pub struct JournalError {
    /// Which file.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// The five files.
pub struct Journal {
    log: JournalFile,
    tail: Tail,
    guard: JournalFile,
    silence: JournalFile,
    bodies: JournalFile,
    bodies_end: u64,
    evidence: EvidenceFile,
}

/// What was in them.
pub struct Recovered {
    /// Entries of the vote log: all of one height.
    pub log: Vec<LogEntry>,
    /// Messages signed before.
    pub guard: Vec<GuardRecord>,
    /// Whether the key was silent because of what it had forgotten.
    pub is_silent: bool,
    /// Blocks judged before.
    pub bodies: Vec<Block>,
    /// Evidence that was not on the ledger.
    pub evidence: Vec<Evidence>,
    /// Why reading the vote log stopped, when that was not its plain end.
    pub damage: Option<String>,
}

struct JournalFile {
    path: PathBuf,
    file: File,
    dirty: bool,
}

impl JournalFile {
    /// Opens a file, made `length` zeros long if it is new.
    fn open(path: PathBuf, length: u64) -> Result<(Self, Vec<u8>), JournalError> {
        let attempt = || -> io::Result<(File, Vec<u8>)> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let have = file.metadata()?.len();
            if have < length {
                // Zeros really written, not only room reserved: an in-place write must find its block.
                file.seek(SeekFrom::Start(have))?;
                io::copy(&mut io::repeat(0).take(length - have), &mut file)?;
                file.sync_all()?;
            }
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok((file, bytes))
        };
        match attempt() {
            Ok((file, bytes)) => Ok((Self { path, file, dirty: false }, bytes)),
            Err(source) => Err(JournalError { path, source }),
        }
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), JournalError> {
        self.dirty = true;
        self.file.write_all_at(bytes, offset).map_err(|source| self.error(source))
    }

    fn cut_to(&self, length: u64) -> Result<(), JournalError> {
        let cut = || match self.file.metadata()?.len() > length {
            true => self.file.set_len(length),
            false => Ok(()),
        };
        cut().map_err(|source| self.error(source))
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        if self.dirty {
            self.file.sync_data().map_err(|source| self.error(source))?;
            self.dirty = false;
        }
        Ok(())
    }

    fn error(&self, source: io::Error) -> JournalError {
        JournalError { path: self.path.clone(), source }
    }
}

impl Journal {
    /// Opens (or makes) the files in a directory and reads what a crash may have left. The vote log
    /// counts for `height` only, the height after the chain's tip.
    ///
    /// # Errors
    /// [`JournalError`] when a file cannot be read or written.
    pub fn open(directory: &Path, height: u64) -> Result<(Self, Recovered), JournalError> {
        let (log, log_bytes) = JournalFile::open(directory.join("vote.log"), LOG_BYTES)?;
        let guard_bytes_max = u64::from(GuardRecord::SLOTS) * SLOT_BYTES as u64;
        let (guard, guard_bytes) = JournalFile::open(directory.join("signing.guard"), guard_bytes_max)?;
        let (silence, silence_bytes) = JournalFile::open(directory.join("signing.silence"), SILENCE_BYTES)?;
        let (bodies, body_bytes) = JournalFile::open(directory.join("bodies.log"), BODIES_BYTES)?;

        let path = directory.join("evidence.kept");
        let opened = EvidenceFile::open(path.clone());
        let (evidence, kept) = opened.map_err(|source| JournalError { path, source })?;

        let scan = log::scan(&log_bytes);
        let damage = match &scan.stopped {
            log::Stop::End | log::Stop::Older => None,
            stop => Some(stop.to_string()),
        };
        let tail = scan.tail;
        let (found, bodies_end) = records::read_bodies(&body_bytes, height);
        if found.is_empty() {
            // A height with many bodies is over: its room is given back.
            bodies.cut_to(BODIES_BYTES)?;
        }
        let recovered = Recovered {
            log: scan.entries_of(height),
            guard: records::read_slots(&guard_bytes),
            is_silent: silence_bytes.first() == Some(&1),
            bodies: found,
            evidence: kept,
            damage,
        };
        let mut journal = Self { log, tail, guard, silence, bodies, bodies_end: bodies_end as u64, evidence };
        // What lies behind the last good frame is cut off for ever.
        let rest = vec![0; log_bytes.len() - tail.offset()];
        journal.log.write_at(&rest, tail.offset() as u64)?;
        if recovered.log.is_empty() {
            journal.tail = tail.start_over();
        }
        journal.sync()?;
        // The files may be new: their names must last as their bytes do.
        let names_last = File::open(directory).and_then(|directory| directory.sync_all());
        names_last.map_err(|source| JournalError { path: directory.to_owned(), source })?;
        Ok((journal, recovered))
    }
}

impl Durable for Journal {
    fn append(&mut self, entry: &LogEntry) -> Result<(), JournalError> {
        let offset = self.tail.offset() as u64;
        let mut frame = self.tail.append(entry);
        // The end is written, too: what lies behind it is of earlier heights, and no damage.
        frame.extend_from_slice(&[0; log::FRAME_HEADER_BYTES]);
        self.log.write_at(&frame, offset)
    }

    fn guard(&mut self, record: &GuardRecord) -> Result<(), JournalError> {
        self.guard.write_at(&records::slot(record), u64::from(record.slot) * SLOT_BYTES as u64)
    }

    fn keep_silence(&mut self, is_silent: bool) -> Result<(), JournalError> {
        self.silence.write_at(&[u8::from(is_silent)], 0)
    }

    fn keep_body(&mut self, block: &Block) -> Result<(), JournalError> {
        let body = records::body(block);
        self.bodies.write_at(&body, self.bodies_end)?;
        self.bodies_end += body.len() as u64;
        Ok(())
    }

    fn sync_bodies(&mut self) -> Result<(), JournalError> {
        self.bodies.sync()
    }

    fn keep_evidence(&self, evidence: &[Evidence]) -> Result<(), JournalError> {
        let path = &self.evidence.0;
        self.evidence.write(evidence).map_err(|source| JournalError { path: path.clone(), source })
    }

    fn start_over(&mut self) {
        self.tail = self.tail.start_over();
        self.bodies_end = 0;
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.silence.sync()?;
        self.sync_bodies()?;
        self.guard.sync()?;
        self.log.sync()
    }
}

#[cfg(test)]
mod tests;

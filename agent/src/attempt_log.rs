//! The log of one attempt: what was done, in the order it was done. Its digest stands in the receipt,
//! so that it cannot be rewritten later.

use crate::clock::now_ms;
use crate::files::{self, FileError, failed};
use crate::receipts::run_of;
use ledger::bounded::Text;
use ledger::id::{Digest, PatchId};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Largest log of one attempt.
const LOG_BYTES_MAX: usize = 256 * 1024;
/// Longest line.
const LINE_BYTES_MAX: usize = 2 * 1024;
/// Logs kept.
const LOGS_KEPT: usize = 100;
/// How the first line of a log begins; its patch comes behind.
const FIRST_WORD: &str = "patch ";
/// Digits of a patch's id in the name of a log.
const PATCH_DIGITS: usize = 12;

/// A log being written. Failing to write it stops nothing: an update is more important than its story.
#[derive(Debug)]
pub struct AttemptLog {
    path: PathBuf,
    file: Option<File>,
    bytes: usize,
}

impl AttemptLog {
    /// Begins, or goes on with, the log of an attempt.
    #[must_use]
    pub fn begin(logs: &Path, run: u64, patch: PatchId) -> Self {
        let path = Kept { run, patch: patch.to_string()[..PATCH_DIGITS].to_owned() }.path(logs);
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(files::PRIVATE_FILE_MODE);
        let opened = options.open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = match opened.map_err(failed("open", &path)) {
            Ok((bytes, file)) => (usize::try_from(bytes).unwrap_or(usize::MAX), Some(file)),
            Err(error) => {
                tracing::warn!(%error, "no log of this attempt");
                (0, None)
            }
        };
        Self { path, file, bytes }
    }

    /// Adds a line.
    pub fn line(&mut self, text: &str) {
        tracing::info!("{text}");
        let text = Text::<LINE_BYTES_MAX>::cut(text);
        let line = format!("{} {}\n", now_ms(), text.as_str().replace('\n', " "));
        self.bytes = self.bytes.saturating_add(line.len());
        if self.bytes <= LOG_BYTES_MAX
            && let Some(file) = &mut self.file
            && let Err(error) = file.write_all(line.as_bytes())
        {
            tracing::warn!(%error, "the log of this attempt ends here");
            self.file = None;
        }
    }

    /// Ends the log; its BLAKE3.
    #[must_use]
    pub fn finish(self) -> Digest {
        if let Some(Err(error)) = self.file.as_ref().map(File::sync_all) {
            tracing::warn!(%error, "the log of this attempt is not on the disk");
        }
        let bytes = files::read(&self.path, LOG_BYTES_MAX).unwrap_or_default();
        Digest::blake3(&bytes)
    }
}

/// The newest attempt that there is a log of; 0 when there is none.
///
/// # Errors
/// [`FileError`].
pub fn newest_run(logs: &Path) -> Result<u64, FileError> {
    let names = files::names(logs)?.into_iter();
    Ok(names.filter_map(|name| run_of(name.strip_prefix("run-")?)).max().unwrap_or(0))
}

/// An attempt that there is a log of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Which attempt of this host, counted from 1.
    pub run: u64,
    /// The beginning of the patch's id.
    pub patch: String,
}

/// What such a log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Logged {
    /// Which attempt of this host, counted from 1.
    pub run: u64,
    /// The patch's id, as its first line has it; or the beginning of it, where there is no such line.
    pub patch: String,
    /// BLAKE3 of it: the `log_digest` of the attempt's receipt, unless somebody changed it since.
    pub digest: Digest,
    /// What was done, in that order.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, by this host's clock.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

impl Kept {
    /// Whether the attempt may be about a patch whose id begins so: only its log has more of it.
    #[must_use]
    pub fn may_be_about(&self, prefix: &str) -> bool {
        self.patch.starts_with(prefix) || prefix.starts_with(&self.patch)
    }

    fn of(name: &str) -> Option<Self> {
        let (run, patch) = name.strip_prefix("run-")?.strip_suffix(".log")?.split_once('-')?;
        let kept = Self { run: run.parse().ok()?, patch: patch.to_owned() };
        Some(kept).filter(|kept| kept.name() == name)
    }

    fn name(&self) -> String {
        format!("run-{:08}-{}.log", self.run, self.patch)
    }

    fn path(&self, logs: &Path) -> PathBuf {
        logs.join(self.name())
    }

    /// Reads its log; none where it is gone meanwhile, or no log.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(self, logs: &Path) -> Result<Option<Logged>, FileError> {
        let path = self.path(logs);
        if !std::fs::symlink_metadata(&path).is_ok_and(|there| there.is_file()) {
            return Ok(None);
        }
        let bytes = match files::read(&path, LOG_BYTES_MAX) {
            Err(error) if error.is_not_found() => return Ok(None),
            bytes => bytes?,
        };
        let line = |line: &str| {
            let (at_ms, text) = line.split_once(' ').and_then(|(at, text)| Some((at.parse().ok()?, text)))?;
            Some(Line { at_ms, text: text.to_owned() })
        };
        let lines = String::from_utf8_lossy(&bytes).lines().filter_map(line).collect();
        let lines: Vec<Line> = lines;
        let said = lines.first().and_then(|line| line.text.strip_prefix(FIRST_WORD)).map(str::to_owned);
        let patch = said.filter(|said| said.starts_with(&self.patch)).unwrap_or(self.patch);
        Ok(Some(Logged { run: self.run, patch, digest: Digest::blake3(&bytes), lines }))
    }
}

/// The attempts that there are logs of, the oldest first.
///
/// # Errors
/// [`FileError`].
pub fn kept(logs: &Path) -> Result<Vec<Kept>, FileError> {
    let mut kept: Vec<_> = files::names(logs)?.iter().filter_map(|name| Kept::of(name)).collect();
    kept.sort_by_key(|kept| kept.run);
    Ok(kept)
}

/// Removes all but the newest logs.
///
/// # Errors
/// [`FileError`].
pub fn prune(logs: &Path) -> Result<(), FileError> {
    let names: Vec<_> = files::names(logs)?.into_iter().filter(|name| name.starts_with("run-")).collect();
    let superfluous = names.len().saturating_sub(LOGS_KEPT);
    names[..superfluous].iter().try_for_each(|name| files::remove(&logs.join(name)))
}

//! The log of one attempt: what was done, in the order it was done. Its digest stands in the receipt,
//! so that it cannot be rewritten later.

use crate::clock::now_ms;
use crate::files::{self, FileError, failed};
use crate::receipts::run_of;
use ledger::bounded::Text;
use ledger::id::{Digest, PatchId};
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
        let path = logs.join(format!("run-{run:08}-{}.log", &patch.to_string()[..12]));
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

/// Removes all but the newest logs.
///
/// # Errors
/// [`FileError`].
pub fn prune(logs: &Path) -> Result<(), FileError> {
    let names: Vec<_> = files::names(logs)?.into_iter().filter(|name| name.starts_with("run-")).collect();
    let superfluous = names.len().saturating_sub(LOGS_KEPT);
    names[..superfluous].iter().try_for_each(|name| files::remove(&logs.join(name)))
}

//! Artifacts on their way in: every 16 KiB group is checked against the signed digest before it is
//! written, and what is written is never fetched again.
//!
//! `downloads/BLAKE3.partial` holds the groups that are there, without gaps from the beginning. When
//! it is whole, both digests are taken again over the file, through the handle it is later unpacked
//! from.

mod error;
mod room;
mod stream;

pub use error::DownloadError;
pub use room::Room;

use crate::config;
use crate::files::{self, FileError, failed};
use crate::follow::sources::{CallError, Source, Sources};
use error::{Disappointment, graver};
use ledger::artifact::PayloadHasher;
use ledger::id::Digest;
use ledger::patch::Artifact;
use room::whole_groups;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use stream::{Ended, Pieces, check_and_write, feed};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Pieces of a stream between the socket and the checking thread.
const PIECES_MAX: usize = 2;
/// Bytes hashed at a time.
const READ_BYTES: usize = 64 * 1024;

/// An artifact that was checked as a whole, through the handle it is held by.
#[derive(Debug)]
pub struct Verified {
    file: File,
}

impl Verified {
    /// The file, from its beginning.
    pub(crate) fn rewound(mut self) -> io::Result<File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(self.file)
    }
}

/// Fetches an artifact, or what is missing of it, from the sources in turn, beginning with `first`. Whether there is
/// room for the whole patch was asked before ([`Room`]).
///
/// # Errors
/// [`DownloadError`].
pub async fn download(
    artifact: &Artifact,
    sources: &Sources,
    first: usize,
    directory: &Path,
    patience: &config::Download,
) -> Result<Verified, DownloadError> {
    let partial = Partial::open(directory, artifact)?;
    let resumed = partial.have()? > 0;
    let deadline = Instant::now() + patience.deadline;
    partial.fill(sources, first, patience, deadline).await?;
    match partial.verify().await {
        Err(DownloadError::Digest { .. }) if resumed => {
            // Groups from before a power cut may be holes now. Once more from the beginning.
            tracing::warn!(artifact = %artifact.blake3, "what was there before is damaged, fetched again");
            partial.file.set_len(0).map_err(failed("empty", &partial.path))?;
            partial.fill(sources, first, patience, deadline).await?;
            partial.verify().await?;
        }
        result => result?,
    }
    Ok(Verified { file: partial.file })
}

/// Removes everything but what belongs to these artifacts.
///
/// # Errors
/// [`FileError`].
pub fn prune(directory: &Path, kept: &[Artifact]) -> Result<(), FileError> {
    let kept: Vec<_> = kept.iter().map(|artifact| file_name(&artifact.blake3)).collect();
    let names = files::names(directory)?.into_iter().filter(|name| !kept.contains(name));
    names.into_iter().try_for_each(|name| files::remove(&directory.join(name)))
}

fn file_name(blake3: &Digest) -> String {
    format!("{blake3}.partial")
}

/// The groups of an artifact that are there.
struct Partial {
    path: PathBuf,
    file: File,
    blake3: Digest,
    sha256: Digest,
    size: u64,
}

impl Partial {
    fn open(directory: &Path, artifact: &Artifact) -> Result<Self, FileError> {
        let path = directory.join(file_name(&artifact.blake3));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::from_raw_mode(files::PRIVATE_FILE_MODE));
        let file = File::from(opened.map_err(|error| failed("open", &path)(error.into()))?);
        let Artifact { blake3, sha256, size, .. } = *artifact;
        let partial = Self { path, file, blake3, sha256, size };
        // Whole groups only; and nothing can be there beyond the signed size.
        let length = partial.have()?;
        partial.file.set_len(whole_groups(length, size)).map_err(failed("cut", &partial.path))?;
        Ok(partial)
    }

    fn have(&self) -> Result<u64, FileError> {
        Ok(self.file.metadata().map_err(failed("examine", &self.path))?.len())
    }

    /// Asks the sources in turn for what is missing, as long as a round over all of them brings
    /// something.
    async fn fill(
        &self,
        sources: &Sources,
        first: usize,
        patience: &config::Download,
        deadline: Instant,
    ) -> Result<(), DownloadError> {
        let mut forgers = Vec::new();
        let mut worst: Option<DownloadError> = None;
        loop {
            let before = self.have()?;
            for source in sources.from(first) {
                if self.have()? >= self.size {
                    return Ok(());
                }
                if forgers.contains(&source.node()) {
                    continue;
                }
                let Err(disappointment) = self.fetch(source, patience, deadline).await else { continue };
                if matches!(disappointment, Disappointment::Forged(_)) {
                    forgers.push(source.node());
                }
                let error = self.error(source, disappointment)?;
                tracing::warn!(node = source.node(), %error, "source of an artifact is left");
                worst = Some(graver(worst, error));
            }
            let have = self.have()?;
            if have >= self.size {
                return Ok(());
            }
            if have == before || Instant::now() >= deadline {
                return Err(worst.unwrap_or_else(|| self.unavailable("there is no node".to_owned())));
            }
        }
    }

    fn unavailable(&self, last: String) -> DownloadError {
        let have = self.have().unwrap_or(0);
        DownloadError::Unavailable { artifact: self.blake3, have, size: self.size, last }
    }

    fn error(&self, source: &Source, disappointment: Disappointment) -> Result<DownloadError, DownloadError> {
        let (artifact, node) = (self.blake3, source.node().to_owned());
        match disappointment {
            Disappointment::Cannot(why) => Ok(self.unavailable(format!("{node}: {why}"))),
            Disappointment::Length(detail) => Ok(DownloadError::Length { artifact, node, detail, size: self.size }),
            Disappointment::Forged(detail) => {
                Ok(DownloadError::Digest { artifact, detail: format!("{node}: {detail}") })
            }
            // No other source would do better.
            Disappointment::Disk(error) => Err(failed("write", &self.path)(error).into()),
        }
    }

    /// Takes from one source what it gives of what is missing.
    async fn fetch(
        &self,
        source: &Source,
        patience: &config::Download,
        deadline: Instant,
    ) -> Result<(), Disappointment> {
        let offset = self.have().map_err(|error| Disappointment::Disk(error.source))?;
        let asked = source.fetch(self.blake3, self.size, offset);
        let mut stream = match timeout_at(deadline, asked).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.refused(&error)),
            Err(_) => return Err(Disappointment::Cannot("the deadline is over".to_owned())),
        };
        let (sender, receiver) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
        let file = self.file.try_clone().map_err(Disappointment::Disk)?;
        let (blake3, size) = (self.blake3, self.size);
        let checking = tokio::task::spawn_blocking(move || {
            let pieces = Pieces::from(receiver);
            check_and_write(&file, blake3, size, offset, pieces)
        });
        let ended = feed(&mut stream, &sender, patience, deadline).await;
        drop(sender);
        let checked = checking.await.unwrap_or_else(|error| Err(Disappointment::Disk(io::Error::other(error))));
        match (checked, ended) {
            // Whatever follows the last group is not looked at: the stream is let go.
            (Ok(()), _) => Ok(()),
            (Err(Disappointment::Length(_)), Ended::Slow) => Err(Disappointment::Cannot(format!(
                "slower than {} bytes/s for {:?}",
                patience.minimum_bytes_per_s, patience.patience
            ))),
            (Err(Disappointment::Length(_)), Ended::Deadline) => {
                Err(Disappointment::Cannot("the deadline is over".to_owned()))
            }
            (Err(Disappointment::Length(_)), Ended::Broken(status)) => {
                Err(self.refused(&source.failed("Fetch", &status)))
            }
            (Err(disappointment), _) => Err(disappointment),
        }
    }

    fn refused(&self, error: &CallError) -> Disappointment {
        match error.check() {
            Some("artifact-length") => Disappointment::Length(error.cause.to_string()),
            _ => Disappointment::Cannot(error.cause.to_string()),
        }
    }

    /// Hashes the whole file under both names.
    async fn verify(&self) -> Result<(), DownloadError> {
        let mut file = self.file.try_clone().map_err(failed("hold", &self.path))?;
        let hashing = tokio::task::spawn_blocking(move || {
            file.seek(SeekFrom::Start(0))?;
            let (mut hasher, mut buffer) = (PayloadHasher::default(), vec![0; READ_BYTES]);
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hasher.finish()),
                    count => hasher.update(&buffer[..count]),
                }
            }
        });
        let digests: io::Result<_> = hashing.await.map_err(io::Error::other).and_then(|result| result);
        let digests = digests.map_err(failed("read", &self.path))?;
        let differs = |what, actual: &dyn ToString, expected: &dyn ToString| DownloadError::Digest {
            artifact: self.blake3,
            detail: format!(
                "{what} of the whole is {}, the manifest says {}",
                actual.to_string(),
                expected.to_string()
            ),
        };
        if digests.size != self.size {
            return Err(differs("size", &digests.size, &self.size));
        }
        if digests.blake3 != self.blake3 {
            return Err(differs("BLAKE3", &digests.blake3, &self.blake3));
        }
        match digests.sha256 == self.sha256 {
            true => Ok(()),
            false => Err(differs("SHA-256", &digests.sha256, &self.sha256)),
        }
    }
}

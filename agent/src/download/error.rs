//! Why there is no artifact, and what says most about it.

use crate::files::FileError;
use ledger::id::Digest;
use ledger::receipt::ReasonCode;
use std::io;

/// Why an artifact is not there.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No source could give it, or what is missing of it.
    #[error("artifact {artifact}: {have} of {size} bytes are there, no source gives the rest; {last}")]
    Unavailable {
        /// Which.
        artifact: Digest,
        /// Bytes there.
        have: u64,
        /// Its size.
        size: u64,
        /// What the last one said.
        last: String,
    },
    /// A source has one of another length under this digest.
    #[error("artifact {artifact}: {from}: {detail}; the manifest says {size} bytes")]
    Length {
        /// Which.
        artifact: Digest,
        /// Who.
        from: String,
        /// What it did.
        detail: String,
        /// The signed size.
        size: u64,
    },
    /// What came, or what is there, is something else.
    #[error("artifact {artifact}: {detail}")]
    Digest {
        /// Which.
        artifact: Digest,
        /// What did not fit.
        detail: String,
    },
    /// The disk said no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl DownloadError {
    /// The check that said no, as receipts name it.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Unavailable { .. } => ReasonCode::ArtifactUnavailable,
            Self::Length { .. } => ReasonCode::ArtifactLength,
            Self::Digest { .. } => ReasonCode::ArtifactDigest,
            Self::File(error) if error.is_disk_full() => ReasonCode::DiskFull,
            Self::File(_) => ReasonCode::Io,
        }
    }
}

/// How one source disappointed.
#[derive(Debug)]
pub enum Disappointment {
    /// It has not got it.
    Absent(String),
    /// It cannot, now: another may, and it may later.
    Cannot(String),
    /// It takes too long.
    Slow(String),
    /// Its artifact has another length.
    Length(String),
    /// It sent something else. Not asked again.
    Forged(String),
    /// Our own disk.
    Disk(io::Error),
}

/// What says most about why there is no artifact: a lie before a length before an absence.
pub(super) fn graver(known: Option<DownloadError>, new: DownloadError) -> DownloadError {
    let grave = |error: &DownloadError| match error {
        DownloadError::Digest { .. } => 2,
        DownloadError::Length { .. } => 1,
        _ => 0,
    };
    match known {
        Some(known) if grave(&known) > grave(&new) => known,
        _ => new,
    }
}

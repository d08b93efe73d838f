//! Artifacts on their way in: every 16 KiB group is checked against the signed digest before it is
//! written, and what is written is never fetched again.
//!
//! `downloads/BLAKE3.partial` holds the groups that are there, without gaps from the beginning. When
//! it is whole, both digests are taken again over the file, through the handle it is later unpacked
//! from. Where the bytes come from ([`origins`]) is no matter to that.

pub mod answer;
pub mod delta;
mod directory;
mod error;
pub(crate) mod look;
mod mirror;
mod origins;
mod partial;
mod pieces;
mod rate;
mod room;
mod standing;
mod stream;
pub mod tree;

pub use error::{Disappointment, DownloadError};
pub use mirror::MirrorSetup;
pub use origins::{Delivery, Origins, Share, SourceView};
pub use partial::UNCHECKED_BYTES_MAX;
pub use room::Room;
pub use stream::check_and_write;

use crate::files::{self, FileError};
use ledger::artifact::TREE_SUFFIX;
use ledger::id::Digest;
use ledger::patch::Artifact;
use partial::Partial;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// An artifact that was checked as a whole, through the handle it is held by.
#[derive(Debug)]
pub struct Verified {
    file: File,
    /// Who gave what of it just now; none where it was here already.
    pub from: Vec<Share>,
}

impl Verified {
    /// The file, from its beginning.
    pub(crate) fn rewound(mut self) -> io::Result<File> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(self.file)
    }
}

/// Fetches an artifact, or what is missing of it, from one source after the other; `first` is the node whose turn it
/// is. Whether there is room for the whole patch was asked before ([`Room`]).
///
/// # Errors
/// [`DownloadError`].
pub async fn download(
    artifact: &Artifact,
    origins: &Origins,
    first: usize,
    directory: &Path,
) -> Result<Verified, DownloadError> {
    let mut partial = Partial::open(directory, artifact)?;
    let resumed = partial.have()? > 0;
    let deadline = Instant::now() + origins.patience().deadline;
    let mut from = partial.fill(origins, first, deadline).await?;
    match partial.verify().await {
        Err(DownloadError::Digest { .. }) if resumed => {
            // Groups from before a power cut may be holes now. Once more from the beginning.
            tracing::warn!(artifact = %artifact.blake3, "what was there before is damaged, fetched again");
            partial.anew()?;
            from = partial.fill(origins, first, deadline).await?;
            partial.verify().await?;
        }
        result => result?,
    }
    if !from.is_empty() {
        origins.delivered(partial.delivery(from.clone()));
    }
    Ok(Verified { file: partial.file, from })
}

/// Removes everything but what belongs to these artifacts.
///
/// # Errors
/// [`FileError`].
pub fn prune(directory: &Path, kept: &[Artifact]) -> Result<(), FileError> {
    let kept = names_kept(kept);
    let names = files::names(directory)?.into_iter().filter(|name| !kept.contains(name));
    names.into_iter().try_for_each(|name| files::remove(&directory.join(name)))
}

/// Names of files that belong to artifacts: what is there of them, their hash trees, and what deltas start from.
fn names_kept(artifacts: &[Artifact]) -> Vec<String> {
    let digests = artifacts.iter().flat_map(|artifact| [Some(artifact.blake3), artifact.delta_from]).flatten();
    digests.map(|digest| file_name(&digest)).flat_map(|name| [format!("{name}{TREE_SUFFIX}"), name]).collect()
}

pub(crate) fn file_name(blake3: &Digest) -> String {
    format!("{blake3}.partial")
}

/// A file beside another, called after it.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

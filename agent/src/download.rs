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

use crate::data::DataDir;
use crate::files::{self, FileError, failed};
use ledger::artifact::TREE_SUFFIX;
use ledger::id::Digest;
use ledger::patch::Artifact;
use partial::Partial;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Files of artifacts that stay beside those of the patch that is fetched.
const OTHERS_MAX: usize = 64;

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

/// Removes what does not belong to these artifacts, the oldest first, as far as there is no room for them or there is too
/// much of it. What stays goes on another day where it is not whole, or deltas start from it.
///
/// # Errors
/// [`FileError`].
pub fn prune(data: &DataDir, kept: &[Artifact]) -> Result<(), FileError> {
    let (directory, kept_names) = (data.downloads(), names_kept(kept));
    let mut others = Vec::new();
    for name in files::names(&directory)?.into_iter().filter(|name| !kept_names.contains(name)) {
        let path = directory.join(name);
        let metadata = fs::symlink_metadata(&path).map_err(failed("examine", &path))?;
        others.push((metadata.modified().map_err(failed("examine", &path))?, path, room::bytes_on_disk(&metadata)));
    }
    others.sort();
    let (mut count, mut bytes) = (others.len(), others.iter().map(|(.., bytes)| bytes).sum::<u64>());
    for (_, path, its_bytes) in others {
        if count <= OTHERS_MAX && bytes <= room::for_others(&directory) && Room::is_there(data, kept) {
            break;
        }
        files::remove(&path)?;
        (count, bytes) = (count - 1, bytes - its_bytes);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::bounded::Name;
    use ledger::patch::PayloadEncoding;
    use std::time::{Duration, SystemTime};

    fn artifact(number: u64) -> Artifact {
        let name = Name::new("a").expect("a name");
        let blake3 = Digest::blake3(&number.to_le_bytes());
        Artifact { name, size: 1, blake3, sha256: blake3, encoding: PayloadEncoding::Identity, delta_from: None }
    }

    /// One product does not undo what was fetched of another: that goes on where it ended, and deltas start from it.
    #[test]
    fn what_belongs_to_other_patches_stays_as_long_as_it_is_not_too_much() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::at(directory.path().to_owned());
        fs::create_dir_all(data.downloads()).unwrap();
        let path = |number: u64| data.downloads().join(file_name(&artifact(number).blake3));
        let count = OTHERS_MAX as u64 + 5;
        for number in 0..count {
            let file = File::create(path(number)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + number)).unwrap();
        }
        prune(&data, &[artifact(2), artifact(count)]).unwrap();
        let left: Vec<_> = (0..count).filter(|number| path(*number).exists()).collect();
        let expected: Vec<_> = [2].into_iter().chain(5..count).collect();
        assert_eq!(left, expected, "the oldest of the others are gone, and what is fetched next is not");
        prune(&data, &[artifact(2)]).unwrap();
        assert_eq!((0..count).filter(|number| path(*number).exists()).count(), left.len());
    }
}

//! What is there of an artifact: groups that were checked, without gaps from the beginning.

use super::error::{Disappointment, DownloadError, graver};
use super::origins::{Delivery, Origin, Origins, Share};
use super::room::{self, whole_groups};
use super::stream::{Patience, Pieces, check_and_write, take};
use super::tree::{self, Woven};
use super::{file_name, sibling};
use crate::files::{self, FileError, failed};
use ledger::artifact::{GROUP_BYTES, PayloadHasher, TREE_SUFFIX, tree_bytes};
use ledger::id::Digest;
use ledger::patch::Artifact;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use tokio::time::{Instant, timeout_at};

/// Bytes hashed at a time.
const READ_BYTES: usize = 64 * 1024;
/// Most bytes that are taken before any of them is checked: of an artifact that a mirror or a directory has without a
/// hash tree, and nobody else has with one.
pub const UNCHECKED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What follows the name of an artifact while nothing of it is checked.
const UNCHECKED_SUFFIX: &str = ".unchecked";

/// The groups of an artifact that are there.
pub(super) struct Partial {
    path: PathBuf,
    pub(super) file: File,
    blake3: Digest,
    sha256: Digest,
    size: u64,
    /// Some of it is from an earlier download: checked then, and what a power cut made of it nobody knows.
    is_resumed: bool,
}

impl Partial {
    pub(super) fn open(directory: &Path, artifact: &Artifact) -> Result<Self, FileError> {
        let path = directory.join(file_name(&artifact.blake3));
        let file = open_private(&path)?;
        let Artifact { blake3, sha256, size, .. } = *artifact;
        let mut partial = Self { path, file, blake3, sha256, size, is_resumed: false };
        // Whole groups only; and nothing can be there beyond the signed size.
        let metadata = partial.file.metadata().map_err(failed("examine", &partial.path))?;
        match whole_groups(metadata.len(), size) {
            whole if whole == metadata.len() => {}
            // Another manifest may give the same digest another size: what has another name is not cut for that.
            _ if metadata.nlink() > 1 => partial.anew()?,
            whole => partial.file.set_len(whole).map_err(failed("cut", &partial.path))?,
        }
        partial.is_resumed = partial.have()? > 0;
        Ok(partial)
    }

    /// Begins anew. What was there may have another name, too, and stays what it is under that.
    pub(super) fn anew(&mut self) -> Result<(), FileError> {
        files::remove(&self.path)?;
        self.file = open_private(&self.path)?;
        Ok(())
    }

    pub(super) fn have(&self) -> Result<u64, FileError> {
        Ok(self.file.metadata().map_err(failed("examine", &self.path))?.len())
    }

    /// Asks one source after the other for what is missing, until it is there or all would be asked in vain. Who
    /// gave what.
    pub(super) async fn fill(
        &self,
        origins: &Origins,
        first: usize,
        deadline: Instant,
    ) -> Result<Vec<Share>, DownloadError> {
        let all = origins.all();
        // Who lied is not asked again; who disappointed otherwise is when bytes have come since.
        let (mut lied, mut asked_at) = (vec![false; all.len()], vec![None; all.len()]);
        let (mut worst, mut from) = (None, Vec::<Share>::new());
        loop {
            let have = self.have()?;
            if have >= self.size {
                return Ok(from);
            }
            let in_vain: Vec<_> = lied.iter().zip(&asked_at).map(|(lied, at)| *lied || *at == Some(have)).collect();
            let next = origins.next(first, &in_vain).filter(|_| Instant::now() < deadline);
            let Some(place) = next else {
                return Err(worst.unwrap_or_else(|| self.unavailable("there is nobody to ask".to_owned())));
            };
            let origin = &all[place];
            let fetched = self.fetch(origin, origins, deadline).await;
            let came = self.have()?.saturating_sub(have);
            asked_at[place] = Some(have);
            if came > 0 {
                tracing::info!(source = origin.name, artifact = %self.blake3, bytes = came, "bytes of an artifact came");
                match from.last_mut().filter(|share| share.source == origin.name) {
                    Some(share) => share.bytes += came,
                    None => from.push(Share { source: origin.name.clone(), bytes: came }),
                }
            }
            let Err(disappointment) = fetched else {
                origins.note(place, came, None, None);
                continue;
            };
            lied[place] |= matches!(disappointment, Disappointment::Forged(_));
            let said = said(&disappointment);
            origins.note(place, came, Some(&disappointment), Some(said.clone()));
            let error = self.error(origin, disappointment)?;
            tracing::warn!(source = origin.name, why = said, "source of an artifact is left");
            worst = Some(graver(worst, error));
        }
    }

    fn unavailable(&self, last: String) -> DownloadError {
        let have = self.have().unwrap_or(0);
        DownloadError::Unavailable { artifact: self.blake3, have, size: self.size, last }
    }

    fn error(&self, origin: &Origin, disappointment: Disappointment) -> Result<DownloadError, DownloadError> {
        let (artifact, from) = (self.blake3, origin.name.clone());
        match disappointment {
            Disappointment::Absent(why) | Disappointment::Cannot(why) | Disappointment::Slow(why) => {
                Ok(self.unavailable(format!("{from}: {why}")))
            }
            Disappointment::Length(detail) => Ok(DownloadError::Length { artifact, from, detail, size: self.size }),
            Disappointment::Forged(detail) => {
                Ok(DownloadError::Digest { artifact, detail: format!("{from}: {detail}") })
            }
            // No other source would do better.
            Disappointment::Disk(error) => Err(failed("write", &self.path)(error).into()),
        }
    }

    /// Takes from one source what it gives of what is missing.
    async fn fetch(&self, origin: &Origin, origins: &Origins, deadline: Instant) -> Result<(), Disappointment> {
        let offset = self.have().map_err(|error| Disappointment::Disk(error.source))?;
        let patience = origin.patience(origins.patience(), deadline);
        let tree = match origin.checks_itself() {
            true => None,
            false => match self.tree(origin, origins, patience).await? {
                None if self.size > GROUP_BYTES => return self.fetch_unchecked(origin, origins, patience).await,
                tree => tree,
            },
        };
        let payload = origin.payload(self.blake3, self.size, offset);
        let incoming = timeout_at(deadline, payload).await.map_err(|_| Patience::over())??;
        let file = self.file.try_clone().map_err(Disappointment::Disk)?;
        let (blake3, size, checks_itself) = (self.blake3, self.size, origin.checks_itself());
        take(incoming, origins, patience, move |pieces| match checks_itself {
            true => check_and_write(&file, blake3, size, offset, pieces),
            false => check_and_write(&file, blake3, size, offset, Woven::new(tree, pieces, size, offset)),
        })
        .await
    }

    /// The hash tree of the artifact, checked: the one that is here, or this source's, or that of any other. None
    /// where nobody has one, or none is needed.
    async fn tree(
        &self,
        origin: &Origin,
        origins: &Origins,
        patience: Patience,
    ) -> Result<Option<File>, Disappointment> {
        if tree_bytes(self.size) == 0 {
            return Ok(None);
        }
        let path = sibling(&self.path, TREE_SUFFIX);
        if let Some(tree) = self.tree_here(&path).await {
            return Ok(Some(tree));
        }
        let others = origins.all().iter().enumerate().filter(|(_, other)| !std::ptr::eq(*other, origin));
        let mine = origins.all().iter().enumerate().filter(|(_, other)| std::ptr::eq(*other, origin));
        for (place, giver) in mine.chain(others).filter(|(_, giver)| !giver.checks_itself()) {
            match self.fetch_tree(giver, origins, patience, &path).await {
                Ok(tree) => return Ok(Some(tree)),
                Err(Disappointment::Disk(error)) => return Err(Disappointment::Disk(error)),
                // What this source gives beside would be checked against it.
                Err(why @ (Disappointment::Forged(_) | Disappointment::Length(_))) if std::ptr::eq(giver, origin) => {
                    return Err(why);
                }
                Err(Disappointment::Absent(_)) => {}
                Err(why) => origins.note(place, 0, Some(&why), Some(said(&why))),
            }
        }
        Ok(None)
    }

    /// The tree that is here, if it is the right one; a large one is read beside the agent's own thread.
    async fn tree_here(&self, path: &Path) -> Option<File> {
        let (tree, blake3, size) = (File::open(path).ok()?, self.blake3, self.size);
        let checking = tokio::task::spawn_blocking(move || tree::check(&tree, blake3, size).ok()?.then_some(tree));
        checking.await.ok().flatten()
    }

    async fn fetch_tree(
        &self,
        giver: &Origin,
        origins: &Origins,
        patience: Patience,
        path: &Path,
    ) -> Result<File, Disappointment> {
        let asked = giver.tree(self.blake3, self.size);
        let incoming = timeout_at(patience.deadline, asked).await.map_err(|_| Patience::over())??;
        files::remove(path).map_err(|error| Disappointment::Disk(error.source))?;
        let file = open_private(path).map_err(|error| Disappointment::Disk(error.source))?;
        let tree = file.try_clone().map_err(Disappointment::Disk)?;
        let (blake3, size) = (self.blake3, self.size);
        let taken = take(incoming, origins, patience, move |pieces| {
            copy_exactly(pieces, &file, tree_bytes(size))?;
            match tree::check(&file, blake3, size).map_err(Disappointment::Disk)? {
                true => Ok(()),
                false => Err(Disappointment::Forged("its hash tree does not belong to it".to_owned())),
            }
        });
        if let Err(why) = taken.await {
            files::remove(path).map_err(|error| Disappointment::Disk(error.source))?;
            return Err(why);
        }
        Ok(tree)
    }

    /// Takes the rest from a source that has no tree, and nobody else has: into a file beside, which becomes part of
    /// the artifact when the whole has the right digest, and not before. What is cut off on the way begins anew.
    async fn fetch_unchecked(
        &self,
        origin: &Origin,
        origins: &Origins,
        patience: Patience,
    ) -> Result<(), Disappointment> {
        let have = self.have().map_err(|error| Disappointment::Disk(error.source))?;
        match self.fetch_unchecked_from(have, origin, origins, patience).await {
            // What came may be right, and what was here damaged: only all of it shows that. What was here is not given up for
            // a stranger's word.
            Err(Disappointment::Forged(_)) if self.is_resumed && have > 0 && self.size <= UNCHECKED_BYTES_MAX => {
                tracing::warn!(artifact = %self.blake3, "what came does not go with what was here: all of it is asked for");
                self.fetch_unchecked_from(0, origin, origins, patience).await
            }
            fetched => fetched,
        }
    }

    /// The same from an offset on: of all of it nothing that was here counts, and it takes that place when it is right.
    async fn fetch_unchecked_from(
        &self,
        have: u64,
        origin: &Origin,
        origins: &Origins,
        patience: Patience,
    ) -> Result<(), Disappointment> {
        let disk = |error: FileError| Disappointment::Disk(error.source);
        let rest = self.size - have;
        if rest > UNCHECKED_BYTES_MAX {
            let why =
                format!("has no hash tree, and {rest} bytes are more than the {UNCHECKED_BYTES_MAX} taken without");
            return Err(Disappointment::Cannot(why));
        }
        // It lies beside first, and then in the artifact as well.
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        if !room::is_for(rest.saturating_mul(2), directory) {
            let why = format!("has no hash tree, and there is no room for {rest} bytes twice");
            return Err(Disappointment::Cannot(why));
        }
        let asked = origin.payload(self.blake3, self.size, have);
        let incoming = timeout_at(patience.deadline, asked).await.map_err(|_| Patience::over())??;
        let path = sibling(&self.path, UNCHECKED_SUFFIX);
        files::remove(&path).map_err(disk)?;
        let beside = open_private(&path).map_err(disk)?;
        let (checked, blake3) = (self.file.try_clone().map_err(Disappointment::Disk)?, self.blake3);
        let taken = take(incoming, origins, patience, move |pieces| {
            copy_exactly(pieces, &beside, rest)?;
            let mut hasher = PayloadHasher::default();
            if have > 0 {
                hash(&checked, &mut hasher).map_err(Disappointment::Disk)?;
            }
            hash(&beside, &mut hasher).map_err(Disappointment::Disk)?;
            if hasher.finish().blake3 != blake3 {
                return Err(Disappointment::Forged("sent bytes that do not belong to it".to_owned()));
            }
            let append = || {
                let (mut from, mut to) = (&beside, &checked);
                from.seek(SeekFrom::Start(0))?;
                to.set_len(have)?;
                to.seek(SeekFrom::End(0))?;
                io::copy(&mut from, &mut to)
            };
            append().map(drop).map_err(Disappointment::Disk)
        });
        let taken = taken.await;
        files::remove(&path).map_err(disk)?;
        taken
    }

    /// Hashes the whole file under both names.
    pub(super) async fn verify(&self) -> Result<(), DownloadError> {
        let file = self.file.try_clone().map_err(failed("hold", &self.path))?;
        let hashing = tokio::task::spawn_blocking(move || {
            let mut hasher = PayloadHasher::default();
            hash(&file, &mut hasher).map(|()| hasher.finish())
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

    pub(super) fn delivery(&self, from: Vec<Share>) -> Delivery {
        Delivery { artifact: self.blake3, from }
    }
}

fn said(disappointment: &Disappointment) -> String {
    match disappointment {
        Disappointment::Absent(why)
        | Disappointment::Cannot(why)
        | Disappointment::Slow(why)
        | Disappointment::Length(why)
        | Disappointment::Forged(why) => why.clone(),
        Disappointment::Disk(error) => error.to_string(),
    }
}

fn open_private(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::from_raw_mode(files::PRIVATE_FILE_MODE));
    Ok(File::from(opened.map_err(|error| failed("open", path)(error.into()))?))
}

/// So many bytes, and none more are looked at.
fn copy_exactly(mut from: Pieces, mut to: &File, bytes: u64) -> Result<(), Disappointment> {
    let copied = io::copy(&mut (&mut from).take(bytes), &mut to).map_err(Disappointment::Disk)?;
    match copied == bytes {
        true => Ok(()),
        false => Err(Disappointment::Length(format!("it ended after {copied} bytes"))),
    }
}

/// Hashes a file from its beginning.
pub(super) fn hash(mut file: &File, hasher: &mut PayloadHasher) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::bounded::Name;
    use ledger::patch::PayloadEncoding;
    use std::fs;

    #[test]
    fn what_another_name_has_is_not_cut() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = vec![7; 3 * GROUP_BYTES as usize];
        let (blake3, name) = (Digest::blake3(&bytes), Name::new("a").unwrap());
        let shorter =
            Artifact { name, size: 5, blake3, sha256: blake3, encoding: PayloadEncoding::Identity, delta_from: None };
        let (path, cached) = (directory.path().join(file_name(&blake3)), directory.path().join("cached"));
        fs::write(&path, &bytes).unwrap();
        fs::hard_link(&path, &cached).unwrap();
        assert_eq!(Partial::open(directory.path(), &shorter).unwrap().have().unwrap(), 0);
        assert_eq!(fs::read(&cached).unwrap(), bytes);
        // What is nobody else's is cut.
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Partial::open(directory.path(), &shorter).unwrap().have().unwrap(), 5);
    }
}

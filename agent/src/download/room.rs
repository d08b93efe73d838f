//! Room for a patch: for what is fetched of it, and for what is made of that before anything on the host is changed.
//! Reckoned in one place, for whoever is about to fetch and for whoever only wants to know.

use super::{file_name, names_kept};
use crate::data::DataDir;
use crate::files::{self, FileError, failed};
use crate::settled::Refusal;
use ledger::artifact::GROUP_BYTES;
use ledger::patch::Artifact;
use ledger::receipt::ReasonCode;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Room that must stay free on a disk.
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Bytes of what `stat` calls a block, whatever the disk's own are.
const STAT_BLOCK_BYTES: u64 = 512;

/// A disk, and what is needed of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disk {
    /// A directory on it, for people.
    directory: PathBuf,
    fetch: u64,
    prepare: u64,
    free: u64,
}

/// What a patch needs on the disks of the data directory, and what there is.
///
/// The same for every kind: an archive is unpacked beside what was fetched, a package is copied there. What else a kind
/// needs, on the disks that it changes, shows when it is prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room(Vec<Disk>);

impl Room {
    /// Reckons it. What is there of these artifacts need not be fetched any more, and what is there of others goes
    /// before anything is. Directories may not be there yet.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn reckon(data: &DataDir, artifacts: &[Artifact]) -> Result<Self, FileError> {
        Self::beside(data, artifacts, given_back(&data.downloads(), artifacts)?)
    }

    /// The same, where so much of what is there of others goes.
    fn beside(data: &DataDir, artifacts: &[Artifact], given_back: u64) -> Result<Self, FileError> {
        let downloads = data.downloads();
        let (mut fetch, mut names) = (0_u64, Vec::new());
        // A delta is fetched where there is room for it beside, and is not laid down.
        let payloads = || artifacts.iter().filter(|artifact| artifact.delta_from.is_none());
        for artifact in payloads() {
            let name = file_name(&artifact.blake3);
            if !names.contains(&name) {
                fetch = fetch.saturating_add(artifact.size - have(&downloads.join(&name), artifact.size)?);
                names.push(name);
            }
        }
        let prepare = payloads().fold(0, |sum: u64, artifact| sum.saturating_add(artifact.size));
        let mut disks = BTreeMap::new();
        for (directory, fetch, prepare, given_back) in
            [(downloads, fetch, 0, given_back), (data.installs(), 0, prepare, 0)]
        {
            let there = nearest(&directory);
            let device = fs::metadata(there).map_err(failed("examine", there))?.dev();
            let free = free_bytes(there)?;
            let disk = || Disk { directory: there.to_owned(), fetch: 0, prepare: 0, free };
            let disk = disks.entry(device).or_insert_with(disk);
            disk.fetch = disk.fetch.saturating_add(fetch);
            disk.prepare = disk.prepare.saturating_add(prepare);
            disk.free = disk.free.saturating_add(given_back);
        }
        Ok(Self(disks.into_values().collect()))
    }

    /// Whether there is enough beside what is there of other artifacts.
    #[must_use]
    pub fn is_there(data: &DataDir, artifacts: &[Artifact]) -> bool {
        Self::beside(data, artifacts, 0).is_ok_and(|room| room.check().is_ok())
    }

    /// Whether there is enough.
    ///
    /// # Errors
    /// [`Refusal`] with the first disk that has less, before anything is fetched.
    pub fn check(&self) -> Result<(), Refusal> {
        match self.0.iter().find(|disk| disk.needed() > disk.free) {
            None => Ok(()),
            Some(disk) => Err(Refusal::new(ReasonCode::DiskFull, disk)),
        }
    }
}

impl Disk {
    fn needed(&self) -> u64 {
        self.fetch.saturating_add(self.prepare).saturating_add(FREE_BYTES_MIN)
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directory, fetch, prepare, free } = self;
        write!(
            f,
            "{} bytes are needed ({fetch} to fetch, {prepare} for what is made of it, {FREE_BYTES_MIN} that stay free), \
             {free} are free in {}",
            self.needed(),
            directory.display()
        )
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disks: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&disks.join("; "))
    }
}

/// What is there of other artifacts, and goes. What has another name, in the cache of the site, stays where it is.
fn given_back(downloads: &Path, artifacts: &[Artifact]) -> Result<u64, FileError> {
    let (mut bytes, kept) = (0_u64, names_kept(artifacts));
    for name in files::names(downloads)?.into_iter().filter(|name| !kept.contains(name)) {
        let path = downloads.join(name);
        let metadata = fs::symlink_metadata(&path).map_err(failed("examine", &path))?;
        if metadata.nlink() == 1 {
            bytes = bytes.saturating_add(bytes_on_disk(&metadata));
        }
    }
    Ok(bytes)
}

/// What a file takes.
pub(super) fn bytes_on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(STAT_BLOCK_BYTES)
}

/// How much may stay that belongs to other patches: a sixteenth of the disk.
pub(super) fn for_others(directory: &Path) -> u64 {
    rustix::fs::statvfs(directory).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize) / 16)
}

fn free_bytes(directory: &Path) -> Result<u64, FileError> {
    let stat = rustix::fs::statvfs(directory).map_err(|error| failed("examine", directory)(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether so many bytes go onto the disk of a directory, and what must stay free stays free.
pub(super) fn is_for(bytes: u64, directory: &Path) -> bool {
    free_bytes(directory).is_ok_and(|free| bytes.saturating_add(FREE_BYTES_MIN) <= free)
}

/// How much of an artifact is there: whole groups only, and nothing beyond the signed size.
pub(super) fn whole_groups(length: u64, size: u64) -> u64 {
    if length >= size { size } else { length - length % GROUP_BYTES }
}

fn have(path: &Path, size: u64) -> Result<u64, FileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(whole_groups(metadata.len(), size)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(failed("examine", path)(error)),
    }
}

/// The directory itself, or that one above it which is there.
fn nearest(directory: &Path) -> &Path {
    directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::bounded::Name;
    use ledger::id::Digest;
    use ledger::patch::PayloadEncoding;

    fn artifact(name: &str, size: u64) -> Artifact {
        let digest = Digest::blake3(name.as_bytes());
        let (name, encoding) = (Name::new(name).unwrap(), PayloadEncoding::Identity);
        Artifact { name, size, blake3: digest, sha256: digest, encoding, delta_from: None }
    }

    #[test]
    fn what_is_there_is_not_needed_again_and_what_goes_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::at(directory.path().join("data"));
        let (a, b) = (artifact("a", 10 * GROUP_BYTES), artifact("b", 7));
        let both = [a.clone(), b, a.clone()];
        let one_disk = |artifacts: &[Artifact]| match &Room::reckon(&data, artifacts).unwrap().0[..] {
            [disk] => disk.clone(),
            disks => panic!("{disks:?}"),
        };
        // One that occurs twice is fetched once, and laid down twice.
        let nothing_there = one_disk(&both);
        assert_eq!(nothing_there.directory, directory.path());
        assert_eq!((nothing_there.fetch, nothing_there.prepare), (10 * GROUP_BYTES + 7, 20 * GROUP_BYTES + 7));
        assert_eq!(nothing_there.needed(), 30 * GROUP_BYTES + 14 + FREE_BYTES_MIN);

        fs::create_dir_all(data.downloads()).unwrap();
        let partial = data.downloads().join(file_name(&a.blake3));
        for (length, missing) in [(3 * GROUP_BYTES + 5, 7), (10 * GROUP_BYTES, 0), (11 * GROUP_BYTES, 0)] {
            fs::write(&partial, vec![1; usize::try_from(length).unwrap()]).unwrap();
            assert_eq!(one_disk(&both).fetch, missing * GROUP_BYTES + 7, "{length}");
        }
        // Of another patch, it goes.
        let given_back = |artifacts: &[Artifact]| given_back(&data.downloads(), artifacts).unwrap();
        assert!(given_back(&[artifact("c", 1)]) >= 11 * GROUP_BYTES);
        assert_eq!(given_back(&both), 0);
    }

    #[test]
    fn deltas_and_what_has_another_name_are_not_reckoned_with() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::at(directory.path().to_owned());
        let delta = Artifact { delta_from: Some(Digest::ZERO), ..artifact("delta", u64::MAX / 2) };
        Room::reckon(&data, &[artifact("whole", 1), delta]).unwrap().check().unwrap();

        fs::create_dir_all(data.downloads()).unwrap();
        let (old, cached) = (data.downloads().join("old.partial"), directory.path().join("cached"));
        fs::write(&old, vec![1; 1 << 20]).unwrap();
        let given_back = || given_back(&data.downloads(), &[artifact("new", 1)]).unwrap();
        assert!(given_back() >= 1 << 20);
        fs::hard_link(&old, &cached).unwrap();
        assert_eq!(given_back(), 0);
    }

    #[test]
    fn more_than_any_disk_has_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::at(directory.path().to_owned());
        for sizes in [vec![u64::MAX], vec![u64::MAX / 2, u64::MAX / 2], vec![u64::MAX / 4]] {
            let artifacts: Vec<_> =
                (0..).zip(&sizes).map(|(place, size)| artifact(&format!("a{place}"), *size)).collect();
            let room = Room::reckon(&data, &artifacts).unwrap();
            let refusal = room.check().unwrap_err();
            assert_eq!(refusal.reason.code, ReasonCode::DiskFull);
            assert!(room.to_string().starts_with(refusal.reason.detail.as_str().split(" are needed").next().unwrap()));
        }
        Room::reckon(&data, &[artifact("small", 1)]).unwrap().check().unwrap();
    }
}

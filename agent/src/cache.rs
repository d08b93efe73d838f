//! What this host has verified, for the other hosts of its site: kept within a bound, the oldest out first, and served
//! in the layout of a mirror (protocol.md 7.11), so that the others need no more than its address.
//!
//! Nobody has to trust it. It gives plain bytes and their hash trees, and whoever takes them checks every group against
//! what the vendor signed.

pub mod request;
mod serve;

pub use serve::serve;

use crate::config;
use crate::download::tree;
use crate::files::{self, FileError, failed};
use ledger::artifact::{TREE_SUFFIX, shelf_path, tree_bytes};
use ledger::id::Digest;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What a cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheView {
    /// Where it listens; nowhere when it cannot.
    pub listens: Option<SocketAddr>,
    /// Artifacts in it.
    pub artifacts: usize,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Most bytes there may be.
    pub bytes_max: u64,
    /// Bytes given since the agent began.
    pub given: u64,
}

/// Verified artifacts, for others.
pub struct Cache {
    directory: PathBuf,
    bytes_max: u64,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// The oldest first.
    held: VecDeque<(Digest, u64)>,
    listens: Option<SocketAddr>,
    given: u64,
}

impl Shelf {
    fn bytes(&self) -> u64 {
        self.held.iter().map(|(_, size)| on_disk(*size)).fold(0, u64::saturating_add)
    }

    fn size(&self, blake3: &Digest) -> Option<u64> {
        self.held.iter().find(|(held, _)| held == blake3).map(|(_, size)| *size)
    }
}

/// What an artifact takes with its tree.
fn on_disk(size: u64) -> u64 {
    size.saturating_add(tree_bytes(size))
}

impl Cache {
    /// Opens it, with what is there already. What is no artifact with its tree is removed.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(directory: &Path, bounds: &config::Cache) -> Result<Self, FileError> {
        files::private_dir(directory)?;
        let mut found = Vec::new();
        for shelf in files::names(directory)? {
            let shelf = directory.join(shelf);
            if !shelf.is_dir() {
                files::remove(&shelf)?;
                continue;
            }
            for name in files::names(&shelf)? {
                let path = shelf.join(&name);
                match name.parse::<Digest>().ok().and_then(|blake3| Some((blake3, whole(&path)?))) {
                    Some((blake3, (size, since))) => found.push((since, blake3, size)),
                    None if !name.ends_with(TREE_SUFFIX) || !is_tree_of_something(&path) => files::remove(&path)?,
                    None => {}
                }
            }
        }
        found.sort();
        let held = found.into_iter().map(|(_, blake3, size)| (blake3, size)).collect();
        let shelf = Shelf { held, ..Shelf::default() };
        let cache = Self { directory: directory.to_owned(), bytes_max: bounds.bytes_max, shelf: Mutex::new(shelf) };
        cache.make_room(0)?;
        Ok(cache)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Everything under the lock is written whole; a panic elsewhere leaves nothing half done.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, blake3: &Digest) -> PathBuf {
        self.directory.join(shelf_path(blake3))
    }

    /// Keeps a file that was verified, under a second name and with its tree. What is there of it already and is another
    /// file goes: it may be why this one was fetched. One that is larger than all the room there may be is not kept.
    /// Blocking.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn keep(&self, blake3: Digest, from: &Path) -> Result<(), FileError> {
        let metadata = fs::symlink_metadata(from).map_err(failed("examine", from))?;
        let (size, path) = (metadata.len(), self.path(&blake3));
        let is_this = |there: &fs::Metadata| (there.dev(), there.ino()) == (metadata.dev(), metadata.ino());
        let is_held = self.shelf().size(&blake3).is_some();
        if on_disk(size) > self.bytes_max || is_held && fs::symlink_metadata(&path).is_ok_and(|there| is_this(&there)) {
            return Ok(());
        }
        self.shelf().held.retain(|(held, _)| *held != blake3);
        files::private_dir(path.parent().unwrap_or(&self.directory))?;
        self.make_room(on_disk(size))?;
        files::remove(&path)?;
        // Made of what will be served, and compared with what it should be: a cache that gives rubbish is left by all.
        let payload = File::open(from).map_err(failed("open", from))?;
        let tree_path = with_tree(&path);
        let mut tree = tempfile::NamedTempFile::new_in(&self.directory).map_err(failed("create", &tree_path))?;
        let made = tree::make(&payload, size, tree.as_file_mut()).map_err(failed("write", &tree_path))?;
        if made != blake3 {
            let source = io::Error::new(io::ErrorKind::InvalidData, format!("it is {made} now"));
            return Err(FileError { act: "keep", path, source });
        }
        let private = Permissions::from_mode(files::PRIVATE_FILE_MODE);
        tree.as_file().set_permissions(private).map_err(failed("make private", &tree_path))?;
        // A name that outlives a power cut must not lead to zeros of the right length.
        tree.as_file().sync_all().map_err(failed("write", &tree_path))?;
        tree.persist(&tree_path).map_err(|error| failed("name", &tree_path)(error.error))?;
        // The artifact's name comes last: what has it has its tree.
        match fs::hard_link(from, &path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let copied = fs::copy(from, &path).and_then(|_| File::open(&path)).and_then(|file| file.sync_all());
                copied.map_err(failed("copy", &path))?;
            }
            linked => linked.map_err(failed("link", &path))?,
        }
        self.shelf().held.push_back((blake3, size));
        Ok(())
    }

    /// Removes the oldest until there is room for so many bytes.
    fn make_room(&self, bytes: u64) -> Result<(), FileError> {
        let mut shelf = self.shelf();
        while shelf.bytes().saturating_add(bytes) > self.bytes_max {
            let Some((oldest, _)) = shelf.held.front().copied() else { break };
            files::remove(&self.path(&oldest))?;
            files::remove(&with_tree(&self.path(&oldest)))?;
            shelf.held.pop_front();
            tracing::debug!(artifact = %oldest, "made room in the cache");
        }
        Ok(())
    }

    /// The file of an artifact that is here, or of its tree, and its length.
    fn open_file(&self, blake3: &Digest, is_tree: bool) -> Option<(File, u64)> {
        let size = self.shelf().size(blake3)?;
        let path = self.path(blake3);
        let (path, length) = if is_tree { (with_tree(&path), tree_bytes(size)) } else { (path, size) };
        let file = File::open(path).ok()?;
        let is_whole = file.metadata().ok()?.len() == length;
        is_whole.then_some((file, length))
    }

    fn given(&self, bytes: u64) {
        let mut shelf = self.shelf();
        shelf.given = shelf.given.saturating_add(bytes);
    }

    fn listens(&self, at: SocketAddr) {
        self.shelf().listens = Some(at);
    }

    /// What it holds.
    #[must_use]
    pub fn view(&self) -> CacheView {
        let (shelf, bytes_max) = (self.shelf(), self.bytes_max);
        let (artifacts, bytes) = (shelf.held.len(), shelf.bytes());
        CacheView { listens: shelf.listens, artifacts, bytes, bytes_max, given: shelf.given }
    }
}

fn with_tree(path: &Path) -> PathBuf {
    path.with_extension(TREE_SUFFIX.trim_start_matches('.'))
}

/// Size of an artifact that has its tree beside it, and since when.
fn whole(path: &Path) -> Option<(u64, SystemTime)> {
    let size = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    let tree = fs::symlink_metadata(with_tree(path)).ok().filter(fs::Metadata::is_file)?;
    (tree.len() == tree_bytes(size)).then_some((size, tree.modified().ok()?))
}

fn is_tree_of_something(path: &Path) -> bool {
    path.with_extension("").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(bytes_max: u64) -> config::Cache {
        config::Cache { listen: "127.0.0.1:0".parse().unwrap(), bytes_max, connections_max: 1 }
    }

    #[test]
    fn the_oldest_go_first_and_what_is_there_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("cache");
        let artifact = |number: u8| {
            let bytes = vec![number; 40_000];
            let path = directory.path().join(number.to_string());
            fs::write(&path, &bytes).unwrap();
            (Digest::blake3(&bytes), path)
        };
        let each = on_disk(40_000);
        let cache = Cache::open(&home, &bounds(2 * each)).unwrap();
        let all: Vec<_> = (1..=3).map(artifact).collect();
        for (blake3, path) in &all {
            cache.keep(*blake3, path).unwrap();
            cache.keep(*blake3, path).unwrap();
        }
        let held = |cache: &Cache| -> Vec<bool> {
            all.iter().map(|(blake3, _)| cache.open_file(blake3, false).is_some()).collect()
        };
        assert_eq!(held(&cache), [false, true, true]);
        assert_eq!(cache.view().bytes, 2 * each);
        assert!(cache.open_file(&all[1].0, true).is_some_and(|(_, length)| length == tree_bytes(40_000)));

        // What was cut off, and what nobody put there, is not served.
        File::options().write(true).open(with_tree(&cache.path(&all[1].0))).unwrap().set_len(3).unwrap();
        fs::write(home.join("stray"), "x").unwrap_or_default();
        let cache = Cache::open(&home, &bounds(2 * each)).unwrap();
        assert_eq!(held(&cache), [false, false, true]);
        assert!(!with_tree(&cache.path(&all[1].0)).exists() || !cache.path(&all[1].0).exists());
        let cache = Cache::open(&home, &bounds(each - 1)).unwrap();
        assert_eq!((held(&cache), cache.view().bytes), (vec![false; 3], 0));
        cache.keep(all[0].0, &all[0].1).unwrap();
        assert_eq!(cache.view().artifacts, 0, "too large to be kept is no error");
    }

    #[test]
    fn what_is_not_what_it_should_be_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache"), &bounds(1 << 20)).unwrap();
        let path = directory.path().join("a");
        fs::write(&path, vec![1; 40_000]).unwrap();
        assert!(cache.keep(Digest::ZERO, &path).is_err());
        assert_eq!(cache.view().artifacts, 0);
    }
}

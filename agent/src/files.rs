//! Files, as carefully as an agent needs them: bounded when read, on the disk when written.

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Mode of everything private: the owner's alone.
pub const PRIVATE_FILE_MODE: u32 = 0o600;
/// Mode of private directories.
pub const PRIVATE_DIR_MODE: u32 = 0o700;

/// What is tried with a path that is only read.
const OPEN: &str = "open";
const READ: &str = "read";

/// The operating system said no about a path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub struct FileError {
    /// What was tried.
    pub act: &'static str,
    /// With which path.
    pub path: PathBuf,
    /// What it said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether nothing was to be changed.
    #[must_use]
    pub fn is_of_reading(&self) -> bool {
        [OPEN, READ].contains(&self.act)
    }

    /// Whether there was no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Puts act and path beside an error, for `map_err`.
pub(crate) fn failed<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + use<'a> {
    move |source| FileError { act, path: path.to_owned(), source }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed(OPEN, path))?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed(READ, path))?;
    if bytes.len() > limit {
        let source = io::Error::new(io::ErrorKind::InvalidData, format!("more than {limit} bytes"));
        return Err(FileError { act: READ, path: path.to_owned(), source });
    }
    Ok(bytes)
}

/// Reads a file of at most `limit` bytes, or `None` when there is none.
pub(crate) fn read_if_there(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a private file as a whole: after a crash it is the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(PRIVATE_FILE_MODE);
    let mut file = options.open(&new).map_err(failed("create", &new))?;
    file.write_all(bytes).map_err(failed("write", &new))?;
    file.sync_all().map_err(failed("sync", &new))?;
    fs::rename(&new, path).map_err(failed("replace", path))?;
    sync_parent(path)
}

/// Mode of files that anybody may read, before the umask.
pub const PUBLIC_FILE_MODE: u32 = 0o644;

/// Writes a file where none is yet: it bears its name when all of it is on the disk, and not before. What could not
/// be written leaves nothing behind.
///
/// # Errors
/// [`FileError`].
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".countersign-").permissions(fs::Permissions::from_mode(mode));
    let mut file = builder.tempfile_in(parent(path)).map_err(failed("create", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    file.as_file().sync_all().map_err(failed("sync", path))?;
    file.persist_noclobber(path).map_err(|error| failed("create", path)(error.error))?;
    sync_parent(path)
}

/// The directory that a path is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes renames and removals in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("sync", path))
}

/// Makes the directory entry of a path durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), FileError> {
    sync_dir(parent(path))
}

/// Makes a directory for the owner alone, parents too; one that is there becomes the owner's alone.
pub(crate) fn private_dir(path: &Path) -> Result<(), FileError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(PRIVATE_DIR_MODE).create(path).map_err(failed("create", path))?;
    let metadata = fs::symlink_metadata(path).map_err(failed("examine", path))?;
    if metadata.permissions().mode() & 0o777 != PRIVATE_DIR_MODE {
        let private = fs::Permissions::from_mode(PRIVATE_DIR_MODE);
        fs::set_permissions(path, private).map_err(failed("make private", path))?;
    }
    Ok(())
}

/// Removes a file; none there is as good, also where nothing can be removed.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && fs::symlink_metadata(path).is_err() => {
            Ok(())
        }
        removed => removed.map_err(failed("remove", path)),
    }
}

/// Removes a tree, however deep it is; none there is as good.
///
/// Whoever made it may have made it deeper than files can be open, one in the other, and paths longer than the kernel
/// takes: each directory is lifted to the top before what is in it is removed, so that two are open at most.
pub(crate) fn remove_tree(path: &Path) -> Result<(), FileError> {
    let removed = match rustix::fs::open(path, TREE, Mode::empty()) {
        Ok(top) => empty(&top).and_then(|()| rustix::fs::rmdir(path)),
        Err(Errno::NOENT) => return Ok(()),
        // A link, perhaps; where it leads to is left alone.
        Err(Errno::LOOP | Errno::NOTDIR) => return remove(path),
        Err(error) => Err(error),
    };
    removed.map_err(|error| failed("remove", path)(error.into()))
}

const TREE: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes everything in a directory. Whoever is still about to make something there may do so once more.
fn empty(top: &OwnedFd) -> rustix::io::Result<()> {
    let mut lifted = 0;
    loop {
        let mut is_empty = true;
        let mut names = Dir::read_from(top)?;
        while let Some(name) = next(&mut names)? {
            is_empty = false;
            if remove_one(top, &name)? {
                continue;
            }
            let inner = rustix::fs::openat(top, &*name, TREE, Mode::empty())?;
            let mut inner_names = Dir::read_from(&inner)?;
            while let Some(inner_name) = next(&mut inner_names)? {
                if !remove_one(&inner, &inner_name)? {
                    lift(&inner, &inner_name, top, &mut lifted)?;
                }
            }
            remove_one(top, &name)?;
        }
        if is_empty {
            return Ok(());
        }
    }
}

/// The next name of a directory, itself and the one above apart.
fn next(names: &mut Dir) -> rustix::io::Result<Option<CString>> {
    while let Some(entry) = names.read() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Removes a file, or a directory with nothing in it; false when there is something in it.
fn remove_one(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<bool> {
    let gone = |removed: rustix::io::Result<()>| match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error),
    };
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            removed => gone(removed),
        },
        removed => gone(removed),
    }
}

/// Moves a directory to the top, under a name that nothing else has.
fn lift(from: &OwnedFd, name: &CStr, top: &OwnedFd, lifted: &mut u64) -> rustix::io::Result<()> {
    loop {
        *lifted += 1;
        match rustix::fs::renameat(from, name, top, lifted.to_string()) {
            // Something is called so: a file, or a directory with something in it.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(Errno::NOENT) => return Ok(()),
            moved => return moved,
        }
    }
}

/// Names in a directory, sorted; none when there is no such directory.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", path)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", path))?;
        // Everything this agent names is plain text; anything else is not its own.
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deeper than files may be open here, with names that make any path to there too long.
    #[test]
    fn a_tree_is_removed_however_deep_it_is() {
        const DEPTH: usize = 5_000;
        let room = tempfile::tempdir().unwrap();
        let (tree, beside) = (room.path().join("tree"), room.path().join("beside"));
        fs::create_dir_all(&tree).unwrap();
        fs::write(&beside, "stays").unwrap();
        let mut at = rustix::fs::open(&tree, TREE, Mode::empty()).unwrap();
        let long = "d".repeat(200);
        for depth in 0..DEPTH {
            rustix::fs::mkdirat(&at, &long, Mode::RWXU).unwrap();
            // What is lifted meets names like those it gets.
            rustix::fs::mkdirat(&at, (depth / 2).to_string(), Mode::RWXU).unwrap();
            rustix::fs::symlinkat(&beside, &at, "link").unwrap();
            // Where a directory is called so already, that is as good.
            let _ = rustix::fs::mknodat(&at, "1", rustix::fs::FileType::RegularFile, Mode::RUSR, 0);
            at = rustix::fs::openat(&at, &long, TREE, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert_eq!(
            (names(room.path()).unwrap(), fs::read_to_string(&beside).unwrap()),
            (vec!["beside".into()], "stays".into())
        );
        remove_tree(&tree).unwrap();
        // Of a link, only the link.
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&tree, room.path().join("link")).unwrap();
        remove_tree(&room.path().join("link")).unwrap();
        assert_eq!(names(room.path()).unwrap(), ["beside", "tree"]);
        assert!(tree.join("kept").exists());
    }
}

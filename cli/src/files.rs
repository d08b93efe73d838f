//! Files: read within bounds, written whole or not at all.

use crate::unfinished::Unfinished;
use ledger::limits;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Permissions of a file with a secret: its owner and nobody else.
pub const SECRET_MODE: u32 = 0o600;
/// Permissions of any other file written here, before the umask.
pub const PUBLIC_MODE: u32 = 0o666;

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// What it was to be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than such a file can be.
    #[error("{} is larger than a {what} can be: at most {limit} bytes", path.display())]
    TooLarge {
        /// What it was to be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// It is there already, and is not overwritten.
    #[error("{} exists", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// It is there already, and is something else than what would take its place.
    #[error("{} exists, and is no {what}", path.display())]
    Other {
        /// What it was to be.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// It could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FileError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("nothing is ever overwritten: choose another name, or move it away".to_owned()),
            Self::Other { .. } => Some("choose another name, or move it away".to_owned()),
            Self::Read { source, .. } => read_hint(source).map(str::to_owned),
            Self::TooLarge { what, .. } => Some(format!("is it a {what} at all?")),
            Self::Write { source, .. } => Some(write_hint(source).to_owned()),
        }
    }
}

/// What to do about something that cannot be read.
pub(crate) fn read_hint(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::NotFound => "check the path; it begins in the directory you are in",
        io::ErrorKind::PermissionDenied => "check who owns the file, and its mode",
        io::ErrorKind::IsADirectory => "give the file itself, not the directory it is in",
        _ => return None,
    })
}

/// What to do about something that cannot be written.
pub(crate) fn write_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "make the directory first",
        io::ErrorKind::StorageFull => "make room on the disk, or choose another one",
        io::ErrorKind::QuotaExceeded => "you have used up your share of this disk: choose another one",
        io::ErrorKind::ReadOnlyFilesystem => "nothing can be written there, it is read-only: choose another directory",
        io::ErrorKind::FileTooLarge => "no file may be so large there: choose another disk, or raise the limit",
        io::ErrorKind::NotADirectory => "part of the path is a file: choose another directory",
        io::ErrorKind::InvalidFilename => "choose a shorter name",
        _ => "choose a directory you may write in",
    }
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path, what: &'static str) -> Result<File, FileError> {
    let read = |source| FileError::Read { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.is_dir() {
        return Err(read(io::ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}

/// Reads a whole file that has a limit.
pub(crate) fn read(path: &Path, what: &'static str, limit: usize) -> Result<Vec<u8>, FileError> {
    let limit = limit as u64;
    let mut bytes = Vec::new();
    open(path, what)?.take(limit + 1).read_to_end(&mut bytes).map_err(|source| FileError::Read {
        what,
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { what, path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Reads as much of a file as its first bytes.
pub(crate) fn beginning(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole text file that has a limit.
pub(crate) fn read_text(path: &Path, what: &'static str, limit: usize) -> Result<String, FileError> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    String::from_utf8(read(path, what, limit)?).map_err(|error| FileError::Read {
        what,
        path: path.to_owned(),
        source: invalid(error.utf8_error()),
    })
}

/// Writes a new file, whole, on disk before its name appears; never over another.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let staged = Staged::write(path, bytes, mode)?;
    match staged.file.persist_noclobber(path) {
        // Whoever is told that a key was made has it after a power cut, too.
        Ok(_) => sync_directory(path),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(FileError::Exists { path: path.to_owned() })
        }
        Err(error) => Err(FileError::Write { path: path.to_owned(), source: error.error }),
    }
}

/// A new file that is written piece by piece; its name appears when it is whole, and never over another. Whoever
/// writes it listens to the signals that end programs.
pub(crate) struct New {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl New {
    /// Begins, unless the name is taken.
    pub(crate) fn begin(path: &Path) -> Result<Self, FileError> {
        if exists(path) {
            return Err(FileError::Exists { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), file: temporary(path, PUBLIC_MODE, |_| {})? })
    }

    /// Puts it on disk under its name.
    pub(crate) fn keep(self) -> Result<(), FileError> {
        let failed = |source| FileError::Write { path: self.path.clone(), source };
        self.file.as_file().sync_all().map_err(failed)?;
        match self.file.persist_noclobber(&self.path) {
            Ok(_) => sync_directory(&self.path),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(FileError::Exists { path: self.path })
            }
            Err(error) => Err(FileError::Write { path: self.path, source: error.error }),
        }
    }
}

impl Write for New {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // By itself: the error is to be about the file that was asked for, not about the name it has meanwhile.
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Writes a new file as [`write_new`] does; one that is there already and says the same is left as it is.
pub(crate) fn write_once(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let is_there = || fs::read(path).is_ok_and(|old| old == bytes);
    match write_new(path, bytes, mode) {
        Err(FileError::Exists { .. })
            if fs::metadata(path).is_ok_and(|old| old.len() == bytes.len() as u64) && is_there() =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Writes a file, whole, in the place of an older one of its kind (or an empty one), if there is one.
pub(crate) fn write_over(
    path: &Path,
    what: &'static str,
    bytes: &[u8],
    is_one: impl Fn(&[u8]) -> bool,
) -> Result<(), FileError> {
    if exists(path) {
        let is_alike = fs::metadata(path).is_ok_and(|old| old.is_file())
            && read(path, what, limits::PROOF_BYTES_MAX).is_ok_and(|old| old.is_empty() || is_one(&old));
        if !is_alike {
            return Err(FileError::Other { what, path: path.to_owned() });
        }
    }
    let staged = Staged::write(path, bytes, PUBLIC_MODE)?;
    let persisted = staged.file.persist(path).map(|_| ());
    persisted.map_err(|error| FileError::Write { path: path.to_owned(), source: error.error })
}

/// Makes the name of a file durable.
fn sync_directory(path: &Path) -> Result<(), FileError> {
    let synced = File::open(directory_of(path)).and_then(|directory| directory.sync_all());
    match synced {
        // A directory that one may write into but not read: the file itself is there.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(|source| FileError::Write { path: path.to_owned(), source }),
    }
}

/// A whole file under a name that nobody asked for yet; gone with this value, and when a signal ends the program.
struct Staged {
    file: NamedTempFile,
    _unfinished: Option<Unfinished>,
}

impl Staged {
    fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<Self, FileError> {
        let failed = |source| FileError::Write { path: path.to_owned(), source };
        let mut unfinished = None;
        let mut file = temporary(path, mode, |name| unfinished = Some(Unfinished::note(name)))?;
        file.as_file_mut().write_all(bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        Ok(Self { file, _unfinished: unfinished })
    }
}

/// How the names of what is not finished begin.
const UNFINISHED_PREFIX: &str = ".countersign-";

/// A file beside where it will stand; its name is told before there is anything under it.
fn temporary(path: &Path, mode: u32, mut named: impl FnMut(&Path)) -> Result<NamedTempFile, FileError> {
    let make = |name: &Path| {
        named(name);
        OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(name)
    };
    let made = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).make_in(directory_of(path), make);
    made.map_err(|source| FileError::Write { path: path.to_owned(), source })
}

/// A directory beside where it will stand; gone with this value, and when a signal ends the program.
pub(crate) struct StagedDirectory {
    path: PathBuf,
    _unfinished: Option<Unfinished>,
}

impl StagedDirectory {
    /// Makes it.
    pub(crate) fn begin(beside: &Path) -> io::Result<Self> {
        let mut unfinished = None;
        let make = |name: &Path| {
            unfinished = Some(Unfinished::note(name));
            fs::create_dir(name)
        };
        let mut builder = tempfile::Builder::new();
        let made = builder.prefix(UNFINISHED_PREFIX).disable_cleanup(true).make_in(directory_of(beside), make)?;
        Ok(Self { path: made.path().to_owned(), _unfinished: unfinished })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StagedDirectory {
    fn drop(&mut self) {
        // There is nothing there when it was renamed; what cannot be removed is nobody's answer.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The directory a path's last part is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a path names something, a dangling link included.
pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

    use super::*;

    /// A key that lies where a proof is to go is not lost for it.
    #[test]
    fn only_what_is_of_its_kind_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redis.proof");
        let is_proof = |bytes: &[u8]| bytes.starts_with(b"proof");
        let write = |bytes: &[u8]| write_over(&path, "proof file", bytes, is_proof);
        write(b"proof 1").unwrap();
        write(b"proof 2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"proof 2");
        // As `mktemp` leaves it.
        fs::write(&path, b"").unwrap();
        write(b"proof 3").unwrap();
        for other in [&b"secret_key = \"00\""[..], &vec![b'p'; limits::PROOF_BYTES_MAX + 1]] {
            fs::write(&path, other).unwrap();
            let refused = write(b"proof 4").unwrap_err();
            assert_eq!(refused.to_string(), format!("{} exists, and is no proof file", path.display()));
            assert_eq!(fs::read(&path).unwrap(), other);
        }
        let refused = write_over(directory.path(), "proof file", b"proof", is_proof).unwrap_err();
        assert!(matches!(refused, FileError::Other { .. }), "{refused}");
    }
}

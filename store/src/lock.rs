//! One store, one owner.
//!
//! RocksDB has a lock of its own, but it says "in use" only in words, and a read-only opening does not
//! ask it at all. This one is an `flock` on a file of ours: typed, held by whoever checks a store as well,
//! and given back by the system however its owner ends.

use crate::error::StoreError;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// The file that is locked.
pub(crate) const LOCK_FILE: &str = "store.lock";

/// Held while the store is open.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the store in `path`, to write in it.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let file = File::options().create(true).append(true).open(path.join(LOCK_FILE));
        Self::hold(path, file.map_err(|source| file_error(path, source))?)
    }

    /// Takes the lock of the store in `path` without writing anything there.
    pub(crate) fn take_to_read(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path.join(LOCK_FILE));
        Self::hold(path, file.map_err(|source| file_error(path, source))?)
    }

    fn hold(path: &Path, file: File) -> Result<Self, StoreError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { path: path.to_owned() }),
            Err(errno) => Err(file_error(path, errno.into())),
        }
    }
}

/// Names what a failed file operation means for a store.
pub(crate) fn file_error(path: &Path, source: std::io::Error) -> StoreError {
    let (path, detail) = (path.to_owned(), source.to_string());
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path, detail },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::DiskFull { path, detail }
        }
        _ => StoreError::Io { path, source },
    }
}

//! A store that is being made: beside its place until it is whole, and gone when it does not become so.

use crate::error::StoreError;
use crate::lock::{LOCK_FILE, Lock, file_error};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A directory in which a store is put together. Locked: two makers of one store do not meet.
pub(crate) struct Draft {
    directory: PathBuf,
    /// Where the store is to be.
    place: PathBuf,
    lock: Lock,
}

impl Draft {
    /// Begins with an empty one, whatever an interrupted creation left behind.
    pub(crate) fn begin(place: &Path) -> Result<Self, StoreError> {
        let directory = beside(place);
        fs::create_dir_all(&directory).map_err(|source| file_error(&directory, source))?;
        let lock = Lock::take(&directory)?;
        clear(&directory)?;
        Ok(Self { directory, place: place.to_owned(), lock })
    }

    /// Fills it, and moves it to its place when that went well.
    pub(crate) fn complete<T, E: From<StoreError>>(self, fill: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        self.complete_locked(fill).map(|(made, _)| made)
    }

    /// The same; the store stays locked.
    pub(crate) fn complete_locked<T, E: From<StoreError>>(
        self,
        fill: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<(T, Lock), E> {
        let made = fill(&self.directory).and_then(|made| self.put_in_place().map(|()| made).map_err(E::from));
        if made.is_err() {
            // What went wrong with the store is what people must hear. Should this go wrong as well, the next
            // start removes it.
            let _ = fs::remove_dir_all(&self.directory);
        }
        made.map(|made| (made, self.lock))
    }

    fn put_in_place(&self) -> Result<(), StoreError> {
        let place = &self.place;
        let parent = place.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        fs::rename(&self.directory, place).map_err(|source| file_error(place, source))?;
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| file_error(parent, source))
    }

    /// Removes what an interrupted creation left beside a store, unless somebody is at it.
    pub(crate) fn remove_left_behind(place: &Path) -> Result<(), StoreError> {
        let directory = beside(place);
        if !directory.is_dir() {
            return Ok(());
        }
        let _lock = match Lock::take(&directory) {
            Err(StoreError::Locked { .. }) => return Ok(()),
            taken => taken?,
        };
        fs::remove_dir_all(&directory).map_err(|source| file_error(&directory, source))
    }
}

/// Whether a store can be made at `path`.
pub(crate) fn is_free(path: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(file_error(path, error)),
    }
}

/// Where the store of a place is put together.
fn beside(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".creating");
    place.with_file_name(name)
}

/// Empties a directory, its lock apart.
fn clear(directory: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(directory).map_err(|source| file_error(directory, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| file_error(directory, source))?;
        if entry.file_name() != LOCK_FILE {
            fs::remove_file(entry.path()).map_err(|source| file_error(&entry.path(), source))?;
        }
    }
    Ok(())
}

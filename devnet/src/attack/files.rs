//! Trees of files, byte by byte: what was packed, and what is installed.

use super::error::AttackError;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The contents of files by their paths beneath a directory.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file beneath a directory.
pub(super) fn files_of(directory: &Path) -> Result<Files, AttackError> {
    let (mut files, mut waiting) = (Files::new(), vec![PathBuf::new()]);
    while let Some(beneath) = waiting.pop() {
        let place = directory.join(&beneath);
        let failed = || AttackError::io(format!("cannot read {}", place.display()));
        for entry in fs::read_dir(&place).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let path = beneath.join(entry.file_name());
            match entry.file_type().map_err(failed())?.is_dir() {
                true => waiting.push(path),
                false => drop(files.insert(path, fs::read(entry.path()).map_err(failed())?)),
            }
        }
    }
    Ok(files)
}

//! Are the logs whole: that of batches, and the list of files, which is a log too?
//!
//! When it opens, RocksDB plays its log up to the first record that does not check out and forgets the
//! rest: right for a batch that a crash tore, which is always the last, and wrong for a byte that rotted in
//! the middle, because then blocks that were acknowledged would be gone without a word. So this looks
//! first: a record that is broken may be followed by the rest of its own batch, but not by the beginning
//! of a later one, which is only written once the earlier is on the disk.

mod records;

use crate::error::{Corruption, StoreError};
use crate::lock::file_error;
use records::{find_break, is_begun};
use std::fs;
use std::path::Path;

/// The last record of a log, when it does not check out: a crash tore it while it was written, or it was damaged since.
/// Nothing tells the two apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    /// The log.
    pub(crate) file: String,
    /// Where the record begins.
    pub(crate) at: usize,
}

/// Checks all logs, and lists of files, of the database in `path`. What the newest log ends with, if that is torn.
pub(crate) fn check(path: &Path) -> Result<Option<Torn>, StoreError> {
    let mut torn = None;
    for entry in fs::read_dir(path).map_err(|source| file_error(path, source))? {
        let file = entry.map_err(|source| file_error(path, source))?.path();
        let number = file.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        let is_log = file.file_name().is_some_and(|name| is_log(&name.to_string_lossy()));
        let is_list = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST-"));
        let number = number.filter(|_| is_log).map(|number| number as u32);
        if number.is_some() || is_list {
            let log = fs::read(&file).map_err(|source| file_error(&file, source))?;
            let file = file.file_name().map(|name| name.to_string_lossy().into_owned());
            let (broken, later) = find_break(&log, number);
            if let (Some(at), Some(number)) = (broken, number)
                && is_begun(&log, at, number)
            {
                torn = file.clone().map(|file| Torn { file, at });
            }
            if let (Some(broken), Some(later)) = (broken, later) {
                let lost = if is_list { "files" } else { "acknowledged blocks" };
                let detail = format!(
                    "the record at byte {broken} does not check out, and a later one begins at byte {later}: {lost} \
                     are in between"
                );
                let column = None;
                return Err(StoreError::Corrupt(Box::new(Corruption {
                    column,
                    key: None,
                    height: None,
                    file,
                    detail,
                })));
            }
        }
    }
    Ok(torn)
}

/// Whether a file of a database, by its name, is a log of batches.
pub(crate) fn is_log(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "log")
}

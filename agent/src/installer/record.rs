//! What a step writes into its holding for the steps after it: JSON of a bounded size. What could not be
//! read again is not written in the first place.

use crate::files::{self, FileError, failed};
use crate::settled::Refusal;
use ledger::receipt::ReasonCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;

/// Writes a record of at most `limit` bytes.
pub(super) fn write(path: &Path, record: &impl Serialize, limit: usize) -> Result<(), Refusal> {
    let unwritable = |error| Refusal::from(failed("write", path)(io::Error::other(error)));
    let bytes = serde_json::to_vec(record).map_err(unwritable)?;
    if bytes.len() > limit {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let detail =
            format!("the patch is too large to be taken back: {name} has {} bytes, {limit} are the most", bytes.len());
        return Err(Refusal::new(ReasonCode::CannotRollBack, detail));
    }
    Ok(files::replace(path, &bytes)?)
}

/// Reads a record.
pub(super) fn read<T: DeserializeOwned>(path: &Path, limit: usize) -> Result<T, FileError> {
    parse(path, &files::read(path, limit)?)
}

/// Reads a record, or `None` when it was not written.
pub(super) fn read_if_there<T: DeserializeOwned>(path: &Path, limit: usize) -> Result<Option<T>, FileError> {
    files::read_if_there(path, limit)?.map(|bytes| parse(path, &bytes)).transpose()
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, FileError> {
    serde_json::from_slice(bytes).map_err(|error| failed("understand", path)(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        write(&path, &"12345678", 10).unwrap();
        assert_eq!(read::<String>(&path, 10).unwrap(), "12345678");
        let refusal = write(&path, &"123456789", 10).unwrap_err();
        assert_eq!(refusal.reason.code, ReasonCode::CannotRollBack);
        assert!(read::<String>(&path, 9).is_err(), "and nothing is read that is longer than it may be");
        assert_eq!(read_if_there::<String>(&directory.path().join("none"), 9).unwrap(), None);
    }
}

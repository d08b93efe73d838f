//! What a program on trial writes before it is committed must be readable by the one before: the journal, what is
//! remembered of the ledger, what was tried, and what was kept. They are copied before the trial, read by the program
//! before when the new one says that it is healthy, and put back from the copies where that cannot read them. Receipts
//! are not copied: one that cannot be read is put aside, and sent by the next program that can.

use crate::attempts;
use crate::data::DataDir;
use crate::files::{self, FileError};
use crate::follow::memory;
use crate::installer::by_hand;
use crate::installer::journal::Journal;
use crate::settled::chain;
use std::path::{Path, PathBuf};

/// Largest file that is kept: none of them comes near it.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A file, and what says why this program cannot read it.
type Kept = (&'static str, fn(&Path) -> Option<String>);

/// What a program writes while it is on trial.
const KEPT: [Kept; 5] = [
    ("journal", |path| Journal::peek(path).err().map(|error| chain(&error))),
    ("memory.json", |path| memory::check(path).err().map(|error| chain(&error))),
    (memory::CHANGE_FILE, |path| memory::check_change(path).err().map(|error| chain(&error))),
    ("attempts.json", |path| attempts::check(path).err().map(|error| chain(&error))),
    ("last-kept.json", |path| by_hand::check(path).err().map(|error| chain(&error))),
];

fn copies(data: &DataDir) -> PathBuf {
    data.path().join("before-trial")
}

/// Copies what a trial may write.
///
/// # Errors
/// [`FileError`]; then nothing is tried.
pub(super) fn keep(data: &DataDir) -> Result<(), FileError> {
    files::private_dir(&copies(data))?;
    for (name, _) in KEPT {
        match files::read_if_there(&data.path().join(name), KEPT_BYTES_MAX)? {
            Some(bytes) => files::replace(&copies(data).join(name), &bytes)?,
            None => files::remove(&copies(data).join(name))?,
        }
    }
    Ok(())
}

/// What this program cannot read, and why.
pub(super) fn unreadable(data: &DataDir) -> Option<String> {
    KEPT.into_iter().find_map(|(name, why_not)| why_not(&data.path().join(name)))
}

/// Puts back what this program cannot read, where it can read the copy.
///
/// # Errors
/// [`FileError`].
pub(super) fn mend(data: &DataDir) -> Result<(), FileError> {
    for (name, why_not) in KEPT {
        let (path, copy) = (data.path().join(name), copies(data).join(name));
        if let Some(why) = why_not(&path)
            && copy.exists()
            && why_not(&copy).is_none()
        {
            tracing::warn!(why, name, "what the new program wrote is put back as it was before");
            files::replace(&path, &files::read(&copy, KEPT_BYTES_MAX)?)?;
        }
    }
    Ok(())
}

/// Throws the copies away.
///
/// # Errors
/// [`FileError`].
pub(crate) fn discard(data: &DataDir) -> Result<(), FileError> {
    files::remove_tree(&copies(data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_the_program_before_cannot_read_is_as_it_was_again_and_nothing_else() {
        let room = tempfile::tempdir().unwrap();
        let data = DataDir::at(room.path().to_owned());
        let (journal, memory) = (room.path().join("journal"), room.path().join("memory.json"));
        let seen = |height: u64| {
            let zeros = "0".repeat(64);
            format!("{{\"chain_id\":\"{zeros}\",\"height\":{height},\"time_ms\":1,\"hash\":\"{zeros}\"}}\n")
        };
        fs::write(&journal, "").unwrap();
        fs::write(&memory, seen(1)).unwrap();
        keep(&data).unwrap();
        // What it can read stays: nothing that was seen since is forgotten.
        fs::write(&memory, seen(2)).unwrap();
        assert_eq!(unreadable(&data), None);
        mend(&data).unwrap();
        assert_eq!(fs::read_to_string(&memory).unwrap(), seen(2));

        fs::write(&memory, "{\"a word of tomorrow\":1}").unwrap();
        assert!(unreadable(&data).unwrap().contains("memory.json is damaged"));
        mend(&data).unwrap();
        assert_eq!((unreadable(&data), fs::read_to_string(&memory).unwrap()), (None, seen(1)));
        fs::write(&journal, [1_u8; 64 * 1024]).unwrap();
        assert!(unreadable(&data).unwrap().contains("journal is damaged"));
        mend(&data).unwrap();
        assert_eq!((unreadable(&data), fs::read(&journal).unwrap()), (None, Vec::new()));
        fs::write(data.attempts(), "{\"runs\":\"many\"}").unwrap();
        assert!(unreadable(&data).unwrap().contains("attempts.json"));
        discard(&data).unwrap();
        mend(&data).unwrap();
    }
}

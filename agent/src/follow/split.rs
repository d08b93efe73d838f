//! What shows that the ledger was split: known before it is written, and kept on the disk, but not without bounds.

use crate::files::{self, FileError};
use ledger::bounded::BoundError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files kept. The first one stops everything, and each names who signed two things: whoever could make one can make one of
/// every height there is.
pub const EVIDENCE_KEPT: usize = 4;
/// What two certified headers of one height are in.
pub(super) const FORK: &str = "evidence";
/// What one certified header is in, where of the other one only the hash is known.
pub(super) const HEAD: &str = "head";

/// Why evidence of a split is not on the disk.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// It could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The validators changed more often than a file can tell.
    #[error(transparent)]
    TooManyEpochs(#[from] BoundError),
}

/// The evidence there is.
pub(super) struct Splits {
    directory: PathBuf,
    kept: BTreeSet<String>,
    /// What is known, and could not be written.
    unwritten: Option<PathBuf>,
}

impl Splits {
    pub(super) fn open(directory: PathBuf) -> Result<Self, FileError> {
        let kept = files::names(&directory)?.into_iter().collect();
        Ok(Self { directory, kept, unwritten: None })
    }

    /// A file that shows it, if it is known, until a person has taken all of them away. What could not be written is known
    /// as long as the agent runs.
    pub(super) fn known(&mut self) -> Option<PathBuf> {
        let Self { directory, kept, unwritten } = self;
        // What cannot be looked at is there.
        kept.retain(|name| directory.join(name).try_exists().unwrap_or(true));
        kept.first().map(|name| directory.join(name)).or_else(|| unwritten.clone())
    }

    /// Takes note of a split at a height: first of all that there is one, and then, on the disk, what shows it.
    pub(super) fn note(
        &mut self,
        height: u64,
        form: &str,
        bytes: impl FnOnce() -> Result<Vec<u8>, BoundError>,
    ) -> Result<PathBuf, SplitError> {
        let known = self.known();
        let name = format!("split-{height}.{form}");
        let path = self.directory.join(&name);
        if self.kept.contains(&name) {
            return Ok(path);
        }
        if let Some(known) = known.filter(|_| self.kept.len() >= EVIDENCE_KEPT) {
            return Ok(known);
        }
        self.unwritten.get_or_insert_with(|| path.clone());
        files::replace(&path, &bytes()?)?;
        self.kept.insert(name);
        self.unwritten = None;
        Ok(path)
    }
}

/// What a person does with a file that shows that the ledger was split.
#[must_use]
pub fn advice(evidence: &Path) -> String {
    let path = evidence.display();
    match evidence.extension().is_some_and(|form| form == HEAD) {
        true => format!(
            "`countersign audit fork {path} NODE` compares it with what a node has: of the header that was known before \
             it, the certificate was not kept"
        ),
        false => format!("`countersign audit check {path}` says by whom"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn names(directory: &Path) -> usize {
        files::names(directory).unwrap().len()
    }

    #[test]
    fn of_however_many_heights_a_few_are_kept_and_each_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut splits = Splits::open(directory.path().to_owned()).unwrap();
        assert_eq!(splits.known(), None);
        let first = splits.note(1, FORK, || Ok(vec![1])).unwrap();
        let written = std::fs::metadata(&first).unwrap().ino();
        for height in 1..100 {
            splits.note(height, FORK, || Ok(vec![2])).unwrap();
        }
        assert_eq!((names(directory.path()), std::fs::metadata(&first).unwrap().ino()), (EVIDENCE_KEPT, written));
        // After a restart, too; and what a person takes away is gone when all of it is.
        let mut splits = Splits::open(directory.path().to_owned()).unwrap();
        assert_eq!(splits.note(200, FORK, || Ok(vec![3])).unwrap(), first);
        assert_eq!(names(directory.path()), EVIDENCE_KEPT);
        std::fs::remove_file(&first).unwrap();
        assert!(splits.known().is_some_and(|known| known != first));
        files::names(directory.path())
            .unwrap()
            .iter()
            .for_each(|name| files::remove(&directory.path().join(name)).unwrap());
        assert_eq!(splits.known(), None);
    }

    #[test]
    fn what_cannot_be_written_is_known_all_the_same_and_written_as_soon_as_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("evidence");
        let mut splits = Splits { directory: place.clone(), kept: BTreeSet::new(), unwritten: None };
        assert!(matches!(splits.note(1, FORK, || Ok(vec![1])), Err(SplitError::File(_))));
        assert_eq!(splits.known(), Some(place.join("split-1.evidence")));
        std::fs::create_dir(&place).unwrap();
        let written = splits.note(2, FORK, || Ok(vec![2])).unwrap();
        assert_eq!(splits.known(), Some(written.clone()));
        std::fs::remove_file(written).unwrap();
        assert_eq!(splits.known(), None, "a person has looked at it");
    }
}

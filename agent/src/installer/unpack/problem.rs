//! What is wrong with an archive, entry by entry.

use ledger::bounded::Sentence;
use rustix::io::Errno;
use std::io;

/// What is wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// It begins at the root.
    #[error("has an absolute path")]
    Absolute,
    /// It climbs.
    #[error("has `..` in its path")]
    Climbs,
    /// It is not plain text.
    #[error("has a name that is not UTF-8 without control characters")]
    Name,
    /// It is too long or too deep.
    #[error("has a path that is too long or too deep")]
    TooLong,
    /// It has no name.
    #[error("has no name")]
    Nameless,
    /// It is a device, a pipe, a sparse file …
    #[error("is a {0}: only files, directories and links may be in a tree")]
    Kind(&'static str),
    /// It would run with somebody else's rights.
    #[error("is setuid or setgid (mode {0:o})")]
    SetId(u32),
    /// It is a link that may leave the tree.
    #[error("is a link to {0:?}, which may lead out of the tree")]
    LinkOut(String),
    /// It is a hard link to something else than a file that came before.
    #[error("is a hard link to {0:?}, which is no file before it")]
    LinkToNothing(String),
    /// What should be a directory on its way is none.
    #[error("lies beneath something that is no directory")]
    BeneathNoDirectory,
    /// It was there before.
    #[error("occurs twice")]
    Duplicate,
    /// Another name differs by upper and lower case only.
    #[error("differs from an earlier name by upper and lower case only")]
    CaseClash,
    /// It is no file, and yet has a content: some readers pass over that, others take it for what comes next.
    #[error("has a content of {0} bytes, which only a file may have")]
    Sized(u64),
    /// It is a file, and its name ends in `/`: some readers take it for a directory, and have another idea of where the
    /// next entry begins.
    #[error("is a file with a name that ends in `/`")]
    FileAsDirectory,
    /// One too many.
    #[error("is one too many: {0} entries are the most")]
    TooMany(usize),
    /// Too large, or all together are.
    #[error("is too large: {0} bytes are the most")]
    TooLarge(u64),
    /// Its content broke off.
    #[error("broke off after {actual} of {expected} bytes")]
    BrokenOff {
        /// Bytes there were.
        actual: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// Its extended header is too large, contradicts itself, or is none.
    #[error("has an extended header that is not acceptable")]
    Extension,
}

/// Why a tree did not grow.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// An entry that must not be in a tree.
    #[error("entry {entry:?} {problem}")]
    Entry {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        problem: EntryProblem,
    },
    /// Not an archive, or broken off. The words are those of the library that reads it, which quotes what
    /// strangers wrote: as much of them as a sentence has, and inert.
    #[error("it is not readable as a tar archive: {0}")]
    Archive(Sentence),
    /// The disk said no.
    #[error("cannot unpack {entry:?}")]
    Io {
        /// The entry.
        entry: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl UnpackError {
    /// What is wrong with an archive as a whole, in one line.
    pub(in crate::installer) fn archive<T: ToString>(says: T) -> Self {
        Self::Archive(Sentence::cut(&says.to_string().replace('\n', " ")))
    }
}

/// As much of a stranger's name as a refusal quotes, as it is quoted.
const SHOWN_BYTES_MAX: usize = 200;

/// The beginning of a name, for a refusal.
pub(in crate::installer) fn shown(name: &str) -> String {
    let mut room = SHOWN_BYTES_MAX;
    let fits = |c: &char| {
        let left = room.checked_sub(c.escape_debug().map(char::len_utf8).sum());
        left.inspect(|left| room = *left).is_some()
    };
    name.chars().take_while(fits).collect()
}

/// A problem, not yet beside the name of its entry.
#[derive(Debug)]
pub(in crate::installer) enum Refused {
    Entry(EntryProblem),
    Archive(io::Error),
    Disk(io::Error),
}

impl From<EntryProblem> for Refused {
    fn from(problem: EntryProblem) -> Self {
        Self::Entry(problem)
    }
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Self::Disk(error.into())
    }
}

impl Refused {
    /// Puts the entry's name beside the problem.
    pub(in crate::installer) fn of(self, entry: &[u8]) -> UnpackError {
        let entry = shown(&String::from_utf8_lossy(entry));
        match self {
            Self::Entry(problem) => UnpackError::Entry { entry, problem },
            Self::Archive(source) => UnpackError::archive(format!("at {entry:?}: {source}")),
            Self::Disk(source) => UnpackError::Io { entry, source },
        }
    }
}

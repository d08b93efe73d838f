//! Why something cannot be packed, with the entry that says so.

use crate::files::{self, FileError};
use ledger::bounded::BoundError;
use ledger::patch::ManifestError;
use std::io;
use std::path::PathBuf;

/// Why something cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An entry that must not be in a tree.
    #[error("{}: entry {entry:?} {problem}", input.display())]
    Entry {
        /// The input.
        input: PathBuf,
        /// The entry's name, as it stands there.
        entry: String,
        /// What is wrong with it.
        problem: EntryProblem,
    },
    /// An archive that is broken off, or none.
    #[error("{}: not readable as {what}", input.display())]
    Broken {
        /// The input.
        input: PathBuf,
        /// What it was taken for.
        what: &'static str,
        /// What the reader says.
        source: io::Error,
    },
    /// A Debian package that is none.
    #[error("{}: no Debian package: {detail}", input.display())]
    Package {
        /// The input.
        input: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// An RPM package that cannot be packed.
    #[error("{}: no RPM package: {detail}", input.display())]
    RpmPackage {
        /// The input.
        input: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Packages for different machines.
    #[error("{}: for {actual}, the packages before it are for {expected}", input.display())]
    Architecture {
        /// The input.
        input: PathBuf,
        /// Its architecture.
        actual: String,
        /// The others'.
        expected: String,
    },
    /// Inputs that do not go together.
    #[error("{}", .0)]
    Inputs(String),
    /// The tree has nothing in it.
    #[error("there is nothing in {}", .0.display())]
    Empty(PathBuf),
    /// Something of the manifest is out of bounds.
    #[error("{field}: {error}")]
    Bound {
        /// The option or field.
        field: String,
        /// What is wrong with it.
        error: BoundError,
    },
    /// The manifest breaks a rule of its own.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A health check asks for a port that no host can have.
    #[error("health check: {0}")]
    Port(String),
    /// The manifest is too large for a transaction.
    #[error("the manifest has {actual} bytes, {limit} fit into a transaction")]
    ManifestTooLarge {
        /// Its size.
        actual: usize,
        /// What fits.
        limit: usize,
    },
    /// The manifest file is none.
    #[error("{} is no manifest: {detail}", path.display())]
    ManifestFormat {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The artifact on disk is not the one in the manifest.
    #[error("{} is not the artifact the manifest names: {what} is {actual}, must be {expected}", path.display())]
    ArtifactDiffers {
        /// Where.
        path: PathBuf,
        /// Length or digest.
        what: &'static str,
        /// Found.
        actual: String,
        /// Named.
        expected: String,
    },
    /// The disk said no while packing.
    #[error("cannot pack into {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// It begins at the root.
    #[error("has an absolute path")]
    Absolute,
    /// It climbs.
    #[error("has `..` in its path")]
    Climbs,
    /// It is not text, or has characters that act on terminals.
    #[error("has a name that is not plain UTF-8 text")]
    Name,
    /// It is too long.
    #[error("has a path that is too long")]
    TooLong,
    /// It has no name.
    #[error("has no name")]
    Nameless,
    /// It is a device, a socket, a sparse file …
    #[error("is a {0}: only files, directories and links can be packed")]
    Kind(&'static str),
    /// It is a link that leaves the tree.
    #[error("is a link to {0:?}, which may lead out of the tree")]
    LinkOut(String),
    /// It is a link, where there may be none.
    #[error("is a link: a file set has only files and directories, and an agent refuses others")]
    LinkInSet,
    /// It is a directory in which others than its owner may change what there is.
    #[error("is a directory that others may change (mode {0:04o}), and an agent refuses such a set")]
    OthersMayChange(u32),
    /// It is called as agents call what is theirs.
    #[error("has a name that agents use themselves")]
    AgentsName,
    /// It is a hard link to nothing.
    #[error("is a hard link to {0:?}, which is no file before it")]
    LinkToNothing(String),
    /// Something beneath what is no directory.
    #[error("is beneath {0:?}, which is no directory")]
    BeneathNoDirectory(String),
    /// The same path, something else.
    #[error("is there already, with other content, mode or kind")]
    Conflict,
    /// Its extended header is too large or malformed.
    #[error("has an extended header that is too large, malformed or contradicts it")]
    Extension,
    /// There are too many.
    #[error("is one more than the {0} a tree may have")]
    TooMany(usize),
    /// They are too large together.
    #[error("makes the tree larger than {0} bytes")]
    TooLarge(u64),
    /// It ends before its length.
    #[error("is broken off: {actual} of {expected} bytes")]
    BrokenOff {
        /// Bytes there.
        actual: u64,
        /// Bytes announced.
        expected: u64,
    },
}

/// Travels through `std::io` from a meter to whoever reads: an archive that grows out of proportion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decompresses to more than {allowed} bytes from {compressed}")]
pub struct OutOfProportion {
    /// Compressed length.
    pub compressed: u64,
    /// Bytes allowed for it.
    pub allowed: u64,
}

impl PackError {
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Inputs(_) | Self::Bound { .. } | Self::Write { .. })
    }

    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::File(error) => return error.hint(),
            Self::Entry { problem: EntryProblem::LinkOut(_), .. } => {
                "a tree is installed in a place of its own: make the link relative and keep it inside"
            }
            Self::Entry { problem: EntryProblem::LinkInSet, .. } => {
                "put a file there, or pack packages or a directory tree: those may have links"
            }
            Self::Entry { problem: EntryProblem::OthersMayChange(_), .. } => {
                "take that away: chmod g-w,o-w on the directory"
            }
            Self::Entry { problem: EntryProblem::AgentsName, .. } => "choose another name",
            Self::Entry { problem: EntryProblem::Conflict, .. } => {
                "inputs are merged into one tree: leave out one of the two"
            }
            Self::Inputs(_) => "give one directory, one tar archive, or one or more packages",
            Self::ArtifactDiffers { .. } => "pack again: a manifest and its artifacts belong together",
            Self::Entry { .. } => "make the input again without it, or as it says",
            Self::Broken { .. } => "is it whole? Archives are tar, plain or compressed with gzip, xz or zstd",
            Self::Package { .. } => "is it a .deb file, and whole?",
            Self::RpmPackage { .. } => "is it a binary .rpm file, and whole?",
            Self::Architecture { .. } => "pack a patch for each architecture",
            Self::Empty(_) => "give a tree with at least one file in it",
            Self::Bound { .. } => "make it shorter",
            Self::Manifest(_) => "give other values, or pack again",
            Self::Port(_) => "correct it in manifest.json, or pack again with another --health-tcp",
            Self::ManifestTooLarge { .. } => "shorten --notes, or pack fewer things into one patch",
            Self::ManifestFormat { .. } => "`countersign patch pack` writes it: pack again",
            Self::Write { source, .. } => files::write_hint(source),
        };
        Some(hint.to_owned())
    }
}

//! What is wrong with a configuration.

use crate::files::FileError;
use std::path::PathBuf;

/// What the parser says of text that is none it could read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotToml(pub(super) String);

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not TOML, or a field that is unknown, missing or of another type.
    #[error("{} is no configuration of an agent", path.display())]
    Syntax {
        /// Where.
        path: PathBuf,
        /// What the parser says, with the line.
        source: NotToml,
    },
    /// A field with a value that cannot be.
    #[error("{}: {field}: {problem}", path.display())]
    Field {
        /// Where.
        path: PathBuf,
        /// Which field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

//! What a file set does to a host, one path at a time.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing a file set does to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::installer) enum Change {
    /// A directory, made where there is none.
    Directory { path: String, mode: u32 },
    /// A file, put in place of what is there.
    File {
        path: String,
        mode: u32,
        /// Its length.
        #[serde(default)]
        bytes: u64,
    },
    /// A file that the version before brought, taken away.
    Remove { path: String },
}

impl Change {
    pub(in crate::installer) fn path(&self) -> &str {
        match self {
            Self::Directory { path, .. } | Self::File { path, .. } | Self::Remove { path } => path,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, mode } => write!(f, "directory /{path} (mode {mode:o})"),
            Self::File { path, mode, .. } => write!(f, "file /{path} (mode {mode:o})"),
            Self::Remove { path } => write!(f, "no file /{path} any more"),
        }
    }
}

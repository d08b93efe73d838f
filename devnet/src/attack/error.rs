//! Why an attack could not be tried.

use crate::client::ClientError;
use crate::ending::Interrupted;
use crate::processes::ToolError;
use crate::raise::RaiseError;
use std::io;
use std::path::PathBuf;

/// Why an attack could not be tried. That it was refused is no error.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// Somebody has ended this program.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// There is something already.
    #[error("{} is not empty: choose another directory", .0.display())]
    NotEmpty(PathBuf),
    /// The ledger or a host did not come up.
    #[error("the ledger to be attacked is not there")]
    Raise(#[from] RaiseError),
    /// A program.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A node.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// The operating system.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// The signals of this process.
    #[error("cannot listen to signals")]
    Signals(#[from] io::Error),
    /// An answer that is none.
    #[error("{from} answered something else than was asked for: {answer}")]
    Answer {
        /// Who.
        from: String,
        /// What.
        answer: String,
    },
    /// The stage is not as a drill needs it.
    #[error("the stage is not set: {0}")]
    Stage(String),
    /// Waited for in vain.
    #[error("gave up waiting for {0}")]
    GaveUp(String),
}

impl AttackError {
    /// An error of the operating system, and what was tried.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// A call that a node refused.
    pub(super) fn refused(status: tonic::Status) -> Self {
        Self::Node(ClientError::Refused(Box::new(status)))
    }

    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Interrupted(_) => "interrupted",
            Self::NotEmpty(_) => "not-empty",
            Self::Raise(_) => "raise",
            Self::Tool(_) => "program",
            Self::Node(_) => "node",
            Self::Io { .. } | Self::Signals(_) => "io",
            Self::Answer { .. } => "answer",
            Self::Stage(_) | Self::GaveUp(_) => "stage",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Interrupted(_) => "what was started has ended, too",
            Self::NotEmpty(_) => "without --dir, everything goes into a temporary directory, and is removed",
            Self::Tool(ToolError::Start { .. }) => {
                "every program of the house must lie beside this one: `make install`"
            }
            _ => "--dir DIR keeps what was logged, in DIR/ledger/logs; is there room for five nodes on this machine?",
        }
    }

    /// The error with its causes, in one line.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }
}

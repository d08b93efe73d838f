//! Why a command did not do what was asked, with the exit code and a way on.

use crate::commands::SnapshotError;
use crate::connection::NodeError;
use crate::description::SpecError;
use crate::files::{FileError, read_hint, write_hint};
use crate::pack::PackError;
use crate::shelf::ShelfError;
use crate::sign::SignError;
use crate::submit::SubmitError;
use crate::trust::TrustError;
use crate::unlock::UnlockError;
use keyring::KeyFileError;
use terminal::{EXIT_REFUSED, EXIT_USAGE, ErrorView, USAGE};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Asked for in a way that cannot be answered.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to write instead.
        hint: String,
    },
    /// Things that a command cannot do without and were not given: what each is, and how to say it.
    #[error("no {} given", and(.0.iter().map(|(what, _)| *what)))]
    Missing(Vec<(&'static str, &'static str)>),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// What opens or seals a key file.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// A trust root.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The description of a ledger or of a proposal.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Packing.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A directory of artifacts.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// Signing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The node, or the way to it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Submitting.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// A snapshot that is too much.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// One side of a comparison cannot be looked at, or does not prove itself. That says nothing about the
    /// other, so it is no answer.
    #[error("cannot compare {side}")]
    Side {
        /// Which.
        side: String,
        /// Why.
        source: Box<Failure>,
    },
    /// Another program of the house that could not be run.
    #[error("cannot run {program}")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A word that is no command, here or beside.
    #[error("{command:?} is not a countersign command, and there is no program {program} beside it or on PATH")]
    UnknownCommand {
        /// The word.
        command: String,
        /// The program looked for.
        program: String,
    },
    /// The machinery to wait for a network.
    #[error("cannot prepare to use the network")]
    Runtime(#[source] std::io::Error),
}

impl Failure {
    /// A usage error.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// 1 when somebody or something said no, 2 when the question could not be asked.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let refused = match self {
            Self::Spec(error) => error.is_refusal(),
            Self::Pack(error) => error.is_refusal(),
            Self::Shelf(error) => matches!(error, ShelfError::Differs { .. }),
            Self::Node(error) => error.is_refusal(),
            Self::Submit(error) => error.is_refusal(),
            Self::Snapshot(error) => error.is_refusal(),
            Self::Usage { .. }
            // What one trusts is not what is judged.
            | Self::Trust(_)
            | Self::Missing(_)
            | Self::File(_)
            | Self::Key(_)
            | Self::Unlock(_)
            | Self::Sign(_)
            | Self::Side { .. }
            | Self::Program { .. }
            | Self::UnknownCommand { .. }
            | Self::Runtime(_) => false,
        };
        if refused { EXIT_REFUSED } else { EXIT_USAGE }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => Some(hint.clone()),
            Self::Missing(missing) => {
                let hows: Vec<&str> = missing.iter().map(|(_, how)| *how).collect();
                Some(format!("say {}", hows.join("; ")))
            }
            Self::File(error) => error.hint(),
            Self::Key(error) => key_hint(error),
            Self::Unlock(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::Spec(error) => error.hint(),
            Self::Pack(error) => error.hint(),
            Self::Shelf(ShelfError::File(error)) => error.hint(),
            Self::Shelf(_) => Some("fetch it from another node".to_owned()),
            Self::Sign(error) => error.hint(),
            Self::Node(error) => error.hint(),
            Self::Submit(error) => error.hint(),
            Self::Snapshot(error) => error.hint(),
            Self::Side { source, .. } => source.hint(),
            Self::Program { program, .. } => Some(format!("install {program} beside countersign or on PATH")),
            Self::UnknownCommand { .. } => Some("`countersign --help` lists the commands".to_owned()),
            Self::Runtime(_) => None,
        }
        .filter(|hint| !hint.is_empty())
    }

    /// A stable word for programs: of a refusal, the check.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Usage { .. } | Self::Missing(_) | Self::UnknownCommand { .. } => USAGE,
            Self::File(_) => "file",
            Self::Key(_) | Self::Unlock(_) => "key-file",
            Self::Trust(_) => "trust-root",
            Self::Spec(_) => "description",
            Self::Pack(_) => "pack",
            Self::Shelf(ShelfError::File(_)) => "file",
            Self::Shelf(_) => "artifact-digest",
            Self::Sign(_) => "signing",
            Self::Node(error) => error.code(),
            Self::Submit(error) => error.code(),
            Self::Snapshot(_) => "snapshot",
            Self::Side { source, .. } => source.code(),
            Self::Program { .. } => "program",
            Self::Runtime(_) => "runtime",
        }
    }

    /// What went wrong, its causes and what to do, as values.
    #[must_use]
    pub fn view(&self) -> ErrorView {
        ErrorView::of(self, self.code(), self.hint())
    }
}

/// What to do about a key file.
pub(crate) fn key_hint(error: &KeyFileError) -> Option<String> {
    match error {
        KeyFileError::Read { source, .. } => read_hint(source).map(str::to_owned),
        KeyFileError::TooLarge { .. } => Some("is it a key file at all?".to_owned()),
        KeyFileError::Format { .. } => Some("`countersign key new` writes key files".to_owned()),
        KeyFileError::Write { source, .. } => Some(write_hint(source).to_owned()),
        KeyFileError::SealedAlready { .. } => Some("`countersign key change-passphrase` seals it anew".to_owned()),
        error => error.hint(),
    }
}

/// Names with commas and an "and".
fn and<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and no {last}", others.join(", no ")),
        _ => names.concat(),
    }
}

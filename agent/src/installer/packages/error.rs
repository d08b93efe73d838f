//! Why packages could not be worked with.

use super::super::others::TurnError;
use super::super::tool::ToolError;
use crate::files::FileError;
use crate::settled::{Refusal, chain, reason};
use ledger::receipt::{Reason, ReasonCode};

/// Why packages could not be worked with.
#[derive(Debug, thiserror::Error)]
pub(in crate::installer) enum ManagerError {
    /// A tool.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else works with packages.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// It would take something away that the patch does not name.
    #[error("what the patch does not name would be changed: {0}")]
    Extraneous(String),
    /// What a package says of itself.
    #[error("it has a name that is not UTF-8")]
    NotText,
}

impl ManagerError {
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::Tool(error) => error.is_disk_full(),
            Self::File(error) | Self::Turn(TurnError::File(error)) => error.is_disk_full(),
            Self::Turn(TurnError::Locked { .. }) | Self::Extraneous(_) | Self::NotText => false,
        }
    }

    /// Whether nobody at all can change packages here.
    pub(super) fn is_read_only(&self) -> bool {
        let (Self::File(error) | Self::Turn(TurnError::File(error))) = self else { return false };
        error.source.kind() == std::io::ErrorKind::ReadOnlyFilesystem
    }
}

pub(super) fn install_failed(error: &ManagerError) -> Reason {
    let code = if error.is_disk_full() { ReasonCode::DiskFull } else { ReasonCode::InstallFailed };
    reason(code, chain(error))
}

impl From<ManagerError> for Refusal {
    fn from(error: ManagerError) -> Self {
        let code = match &error {
            ManagerError::Extraneous(_) => ReasonCode::Conflict,
            error if error.is_disk_full() => ReasonCode::DiskFull,
            _ => ReasonCode::InstallFailed,
        };
        Self::new(code, chain(&error))
    }
}

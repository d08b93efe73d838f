//! Why a node does not start, or stops, and what a person can do about it.

use crate::artifacts::ArtifactError;
use crate::grpc::GrpcError;
use crate::network::NetworkError;
use crate::shell::{JournalError, ShellError};
use consensus::member::Fatal;
use ledger::genesis::GenesisError;
use ledger::id::ChainId;
use ledger::state::storage::StorageError;
use std::io;
use std::path::PathBuf;
use store::{RestoreError, StoreError};

/// Why a node does not start, or stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The genesis file, or a TLS file, cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A directory cannot be made.
    #[error("cannot make {}", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A TLS file is none.
    #[error("{} is no {what} in PEM", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// The genesis file is none.
    #[error("the genesis file is not usable")]
    Genesis(#[from] GenesisError),
    /// The store is of another ledger.
    #[error("the store holds chain {stored}, the genesis file is of {expected}")]
    OtherChain {
        /// Chain in the store.
        stored: ChainId,
        /// Chain of the genesis file.
        expected: ChainId,
    },
    /// The system gives no more threads.
    #[error("no threads for checking signatures can be had")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The chain on disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The vote journal.
    #[error("the vote journal cannot be opened")]
    Journal(#[from] JournalError),
    /// Artifacts.
    #[error("the artifact directory cannot be opened")]
    Artifacts(#[from] ArtifactError),
    /// Inventories.
    #[error("the inventories in {} cannot be read", path.display())]
    Inventories {
        /// The directory.
        path: PathBuf,
        /// What the operating system said, or what is damaged.
        source: io::Error,
    },
    /// Peers.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Clients.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    /// The main loop.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// A snapshot to begin with.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// There is a chain already.
    #[error("{} has a chain already", path.display())]
    HasChain {
        /// Where.
        path: PathBuf,
    },
    /// A thread ended without a word.
    #[error("the main loop ended unexpectedly")]
    Lost,
}

impl NodeError {
    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Storage(error) | Self::Shell(ShellError::Chain(Fatal(error))) => error.hint,
            Self::Tls { .. } => {
                Some("`countersign-node init` makes both files; `grpc.certificate` and `grpc.private_key` name them")
            }
            Self::Read { .. } => Some(
                "is it there, and may this user read it? `run --print-config` shows where everything is looked for",
            ),
            Self::Genesis(_) => Some("`genesis` is the file `countersign init` wrote for this ledger, byte for byte"),
            Self::Network(NetworkError::Listen { .. }) | Self::Grpc(GrpcError::Listen { .. }) => Some(
                "does another program listen there, another node perhaps? `network.listen` and `grpc.listen` say where",
            ),
            Self::Restore(_) => Some("take a snapshot again from a node of this ledger (`countersign chain snapshot`)"),
            Self::OtherChain { .. } => Some("give the ledger's own genesis file, or another data_dir"),
            Self::HasChain { .. } => Some("a snapshot is for a node that begins: give it an empty data_dir"),
            other => disk_hint(other),
        }
    }

    /// Whether something was given that is not believed, as against something that went wrong.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Restore(RestoreError::Snapshot(_) | RestoreError::Part { .. } | RestoreError::Read(_)))
    }
}

/// What to do when a disk says no, wherever that shows.
fn disk_hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    match causes.find_map(|cause| cause.downcast_ref::<io::Error>())?.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room, then start again: no acknowledged block is lost")
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            Some("check the directory's owner, its mode and the mount")
        }
        _ => None,
    }
}

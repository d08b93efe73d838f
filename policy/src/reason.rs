//! Why not.

use crate::host::Installed;
use crate::permit::Pause;
use crate::schedule::Wait;
use ledger::bounded::{Name, Product, Sentence};
use ledger::patch::{InstallerKind, Relation};
use ledger::receipt::{self, Outcome, ReasonCode};
use std::fmt;

/// How a host falls outside one selector: the first part that does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which part: `os`, `architecture`, `hardware`, `label`, `from-version`.
    pub part: &'static str,
    /// What the selector asks for.
    pub wanted: String,
    /// What the host has.
    pub actual: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {}, this host has {}", self.part, self.wanted, self.actual)
    }
}

/// Why a proven patch may not go onto this host now. Evidence inside; [`Reason::code`] is the word
/// receipts use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The host does not follow this product on this channel.
    #[error("this host does not subscribe to {product} on channel {channel}")]
    NotSubscribed {
        /// The product.
        product: Product,
        /// The channel.
        channel: Name,
    },
    /// The organisation said: nothing now.
    #[error("{0}")]
    Paused(Pause),
    /// It may be installed, and not at this hour.
    #[error("{0}")]
    NotYet(Wait),
    /// No selector of the patch is for this host: nothing is wrong, the patch is for others.
    #[error("not for this host: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NotApplicable(Vec<Mismatch>),
    /// As new or newer is already there.
    #[error("release {release} is not above release {} ({}), which is installed", installed.release, installed.version)]
    Downgrade {
        /// The release offered.
        release: u64,
        /// What is installed.
        installed: Installed,
    },
    /// Something it needs is not there.
    #[error("needs {}, {}", wanted(relation), present(found))]
    DependencyMissing {
        /// What it needs.
        relation: Relation,
        /// What is installed of that product.
        found: Vec<Installed>,
    },
    /// Something is there that must not be.
    #[error("conflicts with {}, {}", wanted(relation), present(found))]
    Conflict {
        /// What must not be there.
        relation: Relation,
        /// What is installed of that product.
        found: Vec<Installed>,
    },
    /// The host cannot install this kind of patch.
    #[error("this host has no installer for {}{}", kind_words(*kind), lacking(lacks.as_deref()))]
    InstallerMissing {
        /// The kind.
        kind: InstallerKind,
        /// What the host lacks for it, if somebody looked.
        lacks: Option<String>,
    },
    /// An artifact does not carry its payload in a way this host can read.
    #[error("artifact {artifact} is a delta, and no payload stands before it that it could make")]
    EncodingUnknown {
        /// The artifact.
        artifact: Name,
    },
    /// The host would have to restart, and nobody may do that here.
    #[error("the patch needs the host to restart, which this agent may not do")]
    RestartForbidden,
    /// It brings commands, and this house runs none.
    #[error(
        "the patch is judged by {commands} of its own commands, and this house runs none (health.manifest_commands)"
    )]
    CommandsRefused {
        /// How many.
        commands: usize,
    },
}

impl Reason {
    /// The check that said no, as receipts and people name it.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::NotSubscribed { .. }
            | Self::Paused(_)
            | Self::NotYet(_)
            | Self::RestartForbidden
            | Self::CommandsRefused { .. } => ReasonCode::Policy,
            Self::NotApplicable(_) => ReasonCode::Target,
            Self::Downgrade { .. } => ReasonCode::Downgrade,
            Self::DependencyMissing { .. } => ReasonCode::DependencyMissing,
            Self::Conflict { .. } => ReasonCode::Conflict,
            Self::InstallerMissing { .. } | Self::EncodingUnknown { .. } => ReasonCode::InstallerMissing,
        }
    }

    /// How a receipt that names this reason ends: a patch for other hosts is not a refused one.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NotApplicable(_) => Outcome::NotApplicable,
            _ => Outcome::Refused,
        }
    }
}

impl From<&Reason> for receipt::Reason {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code(), detail: Sentence::cut(&reason.to_string()) }
    }
}

fn wanted(relation: &Relation) -> String {
    let Relation { product, release_min, release_max } = relation;
    match release_min == release_max {
        true => format!("{product} release {release_min}"),
        false => format!("{product} releases {release_min} to {release_max}"),
    }
}

fn present(found: &[Installed]) -> String {
    if found.is_empty() {
        return "none is installed".to_owned();
    }
    let releases = found.iter().map(|installed| format!("{} ({})", installed.release, installed.version));
    format!("installed: {}", releases.collect::<Vec<_>>().join(", "))
}

fn lacking(lacks: Option<&str>) -> String {
    lacks.map_or_else(String::new, |lacks| format!(": {lacks}"))
}

/// What a kind of installer installs, for people.
#[must_use]
pub fn kind_words(kind: InstallerKind) -> &'static str {
    match kind {
        InstallerKind::DirectoryTree => "directory trees",
        InstallerKind::Debian => "Debian packages",
        InstallerKind::Rpm => "RPM packages",
        InstallerKind::ImageSlot => "image slots",
        InstallerKind::FileSet => "file sets",
        InstallerKind::Container => "container images",
        InstallerKind::Script => "scripts",
    }
}

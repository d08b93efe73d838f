//! How an update ended.

use crate::installer::journal::Begun;
use ledger::bounded::{Sentence, Version};
use ledger::id::PatchId;
use ledger::receipt::{Health, Outcome, Reason, ReasonCode};
use policy::schedule::Wait;
use serde::{Deserialize, Serialize};
use std::fmt;
use terminal::escape;

/// How an update ended: everything a receipt says but its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// Number of the attempt among all of this agent.
    pub run: u64,
    /// The patch.
    pub patch: PatchId,
    /// Installed before; empty when nothing was.
    pub from_version: Version,
    /// Installed now.
    pub to_version: Version,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for every outcome but `Applied`.
    pub reason: Option<Reason>,
    /// What the health checks said.
    pub health: Health,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `Refused`, or `NotApplicable`.
    pub outcome: Outcome,
    /// The check that said no, with its evidence.
    pub reason: Reason,
    /// It only waits for its hour, which is no refusal.
    pub waits: Option<Box<Wait>>,
}

impl Refusal {
    /// Refused, by a check.
    #[must_use]
    pub fn new(code: ReasonCode, detail: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Refused, reason: reason(code, detail), waits: None }
    }
}

impl From<ledger::proof::ProofError> for Refusal {
    fn from(error: ledger::proof::ProofError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<policy::Reason> for Refusal {
    fn from(reason: policy::Reason) -> Self {
        let waits = match &reason {
            policy::Reason::NotYet(wait) => Some(Box::new(wait.clone())),
            _ => None,
        };
        Self { outcome: reason.outcome(), reason: (&reason).into(), waits }
    }
}

impl From<crate::files::FileError> for Refusal {
    fn from(error: crate::files::FileError) -> Self {
        let code = if error.is_disk_full() { ReasonCode::DiskFull } else { ReasonCode::Io };
        Self::new(code, chain(&error))
    }
}

impl From<crate::installer::deadline::Late> for Refusal {
    fn from(late: crate::installer::deadline::Late) -> Self {
        Self::new(ReasonCode::InstallFailed, late)
    }
}

/// A reason with what fits of its evidence.
#[must_use]
pub fn reason(code: ReasonCode, detail: impl fmt::Display) -> Reason {
    Reason { code, detail: Sentence::cut(&detail.to_string()) }
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// What was judged of the health of a version that is not kept, because of this.
pub(crate) fn health(against: &Reason) -> Health {
    match against.code {
        ReasonCode::HealthFailed | ReasonCode::ServiceFailed => Health::Failed,
        _ => Health::NotRun,
    }
}

/// What was judged of the health of a version that is kept: where nobody could be asked, nobody said that it works.
pub(crate) fn health_of_kept(begun: &Begun) -> Health {
    if begun.unasked { Health::NotRun } else { Health::Passed }
}

impl Settled {
    /// Nothing was changed.
    #[must_use]
    pub fn refused(run: u64, patch: PatchId, installed: Version, refusal: Refusal) -> Self {
        let Refusal { outcome, reason, .. } = refusal;
        let (from_version, to_version) = (installed.clone(), installed);
        Self { run, patch, from_version, to_version, outcome, reason: Some(reason), health: Health::NotRun }
    }

    /// Whether nothing was changed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.outcome, Outcome::Refused | Outcome::NotApplicable)
    }

    /// The new version runs, and whoever was asked says that it is healthy.
    #[must_use]
    pub fn applied(begun: &Begun) -> Self {
        Self {
            run: begun.run,
            patch: begun.patch,
            // What is taken back by hand was installed before.
            from_version: if begun.by_hand { begun.to_version.clone() } else { begun.from_version.clone() },
            to_version: begun.to_version.clone(),
            outcome: Outcome::Applied,
            reason: None,
            health: health_of_kept(begun),
        }
    }

    /// The old version is back.
    #[must_use]
    pub fn rolled_back(begun: &Begun, reason: Reason) -> Self {
        let health = health(&reason);
        let to_version = begun.from_version.clone();
        Self { outcome: Outcome::RolledBack, reason: Some(reason), health, to_version, ..Self::applied(begun) }
    }

    /// Neither version could be reached; `installed` is what is there.
    #[must_use]
    pub fn failed(begun: &Begun, reason: Reason, installed: Version) -> Self {
        let health = health(&reason);
        Self { outcome: Outcome::Failed, reason: Some(reason), health, to_version: installed, ..Self::applied(begun) }
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.outcome)?;
        if let Some(reason) = &self.reason {
            write!(f, ": {}", escape(&reason.to_string()))?;
        }
        let shown = |version: &Version| {
            if version.as_str().is_empty() { "nothing".to_owned() } else { escape(version.as_str()) }
        };
        match self.from_version == self.to_version {
            true => write!(f, " (installed: {})", shown(&self.to_version)),
            false => write!(f, " ({} → {})", shown(&self.from_version), shown(&self.to_version)),
        }
    }
}

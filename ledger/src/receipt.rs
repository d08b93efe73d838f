//! Receipts: what an endpoint says happened, signed by it.

use crate::bounded::{Sentence, Version};
use crate::id::{Digest, PatchId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new version runs and is healthy.
    Applied,
    /// The new version was not healthy; the old one is back.
    RolledBack,
    /// Neither could be reached; a person is needed.
    Failed,
    /// The endpoint did not accept the patch, and nothing was changed.
    Refused,
    /// The patch is not for this endpoint.
    NotApplicable,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::RolledBack => "rolled-back",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::NotApplicable => "not-applicable",
        })
    }
}

/// Makes [`ReasonCode`] with its words, so that the two cannot drift apart.
macro_rules! reason_codes {
    ($($(#[$doc:meta])* $code:ident = $word:literal,)*) => {
        /// Which check said no, or which step failed. The words are stable: people search for them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum ReasonCode { $($(#[$doc])* $code,)* }

        impl ReasonCode {
            /// The stable word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$code => $word,)* }
            }

            /// All codes, in the order of their encoding.
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];
        }
    };
}

reason_codes! {
    /// The proof file is too large.
    ProofSize = "proof-size",
    /// The proof file is not one.
    ProofMalformed = "proof-malformed",
    /// The proof is of another ledger.
    ChainId = "chain-id",
    /// The chain of validator sets from the trust root is broken.
    EpochChain = "epoch-chain",
    /// No quorum signed the header.
    Certificate = "certificate",
    /// The header is too old.
    Stale = "stale",
    /// The header is ahead of the host's clock.
    ClockBehind = "clock-behind",
    /// A higher header was seen before.
    HeightBelowSeen = "height-below-seen",
    /// A transaction is not in the history.
    Inclusion = "inclusion",
    /// A transaction's signature does not hold.
    Signature = "signature",
    /// A state record is not under the header's state root.
    StateProof = "state-proof",
    /// A key may not do what it did.
    Authority = "authority",
    /// Approvals are missing.
    ApprovalRule = "approval-rule",
    /// Approvers rejected it.
    Rejected = "rejected",
    /// An approver holds it back.
    Held = "held",
    /// It was recalled.
    Recalled = "recalled",
    /// A halt is in force.
    Halted = "halted",
    /// The endpoint's ring is not open.
    RingClosed = "ring-closed",
    /// It is not for this host.
    Target = "target",
    /// Its release counter is below the installed one.
    Downgrade = "downgrade",
    /// Something it depends on is not there.
    DependencyMissing = "dependency-missing",
    /// Something it conflicts with is there.
    Conflict = "conflict",
    /// The host has no installer of this kind.
    InstallerMissing = "installer-missing",
    /// The organisation's own policy says not now.
    Policy = "policy",
    /// No source had the artifact.
    ArtifactUnavailable = "artifact-unavailable",
    /// The artifact has another length.
    ArtifactLength = "artifact-length",
    /// The artifact has another digest.
    ArtifactDigest = "artifact-digest",
    /// The archive has an entry that is not allowed.
    ArchiveUnsafe = "archive-unsafe",
    /// No room on the disk.
    DiskFull = "disk-full",
    /// The operating system said no.
    Io = "io",
    /// A service did not start.
    ServiceFailed = "service-failed",
    /// A health check failed.
    HealthFailed = "health-failed",
    /// The agent was interrupted, and the old version was put back.
    Interrupted = "interrupted",
    /// What is there could not be put back, so nothing was changed.
    CannotRollBack = "cannot-roll-back",
    /// What installs on the host failed, or left something unfinished.
    InstallFailed = "install-failed",
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A reason: the check and its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which check.
    pub code: ReasonCode,
    /// What it saw.
    pub detail: Sentence,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// What the health checks said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// They were not reached.
    NotRun,
    /// All passed.
    Passed,
    /// One failed.
    Failed,
}

/// What an endpoint says happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Which patch.
    pub patch: PatchId,
    /// Under which rollout, if one.
    pub rollout: Option<Digest>,
    /// Number of this receipt among the endpoint's receipts for the patch, from 1.
    pub attempt: u32,
    /// Version installed before; empty when none was.
    pub from_version: Version,
    /// Version installed now.
    pub to_version: Version,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, for every outcome but `Applied`.
    pub reason: Option<Reason>,
    /// What the health checks said.
    pub health: Health,
    /// BLAKE3 of the endpoint's log of this attempt.
    pub log_digest: Digest,
    /// The endpoint's clock when it ended.
    pub ended_at_ms: u64,
}

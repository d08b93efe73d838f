//! What was tried with which patch, so that nothing is tried for ever and no receipt is written twice.

use crate::files::{self, FileError};
use crate::settled::Settled;
use ledger::id::PatchId;
use ledger::receipt::{Outcome, ReasonCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Patches remembered.
const PATCHES_MAX: usize = 1024;
/// Largest file.
const ATTEMPTS_BYTES_MAX: usize = 1024 * 1024;
/// How often a patch is tried again by itself after the agent was interrupted.
const INTERRUPTIONS_MAX: u32 = 3;
/// Wait before a refused patch is tried again by itself, at first …
const RETRY_MS_MIN: u64 = 15_000;
/// … and at the most …
const RETRY_MS_MAX: u64 = 60 * 60 * 1000;
/// … or, when it is the ledger that says no, at the most: a halt that is lifted is over for everybody.
const RETRY_LEDGER_MS_MAX: u64 = 60_000;

/// What was tried with one patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// The newest attempt.
    pub run: u64,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Attempts that were interrupted.
    pub interruptions: u32,
    /// Attempts refused in a row.
    pub refusals: u32,
    /// Not again by itself before this.
    pub not_before_ms: u64,
    /// Reasons a receipt was written for since it was applied last, the newest last.
    pub reasons: Vec<ReasonCode>,
}

impl Tried {
    /// Why the newest attempt did not go well; none when it did.
    #[must_use]
    pub fn last_reason(&self) -> Option<ReasonCode> {
        // What went well ends what was said before: `record` begins anew then. An older agent did not.
        self.reasons.last().copied().filter(|_| self.outcome != Some(Outcome::Applied))
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    runs: u64,
    patches: BTreeMap<PatchId, Tried>,
}

/// The attempts of this agent.
#[derive(Debug)]
pub struct Attempts {
    path: PathBuf,
    stored: Stored,
}

impl Attempts {
    /// Reads them, or begins.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read. One that makes no sense is begun anew: the worst that
    /// follows is that something is tried once more.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let bytes = files::read_if_there(path, ATTEMPTS_BYTES_MAX)?;
        let stored = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "attempts are not readable, begun anew");
            None
        });
        Ok(Self { path: path.to_owned(), stored: stored.unwrap_or_default() })
    }

    /// Number for the next attempt.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn next_run(&mut self) -> Result<u64, FileError> {
        self.stored.runs += 1;
        self.save()?;
        Ok(self.stored.runs)
    }

    /// Whether a patch may be tried now without being asked for. What was applied, rolled back or
    /// failed is not tried again; what was refused, after a while; what was interrupted, a few times.
    #[must_use]
    pub fn may_try(&self, patch: PatchId, now_ms: u64) -> bool {
        let Some(tried) = self.stored.patches.get(&patch) else { return true };
        match tried.outcome {
            Some(Outcome::Applied | Outcome::Failed) => false,
            Some(Outcome::RolledBack) => {
                let interrupted = tried.reasons.last() == Some(&ReasonCode::Interrupted);
                interrupted && tried.interruptions < INTERRUPTIONS_MAX && now_ms >= tried.not_before_ms
            }
            Some(Outcome::Refused | Outcome::NotApplicable) | None => now_ms >= tried.not_before_ms,
        }
    }

    /// When the next patch may be tried again, if one waits for that.
    #[must_use]
    pub fn next_try_ms(&self, now_ms: u64) -> Option<u64> {
        let waiting = self.stored.patches.values().map(|tried| tried.not_before_ms);
        waiting.filter(|not_before_ms| *not_before_ms > now_ms).min()
    }

    /// Whether a receipt is due: the same refusal of the same patch is written once.
    #[must_use]
    pub fn is_news(&self, settled: &Settled) -> bool {
        let code = settled.reason.as_ref().map(|reason| reason.code);
        let known = self.stored.patches.get(&settled.patch);
        let repeated = code.is_some_and(|code| known.is_some_and(|tried| tried.reasons.contains(&code)));
        !(is_refusal(settled.outcome) && repeated)
    }

    /// Takes note of how an attempt ended. One that somebody `asked` for too early keeps nobody waiting
    /// when its time has come: waits are for what the agent tries by itself.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn record(&mut self, settled: &Settled, now_ms: u64, asked: bool) -> Result<(), FileError> {
        let code = settled.reason.as_ref().map(|reason| reason.code);
        let tried = self.stored.patches.entry(settled.patch).or_default();
        let same = tried.run == settled.run;
        if same && tried.outcome == Some(settled.outcome) {
            return Ok(()); // Told again, by a recovery that was itself interrupted.
        }
        let refused = is_refusal(settled.outcome);
        // The same attempt may end otherwise than it first seemed: taken back later, after all.
        let counted = same && tried.reasons.last() == Some(&ReasonCode::Interrupted);
        tried.run = settled.run;
        tried.outcome = Some(settled.outcome);
        tried.interruptions += u32::from(code == Some(ReasonCode::Interrupted) && !counted);
        if !(refused && asked) {
            tried.refusals = if refused { tried.refusals.saturating_add(1) } else { 0 };
            let wait_ms = RETRY_MS_MIN << tried.refusals.max(1).saturating_sub(1).min(20);
            let most_ms = if code.is_some_and(is_of_the_ledger) { RETRY_LEDGER_MS_MAX } else { RETRY_MS_MAX };
            tried.not_before_ms = match settled.outcome {
                Outcome::Applied | Outcome::Failed => 0,
                _ => now_ms.saturating_add(wait_ms.min(most_ms)),
            };
        }
        if settled.outcome == Outcome::Applied {
            tried.reasons.clear();
        }
        if let Some(code) = code {
            tried.reasons.retain(|known| *known != code);
            tried.reasons.push(code);
        }
        self.forget_oldest();
        self.save()
    }

    /// Everything that was tried, by patch.
    pub fn all(&self) -> impl Iterator<Item = (&PatchId, &Tried)> {
        self.stored.patches.iter()
    }

    fn forget_oldest(&mut self) {
        while self.stored.patches.len() > PATCHES_MAX {
            let oldest = self.stored.patches.iter().min_by_key(|(_, tried)| tried.run).map(|(patch, _)| *patch);
            if let Some(oldest) = oldest {
                self.stored.patches.remove(&oldest);
            }
        }
    }

    fn save(&self) -> Result<(), FileError> {
        files::replace(&self.path, &serde_json::to_vec(&self.stored).unwrap_or_default())
    }
}

/// Whether a refusal is one the ledger itself may take back at any block.
fn is_of_the_ledger(code: ReasonCode) -> bool {
    matches!(code, ReasonCode::ApprovalRule | ReasonCode::Rejected | ReasonCode::Held | ReasonCode::Halted)
}

fn is_refusal(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Refused | Outcome::NotApplicable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settled::reason;
    use ledger::bounded::Version;
    use ledger::receipt::Health;

    const PATCH: PatchId = PatchId([7; 32]);

    fn settled(run: u64, outcome: Outcome, code: Option<ReasonCode>) -> Settled {
        Settled {
            run,
            patch: PATCH,
            from_version: Version::default(),
            to_version: Version::default(),
            outcome,
            reason: code.map(|code| reason(code, "x")),
            health: Health::NotRun,
        }
    }

    #[test]
    fn what_went_wrong_is_not_tried_for_ever() {
        use Outcome::{Applied, Failed, NotApplicable, Refused, RolledBack};
        use ReasonCode::{ArtifactUnavailable, HealthFailed, Interrupted, Io, Target};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("attempts");
        for (outcome, code, soon, later) in [
            (Applied, None, false, false),
            (RolledBack, Some(HealthFailed), false, false),
            (Failed, Some(Io), false, false),
            (Refused, Some(ArtifactUnavailable), false, true),
            (NotApplicable, Some(Target), false, true),
            (RolledBack, Some(Interrupted), false, true),
        ] {
            let _ = std::fs::remove_file(&path);
            let mut attempts = Attempts::open(&path).unwrap();
            assert!(attempts.may_try(PATCH, 0));
            attempts.record(&settled(1, outcome, code), 1_000, false).unwrap();
            let attempts = Attempts::open(&path).unwrap();
            assert_eq!(attempts.may_try(PATCH, 1_001), soon, "{outcome}");
            assert_eq!(attempts.may_try(PATCH, u64::MAX), later, "{outcome}");
        }
    }

    #[test]
    fn a_patch_that_keeps_bringing_the_agent_down_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts")).unwrap();
        for run in 1..=u64::from(INTERRUPTIONS_MAX) {
            assert!(attempts.may_try(PATCH, u64::MAX), "{run}");
            let interrupted = settled(run, Outcome::RolledBack, Some(ReasonCode::Interrupted));
            attempts.record(&interrupted, 0, false).unwrap();
        }
        assert!(!attempts.may_try(PATCH, u64::MAX));
    }

    #[test]
    fn one_refusal_is_one_receipt_and_waits_grow() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts")).unwrap();
        let refused = |run, code| settled(run, Outcome::Refused, Some(code));
        let (missing, stale) = (ReasonCode::ApprovalRule, ReasonCode::Stale);
        let mut next = |run, code| {
            let (refused, news) = (refused(run, code), attempts.is_news(&refused(run, code)));
            attempts.record(&refused, 0, false).unwrap();
            (news, attempts.next_try_ms(0))
        };
        assert_eq!(next(1, missing), (true, Some(RETRY_MS_MIN)));
        assert_eq!(next(2, missing), (false, Some(2 * RETRY_MS_MIN)));
        assert_eq!(next(3, stale), (true, Some(4 * RETRY_MS_MIN)));
        for run in 4..100 {
            next(run, missing);
        }
        // What the ledger may take back at any block is looked at again soon.
        assert_eq!(next(100, missing), (false, Some(RETRY_LEDGER_MS_MAX)));
        assert_eq!(next(101, stale), (false, Some(RETRY_MS_MAX)));
    }

    #[test]
    fn what_went_well_ends_what_was_said_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts")).unwrap();
        let refused = settled(1, Outcome::Refused, Some(ReasonCode::ApprovalRule));
        attempts.record(&refused, 0, false).unwrap();
        assert_eq!(attempts.all().next().unwrap().1.last_reason(), Some(ReasonCode::ApprovalRule));
        attempts.record(&settled(2, Outcome::Applied, None), 0, false).unwrap();
        assert_eq!(attempts.all().next().unwrap().1.last_reason(), None);
        let again = settled(3, Outcome::Refused, Some(ReasonCode::ApprovalRule));
        assert!(attempts.is_news(&again), "the last receipt says that it was applied");
    }

    #[test]
    fn what_somebody_asked_for_too_early_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts")).unwrap();
        let refused = |run| settled(run, Outcome::Refused, Some(ReasonCode::ApprovalRule));
        attempts.record(&refused(1), 1_000, true).unwrap();
        assert!(attempts.may_try(PATCH, 1_001));
        assert_eq!(attempts.next_try_ms(1_000), None);
        // Nor does asking shorten a wait.
        attempts.record(&refused(2), 1_000, false).unwrap();
        attempts.record(&refused(3), 2_000, true).unwrap();
        assert_eq!(attempts.next_try_ms(2_000), Some(1_000 + RETRY_MS_MIN));
        let rolled_back = settled(4, Outcome::RolledBack, Some(ReasonCode::HealthFailed));
        attempts.record(&rolled_back, 3_000, true).unwrap();
        assert!(!attempts.may_try(PATCH, u64::MAX), "what failed is not tried again, whoever asked");
    }
}

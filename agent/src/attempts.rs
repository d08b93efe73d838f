//! What was tried with which patch, so that nothing is tried for ever and no receipt is written twice.

use crate::clock::Now;
use crate::files::{self, FileError, failed};
use crate::settled::Settled;
use ledger::id::{Digest, PatchId};
use ledger::receipt::{Outcome, ReasonCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
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
/// … or, when it is the ledger that says no, at the most: a halt that is lifted is over for everybody. And no sooner,
/// however long it lasts: a halt must not become a load, nor must a node that lists what nobody approved …
const RETRY_LEDGER_MS_MAX: u64 = 5 * 60_000;
/// … or, when a clock does not fit, at the most: one that was set right is right at once.
const RETRY_CLOCK_MS_MAX: u64 = 60_000;
/// By up to so much a wait is shorter: what refused a whole fleet at one moment is not asked by all of it at another.
const JITTER_PERCENT: u64 = 20;

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
    /// Not again by itself before this, by the host's clock; 0 where a restarted agent need not wait.
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

    /// Whether the newest attempt changed something, and how that ended is known.
    fn is_at_its_end(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Applied | Outcome::RolledBack | Outcome::Failed))
    }

    /// A receipt was written for this reason too; the last one stays the last.
    fn note_before_the_last(&mut self, code: Option<ReasonCode>) {
        if let Some(code) = code.filter(|code| !self.reasons.contains(code)) {
            self.reasons.insert(self.reasons.len().saturating_sub(1), code);
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    runs: u64,
    patches: BTreeMap<PatchId, Tried>,
}

/// Whether what was tried can be read.
///
/// # Errors
/// [`FileError`] when it is there and cannot.
pub fn check(path: &Path) -> Result<(), FileError> {
    let Some(bytes) = files::read_if_there(path, ATTEMPTS_BYTES_MAX)? else { return Ok(()) };
    let read = serde_json::from_slice::<Stored>(&bytes).map(drop);
    read.map_err(|error| failed("understand", path)(io::Error::other(error)))
}

/// The attempts of this agent.
#[derive(Debug)]
pub struct Attempts {
    path: PathBuf,
    stored: Stored,
    /// Until when a patch waits, by how long the host has run: nobody sets that clock.
    waits: BTreeMap<PatchId, u64>,
    /// What waits stray by.
    seed: Option<Digest>,
}

impl Attempts {
    /// Reads them, or begins. What is to wait longer from now than anything ever has to, was written while the
    /// host's clock was ahead, and waits no more.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read. One that makes no sense is begun anew: the worst that
    /// follows is that something is tried once more.
    pub fn open(path: &Path, now: Now) -> Result<Self, FileError> {
        let bytes = files::read_if_there(path, ATTEMPTS_BYTES_MAX)?;
        let stored = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "attempts are not readable, begun anew");
            None
        });
        let stored: Stored = stored.unwrap_or_default();
        let left =
            |tried: &Tried| Some(tried.not_before_ms.saturating_sub(now.now_ms)).filter(|ms| *ms <= RETRY_MS_MAX);
        let until = |(patch, tried): (&PatchId, &Tried)| Some((*patch, now.running_ms.saturating_add(left(tried)?)));
        let waits = stored.patches.iter().filter_map(until).collect();
        Ok(Self { path: path.to_owned(), stored, waits, seed: None })
    }

    /// Waits stray from now on, in a way of their own on every endpoint: `seed` is its public key.
    pub fn stray(&mut self, seed: Digest) {
        self.seed = Some(seed);
    }

    /// Goes on counting behind an attempt that others know of: where the count was lost, no number is given twice, and
    /// nothing is taken for told that was told of another attempt.
    pub fn go_on_behind(&mut self, run: u64) {
        self.stored.runs = self.stored.runs.max(run);
    }

    /// Number for the next attempt.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn next_run(&mut self) -> Result<u64, FileError> {
        self.stored.runs = self.stored.runs.saturating_add(1);
        self.save()?;
        Ok(self.stored.runs)
    }

    /// Whether a patch may be tried now without being asked for. What was applied, rolled back or
    /// failed is not tried again; what was refused, after a while; what was interrupted, a few times.
    #[must_use]
    pub fn may_try(&self, patch: PatchId, running_ms: u64) -> bool {
        let Some(tried) = self.stored.patches.get(&patch) else { return true };
        let waited = self.waits.get(&patch).is_none_or(|until_ms| running_ms >= *until_ms);
        match tried.outcome {
            Some(Outcome::Applied | Outcome::Failed) => false,
            Some(Outcome::RolledBack) => {
                let interrupted = tried.reasons.last() == Some(&ReasonCode::Interrupted);
                interrupted && tried.interruptions < INTERRUPTIONS_MAX && waited
            }
            Some(Outcome::Refused | Outcome::NotApplicable) | None => waited,
        }
    }

    /// In how many milliseconds the next patch may be tried again, if one waits for that.
    #[must_use]
    pub fn next_try_in_ms(&self, running_ms: u64) -> Option<u64> {
        self.waits.values().filter_map(|until_ms| until_ms.checked_sub(running_ms)).filter(|left_ms| *left_ms > 0).min()
    }

    /// Whether a receipt is due: the same refusal of the same patch is written once.
    #[must_use]
    pub fn is_news(&self, settled: &Settled) -> bool {
        let code = settled.reason.as_ref().map(|reason| reason.code);
        let known = self.stored.patches.get(&settled.patch);
        let repeated = code.is_some_and(|code| known.is_some_and(|tried| tried.reasons.contains(&code)));
        !(settled.is_refusal() && repeated)
    }

    /// Whether an attempt is known already, as it is to a recovery that was itself interrupted.
    #[must_use]
    pub fn knows(&self, settled: &Settled) -> bool {
        self.stored.patches.get(&settled.patch).is_some_and(|tried| tried.run == settled.run)
    }

    /// Takes note of how an attempt ended. One that somebody `asked` for too early keeps nobody waiting
    /// when its time has come: waits are for what the agent tries by itself; nor does it undo what came of the patch
    /// when something was changed for it. A refusal because of a clock that
    /// does not fit makes nobody wait across a restart: it says when, by that very clock.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn record(&mut self, settled: &Settled, now: Now, asked: bool) -> Result<(), FileError> {
        let code = settled.reason.as_ref().map(|reason| reason.code);
        let tried = self.stored.patches.entry(settled.patch).or_default();
        let same = tried.run == settled.run;
        if same && tried.outcome == Some(settled.outcome) {
            return Ok(()); // Told again, by a recovery that was itself interrupted.
        }
        let refused = settled.is_refusal();
        if refused && asked && tried.is_at_its_end() {
            // Nothing was changed, so what came of it when something was still stands: whoever took a patch back, and
            // then asks for it in vain, has not said that the agent is to bring it by itself.
            tried.note_before_the_last(code);
            return self.save();
        }
        // The same attempt may end otherwise than it first seemed: taken back later, after all.
        let counted = same && tried.reasons.last() == Some(&ReasonCode::Interrupted);
        tried.run = settled.run;
        tried.outcome = Some(settled.outcome);
        tried.interruptions += u32::from(code == Some(ReasonCode::Interrupted) && !counted);
        if !(refused && asked) {
            tried.refusals = if refused { tried.refusals.saturating_add(1) } else { 0 };
            let wait_ms = RETRY_MS_MIN << tried.refusals.max(1).saturating_sub(1).min(20);
            let of_a_clock = code.is_some_and(is_of_a_clock);
            let longest_ms = match code {
                Some(code) if is_of_a_clock(code) => RETRY_CLOCK_MS_MAX,
                Some(code) if is_of_the_ledger(code) => RETRY_LEDGER_MS_MAX,
                _ => RETRY_MS_MAX,
            };
            let wait_ms = strayed(self.seed, settled.patch, tried.refusals, wait_ms.min(longest_ms));
            let waits = !matches!(settled.outcome, Outcome::Applied | Outcome::Failed);
            tried.not_before_ms = if waits && !of_a_clock { now.now_ms.saturating_add(wait_ms) } else { 0 };
            match waits {
                true => self.waits.insert(settled.patch, now.running_ms.saturating_add(wait_ms)),
                false => self.waits.remove(&settled.patch),
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
            // What changed nothing is forgotten first: else whoever has enough refused has the rest forgotten.
            let oldest = self.stored.patches.iter().min_by_key(|(_, tried)| (tried.is_at_its_end(), tried.run));
            let oldest = oldest.map(|(patch, _)| *patch);
            if let Some(oldest) = oldest {
                self.stored.patches.remove(&oldest);
                self.waits.remove(&oldest);
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

/// Whether this host's clock and the ledger's do not fit together: what a clock says then is no reason to wait.
fn is_of_a_clock(code: ReasonCode) -> bool {
    matches!(code, ReasonCode::Stale | ReasonCode::ClockBehind)
}

/// A wait, shorter by up to the jitter: the same whenever it is asked for, and another one for the next refusal.
fn strayed(seed: Option<Digest>, patch: PatchId, refusals: u32, wait_ms: u64) -> u64 {
    let Some(seed) = seed else { return wait_ms };
    let material = [&seed.0[..], &patch.0[..], &refusals.to_le_bytes()[..]].concat();
    let share = u64::from(Digest::blake3(&material).0[0]) * JITTER_PERCENT;
    wait_ms - wait_ms * share / (255 * 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settled::reason;
    use ledger::bounded::Version;
    use ledger::receipt::Health;

    const PATCH: PatchId = PatchId([7; 32]);
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    const START: Now = at(1_000_000_000_000, 5_000);

    const fn at(now_ms: u64, running_ms: u64) -> Now {
        Now { now_ms, running_ms }
    }

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
            let mut attempts = Attempts::open(&path, START).unwrap();
            assert!(attempts.may_try(PATCH, 0));
            attempts.record(&settled(1, outcome, code), START, false).unwrap();
            let attempts = Attempts::open(&path, START).unwrap();
            assert_eq!(attempts.may_try(PATCH, START.running_ms + 1), soon, "{outcome}");
            assert_eq!(attempts.may_try(PATCH, u64::MAX), later, "{outcome}");
        }
    }

    /// By hand, with a file that is damaged or old: what was taken back, or was not healthy, stays so.
    #[test]
    fn what_is_asked_for_in_vain_undoes_no_verdict() {
        use Outcome::{Applied, Failed, Refused, RolledBack};
        use ReasonCode::{HealthFailed, HeightBelowSeen, Interrupted, Io, Policy, ProofMalformed};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("attempts");
        for (outcome, code, later) in [
            (Applied, None, false),
            (RolledBack, Some(Policy), false),
            (RolledBack, Some(HealthFailed), false),
            (Failed, Some(Io), false),
            (RolledBack, Some(Interrupted), true),
        ] {
            let _ = std::fs::remove_file(&path);
            let mut attempts = Attempts::open(&path, START).unwrap();
            attempts.record(&settled(1, outcome, code), START, false).unwrap();
            for (run, refusal) in [(2, ProofMalformed), (3, HeightBelowSeen)] {
                attempts.record(&settled(run, Refused, Some(refusal)), START, true).unwrap();
            }
            let attempts = Attempts::open(&path, START).unwrap();
            assert_eq!(attempts.may_try(PATCH, u64::MAX), later, "{outcome} {code:?}");
            let tried = &attempts.stored.patches[&PATCH];
            assert_eq!(tried.outcome, Some(outcome));
            assert!(outcome == Applied || tried.last_reason() == code, "{tried:?}");
            assert!(!attempts.is_news(&settled(4, Refused, Some(ProofMalformed))), "{outcome}: told once");
        }
    }

    #[test]
    fn what_changed_nothing_is_forgotten_before_what_did() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts"), START).unwrap();
        attempts.record(&settled(1, Outcome::RolledBack, Some(ReasonCode::HealthFailed)), START, false).unwrap();
        for run in 2..=PATCHES_MAX as u64 + 10 {
            let patch = PatchId(Digest::blake3(&run.to_le_bytes()).0);
            let refused = Settled { patch, ..settled(run, Outcome::Refused, Some(ReasonCode::Target)) };
            attempts.stored.patches.insert(patch, Tried { run, outcome: Some(refused.outcome), ..Tried::default() });
        }
        attempts.forget_oldest();
        assert_eq!(attempts.stored.patches.len(), PATCHES_MAX);
        assert!(!attempts.may_try(PATCH, u64::MAX), "it was not healthy");
    }

    #[test]
    fn a_patch_that_keeps_bringing_the_agent_down_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts"), START).unwrap();
        for run in 1..=u64::from(INTERRUPTIONS_MAX) {
            assert!(attempts.may_try(PATCH, u64::MAX), "{run}");
            let interrupted = settled(run, Outcome::RolledBack, Some(ReasonCode::Interrupted));
            attempts.record(&interrupted, START, false).unwrap();
        }
        assert!(!attempts.may_try(PATCH, u64::MAX));
    }

    #[test]
    fn one_refusal_is_one_receipt_and_waits_grow() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts"), START).unwrap();
        let refused = |run, code| settled(run, Outcome::Refused, Some(code));
        let (missing, unavailable) = (ReasonCode::ApprovalRule, ReasonCode::ArtifactUnavailable);
        let mut next = |run, code| {
            let (refused, news) = (refused(run, code), attempts.is_news(&refused(run, code)));
            attempts.record(&refused, START, false).unwrap();
            (news, attempts.next_try_in_ms(START.running_ms))
        };
        assert_eq!(next(1, missing), (true, Some(RETRY_MS_MIN)));
        assert_eq!(next(2, missing), (false, Some(2 * RETRY_MS_MIN)));
        assert_eq!(next(3, unavailable), (true, Some(4 * RETRY_MS_MIN)));
        for run in 4..100 {
            next(run, missing);
        }
        // What the ledger may take back at any block is looked at again sooner than the rest.
        assert_eq!(next(100, missing), (false, Some(RETRY_LEDGER_MS_MAX)));
        assert_eq!(next(101, unavailable), (false, Some(RETRY_MS_MAX)));
    }

    #[test]
    fn a_fleet_that_is_refused_at_one_moment_does_not_come_back_at_one() {
        let directory = tempfile::tempdir().unwrap();
        let wait = |host: u8, refusals: u64| {
            let path = directory.path().join(format!("attempts-{host}"));
            let mut attempts = Attempts::open(&path, START).unwrap();
            attempts.stray(Digest([host; 32]));
            for run in 1..=refusals {
                let refused = settled(run, Outcome::Refused, Some(ReasonCode::Halted));
                attempts.record(&refused, START, false).unwrap();
            }
            std::fs::remove_file(path).unwrap();
            attempts.next_try_in_ms(START.running_ms).unwrap()
        };
        for (refusals, most_ms) in [(1, RETRY_MS_MIN), (40, RETRY_LEDGER_MS_MAX)] {
            let waits: std::collections::BTreeSet<_> = (0..32).map(|host| wait(host, refusals)).collect();
            let least_ms = most_ms - most_ms * JITTER_PERCENT / 100;
            assert!(waits.iter().all(|wait| (least_ms..=most_ms).contains(wait)), "{waits:?}");
            assert!(waits.len() > 16, "{waits:?}");
            assert_eq!(wait(7, refusals), wait(7, refusals), "and the same host does the same again");
        }
    }

    #[test]
    fn an_attempt_that_is_told_again_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts"), START).unwrap();
        let refused = |run| settled(run, Outcome::Refused, Some(ReasonCode::Halted));
        attempts.record(&refused(1), START, false).unwrap();
        assert!(attempts.knows(&refused(1)) && !attempts.is_news(&refused(1)));
        assert!(!attempts.knows(&refused(2)) && !attempts.is_news(&refused(2)));
    }

    #[test]
    fn what_went_well_ends_what_was_said_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts"), START).unwrap();
        let refused = settled(1, Outcome::Refused, Some(ReasonCode::ApprovalRule));
        attempts.record(&refused, START, false).unwrap();
        assert_eq!(attempts.all().next().unwrap().1.last_reason(), Some(ReasonCode::ApprovalRule));
        attempts.record(&settled(2, Outcome::Applied, None), START, false).unwrap();
        assert_eq!(attempts.all().next().unwrap().1.last_reason(), None);
        let again = settled(3, Outcome::Refused, Some(ReasonCode::ApprovalRule));
        assert!(attempts.is_news(&again), "the last receipt says that it was applied");
    }

    #[test]
    fn what_somebody_asked_for_too_early_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let mut attempts = Attempts::open(&directory.path().join("attempts"), START).unwrap();
        let refused = |run| settled(run, Outcome::Refused, Some(ReasonCode::ApprovalRule));
        attempts.record(&refused(1), at(1_000, 1_000), true).unwrap();
        assert!(attempts.may_try(PATCH, 1_001));
        assert_eq!(attempts.next_try_in_ms(1_000), None);
        // Nor does asking shorten a wait.
        attempts.record(&refused(2), at(1_000, 1_000), false).unwrap();
        attempts.record(&refused(3), at(2_000, 2_000), true).unwrap();
        assert_eq!(attempts.next_try_in_ms(2_000), Some(RETRY_MS_MIN - 1_000));
        let rolled_back = settled(4, Outcome::RolledBack, Some(ReasonCode::HealthFailed));
        attempts.record(&rolled_back, at(3_000, 3_000), true).unwrap();
        assert!(!attempts.may_try(PATCH, u64::MAX), "what failed is not tried again, whoever asked");
    }
    /// A clock that is 400 days ahead for a minute stops nothing for longer than that.
    #[test]
    fn a_clock_that_jumped_keeps_nobody_waiting_once_it_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("attempts");
        let (ahead, minute) = (400 * DAY_MS, 60_000);
        for code in [ReasonCode::Stale, ReasonCode::ClockBehind, ReasonCode::ArtifactUnavailable] {
            let _ = std::fs::remove_file(&path);
            let mut attempts = Attempts::open(&path, START).unwrap();
            let refused = |run| settled(run, Outcome::Refused, Some(code));
            // So often that it waits as long as anything ever waits.
            for run in 1..=40 {
                attempts.record(&refused(run), at(START.now_ms + ahead, START.running_ms), false).unwrap();
            }
            let most_ms = if is_of_a_clock(code) { RETRY_CLOCK_MS_MAX } else { RETRY_MS_MAX };
            assert_eq!(attempts.next_try_in_ms(START.running_ms), Some(most_ms), "{code}: not all the time");
            assert!(attempts.may_try(PATCH, START.running_ms + most_ms), "{code}: the clock that runs says when");
            let restarted = Attempts::open(&path, at(START.now_ms + minute, START.running_ms + minute)).unwrap();
            assert!(restarted.may_try(PATCH, START.running_ms + minute), "{code}: after a restart");
            // A host that was started again has run for no time at all.
            let rebooted = Attempts::open(&path, at(START.now_ms + minute, 0)).unwrap();
            assert!(rebooted.may_try(PATCH, 0), "{code}: after a restart of the host");
        }
    }

    #[test]
    fn a_restart_shortens_no_wait_while_the_clock_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("attempts");
        let mut attempts = Attempts::open(&path, START).unwrap();
        attempts.record(&settled(1, Outcome::Refused, Some(ReasonCode::Io)), START, false).unwrap();
        let restarted = Attempts::open(&path, at(START.now_ms + 5_000, 70)).unwrap();
        assert_eq!(restarted.next_try_in_ms(70), Some(RETRY_MS_MIN - 5_000));
        assert!(!restarted.may_try(PATCH, 70));
    }
}

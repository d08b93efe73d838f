//! Why a host has a patch, or not: every check between the ledger and the host, with its verdict, from
//! what lies on this host's disk. Nothing is asked for, and nothing is changed. And what an update would do,
//! without doing it.

mod answer;
mod proof;
mod under_way;
mod would;

use crate::attempts::{Attempts, Tried};
use crate::clock::{Now, now_ms};
use crate::config::Config;
use crate::data::DataDir;
use crate::files::FileError;
use crate::follow::heads::Heads;
use crate::installer;
use crate::installer::installs;
use crate::installer::journal::JournalError;
use crate::installer::kinds::Kinds;
use crate::proofs;
use crate::recalls::{Recall, Recalls};
use crate::receipts::{self, Told};
use crate::shelf::Shelf;
use crate::site::{self, Law, own_program};
use crate::status::LedgerStatus;
use crate::waits;
use ledger::id::PatchId;
use ledger::moment::Moment;
use ledger::patch::PatchManifest;
use ledger::proof::{HostClock, TrustRoot};
use policy::schedule::Leave;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use terminal::escape;

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing against it.
    Yes,
    /// Nothing against it, and something to know.
    Note,
    /// This is in the way.
    No,
    /// It cannot be told: a check before it said no.
    Unknown,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Where it is made: `proof`, `host` or `agent`.
    pub part: &'static str,
    /// Its name.
    pub check: &'static str,
    /// What it says.
    pub verdict: Verdict,
    /// Its evidence, for people.
    pub said: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The patch.
    pub patch: PatchId,
    /// What it claims to be; proven only if the proof is.
    pub about: Option<String>,
    /// Whether it is installed, and its update over.
    pub installed: bool,
    /// That it was recalled, which is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recalled: Option<Recall>,
    /// Every check, in the order in which they are made.
    pub checks: Vec<Checked>,
    /// What an update would do, if that was asked and nothing is in the way but its hour.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub would: Vec<String>,
    /// Whether nothing is in the way, or there is no way left to go.
    pub well: bool,
    /// All of it in one sentence.
    pub answer: String,
    /// What to do about it, where somebody has to do something; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// Not the beginning of an id.
    #[error("{0:?} is not a patch id, nor the beginning of one")]
    NotAnId(String),
    /// Nothing on this host begins so.
    #[error("this host knows of no patch that begins with {0}")]
    Unknown(String),
    /// More than one does.
    #[error("this host knows of more than one patch that begins with {0}")]
    Ambiguous(String),
    /// The host's own disk.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What lies on the disk of an endpoint, which an agent may be working on.
pub struct Held<'a> {
    /// Its configuration.
    pub config: &'a Config,
    /// What it trusts.
    pub trust: &'a TrustRoot,
    /// What it remembers of the ledger.
    pub heads: Arc<Heads>,
    /// What an agent that runs on it has seen of the ledger: that is on the disk when it matters, and not before.
    pub running: Option<LedgerStatus>,
}

impl Held<'_> {
    /// What a proof is judged by: the newest header that was seen here, by whomever.
    fn clock(&self) -> HostClock {
        let clock = self.heads.clock(now_ms());
        let (height, time_ms) = self.running.as_ref().map_or((0, 0), |ledger| (ledger.height, ledger.time_ms));
        HostClock { floor_ms: clock.floor_ms.max(time_ms), height_seen: clock.height_seen.max(height), ..clock }
    }

    fn data(&self) -> DataDir {
        DataDir::at(self.config.data_dir.clone())
    }

    /// The one patch this host knows of whose id begins so.
    ///
    /// # Errors
    /// [`WhyError`].
    pub fn find(&self, prefix: &str) -> Result<PatchId, WhyError> {
        if let Ok(patch) = prefix.parse() {
            return Ok(patch);
        }
        let prefix = prefix.to_ascii_lowercase();
        let hex = (1..=64).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex {
            return Err(WhyError::NotAnId(prefix.chars().take(80).collect()));
        }
        let data = self.data();
        let (attempts, waited) = (Attempts::open(&data.attempts(), Now::here())?, waits::peek(&data.waits())?);
        let mut known = Shelf::at(&data.proofs()).patches()?;
        known.extend(attempts.all().map(|(patch, _)| *patch).chain(waited.due_since_ms.into_keys()));
        known.extend(installs::all_trees(&data.installs())?.into_values().filter_map(|tree| tree.meta.patch));
        known.retain(|patch| patch.to_string().starts_with(&prefix));
        known.sort_unstable();
        known.dedup();
        match known[..] {
            [patch] => Ok(patch),
            [] => Err(WhyError::Unknown(prefix)),
            _ => Err(WhyError::Ambiguous(prefix)),
        }
    }

    /// Answers, by this proof file, or else by the one that was kept.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn why(&self, patch: PatchId, file: Option<Vec<u8>>) -> Result<Why, FileError> {
        let data = self.data();
        // In this order: what is put in place between the two looks is then seen to be under way.
        let (there, under_way) = (self.there(patch)?, self.under_way()?);
        let (bytes, origin) = match file {
            Some(bytes) => (Some(bytes), Origin::Given),
            None => (Shelf::at(&data.proofs()).proof(patch)?, Origin::Kept),
        };
        let kinds = installer::kinds_of(self.config, own_program());
        let Examined { mut checks, manifest, recalled } =
            self.examine(patch, bytes.as_deref(), origin, &kinds, false)?;
        answer::release(&mut checks, there.is_some());
        let installed = there.is_some() && under_way.is_over(patch);
        let attempts = self.attempts(patch, there.is_some())?;
        checks.extend([under_way.check.clone(), attempts]);
        let advice = || Recalls::open(&data.recalls()).map(|recalls| recalls.advice(patch, &data));
        let (well, answer) = match (&there, &recalled) {
            (Some(there), _) if under_way.damaged => {
                let said = &under_way.check.said;
                (false, format!("{} leads to it; whether its update is over cannot be told: {said}", there.shown()))
            }
            _ if under_way.open_patch() == Some(patch) => {
                (false, format!("its update is not over: {}", under_way.check.said))
            }
            (Some(_), Some(recall)) => (false, format!("it is installed, but it was {recall}; {}", advice()?)),
            (Some(there), None) => (true, there.answer(&under_way, answer::of_the_file(origin, &checks))),
            (None, _) => answer::not_installed(&checks),
        };
        let about = manifest.as_ref().map(about);
        let hint = if under_way.damaged { JournalError::PUT_RIGHT.to_owned() } else { String::new() };
        Ok(Why { patch, about, installed, recalled, checks, would: Vec::new(), well, answer, hint })
    }

    /// What `apply` would do with this proof, out of a file or from a node, `now` or not, without doing it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn would(&self, patch: PatchId, proof: &[u8], now: bool) -> Result<Why, FileError> {
        let (there, under_way) = (self.there(patch)?, self.under_way()?);
        let kinds = installer::kinds_of(self.config, own_program());
        let Examined { mut checks, manifest, recalled } =
            self.examine(patch, Some(proof), Origin::Given, &kinds, now)?;
        answer::release(&mut checks, there.is_some());
        let mut would = Vec::new();
        let installed = there.is_some() && under_way.is_over(patch) && !under_way.damaged;
        let nothing_to_do = installed && answer::of_the_file(Origin::Given, &checks).is_none();
        if let Some(manifest) = manifest.as_ref().filter(|_| !nothing_to_do) {
            checks.extend([would::plan(manifest, &kinds), would::room(manifest, &self.data())?]);
            would = would::steps(manifest, self.config)?;
        }
        let hint = if under_way.damaged { JournalError::PUT_RIGHT.to_owned() } else { String::new() };
        checks.push(under_way.check);
        let (well, answer) = match (&recalled, nothing_to_do) {
            (Some(recall), true) => (false, format!("it is installed already, but it was {recall}")),
            (None, true) => (true, "it is installed already: nothing would be done".to_owned()),
            (_, false) => answer::would(&checks),
        };
        if !well && !answer::only_waits(&checks) {
            would.clear();
        }
        let about = manifest.as_ref().map(about);
        Ok(Why { patch, about, installed, recalled, checks, would, well, answer, hint })
    }

    /// The checks of a proof, and of this host; what it is about, be it proven or only claimed.
    fn examine(
        &self,
        patch: PatchId,
        bytes: Option<&[u8]>,
        origin: Origin,
        kinds: &Kinds,
        schedule_lifted: bool,
    ) -> Result<Examined, FileError> {
        let proof::Seen { mut checks, proven, recalled } =
            proof::checks(patch, bytes, origin, self.trust, self.clock());
        // A recall is final: what is known of it counts, whatever an older proof says.
        let known = Recalls::open(&self.data().recalls())?.of(patch).cloned();
        if let (Some(recall), Some(check)) = (&known, checks.iter_mut().find(|checked| checked.check == "recall")) {
            (check.verdict, check.said) = (Verdict::No, recall.to_string());
        }
        let recalled = known.or(recalled);
        let manifest = match &proven {
            Some(proven) => Some(proven.manifest().clone()),
            None => bytes.and_then(proofs::claimed).filter(|manifest| manifest.id() == patch),
        };
        if let Some(manifest) = &manifest {
            let law = Law { policy: self.config.policy.clone(), schedule_lifted, heads: self.heads.clone() };
            let host = site::host(self.config, kinds.offered(), waits::peek(&self.data().waits())?)?;
            let count = proven.as_ref().map(|proven| proven.count());
            let all = law.policy().checks(manifest, count, &host, law.now_ms());
            checks.extend(all.into_iter().map(|(check, said)| of_the_host(check, said, manifest)));
        }
        Ok(Examined { checks, manifest, recalled })
    }

    fn attempts(&self, patch: PatchId, installed: bool) -> Result<Checked, FileError> {
        let now = Now::here();
        let attempts = Attempts::open(&self.data().attempts(), now)?;
        let tried = attempts.all().find(|(tried, _)| **tried == patch).map(|(_, tried)| tried);
        let verdict = if installed || attempts.may_try(patch, now.running_ms) { Verdict::Yes } else { Verdict::No };
        let said = match tried {
            None => "not tried yet".to_owned(),
            Some(tried) => {
                let told = receipts::told(&self.data().receipts(), tried.run, patch)?;
                let next = next_try(tried, installed, verdict, attempts.may_try(patch, u64::MAX));
                shown(tried, next, &told)
            }
        };
        Ok(Checked { part: "agent", check: "attempts", verdict, said })
    }
}

/// What was examined.
struct Examined {
    checks: Vec<Checked>,
    manifest: Option<PatchManifest>,
    recalled: Option<Recall>,
}

/// Where a proof comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// From somebody who asks about this very file, or would have it applied.
    Given,
    /// It was offered last, and kept. That it is old by now is nobody's fault: a newer one is asked for when it is
    /// needed.
    Kept,
}

fn of_the_host(check: policy::Check, said: Result<Option<Leave>, policy::Reason>, manifest: &PatchManifest) -> Checked {
    let (verdict, said) = match said {
        Ok(Some(leave)) => (Verdict::Yes, leave.to_string()),
        Ok(None) => (Verdict::Yes, fine(check, manifest)),
        Err(reason) => (Verdict::No, reason.to_string()),
    };
    Checked { part: "host", check: check.word(), verdict, said }
}

/// What a check that has nothing against a patch looked at.
fn fine(check: policy::Check, manifest: &PatchManifest) -> String {
    use policy::Check;
    match check {
        Check::Subscription => format!("follows {} on channel {}", manifest.product, manifest.channel),
        Check::Pause => "not paused".to_owned(),
        Check::Target if manifest.targets.is_empty() => "for every host".to_owned(),
        Check::Target => "for hosts like this one".to_owned(),
        Check::Release => format!("release {} is newer than what is installed", manifest.release),
        Check::Relations => {
            format!("{} needed, {} excluded", manifest.depends.len(), manifest.conflicts.len())
        }
        Check::Installer => format!("{} can be installed here", policy::kind_words(manifest.installer)),
        Check::Restart => "no restart that may not be".to_owned(),
        Check::Commands => "no command that may not be run".to_owned(),
        Check::Schedule => "now".to_owned(),
    }
}

fn next_try(tried: &Tried, installed: bool, verdict: Verdict, later: bool) -> String {
    match verdict {
        _ if installed => "installed since".to_owned(),
        Verdict::No if later => format!("not by itself before {}", Moment(tried.not_before_ms)),
        Verdict::No => "not tried again by itself: `countersign-agent apply` does".to_owned(),
        _ => "may be tried again".to_owned(),
    }
}

/// The newest attempt: how it ended, why if it did not go well, and what the ledger calls it.
fn shown(tried: &Tried, next: String, told: &Told) -> String {
    let outcome = tried.outcome.map_or_else(|| "no end".to_owned(), |outcome| outcome.to_string());
    let reason = tried.last_reason().map_or_else(String::new, |code| format!(" ({code})"));
    format!("{outcome}{reason}; {next}{told}")
}

fn about(manifest: &PatchManifest) -> String {
    let PatchManifest { product, channel, release, .. } = manifest;
    let version = escape(manifest.version.as_str());
    format!("{product} {version} (channel {channel}, release {release})")
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "patch      {}", self.patch)?;
        if let Some(about) = &self.about {
            writeln!(f, "about      {about}")?;
        }
        for Checked { part, check, verdict, said } in &self.checks {
            let verdict = match verdict {
                Verdict::Yes => "yes",
                Verdict::Note => "note",
                Verdict::No => "NO",
                Verdict::Unknown => "-",
            };
            writeln!(f, "{part:<6} {check:<12} {verdict:<4} {}", escape(said))?;
        }
        for step in &self.would {
            writeln!(f, "would      {step}")?;
        }
        write!(f, "answer     {}", self.answer)?;
        match self.hint.is_empty() {
            true => Ok(()),
            false => write!(f, "\nhint: {}", self.hint),
        }
    }
}

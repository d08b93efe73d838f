//! Why a host has a patch, or not: every check between the ledger and the host, with its verdict, from
//! what lies on this host's disk. Nothing is asked for, and nothing is changed.

mod proof;

use crate::attempts::{Attempts, Tried};
use crate::clock::now_ms;
use crate::config::Config;
use crate::data::DataDir;
use crate::files::FileError;
use crate::follow::heads::Heads;
use crate::installer::installs;
use crate::installer::journal::{Journal, JournalError, Record};
use crate::installer::kinds::Kinds;
use crate::proofs;
use crate::shelf::Shelf;
use crate::site::{self, Law};
use crate::waits;
use ledger::id::PatchId;
use ledger::moment::Moment;
use ledger::patch::PatchManifest;
use ledger::proof::TrustRoot;
use policy::Subscription;
use policy::schedule::Leave;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing against it.
    Yes,
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
    /// Whether it is installed.
    pub installed: bool,
    /// Every check, in the order in which they are made.
    pub checks: Vec<Checked>,
    /// All of it in one sentence.
    pub answer: String,
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
}

impl Held<'_> {
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
        let (attempts, waited) = (Attempts::open(&data.attempts())?, waits::peek(&data.waits())?);
        let mut known = Shelf::at(&data.proofs()).patches()?;
        known.extend(attempts.all().map(|(patch, _)| *patch).chain(waited.due_since_ms.into_keys()));
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
        let bytes = match file {
            Some(bytes) => Some(bytes),
            None => Shelf::at(&data.proofs()).proof(patch)?,
        };
        let proof::Seen { mut checks, proven } =
            proof::checks(patch, bytes.as_deref(), self.trust, self.heads.clock(now_ms()));
        let manifest = match &proven {
            Some(proven) => Some(proven.manifest().clone()),
            None => bytes.as_deref().and_then(proofs::claimed).filter(|manifest| manifest.id() == patch),
        };
        let installed = manifest.as_ref().map(|manifest| self.has(manifest)).transpose()?.unwrap_or(false);
        if let Some(manifest) = &manifest {
            let count = proven.as_ref().map(|proven| proven.count());
            let law = Law::of(self.config.policy.clone(), self.heads.clone());
            let waited = waits::peek(&data.waits())?;
            let host = site::host(self.config, Kinds::of(&self.config.installers).offered(), waited)?;
            let now_ms = law.now_ms();
            let all = law.policy().checks(manifest, count, &host, now_ms);
            checks.extend(all.into_iter().map(|(check, said)| of_the_host(check, said, manifest)));
        }
        checks.extend(self.of_the_agent(patch)?);
        let about = manifest.as_ref().map(about);
        let answer = answer(installed, &checks);
        Ok(Why { patch, about, installed, checks, answer })
    }

    fn has(&self, manifest: &PatchManifest) -> Result<bool, FileError> {
        let of = Subscription { product: manifest.product.clone(), channel: manifest.channel.clone() };
        let installed = installs::installed(&self.data().installs(), &of)?;
        Ok(installed.is_some_and(|installed| installed.meta.patch == Some(manifest.id())))
    }

    /// What the agent has under way, and what it tried.
    fn of_the_agent(&self, patch: PatchId) -> Result<[Checked; 2], FileError> {
        let data = self.data();
        let (verdict, said) = match Journal::peek(&data.journal()) {
            Ok(records) => under_way(&records),
            Err(JournalError::File(error)) => return Err(error),
            Err(damaged) => (Verdict::No, damaged.to_string()),
        };
        let under_way = Checked { part: "agent", check: "under way", verdict, said };
        let attempts = Attempts::open(&data.attempts())?;
        let now_ms = now_ms();
        let tried = attempts.all().find(|(tried, _)| **tried == patch).map(|(_, tried)| tried);
        let verdict = if attempts.may_try(patch, now_ms) { Verdict::Yes } else { Verdict::No };
        let said = tried.map_or_else(
            || "not tried yet".to_owned(),
            |tried| shown(tried, verdict, attempts.may_try(patch, u64::MAX)),
        );
        Ok([under_way, Checked { part: "agent", check: "attempts", verdict, said }])
    }
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
        Check::Schedule => "now".to_owned(),
    }
}

fn under_way(records: &[Record]) -> (Verdict, String) {
    let Some(Record::Begun(begun)) = records.first().filter(|_| records.last() != Some(&Record::Done)) else {
        return (Verdict::Yes, "no other update is".to_owned());
    };
    let step = match records.last() {
        Some(Record::Restarting { deadline_ms, .. }) => {
            format!("waits for the host to restart, by {}", Moment(*deadline_ms))
        }
        Some(Record::Judged { against: Some(reason) }) => format!("is taken back: {reason}"),
        Some(Record::Judged { against: None }) => "is kept".to_owned(),
        _ => "is under way, or was interrupted".to_owned(),
    };
    (
        Verdict::No,
        format!("patch {} of {} {step}; nothing else is begun before that is over", begun.patch, begun.product),
    )
}

fn shown(tried: &Tried, verdict: Verdict, later: bool) -> String {
    let outcome = tried.outcome.map_or_else(|| "no end".to_owned(), |outcome| outcome.to_string());
    let reason = tried.reasons.last().map_or_else(String::new, |code| format!(" ({code})"));
    let next = match verdict {
        Verdict::Yes => "may be tried again".to_owned(),
        _ if later => format!("not by itself before {}", Moment(tried.not_before_ms)),
        _ => "not tried again by itself: `countersign-agent apply` does".to_owned(),
    };
    format!("attempt {}: {outcome}{reason}; {next}", tried.run)
}

fn about(manifest: &PatchManifest) -> String {
    let PatchManifest { product, version, channel, release, .. } = manifest;
    format!("{product} {version} (channel {channel}, release {release})")
}

fn answer(installed: bool, checks: &[Checked]) -> String {
    match checks.iter().find(|checked| checked.verdict == Verdict::No) {
        _ if installed => "it is installed".to_owned(),
        Some(Checked { part, check, said, .. }) => format!("it is not installed, because of {part} {check}: {said}"),
        None => "nothing is in the way: the agent installs it when it looks next".to_owned(),
    }
}

impl Why {
    /// Whether nothing is in the way, or there is no way left to go.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.installed || self.checks.iter().all(|checked| checked.verdict == Verdict::Yes)
    }
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
                Verdict::No => "NO",
                Verdict::Unknown => "-",
            };
            writeln!(f, "{part:<6} {check:<12} {verdict:<4} {said}")?;
        }
        write!(f, "answer     {}", self.answer)
    }
}

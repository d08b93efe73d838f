//! Why a host has a patch, or not: every check between the ledger and the host, with its verdict, from
//! what lies on this host's disk. Nothing is asked for, and nothing is changed. And what an update would do,
//! without doing it.

mod proof;
mod would;

use crate::attempts::{Attempts, Tried};
use crate::clock::now_ms;
use crate::config::Config;
use crate::data::DataDir;
use crate::files::FileError;
use crate::follow::heads::Heads;
use crate::installer::installs;
use crate::installer::journal::{Begun, Journal, JournalError, Record};
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
    /// Whether it is installed, and its update over.
    pub installed: bool,
    /// Every check, in the order in which they are made.
    pub checks: Vec<Checked>,
    /// What an update would do, if that was asked; it does it only if nothing is in the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub would: Vec<String>,
    /// Whether nothing is in the way, or there is no way left to go.
    pub well: bool,
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
        let kinds = Kinds::of(&self.config.installers);
        let Examined { mut checks, manifest } = self.examine(patch, bytes.as_deref(), &kinds, false)?;
        let UnderWay { check, open } = self.under_way()?;
        // What is in place and not judged yet may be taken back: it does not count.
        let not_over = (open == Some(patch)).then(|| format!("its update is not over: {}", check.said));
        checks.extend([check, self.attempts(patch)?]);
        let installed = not_over.is_none() && self.has(manifest.as_ref())?;
        let (about, against) = (manifest.as_ref().map(about), against(&checks));
        let (well, answer) = match against {
            _ if let Some(not_over) = not_over => (false, not_over),
            _ if installed => (true, "it is installed".to_owned()),
            Some(against) => (false, format!("it is not installed, because of {against}")),
            None => (true, "nothing is in the way: the agent installs it when it looks next".to_owned()),
        };
        Ok(Why { patch, about, installed, checks, would: Vec::new(), well, answer })
    }

    /// What `apply` would do with this proof, `now` or not, without doing it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn would(&self, patch: PatchId, proof: &[u8], now: bool) -> Result<Why, FileError> {
        let kinds = Kinds::of(&self.config.installers);
        let Examined { mut checks, manifest } = self.examine(patch, Some(proof), &kinds, now)?;
        let mut would = Vec::new();
        if let Some(manifest) = &manifest {
            checks.extend([would::plan(manifest, &kinds), would::room(manifest, &self.data())?]);
            would = would::steps(manifest, self.config)?;
        }
        let UnderWay { check, open } = self.under_way()?;
        checks.push(check);
        let installed = open != Some(patch) && self.has(manifest.as_ref())?;
        let (about, against) = (manifest.as_ref().map(about), against(&checks));
        let (well, answer) = match against {
            Some(against) => (false, format!("it would not be installed, because of {against}")),
            None => (true, "it would be installed; nothing was changed".to_owned()),
        };
        Ok(Why { patch, about, installed, checks, would, well, answer })
    }

    /// The checks of a proof, and of this host; what it is about, be it proven or only claimed.
    fn examine(
        &self,
        patch: PatchId,
        bytes: Option<&[u8]>,
        kinds: &Kinds,
        schedule_lifted: bool,
    ) -> Result<Examined, FileError> {
        let proof::Seen { mut checks, proven } = proof::checks(patch, bytes, self.trust, self.heads.clock(now_ms()));
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
        Ok(Examined { checks, manifest })
    }

    fn has(&self, manifest: Option<&PatchManifest>) -> Result<bool, FileError> {
        let Some(manifest) = manifest else { return Ok(false) };
        let of = Subscription { product: manifest.product.clone(), channel: manifest.channel.clone() };
        let installed = installs::installed(&self.data().installs(), &of)?;
        Ok(installed.is_some_and(|installed| installed.meta.patch == Some(manifest.id())))
    }

    fn under_way(&self) -> Result<UnderWay, FileError> {
        let (open, said) = match Journal::peek(&self.data().journal()) {
            Ok(records) => match open_update(&records) {
                None => (None, Ok("no other update is".to_owned())),
                Some(begun) => (Some(begun.patch), Err(under_way(begun, &records))),
            },
            Err(JournalError::File(error)) => return Err(error),
            Err(damaged) => (None, Err(damaged.to_string())),
        };
        let (verdict, said) = said.map_or_else(|said| (Verdict::No, said), |said| (Verdict::Yes, said));
        Ok(UnderWay { check: Checked { part: "agent", check: "under way", verdict, said }, open })
    }

    fn attempts(&self, patch: PatchId) -> Result<Checked, FileError> {
        let attempts = Attempts::open(&self.data().attempts())?;
        let now_ms = now_ms();
        let tried = attempts.all().find(|(tried, _)| **tried == patch).map(|(_, tried)| tried);
        let verdict = if attempts.may_try(patch, now_ms) { Verdict::Yes } else { Verdict::No };
        let said = tried.map_or_else(
            || "not tried yet".to_owned(),
            |tried| shown(tried, verdict, attempts.may_try(patch, u64::MAX)),
        );
        Ok(Checked { part: "agent", check: "attempts", verdict, said })
    }
}

/// What was examined.
struct Examined {
    checks: Vec<Checked>,
    manifest: Option<PatchManifest>,
}

/// What the agent is at.
struct UnderWay {
    check: Checked,
    /// The patch whose update was begun and is not over.
    open: Option<PatchId>,
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

fn open_update(records: &[Record]) -> Option<&Begun> {
    match records.first() {
        Some(Record::Begun(begun)) if records.last() != Some(&Record::Done) => Some(begun),
        _ => None,
    }
}

fn under_way(begun: &Begun, records: &[Record]) -> String {
    let step = match records.last() {
        Some(Record::Restarting { deadline_ms, .. }) => {
            format!("waits for the host to restart, by {}", Moment(*deadline_ms))
        }
        Some(Record::Judged { against: Some(reason) }) => format!("is taken back: {reason}"),
        Some(Record::Judged { against: None }) => "is kept".to_owned(),
        _ => "is under way, or was interrupted".to_owned(),
    };
    format!("patch {} of {} {step}; nothing else is begun before that is over", begun.patch, begun.product)
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

/// The first check that says no, with its evidence.
fn against(checks: &[Checked]) -> Option<String> {
    let no = checks.iter().find(|checked| checked.verdict == Verdict::No)?;
    Some(format!("{} {}: {}", no.part, no.check, no.said))
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
        for step in &self.would {
            writeln!(f, "would      {step}")?;
        }
        write!(f, "answer     {}", self.answer)
    }
}

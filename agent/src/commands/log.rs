//! `log`: what attempts did on this host, line by line.

use super::{ConfigArgs, answer};
use crate::failure::{Failure, OK, USAGE};
use agent::attempt_log::{self, Kept, Line, Logged};
use agent::data::DataDir;
use clap::Args;
use ledger::id::Digest;
use ledger::moment::Moment;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use terminal::Answer;

/// Show what was tried on this host, or what one attempt did and what its commands and probes said.
///
/// Read from this host's disk, whether an agent runs or not. The logs of the last 100 attempts are kept; the receipt of an
/// attempt has the BLAKE3 of its log.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign-agent log
  countersign-agent log 66c5d1
  countersign-agent log 66c5d1 --tail 20
  countersign-agent log --run 3 -o json")]
pub(super) struct Log {
    /// Of a patch, its last attempt: its id, or the beginning of one. Without, all attempts, the newest first.
    patch: Option<String>,
    /// Of all attempts of this host, or of that patch, the one with this number.
    #[arg(long, value_name = "N")]
    run: Option<u64>,
    /// Its last lines only.
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Log {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Some(config) = self.config.read()? else { return Ok(Answer::silent(OK)) };
        let logs = DataDir::at(config.data_dir).logs();
        let mut kept = attempt_log::kept(&logs)?;
        if self.patch.is_none() && self.run.is_none() {
            return Ok(answer(&Attempts::of(kept, &logs)?));
        }
        let prefix = self.patch.as_deref().map(prefix).transpose()?.unwrap_or_default();
        kept.retain(|kept| kept.may_be_about(&prefix));
        let read = kept.into_iter().filter_map(|kept| kept.read(&logs).transpose()).collect::<Result<Vec<_>, _>>()?;
        let wanted = |log: &&Logged| log.patch.starts_with(&prefix) && self.run.is_none_or(|run| log.run == run);
        let Some(mut log) = read.iter().rfind(wanted).cloned() else {
            let hint = "`countersign-agent log` shows those that are kept".to_owned();
            return Err(Failure::new("there is no log of such an attempt", Some(hint), USAGE).called("not-found"));
        };
        let others = read.iter().filter(|other| other.patch == log.patch && other.run != log.run);
        let others = others.map(|other| other.run).collect();
        log.lines.drain(..log.lines.len().saturating_sub(self.tail.unwrap_or(usize::MAX)));
        Ok(answer(&Attempt { log, others }))
    }
}

/// The beginning of an id, or all of it.
fn prefix(patch: &str) -> Result<String, Failure> {
    let is_one = (1..=64).contains(&patch.len()) && patch.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_one {
        true => Ok(patch.to_ascii_lowercase()),
        false => Err(Failure::new("not a patch id: 64 hexadecimal digits, or the first of them", None, USAGE)),
    }
}

/// All that were tried.
#[derive(Serialize)]
struct Attempts {
    attempts: Vec<Tried>,
}

/// One of them.
#[derive(Serialize)]
struct Tried {
    run: u64,
    patch: String,
    digest: Digest,
    first: Option<Line>,
    last: Option<Line>,
}

impl Attempts {
    fn of(kept: Vec<Kept>, logs: &Path) -> Result<Self, Failure> {
        let tried = |Logged { run, patch, digest, lines }| {
            let (first, last) = (lines.first().cloned(), lines.last().cloned());
            Tried { run, patch, digest, first, last }
        };
        let logged = kept.into_iter().rev().filter_map(|kept| kept.read(logs).transpose());
        Ok(Self { attempts: logged.map(|logged| logged.map(tried)).collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts.is_empty() {
            return write!(f, "nothing was tried on this host yet");
        }
        for (place, Tried { run, patch, first, last, .. }) in self.attempts.iter().enumerate() {
            let gap = if place == 0 { "" } else { "\n" };
            let (at_ms, said) =
                (first.as_ref().map_or(0, |line| line.at_ms), last.as_ref().map_or("", |line| &line.text));
            let patch: String = patch.chars().take(12).collect();
            write!(f, "{gap}run {run:<4} {}  {patch}  {said}", Moment(at_ms))?;
        }
        Ok(())
    }
}

/// One attempt, and which others were about the same patch.
#[derive(Serialize)]
struct Attempt {
    #[serde(flatten)]
    log: Logged,
    others: Vec<u64>,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Logged { run, patch, digest, lines } = &self.log;
        write!(f, "run        {run}, of patch {patch}\nlog        {digest}")?;
        lines.iter().try_for_each(|Line { at_ms, text }| write!(f, "\n{}  {text}", Moment(*at_ms)))?;
        match &self.others[..] {
            [] => Ok(()),
            others => {
                let others: Vec<_> = others.iter().map(u64::to_string).collect();
                write!(f, "\nalso of this patch: --run {}", others.join(", "))
            }
        }
    }
}

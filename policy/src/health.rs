//! Did it go well? The judgement of what probes saw; the program makes the observations.

use ledger::patch::{HealthCheck, Probe};
use ledger::receipt::Health;
use std::fmt;

/// What one attempt of one probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A command ended.
    Exited {
        /// Its exit status; `None` when a signal ended it.
        status: Option<i32>,
        /// Its standard output, as far as it was kept.
        output: Vec<u8>,
        /// It wrote more than is kept, and was stopped for it.
        truncated: bool,
    },
    /// Something accepted the connection.
    Connected,
    /// The version the package database has; `None` when it does not know the package.
    Package(Option<String>),
    /// The attempt took longer than it may.
    TimedOut,
    /// The attempt could not be made: no such program, connection refused, an unknown parameter.
    Impossible(String),
}

/// What to do after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The check passed.
    Passed,
    /// Not yet; try again after this long.
    Again {
        /// How long to wait.
        wait_ms: u32,
    },
    /// The check failed for good.
    Failed(Failure),
}

/// A failed check with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The probe, as people recognise it.
    pub probe: String,
    /// How many attempts were made.
    pub attempts: usize,
    /// What the last one saw.
    pub cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { probe, attempts, cause } = self;
        write!(f, "{probe}: {cause} ({attempts} attempt{})", if *attempts == 1 { "" } else { "s" })
    }
}

/// Judges a check by all observations made for it so far, oldest first. One attempt that passes is
/// enough: a service may need a while before it answers.
#[must_use]
pub fn judge(check: &HealthCheck, observations: &[Observation]) -> Judgement {
    let Some(last) = observations.last() else { return Judgement::Again { wait_ms: 0 } };
    let cause = match complaint(&check.probe, last) {
        None => return Judgement::Passed,
        Some(cause) => cause,
    };
    // A check that says zero attempts still means to be asked once.
    if observations.len() < usize::from(check.attempts) {
        return Judgement::Again { wait_ms: check.interval_ms };
    }
    Judgement::Failed(Failure { probe: describe(&check.probe), attempts: observations.len(), cause })
}

/// The health of all checks together: every one must have passed, and no check means nothing was
/// there to fail.
#[must_use]
pub fn overall<'a>(judgements: impl IntoIterator<Item = &'a Judgement>) -> Health {
    match judgements.into_iter().all(|judgement| *judgement == Judgement::Passed) {
        true => Health::Passed,
        false => Health::Failed,
    }
}

/// What is wrong with an observation, or `None` when it is what the probe asks for.
fn complaint(probe: &Probe, seen: &Observation) -> Option<String> {
    match (probe, seen) {
        (_, Observation::TimedOut) => Some("no answer in time".to_owned()),
        (_, Observation::Impossible(why)) => Some(why.clone()),
        (Probe::Command { expect, .. }, Observation::Exited { status, output, truncated }) => {
            command_complaint(expect.as_ref().map(|text| text.as_str()), *status, output, *truncated)
        }
        (Probe::Tcp { .. }, Observation::Connected) => None,
        (Probe::PackageVersion { version, .. }, Observation::Package(found)) => match found {
            Some(found) if found == version.as_str() => None,
            Some(found) => Some(format!("version is {}, expected {version}", excerpt(found.as_bytes()))),
            None => Some("the package database does not know it".to_owned()),
        },
        _ => Some("the observation is of another kind of probe".to_owned()),
    }
}

fn command_complaint(expect: Option<&str>, status: Option<i32>, output: &[u8], truncated: bool) -> Option<String> {
    match status {
        _ if truncated => return Some(format!("more output than is kept, beginning {}", excerpt(output))),
        Some(0) => {}
        Some(status) => return Some(format!("exit status {status}, output {}", excerpt(output))),
        None => return Some(format!("ended by a signal, output {}", excerpt(output))),
    }
    match expect {
        // White space around does not count, and nothing but UTF-8 can equal a text.
        Some(text) if std::str::from_utf8(output).map(str::trim) != Ok(text.trim()) => {
            Some(format!("output {}, expected {text:?}", excerpt(output)))
        }
        _ => None,
    }
}

/// How a probe is named in reasons and logs.
#[must_use]
pub fn describe(probe: &Probe) -> String {
    match probe {
        Probe::Command { arguments, .. } => {
            let words: Vec<_> = arguments.iter().map(|argument| argument.as_str()).collect();
            format!("command `{}`", cut(&words.join(" "), EXCERPT_CHARS_MAX))
        }
        Probe::Tcp { port } => format!("tcp port {port}"),
        Probe::PackageVersion { package, .. } => format!("package {package}"),
    }
}

/// Characters of foreign text quoted in a reason: it must leave room for the sentence around it.
const EXCERPT_CHARS_MAX: usize = 96;

fn excerpt(output: &[u8]) -> String {
    format!("{:?}", cut(String::from_utf8_lossy(output).trim(), EXCERPT_CHARS_MAX))
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

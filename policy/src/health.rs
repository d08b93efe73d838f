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
    /// A web server answered.
    Answered {
        /// Its status.
        status: u16,
        /// The beginning of its answer, as far as it was kept.
        body: Vec<u8>,
    },
    /// The state a service manager says a unit is in.
    Unit(String),
    /// How much is free.
    Free {
        /// Bytes.
        bytes: u64,
    },
    /// The attempt took longer than it may.
    TimedOut,
    /// The attempt could not be made: no such program, connection refused, an unknown parameter.
    Impossible(String),
}

/// What a house asks of its own hosts after every update, beside what vendors ask in their manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HouseProbe {
    /// A command; `{tree}` and `{name}` stand for the installed tree and the host's parameters.
    Command {
        /// Program and arguments.
        arguments: Vec<String>,
        /// What standard output must be, white space at both ends apart; anything if absent.
        expect: Option<String>,
    },
    /// Something accepts a TCP connection on this port of the loopback interface.
    Tcp {
        /// The port, or a `{name}`.
        port: String,
    },
    /// A web server of this host answers.
    Http {
        /// `http://`, a loopback address, a path.
        url: String,
        /// The status it must answer with.
        status: u16,
        /// What the beginning of its answer must contain; anything if absent.
        contains: Option<String>,
    },
    /// A unit of the service manager is active.
    Unit {
        /// Its name.
        unit: String,
    },
    /// The package database of the installed tree says this version.
    PackageVersion {
        /// The package.
        package: String,
        /// The version it must have.
        version: String,
    },
    /// A file system has room left.
    DiskFree {
        /// A path on it.
        path: String,
        /// How much, at the least.
        bytes_min: u64,
    },
    /// The host has memory left.
    MemoryFree {
        /// How much, at the least.
        bytes_min: u64,
    },
}

/// A house's probe with its name and its patience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HouseCheck {
    /// What people call it.
    pub name: String,
    /// What to ask.
    pub probe: HouseProbe,
    /// How long one attempt may take.
    pub timeout_ms: u32,
    /// How many attempts before it counts as failed.
    pub attempts: u16,
    /// How long to wait between attempts.
    pub interval_ms: u32,
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
    let patience = (check.attempts, check.interval_ms);
    judge_last(complaint(&check.probe, last), || describe(&check.probe), patience, observations.len())
}

/// Judges a house's check, as [`judge`] does a manifest's.
#[must_use]
pub fn judge_house(check: &HouseCheck, observations: &[Observation]) -> Judgement {
    let Some(last) = observations.last() else { return Judgement::Again { wait_ms: 0 } };
    let patience = (check.attempts, check.interval_ms);
    judge_last(house_complaint(&check.probe, last), || describe_house(check), patience, observations.len())
}

fn judge_last(
    complaint: Option<String>,
    probe: impl FnOnce() -> String,
    (attempts, interval_ms): (u16, u32),
    made: usize,
) -> Judgement {
    match complaint {
        None => Judgement::Passed,
        // A check that says zero attempts still means to be asked once.
        Some(_) if made < usize::from(attempts) => Judgement::Again { wait_ms: interval_ms },
        Some(cause) => Judgement::Failed(Failure { probe: probe(), attempts: made, cause }),
    }
}

/// The health of all checks together: every one must have passed, and where there is none nobody said that it works.
#[must_use]
pub fn overall<'a>(judgements: impl IntoIterator<Item = &'a Judgement>) -> Health {
    let mut all = None;
    for judgement in judgements {
        all = Some(all.unwrap_or(true) && *judgement == Judgement::Passed);
    }
    match all {
        None => Health::NotRun,
        Some(true) => Health::Passed,
        Some(false) => Health::Failed,
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
        (Probe::PackageVersion { version, .. }, Observation::Package(found)) => {
            version_complaint(version.as_str(), found.as_deref())
        }
        _ => Some("the observation is of another kind of probe".to_owned()),
    }
}

/// The same for a house's probe.
fn house_complaint(probe: &HouseProbe, seen: &Observation) -> Option<String> {
    match (probe, seen) {
        (_, Observation::TimedOut) => Some("no answer in time".to_owned()),
        (_, Observation::Impossible(why)) => Some(why.clone()),
        (HouseProbe::Command { expect, .. }, Observation::Exited { status, output, truncated }) => {
            command_complaint(expect.as_deref(), *status, output, *truncated)
        }
        (HouseProbe::Tcp { .. }, Observation::Connected) => None,
        (HouseProbe::Http { status: wanted, contains, .. }, Observation::Answered { status, body }) => {
            http_complaint(*wanted, contains.as_deref(), *status, body)
        }
        (HouseProbe::Unit { .. }, Observation::Unit(state)) => {
            (state != "active").then(|| format!("it is {}", excerpt(state.as_bytes())))
        }
        (HouseProbe::PackageVersion { version, .. }, Observation::Package(found)) => {
            version_complaint(version, found.as_deref())
        }
        (
            HouseProbe::DiskFree { bytes_min, .. } | HouseProbe::MemoryFree { bytes_min },
            Observation::Free { bytes },
        ) => (bytes < bytes_min).then(|| format!("{bytes} bytes are free, {bytes_min} are wanted")),
        _ => Some("the observation is of another kind of probe".to_owned()),
    }
}

fn version_complaint(wanted: &str, found: Option<&str>) -> Option<String> {
    match found {
        Some(found) if found == wanted => None,
        Some(found) => Some(format!("version is {}, expected {wanted}", excerpt(found.as_bytes()))),
        None => Some("the package database does not know it".to_owned()),
    }
}

fn http_complaint(wanted: u16, contains: Option<&str>, status: u16, body: &[u8]) -> Option<String> {
    if status != wanted {
        return Some(format!("status {status}, expected {wanted}, answer {}", excerpt(body)));
    }
    let text = contains.filter(|text| !body.windows(text.len().max(1)).any(|part| part == text.as_bytes()))?;
    Some(format!("answer {}, expected to contain {text:?}", excerpt(body)))
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

/// How a house's check is named in reasons and logs.
#[must_use]
pub fn describe_house(check: &HouseCheck) -> String {
    let HouseCheck { name, probe, .. } = check;
    let what = match probe {
        HouseProbe::Command { arguments, .. } => format!("command `{}`", cut(&arguments.join(" "), EXCERPT_CHARS_MAX)),
        HouseProbe::Tcp { port } => format!("tcp port {port}"),
        HouseProbe::Http { url, .. } => cut(url, EXCERPT_CHARS_MAX),
        HouseProbe::Unit { unit } => format!("unit {unit}"),
        HouseProbe::PackageVersion { package, .. } => format!("package {package}"),
        HouseProbe::DiskFree { path, .. } => format!("disk {}", cut(path, EXCERPT_CHARS_MAX)),
        HouseProbe::MemoryFree { .. } => "memory".to_owned(),
    };
    format!("{name} ({what})")
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

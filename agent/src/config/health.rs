//! `[health]`: what this house asks of its hosts after every update, beside what manifests ask.

use super::schedule::milliseconds;
use super::{Wrong, wrong};
use crate::probes::house;
use policy::health::{HouseCheck, HouseProbe};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Checks of one host.
const CHECKS_MAX: usize = 32;
/// Longest soak: all of health has an hour ([`crate::probes::HEALTH_DEADLINE`]).
const SOAK_MAX: Duration = Duration::from_secs(30 * 60);
/// Longest attempt, and longest wait between two.
const PATIENCE_MAX: Duration = Duration::from_secs(10 * 60);
/// The shortest and the longest time between two looks at what is installed.
const WATCH: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(24 * 60 * 60)];
/// Attempts of one check.
const ATTEMPTS_MAX: u16 = 1000;
/// Longest text of a check.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// What a house asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The checks.
    pub checks: Vec<HouseCheck>,
    /// How long everything must go on passing before an update is kept.
    pub soak: Duration,
    /// How often it is looked at meanwhile.
    pub interval: Duration,
    /// How often what is installed is looked at between updates; never when there is no time between.
    pub watch: Duration,
    /// What asks the service manager.
    pub systemctl: String,
    /// Whether commands of manifests are run on this host.
    pub manifest_commands: bool,
}

/// `[health]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHealth {
    soak: String,
    interval: String,
    watch: String,
    systemctl: String,
    manifest_commands: bool,
    checks: Vec<RawCheck>,
}

impl Default for RawHealth {
    fn default() -> Self {
        let [soak, interval, watch, systemctl] = ["0s", "10s", "1m", "systemctl"].map(str::to_owned);
        Self { soak, interval, watch, systemctl, manifest_commands: true, checks: Vec::new() }
    }
}

/// One of `[[health.checks]]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawCheck {
    name: String,
    #[serde(default)]
    command: Option<Vec<String>>,
    #[serde(default)]
    expect: Option<String>,
    #[serde(default)]
    tcp: Option<super::raw::Scalar>,
    #[serde(default)]
    http: Option<String>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    contains: Option<String>,
    #[serde(default)]
    unit: Option<String>,
    #[serde(default)]
    package: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    disk: Option<String>,
    #[serde(default)]
    free_mb: Option<u64>,
    #[serde(default)]
    memory_free_mb: Option<u64>,
    #[serde(default = "default_timeout")]
    timeout: String,
    #[serde(default = "default_attempts")]
    attempts: u16,
    #[serde(default = "default_interval")]
    interval: String,
}

fn default_timeout() -> String {
    "5s".to_owned()
}

fn default_attempts() -> u16 {
    3
}

fn default_interval() -> String {
    "2s".to_owned()
}

/// Whether that can be the name of a unit, and is no option.
pub(super) fn is_unit(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@._:\\-".contains(&byte);
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain)
}

pub(super) fn parse(raw: &RawHealth) -> Result<Health, Wrong> {
    if raw.checks.len() > CHECKS_MAX {
        return wrong("health.checks", format!("{} checks, {CHECKS_MAX} at most", raw.checks.len()));
    }
    let interval = milliseconds("health.interval", &raw.interval, PATIENCE_MAX)?;
    if interval == 0 || raw.systemctl.is_empty() {
        return wrong("health", "interval and systemctl cannot be nothing");
    }
    let [shortest, longest] = WATCH;
    let watch = Duration::from_millis(milliseconds("health.watch", &raw.watch, longest)?);
    if !watch.is_zero() && watch < shortest {
        return wrong("health.watch", format!("{}: {} at least", raw.watch, humantime::format_duration(shortest)));
    }
    Ok(Health {
        checks: raw.checks.iter().enumerate().map(parse_check).collect::<Result<_, _>>()?,
        soak: Duration::from_millis(milliseconds("health.soak", &raw.soak, SOAK_MAX)?),
        interval: Duration::from_millis(interval),
        watch,
        systemctl: raw.systemctl.clone(),
        manifest_commands: raw.manifest_commands,
    })
}

fn parse_check((place, raw): (usize, &RawCheck)) -> Result<HouseCheck, Wrong> {
    let field = |part: &str| format!("health.checks[{place}].{part}");
    let patience = |part, text: &str| {
        let ms = milliseconds(&field(part), text, PATIENCE_MAX)?;
        Ok(u32::try_from(ms).unwrap_or(u32::MAX))
    };
    if raw.name.is_empty() || raw.name.len() > 64 || raw.name.chars().any(char::is_control) {
        return wrong(field("name"), "1 to 64 bytes, and nothing that moves a cursor");
    }
    if raw.attempts == 0 || raw.attempts > ATTEMPTS_MAX {
        return wrong(field("attempts"), format!("1 to {ATTEMPTS_MAX}"));
    }
    let timeout_ms = patience("timeout", &raw.timeout)?;
    if timeout_ms == 0 {
        return wrong(field("timeout"), "nothing answers in no time");
    }
    Ok(HouseCheck {
        name: raw.name.clone(),
        probe: parse_probe(raw, &field)?,
        timeout_ms,
        attempts: raw.attempts,
        interval_ms: patience("interval", &raw.interval)?,
    })
}

/// The one probe a check names, with what belongs to it and nothing that does not.
fn parse_probe(raw: &RawCheck, field: &dyn Fn(&str) -> String) -> Result<HouseProbe, Wrong> {
    let mut named = Vec::new();
    if let Some(arguments) = raw.command.clone().filter(|words| words.first().is_some_and(|word| !word.is_empty())) {
        named.push(HouseProbe::Command { arguments, expect: raw.expect.clone() });
    }
    if let Some(port) = &raw.tcp {
        named.push(HouseProbe::Tcp { port: port.text() });
    }
    if let Some(url) = raw.http.clone() {
        if url.len() > TEXT_BYTES_MAX || !url.starts_with("http://") {
            return wrong(field("http"), "must begin with http:// and a loopback address");
        }
        // A parameter may stand for the port; what it comes to is looked at again.
        if !url.contains('{') {
            house::loopback(&url).or_else(|problem| wrong(field("http"), problem))?;
        }
        named.push(HouseProbe::Http { url, status: raw.status.unwrap_or(200), contains: raw.contains.clone() });
    }
    if let Some(unit) = raw.unit.clone() {
        if !is_unit(&unit) {
            return wrong(field("unit"), format!("{unit:?} is no unit"));
        }
        named.push(HouseProbe::Unit { unit });
    }
    if let (Some(package), Some(version)) = (raw.package.clone(), raw.version.clone()) {
        // It becomes part of a path.
        if ledger::bounded::Name::new(&package).is_err() {
            return wrong(field("package"), format!("{package:?} is no package"));
        }
        named.push(HouseProbe::PackageVersion { package, version });
    }
    const MB: u64 = 1_000_000;
    if let (Some(path), Some(free_mb)) = (raw.disk.clone(), raw.free_mb) {
        named.push(HouseProbe::DiskFree { path, bytes_min: free_mb.saturating_mul(MB) });
    }
    if let Some(free_mb) = raw.memory_free_mb {
        named.push(HouseProbe::MemoryFree { bytes_min: free_mb.saturating_mul(MB) });
    }
    let alone = [
        (raw.expect.is_some(), raw.command.is_some(), "expect belongs to command"),
        (raw.status.is_some() || raw.contains.is_some(), raw.http.is_some(), "status and contains belong to http"),
        (raw.version.is_some(), raw.package.is_some(), "version belongs to package"),
        (raw.free_mb.is_some(), raw.disk.is_some(), "free_mb belongs to disk"),
    ];
    if let Some((_, _, problem)) = alone.into_iter().find(|(detail, probe, _)| *detail && !probe) {
        return wrong(field("name"), problem);
    }
    match (named.pop(), named.pop()) {
        (Some(probe), None) => Ok(probe),
        _ => wrong(
            field("name"),
            "a check is exactly one of command, tcp, http, unit, package and version, disk and free_mb, memory_free_mb",
        ),
    }
}

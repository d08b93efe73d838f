//! `[schedule]` and `[[windows]]`: when something may be changed on this host.

use super::{Wrong, wrong};
use ledger::patch::Severity;
use policy::schedule::{BLACKOUTS_MAX, Blackout, DURATION_MS_MAX, Missed, Schedule, ScheduleError, WINDOWS_MAX};
use policy::schedule::{Window, Zone};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Longest text of a duration.
const DURATION_BYTES_MAX: usize = 32;
/// Longest deadline: ten years.
const DEADLINE_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// `[schedule]` as it stands in the file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSchedule {
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    blackout: Vec<String>,
    #[serde(default)]
    missed: RawMissed,
    #[serde(default)]
    urgent: Vec<String>,
    #[serde(default)]
    urgent_in_blackout: bool,
    #[serde(default)]
    deadline: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum RawMissed {
    #[default]
    Next,
    CatchUp,
    AsSoonAsPossible,
}

/// One of `[[windows]]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWindow {
    name: String,
    #[serde(default)]
    rrule: Option<String>,
    #[serde(default)]
    start: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    cron: Option<String>,
    duration: String,
    #[serde(default)]
    time_zone: Option<String>,
}

pub(super) fn parse(raw: &RawSchedule, windows: &[RawWindow]) -> Result<Schedule, Wrong> {
    let zone = raw.time_zone.as_deref().map_or(Ok(Zone::utc()), Zone::named);
    let zone = zone.or_else(|error| wrong("schedule.time_zone", error))?;
    if raw.blackout.len() > BLACKOUTS_MAX {
        let problem = format!("{} blackouts, {BLACKOUTS_MAX} at most", raw.blackout.len());
        return wrong("schedule.blackout", problem);
    }
    let blackout =
        |text: &String| Blackout::parse(text, zone.clone()).or_else(|error| wrong("schedule.blackout", error));
    let blackouts: Vec<_> = raw.blackout.iter().map(blackout).collect::<Result<_, _>>()?;
    let (emergencies, severities): (Vec<_>, Vec<_>) = raw.urgent.iter().partition(|word| *word == "emergency");
    let urgent = severities.into_iter().map(|word| severity("schedule.urgent", word));
    Ok(Schedule {
        windows: parse_windows(windows, &zone)?,
        blackouts,
        missed: match raw.missed {
            RawMissed::Next => Missed::Next,
            RawMissed::CatchUp => Missed::CatchUp,
            RawMissed::AsSoonAsPossible => Missed::AsSoonAsPossible,
        },
        deadlines_ms: raw.deadline.iter().map(parse_deadline).collect::<Result<_, _>>()?,
        urgent: urgent.collect::<Result<BTreeSet<_>, _>>()?,
        emergency_is_urgent: !emergencies.is_empty(),
        urgent_in_blackout: raw.urgent_in_blackout,
        zone,
    })
}

fn parse_windows(raw: &[RawWindow], zone: &Zone) -> Result<Vec<Window>, Wrong> {
    if raw.len() > WINDOWS_MAX {
        return wrong("windows", format!("{} windows, {WINDOWS_MAX} at most", raw.len()));
    }
    if let Some(twice) =
        raw.iter().enumerate().find(|(place, of)| raw[..*place].iter().any(|other| other.name == of.name))
    {
        return wrong("windows", format!("{:?} occurs twice", twice.1.name));
    }
    raw.iter().enumerate().map(|(place, raw)| parse_window(place, raw, zone)).collect()
}

fn parse_window(place: usize, raw: &RawWindow, zone: &Zone) -> Result<Window, Wrong> {
    let field = |part: &str| format!("windows[{place}].{part}");
    let own = raw.time_zone.as_deref().map(Zone::named).transpose();
    let zone = own.or_else(|error| wrong(field("time_zone"), error))?.unwrap_or_else(|| zone.clone());
    let duration_ms = milliseconds(&field("duration"), &raw.duration, Duration::from_millis(DURATION_MS_MAX))?;
    let from = raw.from.as_deref();
    let window = match (&raw.rrule, &raw.start, &raw.cron) {
        (Some(rule), Some(start), None) => Window::by_rule(&raw.name, rule, from, start, duration_ms, zone),
        (None, None, Some(pattern)) if from.is_none() => Window::by_pattern(&raw.name, pattern, duration_ms, zone),
        (Some(_), None, None) => return wrong(field("start"), "missing: the hour of the day, as in \"22:00\""),
        (None, _, Some(_)) => {
            return wrong(field("cron"), "a pattern says its hours and days itself, without start and from");
        }
        _ => return wrong(&*field("rrule"), "either rrule and start, or cron, says when the window opens"),
    };
    window.or_else(|error| wrong(field(said_in(&error)), error))
}

/// The field of a window that says what is wrong with it.
fn said_in(error: &ScheduleError) -> &'static str {
    match error {
        ScheduleError::Rrule { .. } => "rrule",
        ScheduleError::Cron { .. } => "cron",
        ScheduleError::Hour(_) => "start",
        ScheduleError::Day(_) => "from",
        ScheduleError::WindowName => "name",
        ScheduleError::Duration { .. } => "duration",
        ScheduleError::UnknownZone(_) => "time_zone",
        ScheduleError::Blackout(_) => "blackout",
    }
}

fn parse_deadline((word, text): (&String, &String)) -> Result<(Severity, u64), Wrong> {
    let field = format!("schedule.deadline.{word}");
    Ok((severity("schedule.deadline", word)?, milliseconds(&field, text, DEADLINE_MAX)?))
}

fn severity(field: &str, word: &str) -> Result<Severity, Wrong> {
    match word {
        "low" => Ok(Severity::Low),
        "moderate" => Ok(Severity::Moderate),
        "important" => Ok(Severity::Important),
        "critical" => Ok(Severity::Critical),
        _ => wrong(field, format!("{word:?} is no severity: low, moderate, important, critical")),
    }
}

/// `3h`, `14d`, `1h 30m`.
pub(super) fn milliseconds(field: &str, text: &str, most: Duration) -> Result<u64, Wrong> {
    if text.len() > DURATION_BYTES_MAX {
        return wrong(field, "too long a text for a duration");
    }
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= most => Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        Ok(_) => wrong(field, format!("{text}: {} at most", humantime::format_duration(most))),
        Err(error) => wrong(field, format!("{text:?} is no duration, as in 3h or 14d: {error}")),
    }
}

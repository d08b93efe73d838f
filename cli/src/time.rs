//! Times and durations as people write and read them. The one clock of this room is here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The last millisecond that has a four-digit year.
const RFC3339_MS_MAX: u64 = 253_402_300_799_999;

/// Milliseconds since 1970-01-01 UTC, now.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time for people: RFC 3339 in UTC, or the bare number when no calendar has it.
#[must_use]
pub fn show(time_ms: u64) -> String {
    if time_ms > RFC3339_MS_MAX {
        return format!("{time_ms} ms");
    }
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(time_ms)).to_string()
}

/// A duration for people.
#[must_use]
pub fn show_duration(duration_ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(duration_ms)).to_string()
}

/// A duration for people who want to know about how long it is: its two largest units.
#[must_use]
pub fn show_about(duration_ms: u64) -> String {
    let whole_seconds = if duration_ms < 1_000 { duration_ms } else { duration_ms / 1_000 * 1_000 };
    show_duration(whole_seconds).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A moment: milliseconds since 1970, or RFC 3339.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_moment(text: &str) -> Result<u64, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| "too many milliseconds".to_owned());
    }
    let wrong = |_| "expected milliseconds since 1970 or RFC 3339, for instance 2026-01-31T12:00:00Z".to_owned();
    let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(wrong)?;
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).map_err(|_| "a time before 1970".to_owned())
}

/// A duration: `90s`, `24h`, `1h 30m`, in milliseconds.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = |_| "expected a number with its unit, for instance 500ms, 90s, 24h or 7d".to_owned();
    let duration = humantime::parse_duration(text).map_err(wrong)?;
    u64::try_from(duration.as_millis()).map_err(|_| "too long".to_owned())
}

/// A duration with its unit, or a bare number of milliseconds.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_milliseconds(text: &str) -> Result<u64, String> {
    text.parse().or_else(|_| parse_duration(text))
}

//! What comes back: days by an RFC 5545 rule, or minutes by a cron pattern, both on the clock on the
//! wall. Where and when that clock hangs is [`super::Zone`]'s business, so daylight saving is decided
//! in one place, and what the two libraries think of it does not matter.

use super::ScheduleError;
use chrono::TimeZone as _;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Span;
use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::TimeZone;
use rrule::{RRule, RRuleSet, Unvalidated};

/// Longest rule or pattern.
pub const RECURRENCE_BYTES_MAX: usize = 256;
/// Parts of a rule. What says hours is not among them: that is what `start` is for, and a rule of days
/// cannot come back every second.
const RULE_PARTS: &[&str] = &[
    "FREQ",
    "INTERVAL",
    "COUNT",
    "UNTIL",
    "BYDAY",
    "BYMONTHDAY",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYMONTH",
    "BYSETPOS",
    "WKST",
];
/// How many days back the newest one is looked for: near first, so that rules of every day are not
/// unrolled for years.
const DAYS_BACK: &[u16] = &[8, 64, 512, 4_096, 32_768];
/// Whether anything comes back at all is looked for from here on, for rules without a first day.
const EPOCH: Date = date(2000, 1, 1);

/// What comes back.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Recurrence {
    Days(Box<Days>),
    Minutes(Box<Minutes>),
}

/// Days by a rule, at one hour.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Days {
    rule: RRule<Unvalidated>,
    text: String,
    start: Time,
    /// The first day it may be.
    from: Option<Date>,
    /// Whether it also counts from there: every second week is another one when counted from elsewhere.
    counts_from: bool,
}

/// Minutes by a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Minutes {
    pattern: Cron,
    text: String,
}

impl Recurrence {
    pub(super) fn rrule(text: &str, from: Option<Date>, start: Time) -> Result<Self, ScheduleError> {
        let wrong = |problem: String| ScheduleError::Rrule { rule: excerpt(text), problem };
        if text.len() > RECURRENCE_BYTES_MAX {
            return Err(wrong(format!("longer than {RECURRENCE_BYTES_MAX} bytes")));
        }
        // What libraries say of it may quote it.
        if text.chars().any(char::is_control) {
            return Err(wrong("it has what moves a cursor".to_owned()));
        }
        let bare = text.strip_prefix("RRULE:").unwrap_or(text);
        let parts = parts(bare).map_err(wrong)?;
        let has = |name: &str| parts.iter().any(|(part, _)| *part == name);
        let counts_from = parts.iter().any(|(part, value)| *part == "INTERVAL" && *value != "1")
            || has("COUNT")
            || !names_its_days(&parts);
        if counts_from && from.is_none() {
            return Err(wrong("needs `from`, the day it counts from".to_owned()));
        }
        let rule = parts.iter().map(|(part, value)| match *part {
            // Days are midnights to the library, on a clock that never jumps.
            "UNTIL" => format!("UNTIL={value}T000000Z"),
            part => format!("{part}={value}"),
        });
        let rule =
            rule.collect::<Vec<_>>().join(";").parse().map_err(|error: rrule::RRuleError| wrong(error.to_string()))?;
        let days = Days { rule, text: bare.to_owned(), start, from, counts_from };
        days.set(from.unwrap_or(EPOCH)).map_err(|error| wrong(error.to_string()))?;
        if days.after(from.unwrap_or(EPOCH).to_datetime(Time::midnight())).is_none() {
            return Err(wrong("never happens".to_owned()));
        }
        Ok(Self::Days(Box::new(days)))
    }

    pub(super) fn cron(text: &str) -> Result<Self, ScheduleError> {
        let wrong = |problem: String| ScheduleError::Cron { pattern: excerpt(text), problem };
        if text.len() > RECURRENCE_BYTES_MAX || !text.is_ascii() {
            return Err(wrong(format!("longer than {RECURRENCE_BYTES_MAX} bytes, or not ASCII")));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong("it has what moves a cursor".to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(text).map_err(|error| match wrong_part(&parser, text) {
            Some((name, part, error)) => wrong(format!("{name} {part:?}: {error}")),
            None => wrong(error.to_string()),
        })?;
        let minutes = Minutes { pattern, text: text.to_owned() };
        match minutes.after(EPOCH.to_datetime(Time::midnight())) {
            Some(_) => Ok(Self::Minutes(Box::new(minutes))),
            None => Err(wrong("never happens".to_owned())),
        }
    }

    /// The first one after a time on the wall.
    pub(super) fn after(&self, wall: DateTime) -> Option<DateTime> {
        match self {
            Self::Days(days) => days.after(wall),
            Self::Minutes(minutes) => minutes.after(wall),
        }
    }

    /// The last one at or before a time on the wall, if it is not before `earliest`.
    pub(super) fn until(&self, wall: DateTime, earliest: DateTime) -> Option<DateTime> {
        match self {
            Self::Days(days) => days.until(wall, earliest),
            Self::Minutes(minutes) => minutes.until(wall).filter(|found| *found >= earliest),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Days(days) => format!("{} at {}", days.text, days.start.strftime("%H:%M")),
            Self::Minutes(minutes) => minutes.text.clone(),
        }
    }
}

/// The parts of a cron pattern, in their order.
const PATTERN_PARTS: [&str; 5] = ["minute", "hour", "day", "month", "weekday"];

/// The first part of a cron pattern that cannot be even by itself: its name, what it says, and what is wrong with it.
fn wrong_part<'a>(parser: &CronParser, text: &'a str) -> Option<(&'static str, &'a str, croner::errors::CronError)> {
    let parts: Vec<_> = text.split_ascii_whitespace().collect();
    if parts.len() != PATTERN_PARTS.len() {
        return None;
    }
    let alone = |place: usize| {
        let mut pattern = ["*"; PATTERN_PARTS.len()];
        pattern[place] = parts[place];
        parser.parse(&pattern.join(" ")).err()
    };
    (0..parts.len()).find_map(|place| Some((PATTERN_PARTS[place], parts[place], alone(place)?)))
}

/// `NAME=VALUE;…`, as far as it is about days.
fn parts(rule: &str) -> Result<Vec<(&str, &str)>, String> {
    let mut parts: Vec<(&str, &str)> = Vec::new();
    for part in rule.split(';') {
        let Some((name, value)) = part.split_once('=') else { return Err(format!("{part:?} is no NAME=VALUE")) };
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b',' | b'-' | b'+');
        match name {
            "BYHOUR" | "BYMINUTE" | "BYSECOND" => return Err(format!("{name}: the hour is said by `start`")),
            _ if !RULE_PARTS.contains(&name) => return Err(format!("{name:?} is not known here")),
            _ if value.is_empty() || !value.bytes().all(plain) => return Err(format!("{name}={value:?} cannot be")),
            _ if parts.iter().any(|(earlier, _)| *earlier == name) => return Err(format!("{name} occurs twice")),
            "UNTIL" if !(value.len() == 8 && value.bytes().all(|byte| byte.is_ascii_digit())) => {
                return Err(format!("UNTIL={value}: a day is wanted, as in UNTIL=20271231"));
            }
            "FREQ" if !["DAILY", "WEEKLY", "MONTHLY", "YEARLY"].contains(&value) => {
                return Err(format!("FREQ={value}: DAILY, WEEKLY, MONTHLY or YEARLY is wanted"));
            }
            "INTERVAL" if value.parse::<u16>().map_or(true, |interval| interval == 0) => {
                return Err(format!("INTERVAL={value} is no interval"));
            }
            "COUNT" if value.parse::<u32>().map_or(true, |count| count == 0) => return Err(format!("COUNT={value}")),
            _ => parts.push((name, value)),
        }
    }
    match parts.iter().any(|(name, _)| *name == "FREQ") {
        true => Ok(parts),
        false => Err("FREQ is missing".to_owned()),
    }
}

/// Whether a rule says which days of its period it means; else the day it counts from says so.
fn names_its_days(parts: &[(&str, &str)]) -> bool {
    let has = |name: &str| parts.iter().any(|(part, _)| *part == name);
    match parts.iter().find(|(part, _)| *part == "FREQ").map(|(_, frequency)| *frequency) {
        Some("DAILY") => true,
        Some("WEEKLY") => has("BYDAY"),
        Some("MONTHLY") => has("BYDAY") || has("BYMONTHDAY"),
        _ => has("BYDAY") || has("BYMONTHDAY") || has("BYYEARDAY"),
    }
}

impl Days {
    /// The rule, begun so that days from `wanted` on are soon reached: a rule that counts from a day is
    /// begun there, another one the year before.
    fn set(&self, wanted: Date) -> Result<RRuleSet, rrule::RRuleError> {
        let before = date(wanted.year().saturating_sub(1).max(1), 1, 1);
        let begin = match self.from {
            Some(from) if self.counts_from => from,
            Some(from) => from.max(before),
            None => before,
        };
        // Bounded by the library: so many steps without a day, and it is over.
        Ok(self.rule.clone().build(midnight(begin))?.limit())
    }

    fn after(&self, wall: DateTime) -> Option<DateTime> {
        let found = self.set(wall.date()).ok()?.after(midnight(wall.date())).all(2).dates;
        found.iter().filter_map(|day| self.at(day)).find(|day| *day > wall)
    }

    fn until(&self, wall: DateTime, earliest: DateTime) -> Option<DateTime> {
        for days in DAYS_BACK {
            let first =
                wall.checked_sub(Span::new().days(i64::from(*days))).map_or(earliest, |first| first.max(earliest));
            let set = self.set(first.date()).ok()?.after(midnight(first.date())).before(midnight(wall.date()));
            let found = set.all(days.saturating_add(2)).dates;
            let last = found.iter().rev().filter_map(|day| self.at(day)).find(|day| *day <= wall);
            if last.is_some() || first == earliest {
                return last.filter(|last| *last >= earliest);
            }
        }
        None
    }

    fn at(&self, day: &chrono::DateTime<rrule::Tz>) -> Option<DateTime> {
        use chrono::Datelike as _;
        let (year, month, day) = (i16::try_from(day.year()), i8::try_from(day.month()), i8::try_from(day.day()));
        Some(Date::new(year.ok()?, month.ok()?, day.ok()?).ok()?.to_datetime(self.start))
    }
}

impl Minutes {
    fn after(&self, wall: DateTime) -> Option<DateTime> {
        let wall = wall.to_zoned(TimeZone::UTC).ok()?;
        self.pattern.find_next_occurrence(&wall, false).ok().map(|found| found.datetime())
    }

    fn until(&self, wall: DateTime) -> Option<DateTime> {
        let wall = wall.to_zoned(TimeZone::UTC).ok()?;
        self.pattern.find_previous_occurrence(&wall, true).ok().map(|found| found.datetime())
    }
}

/// A day as the library has it.
fn midnight(day: Date) -> chrono::DateTime<rrule::Tz> {
    let month_and_day = (day.month().unsigned_abs().into(), day.day().unsigned_abs().into());
    let at = rrule::Tz::UTC.with_ymd_and_hms(day.year().into(), month_and_day.0, month_and_day.1, 0, 0, 0);
    at.single().expect("a day of one calendar is a day of the other, and UTC has every midnight once")
}

/// Text from outside in a refusal.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

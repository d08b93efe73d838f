//! Windows: when something may be changed.

use super::recurrence::Recurrence;
use super::{ScheduleError, Zone};
use jiff::Span;
use jiff::civil::{DateTime, Time};

/// Shortest window.
pub const DURATION_MS_MIN: u64 = 60 * 1000;
/// Longest window.
pub const DURATION_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// Longest name.
pub const WINDOW_NAME_BYTES_MAX: usize = 64;
/// Steps from one time on the wall to the next until time itself moves on: clocks are put back by a
/// day at the most, and patterns come back once a minute at the most.
const STEPS_MAX: usize = 24 * 60 + 1;

/// When something may be changed: again and again, for a while each time.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    name: String,
    recurrence: Recurrence,
    duration_ms: u64,
    zone: Zone,
}

/// Both halves of the comparison are reflexive: there is no floating point in a calendar.
impl Eq for Window {}

/// One time a window is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The window's name.
    pub window: String,
    /// From then on.
    pub from_ms: u64,
    /// Until then; not any more at that moment.
    pub until_ms: u64,
}

impl Window {
    /// A window on days by an RFC 5545 rule (`FREQ=MONTHLY;BYDAY=2TU`), from `start` (`22:00`) on. `from`
    /// (`2026-01-13`) is the first day it may be, and the one that intervals count from.
    ///
    /// # Errors
    /// [`ScheduleError`] when that is no rule, or never happens.
    pub fn by_rule(
        name: &str,
        rule: &str,
        from: Option<&str>,
        start: &str,
        duration_ms: u64,
        zone: Zone,
    ) -> Result<Self, ScheduleError> {
        let from = from.map(super::parse_day).transpose()?;
        Self::new(name, Recurrence::rrule(rule, from, parse_hour(start)?)?, duration_ms, zone)
    }

    /// A window from the minutes of a cron pattern (`0 22 * * TUE#2`) on.
    ///
    /// # Errors
    /// [`ScheduleError`] when that is no pattern, or never happens.
    pub fn by_pattern(name: &str, pattern: &str, duration_ms: u64, zone: Zone) -> Result<Self, ScheduleError> {
        Self::new(name, Recurrence::cron(pattern)?, duration_ms, zone)
    }

    fn new(name: &str, recurrence: Recurrence, duration_ms: u64, zone: Zone) -> Result<Self, ScheduleError> {
        if name.is_empty() || name.len() > WINDOW_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(ScheduleError::WindowName);
        }
        if !(DURATION_MS_MIN..=DURATION_MS_MAX).contains(&duration_ms) {
            return Err(ScheduleError::Duration { duration_ms });
        }
        Ok(Self { name: name.to_owned(), recurrence, duration_ms, zone })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The zone its hours are of.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// How long it is open.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        self.duration_ms
    }

    /// When it comes back, in the words of the configuration.
    #[must_use]
    pub fn recurrence(&self) -> String {
        self.recurrence.text()
    }

    /// The last time it opened at or before a moment, if it could still be open at `since_ms`.
    #[must_use]
    pub fn last_opening(&self, at_ms: u64, since_ms: u64) -> Option<Opening> {
        let wall = self.zone.wall(at_ms);
        // Where clocks were put back, what the wall shows later may have begun already.
        let mut last = None;
        for next in self.starts_after(wall).take(STEPS_MAX) {
            match self.zone.first_moment(next) {
                Some(from_ms) if from_ms <= at_ms => last = Some(from_ms),
                _ => break,
            }
        }
        let earliest = self.zone.wall(since_ms.saturating_sub(self.duration_ms));
        // A clock put forward shows more time than has passed.
        let earliest = earliest.checked_sub(Span::new().days(1)).unwrap_or(DateTime::MIN);
        let last = last.or_else(|| self.zone.first_moment(self.recurrence.until(wall, earliest)?));
        last.map(|from_ms| self.opening(from_ms)).filter(|opening| opening.until_ms > since_ms)
    }

    /// The first time it opens after a moment.
    #[must_use]
    pub fn next_opening(&self, after_ms: u64) -> Option<Opening> {
        let starts = self.starts_after(self.zone.wall(after_ms)).take(STEPS_MAX);
        let mut moments = starts.filter_map(|wall| self.zone.first_moment(wall));
        moments.find(|from_ms| *from_ms > after_ms).map(|from_ms| self.opening(from_ms))
    }

    fn starts_after(&self, wall: DateTime) -> impl Iterator<Item = DateTime> {
        std::iter::successors(self.recurrence.after(wall), |wall| self.recurrence.after(*wall))
    }

    fn opening(&self, from_ms: u64) -> Opening {
        Opening { window: self.name.clone(), from_ms, until_ms: from_ms.saturating_add(self.duration_ms) }
    }
}

/// `22:00`.
fn parse_hour(text: &str) -> Result<Time, ScheduleError> {
    let wrong = || ScheduleError::Hour(text.chars().take(16).collect());
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<i8>().map_err(|_| wrong()),
        false => Err(wrong()),
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| wrong())
}

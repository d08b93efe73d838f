//! Time zones: what the clock on a wall shows, and when it shows it first.

use super::ScheduleError;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// Longest name of a time zone.
const NAME_BYTES_MAX: usize = 64;

/// A time zone by its IANA name. Its rules are those this program was built with, and not the host's:
/// the same configuration means the same moments everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// Finds a zone (`Europe/Berlin`).
    ///
    /// # Errors
    /// [`ScheduleError::UnknownZone`].
    pub fn named(name: &str) -> Result<Self, ScheduleError> {
        let unknown = || ScheduleError::UnknownZone(name.chars().take(NAME_BYTES_MAX).collect());
        if name.len() > NAME_BYTES_MAX {
            return Err(unknown());
        }
        let rules = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
        Ok(Self { name: rules.iana_name().unwrap_or(name).to_owned(), rules })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the clock on the wall shows.
    pub(super) fn wall(&self, at_ms: u64) -> DateTime {
        self.rules.to_datetime(moment(at_ms))
    }

    /// The first moment at which the clock on the wall shows this, or, where the clock is put forward
    /// past it, something later. One rule for every day of the year: what falls into the hour that does
    /// not exist begins when the clock jumps, what falls into the hour that exists twice begins the
    /// first time. Later on the wall is never earlier in time.
    pub(super) fn first_moment(&self, wall: DateTime) -> Option<u64> {
        let at = match self.rules.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok()?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok()?,
            AmbiguousOffset::Gap { before, .. } => {
                let after_the_jump = before.to_timestamp(wall).ok()?;
                let next = after_the_jump.checked_add(SignedDuration::from_nanos(1)).ok()?;
                self.rules.preceding(next).next()?.timestamp()
            }
        };
        u64::try_from(at.as_millisecond()).ok()
    }

    /// The first moment of a day.
    pub(super) fn day(&self, date: Date) -> Option<u64> {
        self.first_moment(date.to_datetime(jiff::civil::Time::midnight()))
    }

    /// A moment for people: on the wall, and in UTC.
    #[must_use]
    pub fn show(&self, at_ms: u64) -> String {
        let utc = Self::utc().wall(at_ms).strftime("%Y-%m-%d %H:%M");
        if self.rules == TimeZone::UTC {
            return format!("{utc} UTC");
        }
        format!("{} {} ({utc} UTC)", self.wall(at_ms).strftime("%Y-%m-%d %H:%M"), self.name)
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// As far as calendars go: year 9999.
fn moment(at_ms: u64) -> Timestamp {
    i64::try_from(at_ms).ok().and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok()).unwrap_or(Timestamp::MAX)
}

//! Times as people read them: the numbers of the protocol are milliseconds, what refusals say is not.

use std::fmt;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// The first millisecond without a four-digit year.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

/// A time in milliseconds since 1970-01-01 UTC, shown as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(at_ms) = *self;
        if at_ms >= YEAR_10000_MS {
            return write!(f, "{at_ms} ms");
        }
        let (year, month, day) = date(at_ms / DAY_MS);
        let (hour, minute) = (at_ms % DAY_MS / HOUR_MS, at_ms % HOUR_MS / MINUTE_MS);
        let (second, ms) = (at_ms % MINUTE_MS / SECOND_MS, at_ms % SECOND_MS);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// Year, month and day of a number of days since 1970-01-01, counted in cycles of 400 years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

/// A length of time in milliseconds, shown exactly, in the units people count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (mut left_ms, mut between) = (self.0, "");
        for (unit_ms, unit) in [(DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s"), (1, "ms")] {
            if left_ms >= unit_ms {
                write!(f, "{between}{}{unit}", left_ms / unit_ms)?;
                (left_ms, between) = (left_ms % unit_ms, " ");
            }
        }
        Ok(())
    }
}

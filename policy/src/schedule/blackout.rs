//! Blackouts: days on which nothing is changed, whatever the windows say.

use super::{ScheduleError, Zone, parse_day};
use jiff::civil::{Date, date};
use std::fmt;

/// Longest text.
const TEXT_BYTES_MAX: usize = 32;

/// Days on which nothing is changed, first and last included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blackout {
    text: String,
    days: Days,
    zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Days {
    Once {
        first: Date,
        last: Date,
    },
    /// Month and day; over the turn of the year where the first is after the last.
    Yearly {
        first: (i8, i8),
        last: (i8, i8),
    },
}

impl Blackout {
    /// `2026-12-20/2027-01-06`, one day `2026-05-01`, or, every year, `12-24/01-01` and `05-01`.
    ///
    /// # Errors
    /// [`ScheduleError::Blackout`], [`ScheduleError::Day`].
    pub fn parse(text: &str, zone: Zone) -> Result<Self, ScheduleError> {
        let wrong = || ScheduleError::Blackout(text.chars().take(TEXT_BYTES_MAX).collect());
        if text.len() > TEXT_BYTES_MAX || !text.is_ascii() {
            return Err(wrong());
        }
        let (first, last) = text.split_once('/').unwrap_or((text, text));
        let days = match (parse_month_and_day(first), parse_month_and_day(last)) {
            (Some(first), Some(last)) => Days::Yearly { first, last },
            _ => Days::Once { first: parse_day(first)?, last: parse_day(last)? },
        };
        match days {
            Days::Once { first, last } if first > last => Err(wrong()),
            days => Ok(Self { text: text.to_owned(), days, zone }),
        }
    }

    /// The end of it, if it covers a moment: the first moment that it does not.
    #[must_use]
    pub fn end(&self, at_ms: u64) -> Option<u64> {
        let today = self.zone.wall(at_ms).date();
        let last = match self.days {
            Days::Once { first, last } => (first..=last).contains(&today).then_some(last),
            Days::Yearly { first, last } => [today.year() - 1, today.year()].into_iter().find_map(|year| {
                let over_the_turn = i16::from(first > last);
                let (first, last) = (day_of(year, first), day_of(year + over_the_turn, last));
                (first..=last).contains(&today).then_some(last)
            }),
        }?;
        // A moment that is shown twice may be the first one of the day after, and still not be after.
        self.zone.day(last.tomorrow().ok()?).filter(|end| *end > at_ms)
    }

    /// What it says in the configuration.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Blackout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `12-24`; 29 February, too.
fn parse_month_and_day(text: &str) -> Option<(i8, i8)> {
    let day = (text.len() == 5).then(|| parse_day(&format!("2000-{text}")).ok())??;
    Some((day.month(), day.day()))
}

/// 29 February is the 28th where there is none.
fn day_of(year: i16, (month, day): (i8, i8)) -> Date {
    let first = date(year.clamp(1, 9998), month, 1);
    first.with().day(day.min(first.days_in_month())).build().unwrap_or(first)
}

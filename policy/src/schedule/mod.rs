//! When something may be changed on a host: windows, blackouts, deadlines, and what happens with a
//! window that was slept through.
//!
//! One sentence decides all of daylight saving ([`Zone`]): a window begins at the first moment at
//! which the clock on the wall shows its hour, or, where the clock is put forward past it, at the jump;
//! and it lasts as long as it says, in time that passes. So an hour that does not exist begins when it
//! would have, an hour that exists twice begins the first time, and every window opens once.

mod blackout;
mod recurrence;
mod window;
mod zone;

pub use blackout::Blackout;
pub use recurrence::RECURRENCE_BYTES_MAX;
pub use window::{DURATION_MS_MAX, DURATION_MS_MIN, Opening, WINDOW_NAME_BYTES_MAX, Window};
pub use zone::Zone;

use jiff::civil::Date;
use ledger::patch::Severity;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Windows of one host.
pub const WINDOWS_MAX: usize = 16;
/// Blackouts of one host.
pub const BLACKOUTS_MAX: usize = 64;
/// How often a search goes on behind a blackout. What is not found then is not in sight.
const HOPS_MAX: usize = 512;

/// What is wrong with the words of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// No such zone.
    #[error("{0:?} is no time zone: a name like Europe/Berlin is wanted")]
    UnknownZone(String),
    /// Not an RFC 5545 rule of days.
    #[error("{rule:?}: {problem}")]
    Rrule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Not a cron pattern.
    #[error("{pattern:?}: {problem}")]
    Cron {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Not an hour.
    #[error("{0:?} is no hour: HH:MM is wanted, as in 22:00")]
    Hour(String),
    /// Not a day.
    #[error("{0:?} is no day: YYYY-MM-DD is wanted")]
    Day(String),
    /// Not a blackout.
    #[error("{0:?} is no blackout: a day, or first/last, as in 2026-12-20/2027-01-06, or every year 12-24/01-01")]
    Blackout(String),
    /// Not a name.
    #[error("a window's name has 1 to {WINDOW_NAME_BYTES_MAX} bytes, and nothing that moves a cursor")]
    WindowName,
    /// Too short, or too long.
    #[error("a window lasts {} s to {} s, not {} s", DURATION_MS_MIN / 1000, DURATION_MS_MAX / 1000, duration_ms / 1000)]
    Duration {
        /// How long it should be.
        duration_ms: u64,
    },
}

/// What happens with what was due in a window that the host slept through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// It waits for the next one.
    #[default]
    Next,
    /// It has as long as the window was, from when the host is awake again.
    CatchUp,
    /// It is done as soon as the host is awake again, however long that takes.
    AsSoonAsPossible,
}

/// When something may be changed on a host. The default: at any hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// When it may; at any hour, if there is none.
    pub windows: Vec<Window>,
    /// When it may not, whatever the windows say.
    pub blackouts: Vec<Blackout>,
    /// What happens with what was due in a window that the host slept through.
    pub missed: Missed,
    /// How long a patch of a severity waits for a window at the most.
    pub deadlines_ms: BTreeMap<Severity, u64>,
    /// Severities that wait for no window.
    pub urgent: BTreeSet<Severity>,
    /// Whether what was approved under an emergency rule waits for no window.
    pub emergency_is_urgent: bool,
    /// Whether what is urgent waits for no blackout either.
    pub urgent_in_blackout: bool,
    /// The zone of blackouts, and of what people are shown.
    pub zone: Zone,
}

/// What a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// How bad it is not to have the patch.
    pub severity: Severity,
    /// Whether it was approved under an emergency rule, and not under the ordinary one.
    pub emergency: bool,
    /// Since when it could have been installed here.
    pub since_ms: u64,
    /// Since when the host is awake.
    pub awake_since_ms: u64,
}

/// Why something may be changed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// There are no windows.
    AtAnyHour,
    /// A window is open.
    Window(Opening),
    /// It is urgent.
    Urgent,
    /// It has waited long enough.
    Deadline,
    /// This window was slept through.
    Missed(Opening),
}

/// "Not yet", with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The first moment at which it may be, if nothing changes; none is in sight without it.
    pub until_ms: Option<u64>,
    /// What is in the way.
    pub because: Because,
    /// The first moment, for people.
    until: String,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// A blackout, as the configuration has it.
    Blackout(String),
    /// No window is open.
    NoWindow,
    /// The host has to restart for it, and may not before it would be taken back.
    NoRestart,
}

impl Wait {
    /// The same wait, for another reason.
    pub(crate) fn because(self, because: Because) -> Self {
        Self { because, ..self }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waits until {}, because ", self.until)?;
        match &self.because {
            Because::Blackout(text) => write!(f, "of the blackout {text}"),
            Because::NoWindow => f.write_str("no window is open"),
            Because::NoRestart => f.write_str("the host may not restart for it soon enough"),
        }
    }
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtAnyHour => f.write_str("at any hour"),
            Self::Window(opening) => write!(f, "in window {}", opening.window),
            Self::Urgent => f.write_str("urgent"),
            Self::Deadline => f.write_str("its deadline has passed"),
            Self::Missed(opening) => write!(f, "window {} was slept through", opening.window),
        }
    }
}

impl Schedule {
    /// Whether what is due may be done now: why, or until when it waits.
    ///
    /// # Errors
    /// [`Wait`].
    pub fn decide(&self, due: &Due, now_ms: u64) -> Result<Leave, Wait> {
        // Each way to leave, with the first moment at which it is open.
        let ways = [
            self.window_way(now_ms),
            self.urgent_way(due, now_ms),
            self.missed_way(due, now_ms),
            self.deadline_way(due, now_ms),
        ];
        match ways.into_iter().flatten().min_by_key(|(from_ms, _)| *from_ms) {
            Some((from_ms, leave)) if from_ms <= now_ms => Ok(leave),
            first => Err(self.wait(first.map(|(from_ms, _)| from_ms), now_ms)),
        }
    }

    /// Whether a window is open now and no blackout in the way, however urgent something is.
    ///
    /// # Errors
    /// [`Wait`].
    pub fn in_window(&self, now_ms: u64) -> Result<Leave, Wait> {
        match self.window_way(now_ms) {
            Some((from_ms, leave)) if from_ms <= now_ms => Ok(leave),
            first => Err(self.wait(first.map(|(from_ms, _)| from_ms), now_ms)),
        }
    }

    /// The opening that is open now, or else the next one that is not blacked out whole.
    #[must_use]
    pub fn next_opening(&self, now_ms: u64) -> Option<Opening> {
        match self.window_way(now_ms)? {
            // Where a blackout ends in the middle of it, it opens then.
            (at_ms, Leave::Window(opening)) if at_ms > now_ms => Some(Opening { from_ms: at_ms, ..opening }),
            (_, Leave::Window(opening)) => Some(opening),
            _ => None,
        }
    }

    /// The blackout that covers a moment and ends last.
    #[must_use]
    pub fn blackout(&self, at_ms: u64) -> Option<(&Blackout, u64)> {
        let covering = self.blackouts.iter().filter_map(|blackout| Some((blackout, blackout.end(at_ms)?)));
        covering.max_by_key(|(_, end_ms)| *end_ms)
    }

    fn urgent_way(&self, due: &Due, now_ms: u64) -> Option<(u64, Leave)> {
        let urgent = self.urgent.contains(&due.severity) || (due.emergency && self.emergency_is_urgent);
        let from_ms = if self.urgent_in_blackout { Some(now_ms) } else { self.after_blackouts(now_ms) };
        urgent.then_some((from_ms?, Leave::Urgent))
    }

    fn deadline_way(&self, due: &Due, now_ms: u64) -> Option<(u64, Leave)> {
        let deadline_ms = due.since_ms.saturating_add(*self.deadlines_ms.get(&due.severity)?);
        Some((self.after_blackouts(deadline_ms.max(now_ms))?, Leave::Deadline))
    }

    fn window_way(&self, now_ms: u64) -> Option<(u64, Leave)> {
        let mut at_ms = self.after_blackouts(now_ms)?;
        if self.windows.is_empty() {
            return Some((at_ms, Leave::AtAnyHour));
        }
        let mut next: Vec<_> = self.windows.iter().map(|window| window.next_opening(at_ms)).collect();
        for _ in 0..HOPS_MAX {
            if let Some(opening) = self.open(at_ms) {
                return Some((at_ms, Leave::Window(opening)));
            }
            for (window, next) in self.windows.iter().zip(&mut next) {
                if next.as_ref().is_some_and(|opening| opening.from_ms <= at_ms) {
                    *next = window.next_opening(at_ms);
                }
            }
            let begins_ms = next.iter().flatten().map(|opening| opening.from_ms).min()?;
            at_ms = self.after_blackouts(begins_ms)?;
        }
        None
    }

    fn missed_way(&self, due: &Due, now_ms: u64) -> Option<(u64, Leave)> {
        let Due { since_ms, awake_since_ms, .. } = *due;
        // What ended while the host slept, and could have been used for this: neither before it was due,
        // nor blacked out.
        let slept_through = |window: &Window| {
            let began_by_ms = awake_since_ms.checked_sub(window.duration_ms())?;
            let opening = window.last_opening(began_by_ms, since_ms)?;
            self.after_blackouts(opening.from_ms.max(since_ms)).filter(|free_ms| *free_ms < opening.until_ms)?;
            Some(opening)
        };
        let missed = || self.windows.iter().filter_map(slept_through).max_by_key(|opening| opening.until_ms);
        let from_ms = self.after_blackouts(now_ms)?;
        let missed = match self.missed {
            Missed::Next => return None,
            Missed::AsSoonAsPossible => missed()?,
            Missed::CatchUp => {
                missed().filter(|missed| from_ms < awake_since_ms.saturating_add(missed.until_ms - missed.from_ms))?
            }
        };
        Some((from_ms, Leave::Missed(missed)))
    }

    /// The window that is open at a moment, and closes last.
    fn open(&self, at_ms: u64) -> Option<Opening> {
        let open = self.windows.iter().filter_map(|window| window.last_opening(at_ms, at_ms));
        open.max_by_key(|opening| opening.until_ms)
    }

    /// The first moment from here on that no blackout covers.
    fn after_blackouts(&self, mut at_ms: u64) -> Option<u64> {
        for _ in 0..HOPS_MAX {
            match self.blackout(at_ms) {
                None => return Some(at_ms),
                Some((_, end_ms)) => at_ms = end_ms,
            }
        }
        None
    }

    fn wait(&self, until_ms: Option<u64>, now_ms: u64) -> Wait {
        let because = match self.blackout(now_ms) {
            Some((blackout, _)) => Because::Blackout(blackout.text().to_owned()),
            None => Because::NoWindow,
        };
        let until =
            until_ms.map_or_else(|| "somebody changes the schedule".to_owned(), |until_ms| self.zone.show(until_ms));
        Wait { until_ms, because, until }
    }
}

/// `2026-12-24`.
fn parse_day(text: &str) -> Result<Date, ScheduleError> {
    let wrong = || ScheduleError::Day(text.chars().take(16).collect());
    let form = |(place, byte): (usize, u8)| if matches!(place, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    if text.len() != 10 || !text.bytes().enumerate().all(form) {
        return Err(wrong());
    }
    let day: Date = text.parse().map_err(|_| wrong())?;
    // Days that calendars and clocks of all libraries have.
    if (1970..=9990).contains(&day.year()) { Ok(day) } else { Err(wrong()) }
}

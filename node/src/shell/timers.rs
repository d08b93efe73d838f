//! Alarms by the time they are due.

use consensus::member::Alarm;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Alarms set and not yet due. Setting one again moves it.
#[derive(Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Instant, Alarm)>,
    by_alarm: BTreeMap<Alarm, Instant>,
}

impl Timers {
    pub(super) fn set(&mut self, alarm: Alarm, at: Instant) {
        self.cancel(alarm);
        self.by_time.insert((at, alarm));
        self.by_alarm.insert(alarm, at);
    }

    pub(super) fn cancel(&mut self, alarm: Alarm) {
        if let Some(at) = self.by_alarm.remove(&alarm) {
            self.by_time.remove(&(at, alarm));
        }
    }

    pub(super) fn cancel_consensus(&mut self) {
        let of_consensus = |alarm: &Alarm| matches!(alarm, Alarm::Consensus(_));
        self.by_time.retain(|(_, alarm)| !of_consensus(alarm));
        self.by_alarm.retain(|alarm, _| !of_consensus(alarm));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out one that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Alarm> {
        let (at, alarm) = *self.by_time.first()?;
        (at <= now).then(|| {
            self.cancel(alarm);
            alarm
        })
    }
}

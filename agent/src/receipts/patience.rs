//! When what waits is sent again, and through whom: decided here, of values alone. What a node would like is honoured
//! within bounds of this host's own and for that node alone, so that none can make a host hammer another one, and none
//! can silence it.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// No node is asked again sooner than this, and this is the wait when something went wrong, at first; it doubles …
const RETRY_MIN: Duration = Duration::from_millis(500);
/// … up to this. A node that asks for more patience is given no more.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// Whatever comes.
    pub(super) at_least: Duration,
    /// When nothing comes.
    pub(super) at_most: Duration,
}

/// Which nodes asked to be left alone, and how long the next wait is for the others.
#[derive(Debug)]
pub(super) struct Patience {
    retry: Duration,
    /// By the address of a node.
    until: BTreeMap<String, Instant>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { retry: RETRY_MIN, until: BTreeMap::new() }
    }
}

impl Patience {
    /// Whether a node may be asked now.
    pub(super) fn may_ask(&self, node: &str, now: Instant) -> bool {
        self.left(node, now).is_zero()
    }

    /// Takes note that a node asked to be left alone for so long.
    pub(super) fn asked_for(&mut self, node: &str, hint: Duration, now: Instant) {
        self.until.insert(node.to_owned(), now + hint.clamp(RETRY_MIN, RETRY_MAX));
    }

    /// Takes note that nothing waits any more.
    pub(super) fn went_well(&mut self) {
        self.retry = RETRY_MIN;
    }

    /// The wait when no node said for how long; the next one is twice that.
    pub(super) fn retry(&mut self) -> Duration {
        let retry = self.retry;
        self.retry = (retry * 2).min(RETRY_MAX);
        retry
    }

    /// How long to wait until one of these nodes is asked again. A new receipt shortens it for those that did not ask for
    /// patience: it is no reason to press the others.
    pub(super) fn wait<'a>(&mut self, nodes: impl Iterator<Item = &'a str>, now: Instant) -> Wait {
        let retry = self.retry();
        let left: Vec<_> = nodes.map(|node| self.left(node, now)).collect();
        let at_least = left.iter().min().copied().unwrap_or_default().max(RETRY_MIN);
        let again = left.iter().map(|left| if left.is_zero() { retry } else { *left }).min();
        Wait { at_least, at_most: again.unwrap_or(retry).max(at_least) }
    }

    fn left(&self, node: &str, now: Instant) -> Duration {
        self.until.get(node).map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_node_that_asks_for_an_hour_holds_up_nobody_else_and_itself_no_longer_than_is_borne() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        patience.asked_for("hostile", HOUR, now);
        let both = || ["hostile", "honest"].into_iter();
        assert_eq!(patience.wait(both(), now), Wait { at_least: RETRY_MIN, at_most: RETRY_MIN });
        assert_eq!(patience.wait(both(), now), Wait { at_least: RETRY_MIN, at_most: 2 * RETRY_MIN });
        assert!(patience.may_ask("honest", now) && !patience.may_ask("hostile", now));
        // With nobody else there is nobody to ask: also for what is new.
        let alone = patience.wait(["hostile"].into_iter(), now);
        assert_eq!(alone, Wait { at_least: RETRY_MAX, at_most: RETRY_MAX });
        assert!(patience.may_ask("hostile", now + RETRY_MAX));
    }

    #[test]
    fn who_asks_for_less_than_another_does_not_speak_for_it() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        patience.asked_for("honest", 30 * SECOND, now);
        patience.asked_for("hasty", Duration::from_millis(1), now);
        let wait = patience.wait(["honest", "hasty"].into_iter(), now);
        assert_eq!(wait, Wait { at_least: RETRY_MIN, at_most: RETRY_MIN });
        assert!(patience.may_ask("hasty", now + RETRY_MIN) && !patience.may_ask("honest", now + 29 * SECOND));
    }

    #[test]
    fn what_nobody_says_anything_of_is_tried_less_and_less_often_until_it_goes_well() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let wait = |patience: &mut Patience| patience.wait(["gone"].into_iter(), now);
        for _ in 0..20 {
            wait(&mut patience);
        }
        // What is new is tried at once all the same: nobody asked for patience.
        assert_eq!(wait(&mut patience), Wait { at_least: RETRY_MIN, at_most: RETRY_MAX });
        patience.went_well();
        assert_eq!(wait(&mut patience).at_most, RETRY_MIN);
        assert_eq!(Patience::default().wait([].into_iter(), now).at_most, RETRY_MIN, "where there is no node");
    }
}

//! When what waits is sent again, and through whom: decided here, of values alone. What a node would like is honoured
//! within bounds of this host's own and for that node alone, so that none can make a host hammer another one, and none
//! can silence it.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// No node is asked again sooner than this, and this is the wait when it did not help, at first; it doubles …
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

/// A node that did not help, and said nothing of when it would.
#[derive(Clone, Copy, Debug)]
struct Vain {
    /// How long it is left alone.
    wait: Duration,
    until: Instant,
}

/// Which nodes asked to be left alone, and which are asked less and less often because it did not help.
#[derive(Debug)]
pub(super) struct Patience {
    retry: Duration,
    /// By the address of a node.
    until: BTreeMap<String, Instant>,
    vain: BTreeMap<String, Vain>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { retry: RETRY_MIN, until: BTreeMap::new(), vain: BTreeMap::new() }
    }
}

impl Patience {
    /// Whether a node may be asked now.
    pub(super) fn may_ask(&self, node: &str, now: Instant) -> bool {
        self.left(node, now).max(self.vain_left(node, now)).is_zero()
    }

    /// Takes note that a node asked to be left alone for so long.
    pub(super) fn asked_for(&mut self, node: &str, hint: Duration, now: Instant) {
        self.until.insert(node.to_owned(), now + hint.clamp(RETRY_MIN, RETRY_MAX));
    }

    /// Takes note that a node did not help, whatever it was asked for, and said nothing of when it would.
    pub(super) fn was_vain(&mut self, node: &str, now: Instant) {
        let wait = self.vain.get(node).map_or(RETRY_MIN, |vain| (vain.wait * 2).min(RETRY_MAX));
        self.vain.insert(node.to_owned(), Vain { wait, until: now + wait });
    }

    /// Takes note that there is something new to ask for: who did not ask for patience may help with that.
    pub(super) fn something_new(&mut self, now: Instant) {
        self.vain.values_mut().for_each(|vain| vain.until = now);
    }

    /// Takes note that nothing waits any more.
    pub(super) fn went_well(&mut self) {
        self.retry = RETRY_MIN;
        self.vain.clear();
    }

    /// The wait where there is no node to ask; the next one is twice that.
    pub(super) fn retry(&mut self) -> Duration {
        let retry = self.retry;
        self.retry = (retry * 2).min(RETRY_MAX);
        retry
    }

    /// How long to wait until one of these nodes is asked again. A new receipt shortens it for those that did not ask for
    /// patience: it is no reason to press the others.
    pub(super) fn wait<'a>(&mut self, nodes: impl Iterator<Item = &'a str>, now: Instant) -> Wait {
        let both = nodes.map(|node| (self.left(node, now), self.vain_left(node, now)));
        let (lefts, waits): (Vec<_>, Vec<_>) = both.map(|(left, vain)| (left, left.max(vain))).unzip();
        let at_least = lefts.into_iter().min().unwrap_or_default().max(RETRY_MIN);
        let again = waits.into_iter().min().unwrap_or_else(|| self.retry());
        Wait { at_least, at_most: again.max(at_least) }
    }

    fn left(&self, node: &str, now: Instant) -> Duration {
        self.until.get(node).map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn vain_left(&self, node: &str, now: Instant) -> Duration {
        self.vain.get(node).map_or(Duration::ZERO, |vain| vain.until.saturating_duration_since(now))
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
        assert!(patience.may_ask("honest", now) && !patience.may_ask("hostile", now));
        for doubled in [1, 2, 4] {
            patience.was_vain("honest", now);
            let wait = Wait { at_least: RETRY_MIN, at_most: doubled * RETRY_MIN };
            assert_eq!(patience.wait(both(), now), wait);
        }
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

    /// Nor does it set the pace for one that says nothing of when it would help.
    #[test]
    fn each_node_is_asked_in_its_own_rhythm() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        let mut asked = BTreeMap::from([("hasty", 0), ("silent", 0)]);
        let end = now + 60 * SECOND;
        while now < end {
            for (node, count) in &mut asked {
                if patience.may_ask(node, now) {
                    *count += 1;
                    match *node {
                        "hasty" => patience.asked_for(node, Duration::from_millis(1), now),
                        _ => patience.was_vain(node, now),
                    }
                }
            }
            now += patience.wait(asked.keys().copied(), now).at_most;
        }
        assert_eq!(asked, BTreeMap::from([("hasty", 120), ("silent", 7)]));
    }

    #[test]
    fn what_nobody_says_anything_of_is_tried_less_and_less_often_until_it_goes_well() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let wait = |patience: &mut Patience| patience.wait(["gone"].into_iter(), now);
        for _ in 0..20 {
            patience.was_vain("gone", now);
        }
        // What is new is tried at once all the same: nobody asked for patience.
        assert_eq!(wait(&mut patience), Wait { at_least: RETRY_MIN, at_most: RETRY_MAX });
        assert!(!patience.may_ask("gone", now));
        patience.something_new(now);
        assert!(patience.may_ask("gone", now));
        patience.was_vain("gone", now);
        assert_eq!(wait(&mut patience).at_most, RETRY_MAX, "and if that was in vain, too, as seldom as before");
        patience.went_well();
        patience.was_vain("gone", now);
        assert_eq!(wait(&mut patience).at_most, RETRY_MIN);
        assert_eq!(Patience::default().wait([].into_iter(), now).at_most, RETRY_MIN, "where there is no node");
    }
}

//! Which source is asked next: a decision from values, and how it is remembered who disappointed.

use super::error::Disappointment;
use std::time::Duration;

/// After this a penalty is half of what it was.
const HALF_LIFE: Duration = Duration::from_secs(10 * 60);
/// A source that cannot be reached, or breaks off.
const CANNOT_POINTS: u32 = 2;
/// One that is too slow: it takes the most time of all.
const SLOW_POINTS: u32 = 8;
/// One that has something of another length.
const LENGTH_POINTS: u32 = 16;
/// One that sends other bytes.
const FORGED_POINTS: u32 = 64;
/// However often it disappoints: some hours, and it is like any other again.
const POINTS_MAX: u32 = 1024;

/// What a source has made of its name, at a moment of this process's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    points: u32,
    noted: Duration,
}

impl Standing {
    /// The penalty now.
    pub(super) fn points(self, now: Duration) -> u32 {
        let halvings = now.saturating_sub(self.noted).as_secs() / HALF_LIFE.as_secs();
        u32::try_from(halvings).ok().and_then(|halvings| self.points.checked_shr(halvings)).unwrap_or(0)
    }

    /// With a disappointment more. That an artifact is not there is none: nobody promised it.
    pub(super) fn after(self, disappointment: &Disappointment, now: Duration) -> Self {
        let more = match disappointment {
            Disappointment::Absent(_) | Disappointment::Disk(_) => 0,
            Disappointment::Cannot(_) => CANNOT_POINTS,
            Disappointment::Slow(_) => SLOW_POINTS,
            Disappointment::Length(_) => LENGTH_POINTS,
            Disappointment::Forged(_) => FORGED_POINTS,
        };
        let points = self.points(now).saturating_add(more).min(POINTS_MAX);
        Self { points, noted: now }
    }
}

/// A source, as whoever chooses among them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its penalty now.
    pub(super) points: u32,
    /// Its place in the order of the configuration; nodes take turns among theirs.
    pub(super) rank: usize,
    /// It lied about this artifact, or was asked since the last bytes came: asking again would be in vain.
    pub(super) in_vain: bool,
}

/// The source to ask next: of those with the least penalty the first; none when all would be asked in vain.
pub(super) fn choose(candidates: &[Candidate]) -> Option<usize> {
    let places = (0..candidates.len()).filter(|place| !candidates[*place].in_vain);
    places.min_by_key(|place| (candidates[*place].points, candidates[*place].rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(points: u32, rank: usize) -> Candidate {
        Candidate { points, rank, in_vain: false }
    }

    #[test]
    fn the_first_of_the_least_penalised_is_asked_and_nobody_in_vain() {
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&[at(0, 1), at(0, 0), at(0, 2)]), Some(1));
        assert_eq!(choose(&[at(2, 0), at(0, 7), at(64, 1)]), Some(1));
        let vain = Candidate { in_vain: true, ..at(0, 0) };
        assert_eq!(choose(&[vain, at(64, 1)]), Some(1), "a liar is asked where nobody else is left");
        assert_eq!(choose(&[vain, vain]), None);
    }

    #[test]
    fn penalties_add_up_and_fade() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let slow = Standing::default().after(&Disappointment::Slow(String::new()), minutes(0));
        let points: Vec<_> = [0, 9, 10, 20, 30, 40].map(|at| slow.points(minutes(at))).into();
        assert_eq!(points, [8, 8, 4, 2, 1, 0]);
        let forged = slow.after(&Disappointment::Forged(String::new()), minutes(10));
        assert_eq!(forged.points(minutes(10)), 68);
        let always = (0..100).fold(slow, |it, _| it.after(&Disappointment::Forged(String::new()), minutes(0)));
        assert_eq!(
            (always.points(minutes(0)), always.points(minutes(110)), always.points(Duration::MAX)),
            (1024, 0, 0)
        );
        assert_eq!(slow.after(&Disappointment::Absent(String::new()), minutes(0)), slow);
    }
}

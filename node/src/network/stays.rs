//! What a peer may do for a while, and not for ever: learn here that its key was retired, or be connected and say
//! nothing.

use ledger::key::PublicKey;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a node that is only taught stays at a time. One that is not done by then comes back and goes on where
/// it was.
pub const LESSON_MAX: Duration = Duration::from_secs(600);

/// How long a peer may be connected without a word: it may have yamux answer for it all the while.
pub const WORDLESS_MAX: Duration = Duration::from_secs(20);

/// Who does it, since when.
pub(super) struct Stays {
    most: Duration,
    since: HashMap<PublicKey, Instant>,
}

impl Stays {
    /// For so long.
    pub(super) fn of(most: Duration) -> Self {
        Self { most, since: HashMap::new() }
    }

    /// These do it now; those who did for long enough, and begin again if they stay.
    pub(super) fn over(&mut self, now: Instant, doing: &HashSet<PublicKey>) -> Vec<PublicKey> {
        self.since.retain(|peer, _| doing.contains(peer));
        for peer in doing {
            self.since.entry(*peer).or_insert(now);
        }
        self.since.extract_if(|_, since| now.duration_since(*since) >= self.most).map(|(peer, _)| peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesson_ends_in_time_and_a_new_one_begins_with_a_new_connection() {
        let [one, other] = [1, 2].map(|byte| PublicKey([byte; 32]));
        let (both, alone) = (HashSet::from([one, other]), HashSet::from([one]));
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut lessons = Stays::of(LESSON_MAX);
        assert!(lessons.over(begin, &alone).is_empty());
        assert!(lessons.over(after(599), &both).is_empty());
        assert_eq!(lessons.over(after(600), &both), [one]);
        // It was thrown out and came back, perhaps before anybody looked.
        assert!(lessons.over(after(601), &both).is_empty());
        assert_eq!(lessons.over(after(1_199), &both), [other]);
        assert!(lessons.over(after(1_200), &alone).is_empty());
        assert_eq!(lessons.over(after(1_201), &alone), [one]);
        // One that left in between has all its time again.
        assert!(lessons.over(after(1_300), &both).is_empty());
        assert!(lessons.over(after(1_700), &alone).is_empty());
        assert_eq!(lessons.over(after(1_900), &both), [one]);
    }
}

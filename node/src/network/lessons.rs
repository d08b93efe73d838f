//! Nodes whose key was retired may learn that here, but not for ever.

use ledger::key::PublicKey;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a node that is only taught stays at a time. One that is not done by then comes back and goes on where
/// it was.
pub const LESSON_MAX: Duration = Duration::from_secs(600);

/// Who is being taught, since when.
#[derive(Default)]
pub(super) struct Lessons(HashMap<PublicKey, Instant>);

impl Lessons {
    /// These are being taught now; those who were for long enough, and begin again if they stay.
    pub(super) fn over(&mut self, now: Instant, taught: &HashSet<PublicKey>) -> Vec<PublicKey> {
        self.0.retain(|peer, _| taught.contains(peer));
        for peer in taught {
            self.0.entry(*peer).or_insert(now);
        }
        self.0.extract_if(|_, since| now.duration_since(*since) >= LESSON_MAX).map(|(peer, _)| peer).collect()
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
        let mut lessons = Lessons::default();
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

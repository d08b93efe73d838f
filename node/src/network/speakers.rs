//! Who says something on what is urgent, which everybody does every second.

use ledger::key::PublicKey;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who said something lately.
#[derive(Clone, Default)]
pub(super) struct Speakers(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Since it was asked last.
    spoke: HashSet<PublicKey>,
    /// Messages that are being heard; none is zero.
    heard: HashMap<PublicKey, usize>,
}

/// A message that is being heard, until it is dropped.
pub(super) struct Hearing {
    speakers: Speakers,
    peer: PublicKey,
}

impl Speakers {
    /// A peer has said something whole, and is being listened to as long as this is kept.
    pub(super) fn says_something(&self, peer: PublicKey) -> Hearing {
        *self.inner().heard.entry(peer).or_default() += 1;
        Hearing { speakers: self.clone(), peer }
    }

    /// Of these, who has said nothing since this was asked last.
    pub(super) fn silent(&self, peers: impl Iterator<Item = PublicKey>) -> HashSet<PublicKey> {
        let mut inner = self.inner();
        let spoke = std::mem::take(&mut inner.spoke);
        peers.filter(|peer| !spoke.contains(peer) && !inner.heard.contains_key(peer)).collect()
    }

    /// The lock's holder only counts, so a panic elsewhere cannot have left it half-way.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        let mut inner = self.speakers.inner();
        inner.spoke.insert(self.peer);
        if let Some(count) = inner.heard.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                inner.heard.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_being_listened_to_is_not_silent_however_long_that_takes() {
        let [one, other] = [1, 2].map(|byte| PublicKey([byte; 32]));
        let speakers = Speakers::default();
        let silent = || speakers.silent([one, other].into_iter());
        assert_eq!(silent(), HashSet::from([one, other]));
        let heard = speakers.says_something(one);
        let again = speakers.says_something(one);
        assert_eq!(silent(), HashSet::from([other]));
        drop(heard);
        assert_eq!((silent(), silent()), (HashSet::from([other]), HashSet::from([other])));
        drop(again);
        assert_eq!(silent(), HashSet::from([other]), "it has spoken just now");
        assert_eq!(silent(), HashSet::from([one, other]));
    }
}

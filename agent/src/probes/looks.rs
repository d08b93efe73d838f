//! Looking at disks, which may never answer: a network file system whose server is gone holds whoever asks it
//! for as long as it likes. So each look has a thread of its own and an end in time, and while one hangs there is
//! no second one at the same thing.

use policy::health::Observation;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Looks that may hang at the same time, whatever they are at.
const LOOKS_MAX: usize = 16;

/// The looks under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Looks(Arc<Mutex<BTreeSet<String>>>);

/// One look; it is over when this goes.
struct Look {
    looks: Looks,
    about: String,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.looks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.about);
    }
}

impl Looks {
    fn begin(&self, about: &str) -> Result<Look, String> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.len() >= LOOKS_MAX {
            return Err(format!("{LOOKS_MAX} other looks still hang"));
        }
        match under_way.insert(about.to_owned()) {
            true => Ok(Look { looks: self.clone(), about: about.to_owned() }),
            false => Err("an earlier look at it still hangs".to_owned()),
        }
    }

    /// Looks at something; waits for the answer no longer than there is patience.
    pub(super) async fn look(
        &self,
        about: &str,
        patience: Duration,
        look: impl FnOnce() -> Result<Observation, String> + Send + 'static,
    ) -> Observation {
        self.ask(about, patience, look).await.unwrap_or_else(|observation| observation)
    }

    /// The same for anything else that may hang.
    ///
    /// # Errors
    /// What is seen instead.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        about: &str,
        patience: Duration,
        look: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, Observation> {
        let begun = match self.begin(about) {
            Ok(begun) => begun,
            Err(hangs) => return Err(Observation::Impossible(hangs)),
        };
        let (say, said) = oneshot::channel();
        let thread = std::thread::Builder::new().name("look".to_owned());
        let spawned = thread.spawn(move || {
            let seen = look();
            drop(begun);
            // Nobody may be waiting any more.
            let _ = say.send(seen);
        });
        if let Err(error) = spawned {
            return Err(Observation::Impossible(format!("no thread to look with: {error}")));
        }
        match timeout(patience, said).await {
            Ok(Ok(seen)) => seen.map_err(Observation::Impossible),
            Ok(Err(_)) => Err(Observation::Impossible("the look broke off".to_owned())),
            Err(_) => Err(Observation::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const MOMENT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    fn free() -> Result<Observation, String> {
        Ok(Observation::Free { bytes: 7 })
    }

    #[tokio::test]
    async fn what_hangs_is_asked_once_and_holds_nobody_else_up() {
        let looks = Looks::default();
        let (answer, hangs) = mpsc::channel::<()>();
        let seen =
            looks.look("disk /dead", MOMENT, move || hangs.recv().map_err(|_| "gone".to_owned()).and(free())).await;
        assert_eq!(seen, Observation::TimedOut);
        for _ in 0..100 {
            let again = looks.look("disk /dead", LONG, free).await;
            assert_eq!(again, Observation::Impossible("an earlier look at it still hangs".to_owned()));
        }
        assert_eq!(looks.look("disk /alive", LONG, free).await, Observation::Free { bytes: 7 });
        // It answers after all: whoever asks next is answered.
        answer.send(()).unwrap();
        while matches!(looks.look("disk /dead", LONG, free).await, Observation::Impossible(_)) {
            tokio::task::yield_now().await;
        }
        assert!(looks.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn not_everything_may_hang() {
        let looks = Looks::default();
        let mut held = Vec::new();
        for place in 0..LOOKS_MAX {
            let (hold, hangs) = mpsc::channel::<()>();
            held.push(hold);
            let hang = move || hangs.recv().map_err(|_| "gone".to_owned()).and(free());
            assert_eq!(looks.look(&format!("disk {place}"), Duration::ZERO, hang).await, Observation::TimedOut);
        }
        let one_too_many = looks.look("disk", LONG, free).await;
        assert_eq!(one_too_many, Observation::Impossible(format!("{LOOKS_MAX} other looks still hang")));
    }
}

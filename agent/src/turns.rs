//! Looks and updates keep out of each other's way: an update ends the look that is under way, and none begins while it
//! lasts. A check that holds a lock would make an update fail, and what an update replaces does not work meanwhile.

use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// Who may do something now.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Updates under way.
    updates: watch::Sender<usize>,
    /// Held by a look.
    look: Mutex<()>,
}

/// The turn of an update, until it is dropped.
#[derive(Debug)]
pub struct Updating(Turns);

impl Drop for Updating {
    fn drop(&mut self) {
        self.0.0.updates.send_modify(|updates| *updates -= 1);
    }
}

impl Turns {
    /// The turn of an update: waits until the look that is under way has ended, which is at once.
    pub async fn update(&self) -> Updating {
        self.0.updates.send_modify(|updates| *updates += 1);
        let updating = Updating(self.clone());
        drop(self.0.look.lock().await);
        updating
    }

    /// Looks, as long as no update comes; nothing when one did, or is under way.
    pub async fn look<T>(&self, look: impl Future<Output = T>) -> Option<T> {
        let mut updates = self.0.updates.subscribe();
        let _held = self.0.look.lock().await;
        tokio::select! {
            biased;
            _ = updates.wait_for(|updates| *updates > 0) => None,
            seen = look => Some(seen),
        }
    }

    /// Waits until no update is under way.
    pub async fn rest(&self) {
        // The sender lives as long as this does.
        let _ = self.0.updates.subscribe().wait_for(|updates| *updates == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::future::pending;

    #[tokio::test]
    async fn an_update_ends_a_look_and_none_begins_while_it_lasts() {
        let turns = Turns::default();
        assert_eq!(turns.look(async { 7 }).await, Some(7));
        let looking = {
            let turns = turns.clone();
            tokio::spawn(async move { turns.look(pending::<()>()).await })
        };
        tokio::task::yield_now().await;
        let first = turns.update().await;
        assert_eq!(looking.await.unwrap(), None);
        let second = turns.update().await;
        drop(first);
        assert_eq!(turns.look(async { 7 }).await, None, "another one lasts");
        assert!(turns.rest().now_or_never().is_none());
        drop(second);
        assert!(turns.rest().now_or_never().is_some());
        assert_eq!(turns.look(async { 7 }).await, Some(7));
    }
}

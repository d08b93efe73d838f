//! Forgetting old receipts, where people asked for it.

use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::watch;
use tokio::time::sleep;

/// How often it is looked whether something has become old.
const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Between two passes: the chain comes first.
const PAUSE: Duration = Duration::from_millis(50);

/// Days as the store counts.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Forgets until `stop` changes, or the disk says no.
pub async fn run(store: Arc<Store>, receipts_days: u32, mut stop: watch::Receiver<bool>) {
    let keep_ms = u64::from(receipts_days) * DAY_MS;
    loop {
        let pass = store.clone();
        let wait = match tokio::task::spawn_blocking(move || pass.prune(keep_ms)).await {
            Ok(Ok(pruned)) => {
                if pruned.blocks > 0 {
                    tracing::info!(blocks = pruned.blocks, receipts = pruned.receipts, "old receipts are forgotten");
                }
                if pruned.more { PAUSE } else { INTERVAL }
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "old receipts cannot be forgotten");
                return;
            }
            Err(_) => return,
        };
        tokio::select! {
            _ = stop.changed() => return,
            () = sleep(wait) => {}
        }
    }
}

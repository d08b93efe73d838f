//! What the tests share: a ledger of one validator, nodes of it as processes, clients and peers.

pub(crate) mod answering;
pub(crate) mod peer;
pub(crate) mod quorum;
pub(crate) mod site;
pub(crate) mod world;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long anything is waited for: far longer than it takes on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// What nodes of tests leave free of the disk: nothing they do depends on how much of it others have taken.
pub(crate) const LEFT_FREE_BYTES: u64 = 64 * 1024 * 1024;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The clock of this machine.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Asks until there is an answer.
pub(crate) async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

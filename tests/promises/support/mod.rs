//! What the promises share: a ledger raised for one test, what must be true of it, who uses it.

pub(crate) mod clients;
pub(crate) mod faults;
pub(crate) mod history;
pub(crate) mod invariants;
pub(crate) mod ledger;
pub(crate) mod namespaces;
pub(crate) mod relay;
pub(crate) mod storage;
pub(crate) mod witnesses;
pub(crate) mod words;

use std::time::{Duration, Instant};

/// How long anything is waited for: far longer than it takes on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(30);

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

/// A number that the environment may set.
pub(crate) fn number<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

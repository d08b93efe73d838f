//! What the tests stand on.

pub(crate) mod archive;
pub(crate) mod bench;
pub(crate) mod containers;
pub(crate) mod debian;
pub(crate) mod disk;
pub(crate) mod endpoint;
pub(crate) mod images;
pub(crate) mod ledger;
pub(crate) mod mirror;
pub(crate) mod node;
pub(crate) mod rpm;
pub(crate) mod scripts;
pub(crate) mod tricks;

use std::future::Future;
use std::time::Duration;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Of a machine that has all of this, no test here needs anything else.
const NEEDS: [&str; 9] = ["mounts", "dpkg", "rpm", "debian", "attributes", "images", "loops", "grub", "containers"];

/// Says that a test was left out, and why.
#[track_caller]
pub(crate) fn left_out(why: &str) {
    tests::left_out(&NEEDS, why);
}

/// Asks again and again until the answer is `Some`.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited too long for: {what}"))
}

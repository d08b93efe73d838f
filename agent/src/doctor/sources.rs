//! Where artifacts come from, the nodes apart: is somebody there, and is it he?

use super::Finding;
use crate::config::{Config, SourcePlace};
use crate::download::look::{NoUse, look};
use crate::settled::chain;
use tokio::task::JoinSet;

/// Looks at all of them at once: each may take its time to say nothing.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let mut looking = JoinSet::new();
    for (turn, source) in config.sources.iter().enumerate() {
        let place = source.place.clone();
        looking.spawn(async move { (turn, name(&place), look(&place).await) });
    }
    let mut looked: Vec<_> = looking.join_all().await.into_iter().filter(|(_, name, _)| name.is_some()).collect();
    looked.sort_by_key(|(turn, ..)| *turn);
    looked.into_iter().map(|(_, name, looked)| finding(&name.unwrap_or_default(), looked)).collect()
}

/// What people call it; nodes are looked at with the ledger.
fn name(place: &SourcePlace) -> Option<String> {
    match place {
        SourcePlace::Nodes => None,
        SourcePlace::Mirror(address) => Some(address.url.to_string()),
        SourcePlace::Directory(path) => Some(path.display().to_string()),
    }
}

fn finding(name: &str, looked: Result<(), NoUse>) -> Finding {
    let Err(error) = looked else { return Finding::ok("source", format!("{name} answers")) };
    let said = format!("{name}: {}", chain(&error));
    match error {
        NoUse::Setup(_) => Finding::fail("source", said, "the agent does not begin like that: see `ca` of the source"),
        NoUse::Directory { .. } | NoUse::Hangs(_) => {
            Finding::warn("source", said, "mount it, or let the agent's user read it; others are asked meanwhile")
        }
        NoUse::Mirror(_) => Finding::warn(
            "source",
            said,
            "see url, ca and proxy of the source, and what stops this host on the way; others are asked meanwhile",
        ),
        NoUse::Anything => Finding::warn("source", said, "see url of the source: artifacts lie elsewhere, perhaps"),
    }
}

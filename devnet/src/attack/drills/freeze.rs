//! Freeze: a node goes on serving what was true once, so that nobody hears of a recall. A fresh header is required:
//! beyond the greatest age nothing is applied.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, parsed};

pub(super) const DRILL: Drill = Drill {
    name: "freeze",
    attack: "A node goes on serving an old head and an old proof.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/freeze";
/// The greatest age, shorter than people would have it, and many heartbeats.
pub(super) const MAX_AGE_MS: u64 = 5_000;

/// The configuration of an agent that has it.
pub(super) fn soon_stale() -> String {
    format!("max_age_ms = {MAX_AGE_MS}\npoll_interval_ms = 1000\n")
}

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let relay = stage.relay().await?;
    relay.shows(&parsed(&stage.proof(&patch).await?)?);
    let mut host =
        stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ledger: &soon_stale(), ..Kind::default() })?;
    stage.start(&mut host).await?;
    host.says_it_is("stale").await?;
    played.tried("until it is too old", Promise::RefusedBy(&["stale"]), host.apply(&patch).await?);

    relay.comes_clean();
    host.says_it_is("fresh").await?;
    played.control("the same node, thawed", host.apply(&patch).await?);
    stage.stop(&mut host)?;
    Ok(played)
}

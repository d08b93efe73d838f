//! Freeze: a node goes on serving what was true once, so that nobody hears of a recall. A fresh header is required:
//! beyond the greatest age nothing is applied.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, head_of, parsed, wait_for};
use crate::attack::tool::text;

pub(super) const DRILL: Drill = Drill {
    name: "freeze",
    attack: "A node goes on serving an old head and an old proof.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/freeze";
/// The greatest age, shorter than people would have it, and many heartbeats.
const MAX_AGE: &str = "max_age_ms = 5000\npoll_interval_ms = 1000\n";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    // Nothing it serves is newer than the head it shows.
    let proof = stage.proof(&patch).await?;
    let head = head_of(&parsed(&proof)?);
    let relay = stage.relay().await?;
    // The agent is to try when it is asked, and not before.
    relay.behave(|manners| {
        (manners.head, manners.proof, manners.lists_nothing) = (Some(head), Some(proof), true);
    });
    let mut host =
        stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ledger: MAX_AGE, ..Kind::default() })?;
    stage.start(&mut host).await?;
    let freshness = async |wanted: &str| {
        wait_for(&format!("an agent that says it is {wanted}"), async || {
            let status = host.status().await?;
            Ok(status.get("ledger").filter(|ledger| text(ledger, "freshness") == wanted).map(drop))
        })
        .await
    };
    freshness("stale").await?;
    played.tried("until it is too old", Promise::RefusedBy(&["stale"]), host.apply(&patch).await?);

    relay.behave(|manners| (manners.head, manners.proof) = (None, None));
    freshness("fresh").await?;
    played.control("the same node, thawed", host.apply(&patch).await?);
    stage.stop(&mut host)?;
    Ok(played)
}

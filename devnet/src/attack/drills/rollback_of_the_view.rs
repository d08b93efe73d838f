//! Rollback of the view: an agent that saw a newer ledger is shown an older one. The highest height is on its disk
//! before anything is applied, and nothing below is believed after that.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "rollback-of-the-view",
    attack: "An older head and an older proof are shown after newer ones.",
    play: |stage| Box::pin(play(stage)),
};

const SEEN: &str = "vendor-a/rollback-of-the-view-seen";
const PRODUCT: &str = "vendor-a/rollback-of-the-view";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let (head, proof) = (stage.head().await?, stage.proof(&patch).await?);
    let seen = stage.release(SEEN, 1, &[]).await?;
    stage.head_above(head.height).await?;

    let relay = stage.relay().await?;
    let host = stage.host(Kind { products: &[PRODUCT, SEEN], nodes: &[&relay.url], ..Kind::default() })?;
    played.control("something newer, which it remembers", host.apply(&seen).await?);
    relay.behave(|manners| (manners.head, manners.proof) = (Some(head), Some(proof.clone())));
    let below = Promise::RefusedBy(&["height-below-seen"]);
    played.tried("by its node", below, host.apply(&patch).await?);
    let file = stage.write("older.proof", &proof)?;
    played.tried("by a proof file", below, host.apply_from(&patch, &file).await?);

    relay.behave(|manners| (manners.head, manners.proof) = (None, None));
    played.control("the same patch, proven today", host.apply(&patch).await?);
    Ok(played)
}

//! Recalled: a patch that was approved and withdrawn is offered all the same, also with the proof of the days before.
//! A recall is in the state that is proven, and an older proof is below what the agent has seen.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "recalled",
    attack: "A patch is offered after its vendor recalled it.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/recalled";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let (early, late) = (
        stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?,
        stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?,
    );
    played.control("before the recall", early.apply(&patch).await?);
    let before = stage.proof(&patch).await?;
    let before = stage.write("before-the-recall.proof", &before)?;
    let why = "a regression was found";
    stage.sign("vendor-a", "publisher", &["patch", "recall", &patch, "--reason", why]).await?;

    played.tried("after the recall", Promise::RefusedBy(&["recalled"]), late.apply(&patch).await?);
    let ending = late.apply_from(&patch, &before).await?;
    played.tried("with the proof of the days before", Promise::RefusedBy(&["height-below-seen"]), ending);
    Ok(played)
}

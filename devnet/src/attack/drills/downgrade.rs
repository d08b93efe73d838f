//! Downgrade: an older release, properly approved in its day, is offered to bring its holes back. Release counters
//! only go up.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "downgrade",
    attack: "An older release, approved in its day, is offered.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/downgrade";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let old = stage.release(PRODUCT, 1, &[]).await?;
    let new = stage.release(PRODUCT, 2, &[]).await?;
    let host = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    played.control("the newer release", host.apply(&new).await?);
    let refused = Promise::RefusedBy(&["downgrade"]);
    played.tried("the release before the one installed", refused, host.apply(&old).await?);
    let elsewhere = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    played.control("the older release, where nothing newer is", elsewhere.apply(&old).await?);
    Ok(played)
}

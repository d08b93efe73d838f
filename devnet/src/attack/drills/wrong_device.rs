//! Wrong device: an approved patch is offered to a host it is not for. Selectors are inside the signed manifest, and
//! the agent matches them against its own inventory.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "wrong-device",
    attack: "An approved patch for other devices is offered.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/wrong-device";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let host = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    let meant = "hardware = [\"board-9\"]\nlabels = { site = \"hamburg\" }\n";
    let meant = stage.host(Kind { products: &[PRODUCT], host: meant, ..Kind::default() })?;
    for (release, tried, target) in [
        (1, "for another board", "hardware=board-9"),
        (2, "for another site", "label:site=hamburg"),
        (3, "for another system", "os=plan9"),
    ] {
        let patch = stage.release(PRODUCT, release, &["--target", target]).await?;
        played.tried(tried, Promise::RefusedBy(&["target"]), host.apply(&patch).await?);
        if target != "os=plan9" {
            played.control(format!("a host it is for ({target})"), meant.apply(&patch).await?);
        }
    }
    Ok(played)
}

//! Extraneous dependencies: a patch brings something along, or needs what is not there. What must be there stands in the
//! signed manifest, and the agent looks whether it is: it resolves nothing, and fetches nothing that nobody approved for it.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::{Host, Kind};
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "extraneous-dependencies",
    attack: "An approved patch needs a product that is absent, or another release of it.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/extraneous-dependencies";
const NEEDED: &str = "vendor-a/extraneous-dependencies-needed";
const MISSING: Promise = Promise::RefusedBy(&["dependency-missing"]);

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    // The ledger has what is needed, approved for everybody, and the host follows it: that is no reason to fetch it.
    let needed = stage.release(NEEDED, 1, &[]).await?;
    let any = stage.release(PRODUCT, 1, &["--depends", NEEDED]).await?;
    let host = stage.host(Kind { products: &[PRODUCT, NEEDED], ..Kind::default() })?;
    played.tried("what it needs is absent", MISSING, host.apply(&any).await?);
    played.measured("installed, and asked for by nobody", installed(&host)?, 0);

    played.control("what it needs, asked for", host.apply(&needed).await?);
    played.control("the same patch, beside it", host.apply(&any).await?);

    let newer = stage.release(NEEDED, 2, &[]).await?;
    let second = format!("{NEEDED}=2..2");
    let other = stage.release(PRODUCT, 2, &["--depends", &second]).await?;
    played.tried("what it needs is another release", MISSING, host.apply(&other).await?);
    played.control("that release", host.apply(&newer).await?);
    played.control("the same patch, beside that", host.apply(&other).await?);
    Ok(played)
}

/// Files of either product on a host.
fn installed(host: &Host) -> Result<u64, AttackError> {
    Ok((host.installed_files(PRODUCT)?.len() + host.installed_files(NEEDED)?.len()) as u64)
}

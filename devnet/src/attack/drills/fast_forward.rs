//! Fast-forward: whoever stole a vendor's key publishes a release with the last counter there is, after which none could
//! follow. A counter may only go on by so much, whoever signs.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use ledger::limits::RELEASE_STEP_MAX;
use ledger::transaction::Payload;

pub(super) const DRILL: Drill = Drill {
    name: "fast-forward",
    attack: "A stolen vendor key publishes the last release there could be.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/fast-forward";
const OUT_OF_STEP: Promise = Promise::RefusedBy(&["release"]);

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let first = stage.release(PRODUCT, 1, &[]).await?;
    let host = stage.host(Kind { products: &[PRODUCT], ..Kind::default() })?;
    played.control("the first release", host.apply(&first).await?);

    let stolen = stage.steal("vendor-a", "publisher")?;
    for (tried, release) in [
        ("the last number there is", u64::MAX),
        ("the last but one", u64::MAX - 1),
        ("one more than a step", 1 + RELEASE_STEP_MAX + 1),
    ] {
        // What the command line would say does not stop whoever has the key.
        let manifest = stage.pack(PRODUCT, release, &[]).await?.manifest()?;
        let transaction = stolen.sign(stolen.transaction(stage.chain()?, Payload::Publish { manifest }));
        let both = vec![stage.check(&transaction).await?, stage.submit(&transaction).await?];
        played.tried_often(tried, OUT_OF_STEP, both);
    }
    let second = stage.release(PRODUCT, 2, &[]).await?;
    played.control("the vendor's next release", host.apply(&second).await?);
    let furthest = stage.release(PRODUCT, 2 + RELEASE_STEP_MAX, &[]).await?;
    played.control("and one a whole step further", host.apply(&furthest).await?);
    Ok(played)
}

//! Fast-forward: whoever stole a vendor's key publishes a release with the last counter there is, after which none could
//! follow. A counter may only go on by so much, whoever signs.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::{Ending, Promise};
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
    let too_far = stage.pack(PRODUCT, 1 + RELEASE_STEP_MAX + 1, &[]).await?;
    for (tried, packed) in [
        ("the last number there is", &stage.pack(PRODUCT, u64::MAX, &[]).await?),
        ("the last but one", &stage.pack(PRODUCT, u64::MAX - 1, &[]).await?),
        ("one more than a step", &too_far),
    ] {
        // What the command line would say does not stop whoever has the key.
        let payload = Payload::Publish { manifest: packed.manifest()? };
        let transaction = stolen.sign(stolen.transaction(stage.chain()?, payload));
        let both = vec![stage.check(&transaction).await?, stage.submit(&transaction).await?];
        played.tried_often(tried, OUT_OF_STEP, both);
    }
    // Had one of these been taken, this is what the vendor would find out.
    let second = stage.pack(PRODUCT, 2, &[]).await?;
    let published = stage.attempt("vendor-a", "publisher", &["patch", "publish", &second.path()]).await?;
    if !matches!(published, Ending::Done { .. }) {
        played.control("the vendor's next release", published);
        return Ok(played);
    }
    stage.approve(&second.patch, "approver-a").await?;
    stage.approve(&second.patch, "approver-b").await?;
    played.control("the vendor's next release", host.apply(&second.patch).await?);
    let no_more = stage.approved(&too_far).await?;
    played.control("what was too far, and is a step now", host.apply(&no_more).await?);
    Ok(played)
}

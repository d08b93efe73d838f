//! Dependency confusion: somebody else publishes under a product's name. A namespace is owned by one organisation, and
//! nobody else's key can publish in it.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::Stage;
use ledger::transaction::Payload;

pub(super) const DRILL: Drill = Drill {
    name: "dependency-confusion",
    attack: "A vendor publishes under another vendor's name.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/dependency-confusion";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let packed = stage.pack(PRODUCT, 1, &[]).await?;
    let (path, refused) = (packed.path(), Promise::RefusedBy(&["namespace"]));
    let command = ["patch", "publish", &path];
    played.tried("the vendor of another namespace", refused, stage.attempt("vendor-b", "publisher", &command).await?);
    let nobodys = stage.pack("vendor-z/dependency-confusion", 1, &[]).await?.path();
    let command = ["patch", "publish", &nobodys];
    played.tried("a namespace of nobody", refused, stage.attempt("vendor-b", "publisher", &command).await?);
    // The first refusal came before anything was sent: this one goes around the command line.
    let manifest = packed.manifest()?;
    let stolen = stage.steal("vendor-b", "publisher")?;
    let payload = Payload::Publish { manifest };
    let transaction = stolen.sign(stolen.transaction(stage.chain()?, payload));
    played.tried("a transaction made by hand", refused, stage.submit(&transaction).await?);

    let command = ["patch", "publish", &path];
    played.control("the vendor itself", stage.attempt("vendor-a", "publisher", &command).await?);
    Ok(played)
}

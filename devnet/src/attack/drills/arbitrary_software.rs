//! Arbitrary software: a node serves something else than what was signed. The agent checks every 16 KiB against
//! the signed digest before it writes them.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::relay::Serves;
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "arbitrary-software",
    attack: "A node serves the artifact with one byte changed.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/arbitrary-software";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let packed = stage.pack(PRODUCT, 1, &[]).await?;
    let patch = stage.approved(&packed).await?;
    let relay = stage.relay().await?;
    let last = packed.artifact_bytes()?.saturating_sub(1);
    let mut endings = Vec::new();
    for at in [0, last / 2, last] {
        // A fresh one each time: what was good of an earlier stream is not fetched again.
        let host = stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() })?;
        relay.behave(|manners| manners.serves = Serves::Altered(at));
        endings.push(host.apply(&patch).await?);
        if at == last {
            relay.behave(|manners| manners.serves = Serves::Honestly);
            played.control("the same node, honest", host.apply(&patch).await?);
        }
    }
    played.tried_often("one bit of the stream turned over", Promise::RefusedBy(&["artifact-digest"]), endings);
    Ok(played)
}

//! Slow retrieval: the first source gives so little at a time that a patch never comes. The agent leaves a source
//! that is slower than its minimum for the next one.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::relay::Serves;
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill = Drill {
    name: "slow-retrieval",
    attack: "The first node gives a byte a second.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/slow-retrieval";
/// The agent's patience with a source, shorter than people would have it.
const PATIENCE: &str = "[download]\nminimum_bytes_per_s = 4096\npatience_ms = 1000\n";

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let (slow, honest) = (stage.relay().await?, stage.relay().await?);
    // Who brought the newest head is asked first: with one head at both, that is the first in the list.
    let head = stage.head().await?;
    for relay in [&slow, &honest] {
        relay.behave(|manners| manners.head = Some(head.clone()));
    }
    slow.behave(|manners| manners.serves = Serves::Dripping);
    let kind = Kind { products: &[PRODUCT], nodes: &[&slow.url, &honest.url], more: PATIENCE, ..Kind::default() };
    let ending = stage.host(kind)?.apply(&patch).await?;
    played.tried("the slow one first, an honest one second", Promise::Finishes, ending);
    if slow.fetches() == 0 || honest.fetches() == 0 {
        return Err(AttackError::Stage("one of the two nodes was not asked for the artifact".to_owned()));
    }

    let alone = Kind { products: &[PRODUCT], nodes: &[&slow.url], more: PATIENCE, ..Kind::default() };
    let ending = stage.host(alone)?.apply(&patch).await?;
    played.tried("the slow one alone", Promise::RefusedBy(&["artifact-unavailable"]), ending);
    slow.behave(|manners| manners.serves = Serves::Honestly);
    let ending = stage.host(alone)?.apply(&patch).await?;
    played.control("the same node alone, as fast as it can", ending);
    Ok(played)
}

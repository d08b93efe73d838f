//! Endless data: a node never ends an artifact. Its length is signed: the agent stops there, and memory and disk
//! stay bounded.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::{Host, Kind};
use crate::attack::judge::Promise;
use crate::attack::relay::{Relay, Serves};
use crate::attack::report::Played;
use crate::attack::stage::Stage;

pub(super) const DRILL: Drill =
    Drill { name: "endless-data", attack: "A node never ends the artifact.", play: |stage| Box::pin(play(stage)) };

const PRODUCT: &str = "vendor-a/endless-data";
/// What the agent's memory may grow by over what it has when the node is honest: windows and pieces on the way.
const MEMORY_GROWTH_MAX: u64 = 16 * 1024 * 1024;
/// What may be sent beyond the artifact before the node notices that nobody listens: buffers on the way.
const BEYOND_MAX: u64 = 4 * 1024 * 1024;
/// What the agent may keep beside an artifact and the tree that is unpacked from it.
const NOTES_MAX: u64 = 1024 * 1024;

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let packed = stage.pack(PRODUCT, 1, &[]).await?;
    let (patch, size) = (stage.approved(&packed).await?, packed.artifact_bytes()?);
    let relay = stage.relay().await?;
    // The agents are to try when they are asked, and not before.
    relay.behave(|manners| manners.lists_nothing = true);

    let honest = asked(stage, &relay, &patch, Serves::Honestly).await?;
    played.control("the same node, honest", honest.ending);
    let (mut memory, mut disk) = (0, 0);
    for (serves, tried, promise) in [
        (Serves::Nonsense, "zeros for ever", Promise::RefusedBy(&["artifact-digest"])),
        (Serves::WithoutEnd, "the artifact, then zeros for ever", Promise::Finishes),
    ] {
        let came = asked(stage, &relay, &patch, serves).await?;
        played.tried(tried, promise, came.ending);
        (memory, disk) = (came.memory.max(memory), came.disk.max(disk));
    }
    played.measured(
        "memory more than with an honest node, bytes",
        memory.saturating_sub(honest.memory),
        MEMORY_GROWTH_MAX,
    );
    played.measured("bytes on the disk", disk, 2 * size + NOTES_MAX);
    played.measured("bytes sent", relay.sent(), size + 2 * BEYOND_MAX);
    Ok(played)
}

/// What came of asking a fresh host whose agent runs.
struct Came {
    ending: crate::attack::judge::Ending,
    memory: u64,
    disk: u64,
}

async fn asked(stage: &mut Stage, relay: &Relay, patch: &str, serves: Serves) -> Result<Came, AttackError> {
    relay.behave(|manners| manners.serves = serves);
    let mut host: Host = stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() })?;
    stage.start(&mut host).await?;
    let ending = host.apply(patch).await?;
    let (memory, disk) = (host.memory_peak()?, host.disk());
    stage.stop(&mut host)?;
    Ok(Came { ending, memory, disk })
}

//! Clock: a host's clock is three days slow, or 400 days fast. Nobody can turn the clock of a machine for a drill; what a
//! host sees of it is how far a header's time is from its own, so here it is the header that is three days ahead, or 400
//! old, signed by every validator. Such a host applies nothing.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::{Host, Kind};
use crate::attack::judge::{Ending, Promise};
use crate::attack::relay::Relay;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, parsed};
use ledger::proof::ProofBundle;

pub(super) const DRILL: Drill = Drill {
    name: "clock",
    attack: "A host's clock is three days behind the ledger, or 400 days ahead.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/clock";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How far the ledger is ahead of a host's clock, and the check that says so.
const WRONG: [(&str, i64, &[&str]); 2] =
    [("three days behind", 3 * DAY_MS, &["clock-behind"]), ("400 days ahead", -400 * DAY_MS, &["stale"])];

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let proof = parsed(&stage.proof(&patch).await?)?;
    let (validators, relay) = (stage.steal_validators()?, stage.relay().await?);
    for (tried, ahead_ms, check) in WRONG {
        let away = validators.proof(&proof, |header| header.time_ms = header.time_ms.saturating_add_signed(ahead_ms));
        let endings = both_ways(stage, &relay, &patch, &away).await?;
        played.tried_often(tried, Promise::RefusedBy(check), endings.into());
    }
    let in_time = validators.proof(&proof, |_| {});
    let [by_its_node, by_a_file] = both_ways(stage, &relay, &patch, &in_time).await?;
    played.control("right, and the same validators sign, by its node", by_its_node);
    played.control("right, and the same validators sign, by a proof file", by_a_file);
    Ok(played)
}

/// What fresh hosts say to a proof: one asks the node, another is brought a file.
async fn both_ways(
    stage: &mut Stage,
    relay: &Relay,
    patch: &str,
    proof: &ProofBundle,
) -> Result<[Ending; 2], AttackError> {
    relay.shows(proof);
    let mut host = || stage.host(Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() });
    let hosts: [Host; 2] = [host()?, host()?];
    let file = stage.write("clock.proof", &proof.bytes())?;
    Ok([hosts[0].apply(patch).await?, hosts[1].apply_from(patch, &file).await?])
}

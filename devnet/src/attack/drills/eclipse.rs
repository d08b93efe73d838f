//! Eclipse: every node that an endpoint can ask shows it the past, and so does a proof that somebody brings. The age of
//! what is shown counts, and not how many show it: beyond the greatest age the agent says STALE, and applies nothing.

use super::freeze::{MAX_AGE_MS, soon_stale};
use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::forge::now_ms;
use crate::attack::host::Kind;
use crate::attack::judge::Promise;
use crate::attack::report::Played;
use crate::attack::stage::{Stage, parsed, wait_for};
use std::fs;

pub(super) const DRILL: Drill = Drill {
    name: "eclipse",
    attack: "All nodes a host can ask go on serving the past.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/eclipse";
/// Whose nodes they are.
const NODES: [&str; 3] = ["site", "vendor-a", "approver-b"];
/// By how much the alarm may come later than the greatest age: the agent looks once a second, on a machine that may have
/// much to do.
const LATE_MS_MAX: u64 = 5_000;

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let patch = stage.release(PRODUCT, 1, &[]).await?;
    let past = parsed(&stage.proof(&patch).await?)?;
    let mut relays = Vec::new();
    for name in NODES {
        let relay = stage.relay_before(name).await?;
        relay.shows(&past);
        relays.push(relay);
    }
    let urls: Vec<&str> = relays.iter().map(|relay| relay.url.as_str()).collect();
    let mut host = stage.host(Kind { products: &[PRODUCT], nodes: &urls, ledger: &soon_stale(), ..Kind::default() })?;
    stage.start(&mut host).await?;
    let log = host.agent.log.clone();
    wait_for("an alarm", async || Ok(fs::read_to_string(&log).ok().filter(|said| said.contains("STALE")))).await?;
    let age_ms = now_ms().saturating_sub(past.header.time_ms);
    let too_old = Promise::RefusedBy(&["stale"]);
    played.tried("three nodes, until it is too old", too_old, host.apply(&patch).await?);
    let file = stage.write("eclipse.proof", &past.bytes())?;
    played.tried("and the proof of then, in a file", too_old, host.apply_from(&patch, &file).await?);
    played.measured("ms from the greatest age to the alarm", age_ms.saturating_sub(MAX_AGE_MS), LATE_MS_MAX);

    if let Some(honest) = relays.last() {
        honest.comes_clean();
    }
    host.says_it_is("fresh").await?;
    played.control("one of the three, honest again", host.apply(&patch).await?);
    stage.stop(&mut host)?;
    Ok(played)
}

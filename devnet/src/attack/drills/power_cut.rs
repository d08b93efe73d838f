//! Power cut: an agent dies in the middle of an update, whenever that is. When it runs again the host has exactly the old
//! version or exactly the new one, and the receipt says which.

use crate::attack::Drill;
use crate::attack::error::AttackError;
use crate::attack::host::{Host, Kind};
use crate::attack::judge::{Ending, Promise};
use crate::attack::report::Played;
use crate::attack::stage::{Stage, wait_closely, wait_for};
use proto::v1::{ListReceiptsRequest, Receipt};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use std::time::{Duration, Instant};

pub(super) const DRILL: Drill = Drill {
    name: "power-cut",
    attack: "An agent is killed in the middle of updates, at any moment.",
    play: |stage| Box::pin(play(stage)),
};

const PRODUCT: &str = "vendor-a/power-cut";
/// Moments at which it is killed; more of them on demand.
const KILLS: usize = 20;
/// One in so many of them, at the least, falls within an update: else nothing is shown.
const HITS: u64 = 10;
/// For how much longer than until the new version is in its place, for what comes after that.
const BEYOND: f64 = 1.5;
/// How often is looked whether an update has begun, or is in its place: it takes some hundredths of a second.
const CLOSELY: Duration = Duration::from_millis(1);
/// What they are drawn from.
const SEED: u64 = 7;
/// What makes an update last: it is in place, and whether it is healthy nobody knows yet.
const LONG_HEALTH: &[&str] = &["--health-command", "/bin/sleep 60", "--probe-timeout", "120s"];

async fn play(stage: &mut Stage) -> Result<Played, AttackError> {
    let mut played = Played::default();
    let old = stage.release(PRODUCT, 1, &[]).await?;
    let (long, new) = (stage.release(PRODUCT, 2, LONG_HEALTH).await?, stage.release(PRODUCT, 3, &[]).await?);
    // The agents are to try when they are asked, and not before.
    let relay = stage.relay().await?;
    relay.behave(|manners| manners.lists_nothing = true);
    let kind = Kind { products: &[PRODUCT], nodes: &[&relay.url], ..Kind::default() };
    let (left_alone, mut host) = (stage.host(kind)?, stage.host(kind)?);
    for host in [&left_alone, &host] {
        played.control("the old version", host.apply(&old).await?);
    }
    let until_in_place = async {
        left_alone.begins_an_update().await?;
        let begun = Instant::now();
        in_place(stage, &left_alone, 3).await.map(|()| begun.elapsed())
    };
    let (applied, until_in_place) = tokio::join!(left_alone.apply(&new), until_in_place);
    played.control("the new one, on a host where nobody is killed", applied?);
    // Afterwards it only has its receipt taken.
    let longest = until_in_place?.mul_f64(BEYOND);

    let mut tally = Tally::default();
    host.killed_while_applying(&long, in_place(stage, &host, 2)).await?;
    let ending = begun_again(stage, &mut host, &mut tally).await?;
    played.tried("killed while it looks whether it is healthy", Promise::RefusedBy(&["interrupted"]), ending);

    let mut dice = StdRng::seed_from_u64(SEED);
    for _ in 0..KILLS * stage.times {
        let after = longest.mul_f64(dice.random());
        let moment = async {
            host.begins_an_update().await?;
            tokio::time::sleep(after).await;
            Ok(())
        };
        host.killed_while_applying(&new, moment).await?;
        tally.cut += u64::from(host.status().await?.get("interrupted").is_some_and(Value::is_string));
        if let Ending::Done { .. } = begun_again(stage, &mut host, &mut tally).await? {
            host.take_back(&new).await?;
        }
    }
    if tally.cut * HITS < (KILLS * stage.times) as u64 {
        let why = format!("{} of {} kills fell within an update: that shows nothing", tally.cut, KILLS * stage.times);
        return Err(AttackError::Stage(why));
    }
    played.measured("neither old nor new", tally.mixed, 0);
    played.measured("receipts that say otherwise", tally.otherwise, 0);
    played.control("the new one, when nobody is killed any more", host.apply(&new).await?);
    Ok(played)
}

/// Waits until a release is where programs find it.
async fn in_place(stage: &Stage, host: &Host, release: u64) -> Result<(), AttackError> {
    let files = stage.packed_files(PRODUCT, release)?;
    wait_closely(
        "a release in its place",
        CLOSELY,
        async || Ok((host.installed_files(PRODUCT)? == files).then_some(())),
    )
    .await
}

impl Host {
    /// Waits until its agent begins an update: then its journal is another one.
    async fn begins_an_update(&self) -> Result<(), AttackError> {
        let journal = self.agent.data_dir.join("journal");
        let stamp = || std::fs::metadata(&journal).ok().and_then(|there| Some((there.len(), there.modified().ok()?)));
        let before = stamp();
        wait_closely("an update that begins", CLOSELY, async || Ok((stamp() != before).then_some(()))).await
    }
}

/// How often it was cut, and what must not be.
#[derive(Default)]
struct Tally {
    /// Updates that were under way when their agent was killed.
    cut: u64,
    mixed: u64,
    otherwise: u64,
}

/// What the host has when its agent runs again, and what its newest receipt says of it.
async fn begun_again(stage: &mut Stage, host: &mut Host, tally: &mut Tally) -> Result<Ending, AttackError> {
    stage.start(host).await?;
    wait_for("receipts that are final", async || {
        let status = host.status().await?;
        Ok(status.get("receipts_waiting").and_then(Value::as_u64).filter(|waiting| *waiting == 0).map(drop))
    })
    .await?;
    stage.stop(host)?;
    let there = host.installed_files(PRODUCT)?;
    let releases = [1, 3].map(|release| Ok((release, stage.packed_files(PRODUCT, release)?)));
    let releases = releases.into_iter().collect::<Result<Vec<_>, AttackError>>()?;
    let release = releases.into_iter().find(|(_, files)| *files == there).map(|(release, _)| release);
    let receipt = stage.newest_receipt(host).await?;
    tally.mixed += u64::from(release.is_none());
    tally.otherwise += u64::from(release.is_none_or(|release| receipt.to_version != format!("1.{release}")));
    Ok(match (release, receipt.reason.as_str()) {
        (Some(3), _) => Ending::Done { what: "the new version is installed".to_owned() },
        (_, "") => Ending::Neither { what: format!("{release:?} is installed: {}", receipt.outcome) },
        (_, reason) => Ending::Refused { check: reason.to_owned(), detail: receipt.detail },
    })
}

impl Stage {
    /// What a host told the ledger last.
    async fn newest_receipt(&self, host: &Host) -> Result<Receipt, AttackError> {
        let endpoint = hex::decode(&host.agent.key).map_err(|_| AttackError::Stage("a host has no key".to_owned()))?;
        let request = ListReceiptsRequest { endpoint, page_size: 1, ..Default::default() };
        let mut client = crate::client::connect(&self.site()?.grpc, &self.devnet.ca).await?;
        let answer = client.list_receipts(request).await.map_err(AttackError::refused)?.into_inner();
        let nothing = || AttackError::Stage(format!("{} told the ledger nothing", host.agent.name));
        answer.receipts.into_iter().next().ok_or_else(nothing)
    }
}

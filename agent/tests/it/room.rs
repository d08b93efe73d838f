//! What a dry run says of room is what an update asks for: of every kind of patch.

use crate::following::Daemon;
use crate::support::bench::{Bench, Files, Packages, Rpms, Tree};
use crate::support::containers::Images;
use crate::support::disk::{Mount, Squeeze};
use crate::support::endpoint::{Endpoint, PROGRAM, approved_set};
use crate::support::node::World;
use crate::support::scripts::Scripts;
use crate::support::{eventually, left_out};
use ledger::bounded::List;
use ledger::id::PatchId;
use ledger::receipt::{Outcome, ReasonCode};
use tokio::process::Command;

/// What stays free on a disk whatever is fetched.
const SPARE_BYTES: u64 = 16 << 20;

/// The verdict of a dry run on room, and its evidence.
async fn dry_run(endpoint: &Endpoint, patch: PatchId) -> (String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["apply", &patch.to_string(), "--dry-run", "-o", "json", "--config"]).arg(endpoint.config_path());
    let output = command.env_remove("COUNTERSIGN_LOG").output().await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = said["checks"].as_array().unwrap();
    let room = checks.iter().find(|check| check["check"] == "room").unwrap();
    let text = |field: &str| room[field].as_str().unwrap().to_owned();
    (text("verdict"), text("said"))
}

/// `… bytes are needed (…)`, without how many are free at this moment.
fn needed(said: &str) -> String {
    said.split("), ").next().unwrap().to_owned()
}

/// Megabytes of a disk with room for what nobody can reckon before it is there: an image that is unpacked is larger than
/// its layers, and beside a script 64 MiB stay free.
const ROOMY: usize = 192;

async fn a_dry_run_asks_for_the_room_that_an_update_asks_for<B: Bench>(megabytes: usize) {
    let mut bench = match B::new() {
        Ok(bench) => bench,
        Err(why) => return left_out(&why),
    };
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &bench.config()).patient();
    let Some(_mount) = Mount::small(&endpoint.data(), megabytes) else {
        return left_out("only root may mount a small disk");
    };
    bench.build(&endpoint);
    let (kind, artifacts) = (bench.kind(), bench.artifacts(1));
    let bytes: u64 = artifacts.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let patch = approved_set(&world, 1, kind, artifacts, |manifest| {
        manifest.health = List::new(vec![bench.probe(1)]).unwrap();
    });

    // Enough to fetch it, and not for what is made of it.
    let squeeze = Squeeze::FullBut(SPARE_BYTES + bytes + bytes / 2);
    assert!(squeeze.on(&endpoint.data()));
    let (verdict, said) = dry_run(&endpoint, patch).await;
    assert_eq!(verdict, "no", "{kind:?}: {said}");
    assert!(said.starts_with(&format!("{} bytes are needed ({bytes} to fetch,", 2 * bytes + SPARE_BYTES)), "{said}");
    let settled = endpoint.apply(patch).await;
    let reason = settled.reason.clone().unwrap();
    assert_eq!((settled.outcome, reason.code), (Outcome::Refused, ReasonCode::DiskFull), "{settled}");
    assert_eq!(needed(reason.detail.as_str()), needed(&said), "{kind:?}");
    assert!(node.asked().fetches.is_empty(), "{kind:?}: nothing is fetched for which there is no room");

    squeeze.off(&endpoint.data());
    let (verdict, said_then) = dry_run(&endpoint, patch).await;
    assert_eq!((verdict.as_str(), needed(&said_then)), ("yes", needed(&said)), "{kind:?}");
    let settled = endpoint.apply(patch).await;
    assert_eq!(settled.outcome, Outcome::Applied, "{settled}");
}

#[tokio::test]
async fn of_directory_trees() {
    a_dry_run_asks_for_the_room_that_an_update_asks_for::<Tree>(64).await;
}

#[tokio::test]
async fn of_debian_packages() {
    a_dry_run_asks_for_the_room_that_an_update_asks_for::<Packages>(64).await;
}

#[tokio::test]
async fn of_rpm_packages() {
    a_dry_run_asks_for_the_room_that_an_update_asks_for::<Rpms>(64).await;
}

#[tokio::test]
async fn of_file_sets() {
    a_dry_run_asks_for_the_room_that_an_update_asks_for::<Files>(64).await;
}

#[tokio::test]
async fn of_container_images() {
    a_dry_run_asks_for_the_room_that_an_update_asks_for::<Images>(ROOMY).await;
}

#[tokio::test]
async fn of_scripts() {
    a_dry_run_asks_for_the_room_that_an_update_asks_for::<Scripts>(ROOMY).await;
}

/// What a host says of itself, with the agent and without.
async fn status(endpoint: &Endpoint) -> String {
    let mut command = Command::new(PROGRAM);
    command.arg("status").arg("--config").arg(endpoint.config_path()).env_remove("COUNTERSIGN_LOG");
    String::from_utf8(command.output().await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_said_wherever_somebody_looks() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "").patient();
    let Some(_mount) = Mount::small(&endpoint.data(), 16) else {
        return left_out("only root may mount a small disk");
    };
    let shown = endpoint.data().display().to_string();
    assert!(!status(&endpoint).await.contains("TROUBLE"));
    let squeezes = [
        (Squeeze::FullBut(1 << 20), format!("TROUBLE    the disk of {shown} is full: ")),
        (Squeeze::ReadOnly, format!("TROUBLE    the disk of {shown} cannot be written: it is mounted read-only\n")),
    ];
    for (squeeze, said) in squeezes {
        assert!(squeeze.on(&endpoint.data()));
        let stopped = status(&endpoint).await;
        assert!(stopped.contains(&said), "{stopped}");
        squeeze.off(&endpoint.data());
        assert!(!status(&endpoint).await.contains("TROUBLE"));
    }
    // A running one says the same.
    let _daemon = Daemon::start(&endpoint);
    let running = async |is_full: bool| {
        eventually("a running agent to say it", async || {
            let said = status(&endpoint).await;
            (said.contains("(agent runs)") && said.contains(&format!("the disk of {shown} is full")) == is_full)
                .then_some(())
        })
        .await;
    };
    running(false).await;
    let squeeze = Squeeze::FullBut(1 << 20);
    assert!(squeeze.on(&endpoint.data()));
    running(true).await;
    squeeze.off(&endpoint.data());
    running(false).await;
}

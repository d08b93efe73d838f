//! Artifacts on their way in: only right bytes are written, and none of them twice.

use crate::support::archive::{Archive, tree_of};
use crate::support::endpoint::{Endpoint, PROGRAM, approved};
use crate::support::eventually;
use crate::support::node::{Artifacts, Node, World};
use agent::clock::now_ms;
use agent::settled::Settled;
use ledger::artifact::GROUP_BYTES;
use ledger::id::{Digest, PatchId};
use ledger::proof::ProofBundle;
use ledger::receipt::{Outcome, ReasonCode};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// An archive of a few dozen groups, no two of them alike.
fn large() -> Vec<u8> {
    let content: String = (0..60_000).map(|number| format!("{number:08}\n")).collect();
    Archive::new().file("data", &content).bytes()
}

struct Case {
    world: Arc<World>,
    nodes: Vec<Node>,
    endpoint: Endpoint,
    archive: Vec<u8>,
    patch: PatchId,
}

impl Case {
    async fn new(manners: &[Artifacts]) -> Self {
        let world = World::new();
        let mut nodes = Vec::new();
        for artifacts in manners {
            let node = world.node().await;
            node.behave(|manners| manners.artifacts = *artifacts);
            nodes.push(node);
        }
        let endpoint = Endpoint::new(&world, &nodes.iter().collect::<Vec<_>>(), "");
        let archive = large();
        let patch = approved(&world, 1, archive.clone(), |_| {});
        Self { world, nodes, endpoint, archive, patch }
    }

    async fn apply(&self) -> Settled {
        self.endpoint.apply(self.patch).await
    }

    fn partial(&self) -> PathBuf {
        self.endpoint.data().join("downloads").join(format!("{}.partial", Digest::blake3(&self.archive)))
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_taken_up_where_it_was() {
    let case = Case::new(&[Artifacts::BreaksAfter(200_000)]).await;
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    let fetches = case.nodes[0].asked().fetches;
    assert!(fetches.len() > 2 && fetches.is_sorted_by(|a, b| a < b), "{fetches:?}");
    assert!(fetches.iter().all(|offset| offset % GROUP_BYTES == 0), "{fetches:?}");
}

#[tokio::test]
async fn a_killed_agent_goes_on_where_its_download_was() {
    let mut case = Case::new(&[Artifacts::HangsAfter(200_000)]).await;
    case.endpoint.download = "patience_ms = 60000".to_owned();
    case.endpoint.configure("");
    let config = case.endpoint.config_path();
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["apply", &case.patch.to_string(), "--config"]).arg(config).kill_on_drop(true);
    let mut agent = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let groups = 200_000 / GROUP_BYTES - 1; // what 200,000 encoded bytes are at least
    let there = async || std::fs::metadata(case.partial()).ok().filter(|file| file.len() >= groups * GROUP_BYTES);
    eventually("the groups that were sent", there).await;
    agent.kill().await.unwrap();

    let there = std::fs::read(case.partial()).unwrap();
    assert_eq!(there, case.archive[..there.len()]);
    // And torn in the middle of a group, as a power cut might leave it.
    let whole = there.len() as u64 / GROUP_BYTES - 1;
    let torn = (whole + 1) * GROUP_BYTES - 5;
    std::fs::File::options().write(true).open(case.partial()).unwrap().set_len(torn).unwrap();
    case.nodes[0].behave(|manners| manners.artifacts = Artifacts::Honest);
    let before = case.nodes[0].asked();
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    let after = case.nodes[0].asked();
    assert_eq!(after.fetches[before.fetches.len()..], [whole * GROUP_BYTES]);
    let resent = after.sent - before.sent;
    assert!(resent < case.archive.len() as u64 - (whole - 1) * GROUP_BYTES, "{resent}");
}

#[tokio::test]
async fn a_wrong_byte_is_not_written() {
    let place = 5 * GROUP_BYTES as usize + 77;
    let case = Case::new(&[Artifacts::FlipAt(place)]).await;
    let settled = case.apply().await;
    assert_eq!(settled.reason.unwrap().code, ReasonCode::ArtifactDigest);
    let there = std::fs::read(case.partial()).unwrap();
    assert_eq!(there, case.archive[..5 * GROUP_BYTES as usize], "the groups before it, and not one byte more");
    assert!(case.endpoint.installed().is_none());
}

#[tokio::test]
async fn an_endless_stream_is_let_go_when_everything_is_there() {
    let case = Case::new(&[Artifacts::Endless]).await;
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    let sent = case.nodes[0].asked().sent;
    assert!(sent < 3 * case.archive.len() as u64, "{sent} bytes taken for {}", case.archive.len());
}

#[tokio::test]
async fn a_slow_source_is_left_for_the_next() {
    let case = Case::new(&[Artifacts::Dripping, Artifacts::Honest]).await;
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    assert_eq!(case.nodes[1].asked().fetches, [0]);
}

/// Fast enough in every window, and never through.
#[tokio::test]
async fn a_source_that_is_slow_for_ever_is_left_when_the_time_for_all_of_it_is_over() {
    let mut case = Case::new(&[Artifacts::Dripping]).await;
    case.endpoint.download = "minimum_bytes_per_s = 1\ndeadline_ms = 1500".to_owned();
    case.endpoint.configure("");
    let reason = case.apply().await.reason.unwrap();
    assert_eq!(reason.code, ReasonCode::ArtifactUnavailable);
    assert!(reason.detail.as_str().contains("the deadline is over"), "{reason}");
    assert!(case.endpoint.installed().is_none());
    // Which is no reason to begin anew: what came is here.
    case.nodes[0].behave(|manners| manners.artifacts = Artifacts::Honest);
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
}

#[tokio::test]
async fn one_honest_source_among_five_is_enough() {
    let liars = [Artifacts::FlipAt(100_000), Artifacts::Missing, Artifacts::EndsAfter(150_000), Artifacts::Shorter];
    let case = Case::new(&[liars[0], liars[1], liars[2], liars[3], Artifacts::Honest]).await;
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    assert_eq!(case.nodes[0].asked().fetches.len(), 1, "who lied is not asked again");
}

#[tokio::test]
async fn groups_that_were_damaged_meanwhile_are_fetched_again() {
    let case = Case::new(&[Artifacts::Honest]).await;
    drop(case.endpoint.open());
    std::fs::write(case.partial(), vec![0; 3 * GROUP_BYTES as usize]).unwrap();
    assert_eq!(case.apply().await.outcome, Outcome::Applied);
    assert_eq!(case.nodes[0].asked().fetches, [3 * GROUP_BYTES, 0]);
}

#[tokio::test]
async fn bytes_changed_between_check_and_use_are_not_used() {
    let case = Case::new(&[Artifacts::Honest]).await;
    let worker = case.endpoint.worker().await;
    drop(worker);
    let mut site = case.endpoint.open();
    let bundle: ProofBundle = case.world.ledger().proof(case.patch).unwrap();
    for place in [0, 512 + 100, case.archive.len() as u64 - 1] {
        let mut log = agent::attempt_log::AttemptLog::begin(&case.endpoint.data().join("logs"), 1, case.patch);
        let patch = bundle.verify(&site.trust, site.heads.clock(now_ms())).unwrap();
        let again = patch.clone();
        let permit = site.policy().permit(patch, &site.host().unwrap(), now_ms()).unwrap();
        let staged = site.installer.stage(permit, &site.origins, 0, &mut log).await.unwrap();

        let file = std::fs::File::options().read(true).write(true).open(case.partial()).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 1], place).unwrap();

        let ready = staged.confirm(&again).unwrap();
        let refusal = site.installer.apply(1, ready, || Ok(()), &mut log).await.unwrap_err();
        assert_eq!(refusal.reason.code, ReasonCode::ArtifactDigest, "{place}: {refusal:?}");
        assert!(case.endpoint.installed().is_none());
        site.installer.close().unwrap();
        file.write_all_at(&byte, place).unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_says_no_is_named() {
    let case = Case::new(&[Artifacts::Honest]).await;
    case.endpoint.adopt("0", 0, &tree_of("0"));
    let versions = case.endpoint.installed().unwrap().tree.parent().unwrap().to_owned();
    let mut worker = case.endpoint.worker().await;
    // A directory stands where the description of the new version has to go.
    std::fs::create_dir_all(versions.join(format!("patch-{}.json/full", case.patch))).unwrap();
    let settled = worker.apply(&case.patch.to_string(), None).await.unwrap();
    assert_eq!((settled.outcome, settled.reason.unwrap().code), (Outcome::Refused, ReasonCode::Io));
    assert_eq!(case.endpoint.version().as_deref(), Some("0"));
}

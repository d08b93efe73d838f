//! Deltas: less is fetched, and nothing else is ever installed.

use crate::support::archive::Archive;
use crate::support::endpoint::{Endpoint, approved, manifest};
use crate::support::node::{Node, World};
use ledger::bounded::{List, Name};
use ledger::id::{Digest, PatchId};
use ledger::patch::Artifact;
use ledger::receipt::Outcome;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// A release: much of it is as in the one before.
fn release(number: u32) -> Vec<u8> {
    let content: String = (0..60_000).map(|line| format!("{:08}\n", line * 7919 % 100_003)).collect();
    Archive::new().file("data", &content).file("version", &format!("{number}\n")).bytes()
}

/// As `zstd --patch-from` makes it.
fn delta(base: &[u8], new: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), 19, base).unwrap();
    encoder.window_log(base.len().max(new.len()).ilog2() + 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(new).unwrap();
    encoder.finish().unwrap()
}

struct Case {
    world: Arc<World>,
    node: Node,
    endpoint: Endpoint,
}

impl Case {
    /// A host that has the first release, fetched by itself.
    async fn new() -> Self {
        let world = World::new();
        let node = world.node().await;
        let endpoint = Endpoint::new(&world, &[&node], "").patient();
        let first = approved(&world, 1, release(1), |_| {});
        assert_eq!(endpoint.apply(first).await.outcome, Outcome::Applied);
        Self { world, node, endpoint }
    }

    /// The second release, with a delta that says that it starts from a payload.
    fn second(&self, number: u64, delta: Vec<u8>, from: Digest) -> PatchId {
        let named = manifest(&self.world, number, &delta).artifacts[0].clone();
        let named = Artifact { name: Name::new("tree.tar.delta").unwrap(), delta_from: Some(from), ..named };
        self.world.store(delta);
        approved(&self.world, number, release(2), |manifest| {
            let whole = manifest.artifacts[0].clone();
            manifest.artifacts = List::new(vec![whole, named]).unwrap();
        })
    }

    /// Applies it; how many bytes the node sent for that.
    async fn apply(&self, patch: PatchId) -> u64 {
        let before = self.node.asked().sent;
        assert_eq!(self.endpoint.apply(patch).await.outcome, Outcome::Applied);
        assert_eq!(self.endpoint.tree()["version"].1, b"2\n");
        assert_eq!(std::fs::read(self.partial(&release(2))).unwrap(), release(2));
        self.node.asked().sent - before
    }

    fn partial(&self, archive: &[u8]) -> PathBuf {
        self.endpoint.data().join("downloads").join(format!("{}.partial", Digest::blake3(archive)))
    }
}

fn whole() -> u64 {
    release(2).len() as u64
}

#[tokio::test]
async fn after_a_delta_that_lies_no_other_is_tried() {
    let case = Case::new().await;
    let lies: Vec<Vec<u8>> = (3..6).map(|number| delta(&release(1), &release(number))).collect();
    let named: Vec<Artifact> = (0_u32..)
        .zip(&lies)
        .map(|(number, bytes)| {
            let named = manifest(&case.world, 2, bytes).artifacts[0].clone();
            let name = Name::new(format!("tree.tar.delta-{number}")).unwrap();
            Artifact { name, delta_from: Some(Digest::blake3(&release(1))), ..named }
        })
        .collect();
    lies.into_iter().for_each(|bytes| case.world.store(bytes));
    let patch = approved(&case.world, 2, release(2), |manifest| {
        let whole = manifest.artifacts[0].clone();
        manifest.artifacts = List::new([vec![whole], named].concat()).unwrap();
    });
    let before = case.node.asked().fetches.len();
    assert!(case.apply(patch).await >= whole());
    assert_eq!(case.node.asked().fetches.len() - before, 2, "one delta, and the whole");
}

#[tokio::test]
async fn a_host_that_has_what_a_delta_starts_from_fetches_the_delta_alone() {
    let case = Case::new().await;
    let delta = delta(&release(1), &release(2));
    let (length, patch) = (delta.len() as u64, case.second(2, delta, Digest::blake3(&release(1))));
    let sent = case.apply(patch).await;
    assert!(length < whole() / 20 && sent < 2 * length + 1000, "{sent} sent, a delta of {length}");
}

#[tokio::test]
async fn what_cannot_be_made_is_fetched_whole() {
    let (right, lie) = (delta(&release(1), &release(2)), delta(&release(1), &release(3)));
    let bomb = delta(&release(1), &vec![0; 64 * 1024 * 1024]);
    let (old, other) = (Digest::blake3(&release(1)), Digest::blake3(b"never seen"));
    let cut = right[..right.len() / 2].to_vec();
    for (what, delta, from, download) in [
        ("it makes something else", lie, old, ""),
        ("it makes far more", bomb, old, ""),
        ("it is no zstd", vec![7; 3000], old, ""),
        ("it is cut off", cut, old, ""),
        ("what it starts from is not here", right.clone(), other, ""),
        ("it is larger than the whole", vec![7; 1_000_000], old, ""),
        ("there is no memory for it", right.clone(), old, "delta_memory_mb = 1"),
        ("deltas are not wanted", right.clone(), old, "delta_memory_mb = 0"),
    ] {
        let mut case = Case::new().await;
        case.endpoint.download.push_str(&format!("\n{download}"));
        case.endpoint.configure("");
        let patch = case.second(2, delta, from);
        let sent = case.apply(patch).await;
        assert!(sent >= whole(), "{what}: {sent} bytes sent");
        let left = std::fs::read_dir(case.endpoint.data().join("downloads")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(left.iter().all(|name| name.ends_with(".partial")), "{what}: {left:?}");
    }
}

/// A payload compressed by itself, with a window of so many bytes (a power of two).
fn compressed(new: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(new).unwrap();
    encoder.finish().unwrap()
}

/// A delta from nothing needs nothing on the host: it is the payload compressed.
#[tokio::test]
async fn a_host_that_has_nothing_fetches_the_payload_compressed() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "").patient();
    let case = Case { world, node, endpoint };
    let delta = compressed(&release(2), 20);
    let (length, patch) = (delta.len() as u64, case.second(2, delta, Digest::blake3(b"")));
    let sent = case.apply(patch).await;
    assert!(length < whole() / 2 && sent < whole() * 3 / 4, "{sent} sent, {length} of {}", whole());
}

/// What is in a frame does not decide how much memory the agent takes.
#[tokio::test]
async fn what_is_compressed_with_a_larger_window_than_is_allowed_is_fetched_whole() {
    let case = Case::new().await;
    let patch = case.second(2, compressed(&release(2), 25), Digest::blake3(b""));
    assert!(case.apply(patch).await >= whole());
}

#[tokio::test]
async fn what_a_delta_starts_from_is_looked_at_before_it_is_used() {
    let case = Case::new().await;
    let patch = case.second(2, delta(&release(1), &release(2)), Digest::blake3(&release(1)));
    let mut damaged = release(1);
    damaged[100_000] ^= 1;
    std::fs::write(case.partial(&release(1)), damaged).unwrap();
    assert!(case.apply(patch).await >= whole());
}

#[tokio::test]
async fn a_delta_that_lies_is_not_fetched_again() {
    let case = Case::new().await;
    let patch = case.second(2, delta(&release(1), &release(3)), Digest::blake3(&release(1)));
    let mut worker = case.endpoint.worker().await;
    let site = worker.site();
    let bundle = case.world.ledger().proof(patch).unwrap();
    let mut asked = Vec::new();
    for _ in 0..2 {
        let _ = std::fs::remove_file(case.partial(&release(2)));
        let before = case.node.asked().fetches.len();
        let mut log = agent::attempt_log::AttemptLog::begin(&case.endpoint.data().join("logs"), 9, patch);
        let now_ms = agent::clock::now_ms();
        let proven = bundle.verify(&site.trust, site.heads.clock(now_ms)).unwrap();
        let permit = site.policy().permit(proven, &site.host().unwrap(), now_ms).unwrap();
        site.installer.stage(permit, &site.origins, 0, &mut log).await.unwrap();
        asked.push(case.node.asked().fetches.len() - before);
    }
    assert_eq!(asked, [2, 1], "the delta and the whole, and then the whole alone");
    worker.apply(&patch.to_string(), None).await.unwrap();
    assert_eq!(case.endpoint.tree()["version"].1, b"2\n");
    worker.site().installer.services().stop_all().await;
}

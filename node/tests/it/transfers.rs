//! Artifacts between nodes, and readers that do not read.

use crate::artifact_store::files;
use crate::artifacts::upload;
use crate::support::peer::{ARTIFACT, Peer};
use crate::support::site::{Node, Site, channel};
use crate::support::wait_for;
use crate::support::world::{World, digests, payload};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use ledger::id::Digest;
use ledger::state::record::Role;
use node::artifacts::Artifacts;
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::{FetchRequest, StatRequest};

/// Larger than what any buffer on the way takes in.
const LARGE: usize = 8 * 1024 * 1024;

async fn await_artifact(node: &Node, blake3: Digest) {
    wait_for("an artifact", async || {
        let request = StatRequest { blake3: blake3.0.to_vec() };
        node.artifacts().stat(request).await.unwrap().into_inner().complete.then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_node_gets_every_published_artifact_from_whoever_has_it() {
    let world = World::new(61);
    let first = Site::validator(&world);
    let second = Site::observer(&world, "bank").knowing(&first.key.public(), &first.peer_address());
    let (one, other) = (first.start().await, second.start().await);
    let bytes = payload(1, 300_000);
    upload(&one, world.granted(&bytes), &bytes).await.unwrap();
    one.finalise(&world.publish(world.manifest_of(1, &bytes))).await;
    await_artifact(&other, digests(&bytes).blake3).await;

    // One that was published while it was down is fetched after its start.
    other.stop();
    let bytes = payload(2, 300_000);
    upload(&one, world.granted(&bytes), &bytes).await.unwrap();
    one.finalise(&world.publish(world.manifest_of(2, &bytes))).await;
    let other = second.start().await;
    await_artifact(&other, digests(&bytes).blake3).await;
}

/// A member that serves rubbish: nothing of it is kept, and when it serves the truth that is taken.
#[tokio::test]
async fn forged_pieces_from_a_peer_are_never_stored() {
    let world = World::new(62);
    let (bytes, other) = (payload(3, 300_000), payload(4, 300_000));
    let digest = digests(&bytes).blake3;
    let store = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(store.path().to_owned()).unwrap();
    let encoding = |bytes: &[u8]| {
        let known = digests(bytes);
        let mut incoming = artifacts.receive(known.blake3, known.size).unwrap();
        incoming.write(bytes).unwrap();
        artifacts.keep(incoming).unwrap();
        let mut encoding = known.size.to_le_bytes().to_vec();
        artifacts.encode(&known.blake3, 0, 0, &mut encoding).unwrap();
        encoding
    };
    let truth = encoding(&bytes);
    let mut flipped = truth.clone();
    flipped[200_000] ^= 1;
    let mut other_size = truth.clone();
    other_size[0] ^= 1;
    let mut endless = truth[..100_000].to_vec();
    endless.extend(vec![0; LARGE]);
    let answers = [
        encoding(&other),
        flipped,
        other_size,
        truth[..150_000].to_vec(),
        truth[..5].to_vec(),
        Vec::new(),
        endless,
        u64::MAX.to_le_bytes().to_vec(),
        0u64.to_le_bytes().to_vec(),
    ];
    let lies = answers.len();

    let site = Site::validator(&world);
    let node = site.start().await;
    let peer = Peer::new(&world.key("bank", Role::Node), &site.key.public(), site.peer_address()).await;
    let mut asked = peer.incoming(ARTIFACT);
    node.finalise(&world.publish(world.manifest_of(1, &bytes))).await;
    for (place, answer) in answers.into_iter().chain([truth]).enumerate() {
        let (_, mut stream) = asked.next().await.unwrap();
        let mut wanted = [0; 32];
        stream.read_exact(&mut wanted).await.unwrap();
        assert_eq!(wanted, digest.0, "asked for something else");
        if place > 0 {
            let whole = files(&site.data().join("artifacts"));
            assert!(whole.iter().all(|file| !file.contains(&digest.to_string())), "after lie {place}: {whole:?}");
        }
        // It may stop listening early.
        let _ = stream.write_all(&answer).await;
        let _ = stream.close().await;
        if place < lies {
            let request = StatRequest { blake3: digest.0.to_vec() };
            assert!(!node.artifacts().stat(request).await.unwrap().into_inner().complete, "lie {place} was believed");
        }
    }
    await_artifact(&node, digest).await;
    node.assert_goes_on(&world, 1).await;
    node.stop();
}

/// Readers that ask for much and read nothing hold threads and files; others must not wait for them.
#[tokio::test]
async fn clients_that_do_not_read_do_not_stop_the_node() {
    let world = World::new(63);
    let site = Site::validator(&world);
    let node = site.start().await;
    let bytes = payload(5, LARGE);
    upload(&node, world.granted(&bytes), &bytes).await.unwrap();
    let known = digests(&bytes);
    let mut unread = Vec::new();
    for _ in 0..4 {
        let greedy = channel(&site.url, &site.path("ca.pem")).await.unwrap();
        for _ in 0..200 {
            let request = FetchRequest { blake3: known.blake3.0.to_vec(), size: known.size, offset: 0, length: 0 };
            let mut client = ArtifactsClient::new(greedy.clone());
            // Some are refused: there are only so many at once.
            if let Ok(stream) = client.fetch(request).await {
                unread.push(stream);
            }
        }
    }
    assert!(unread.len() >= 50, "{} were begun", unread.len());
    for number in 0..5 {
        node.assert_goes_on(&world, number).await;
    }
    drop(unread);
    // And when they are gone, everybody can read again.
    wait_for("a transfer", async || {
        let request = FetchRequest { blake3: known.blake3.0.to_vec(), size: known.size, offset: 0, length: 0 };
        crate::artifacts::fetch(&node, request).await.ok()
    })
    .await;
    node.stop();
}

#[tokio::test]
async fn peers_that_do_not_read_do_not_stop_the_node() {
    let world = World::new(64);
    let site = Site::validator(&world);
    let node = site.start().await;
    let bytes = payload(6, LARGE);
    upload(&node, world.granted(&bytes), &bytes).await.unwrap();
    let digest = digests(&bytes).blake3;
    let mut unread = Vec::new();
    for organisation in ["bank", "clinic", "depot"] {
        let key = world.key(organisation, Role::Node);
        let peer = Peer::new(&key, &site.key.public(), site.peer_address()).await;
        for _ in 0..200 {
            let mut stream = peer.open(ARTIFACT).await;
            let _ = stream.write_all(&digest.0).await;
            let _ = stream.flush().await;
            unread.push(stream);
        }

        node.assert_goes_on(&world, unread.len() as u64).await;
        std::mem::forget(peer);
    }
    node.stop();
}

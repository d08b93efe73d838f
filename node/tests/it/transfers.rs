//! Artifacts between nodes, and readers that do not read.

use crate::artifact_store::{encoded, files, keep, open, vendor};
use crate::artifacts::upload;
use crate::refusals::assert_refused;
use crate::support::answering::Answering;
use crate::support::peer::{ARTIFACT, Peer};
use crate::support::site::{Node, Site, channel, channel_from};
use crate::support::wait_for;
use crate::support::world::{World, digests, payload};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use ledger::id::Digest;
use ledger::state::record::Role;
use node::artifacts::{ArtifactError, ArtifactLimits, Artifacts, fetch_from_peer};
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::{FetchRequest, StatRequest};
use std::sync::Arc;
use tonic::Code;

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

/// A member that serves rubbish: nothing of it is kept, it is named and not asked again, and who serves the
/// truth is.
#[tokio::test]
async fn who_serves_wrong_bytes_is_named_and_left_alone_and_others_serve() {
    let world = World::new(62);
    let (store, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (truths, lies) =
        (open(store.path(), ArtifactLimits::default()), open(directory.path(), ArtifactLimits::default()));
    let payloads = [payload(3, 300_000), payload(4, 300_000)];
    let answer = |artifacts: &Artifacts, blake3: &Digest| {
        let mut answer = 300_000u64.to_le_bytes().to_vec();
        answer.extend(encoded(artifacts, blake3));
        answer
    };
    // The liar has other bytes under every name.
    let lie = answer(&lies, &keep(&lies, &payload(5, 300_000)));

    let site = Site::validator(&world);
    let node = site.start().await;
    // Of two sources the one with the smaller key is asked first: that is the liar.
    let mut keys = ["bank", "clinic"].map(|organisation| world.key(organisation, Role::Node));
    keys.sort_by_key(ledger::key::SecretKey::public);
    let [liar_key, honest_key] = keys;
    let liar = Peer::new(&liar_key, &site.key.public(), site.peer_address()).await;
    let mut asked = liar.incoming(ARTIFACT);
    let digest = keep(&truths, &payloads[0]);
    node.finalise(&world.publish(world.manifest_of(1, &payloads[0]))).await;
    let (_, mut stream) = asked.next().await.unwrap();
    let _ = stream.write_all(&lie).await;
    let _ = stream.close().await;
    node.await_log(&["a peer serves wrong bytes", &liar_key.public().to_string(), &digest.to_string()]).await;
    let whole = files(&site.data().join("artifacts"));
    assert!(whole.iter().all(|file| !file.contains(&digest.to_string())), "{whole:?}");

    // The other one serves this artifact, and the next: the liar is asked for neither.
    let honest = Peer::new(&honest_key, &site.key.public(), site.peer_address()).await;
    let mut wanted = honest.incoming(ARTIFACT);
    for (release, bytes) in (1..).zip(&payloads) {
        let digest = keep(&truths, bytes);
        if release > 1 {
            node.finalise(&world.publish(world.manifest_of(release, bytes))).await;
        }
        let (_, mut stream) = tokio::select! {
            stream = wanted.next() => stream.unwrap(),
            _ = asked.next() => panic!("the liar was asked for release {release}"),
        };
        let mut name = [0; 32];
        stream.read_exact(&mut name).await.unwrap();
        assert_eq!(name, digest.0);
        let _ = stream.write_all(&answer(&truths, &digest)).await;
        let _ = stream.close().await;
        await_artifact(&node, digest).await;
    }
    node.assert_goes_on(&world, 1).await;
    node.stop();
}

/// Whatever a peer may answer that is not the artifact: nothing of it is kept, and who is blamed is right.
#[tokio::test]
async fn forged_pieces_from_a_peer_are_never_stored() {
    let (bytes, other) = (payload(3, 300_000), payload(4, 300_000));
    let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (open(there.path(), ArtifactLimits::default()), open(here.path(), ArtifactLimits::default()));
    let to = Arc::new(to);
    let answer = |bytes: &[u8]| {
        let blake3 = keep(&from, bytes);
        let mut answer = (bytes.len() as u64).to_le_bytes().to_vec();
        answer.extend(encoded(&from, &blake3));
        answer
    };
    let truth = answer(&bytes);
    let changed = |place: usize| {
        let mut answer = truth.clone();
        answer[place] ^= 1;
        answer
    };
    let mut endless = truth[..100_000].to_vec();
    endless.extend(vec![0; LARGE]);
    let answers = [
        (answer(&other), "forged"),
        (changed(200_000), "forged"),
        (endless, "forged"),
        (changed(0), "length"),
        (u64::MAX.to_le_bytes().to_vec(), "length"),
        (truth[..150_000].to_vec(), "broken"),
        (truth[..5].to_vec(), "broken"),
        (Vec::new(), "broken"),
        (0u64.to_le_bytes().to_vec(), "absent"),
    ];
    let known = (digests(&bytes).blake3, bytes.len() as u64);
    for (number, (answer, blame)) in answers.into_iter().enumerate() {
        let error = fetch_from_peer(&to, Answering::with(answer), &vendor(), known).await.unwrap_err();
        let found = match &error {
            ArtifactError::Forged(_) => "forged",
            ArtifactError::Length { .. } => "length",
            ArtifactError::Broken(_) => "broken",
            ArtifactError::Absent(_) => "absent",
            _ => "other",
        };
        assert_eq!(found, blame, "answer {number}: {error}");
        assert_eq!((files(here.path()), to.held_by(&vendor())), (Vec::new(), 0), "answer {number}");
    }
    fetch_from_peer(&to, Answering::with(truth), &vendor(), known).await.unwrap();
    assert_eq!(to.size(&known.0).unwrap(), Some(known.1));
}

fn everything(bytes: &[u8]) -> FetchRequest {
    let known = digests(bytes);
    FetchRequest { blake3: known.blake3.0.to_vec(), size: known.size, offset: 0, length: 0 }
}

/// Readers that ask for much and read nothing hold places, threads and files: one connection and one address so
/// many and no more, so that others need not wait for them.
#[tokio::test]
async fn clients_that_do_not_read_have_their_share_of_places_and_no_more() {
    let world = World::new(63);
    let site = Site::validator(&world);
    let node = site.start().await;
    let bytes = payload(5, LARGE);
    upload(&node, world.granted(&bytes), &bytes).await.unwrap();
    let mut unread = Vec::new();
    for connection in 0..5 {
        let greedy = channel(&site.url, &site.path("ca.pem")).await.unwrap();
        let mut begun = 0;
        for _ in 0..20 {
            match ArtifactsClient::new(greedy.clone()).fetch(everything(&bytes)).await {
                Ok(stream) => {
                    unread.push(stream);
                    begun += 1;
                }
                Err(status) => {
                    let limit = if connection < 4 { "of this connection" } else { "of address 127.0.0.1" };
                    let refusal = assert_refused(&status, Code::ResourceExhausted, "quota");
                    assert!(refusal.message.contains(limit), "connection {connection}: {refusal:?}");
                    assert!(refusal.retry_after_ms > 0 && !refusal.hint.is_empty(), "{refusal:?}");
                }
            }
        }
        assert_eq!(begun, if connection < 4 { 8 } else { 0 }, "connection {connection}");
    }
    for number in 0..5 {
        node.assert_goes_on(&world, number).await;
    }
    // Whoever comes from elsewhere is served meanwhile.
    let elsewhere = channel_from(&site.url, &site.path("ca.pem"), "127.0.0.2").await.unwrap();
    let mut pieces = ArtifactsClient::new(elsewhere).fetch(everything(&bytes)).await.unwrap().into_inner();
    let mut received = 0;
    while let Some(piece) = pieces.message().await.unwrap() {
        received += piece.data.len();
    }
    assert!(received > LARGE);
    drop(unread);
    // And when they are gone, everybody can read again.
    wait_for("a transfer", async || crate::artifacts::fetch(&node, everything(&bytes)).await.ok()).await;
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

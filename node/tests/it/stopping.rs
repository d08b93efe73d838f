//! Being told to stop, in the middle of everything.

use crate::support::site::{Node, Site};
use crate::support::wait_for;
use crate::support::world::World;
use proto::v1::{SubmitRequest, SubmitStreamResponse, WatchHeadsRequest};
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

/// How often a node is stopped under load.
const STOPS: u64 = 30;

/// Clients that do not care: transactions as fast as they are taken, a watcher, a waiter.
fn load(node: &Node, world: &Arc<World>, first: u64) -> Vec<JoinHandle<()>> {
    let (transactions, stream) = tokio::sync::mpsc::channel(256);
    let (mut submitting, mut watching, mut waiting) = (node.ledger(), node.ledger(), node.ledger());
    let signing = world.clone();
    let sign = tokio::spawn(async move {
        for number in first.. {
            let transaction = signing.enroll(number).bytes().to_vec();
            if transactions.send(SubmitRequest { transaction, wait_ms: 0 }).await.is_err() {
                return;
            }
        }
    });
    let submit = tokio::spawn(async move {
        let Ok(answers) = submitting.submit_stream(ReceiverStream::new(stream)).await else { return };
        let mut answers = answers.into_inner();
        // Until the connection ends.
        while let Some(Ok(SubmitStreamResponse { .. })) = answers.next().await {}
    });
    let watch = tokio::spawn(async move {
        let Ok(heads) = watching.watch_heads(WatchHeadsRequest {}).await else { return };
        let mut heads = heads.into_inner();
        while let Some(Ok(_)) = heads.next().await {}
    });
    let waiter = world.clone();
    let wait = tokio::spawn(async move {
        for number in first + 10_000_000.. {
            let transaction = waiter.enroll(number).bytes().to_vec();
            if waiting.submit(SubmitRequest { transaction, wait_ms: 60_000 }).await.is_err() {
                return;
            }
        }
    });
    vec![sign, submit, watch, wait]
}

/// A node that ends while its disk is still written to crashes at the very end, now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stopped_under_load_always_ends_in_peace_and_its_chain_is_whole() {
    let world = Arc::new(World::new(111));
    let site = Site::validator(&world);
    let mut height = 0;
    for stop in 0..STOPS {
        let node = site.start().await;
        let reopened = node.status().await.height;
        assert!(reopened >= height, "stop {stop}: the chain was at {height}, it opens at {reopened}");
        let clients = load(&node, &world, stop * 100_000);
        // Sometimes right at the beginning, sometimes well under way.
        let wanted = reopened + stop % 5 * 3;
        height = wait_for("some blocks under load", async || {
            let height = node.status().await.height;
            (height >= wanted).then_some(height)
        })
        .await;
        node.stop();
        for client in clients {
            client.abort();
        }
        if stop % 10 == 9 {
            site.assert_sound();
        }
    }
}

#[tokio::test]
async fn a_node_stopped_before_it_serves_ends_in_peace_too() {
    let world = World::new(112);
    let site = Site::validator(&world);
    for _ in 0..5 {
        let node = site.launch(site.command());
        wait_for("its first word", async || (!node.log().is_empty()).then_some(())).await;
        node.stop();
    }
    site.start().await.assert_goes_on(&world, 1).await;
}

#[tokio::test]
async fn clients_are_told_that_a_node_stops_and_half_done_uploads_do_not_hold_it_up() {
    let world = World::new(113);
    let site = Site::validator(&world);
    let mut node = site.start().await;
    // An upload and a watcher that never end by themselves.
    let (parts, stream) = tokio::sync::mpsc::channel(1);
    let granted = world.granted(&[1; 1_000]);
    let part = proto::v1::upload_request::Part::Grant(granted);
    parts.send(proto::v1::UploadRequest { part: Some(part) }).await.unwrap();
    let mut artifacts = node.artifacts();
    let uploading = tokio::spawn(async move { artifacts.upload(ReceiverStream::new(stream)).await.map(drop) });
    let mut heads = node.ledger().watch_heads(WatchHeadsRequest {}).await.unwrap().into_inner();
    heads.next().await.unwrap().unwrap();
    node.terminate();
    assert!(node.ended().success(), "{}", node.log());
    assert!(uploading.await.unwrap().is_err());
    assert!(!matches!(heads.next().await, Some(Ok(_))));
    drop(parts);
}

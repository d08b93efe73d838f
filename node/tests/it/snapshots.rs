//! A node that begins with a snapshot, and one that forgets.

use crate::support::site::Site;
use crate::support::wait_for;
use crate::support::world::World;
use proto::v1::{GetSnapshotRequest, GetTransactionRequest, TransactionState};
use std::fs;
use std::path::Path;
use std::process::Output;
use tokio_stream::StreamExt as _;

/// A snapshot of a node, as a file has it.
async fn snapshot(node: &crate::support::site::Node) -> Vec<u8> {
    let mut parts = node.ledger().get_snapshot(GetSnapshotRequest {}).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        bytes.extend(part.unwrap().part);
    }
    bytes
}

fn restore(site: &Site, from: &Path) -> Output {
    let mut command = std::process::Command::new(crate::support::site::PROGRAM);
    command.args(["restore", "--config"]).arg(site.config()).arg("--from").arg(from);
    command.output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_begins_with_a_snapshot_goes_on_by_block_sync_and_is_sound() {
    let world = World::new(131);
    let vendor = Site::validator(&world);
    let one = vendor.start().await;
    let before: Vec<_> = (0..5).map(|number| world.enroll(number)).collect();
    for transaction in &before {
        one.finalise(transaction).await;
    }
    let site = Site::observer(&world, "bank").knowing(&vendor.key.public(), &vendor.peer_address());
    let file = site.beside("ledger.snapshot");
    let bytes = snapshot(&one).await;
    let height = one.status().await.height;
    fs::write(&file, &bytes).unwrap();
    let restored = restore(&site, &file);
    assert!(restored.status.success(), "{}", words(&restored));
    let said = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(said.starts_with("restored at height ") && said.contains("blocks whole from height 1 on"), "{said}");
    let again = restore(&site, &file);
    assert!(again.status.code() == Some(2) && words(&again).contains("has a chain already"), "{}", words(&again));

    let other = site.start().await;
    assert!(other.status().await.height >= height.min(5), "it does not begin at genesis");
    let later = world.enroll(9);
    one.finalise(&later).await;
    for transaction in before.iter().chain([&later]) {
        let id = transaction.id().0.to_vec();
        let found = wait_for("what was finalised", async || {
            let request = GetTransactionRequest { id: id.clone() };
            let answer = other.ledger().get_transaction(request).await.ok()?.into_inner();
            (answer.state() == TransactionState::Finalised).then_some(answer)
        });
        assert_eq!(found.await.transaction, transaction.bytes());
    }
    other.stop();
    let mut fsck = std::process::Command::new(crate::support::site::PROGRAM);
    let fsck = fsck.args(["fsck", "--config"]).arg(site.config()).output().unwrap();
    assert!(fsck.status.success(), "{}", words(&fsck));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_no_good_is_refused_by_name_and_leaves_no_chain() {
    let world = World::new(132);
    let vendor = Site::validator(&world);
    let node = vendor.start().await;
    node.finalise(&world.enroll(1)).await;
    let bytes = snapshot(&node).await;
    let site = Site::observer(&world, "bank");
    let refused = |bytes: &[u8], says: &str| {
        let file = site.beside("no.snapshot");
        fs::write(&file, bytes).unwrap();
        let output = restore(&site, &file);
        assert!(output.status.code() == Some(1) && words(&output).contains(says), "{}", words(&output));
        assert!(!site.data().join("chain").exists(), "{says}");
    };
    refused(&bytes[..bytes.len() / 2], "cannot be read to its end");
    refused(b"\xff\xff\xff\xffand more", "at most 2097152 allowed");
    let mut changed = bytes.clone();
    // In the certificate's last signature: the header of the first part ends with it and the genesis header.
    changed[4 + 4 + 2 + 286 + 60] ^= 1;
    refused(&changed, "error: ");
    let elsewhere = World::new(133);
    let foreign = Site::validator(&elsewhere);
    let other = foreign.start().await;
    other.finalise(&elsewhere.enroll(1)).await;
    refused(&snapshot(&other).await, "it is of chain ");
    // The place is free for a good one.
    let file = site.beside("ledger.snapshot");
    fs::write(&file, &bytes).unwrap();
    assert!(restore(&site, &file).status.success());
}

#[test]
fn nobody_forgets_what_could_come_again() {
    let world = World::new(134);
    let mut site = Site::observer(&world, "bank");
    site.raw.chain.receipts_days = Some(29);
    let site = site.configured();
    let output = site.run_to_end();
    assert!(words(&output).contains("chain.receipts_days: at least 30"), "{}", words(&output));
}

//! A node that begins with a snapshot, and one that forgets.

use crate::refusals::assert_refused;
use crate::support::site::Site;
use crate::support::world::World;
use crate::support::{PATIENCE, wait_for};
use ledger::receipt::Outcome;
use ledger::transaction::{Payload, VerifiedTransaction};
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetSnapshotRequest, GetTransactionRequest, ListReceiptsRequest, TransactionState};
use std::fs;
use std::path::Path;
use std::process::Output;
use store::Store;
use tests::{APPROVERS, Chain, Finalised};
use tokio_stream::StreamExt as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

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
        let left: Vec<_> = ["chain", "chain.creating"].map(|name| site.data().join(name)).into();
        assert!(left.iter().all(|path| !path.exists()), "{says}: {left:?}");
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

/// Years of receipts, so to speak, on the disk of a node that is told to keep a month of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_forgets_old_receipts_goes_on_finalising_and_others_begin_with_its_snapshot() {
    let world = World::new(135);
    let mut vendor = Site::validator(&world);
    vendor.raw.chain.receipts_days = Some(30);
    let vendor = vendor.configured();
    let mut chain = Chain::of(world.scenario.clone(), 135);
    let store = Store::create(vendor.data().join("chain"), world.scenario.genesis()).unwrap();
    let keep = |block: Finalised| store.commit(&block.executed, &block.certificate).unwrap();
    let patch = chain.publish();
    APPROVERS.iter().for_each(|approver| chain.approve(approver, patch));
    let endpoint = chain.enroll();
    keep(chain.finalise());
    let old = chain.receipt(endpoint, patch, Outcome::RolledBack);
    keep(chain.finalise());
    keep(chain.rest(31 * DAY_MS));
    let young = chain.receipt(endpoint, patch, Outcome::Applied);
    keep(chain.finalise());
    drop(store);

    let node = vendor.start_with_given_chain().await;
    let finalised = async |transaction: &VerifiedTransaction| {
        let request = GetTransactionRequest { id: transaction.id().0.to_vec() };
        let answer = node.ledger().get_transaction(request).await.ok()?.into_inner();
        Some((answer.state() == TransactionState::Finalised, answer.transaction))
    };
    wait_for("the old receipt to be forgotten", async || {
        finalised(&old).await.filter(|(_, bytes)| bytes.is_empty()).map(drop)
    })
    .await;
    assert_eq!(finalised(&young).await, Some((true, young.bytes().to_vec())));
    node.finalise(&world.enroll(7)).await;
    let request = ListReceiptsRequest { patch: patch.0.to_vec(), ..Default::default() };
    let receipts = node.ledger().list_receipts(request).await.unwrap().into_inner().receipts;
    assert_eq!(receipts.len(), 1, "{receipts:?}");

    let site = Site::observer(&world, "bank").knowing(&vendor.key.public(), &vendor.peer_address());
    let file = site.beside("ledger.snapshot");
    fs::write(&file, snapshot(&node).await).unwrap();
    let restored = restore(&site, &file);
    assert!(restored.status.success(), "{}", words(&restored));
    let other = site.start().await;
    let later = world.enroll(9);
    node.finalise(&later).await;
    let height = node.status().await.height;
    wait_for("the other to follow", async || (other.status().await.height >= height).then_some(())).await;
}

/// A connection from an address that takes no more than it must.
async fn slow_reader(site: &Site, address: &str) -> LedgerClient<Channel> {
    proto::install_tls_provider();
    let ca = Certificate::from_pem(fs::read(site.path("ca.pem")).unwrap());
    let endpoint = Endpoint::from_shared(site.url.clone()).unwrap().local_address(Some(address.parse().unwrap()));
    let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca)).unwrap().timeout(PATIENCE);
    LedgerClient::new(endpoint.connect().await.unwrap())
}

/// A chain whose snapshot is more than all that waits between a node's disk and a reader.
fn with_a_long_chain(world: &World, vendor: &Site) {
    let mut chain = Chain::of(world.scenario.clone(), 136);
    let store = Store::create(vendor.data().join("chain"), world.scenario.genesis()).unwrap();
    for release in 1..=100 {
        let mut manifest = world.scenario.manifest(release);
        manifest.notes = ledger::bounded::Text::cut(&"What is new: everything. ".repeat(600));
        chain.add(&world.publisher(), Payload::Publish { manifest });
        let block = chain.finalise();
        store.commit(&block.executed, &block.certificate).unwrap();
    }
}

/// Whoever begins a snapshot and reads nothing of it, or next to nothing, keeps its place for a while and not more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_not_read_is_given_up() {
    let world = World::new(137);
    let vendor = Site::validator(&world);
    with_a_long_chain(&world, &vendor);
    let node = vendor.start_with_given_chain().await;
    let silent = slow_reader(&vendor, "127.0.0.1").await.get_snapshot(GetSnapshotRequest {}).await.unwrap();
    let mut other = slow_reader(&vendor, "127.0.0.1").await;
    let refused = other.get_snapshot(GetSnapshotRequest {}).await;
    assert_refused(&refused.expect_err("one address has two"), Code::ResourceExhausted, "quota");
    // It is still there, and its place is another's.
    wait_for("its place", async || other.get_snapshot(GetSnapshotRequest {}).await.ok()).await;
    let mut parts = silent.into_inner();
    let end = loop {
        match parts.next().await {
            Some(Ok(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(&end, Some(Err(_))), "it has a whole snapshot: {end:?}");
    node.stop();
}

/// Whoever reads a snapshot and does not take it has one place; others have theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_reads_one_snapshot_at_a_time_and_others_read_theirs() {
    let world = World::new(136);
    let vendor = Site::validator(&world);
    with_a_long_chain(&world, &vendor);
    let node = vendor.start_with_given_chain().await;

    let mut first = slow_reader(&vendor, "127.0.0.1").await;
    let first = first.get_snapshot(GetSnapshotRequest {}).await.unwrap();
    let refused = |status: &Status, why: &str| {
        let refusal = assert_refused(status, Code::ResourceExhausted, "quota");
        assert!(refusal.message.contains(why) && !refusal.hint.is_empty(), "{refusal:?}");
    };
    let again = slow_reader(&vendor, "127.0.0.1").await.get_snapshot(GetSnapshotRequest {}).await;
    refused(&again.expect_err("one address has two"), "of address 127.0.0.1");
    let mut others = Vec::new();
    for address in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        others.push(slow_reader(&vendor, address).await.get_snapshot(GetSnapshotRequest {}).await.unwrap());
    }
    let fifth = slow_reader(&vendor, "127.0.0.5").await.get_snapshot(GetSnapshotRequest {}).await;
    refused(&fifth.expect_err("there are four places"), "all clients together");
    // Who goes leaves its place, and whoever takes what comes gets everything.
    drop((first, others));
    wait_for("a place", async || node.ledger().get_snapshot(GetSnapshotRequest {}).await.ok()).await;
    wait_for("a place again", async || {
        let mut parts = node.ledger().get_snapshot(GetSnapshotRequest {}).await.ok()?.into_inner();
        while let Some(part) = parts.next().await {
            part.unwrap();
        }
        Some(())
    })
    .await;
    node.stop();
}

//! Uploads and downloads: who may, what must be right, and that what was refused leaves nothing.

use crate::artifact_store::files;
use crate::refusals::assert_refused;
use crate::support::site::{Node, Site, channel};
use crate::support::world::{World, digests, payload};
use crate::support::{PATIENCE, now_ms, wait_for};
use bao_tree::io::outboard::EmptyOutboard;
use bao_tree::io::round_up_to_chunks;
use bao_tree::io::sync::decode_ranges;
use bao_tree::{BaoTree, BlockSize, ByteRanges};
use ledger::artifact::UploadGrant;
use ledger::encoding::encode;
use ledger::id::{ChainId, Digest};
use ledger::limits;
use ledger::state::record::Role;
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::upload_request::Part;
use proto::v1::{FetchRequest, StatRequest, UploadRequest, UploadResponse};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Not a whole number of groups.
const LENGTH: usize = 300_001;
/// What clients send at once.
const PIECE: usize = 100_000;

fn grant(bytes: Vec<u8>) -> UploadRequest {
    UploadRequest { part: Some(Part::Grant(bytes)) }
}

fn data(bytes: &[u8]) -> UploadRequest {
    UploadRequest { part: Some(Part::Data(bytes.to_vec())) }
}

async fn send(node: &Node, parts: Vec<UploadRequest>) -> Result<UploadResponse, Status> {
    Ok(node.artifacts().upload(tokio_stream::iter(parts)).await?.into_inner())
}

/// The grant, then the payload in pieces.
pub(crate) async fn upload(node: &Node, granted: Vec<u8>, bytes: &[u8]) -> Result<UploadResponse, Status> {
    let parts = std::iter::once(grant(granted)).chain(bytes.chunks(PIECE).map(data));
    send(node, parts.collect()).await
}

async fn has(node: &Node, blake3: Digest) -> bool {
    let request = StatRequest { blake3: blake3.0.to_vec() };
    node.artifacts().stat(request).await.unwrap().into_inner().complete
}

pub(crate) async fn fetch(node: &Node, request: FetchRequest) -> Result<Vec<u8>, Status> {
    let mut pieces = node.artifacts().fetch(request).await?.into_inner();
    let mut encoding = Vec::new();
    while let Some(piece) = pieces.next().await {
        encoding.extend(piece?.data);
    }
    Ok(encoding)
}

fn everything(bytes: &[u8]) -> FetchRequest {
    let known = digests(bytes);
    FetchRequest { blake3: known.blake3.0.to_vec(), size: known.size, offset: 0, length: 0 }
}

#[tokio::test]
async fn what_was_uploaded_comes_back_and_again_after_a_restart() {
    let world = World::new(51);
    let site = Site::validator(&world);
    let node = site.start().await;
    let bytes = payload(1, LENGTH);
    let answer = upload(&node, world.granted(&bytes), &bytes).await.unwrap();
    assert_eq!((answer.size, answer.blake3), (LENGTH as u64, digests(&bytes).blake3.0.to_vec()));
    // The same again is fine, and nothing of it need be sent.
    send(&node, vec![grant(world.granted(&bytes))]).await.unwrap();
    let encoding = fetch(&node, everything(&bytes)).await.unwrap();
    node.stop();
    let node = site.start().await;
    assert!(has(&node, digests(&bytes).blake3).await);
    assert_eq!(fetch(&node, everything(&bytes)).await.unwrap(), encoding);
}

#[tokio::test]
async fn a_grant_that_is_none_opens_no_door() {
    let world = World::new(52);
    let site = Site::validator(&world);
    let node = site.start().await;
    let bytes = payload(2, LENGTH);
    let good = world.grant(&bytes);
    let changed = |change: &dyn Fn(&mut UploadGrant)| {
        let mut grant = good.clone();
        change(&mut grant);
        encode(&grant.sign(&world.publisher()))
    };
    let mut forged = world.granted(&bytes);
    *forged.last_mut().unwrap() ^= 1;
    let mut longer = world.granted(&bytes);
    longer.push(0);
    let by_an_approver = encode(&good.clone().sign(&world.key("bank", Role::Approver)));
    let wrong = Code::InvalidArgument;
    let cases = [
        (Vec::new(), wrong, "malformed"),
        (world.granted(&bytes)[..100].to_vec(), wrong, "malformed"),
        (longer, wrong, "trailing"),
        (vec![0; limits::MESSAGE_BYTES_MAX + 1], wrong, "size"),
        (changed(&|grant| grant.chain_id = ChainId([3; 32])), wrong, "chain-id"),
        (changed(&|grant| grant.expires_at_ms = now_ms() - 1), wrong, "expired"),
        (forged, wrong, "signature"),
        (by_an_approver, Code::PermissionDenied, "wrong-role"),
        (changed(&|grant| grant.size = 0), wrong, "size"),
        (changed(&|grant| grant.size = limits::ARTIFACT_BYTES_MAX + 1), wrong, "size"),
    ];
    for (granted, code, check) in cases {
        let status = upload(&node, granted, &bytes).await.unwrap_err();
        assert_refused(&status, code, check);
    }
    assert!(!has(&node, good.blake3).await);
    assert_eq!(files(&site.data().join("artifacts")), Vec::<String>::new());
    upload(&node, world.granted(&bytes), &bytes).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_is_not_what_its_grant_says_leaves_nothing() {
    let world = World::new(53);
    let site = Site::validator(&world);
    let node = site.start().await;
    let bytes = payload(3, LENGTH);
    let granted = || grant(world.granted(&bytes));
    let mut other = bytes.clone();
    other[150_000] ^= 1;
    let (half, piece_too_large) = (&bytes[..LENGTH / 2], vec![0; 256 * 1024 + 1]);
    let cases = [
        (vec![granted(), data(half)], "artifact-length"),
        (vec![granted(), data(half), data(half), data(half)], "artifact-length"),
        (vec![granted(), data(&other[..200_000]), data(&other[200_000..])], "artifact-digest"),
        (vec![granted(), data(&piece_too_large)], "size"),
        (vec![granted(), data(half), granted()], "grant"),
        (vec![data(half)], "grant"),
        (vec![UploadRequest { part: None }], "grant"),
        (Vec::new(), "grant"),
    ];
    for (parts, check) in cases {
        assert_refused(&send(&node, parts).await.unwrap_err(), Code::InvalidArgument, check);
        assert!(!has(&node, digests(&bytes).blake3).await, "{check}");
    }
    crate::support::wait_for("what was refused to be gone", async || {
        files(&site.data().join("artifacts")).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_at_any_group() {
    let world = World::new(54);
    let site = Site::validator(&world);
    let node = site.start().await;
    let bytes = payload(4, LENGTH);
    upload(&node, world.granted(&bytes), &bytes).await.unwrap();
    let known = digests(&bytes);
    for (offset, length) in [(0, 0), (16_384, 0), (294_912, 0), (16_384, 1), (32_768, 65_536), (16_384, u64::MAX)] {
        let encoding = fetch(&node, FetchRequest { offset, length, ..everything(&bytes) }).await.unwrap();
        // The receiver believes nothing but the digest.
        let end = if length == 0 { known.size } else { offset.saturating_add(length).min(known.size) };
        let ranges = round_up_to_chunks(&ByteRanges::from(offset..end));
        let ranges = bao_tree::io::round_up_to_chunks_groups(ranges, BlockSize::from_chunk_log(4));
        let mut received = vec![0; LENGTH];
        let tree = EmptyOutboard {
            root: blake3::Hash::from_bytes(known.blake3.0),
            tree: BaoTree::new(known.size, BlockSize::from_chunk_log(4)),
        };
        decode_ranges(encoding.as_slice(), &ranges, &mut received, tree).unwrap();
        let (from, to) = (usize::try_from(offset).unwrap(), usize::try_from(end).unwrap());
        assert_eq!(received[from..to], bytes[from..to], "{offset}+{length}");
    }
    let wrong = [
        (FetchRequest { offset: 1, ..everything(&bytes) }, Code::OutOfRange, "range"),
        (FetchRequest { offset: 16_383, ..everything(&bytes) }, Code::OutOfRange, "range"),
        (FetchRequest { offset: 1 << 40, ..everything(&bytes) }, Code::OutOfRange, "range"),
        (FetchRequest { size: 1, ..everything(&bytes) }, Code::InvalidArgument, "artifact-length"),
        (FetchRequest { blake3: vec![1; 32], ..everything(&bytes) }, Code::NotFound, "artifact-unavailable"),
        (FetchRequest { blake3: vec![1; 31], ..everything(&bytes) }, Code::InvalidArgument, "malformed"),
    ];
    for (request, code, check) in wrong {
        assert_refused(&fetch(&node, request).await.unwrap_err(), code, check);
    }
}

#[tokio::test]
async fn a_node_killed_in_the_middle_of_an_upload_has_nothing_of_it_afterwards() {
    let world = World::new(55);
    let site = Site::validator(&world);
    let node = site.start().await;
    let bytes = payload(5, LENGTH);
    let (parts, stream) = tokio::sync::mpsc::channel(4);
    parts.send(grant(world.granted(&bytes))).await.unwrap();
    parts.send(data(&bytes[..PIECE])).await.unwrap();
    let mut client = node.artifacts();
    let uploading =
        tokio::spawn(async move { client.upload(tokio_stream::wrappers::ReceiverStream::new(stream)).await.map(drop) });
    let incoming = site.data().join("artifacts");
    crate::support::wait_for("half an upload", async || (!files(&incoming).is_empty()).then_some(())).await;
    node.kill();
    assert!(uploading.await.unwrap().is_err());
    drop(parts);
    // What a crash between two renames leaves counts as nothing either.
    let name = digests(&bytes).blake3.to_string();
    std::fs::create_dir_all(incoming.join(&name[..2])).unwrap();
    std::fs::write(incoming.join(&name[..2]).join(format!("{name}.tree-partial")), b"torn").unwrap();
    let node = site.start().await;
    assert!(!has(&node, digests(&bytes).blake3).await);
    assert_eq!(files(&incoming.join("incoming")), Vec::<String>::new());
    upload(&node, world.granted(&bytes), &bytes).await.unwrap();
    fetch(&node, everything(&bytes)).await.unwrap();
}

/// Begins an upload and then says nothing more; it ends when it is refused.
fn begin(channel: &Channel, granted: Vec<u8>) -> JoinHandle<Status> {
    let mut client = ArtifactsClient::new(channel.clone());
    let parts = tokio_stream::iter([grant(granted)]).chain(tokio_stream::pending());
    tokio::spawn(async move { client.upload(parts).await.expect_err("it is not whole") })
}

/// Uploads that stand still hold a file each: one connection, one organisation and one artifact so many and no
/// more. The others are told, and what was begun is not harmed.
#[tokio::test]
async fn uploads_that_are_only_begun_have_their_share_of_places_and_no_more() {
    let world = World::new(56);
    let site = Site::validator(&world);
    let node = site.start().await;
    let incoming = site.data().join("artifacts").join("incoming");
    let granted = |number: u64| world.granted(&payload(100 + number, 1_000));
    let refused = async |upload: JoinHandle<Status>, why: &str| {
        let status = timeout(PATIENCE, upload).await.unwrap_or_else(|_| panic!("begun: {why}")).unwrap();
        let refusal = assert_refused(&status, Code::ResourceExhausted, "quota");
        assert!(refusal.message.contains(why) && !refusal.hint.is_empty(), "{refusal:?}");
    };
    let mut begun = Vec::new();
    for connection in 0..2 {
        let channel = channel(&site.url, &site.path("ca.pem")).await.unwrap();
        for place in 0..8 {
            begun.push(begin(&channel, granted(8 * connection + place)));
            wait_for("an upload to be begun", async || (files(&incoming).len() == begun.len()).then_some(())).await;
        }
        refused(begin(&channel, granted(90)), "8 uploads of this connection").await;
        if connection == 0 {
            // By whatever way it comes.
            refused(begin(&node.channel(), granted(0)), "acme is uploading artifact").await;
        }
    }
    refused(begin(&node.channel(), granted(91)), "16 uploads of acme").await;
    for upload in begun.drain(..) {
        assert!(!upload.is_finished());
        upload.abort();
    }
    wait_for("the places to be free", async || {
        upload(&node, world.granted(&payload(100, 1_000)), &payload(100, 1_000)).await.ok()
    })
    .await;
    node.stop();
}

//! Answers that nobody reads: they have their share of memory, and others go on.

use crate::refusals::assert_refused;
use crate::support::site::{Node, Site, channel_from, narrow_channel};
use crate::support::world::World;
use crate::support::{PATIENCE, wait_for};
use ledger::bounded::{Notes, SortedList, Text};
use proto::Message as _;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{ListPatchesRequest, ListPatchesResponse, SubmitRequest, SubmitResponse, TransactionState};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use tonic::transport::Channel;

const MEBIBYTE: u64 = 1024 * 1024;

/// Patches with so long notes and so many advisories that a page of them is as large as a page can be.
async fn publish_a_page(world: &World, node: &Node) {
    for release in 1..=40 {
        let mut manifest = world.scenario.manifest(release);
        manifest.notes = Notes::new("n".repeat(16 * 1024)).unwrap();
        let advisories = (0..200).map(|number| Text::cut(&format!("{:x<60}{number:04}", "CVE-"))).collect();
        manifest.advisories = SortedList::new(advisories).unwrap();
        node.finalise(&world.publish(manifest)).await;
    }
}

/// Asks for something and does not read the answer, which has begun to come.
async fn ask(mut channel: Channel) -> Result<http::Response<Body>, tonic::Status> {
    let message = ListPatchesRequest { page_size: 1_000, ..Default::default() }.encode_to_vec();
    let announced = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = tonic::codegen::Bytes::from([&[0], announced.as_slice(), &message].concat());
    let uri = "https://127.0.0.1/countersign.v1.Ledger/ListPatches";
    let request = http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(Body::new(Once(Some(body)))).unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let answer = channel.call(request).await.unwrap();
    match tonic::Status::from_header_map(answer.headers()) {
        Some(status) => Err(status),
        None => Ok(answer),
    }
}

/// A body of one piece.
struct Once(Option<tonic::codegen::Bytes>);

impl http_body::Body for Once {
    type Data = tonic::codegen::Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, tonic::Status>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

async fn page(mut ledger: LedgerClient<Channel>) -> ListPatchesResponse {
    ledger.list_patches(ListPatchesRequest { page_size: 1_000, ..Default::default() }).await.unwrap().into_inner()
}

/// The whole answer is that there is no more room, and when; whoever reads is not in anybody's way.
#[tokio::test]
async fn answers_that_nobody_reads_have_their_share_of_memory_and_no_more() {
    let world = World::new(151);
    let site = Site::validator(&world);
    let node = site.start().await;
    publish_a_page(&world, &node).await;
    let each = page(node.ledger()).await.encoded_len() as u64;
    assert!(each > MEBIBYTE, "{each} bytes are no large answer");
    let before = node.resident_bytes();
    // Six connections of one address, on which one and a half gibibytes are asked for.
    let mut asked = JoinSet::new();
    for _ in 0..6 {
        let greedy = narrow_channel(&site.url, &site.path("ca.pem")).await.unwrap();
        for _ in 0..250 {
            asked.spawn(ask(greedy.clone()));
        }
    }
    let (mut unread, mut refused) = (Vec::new(), 0);
    while let Some(answer) = timeout(PATIENCE, asked.join_next()).await.expect("every request is answered") {
        match answer.unwrap() {
            Ok(answer) => unread.push(answer),
            Err(status) => {
                let refusal = assert_refused(&status, Code::ResourceExhausted, "quota");
                assert!(refusal.message.contains("address 127.0.0.1") && !refusal.hint.is_empty(), "{refusal:?}");
                assert!(refusal.retry_after_ms > 0);
                refused += 1;
            }
        }
    }
    let grown = node.resident_bytes().saturating_sub(before);
    println!("{} answers not read, {refused} refused, {} MiB more", unread.len(), grown / MEBIBYTE);
    assert!(unread.len() as u64 * each <= 32 * MEBIBYTE, "{} answers of {each} bytes are there", unread.len());
    assert!(grown < 128 * MEBIBYTE, "{grown} bytes for one address's answers");
    // Whoever comes from elsewhere is served meanwhile.
    let elsewhere = channel_from(&site.url, &site.path("ca.pem"), "127.0.0.2").await.unwrap();
    let elsewhere = LedgerClient::new(elsewhere).max_decoding_message_size(proto::MESSAGE_BYTES_MAX);
    assert_eq!(page(elsewhere.clone()).await.encoded_len() as u64, each);
    let request = SubmitRequest { transaction: world.enroll(2).bytes().to_vec(), wait_ms: 60_000 };
    let answer: SubmitResponse = elsewhere.clone().submit(request).await.unwrap().into_inner();
    assert_eq!(answer.state(), TransactionState::Finalised);
    // And when they have gone, everybody is again.
    drop(unread);
    wait_for("a client of that address to be served", async || {
        node.ledger().list_patches(ListPatchesRequest::default()).await.ok()
    })
    .await;
    node.stop();
}

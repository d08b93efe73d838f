//! Requests that are begun and never ended: they have their share of memory, and others go on.

use crate::refusals::assert_refused;
use crate::support::site::{Site, channel, channel_from};
use crate::support::world::{World, payload};
use crate::support::{PATIENCE, wait_for};
use ledger::limits;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{SubmitRequest, TransactionState};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service as _, http};
use tonic::transport::Channel;

/// A body that says what it has, and then neither goes on nor ends.
struct Unfinished(Option<Bytes>);

impl http_body::Body for Unfinished {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))))
    }
}

/// Asks for something with a message that is announced as so long and misses its last byte; how the node
/// answers, if it does.
async fn ask(mut channel: Channel, method: &str, length: usize) -> tonic::Status {
    let announced = u32::try_from(length).unwrap().to_be_bytes();
    let message = [&[0], announced.as_slice(), &payload(1, length - 1)].concat();
    let uri = format!("https://127.0.0.1/countersign.v1.{method}");
    let request = http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(Body::new(Unfinished(Some(message.into())))).unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let answer = channel.call(request).await.unwrap();
    tonic::Status::from_header_map(answer.headers()).expect("what is not whole is not done")
}

/// The whole answer is that there is no more room, and when; what is there already stays.
#[tokio::test]
async fn requests_that_never_end_have_their_share_of_memory_and_no_more() {
    let world = World::new(141);
    let site = Site::validator(&world);
    let node = site.start().await;
    node.assert_goes_on(&world, 1).await;
    let before = node.resident_bytes();
    // Three connections of one address with twenty-five mebibytes each.
    let mut asked = JoinSet::new();
    for _ in 0..3 {
        let greedy = channel(&site.url, &site.path("ca.pem")).await.unwrap();
        for _ in 0..250 {
            let greedy = greedy.clone();
            asked.spawn(async move { ask(greedy, "Ledger/Submit", limits::MESSAGE_BYTES_MAX).await });
        }
    }
    for _ in 0..200 {
        let status = timeout(PATIENCE, asked.join_next()).await.expect("a request is refused").unwrap().unwrap();
        let refusal = assert_refused(&status, Code::ResourceExhausted, "quota");
        assert!(refusal.message.contains("of address 127.0.0.1") && !refusal.hint.is_empty(), "{refusal:?}");
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 128 * 1024 * 1024, "{grown} bytes for one address's requests");
    // Whoever comes from elsewhere is served meanwhile.
    let elsewhere = channel_from(&site.url, &site.path("ca.pem"), "127.0.0.2").await.unwrap();
    let request = SubmitRequest { transaction: world.enroll(2).bytes().to_vec(), wait_ms: 60_000 };
    let answer = LedgerClient::new(elsewhere).submit(request).await.unwrap().into_inner();
    assert_eq!(answer.state(), TransactionState::Finalised);
    // And when they have gone, everybody is again.
    drop(asked);
    wait_for("a client of that address to be served", async || node.submit(world.enroll(3).bytes(), 60_000).await.ok())
        .await;
    node.stop();
}

/// What is announced as longer than any request can be is not waited for.
#[tokio::test]
async fn a_message_that_is_announced_too_long_is_refused_before_it_comes() {
    let world = World::new(142);
    let site = Site::validator(&world);
    let node = site.start().await;
    let cases = [
        ("Ledger/Submit", limits::MESSAGE_BYTES_MAX + 16 * 1024),
        ("Ledger/Submit", proto::MESSAGE_BYTES_MAX),
        ("Ledger/GetStatus", proto::MESSAGE_BYTES_MAX),
        ("Artifacts/Stat", 256 * 1024),
        ("Artifacts/Upload", proto::MESSAGE_BYTES_MAX),
    ];
    for (method, length) in cases {
        let asked = timeout(PATIENCE, ask(node.channel(), method, length)).await;
        let status = asked.unwrap_or_else(|_| panic!("{method} with {length} bytes is waited for"));
        let refusal = assert_refused(&status, Code::InvalidArgument, "size");
        assert!(refusal.message.contains(&length.to_string()), "{refusal:?}");
    }
    node.assert_goes_on(&world, 1).await;
    node.stop();
}

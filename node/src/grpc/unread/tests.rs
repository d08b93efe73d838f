//! What is counted, until when, and who waits.

use super::*;
use futures::FutureExt as _;
use std::net::{IpAddr, Ipv4Addr};
use tonic::Code;

fn origin(last: u8) -> Origin {
    Origin::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
}

fn taken(unread: &Unread) -> usize {
    ANSWERS_BYTES_MAX - unread.all.available_permits()
}

async fn room(unread: &Unread, last: u8, bytes: usize) -> Room {
    unread.room(origin(last), bytes).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}

/// Frames of these lengths.
fn body(lengths: &[usize]) -> Body {
    struct Frames(VecDeque<usize>);
    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|length| Ok(Frame::data(vec![7; length].into()))))
        }
    }
    Body::new(Frames(lengths.iter().copied().collect()))
}

async fn next(body: &mut (impl HttpBody<Data = Bytes, Error = Status> + Unpin)) -> Option<Bytes> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    frame.unwrap().into_data().ok()
}

#[tokio::test]
async fn an_answer_takes_what_it_has_until_nobody_has_its_bytes() {
    let (unread, owed) = (Unread::default(), Arc::default());
    let room = room(&unread, 1, 1_000_000).await;
    assert_eq!(taken(&unread), 1_000_000, "before it is made, what it may be");
    let mut answer = whole(body(&[300, 40]), room, &owed).await;
    assert_eq!((taken(&unread), owed.bytes(), owed.gone()), (340, 340, 0));
    let mut first = next(&mut answer).await.unwrap();
    assert_eq!((first.len(), answer.is_end_stream()), (300, false));
    // A library that has sent the beginning still has the whole.
    let rest = first.split_off(100);
    drop(first);
    assert_eq!(taken(&unread), 340);
    drop(rest);
    assert_eq!((taken(&unread), owed.bytes(), owed.gone()), (40, 40, 300));
    drop(answer);
    assert_eq!((taken(&unread), owed.bytes(), owed.gone()), (0, 0, 340), "also when it is given up");
}

#[tokio::test]
async fn a_stream_goes_on_when_what_is_under_way_was_taken() {
    let (unread, owed) = (Unread::default(), Arc::<Owed>::default());
    let line = Line::new(100, room(&unread, 1, 200).await);
    let mut stream = Flowing { body: body(&[60, 60, 60]), line, owed: owed.clone() };
    let (first, second) = (next(&mut stream).await.unwrap(), next(&mut stream).await.unwrap());
    assert_eq!(owed.bytes(), 120);
    let (third, ()) = tokio::join!(next(&mut stream), async {
        tokio::task::yield_now().await;
        drop(first);
    });
    assert_eq!((third.unwrap().len(), owed.bytes(), owed.gone()), (60, 120, 60));
    assert_eq!(taken(&unread), 200, "a stream has one room for all its pieces");
    drop(stream);
    assert_eq!(taken(&unread), 200, "until the last of them is gone");
    drop(second);
    assert_eq!((taken(&unread), owed.bytes()), (0, 0));
}

/// Whoever comes when it is full waits for a while, in order; then it is told when to come again.
#[tokio::test(start_paused = true)]
async fn an_address_waits_for_its_own_room_and_for_a_while_only() {
    let unread = Unread::default();
    let held = room(&unread, 1, ANSWERS_PER_ADDRESS_BYTES_MAX).await;
    assert!(unread.room(origin(2), 1).now_or_never().is_some(), "others do not wait");
    let since = Instant::now();
    let Err(refused) = unread.room(origin(1), 1).await else { panic!("there was room") };
    assert_eq!((refused.code, refused.refusal.check.as_str()), (Code::ResourceExhausted, "quota"));
    assert!(refused.refusal.message.contains("of address 192.0.2.1") && refused.refusal.retry_after_ms > 0);
    assert_eq!(since.elapsed(), ROOM_PATIENCE);
    let (waited, ()) = tokio::join!(unread.room(origin(1), 1), async {
        tokio::time::sleep(ROOM_PATIENCE / 2).await;
        drop(held);
    });
    assert!(waited.is_ok());
    drop(waited);
    // Four addresses have everything; a fifth is told so.
    let mut held = Vec::new();
    for last in 1..=4 {
        held.push(room(&unread, last, ANSWERS_PER_ADDRESS_BYTES_MAX).await);
    }
    let Err(refused) = unread.room(origin(5), 1).await else { panic!("there was room") };
    assert!(refused.refusal.message.contains("all clients"), "{refused:?}");
}

/// Each call of the service whose answers are many is known as one.
#[test]
fn every_stream_of_answers_is_counted_piece_by_piece() {
    let proto = include_str!("../../../../proto/proto/countersign/v1/ledger.proto");
    let (mut service, mut streams) = ("", 0);
    for line in proto.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("service ") {
            service = name.trim_end_matches(" {");
        }
        let Some((method, call)) = line.strip_prefix("rpc ").and_then(|line| line.split_once('(')) else { continue };
        let shape = Shape::of(&format!("/countersign.v1.{service}/{method}"));
        let is_stream = call.contains("returns (stream");
        assert_eq!(matches!(shape, Shape::Many(_)), is_stream, "{service}/{method}");
        streams += usize::from(is_stream);
    }
    assert_eq!(streams, 4);
}

//! What is counted, until when, and who waits.

use super::whole::Whole;
use super::*;
use crate::origin::Origin;
use futures::FutureExt as _;
use http_body::Frame;
use room::Room;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use tokio::time::Instant;
use tonic::Code;
use tonic::codegen::Bytes;

/// Of the largest answer: an address has two of its own.
const LARGEST: usize = OWN_ANSWERS_PER_ADDRESS_BYTES_MAX / 2;

fn origin(last: u8) -> Origin {
    Origin::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
}

async fn room(unread: &Unread, last: u8, bytes: usize) -> Room {
    unread.clone().room(origin(last), bytes).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}

/// Everything an address can have: its own, and what it waits for.
async fn everything(unread: &Unread, last: u8) -> Vec<Room> {
    let mut held: Vec<_> = std::iter::from_fn(|| unread.own(origin(last), LARGEST)).collect();
    held.push(room(unread, last, ANSWERS_PER_ADDRESS_BYTES_MAX).await);
    held
}

fn flowing(body: Body, flow: Flow, unread: &Unread, owed: &Arc<Owed>) -> Flowing {
    Flowing::new(
        body,
        flow,
        unread.clone(),
        Reader { origin: origin(1), owed: owed.clone(), _place: None, _call: None },
    )
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

/// Pieces of these lengths when they are given, and then the end.
fn given() -> (tokio::sync::mpsc::UnboundedSender<usize>, Body) {
    struct Given(tokio::sync::mpsc::UnboundedReceiver<usize>);
    impl HttpBody for Given {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.poll_recv(context).map(|length| Some(Ok(Frame::data(vec![7; length?].into()))))
        }
    }
    let (give, given) = tokio::sync::mpsc::unbounded_channel();
    (give, Body::new(Given(given)))
}

async fn next(body: &mut (impl HttpBody<Data = Bytes, Error = Status> + Unpin)) -> Option<Bytes> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    frame.unwrap().into_data().ok()
}

#[tokio::test]
async fn an_answer_takes_what_it_has_until_nobody_has_its_bytes() {
    let (unread, owed) = (Unread::default(), Arc::<Owed>::default());
    for is_waited in [false, true] {
        // What is its own is taken: it is of what is waited for.
        let _taken = is_waited.then(|| std::iter::from_fn(|| unread.own(origin(1), LARGEST)).collect::<Vec<_>>());
        let (before, gone) = (unread.taken(), owed.gone());
        let taken = || unread.taken() - before;
        let room = room(&unread, 1, 1_000_000).await;
        assert_eq!(taken(), 1_000_000, "before it is made, what it may be");
        let mut answer: Whole = whole(body(&[300, 40]), room, &owed).await;
        assert_eq!((taken(), owed.bytes(), owed.gone()), (340, 340, gone));
        let mut first = next(&mut answer).await.unwrap();
        assert_eq!((first.len(), answer.is_end_stream()), (300, false));
        // A library that has sent the beginning still has the whole.
        let rest = first.split_off(100);
        drop(first);
        assert_eq!(taken(), 340);
        drop(rest);
        assert_eq!((taken(), owed.bytes(), owed.gone()), (40, 40, gone + 300));
        drop(answer);
        assert_eq!((taken(), owed.bytes(), owed.gone()), (0, 0, gone + 340), "also when it is given up");
    }
}

/// A long answer is seen to go while it goes; its memory is one, and free when the last of it went.
#[tokio::test]
async fn a_long_answer_goes_in_chunks() {
    let (unread, owed) = (Unread::default(), Arc::<Owed>::default());
    let length = 2 * CHUNK_BYTES + 1;
    let mut answer = whole(body(&[length]), room(&unread, 1, LARGEST).await, &owed).await;
    let mut lengths = Vec::new();
    while let Some(chunk) = next(&mut answer).await {
        lengths.push(chunk.len());
        drop(chunk);
        let gone: usize = lengths.iter().sum();
        assert_eq!((owed.gone(), owed.bytes()), (gone as u64, length - gone));
        assert_eq!(unread.taken(), if gone < length { length } else { 0 });
    }
    assert_eq!(lengths, [CHUNK_BYTES, CHUNK_BYTES, 1]);
}

#[tokio::test]
async fn a_stream_goes_on_when_what_is_under_way_was_taken() {
    let (unread, owed) = (Unread::default(), Arc::<Owed>::default());
    let mut stream = flowing(body(&[60, 60, 60]), Flow { piece: 200, under_way: 100 }, &unread, &owed);
    let (first, second) = (next(&mut stream).await.unwrap(), next(&mut stream).await.unwrap());
    assert_eq!((owed.bytes(), unread.taken()), (120, 120), "each piece has its room");
    let (third, ()) = tokio::join!(next(&mut stream), async {
        tokio::task::yield_now().await;
        drop(first);
    });
    assert_eq!((third.unwrap().len(), owed.bytes(), owed.gone()), (60, 120, 60));
    drop(stream);
    assert_eq!(unread.taken(), 60, "until the last of them is gone");
    drop(second);
    assert_eq!((unread.taken(), owed.bytes()), (0, 0));
}

/// However many are open: none of them has anything before there is something to say.
#[tokio::test]
async fn a_stream_that_has_nothing_to_say_takes_nothing() {
    let (unread, owed) = (Unread::default(), Arc::<Owed>::default());
    let flow = Flow { piece: HEAD_BYTES, under_way: HEAD_BYTES / 2 };
    let (mut gives, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..2 * ANSWERS_BYTES_MAX / HEAD_BYTES {
        let (give, body) = given();
        let mut stream = flowing(body, flow, &unread, &owed);
        assert!(tokio::task::unconstrained(next(&mut stream)).now_or_never().is_none());
        gives.push(give);
        streams.push(stream);
    }
    assert_eq!(unread.taken(), 0);
    for (give, stream) in gives.iter().zip(&mut streams) {
        give.send(500).unwrap();
        let piece = tokio::task::unconstrained(next(stream)).now_or_never();
        assert_eq!(piece.flatten().map(|piece| piece.len()), Some(500));
    }
    assert_eq!(unread.taken(), 0, "and what was taken is nobody's");
}

/// A stream for whose next piece there is no room says so, and when there is some it goes on.
#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_room_for_its_next_piece_and_for_a_while_only() {
    let (unread, owed) = (Unread::default(), Arc::<Owed>::default());
    let held = everything(&unread, 1).await;
    let flow = Flow { piece: 1000, under_way: 1000 };
    let mut stream = flowing(body(&[10, 10]), flow, &unread, &owed);
    let end = poll_fn(|context| Pin::new(&mut stream).poll_frame(context)).await.unwrap().unwrap();
    let trailers = end.into_trailers().unwrap();
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!((status.code(), proto::refusal(&status).unwrap().check.as_str()), (Code::ResourceExhausted, "quota"));
    assert!(stream.is_end_stream() && next(&mut stream).await.is_none());
    let mut stream = flowing(body(&[10, 10]), flow, &unread, &owed);
    let (piece, ()) = tokio::join!(next(&mut stream), async {
        tokio::time::sleep(ROOM_PATIENCE / 2).await;
        drop(held);
    });
    assert_eq!(piece.unwrap().len(), 10);
}

/// Whoever comes when it is full waits for a while, in order; then it is told when to come again.
#[tokio::test(start_paused = true)]
async fn an_address_waits_for_its_own_room_and_for_a_while_only() {
    let unread = Unread::default();
    let held = everything(&unread, 1).await;
    assert!(unread.clone().room(origin(2), 1).now_or_never().is_some(), "others do not wait");
    let since = Instant::now();
    let Err(refused) = unread.clone().room(origin(1), LARGEST).await else { panic!("there was room") };
    assert_eq!((refused.code, refused.refusal.check.as_str()), (Code::ResourceExhausted, "quota"));
    assert!(refused.refusal.message.contains("of address 192.0.2.1") && refused.refusal.retry_after_ms > 0);
    assert_eq!(since.elapsed(), ROOM_PATIENCE);
    let (waited, ()) = tokio::join!(unread.clone().room(origin(1), LARGEST), async {
        tokio::time::sleep(ROOM_PATIENCE / 2).await;
        drop(held);
    });
    assert!(waited.is_ok());
}

/// What is waited for can be full; then everybody still has some of its own, and short answers do not wait at all.
#[tokio::test(start_paused = true)]
async fn four_addresses_that_have_all_they_can_get_shut_nobody_out() {
    let unread = Unread::default();
    let mut held = Vec::new();
    for last in 1..=4 {
        held.extend(everything(&unread, last).await);
    }
    for last in 5..=9 {
        assert!(unread.own(origin(last), LARGEST).is_some(), "a page of another");
        assert!(unread.clone().room(origin(last), HEAD_BYTES).now_or_never().is_some_and(|room| room.is_ok()));
    }
    for last in 1..=9 {
        assert!(unread.short(origin(last), SHORT_ANSWER_BYTES).is_ok());
    }
    // Who has much of its own waits.
    held.extend(std::iter::from_fn(|| unread.own(origin(5), LARGEST)));
    let Err(refused) = unread.clone().room(origin(5), LARGEST).await else { panic!("there was room") };
    assert!(refused.refusal.message.contains("all clients"), "{refused:?}");
}

/// Whoever waits while others have what is waited for goes on when something of its own is free again.
#[tokio::test(start_paused = true)]
async fn an_address_that_waits_gets_its_own_room_back() {
    let unread = Unread::default();
    let mut held = Vec::new();
    for last in 1..=4 {
        held.extend(everything(&unread, last).await);
    }
    let own: Vec<_> = std::iter::from_fn(|| unread.own(origin(5), LARGEST)).collect();
    assert_eq!(own.len(), 2);
    let (waited, ()) = tokio::join!(unread.clone().room(origin(5), LARGEST), async {
        tokio::time::sleep(ROOM_PATIENCE / 2).await;
        drop(own);
    });
    assert!(matches!(waited, Ok(Room::Share(_))));
}

/// All calls that may wait for finality, of two addresses, leave half of the room for short answers to others.
#[test]
fn calls_that_wait_do_not_use_up_the_room_for_short_answers() {
    let unread = Unread::default();
    let mut held = Vec::new();
    for last in 1..=2 {
        held.extend((0..crate::desk::WAITING_MAX / 2).map(|_| unread.short(origin(last), SHORT_ANSWER_BYTES).unwrap()));
    }
    let Err(refused) = unread.short(origin(1), SHORT_ANSWER_BYTES) else { panic!("it has its share") };
    assert!(refused.refusal.message.contains("short answers of address 192.0.2.1"), "{refused:?}");
    assert!(unread.short(origin(3), SHORT_ANSWERS_PER_ADDRESS_BYTES_MAX).is_ok());
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

//! What is counted, for how long, and how long it may take.

use super::*;
use futures::FutureExt as _;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use tonic::Code;

/// Pieces with a rest before each, and silence after the last.
struct Pieces(VecDeque<(Duration, Vec<u8>)>, Option<Pin<Box<Sleep>>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some((rest, _)) = self.0.front() else { return Poll::Pending };
        let rest = *rest;
        let resting = self.1.get_or_insert_with(|| Box::pin(tokio::time::sleep(rest)));
        std::task::ready!(resting.as_mut().poll(context));
        self.1 = None;
        let piece = self.0.pop_front().map(|(_, piece)| Ok(Frame::data(piece.into())));
        Poll::Ready(piece)
    }
}

fn message(length: usize) -> Vec<u8> {
    let announced = u32::try_from(length).unwrap().to_be_bytes();
    [&[0], announced.as_slice(), &vec![7; length]].concat()
}

fn body(intake: &Intake, path: &str, pieces: Vec<(Duration, Vec<u8>)>) -> Intaken {
    let Expected { most, is_stream, rests } = Expected::of(path);
    let origin = Origin::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Intaken {
        body: Body::new(Pieces(pieces.into(), None)),
        frames: Frames::new(most),
        patience: Patience::new(is_stream),
        intake: intake.clone(),
        origin,
        message: None,
        rests,
        request: Some(intake.take(origin, REQUEST_BYTES).unwrap_or_else(|refused| panic!("{refused:?}"))),
    }
}

/// Bytes that are taken.
fn taken(intake: &Intake) -> usize {
    INTAKE_BYTES_MAX - intake.0.free()
}

/// Reads to the end, which is a refusal; what came before it, and when it did.
async fn read(mut body: Intaken) -> (Status, usize, Duration) {
    let (since, mut bytes) = (Instant::now(), 0);
    loop {
        match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            Some(Ok(frame)) => bytes += frame.data_ref().unwrap().len(),
            Some(Err(status)) => return (status, bytes, since.elapsed()),
            None => panic!("it does not end"),
        }
    }
}

const SUBMIT: &str = "/countersign.v1.Ledger/Submit";
const SUBMIT_STREAM: &str = "/countersign.v1.Ledger/SubmitStream";
const NOW: Duration = Duration::ZERO;

/// A message may take its time, by its length, and no more; it makes no difference how the rest drips in.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_whole_in_time_is_refused_and_its_memory_is_free() {
    let intake = Intake::default();
    let whole = message(64 * 1024);
    let drips = whole[..60].chunks(1).map(|byte| (Duration::from_secs(1), byte.to_vec())).collect();
    let cases = [
        (SUBMIT, vec![], 10),
        (SUBMIT, vec![(NOW, whole[..3].to_vec())], 10),
        (SUBMIT, vec![(NOW, whole[..whole.len() - 1].to_vec())], 14),
        (SUBMIT, drips, 5 + 14),
        // All of it, and then no end.
        (SUBMIT, vec![(NOW, message(10))], 10),
        (SUBMIT_STREAM, vec![(NOW, whole[..100].to_vec())], 64),
        (SUBMIT_STREAM, vec![(NOW, message(10)), (Duration::from_secs(1_000), whole[..4].to_vec())], 1_060),
        (UPLOAD, vec![(NOW, message(UPLOAD_MESSAGE_BYTES_MAX)[..9].to_vec())], 60 + 17),
    ];
    for (number, (path, pieces, seconds)) in cases.into_iter().enumerate() {
        let (status, _, took) = read(body(&intake, path, pieces)).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "case {number}");
        assert_eq!(proto::refusal(&status).unwrap().check, "slow", "case {number}");
        assert_eq!(took.as_secs(), seconds, "case {number}");
        assert_eq!(taken(&intake), 0, "case {number}");
    }
}

/// Between the messages of a stream, nobody is in a hurry, and nothing is taken.
#[tokio::test(start_paused = true)]
async fn a_stream_may_rest_between_its_messages() {
    let intake = Intake::default();
    let mut silent = body(&intake, SUBMIT_STREAM, vec![]);
    assert!(poll_fn(|context| Pin::new(&mut silent).poll_frame(context)).now_or_never().is_none());
    assert_eq!(taken(&intake), 0, "it has not said a word");
    let mut body = body(&intake, SUBMIT_STREAM, vec![(Duration::from_secs(100_000), message(10))]);
    assert!(poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.unwrap().is_ok());
    assert_eq!(taken(&intake), REQUEST_BYTES);
    let silence = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
    assert!(tokio::time::timeout(Duration::from_secs(100_000), silence).await.is_err(), "it still waits");
    assert_eq!(taken(&intake), 0, "it rests");
    // An upload has its pace, and keeps what it has.
    let mut upload = self::body(&intake, UPLOAD, vec![]);
    assert!(poll_fn(|context| Pin::new(&mut upload).poll_frame(context)).now_or_never().is_none());
    assert_eq!(taken(&intake), REQUEST_BYTES);
}

/// What a message takes is taken before it is here, and given back when its reader asks for the next.
#[tokio::test(start_paused = true)]
async fn what_is_announced_is_counted_until_the_next_is_asked_for() {
    let intake = Intake::default();
    let whole = message(50_000);
    let pieces = [&whole[..6], &whole[6..], &message(0), &message(20)].map(|piece| (NOW, piece.to_vec()));
    let mut body = body(&intake, SUBMIT_STREAM, pieces.into());
    for held in [50_000, 50_000, 0, 0] {
        assert!(poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.unwrap().is_ok());
        assert_eq!(taken(&intake), REQUEST_BYTES + held);
    }
    drop(body);
    assert_eq!(taken(&intake), 0);
}

/// However the bytes are cut, the messages are found in them.
#[test]
fn messages_are_found_in_pieces_of_any_size() {
    let lengths = [0, 1, 5, 300, 0, 70_000, 2];
    let bytes: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
    for size in [1, 2, 4, 5, 6, 7, 100, 16_384, bytes.len()] {
        let mut frames = Frames::new(MESSAGE_BYTES_MAX);
        let begun: Vec<_> = bytes.chunks(size).filter_map(|piece| frames.advance(piece).unwrap()).collect();
        assert!(frames.is_between(), "pieces of {size}");
        // A message of its own piece needs no counting.
        assert!(begun.iter().all(|length| lengths.contains(length)), "pieces of {size}: {begun:?}");
        assert_eq!(begun.contains(&70_000), size < bytes.len(), "pieces of {size}: {begun:?}");
    }
    let mut frames = Frames::new(MESSAGE_BYTES_MAX);
    assert_eq!(frames.advance(&message(MESSAGE_BYTES_MAX + 1)), Err(TooLong(MESSAGE_BYTES_MAX + 1)));
}

/// One address has its share, no address more than it leaves, and all together no more than there is.
#[test]
fn one_address_has_its_share_and_all_have_what_there_is() {
    let intake = Intake::default();
    let origin = |last| Origin::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
    let refused = |last, bytes| intake.take(origin(last), bytes).map(drop).unwrap_err().refusal.message;
    assert!(refused(9, INTAKE_PER_ADDRESS_BYTES_MAX + 1).contains("the limit of one address"));
    let held: Vec<_> = (0..3).map(|last| intake.take(origin(last), INTAKE_PER_ADDRESS_BYTES_MAX).unwrap()).collect();
    let mut held: Vec<_> = held.into_iter().chain(intake.take(origin(3), INTAKE_PER_ADDRESS_BYTES_MAX / 2)).collect();
    assert!(refused(3, 1 << 20).contains("of address 192.0.2.3") && refused(3, 1 << 20).contains("it leaves"));
    held.push(intake.take(origin(9), INTAKE_PER_ADDRESS_BYTES_MAX / 4).expect("whoever comes next finds room"));
    assert!(refused(10, INTAKE_PER_ADDRESS_BYTES_MAX / 2).contains("all clients together"));
}

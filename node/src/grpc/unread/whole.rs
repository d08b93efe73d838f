//! An answer that is there, and how any answer is handed out: in chunks, whose room is free when the last of them
//! went.

use super::owed::Owed;
use super::room::Room;
use super::{CHUNK_BYTES, Call, HttpBody};
use http_body::Frame;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;

/// A chunk of an answer, and what is held until nobody has its bytes any more.
struct Chunk<H> {
    bytes: Bytes,
    _held: H,
}

impl<H> AsRef<[u8]> for Chunk<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same bytes in chunks, each of which is owed until it went; `held` is dropped with the last of them, as the
/// memory is.
pub(super) fn chunks<H: Send + Sync + 'static>(bytes: Bytes, owed: &Arc<Owed>, held: H) -> VecDeque<Bytes> {
    let held = Arc::new(held);
    let chunk = |begin: usize| {
        let chunk = bytes.slice(begin..bytes.len().min(begin + CHUNK_BYTES));
        let held = (owed.add(chunk.len()), held.clone());
        Bytes::from_owner(Chunk { bytes: chunk, _held: held })
    };
    (0..bytes.len()).step_by(CHUNK_BYTES).map(chunk).collect()
}

/// A whole answer, with room for its bytes and not more.
pub(super) async fn whole(mut body: Body, mut room: Room, owed: &Arc<Owed>) -> Whole {
    let mut frames = VecDeque::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => {
                // What was encoded lies in a buffer that may be twice as long.
                let bytes = Bytes::copy_from_slice(&bytes);
                let room = room.split(bytes.len());
                frames.extend(chunks(bytes, owed, room).into_iter().map(|chunk| Ok(Frame::data(chunk))));
            }
            Ok(Err(end)) => frames.push_back(Ok(end)),
            Err(status) => frames.push_back(Err(status)),
        }
    }
    Whole { frames, _call: None }
}

/// An answer that is there.
pub(super) struct Whole {
    frames: VecDeque<Result<Frame<Bytes>, Status>>,
    /// Until all of it was asked for.
    _call: Option<Call>,
}

impl Whole {
    /// The call it is the answer to goes on as long as there is some of it.
    pub(super) fn during(self, call: Option<Call>) -> Self {
        Self { _call: call, ..self }
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }
}

//! An answer that comes piece by piece: the next is asked for when there is room for it.

use super::owed::{Line, Owed};
use super::room::{Room, Unread};
use super::whole::chunks;
use super::{CHUNK_BYTES, Call, Flow, HttpBody, Refused};
use crate::origin::Origin;
use http_body::Frame;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, http::HeaderMap};

/// Whose a stream is.
pub(super) struct Reader {
    pub(super) origin: Origin,
    pub(super) owed: Arc<Owed>,
    /// Its place among the streams of its connection.
    pub(super) _place: Option<OwnedSemaphorePermit>,
    /// While there is more of it to be asked for, it is a call under way.
    pub(super) _call: Option<Call>,
}

type WaitingForRoom = Pin<Box<dyn Future<Output = Result<Room, Refused>> + Send>>;

/// A stream of answers.
pub(super) struct Flowing {
    body: Body,
    flow: Flow,
    line: Arc<Line>,
    unread: Unread,
    reader: Reader,
    /// While there was no room.
    waiting: Option<WaitingForRoom>,
    /// What is there of a piece and was not asked for yet.
    chunks: VecDeque<Bytes>,
    is_refused: bool,
}

impl Flowing {
    pub(super) fn new(body: Body, flow: Flow, unread: Unread, reader: Reader) -> Self {
        let (line, chunks) = (Line::new(flow.under_way), VecDeque::new());
        Self { body, flow, line, unread, reader, waiting: None, chunks, is_refused: false }
    }

    /// Room for one more piece.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<Room, Refused>> {
        let (origin, bytes) = (self.reader.origin, self.flow.piece);
        if self.waiting.is_none()
            && let Some(own) = self.unread.own(origin, bytes)
        {
            return Poll::Ready(Ok(own));
        }
        let unread = &self.unread;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(unread.clone().room(origin, bytes)));
        let room = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        Poll::Ready(room)
    }

    /// Takes a piece in, with as much of the room as it needs.
    fn enter(&mut self, bytes: Bytes, mut room: Room) {
        // A small one lies in a buffer that is much longer.
        let bytes = if bytes.len() < CHUNK_BYTES { Bytes::copy_from_slice(&bytes) } else { bytes };
        let held = (room.split(bytes.len()), self.line.enter(bytes.len()));
        self.chunks = chunks(bytes, &self.reader.owed, held);
    }
}

impl HttpBody for Flowing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if self.is_refused {
                return Poll::Ready(None);
            }
            ready!(self.line.poll_room(context));
            let room = match ready!(self.poll_room(context)) {
                Ok(room) => room,
                Err(refused) => {
                    self.is_refused = true;
                    return Poll::Ready(Some(trailers(&refused.into())));
                }
            };
            // Whoever has nothing to say gives the room back by this.
            match ready!(Pin::new(&mut self.body).poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => self.enter(bytes, room),
                Some(Ok(Err(end))) => return Poll::Ready(Some(Ok(end))),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && (self.is_refused || self.body.is_end_stream())
    }
}

/// How a stream ends in which answers were given: the status comes after them.
fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

//! What requests may take of this node's memory before they are done with: so much for all clients, so much for
//! one address, whatever they announce and however slowly it comes.
//!
//! A window of HTTP/2 does not bound this by itself: what the library reads out of it, to put a message together,
//! makes room in the window for more. So every message is counted here, with the length it announces, before there
//! is any memory for it; what nobody reads yet is bounded by the window of its connection.

mod frames;

use super::connections::Client;
use super::refusal::{Refused, named};
use crate::origin::Origin;
use crate::shares::{NoShare, Share, Shares};
use frames::{Frames, TooLong};
use futures::TryFutureExt as _;
use futures::future::{Either, MapOk, Ready, ready};
use http_body::{Body as HttpBody, Frame};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};

/// Bytes of requests that are here and not done with.
pub const INTAKE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// … of one address: a quarter of all, and no more than it leaves to others.
pub const INTAKE_PER_ADDRESS_BYTES_MAX: usize = INTAKE_BYTES_MAX / 4;
/// What an open request takes besides its message: its headers (16 KiB at most), the library's buffer (8 KiB) and
/// the piece that came last (16 KiB).
pub const REQUEST_BYTES: usize = 40 * 1024;
/// The message of a request: the largest transaction, and what is around it.
pub const MESSAGE_BYTES_MAX: usize = 72 * 1024;
/// A message of an upload: the largest piece, and what is around it.
pub const UPLOAD_MESSAGE_BYTES_MAX: usize = super::artifacts::UPLOAD_PIECE_BYTES_MAX + 8 * 1024;
/// A report of an inventory: the largest, packed, and what is around it.
pub const REPORT_MESSAGE_BYTES_MAX: usize = ledger::limits::INVENTORY_PACKED_BYTES_MAX + 8 * 1024;
/// How long the message of a request may take however small it is.
pub const MESSAGE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a message of a stream may take, once it was begun: this node may take its time in between.
pub const STREAM_MESSAGE_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes a second, from which the rest of a message's time follows.
pub const MESSAGE_BYTES_PER_SECOND: usize = 16 * 1024;
/// When to try again after "no room": requests are done with soon.
const RETRY_AFTER_MS: u64 = 1_000;

/// The call whose messages are pieces of artifacts.
const UPLOAD: &str = "/countersign.v1.Artifacts/Upload";
/// The call whose message may have an inventory in it.
const REPORT: &str = "/countersign.v1.Inventories/Report";
/// Calls of many messages that are answered one by one, with any time between them. Of these a connection has few
/// (`STREAMS_OF_ANSWERS_MAX`), and one that rests takes nothing here: or else whoever opens many and says nothing
/// would have what others need.
const CONVERSATIONS: [&str; 3] = [
    "/countersign.v1.Ledger/SubmitStream",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Counts what requests take.
#[derive(Clone)]
pub struct Intake(Arc<Shares>);

/// Memory of a request, until it is dropped.
pub(super) type Held = Share;

impl Default for Intake {
    fn default() -> Self {
        Self(Shares::of_all(INTAKE_BYTES_MAX, INTAKE_PER_ADDRESS_BYTES_MAX))
    }
}

impl Intake {
    /// So many bytes more for a client.
    pub(super) fn take(&self, origin: Origin, bytes: usize) -> Result<Held, Refused> {
        self.0.take_many(origin, bytes).map_err(|no_share| {
            let message = match no_share {
                NoShare::Most(most) => format!(
                    "requests of address {origin} that are not done with take {most} bytes, the limit of one address"
                ),
                NoShare::Leaves(free) => format!(
                    "requests of address {origin} that are not done with take as much as the {free} bytes it leaves"
                ),
                NoShare::All(all) => {
                    format!("requests that are not done with take {all} bytes, the limit of all clients together")
                }
            };
            Refused::busy(message).retry_after(RETRY_AFTER_MS)
        })
    }
}

/// Services behind a door that counts.
#[derive(Clone)]
pub(super) struct Counted<S> {
    services: S,
    intake: Intake,
}

impl<S> Counted<S> {
    pub(super) fn new(services: S, intake: Intake) -> Self {
        Self { services, intake }
    }
}

impl<S: Service<http::Request<Body>, Response = http::Response<Body>>> Service<http::Request<Body>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, MapOk<S::Future, fn(S::Response) -> S::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let origin = Client::origin_of(request.extensions().get());
        let Expected { most, is_stream, rests } = Expected::of(request.uri().path());
        match self.intake.take(origin, REQUEST_BYTES) {
            Ok(held) => {
                let request = request.map(|body| {
                    let frames = Frames::new(most);
                    let patience = Patience::new(is_stream);
                    let intake = self.intake.clone();
                    let request = Some(held);
                    Body::new(Intaken { body, frames, patience, intake, origin, rests, message: None, request })
                });
                Either::Right(self.services.call(request).map_ok(named))
            }
            Err(refused) => Either::Left(ready(Ok(Status::from(refused).into_http()))),
        }
    }
}

/// What a call's messages may be.
struct Expected {
    most: usize,
    is_stream: bool,
    /// Whether it takes nothing between its messages.
    rests: bool,
}

impl Expected {
    fn of(path: &str) -> Self {
        let most = match path {
            UPLOAD => UPLOAD_MESSAGE_BYTES_MAX,
            REPORT => REPORT_MESSAGE_BYTES_MAX,
            _ => MESSAGE_BYTES_MAX,
        };
        let rests = CONVERSATIONS.contains(&path);
        Self { most, is_stream: rests || path == UPLOAD, rests }
    }
}

/// How long the other side may take.
struct Patience {
    sleep: Pin<Box<Sleep>>,
    is_stream: bool,
    /// Whether the length of the one message is known.
    is_fixed: bool,
}

impl Patience {
    fn new(is_stream: bool) -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now() + MESSAGE_PATIENCE)), is_stream, is_fixed: false }
    }

    /// A message of so many bytes begins.
    fn begin(&mut self, length: usize) {
        let least = match self.is_stream {
            true => STREAM_MESSAGE_PATIENCE,
            // There is one, and whatever comes after it makes no more time.
            false if self.is_fixed => return,
            false => MESSAGE_PATIENCE,
        };
        self.is_fixed = true;
        let most = least + Duration::from_secs(length.div_ceil(MESSAGE_BYTES_PER_SECOND) as u64);
        self.sleep.as_mut().reset(Instant::now() + most);
    }
}

/// The body of a request, counted.
struct Intaken {
    body: Body,
    frames: Frames,
    patience: Patience,
    intake: Intake,
    origin: Origin,
    /// For a message that came, or comes, in many pieces; until the next is asked for.
    message: Option<Held>,
    rests: bool,
    /// `None` while it rests.
    request: Option<Held>,
}

impl Intaken {
    /// Counts what came.
    fn count(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if self.request.is_none() {
            self.request = Some(self.intake.take(self.origin, REQUEST_BYTES)?);
        }
        let (was_between, whole) = (self.frames.is_between(), self.frames.whole);
        let begun = self.frames.advance(bytes).map_err(|TooLong(length)| {
            Refused::invalid("size", format!("a message of {length} bytes, at most {}", self.frames.most))
        })?;
        if let Some(length) = begun {
            // The one before is whole, and with its reader.
            self.message = None;
            self.message = Some(self.intake.take(self.origin, length)?);
            self.patience.begin(length);
        } else if self.patience.is_stream && (was_between || self.frames.whole > whole) {
            // Perhaps the beginning of one, whose length is not known yet.
            self.patience.begin(0);
        }
        Ok(())
    }

    /// Whether it was waited for long enough.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let waits = !self.patience.is_stream || !self.frames.is_between();
        waits && self.patience.sleep.as_mut().poll(context).is_ready()
    }
}

impl HttpBody for Intaken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.frames.is_between() {
            self.message = None;
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
            && let Err(refused) = self.count(bytes)
        {
            return Poll::Ready(Some(Err(refused.into())));
        }
        if polled.is_pending() && self.rests && self.frames.is_between() {
            self.request = None;
        }
        // What has arrived goes first.
        if polled.is_pending() && self.is_late(context) {
            return Poll::Ready(Some(Err(Refused::slow("the message of a request takes too long").into())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;

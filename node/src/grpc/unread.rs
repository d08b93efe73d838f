//! What answers may take of this node's memory until their clients have taken them: so much for all clients, so
//! much for one address, however many they ask for and however slowly they read.
//!
//! An answer has its room before it is made, as large as it can be, and gives back what it does not need when it is
//! there. The rest travels with its bytes: the library that keeps what a connection does not take drops it with the
//! last of them.

mod owed;

use super::connections::Client;
use super::refusal::Refused;
use crate::shares::{Origin, Queues};
use http_body::{Body as HttpBody, Frame};
pub(super) use owed::Owed;
use owed::{Debt, Line};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};

/// Bytes of answers that their clients have not taken.
pub const ANSWERS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// … of one address: a quarter of all.
pub const ANSWERS_PER_ADDRESS_BYTES_MAX: usize = ANSWERS_BYTES_MAX / 4;
/// How long an answer waits for room. Whoever reads makes some at once.
pub const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// When to try again after "no room": the others have read then, or were shown out.
const RETRY_AFTER_MS: u64 = 5_000;
/// Around a message: five bytes before it.
const FRAME_BYTES: usize = 5;
/// The answer to a call that waits for something, finality or a disk: a few numbers. It must have no more room than
/// it needs, because of these many wait.
const SHORT_BYTES: usize = 256;
/// Of a stream of heads, under way: some are small, and each of a site's endpoints may follow them.
const HEADS_BYTES: usize = 32 * 1024;
/// Of an artifact, under way: two pieces, and one that comes to them.
const ARTIFACT_BYTES: usize = 256 * 1024;
/// Of any other stream.
const STREAM_BYTES: usize = 64 * 1024;

/// How much an answer may be, and whether it comes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One message of at most so many bytes.
    One(usize),
    /// Many, of which so many bytes are under way: the next is asked for when half of them are free.
    Many(usize),
}

impl Shape {
    fn of(path: &str) -> Self {
        match path {
            "/countersign.v1.Ledger/Submit"
            | "/countersign.v1.Ledger/Check"
            | "/countersign.v1.Artifacts/Stat"
            | "/countersign.v1.Artifacts/Upload" => Self::One(SHORT_BYTES),
            "/countersign.v1.Ledger/WatchHeads" | "/grpc.health.v1.Health/Watch" => Self::Many(HEADS_BYTES),
            // One part under way, and one that is made meanwhile.
            "/countersign.v1.Ledger/GetSnapshot" => Self::Many(2 * proto::MESSAGE_BYTES_MAX),
            "/countersign.v1.Artifacts/Fetch" => Self::Many(ARTIFACT_BYTES),
            "/countersign.v1.Ledger/SubmitStream"
            | "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Self::Many(STREAM_BYTES),
            _ => Self::One(proto::MESSAGE_BYTES_MAX + FRAME_BYTES),
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::One(bytes) | Self::Many(bytes) => bytes,
        }
    }
}

/// Counts what answers take.
#[derive(Clone)]
pub struct Unread {
    all: Arc<Semaphore>,
    of_addresses: Arc<Queues<Origin>>,
}

/// Memory of an answer, until it is dropped.
struct Room {
    all: OwnedSemaphorePermit,
    of_address: OwnedSemaphorePermit,
}

impl Room {
    /// So many bytes of it, or what there is.
    fn split(&mut self, bytes: usize) -> Option<Self> {
        let bytes = bytes.min(self.all.num_permits());
        Some(Self { all: self.all.split(bytes)?, of_address: self.of_address.split(bytes)? })
    }
}

impl Default for Unread {
    fn default() -> Self {
        let of_addresses = Arc::new(Queues::new(ANSWERS_PER_ADDRESS_BYTES_MAX));
        Self { all: Arc::new(Semaphore::new(ANSWERS_BYTES_MAX)), of_addresses }
    }
}

impl Unread {
    /// Room for an answer of so many bytes, in the order of asking.
    async fn room(&self, origin: Origin, bytes: usize) -> Result<Room, Refused> {
        let deadline = Instant::now() + ROOM_PATIENCE;
        let full = |of: &str, most: usize, limit: &str| {
            let message = format!("answers{of} that are not taken have {most} bytes, the limit of {limit}");
            Refused::busy(message).retry_after(RETRY_AFTER_MS)
        };
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let most = self.of_addresses.most();
        let of_address = timeout_at(deadline, self.of_addresses.of(origin).acquire_many_owned(count)).await;
        let of_address = of_address.ok().and_then(Result::ok);
        let of_address = of_address.ok_or_else(|| full(&format!(" of address {origin}"), most, "one address"))?;
        let all = timeout_at(deadline, self.all.clone().acquire_many_owned(count)).await.ok().and_then(Result::ok);
        let all = all.ok_or_else(|| full("", ANSWERS_BYTES_MAX, "all clients together"))?;
        Ok(Room { all, of_address })
    }
}

/// Services whose answers are counted.
#[derive(Clone)]
pub(super) struct Bounded<S> {
    services: S,
    unread: Unread,
}

impl<S> Bounded<S> {
    pub(super) fn new(services: S, unread: Unread) -> Self {
        Self { services, unread }
    }
}

impl<S> Service<http::Request<Body>> for Bounded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The one that said it is ready is the one that is called.
        let next = self.services.clone();
        let mut services = std::mem::replace(&mut self.services, next);
        let client: Option<&Client> = request.extensions().get();
        let (origin, owed) = (Client::origin_of(client), client.map_or_else(Arc::default, |it| it.owed.clone()));
        let shape = Shape::of(request.uri().path());
        let unread = self.unread.clone();
        Box::pin(async move {
            let room = match unread.room(origin, shape.bytes()).await {
                Ok(room) => room,
                Err(refused) => return Ok(Status::from(refused).into_http()),
            };
            let (parts, body) = services.call(request).await?.into_parts();
            let body = match shape {
                Shape::One(_) => Body::new(whole(body, room, &owed).await),
                Shape::Many(most) => Body::new(Flowing { body, line: Line::new(most / 2, room), owed }),
            };
            Ok(http::Response::from_parts(parts, body))
        })
    }
}

/// A piece of an answer, and what is held until nobody has its bytes any more.
struct Piece<H> {
    bytes: Bytes,
    _held: H,
}

impl<H> AsRef<[u8]> for Piece<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same bytes; `held` is dropped with the last of them.
fn holding<H: Send + 'static>(bytes: Bytes, held: H) -> Bytes {
    Bytes::from_owner(Piece { bytes, _held: held })
}

/// A whole answer, with room for its bytes and not more.
async fn whole(mut body: Body, mut room: Room, owed: &Arc<Owed>) -> Whole {
    let mut frames = VecDeque::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        frames.push_back(frame.map(|frame| {
            frame.map_data(|bytes| {
                // What was encoded lies in a buffer that may be twice as long.
                let bytes = Bytes::copy_from_slice(&bytes);
                let held: (Option<Room>, Debt) = (room.split(bytes.len()), owed.add(bytes.len()));
                holding(bytes, held)
            })
        }));
    }
    Whole(frames)
}

/// An answer that is there.
struct Whole(VecDeque<Result<Frame<Bytes>, Status>>);

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// An answer that comes piece by piece: the next is asked for when there is room for it.
struct Flowing {
    body: Body,
    line: Arc<Line<Room>>,
    owed: Arc<Owed>,
}

impl HttpBody for Flowing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        ready!(self.line.poll_room(context));
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| {
                    let held = (self.line.enter(bytes.len()), self.owed.add(bytes.len()));
                    holding(bytes, held)
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests;

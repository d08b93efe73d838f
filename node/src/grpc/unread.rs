//! What answers may take of this node's memory until their clients have taken them: so much for all clients, so
//! much for one address, however many they ask for and however slowly they read.
//!
//! An answer has its room before it is made, as large as it can be, and gives back what it does not need when it is
//! there. The rest travels with its bytes: the library that keeps what a connection does not take drops it with the
//! last of them. A stream has room for the piece it is making and for those under way: one that has nothing to say
//! has none, and of those a connection has few.

mod flowing;
mod owed;
mod room;
mod whole;

use super::connections::{Call, Client};
use super::refusal::Refused;
use flowing::{Flowing, Reader};
use http_body::Body as HttpBody;
pub(super) use owed::Owed;
pub use room::{
    ANSWERS_BYTES_MAX, ANSWERS_PER_ADDRESS_BYTES_MAX, OWN_ANSWERS_BYTES_MAX, OWN_ANSWERS_PER_ADDRESS_BYTES_MAX,
    ROOM_PATIENCE, SHORT_ANSWERS_BYTES_MAX, SHORT_ANSWERS_PER_ADDRESS_BYTES_MAX, Unread,
};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use whole::whole;

/// Around a message: five bytes before it.
const FRAME_BYTES: usize = 5;
/// The answer to a call that waits for something, finality or a disk: a few numbers. Of these many wait, and they
/// have room of their own.
pub const SHORT_ANSWER_BYTES: usize = 256;
/// A head: its header, and the certificate of the largest set of validators.
pub const HEAD_BYTES: usize = 32 * 1024;
/// A piece of an artifact, with what the library puts together before it gives it out.
pub const ARTIFACT_PIECE_BYTES: usize = 128 * 1024;
/// A piece of any other stream, put together in the same way.
pub const PIECE_BYTES: usize = 64 * 1024;
/// What is handed to the library at once: as much as a frame of HTTP/2 has. With every one of them that went, the
/// client is seen to read.
const CHUNK_BYTES: usize = 16 * 1024;

/// How much an answer may be, and whether it comes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A few numbers, when there is something to say.
    Short,
    /// One message of at most so many bytes.
    One(usize),
    /// Many.
    Many(Flow),
}

/// How a stream of answers flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    /// What one piece may be.
    piece: usize,
    /// With so many bytes under way, the next piece waits.
    under_way: usize,
}

impl Shape {
    fn of(path: &str) -> Self {
        let many = |piece, under_way| Self::Many(Flow { piece, under_way });
        match path {
            "/countersign.v1.Enrolment/Join"
            | "/countersign.v1.Inventories/Report"
            | "/countersign.v1.Ledger/Submit"
            | "/countersign.v1.Ledger/Check"
            | "/countersign.v1.Artifacts/Stat"
            | "/countersign.v1.Artifacts/Upload"
            | "/grpc.health.v1.Health/Check" => Self::Short,
            "/countersign.v1.Ledger/GetHead" => Self::One(HEAD_BYTES),
            "/countersign.v1.Ledger/WatchHeads" | "/grpc.health.v1.Health/Watch" => many(HEAD_BYTES, HEAD_BYTES / 2),
            // One part under way, and one that is made meanwhile.
            "/countersign.v1.Ledger/GetSnapshot" => {
                many(proto::MESSAGE_BYTES_MAX + PIECE_BYTES, proto::MESSAGE_BYTES_MAX)
            }
            "/countersign.v1.Artifacts/Fetch" => many(ARTIFACT_PIECE_BYTES, ARTIFACT_PIECE_BYTES),
            "/countersign.v1.Ledger/SubmitStream"
            | "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => many(PIECE_BYTES, PIECE_BYTES / 2),
            _ => Self::One(proto::MESSAGE_BYTES_MAX + FRAME_BYTES),
        }
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
        let client = request.extensions().get::<Client>().cloned();
        let shape = Shape::of(request.uri().path());
        let unread = self.unread.clone();
        Box::pin(async move {
            let origin = Client::origin_of(client.as_ref());
            let owed = client.as_ref().map_or_else(Arc::default, |client| client.owed.clone());
            let call = client.as_ref().map(|client| client.calls.begin());
            let (parts, body) = match shape {
                Shape::Short | Shape::One(_) => {
                    let room = match shape {
                        Shape::One(bytes) => unread.room(origin, bytes).await,
                        _ => unread.short(origin, SHORT_ANSWER_BYTES),
                    };
                    let room = match room {
                        Ok(room) => room,
                        Err(refused) => return Ok(Status::from(refused).into_http()),
                    };
                    let (parts, body) = services.call(request).await?.into_parts();
                    (parts, Body::new(whole(body, room, &owed).await.during(call)))
                }
                Shape::Many(flow) => {
                    let place = match client.as_ref().map(Client::place_for_stream).transpose() {
                        Ok(place) => place,
                        Err(refused) => return Ok(Status::from(refused).into_http()),
                    };
                    let (parts, body) = services.call(request).await?.into_parts();
                    (
                        parts,
                        Body::new(Flowing::new(
                            body,
                            flow,
                            unread,
                            Reader { origin, owed, _place: place, _call: call },
                        )),
                    )
                }
            };
            Ok(http::Response::from_parts(parts, body))
        })
    }
}

#[cfg(test)]
mod tests;

//! The cache's web server: reads, and nothing else; so many connections, one request each, none of them for ever.

use super::Cache;
use super::request::{Part, named, part};
use crate::config;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, SeekFrom};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most fields of it.
const HEADERS_MAX: usize = 64;
/// How long a client may take for a piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may last: what is not there by then is asked for again, from where it was.
const CONNECTION_MAX: Duration = Duration::from_secs(60 * 60);
/// Bytes read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces between the disk and the socket.
const PIECES_MAX: usize = 1;
/// Bits of an address of IPv6 that are a host's to choose: whoever has a link has all of them.
const LINK_BITS: u32 = 64;
/// One neighbour has at most one of so many parts of all connections.
const ADDRESS_PARTS: usize = 4;
/// After this is listened again when it cannot be.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);

type Body = BoxBody<Bytes, io::Error>;

/// Serves for ever. Where it cannot listen it says so, and tries again: a host must be patched all the same.
pub async fn serve(cache: Arc<Cache>, bounds: config::Cache) {
    let listener = loop {
        match TcpListener::bind(bounds.listen).await {
            Ok(listener) => break listener,
            Err(error) => tracing::error!(listen = %bounds.listen, %error, "the cache cannot listen"),
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    };
    if let Ok(at) = listener.local_addr() {
        tracing::info!(%at, "what is verified here is given to others");
        cache.listens(at);
    }
    let connections = Arc::new(Semaphore::new(bounds.connections_max));
    let share = bounds.connections_max.div_ceil(ADDRESS_PARTS);
    let addresses = Arc::new(Addresses::default());
    loop {
        let Ok(place) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(seat) = addresses.clone().sit(neighbour(from.ip()), share) else { continue };
                let cache = cache.clone();
                tokio::spawn(async move {
                    let _held = (place, seat);
                    // However it ends: whoever asked asks again, or elsewhere.
                    let _ = timeout(CONNECTION_MAX, serve_one(stream, cache)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "connection to the cache");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Connections by neighbour.
#[derive(Default)]
struct Addresses(Mutex<BTreeMap<IpAddr, usize>>);

/// Whoever has one address of IPv6 has as many as a link has: it is the link that is one neighbour, the first 64 bits.
fn neighbour(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> LINK_BITS << LINK_BITS).into(),
        address => address,
    }
}

/// A connection's place among those of its address; given back with this.
struct Seat(Arc<Addresses>, IpAddr);

impl Addresses {
    fn sit(self: Arc<Self>, address: IpAddr, share: usize) -> Option<Seat> {
        {
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = taken.entry(address).or_default();
            if *taken >= share {
                return None;
            }
            *taken += 1;
        }
        Some(Seat(self, address))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.1);
            }
        }
    }
}

async fn serve_one(stream: TcpStream, cache: Arc<Cache>) -> Result<(), hyper::Error> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).keep_alive(false);
    let given_up = Arc::new(Notify::new());
    let own = given_up.clone();
    let service = service_fn(move |request| {
        let (cache, given_up) = (cache.clone(), own.clone());
        async move { Ok::<_, Infallible>(answer(request, cache, given_up)) }
    });
    // While a client takes nothing the connection does not look whether there is more: it is told.
    tokio::select! {
        served = builder.serve_connection(TokioIo::new(stream), service) => served,
        () = given_up.notified() => Ok(()),
    }
}

fn answer(request: Request<Incoming>, cache: Arc<Cache>, given_up: Arc<Notify>) -> Response<Body> {
    let is_head = request.method() == Method::HEAD;
    if request.method() != Method::GET && !is_head {
        return nothing(StatusCode::METHOD_NOT_ALLOWED, None);
    }
    let found = named(request.uri().path()).and_then(|(blake3, is_tree)| cache.open_file(&blake3, is_tree));
    let Some((file, length)) = found else { return nothing(StatusCode::NOT_FOUND, None) };
    let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, from, to) = match part(range, length) {
        Part::Whole => (StatusCode::OK, 0, length),
        Part::From(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Part::Outside => return nothing(StatusCode::RANGE_NOT_SATISFIABLE, Some(format!("bytes */{length}"))),
    };
    let body = if is_head { empty() } else { body(file, from, to, cache, given_up) };
    let mut answer = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, to - from);
    if status == StatusCode::PARTIAL_CONTENT {
        answer = answer.header(header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", to - 1));
    }
    answer.body(body).unwrap_or_else(|_| nothing(StatusCode::INTERNAL_SERVER_ERROR, None))
}

fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed()
}

fn nothing(status: StatusCode, range: Option<String>) -> Response<Body> {
    let mut answer = Response::new(empty());
    *answer.status_mut() = status;
    if let Some(range) = range.and_then(|range| range.parse().ok()) {
        answer.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    answer
}

/// A part of a file, piece by piece as it is taken.
fn body(file: File, from: u64, to: u64, cache: Arc<Cache>, given_up: Arc<Notify>) -> Body {
    let (pieces, taken) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let mut file = tokio::fs::File::from_std(file);
        let mut left = to - from;
        if file.seek(SeekFrom::Start(from)).await.is_err() {
            return;
        }
        while left > 0 {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = (&mut file).take(left.min(PIECE_BYTES as u64)).read_to_end(&mut piece).await;
            let count = piece.len() as u64;
            if read.is_err() || count == 0 {
                return; // Shorter than was said: the client notices.
            }
            let piece = Ok::<_, io::Error>(Frame::data(Bytes::from(piece)));
            match timeout(PIECE_TIMEOUT, pieces.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => return given_up.notify_one(),
            }
            left -= count;
            cache.given(count);
        }
    });
    StreamBody::new(ReceiverStream::new(taken)).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_link_is_one_neighbour() {
        let addresses = Arc::new(Addresses::default());
        let sit = |address: &str| addresses.clone().sit(neighbour(address.parse().unwrap()), 2);
        let one = (sit("2001:db8::1"), sit("2001:db8::ffff:1:2"));
        assert!(one.0.is_some() && one.1.is_some());
        assert!(sit("2001:db8::2").is_none(), "another address of the same link");
        assert!(sit("2001:db8:0:1::1").is_some(), "another link");
        // An address of IPv4 is a neighbour, however it is written.
        let two = (sit("192.0.2.1"), sit("::ffff:192.0.2.1"));
        assert!(two.0.is_some() && two.1.is_some() && sit("192.0.2.1").is_none());
        assert!(sit("192.0.2.2").is_some());
        drop(one);
        assert!(sit("2001:db8::2").is_some());
    }
}

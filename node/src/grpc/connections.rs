//! Clients' connections: only so many at once, altogether and of one network, none without a request, none that rests
//! for long or does not take its answers, and accepting goes on whatever happens to one.

mod calls;
mod places;

pub(super) use calls::{Call, Calls};
pub use places::{Connections, GREETING_GRACE, KNOWN_FOR, KNOWN_MAX, KNOWN_PER_COMPANY_MAX};

use super::refusal::Refused;
use super::unread::Owed;
use crate::artifacts::OF_CLIENTS;
use crate::origin::Origin;
use calls::Use;
use places::Entered;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

/// Connections at once. For who comes later, one that is there has to end.
pub const CONNECTIONS_MAX: usize = 1_024;
/// One more for so many may be there while it ends.
const ENDING_PART: usize = 16;
/// The part of the files this process may open that connections may take: the disk needs some, too.
const SHARE_OF_FILES: u64 = 4;
/// How long a connection may be there without one request. A client connects because it wants something.
pub const FIRST_REQUEST_MAX: Duration = Duration::from_secs(30);
/// How long a connection may be there without a call under way: a few times as long as endpoints rest between two
/// looks at the ledger. Who comes again later connects again.
pub const REST_MAX: Duration = Duration::from_secs(5 * 60);
/// Downloads of one connection at once: an endpoint has one agent, and a patch few artifacts worth fetching
/// side by side. An answer that nobody reads holds its place here until the stream ends.
const DOWNLOADS_PER_CONNECTION_MAX: usize = 8;
/// Uploads of one connection at once, for the same reasons.
const UPLOADS_PER_CONNECTION_MAX: usize = 8;
/// Streams of answers that one connection has open: its downloads, and as many others. Each takes a little memory for
/// its buffers and its state for as long as it is open, whether it has something to say or not.
pub const STREAMS_OF_ANSWERS_MAX: usize = 2 * DOWNLOADS_PER_CONNECTION_MAX;
/// How long to wait after accepting failed, when files are short perhaps.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A client, as its requests know it.
#[derive(Clone)]
pub(super) struct Client {
    /// Where it comes from.
    pub(super) origin: Origin,
    /// Places for this connection's downloads.
    pub(super) downloads: Arc<Semaphore>,
    /// Places for this connection's uploads.
    pub(super) uploads: Arc<Semaphore>,
    /// Places for this connection's streams of answers.
    streams: Arc<Semaphore>,
    /// What it has not taken of its answers.
    pub(super) owed: Arc<Owed>,
    /// What it is there for.
    pub(super) calls: Calls,
}

/// A client's connection, and its place among those there may be.
pub(super) struct Connection {
    stream: TcpStream,
    client: Client,
    /// When to look whether it is used.
    alarm: Pin<Box<Sleep>>,
    /// While there are answers to be taken.
    window: Option<Window>,
    entered: Entered,
    /// Another needs its place.
    must_go: bool,
    _open: OwnedSemaphorePermit,
}

/// A time in which answers are taken, at the pace of any transfer to a client.
struct Window {
    ends: Pin<Box<Sleep>>,
    /// What was gone when it began.
    since: u64,
    /// Bytes that must go until it ends.
    least: u64,
}

impl Client {
    /// The client a request is of.
    pub(super) fn of(extensions: &tonic::Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Where it comes from. Who comes by no connection of ours is nobody from nowhere.
    pub(super) fn origin_of(client: Option<&Self>) -> Origin {
        client.map_or(Origin::NOWHERE, |client| client.origin)
    }

    /// The limit on its connection's downloads.
    pub(super) const fn downloads_max() -> usize {
        DOWNLOADS_PER_CONNECTION_MAX
    }

    /// The limit on its connection's uploads.
    pub(super) const fn uploads_max() -> usize {
        UPLOADS_PER_CONNECTION_MAX
    }

    /// A place for one more stream of answers.
    pub(super) fn place_for_stream(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.streams.clone().try_acquire_owned().map_err(|_| {
            Refused::busy(format!("{STREAMS_OF_ANSWERS_MAX} streams of answers of this connection are open, its limit"))
        })
    }

    fn new(origin: Origin, calls: Calls) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        Self {
            origin,
            downloads: places(DOWNLOADS_PER_CONNECTION_MAX),
            uploads: places(UPLOADS_PER_CONNECTION_MAX),
            streams: places(STREAMS_OF_ANSWERS_MAX),
            owed: Arc::default(),
            calls,
        }
    }
}

/// Notes that a connection is there for a reason. Every request comes by here.
#[allow(clippy::result_large_err, reason = "the signature is the library's")]
pub(super) fn note_request(request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    if let Some(client) = Client::of(request.extensions()) {
        client.calls.note();
    }
    Ok(request)
}

impl Connections {
    /// As many as the files this process may open allow. Peers are expected at these addresses.
    pub(crate) fn of_this_process(peers: impl IntoIterator<Item = IpAddr>) -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(files / SHARE_OF_FILES).unwrap_or(usize::MAX).clamp(1, CONNECTIONS_MAX);
        Self::new(most, peers)
    }
}

/// Connections as they come, for ever.
pub(super) fn incoming(
    listener: TcpListener,
    connections: Connections,
) -> impl Stream<Item = io::Result<Connection>> + Unpin {
    let most = connections.most();
    // What has to go takes its file until it has gone.
    let open = Arc::new(Semaphore::new(most + most.div_ceil(ENDING_PART)));
    let incoming = futures::stream::unfold((listener, open, connections), |(listener, open, connections)| async move {
        let file = open.clone().acquire_owned().await.ok()?;
        let (stream, origin, entered) = accept(&listener, &connections).await;
        Some((Ok(Connection::new(stream, origin, entered, file)), (listener, open, connections)))
    });
    Box::pin(incoming)
}

/// The next connection that has a place. An error is about the one that did not come, or about files being short:
/// both pass, and the door stays open.
async fn accept(listener: &TcpListener, connections: &Connections) -> (TcpStream, Origin, Entered) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let origin = Origin::from(address.ip());
                let entered = match connections.enter(origin) {
                    Ok(entered) => entered,
                    Err(no_place) => {
                        // It is closed unheard: to say why would cost what it must not have.
                        tracing::debug!(%origin, %no_place, "a client's connection is closed unheard");
                        continue;
                    }
                };
                // A connection that ended at once says so when it is read.
                let _ = stream.set_nodelay(true);
                return (stream, origin, entered);
            }
            Err(error) => {
                tracing::warn!(%error, "a client's connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, origin: Origin, entered: Entered, open: OwnedSemaphorePermit) -> Self {
        let alarm = Box::pin(tokio::time::sleep(FIRST_REQUEST_MAX));
        let client = Client::new(origin, entered.calls.clone());
        Self { stream, client, alarm, window: None, entered, must_go: false, _open: open }
    }

    /// Whether it has to end.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if !self.must_go && Pin::new(&mut self.entered.end).poll(context).is_ready() {
            tracing::debug!(origin = %self.client.origin, "a connection ends for another that needs its place");
            self.must_go = true;
        }
        self.must_go || self.is_idle(context) || self.is_stuck(context)
    }

    /// Whether it has been there for too long without a call.
    fn is_idle(&mut self, context: &mut Context<'_>) -> bool {
        while self.alarm.as_mut().poll(context).is_ready() {
            let (until, now) = match self.client.calls.usage() {
                Use::Knocking(since) | Use::Silent(since) => (since + FIRST_REQUEST_MAX, Instant::now()),
                Use::Resting(since) => (since + REST_MAX, Instant::now()),
                // It cannot have rested for longer by then.
                Use::Busy => (Instant::now() + REST_MAX, Instant::now()),
            };
            if until <= now {
                return true;
            }
            self.alarm.as_mut().reset(until);
        }
        false
    }

    /// Whether it does not take its answers, nor gives them up. Only bytes of answers count: the transport's own
    /// words, which anybody can have as many of as he likes, take nothing of what is owed.
    fn is_stuck(&mut self, context: &mut Context<'_>) -> bool {
        let owed = &self.client.owed;
        loop {
            let bytes = owed.bytes();
            if bytes == 0 {
                self.window = None;
                return false;
            }
            let window = self.window.get_or_insert_with(|| Window {
                ends: Box::pin(tokio::time::sleep(OF_CLIENTS.window)),
                since: owed.gone(),
                least: OF_CLIENTS.bytes_per_window_min.min(bytes as u64),
            });
            if window.ends.as_mut().poll(context).is_pending() {
                return false;
            }
            if owed.gone() - window.since < window.least {
                tracing::debug!(origin = %self.client.origin, bytes, "a client does not take its answers");
                return true;
            }
            self.window = None;
        }
    }

    /// What a write came to. What cannot be written now is not waited for any longer than it may.
    fn wrote(&mut self, wrote: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if wrote.is_pending() && self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        wrote
    }
}

impl Connected for Connection {
    type ConnectInfo = Client;

    /// The library asks for this once, when the greeting is over.
    fn connect_info(&self) -> Self::ConnectInfo {
        self.client.calls.greeted();
        self.client.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // What has arrived is read first: it may be the request.
        if read.is_pending() && self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;

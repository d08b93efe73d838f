//! Clients' connections: only so many at once, altogether and of one address, none without a request, none that
//! does not take its answers, and accepting goes on whatever happens to one.

use super::refusal::Refused;
use super::unread::Owed;
use crate::artifacts::OF_CLIENTS;
use crate::shares::{Origin, Share, Shares};
use rustix::process::{Resource, getrlimit};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

/// Connections at once. Who comes later waits in the operating system's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// The part of the files this process may open that connections may take: the disk needs some, too.
const SHARE_OF_FILES: u64 = 4;
/// How long a connection may be there without one request. A client connects because it wants something.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(30);
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
    asked: Arc<AtomicBool>,
}

/// A client's connection, and its place among those there may be.
pub(super) struct Connection {
    stream: TcpStream,
    client: Client,
    /// Until the first request.
    patience: Option<Pin<Box<Sleep>>>,
    /// While there are answers to be taken.
    window: Option<Window>,
    _place: OwnedSemaphorePermit,
    _share: Share,
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
        client.map_or_else(|| Origin::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), |client| client.origin)
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

    fn new(address: SocketAddr) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        Self {
            origin: address.ip().into(),
            downloads: places(DOWNLOADS_PER_CONNECTION_MAX),
            uploads: places(UPLOADS_PER_CONNECTION_MAX),
            streams: places(STREAMS_OF_ANSWERS_MAX),
            owed: Arc::default(),
            asked: Arc::default(),
        }
    }
}

/// Notes that a connection is there for a reason. Every request comes by here.
#[allow(clippy::result_large_err, reason = "the signature is the library's")]
pub(super) fn note_request(request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    if let Some(client) = Client::of(request.extensions()) {
        client.asked.store(true, Ordering::Relaxed);
    }
    Ok(request)
}

/// Connections as they come, for ever.
pub(super) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> + Unpin {
    let most = connections_max();
    let places = Arc::new(Semaphore::new(most));
    let shares = shares(most);
    let state = (listener, places, shares);
    let connections = futures::stream::unfold(state, |(listener, places, shares)| async move {
        let place = places.clone().acquire_owned().await.ok()?;
        let (stream, address, share) = accept(&listener, &shares).await;
        Some((Ok(Connection::new(stream, address, (place, share))), (listener, places, shares)))
    });
    Box::pin(connections)
}

/// No address has more connections than it leaves: a site of hundreds of endpoints behind one address stays
/// connected, and whoever comes from elsewhere finds room, also when several have all they can get.
fn shares(most: usize) -> Arc<Shares> {
    Shares::of_all(most, most)
}

/// The next connection of an address that has not its share. An error is about the one that did not come, or
/// about files being short: both pass, and the door stays open.
async fn accept(listener: &TcpListener, shares: &Arc<Shares>) -> (TcpStream, SocketAddr, Share) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let origin = Origin::from(address.ip());
                let Some(share) = shares.take(origin) else {
                    // It is closed unheard: to say why would cost what it must not have.
                    tracing::debug!(%origin, "an address has its share of connections");
                    continue;
                };
                // A connection that ended at once says so when it is read.
                let _ = stream.set_nodelay(true);
                return (stream, address, share);
            }
            Err(error) => {
                tracing::warn!(%error, "a client's connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / SHARE_OF_FILES).unwrap_or(usize::MAX).clamp(1, CONNECTIONS_MAX)
}

impl Connection {
    fn new(stream: TcpStream, address: SocketAddr, (place, share): (OwnedSemaphorePermit, Share)) -> Self {
        let patience = Some(Box::pin(tokio::time::sleep(FIRST_REQUEST_MAX)));
        let (client, window) = (Client::new(address), None);
        Self { stream, client, patience, window, _place: place, _share: share }
    }

    /// Whether it has been there for too long without a request.
    fn is_idle(&mut self, context: &mut Context<'_>) -> bool {
        if self.client.asked.load(Ordering::Relaxed) {
            self.patience = None;
        }
        self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(context).is_ready())
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
        if wrote.is_pending() && self.is_stuck(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        wrote
    }
}

impl Connected for Connection {
    type ConnectInfo = Client;

    fn connect_info(&self) -> Self::ConnectInfo {
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
        if read.is_pending() && (self.is_idle(context) || self.is_stuck(context)) {
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

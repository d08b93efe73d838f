//! Clients' connections: only so many at once, altogether and of one address, none without a request, and
//! accepting goes on whatever happens to one.

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
/// The part of all connections that one address may have. Half: a site of hundreds of endpoints behind one
/// address stays connected, and whoever comes from elsewhere finds room.
const SHARE_OF_CONNECTIONS: usize = 2;
/// How long a connection may be there without one request. A client connects because it wants something.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(30);
/// Downloads of one connection at once: an endpoint has one agent, and a patch few artifacts worth fetching
/// side by side. An answer that nobody reads holds its place here until the stream ends.
const DOWNLOADS_PER_CONNECTION_MAX: usize = 8;
/// Uploads of one connection at once, for the same reasons.
const UPLOADS_PER_CONNECTION_MAX: usize = 8;
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
    asked: Arc<AtomicBool>,
}

/// A client's connection, and its place among those there may be.
pub(super) struct Connection {
    stream: TcpStream,
    client: Client,
    /// Until the first request.
    patience: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
    _share: Share,
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

    fn new(address: SocketAddr) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        let (downloads, uploads) = (places(DOWNLOADS_PER_CONNECTION_MAX), places(UPLOADS_PER_CONNECTION_MAX));
        Self { origin: address.ip().into(), downloads, uploads, asked: Arc::default() }
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
    let shares = Shares::new((most / SHARE_OF_CONNECTIONS).max(1));
    let state = (listener, places, shares);
    let connections = futures::stream::unfold(state, |(listener, places, shares)| async move {
        let place = places.clone().acquire_owned().await.ok()?;
        let (stream, address, share) = accept(&listener, &shares).await;
        Some((Ok(Connection::new(stream, address, (place, share))), (listener, places, shares)))
    });
    Box::pin(connections)
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
                    tracing::debug!(%origin, most = shares.most(), "an address has its share of connections");
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
        Self { stream, client: Client::new(address), patience, _place: place, _share: share }
    }

    /// Whether it has been there for too long without a request.
    fn is_idle(&mut self, context: &mut Context<'_>) -> bool {
        if self.client.asked.load(Ordering::Relaxed) {
            self.patience = None;
        }
        self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(context).is_ready())
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
        if read.is_pending() && self.is_idle(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
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
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::time::{Instant, timeout};
    use tokio_stream::StreamExt as _;

    /// A door, and how many may be there of one address.
    async fn door(most: usize) -> (SocketAddr, TcpListener, Arc<Shares>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), listener, Shares::new(most))
    }

    /// A clock that stands until everybody waits shows what happens after any time.
    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed_after_its_time() {
        let (address, listener, _) = door(1).await;
        let mut connections = incoming(listener);
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut connection = connections.next().await.unwrap().unwrap();
        let since = Instant::now();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), since.elapsed().as_secs()), (io::ErrorKind::TimedOut, FIRST_REQUEST_MAX.as_secs()));

        // One that asked may then be silent for as long as it likes.
        let _asking = TcpStream::connect(address).await.unwrap();
        let mut connection = connections.next().await.unwrap().unwrap();
        let mut request = tonic::Request::new(());
        request.extensions_mut().insert(connection.client.clone());
        note_request(request).unwrap();
        assert!(timeout(100 * FIRST_REQUEST_MAX, connection.read_u8()).await.is_err(), "it is still there");
    }

    #[tokio::test]
    async fn one_address_has_its_share_of_connections_and_others_theirs() {
        let (address, listener, shares) = door(2).await;
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let held = [accept(&listener, &shares).await, accept(&listener, &shares).await];
        // The third is closed unheard, the one from elsewhere is taken.
        let mut third = TcpStream::connect(address).await.unwrap();
        let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
        elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let _fourth = elsewhere.connect(address).await.unwrap();
        let (_, from, _share) = accept(&listener, &shares).await;
        assert_eq!(from.ip().to_string(), "127.0.0.2");
        assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "it was closed");
        // And when one has gone, another may come.
        drop(held);
        let _fifth = TcpStream::connect(address).await.unwrap();
        let (_, from, _share) = accept(&listener, &shares).await;
        assert_eq!(from.ip().to_string(), "127.0.0.1");
    }
}

//! A web server with artifacts by digest (protocol.md 7.11): what it is asked, and how little of its answers is
//! believed. No cookies, no ambient proxies, no compression; whom it may send on to is configured.

use super::answer::{HEAD_TIMEOUT, MirrorError, REDIRECTS_MAX, judge, parse, port, sent_on};
use super::pieces::Piece;
use crate::config::MirrorAddress;
use crate::files::{self, FileError};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most fields of it.
const HEADERS_MAX: usize = 64;
/// Largest file of TLS roots.
const CA_BYTES_MAX: usize = 1024 * 1024;

/// A mirror, ready to be asked.
#[derive(Clone)]
pub(super) struct Mirror {
    address: MirrorAddress,
    tls: Arc<ClientConfig>,
}

/// Why a mirror cannot even be asked.
#[derive(Debug, thiserror::Error)]
pub enum MirrorSetup {
    /// The roots cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There are none.
    #[error("{0}: no usable TLS roots")]
    Roots(String),
}

/// A connection; it ends with this.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body on its way.
pub(super) struct Answer {
    body: Incoming,
    _connection: Connection,
    /// Bytes that stand before those asked for: not every server knows ranges.
    skip: u64,
}

impl Answer {
    /// The next piece of it.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, MirrorError> {
        loop {
            let frame = match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => frame.map_err(|error| MirrorError::Broken(innermost(&error)))?,
            };
            let Ok(mut data) = frame.into_data() else { continue };
            let before = usize::try_from(self.skip).unwrap_or(usize::MAX).min(data.len());
            self.skip -= before as u64;
            let moved = data.len() as u64;
            return Ok(Some(Piece { data: data.split_off(before).to_vec(), moved }));
        }
    }
}

impl Mirror {
    pub(super) fn new(address: MirrorAddress) -> Result<Self, MirrorSetup> {
        proto::install_tls_provider();
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &address.ca {
            let pem = files::read(ca, CA_BYTES_MAX)?;
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
            roots.add_parsable_certificates(certificates);
        } else if address.url.scheme_str() == Some("https") || !address.redirects_to.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() && address.url.scheme_str() == Some("https") {
            return Err(MirrorSetup::Roots(address.url.to_string()));
        }
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address, tls: Arc::new(tls) })
    }

    /// Asks for a file of a known size, from an offset on.
    pub(super) async fn get(&self, path: &str, size: u64, offset: u64) -> Result<Answer, MirrorError> {
        let base = self.address.url.to_string();
        let mut at = parse(&format!("{}/{path}", base.trim_end_matches('/')))?;
        for _ in 0..=REDIRECTS_MAX {
            let (answer, connection) = self.ask(&at, offset).await?;
            if !answer.status().is_redirection() {
                let skip = judge(answer.status(), answer.headers(), size, offset)?;
                return Ok(Answer { body: answer.into_body(), _connection: connection, skip });
            }
            at = sent_on(&self.address, &at, answer.headers())?;
        }
        Err(MirrorError::Redirects)
    }

    async fn ask(&self, at: &Uri, offset: u64) -> Result<(Response<Incoming>, Connection), MirrorError> {
        let host = at.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let is_tls = at.scheme_str() == Some("https");
        let port = port(at);
        let standing = async {
            match (&self.address.proxy, is_tls) {
                (None, false) => talk(connect(&host, port).await?).await,
                (None, true) => talk(self.secure(connect(&host, port).await?, &host).await?).await,
                (Some(proxy), false) => talk(through(proxy).await?).await,
                (Some(proxy), true) => {
                    let tunnel = tunnel(through(proxy).await?, at, port).await?;
                    talk(self.secure(tunnel, &host).await?).await
                }
            }
        };
        let standing = timeout(CONNECT_TIMEOUT, standing).await;
        let (mut sender, connection) =
            standing.map_err(|_| MirrorError::Connection("does not stand in time".to_owned()))??;
        let path = at.path_and_query().map_or("/", |path| path.as_str());
        // To a proxy without a tunnel, the whole address; to a server, the path.
        let target = if self.address.proxy.is_some() && !is_tls { at.to_string() } else { path.to_owned() };
        let authority = at.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::get(target).header(header::HOST, authority).header(header::CONNECTION, "close");
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| MirrorError::Head(error.to_string()))?;
        let answer = timeout(HEAD_TIMEOUT, sender.send_request(request)).await.map_err(|_| MirrorError::Silent)?;
        answer.map(|answer| (answer, connection)).map_err(|error| MirrorError::Head(innermost(&error)))
    }

    async fn secure<S>(&self, stream: S, host: &str) -> Result<tokio_rustls::client::TlsStream<S>, MirrorError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| MirrorError::Connection(error.to_string()))?;
        let standing = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        standing.map_err(|error| MirrorError::Connection(error.to_string()))
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, MirrorError> {
    TcpStream::connect((host, port)).await.map_err(|error| MirrorError::Connection(error.to_string()))
}

async fn through(proxy: &Uri) -> Result<TcpStream, MirrorError> {
    let host = proxy.host().unwrap_or_default().trim_matches(['[', ']']);
    connect(host, proxy.port_u16().unwrap_or_default()).await
}

/// Asks a proxy for a way through it.
async fn tunnel(stream: TcpStream, at: &Uri, port: u16) -> Result<TokioIo<hyper::upgrade::Upgraded>, MirrorError> {
    let refused = |why: String| MirrorError::Connection(format!("proxy: {why}"));
    let (mut sender, _connection) = talk(stream).await?;
    let authority = format!("{}:{port}", at.host().unwrap_or_default());
    let request = Request::builder().method(Method::CONNECT).uri(&authority).header(header::HOST, &authority);
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| refused(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| refused(innermost(&error)))?;
    match answer.status().is_success() {
        true => hyper::upgrade::on(answer).await.map(TokioIo::new).map_err(|error| refused(error.to_string())),
        false => Err(refused(format!("answered {}", answer.status()))),
    }
}

async fn talk<S>(stream: S) -> Result<(http1::SendRequest<Empty<Bytes>>, Connection), MirrorError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let (sender, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| MirrorError::Connection(error.to_string()))?;
    // What goes wrong on the connection is told to whoever waits for the answer.
    let running = tokio::spawn(async move { drop(connection.with_upgrades().await) });
    Ok((sender, Connection(running)))
}

/// The innermost cause, which says what happened.
fn innermost(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match std::ptr::addr_eq(cause, error) {
        true => error.to_string(),
        false => format!("{error}: {cause}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    fn mirror(url: &str, proxy: Option<&str>) -> Mirror {
        let address = MirrorAddress {
            url: url.parse().unwrap(),
            ca: None,
            proxy: proxy.map(|proxy| proxy.parse().unwrap()),
            redirects_to: Vec::new(),
        };
        proto::install_tls_provider();
        let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Mirror { address, tls: Arc::new(tls) }
    }

    /// Time stands still but for those who wait: nobody waits longer than is said.
    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = silent.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = silent.accept().await {
                held.push(tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await }));
            }
        });
        let tls = format!("https://{at}/patches");
        for (what, mirror, waits, said) in [
            (
                "an answer",
                mirror(&format!("http://{at}/patches"), None),
                HEAD_TIMEOUT,
                "timeout: no answer within 15 s",
            ),
            ("a handshake", mirror(&tls, None), CONNECT_TIMEOUT, "connection: does not stand in time"),
            (
                "a proxy's answer",
                mirror("http://mirror.invalid/patches", Some(&format!("http://{at}"))),
                HEAD_TIMEOUT,
                "timeout: no answer within 15 s",
            ),
            (
                "a way through a proxy",
                mirror("https://mirror.invalid/patches", Some(&format!("http://{at}"))),
                CONNECT_TIMEOUT,
                "connection: does not stand in time",
            ),
        ] {
            let asked = Instant::now();
            let error = mirror.get("ab/cd", 1, 0).await.err().map(|error| error.to_string());
            assert_eq!((error.as_deref(), asked.elapsed().as_secs()), (Some(said), waits.as_secs()), "{what}");
        }
    }
}

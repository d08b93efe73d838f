//! A stand-in for a web server with artifacts by digest, honest or as dishonest as a test wants. It writes its answers
//! byte by byte: no library would let it lie so.

use bao_tree::BlockSize;
use bao_tree::io::outboard::PreOrderMemOutboard;
use ledger::artifact::shelf_path;
use ledger::id::Digest;
use rustls::pki_types::PrivateKeyDer;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// How a mirror serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Serves {
    /// As it should.
    #[default]
    Honestly,
    /// It has no trees.
    WithoutTrees,
    /// It knows nothing of ranges.
    WithoutRanges,
    /// One bit is wrong in the byte at this place of the artifact.
    FlipAt(usize),
    /// Its trees are of something else.
    WrongTrees,
    /// Neither the artifact nor a tree is right, and there is no tree.
    FlipWithoutTrees(usize),
    /// Without a length: everything, and then zeros for ever.
    Endless,
    /// It says how long it is, and breaks off after so many bytes of the body.
    BreaksAfter(usize),
    /// A byte now and then.
    Dripping,
    /// It sends on to itself, for ever.
    InCircles,
    /// It sends on to this address, and there says the rest of the path.
    SendsOn(String),
    /// More head than anybody reads.
    HugeHead,
    /// Compressed, it says.
    Compressed,
    /// Another length.
    Longer,
    /// Another part than was asked for.
    OtherPart,
    /// The head of an answer, and then nothing.
    HeadOnly,
    /// A page in the place of everything.
    Anything,
    /// An error.
    Failing,
    /// No HTTP.
    Nonsense,
}

/// A mirror. It is gone with the test.
#[derive(Clone)]
pub(crate) struct Mirror {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    serves: Serves,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<(String, u64)>>>,
    sent: Arc<Mutex<u64>>,
}

/// The hash tree of an artifact.
pub(crate) fn tree(bytes: &[u8]) -> Vec<u8> {
    PreOrderMemOutboard::create(bytes, BlockSize::from_chunk_log(4)).data
}

/// Lays an artifact into a directory as a mirror has it.
pub(crate) fn lay(directory: &Path, bytes: &[u8], with_tree: bool) {
    let path = directory.join(shelf_path(&Digest::blake3(bytes)));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    if with_tree {
        std::fs::write(path.with_extension("tree"), tree(bytes)).unwrap();
    }
}

/// A certificate for a host, and its root as PEM.
fn identity(name: &str) -> (TlsAcceptor, String) {
    proto::install_tls_provider();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), root)
}

async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// A stand-in for a proxy that leads through to a mirror, whatever host is asked for; or refuses to.
pub(crate) struct Tunnel {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    pub(crate) async fn to(mirror: Option<&Mirror>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, to) = (Arc::<Mutex<Vec<String>>>::default(), mirror.map(|mirror| mirror.address));
        let heads = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heads = heads.clone();
                let lead = async move {
                    let head = head_of(&mut stream).await?;
                    heads.lock().unwrap().push(head);
                    let Some(to) = to else {
                        return stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
                    };
                    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                    copy_bidirectional(&mut stream, &mut TcpStream::connect(to).await?).await.map(drop)
                };
                tokio::spawn(async move { drop(lead.await) });
            }
        });
        Self { address, asked }
    }

    /// The heads of what it was asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Mirror {
    pub(crate) async fn new(serves: Serves) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/patches", listener.local_addr().unwrap());
        Self::listening(listener, url, serves, None)
    }

    /// One that speaks TLS as a host of this name; and the root of its certificate, as PEM.
    pub(crate) async fn with_tls(serves: Serves, name: &str) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{name}:{}/patches", listener.local_addr().unwrap().port());
        let (acceptor, root) = identity(name);
        (Self::listening(listener, url, serves, Some(acceptor)), root)
    }

    fn listening(listener: TcpListener, url: String, serves: Serves, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().unwrap();
        let (files, asked, sent) = Default::default();
        let mirror = Self { url, address, serves, files, asked, sent };
        let serving = mirror.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, tls) = (serving.clone(), tls.clone());
                // Who has enough of it goes away.
                tokio::spawn(async move {
                    match tls {
                        None => drop(serving.answer(stream).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(serving.answer(stream).await);
                            }
                        }
                    }
                });
            }
        });
        mirror
    }

    pub(crate) fn store(&self, bytes: &[u8]) {
        let path = format!("/patches/{}", shelf_path(&Digest::blake3(bytes)));
        let mut files = self.files.lock().unwrap();
        files.insert(format!("{path}.tree"), tree(bytes));
        files.insert(path, bytes.to_vec());
    }

    /// The same, beneath another address, as a proxy is asked for it.
    pub(crate) fn store_as(&self, url: &str, bytes: &[u8]) {
        let path = format!("{url}/{}", shelf_path(&Digest::blake3(bytes)));
        let mut files = self.files.lock().unwrap();
        files.insert(format!("{path}.tree"), tree(bytes));
        files.insert(path, bytes.to_vec());
    }

    /// Paths and offsets asked for, trees apart.
    pub(crate) fn asked(&self) -> Vec<u64> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(path, _)| !path.ends_with(".tree")).map(|(_, offset)| *offset).collect()
    }

    pub(crate) fn sent(&self) -> u64 {
        *self.sent.lock().unwrap()
    }

    async fn answer(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let head = head_of(&mut stream).await?;
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let lower = head.to_ascii_lowercase();
        for ambient in ["cookie:", "referer:", "authorization:"] {
            assert!(!lower.contains(ambient), "{head}");
        }
        let offset = lower.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
        let offset: u64 = offset.unwrap_or(0);
        self.asked.lock().unwrap().push((path.clone(), offset));
        let serves = self.serves.clone();
        let is_tree = path.ends_with(".tree");
        match &serves {
            Serves::Nonsense => return stream.write_all(b"220 mail.example ESMTP\r\n").await,
            Serves::InCircles => return self.say(&mut stream, &format!("302 Found\r\nlocation: {path}")).await,
            Serves::SendsOn(to) => return self.say(&mut stream, &format!("302 Found\r\nlocation: {to}{path}")).await,
            Serves::HugeHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                loop {
                    stream.write_all(b"x-more: and more and more and more and more\r\n").await?;
                    *self.sent.lock().unwrap() += 45;
                }
            }
            Serves::Anything => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
            }
            Serves::Failing => return self.say(&mut stream, "500 Oops").await,
            _ => {}
        }
        let stored = self.files.lock().unwrap().get(&path).cloned();
        let hidden = is_tree && matches!(serves, Serves::WithoutTrees | Serves::FlipWithoutTrees(_));
        let Some(mut file) = stored.filter(|_| !hidden) else { return self.say(&mut stream, "404 Not Found").await };
        match serves {
            Serves::FlipAt(place) | Serves::FlipWithoutTrees(place) if !is_tree => file[place] ^= 1,
            Serves::WrongTrees if is_tree => file[40] ^= 1,
            _ => {}
        }
        let total = file.len();
        let offset = if serves == Serves::WithoutRanges { 0 } else { usize::try_from(offset).unwrap() };
        let said = if serves == Serves::Longer && !is_tree { total + 1 } else { total };
        let begins = if serves == Serves::OtherPart { 0 } else { offset };
        let mut head = match offset {
            0 => "HTTP/1.1 200 OK\r\n".to_owned(),
            _ => format!("HTTP/1.1 206 Partial\r\ncontent-range: bytes {begins}-{}/{said}\r\n", total - 1),
        };
        if serves == Serves::Compressed {
            head.push_str("content-encoding: gzip\r\n");
        }
        let is_silent = serves == Serves::HeadOnly && !is_tree;
        let endless = serves == Serves::Endless && !is_tree;
        if !endless {
            head.push_str(&format!("content-length: {}\r\n", said - offset));
        }
        stream.write_all((head + "connection: close\r\n\r\n").as_bytes()).await?;
        let mut body = &file[offset..];
        if is_silent {
            // Until whoever waits goes away.
            return stream.read_u8().await.map(drop);
        }
        match serves {
            Serves::BreaksAfter(count) if !is_tree => body = &body[..count.min(body.len())],
            Serves::Dripping if !is_tree => {
                for byte in body {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            _ => {}
        }
        for piece in body.chunks(20_000) {
            stream.write_all(piece).await?;
            *self.sent.lock().unwrap() += piece.len() as u64;
        }
        if !endless {
            return stream.shutdown().await;
        }
        loop {
            stream.write_all(&[0; 20_000]).await?;
            *self.sent.lock().unwrap() += 20_000;
        }
    }

    async fn say(&self, stream: &mut (impl AsyncWrite + Unpin), status: &str) -> std::io::Result<()> {
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
        stream.shutdown().await
    }
}

//! A web server that lies: it gives artifacts as a mirror does, and not as it should. It writes its answers by itself:
//! no library would let it lie so.

use super::error::AttackError;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long a slow one takes for a byte.
const DRIP: Duration = Duration::from_secs(1);
/// Bytes of an endless answer sent at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest head of a request it reads.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// How a mirror lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lies {
    /// It does not.
    #[default]
    Never,
    /// One bit of every artifact is turned over.
    WrongBytes,
    /// The hash trees are of something else.
    WrongTrees,
    /// Zeros for ever, instead of an artifact.
    Endless,
    /// Half of an artifact.
    TooFew,
    /// A byte a second.
    Drips,
    /// It sends everybody on to itself.
    InCircles,
    /// It sends everybody on to another server: the beginning of its address, and its port.
    Elsewhere(&'static str, u16),
    /// The head of its answers never ends.
    HugeHead,
}

/// A mirror. It is gone when this is.
pub(super) struct Mirror {
    /// Where it is.
    pub(super) url: String,
    port: u16,
    lies: Arc<Mutex<Lies>>,
    asked: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Mirror {
    /// Serves a directory, on a port of its own.
    pub(super) async fn of(directory: &Path) -> Result<Self, AttackError> {
        let failed = |what: &str| AttackError::io(what.to_owned());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed("cannot listen"))?;
        let address = listener.local_addr().map_err(failed("cannot tell where it listens"))?;
        let (lies, asked, sent) = <(Arc<Mutex<Lies>>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let serving = Serving { directory: directory.to_owned(), lies: lies.clone(), sent: sent.clone() };
        let counted = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                // Whoever has enough of it goes away.
                let serving = serving.clone();
                tokio::spawn(async move { drop(serving.answer(stream).await) });
            }
        });
        Ok(Self { url: format!("http://{address}"), port: address.port(), lies, asked, sent, serving })
    }

    /// From now on it lies so.
    pub(super) fn tell(&self, lies: Lies) {
        *self.lies.lock().unwrap_or_else(PoisonError::into_inner) = lies;
    }

    /// The port it listens on.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How often it was asked for anything: connections, also of whoever says nothing.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Bytes it sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Serving {
    directory: PathBuf,
    lies: Arc<Mutex<Lies>>,
    sent: Arc<AtomicU64>,
}

impl Serving {
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < REQUEST_BYTES_MAX {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let lies = *self.lies.lock().unwrap_or_else(PoisonError::into_inner);
        let is_tree = path.ends_with(".tree");
        match lies {
            Lies::InCircles | Lies::Elsewhere(..) => {
                let to = match lies {
                    Lies::Elsewhere(start, port) => format!("{start}:{port}{path}"),
                    _ => path,
                };
                let on = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
                return self.send(&mut stream, on.as_bytes()).await;
            }
            Lies::HugeHead => {
                self.send(&mut stream, b"HTTP/1.1 200 OK\r\n").await?;
                loop {
                    self.send(&mut stream, b"x-more: and more and more and more and more and more\r\n").await?;
                }
            }
            Lies::Endless if !is_tree => {
                self.send(&mut stream, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
                loop {
                    self.send(&mut stream, &[0; PIECE_BYTES]).await?;
                }
            }
            _ => {}
        }
        let Some(mut file) = self.file(&path) else {
            return self.send(&mut stream, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        };
        let middle = file.len() / 2;
        match lies {
            Lies::WrongBytes if !is_tree => file[middle] ^= 1,
            Lies::WrongTrees if is_tree => file[middle] ^= 1,
            Lies::TooFew if !is_tree => file.truncate(middle),
            _ => {}
        }
        let length = file.len();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        self.send(&mut stream, head.as_bytes()).await?;
        if lies == Lies::Drips && !is_tree {
            for byte in file {
                self.send(&mut stream, &[byte]).await?;
                tokio::time::sleep(DRIP).await;
            }
            return Ok(());
        }
        self.send(&mut stream, &file).await?;
        stream.shutdown().await
    }

    /// A file beneath the directory, and none elsewhere.
    fn file(&self, path: &str) -> Option<Vec<u8>> {
        let within = Path::new(path.trim_start_matches('/'));
        let is_within = within.components().all(|part| matches!(part, Component::Normal(_)));
        fs::read(self.directory.join(within)).ok().filter(|file| is_within && !file.is_empty())
    }

    async fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        stream.write_all(bytes).await?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

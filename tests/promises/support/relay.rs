//! Relays that hold back what passes: between a node and each of its peers, inside the node's own network, so
//! that on the wire everything still comes from the node's address. For kernels without `netem`.

use super::namespaces::Namespace;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Pieces of one connection that are on their way in one direction.
const PIECES_MAX: usize = 1_024;
/// Bytes of a piece.
const PIECE_BYTES: usize = 16 * 1024;

/// Relays on several hosts, each a thread in its host's network.
#[derive(Default)]
pub(crate) struct Relays {
    delay_us: Arc<AtomicU64>,
    hosts: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Relays {
    /// Everything that passes from now on takes so much longer, in each direction. The order is kept.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay_us.store(u64::try_from(delay.as_micros()).unwrap(), Ordering::Relaxed);
    }

    /// Opens relays on a host to these addresses elsewhere; where each can be found there.
    pub(crate) fn open(&mut self, host: &Namespace, targets: &[SocketAddr]) -> Vec<SocketAddr> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, places) = std::sync::mpsc::channel();
        let (delay_us, targets) = (self.delay_us.clone(), targets.to_vec());
        let thread = std::thread::scope(|scope| {
            // It must be in the host's network before it has a socket; then it lives on by itself.
            let body = scope.spawn(|| {
                host.enter().unwrap();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        for target in targets {
                            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                            ready.send(listener.local_addr().unwrap()).unwrap();
                            tokio::spawn(serve(listener, target, delay_us.clone()));
                        }
                        drop(ready);
                        // Whoever holds the other end is gone, or asks us to go: the same thing.
                        let _ = stopped.await;
                    });
                })
            });
            body.join().unwrap()
        });
        self.hosts.push((stop, thread));
        places.iter().collect()
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        for (stop, thread) in self.hosts.drain(..) {
            drop(stop);
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, delay_us: Arc<AtomicU64>) {
    while let Ok((near, _)) = listener.accept().await {
        let delay_us = delay_us.clone();
        tokio::spawn(async move {
            // A target that cannot be reached is a connection that ends.
            let Ok(far) = TcpStream::connect(target).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            // When one direction ends both do: these connections are never half open for long.
            tokio::select! {
                () = pass(near_in, far_out, &delay_us) => {}
                () = pass(far_in, near_out, &delay_us) => {}
            }
        });
    }
}

/// Passes on what comes, each piece when its time has come, until either end is gone.
async fn pass(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, delay_us: &AtomicU64) {
    let (pieces, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let reading = async move {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = from.read(&mut piece).await.unwrap_or(0);
            piece.truncate(read);
            let due = Instant::now() + Duration::from_micros(delay_us.load(Ordering::Relaxed));
            if read == 0 || pieces.send((due, piece)).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = waiting.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    // The writer ends after the reader, with what is still on its way; or first, and then all is over.
    tokio::pin!(reading);
    tokio::pin!(writing);
    tokio::select! {
        () = &mut reading => writing.await,
        () = &mut writing => {}
    }
}

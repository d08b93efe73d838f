//! Clients that mean harm.

use crate::support::clients::{Operator, finalise};
use crate::support::invariants::{all_chains_are_equal, nobody_panicked};
use crate::support::ledger::{Ledger, NODES};
use devnet::client;
use proto::v1::{SubmitRequest, SubmitStreamResponse};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tests::Dice;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

/// Connections to one node that say nothing.
const HALF_OPEN: usize = 150;
/// Connections over which badly signed transactions come.
const FLOODS: usize = 4;
/// Transactions that mean well, at each node.
const HONEST: usize = 8;
/// Larger than any message.
const OVERSIZED: usize = 5 * 1024 * 1024;

/// Badly signed transactions, as fast as they are taken.
async fn flood(url: String, ca: std::path::PathBuf, bytes: Vec<u8>, stop: Arc<AtomicBool>, refused: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = client::connect(&url, &ca).await else { continue };
        let (requests, stream) = tokio::sync::mpsc::channel(256);
        let (stopped, mut forged) = (stop.clone(), bytes.clone());
        let sending = tokio::spawn(async move {
            for number in 0u64.. {
                // Another signature each time: none is remembered.
                let place = forged.len() - 60;
                forged[place..place + 8].copy_from_slice(&number.to_le_bytes());
                let request = SubmitRequest { transaction: forged.clone(), wait_ms: 0 };
                if stopped.load(Ordering::Relaxed) || requests.send(request).await.is_err() {
                    return;
                }
            }
        });
        if let Ok(answers) = client.submit_stream(ReceiverStream::new(stream)).await {
            let mut answers = answers.into_inner();
            while let Some(Ok(SubmitStreamResponse { refusal, .. })) = answers.next().await {
                assert!(refusal.is_some(), "a forged transaction was admitted");
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        sending.await.unwrap();
    }
}

fn garbage(address: &str, dice: &mut Dice) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let bytes: Vec<u8> = (0..dice.below(2_000) + 6).map(|_| dice.roll().to_le_bytes()[0]).collect();
    // The node may shut the door at any byte.
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() < 100, "it talks to strangers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_client_stops_nobody() {
    let ledger = Ledger::raise().await;
    let operator = Operator::of(&ledger);
    let addresses: Vec<String> =
        NODES.iter().map(|name| ledger.node(name).grpc.trim_start_matches("https://").to_owned()).collect();

    // Connections that never say a word, to all nodes, as long as this lasts.
    let half_open: Vec<_> = addresses
        .iter()
        .flat_map(|address| (0..HALF_OPEN).filter_map(move |_| TcpStream::connect(address).ok()))
        .collect();
    assert!(half_open.len() > HALF_OPEN);

    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut forged = operator.sign().bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let floods: Vec<_> = (0..FLOODS)
        .map(|place| {
            let url = ledger.node(NODES[place % 2]).grpc.clone();
            tokio::spawn(flood(url, ledger.devnet.ca.clone(), forged.clone(), stop.clone(), refused.clone()))
        })
        .collect();
    let garbage_for = addresses.clone();
    let rubbish = tokio::task::spawn_blocking(move || {
        let mut dice = Dice::new(3);
        for address in &garbage_for {
            for _ in 0..20 {
                garbage(address, &mut dice);
            }
        }
    });
    for name in NODES {
        for _ in 0..3 {
            let request = SubmitRequest { transaction: vec![7; OVERSIZED], wait_ms: 0 };
            assert!(ledger.connect(name).await.submit(request).await.is_err());
        }
    }

    // Whoever means well is served at every node, the flooded ones too.
    for name in NODES {
        for _ in 0..HONEST {
            finalise(&ledger, name, &operator.sign()).await;
        }
    }
    rubbish.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.await.unwrap();
    }
    assert!(refused.load(Ordering::Relaxed) > 1_000, "the flood was a trickle");
    drop(half_open);
    for name in NODES {
        assert!(ledger.is_running(name), "{name} ended: {}", ledger.last_words(name));
    }
    let last = finalise(&ledger, "site", &operator.sign()).await;
    for name in NODES {
        ledger.await_height(name, last.height).await;
    }
    all_chains_are_equal(&ledger, &NODES).await;
    nobody_panicked(&ledger, &NODES);
}

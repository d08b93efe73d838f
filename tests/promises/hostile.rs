//! Clients, strangers and members that mean harm.

use crate::support::clients::{Operator, finalise};
use crate::support::invariants::{all_chains_are_equal, nobody_panicked};
use crate::support::ledger::{Ledger, NODES};
use crate::support::namespaces::in_a_network;
use crate::support::wait_for;
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
/// Connections at once to each node's door for peers, made again whenever one ends.
const STRANGERS: usize = 150;
/// How long a stranger rests before it comes again.
const STRANGERS_REST: Duration = Duration::from_millis(100);
/// What a node may grow by, whatever others do: queues and buffers have their bounds.
const GROWTH_MAX: u64 = 192 * 1024 * 1024;
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

/// Comes to a door again and again: says nothing, or something nobody understands, and waits to be thrown out.
async fn bother(address: String, words: Vec<u8>, stop: Arc<AtomicBool>, came: Arc<AtomicU64>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    while !stop.load(Ordering::Relaxed) {
        if let Ok(mut stream) = tokio::net::TcpStream::connect(&address).await {
            came.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(&words).await;
            let mut answer = [0; 256];
            let thrown_out = async { while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {} };
            // One that is let stay stays no longer than the test.
            let over = async {
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep(STRANGERS_REST).await
                }
            };
            tokio::select! { () = thrown_out => {} () = over => {} }
        }
        tokio::time::sleep(STRANGERS_REST).await;
    }
}

/// Strangers at the door for peers keep it from nobody: not even from a member that has to come in anew.
#[test]
fn strangers_at_the_door_for_peers_keep_no_member_out() {
    in_a_network(NODES.len(), async |net| {
        let mut ledger = Ledger::raise_in(net).await;
        let operator = Operator::of(&ledger);
        finalise(&ledger, "vendor-a", &operator.sign()).await;
        let before: Vec<u64> = NODES.iter().map(|name| ledger.resident_bytes(name)).collect();
        let (stop, came) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut dice = Dice::new(4);
        let mut strangers = Vec::new();
        for name in NODES {
            for number in 0..STRANGERS {
                let garbage = if number % 3 == 0 { 1 + dice.below(300) } else { 0 };
                let words = (0..garbage).map(|_| dice.roll().to_le_bytes()[0]).collect();
                let address = ledger.peer_address(name).to_string();
                strangers.push(tokio::spawn(bother(address, words, stop.clone(), came.clone())));
            }
        }
        let all = (STRANGERS * NODES.len()) as u64;
        wait_for("strangers at every door", async || (came.load(Ordering::Relaxed) > 3 * all).then_some(())).await;

        for name in NODES {
            finalise(&ledger, name, &operator.sign()).await;
        }
        // One goes, and another: with two gone nothing is final until one of them has come in again.
        for name in ["vendor-b", "approver-a"] {
            ledger.kill(name);
        }
        for name in ["approver-a", "vendor-b"] {
            ledger.start(name);
            let last = finalise(&ledger, name, &operator.sign()).await;
            ledger.await_height("site", last.height).await;
        }
        println!("{} strangers came", came.load(Ordering::Relaxed));
        for (name, before) in NODES.iter().zip(before) {
            let grown = ledger.resident_bytes(name).saturating_sub(before);
            assert!(grown < GROWTH_MAX, "{name} has grown by {grown} bytes");
        }
        stop.store(true, Ordering::Relaxed);
        for stranger in strangers {
            stranger.await.unwrap();
        }
        all_chains_are_equal(&ledger, &NODES).await;
        nobody_panicked(&ledger, &NODES);
    });
}

/// A member that takes nothing in any more, and keeps its connections, makes nobody wait and nobody grow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stalls_makes_nobody_wait() {
    let ledger = Ledger::raise().await;
    let operator = Arc::new(Operator::of(&ledger));
    let others: Vec<&str> = NODES.into_iter().filter(|name| *name != "approver-b").collect();
    finalise(&ledger, "vendor-a", &operator.sign()).await;
    let before: Vec<u64> = others.iter().map(|name| ledger.resident_bytes(name)).collect();
    ledger.freeze("approver-b");
    for name in &others {
        for _ in 0..HONEST {
            finalise(&ledger, name, &operator.sign()).await;
        }
    }
    for (name, before) in others.iter().zip(before) {
        let grown = ledger.resident_bytes(name).saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{name} has grown by {grown} bytes");
    }
    ledger.thaw("approver-b");
    let last = finalise(&ledger, "approver-b", &operator.sign()).await;
    for name in NODES {
        ledger.await_height(name, last.height).await;
    }
    all_chains_are_equal(&ledger, &NODES).await;
    nobody_panicked(&ledger, &NODES);
}

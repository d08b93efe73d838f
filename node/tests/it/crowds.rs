//! Addresses that take every place they are given, and say nothing then: everybody else is served.

use crate::support::PATIENCE;
use crate::support::site::{PROGRAM, Site, channel_from};
use crate::support::world::World;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetHeadRequest, SubmitRequest, SubmitResponse, TransactionState, WatchHeadsRequest};
use std::any::Any;
use std::process::Command;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Addresses that mean no good.
const ADDRESSES: [&str; 4] = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
/// Files of the node: a quarter of them are for clients.
const FILES: usize = 512;
/// … of one that meets many networks.
const FEW_FILES: usize = 256;
/// Networks that mean no good.
const NETWORKS: u8 = 14;
/// Streams that a connection may have by its own transport.
const STREAMS_MAX: usize = 256;
/// How long a stranger tries to get one more connection. What is not accepted by then is not for a while.
const KNOCKING: Duration = Duration::from_secs(5);

/// The node with few files, so that all places are taken soon.
fn with_few_files(site: &Site, files: usize) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" run --config \"$1\""), PROGRAM]).arg(site.config());
    shell
}

/// How long an address goes on taking.
const TAKING_MAX: Duration = Duration::from_secs(20);

/// What a stranger holds and never looks at.
type Held = Vec<Box<dyn Any + Send>>;

/// Opens streams until no more are given: of those that wait for news, and of those that wait for a word.
async fn silent_streams(channel: &Channel, until: Instant) -> Held {
    let mut ledger = LedgerClient::new(channel.clone());
    let mut held: Held = Vec::new();
    while held.len() < STREAMS_MAX && Instant::now() < until {
        let opened: Result<Box<dyn Any + Send>, tonic::Status> = if held.len().is_multiple_of(2) {
            ledger.watch_heads(WatchHeadsRequest {}).await.map(|stream| Box::new(stream.into_inner()) as _)
        } else {
            let (words, silence) = mpsc::channel::<SubmitRequest>(1);
            let stream = ledger.submit_stream(ReceiverStream::new(silence)).await;
            stream.map(|stream| Box::new((stream.into_inner(), words)) as _)
        };
        match opened {
            Ok(stream) => held.push(stream),
            Err(_) => break,
        }
    }
    held
}

/// Everything there is for one address: connections, and silent streams on them.
async fn everything(site: &Site, address: &str) -> (Held, usize, usize) {
    everything_at(site, &site.url, address).await
}

/// The same, where the node is called by another of its addresses.
async fn everything_at(site: &Site, url: &str, address: &str) -> (Held, usize, usize) {
    let (mut held, mut connections, mut streams): (Held, _, _) = (Vec::new(), 0, 0);
    let until = Instant::now() + TAKING_MAX;
    while connections < FILES && Instant::now() < until {
        let knock = timeout(KNOCKING, channel_from(url, &site.path("ca.pem"), address)).await;
        let Ok(Ok(channel)) = knock else { break };
        let open = silent_streams(&channel, until).await;
        (connections, streams) = (connections + 1, streams + open.len());
        held.extend(open);
        held.push(Box::new(channel));
    }
    (held, connections, streams)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_streams_of_four_addresses_shut_nobody_out() {
    let world = World::new(152);
    let site = Site::validator(&world);
    let node = site.start_as(with_few_files(&site, FILES)).await;
    let before = node.resident_bytes();
    let mut held = Vec::new();
    for address in ADDRESSES {
        let (of_address, connections, streams) = everything(&site, address).await;
        println!("{address}: {connections} connections, {streams} streams");
        assert!(streams > 0, "{address} got nothing");
        held.push(of_address);
    }
    println!("{} MiB more", node.resident_bytes().saturating_sub(before) >> 20);
    let since = Instant::now();
    let honest = timeout(PATIENCE, channel_from(&site.url, &site.path("ca.pem"), "127.0.0.9")).await;
    let honest = LedgerClient::new(honest.expect("a connection is accepted").unwrap());
    let connected = since.elapsed();
    let request = SubmitRequest { transaction: world.enroll(1).bytes().to_vec(), wait_ms: 60_000 };
    let answer: SubmitResponse = honest.clone().submit(request).await.unwrap().into_inner();
    assert_eq!(answer.state(), TransactionState::Finalised);
    let head = honest.clone().get_head(GetHeadRequest {}).await.unwrap().into_inner();
    assert!(head.height >= answer.position.unwrap().height);
    println!("the honest client was connected after {connected:?} and had its answers after {:?}", since.elapsed());
    drop(held);
    node.stop();
}

/// Networks one after the other take every place they are given, and hold it with calls. A newcomer is served, and
/// so is who was there before and rested meanwhile: a client on the node's own host.
async fn networks_shut_nobody_out(world: &World, site: &Site, url: &str, address: impl Fn(u8) -> String) {
    let node = site.start_as(with_few_files(site, FEW_FILES)).await;
    let mut held = Vec::new();
    for network in 1..=NETWORKS {
        let (of_network, connections, streams) = everything_at(site, url, &address(network)).await;
        println!("{}: {connections} connections, {streams} streams", address(network));
        assert!(streams > 0, "{} got nothing", address(network));
        held.push(of_network);
    }
    let newcomer = timeout(PATIENCE, channel_from(url, &site.path("ca.pem"), &address(NETWORKS + 1))).await;
    let newcomer = LedgerClient::new(newcomer.expect("a connection is accepted").unwrap());
    let request = SubmitRequest { transaction: world.enroll(1).bytes().to_vec(), wait_ms: 60_000 };
    let answer: SubmitResponse = newcomer.clone().submit(request).await.unwrap().into_inner();
    assert_eq!(answer.state(), TransactionState::Finalised);
    // Whose transaction was admitted is known, and stays while others come and go.
    let (more, ..) = everything_at(site, url, &address(NETWORKS + 2)).await;
    let head = newcomer.clone().get_head(GetHeadRequest {}).await.unwrap().into_inner();
    assert!(head.height >= answer.position.unwrap().height);
    node.assert_goes_on(world, 2).await;
    drop((held, more));
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_streams_of_fourteen_networks_shut_nobody_out() {
    let world = World::new(153);
    let site = Site::validator(&world);
    networks_shut_nobody_out(&world, &site, &site.url, |network| format!("127.0.{network}.1")).await;
}

/// The same of as many IPv6 networks of the size a company gets, where this machine lets us have them.
#[test]
fn silent_streams_of_fourteen_ipv6_networks_shut_nobody_out() {
    let addresses: Vec<_> = (1..=NETWORKS + 2).map(|network| ipv6(network.into())).collect();
    let script = "ip link set lo up || exit 9; for it in $ADDRESSES; do ip -6 addr add $it/128 dev lo nodad || exit 9; \
                  done; exec \"$0\" \"$@\"";
    let mut shell = Command::new("unshare");
    shell.args(["--net", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    shell.args(["--exact", "crowds::fourteen_ipv6_networks", "--ignored", "--nocapture"]);
    let output = shell.env("ADDRESSES", addresses.join(" ")).output();
    let Some(output) = output.ok().filter(|output| !matches!(output.status.code(), Some(1 | 9))) else {
        tests::left_out(&["networks"], "a network of its own can only be made by root");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An address of the /48 with this number.
fn ipv6(network: u16) -> String {
    format!("2001:db8:{network:x}::1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above in a network of its own"]
async fn fourteen_ipv6_networks() {
    let world = World::new(154);
    let mut site = Site::validator(&world);
    let port = site.url.rsplit(':').next().unwrap().to_owned();
    site.raw.grpc.listen = format!("[::]:{port}");
    let (site, url) = (site.configured(), format!("https://[::1]:{port}"));
    networks_shut_nobody_out(&world, &site, &url, |network| ipv6(network.into())).await;
}

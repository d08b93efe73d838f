//! The door for clients: reflection, health, and whatever else comes in over TCP.

use crate::refusals::assert_refused;
use crate::support::peer::Peer;
use crate::support::site::{PROGRAM, Site, channel};
use crate::support::wait_for;
use crate::support::world::World;
use ledger::state::record::Role;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetBlockRequest, GetStatusRequest, SubmitRequest, SubmitResponse};
use rustix::net::{AddressFamily, SocketType};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;
use tests::Dice;
use tokio_stream::StreamExt as _;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// How long a socket of ours waits for the node's word.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes that are a message, of another call: the library's words become a refusal like any other.
#[tokio::test]
async fn bytes_that_are_no_message_are_refused_by_name() {
    let world = World::new(72);
    let site = Site::validator(&world);
    let node = site.start().await;
    let mut client = tonic::client::Grpc::new(node.channel());
    for (call, codec) in [
        ("Submit", ProstCodec::<GetBlockRequest, SubmitResponse>::default()),
        ("Check", ProstCodec::default()),
        ("GetPatch", ProstCodec::default()),
    ] {
        client.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/countersign.v1.Ledger/{call}")).unwrap();
        let status = client.unary(Request::new(GetBlockRequest { height: 7 }), path, codec).await.unwrap_err();
        let refusal = proto::refusal(&status).unwrap_or_else(|| panic!("{call}: {status}"));
        assert_eq!((status.code(), refusal.check.as_str()), (Code::InvalidArgument, "malformed"), "{call}: {status}");
    }
}

#[tokio::test]
async fn reflection_lists_the_services_and_health_says_serving() {
    let world = World::new(71);
    let site = Site::validator(&world);
    let node = site.start().await;
    let ask = async |message_request| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(message_request) };
        let mut client = ServerReflectionClient::new(node.channel());
        let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
        answers.next().await.unwrap().map(|answer| answer.message_response.unwrap())
    };
    let list = ask(MessageRequest::ListServices(String::new())).await.unwrap();
    let MessageResponse::ListServicesResponse(list) = list else { panic!("no list of services") };
    let services: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in [
        "countersign.v1.Ledger",
        "countersign.v1.Artifacts",
        "countersign.v1.Enrolment",
        "countersign.v1.Inventories",
        "grpc.health.v1.Health",
    ] {
        assert!(services.contains(&service), "{services:?}");
        let symbol = ask(MessageRequest::FileContainingSymbol(service.to_owned())).await.unwrap();
        assert!(matches!(symbol, MessageResponse::FileDescriptorResponse(_)), "{service}");
    }
    let unknown = ask(MessageRequest::FileContainingSymbol("nobody.knows.It".to_owned())).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    for service in ["", "countersign.v1.Ledger", "countersign.v1.Artifacts"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(node.channel()).check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
}

fn dial(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(&site.raw.grpc.listen).unwrap();
    stream.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    stream
}

#[tokio::test]
async fn plaintext_and_garbage_at_the_tls_port_are_shown_out() {
    let world = World::new(72);
    let site = Site::validator(&world);
    let node = site.start().await;
    let mut dice = Dice::new(1);
    let mut greetings: Vec<Vec<u8>> = vec![
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 70_000],
        b"\x16\x03\x01\xff\xff".to_vec(),
    ];
    greetings.extend((0..30).map(|_| (0..dice.below(300) + 6).map(|_| dice.roll().to_le_bytes()[0]).collect()));
    for greeting in greetings {
        let mut stream = dial(&site);
        // It may have shut the door before all was said.
        let _ = stream.write_all(&greeting);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 100, "it talks to strangers: {answer:?}");
    }
    node.assert_goes_on(&world, 1).await;
    node.stop();
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_and_harms_nobody() {
    let world = World::new(73);
    let site = Site::validator(&world);
    let node = site.start().await;
    // The door's limit, and below it the ledger's own.
    let most = ledger::limits::MESSAGE_BYTES_MAX;
    for length in [4 * proto::MESSAGE_BYTES_MAX, proto::MESSAGE_BYTES_MAX, most + 8 * 1024, most + 1] {
        let status = node.submit(&vec![7; length], 0).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, "size");
    }
    // Headers have a bound, too.
    let mut request = tonic::Request::new(GetStatusRequest {});
    request.metadata_mut().insert("x-long", "a".repeat(100_000).parse().unwrap());
    assert!(node.ledger().get_status(request).await.is_err());
    // On a connection of its own: that one may have been ended.
    let channel = channel(&site.url, &site.path("ca.pem")).await.unwrap();
    LedgerClient::new(channel).get_status(GetStatusRequest {}).await.unwrap();
    node.stop();
}

/// Words a byte string may be refused with before anybody looks at the state, and those after.
const CHECKS: [&str; 8] =
    ["malformed", "trailing", "size", "not-canonical", "version", "chain-id", "signature", "unknown-key"];

#[tokio::test]
async fn thousands_of_random_and_mutated_transactions_are_all_refused() {
    let world = World::new(74);
    let site = Site::validator(&world);
    let node = site.start().await;
    let seeds: Vec<Vec<u8>> = vec![
        world.enroll(1).bytes().to_vec(),
        world.publish(world.scenario.manifest(1)).bytes().to_vec(),
        world.approve("bank", world.scenario.manifest(1).id()).bytes().to_vec(),
    ];
    let mut dice = Dice::new(9);
    let mutated = |dice: &mut Dice| {
        let original = dice.pick(&seeds).unwrap();
        let mut bytes = original.clone();
        let place = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
        match dice.below(6) {
            0 => bytes[place] ^= 1 << dice.below(8),
            1 => bytes.truncate(place),
            2 => bytes.insert(place, dice.roll().to_le_bytes()[0]),
            3 => drop(bytes.remove(place)),
            4 => bytes.extend(std::iter::repeat_n(0, 1 + place)),
            _ => {
                let end = (place + 8).min(bytes.len());
                bytes[place..end].copy_from_slice(&dice.roll().to_le_bytes()[..end - place]);
            }
        }
        (bytes != *original).then_some(bytes)
    };
    let mut offers: Vec<Vec<u8>> = std::iter::repeat_with(|| mutated(&mut dice)).flatten().take(2_500).collect();
    offers.extend((0..500).map(|_| (0..dice.below(600)).map(|_| dice.roll().to_le_bytes()[0]).collect()));

    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for batch in offers.chunks(64) {
        let mut calls = tokio::task::JoinSet::new();
        for transaction in batch.iter().cloned() {
            let mut ledger = node.ledger();
            calls.spawn(async move { ledger.submit(SubmitRequest { transaction, wait_ms: 0 }).await });
        }
        while let Some(answer) = calls.join_next().await {
            let refusal = proto::refusal(&answer.unwrap().unwrap_err()).unwrap();
            assert!(CHECKS.contains(&refusal.check.as_str()), "{refusal:?}");
            *seen.entry(refusal.check).or_default() += 1;
        }
    }
    assert!(seen.len() >= 5, "the mutations are too much alike: {seen:?}");
    let status = node.status().await;
    assert_eq!((status.transactions, status.pending), (0, 0));
    node.assert_goes_on(&world, 1).await;
    node.stop();
}

/// The node with 256 files.
fn with_few_files(site: &Site) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 256; exec \"$0\" run --config \"$1\"", PROGRAM]).arg(site.config());
    shell
}

/// More connections than that; those that are not accepted wait in the operating system's queue.
fn half_open(address: &str) -> Vec<TcpStream> {
    let address = address.parse().unwrap();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let connections: Vec<_> = (0..300).filter_map(connect).collect();
    assert!(connections.len() > 100);
    connections
}

/// Connections that say nothing use up files. A node that has no more of them must go on with its
/// ledger, and serve again when there are some.
#[tokio::test]
async fn more_connections_than_files_do_not_close_the_door_for_ever() {
    let world = World::new(75);
    let site = Site::validator(&world);
    let node = site.start_as(with_few_files(&site)).await;
    // A client that is at work. One whose hello the node has yet to see may have to go for the others.
    node.status().await;
    let half_open = half_open(&site.raw.grpc.listen);
    // Its connection, that was there before them, still works, and so does the disk.
    for number in 0..10 {
        node.assert_goes_on(&world, number).await;
    }
    drop(half_open);
    wait_for("a new client to be served", async || {
        let channel = tokio::time::timeout(Duration::from_secs(2), channel(&site.url, &site.path("ca.pem"))).await;
        let channel = channel.ok()?.ok()?;
        LedgerClient::new(channel).get_status(GetStatusRequest {}).await.ok()
    })
    .await;
    node.stop();
}

#[tokio::test]
async fn more_strangers_than_files_at_the_peers_door_do_not_keep_members_out() {
    let world = World::new(76);
    let site = Site::validator(&world);
    let node = site.start_as(with_few_files(&site)).await;
    let port = site.raw.network.listen[0].rsplit('/').next().unwrap().to_owned();
    let silent = half_open(&format!("127.0.0.1:{port}"));
    for number in 0..10 {
        node.assert_goes_on(&world, number).await;
    }
    // Clients are served as before, all the while.
    let channel = channel(&site.url, &site.path("ca.pem")).await.unwrap();
    LedgerClient::new(channel).get_status(GetStatusRequest {}).await.unwrap();
    drop(silent);
    let other = Site::observer(&world, "bank").knowing(&site.key.public(), &site.peer_address());
    let other = other.start().await;
    wait_for("a member", async || (other.status().await.height >= 10).then_some(())).await;
    other.stop();
    node.stop();
}

/// Sockets from an address of this machine to the peers' door, that say nothing.
fn silent_from(source: [u8; 4], address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((source, 0))).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        TcpStream::from(socket)
    };
    (0..count).map(connect).collect()
}

/// How many of them the node has closed.
fn closed(sockets: &[TcpStream]) -> usize {
    let is_closed = |socket: &&TcpStream| {
        socket.set_nonblocking(true).unwrap();
        // A greeting of the node's own is no end.
        let read = (&**socket).read(&mut [0; 64]);
        read.map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |read| read == 0)
    };
    sockets.iter().filter(is_closed).count()
}

/// Who knocks and says nothing has the places of its own address; a member from elsewhere finds room.
#[tokio::test]
async fn silent_sockets_of_one_address_do_not_keep_a_restarted_member_out() {
    let world = World::new(77);
    let site = Site::validator(&world);
    let node = site.start().await;
    let port = site.raw.network.listen[0].rsplit('/').next().unwrap().to_owned();
    let door = format!("127.0.0.1:{port}").parse().unwrap();
    let silent = silent_from([127, 0, 0, 2], door, 80);
    // Whoever came before it is looked at before it.
    let member = Peer::new(&world.key("bank", Role::Node), &site.key.public(), site.peer_address()).await;
    assert!(member.is_connected());
    node.assert_goes_on(&world, 1).await;
    wait_for("those without a word to be shown out", async || (closed(&silent) == silent.len()).then_some(())).await;
    node.stop();
}

/// Strangers of many addresses take every place there is for strangers, and none of those of the nodes this one
/// was told of.
#[tokio::test]
async fn silent_sockets_of_many_addresses_do_not_keep_a_configured_member_out() {
    let world = World::new(78);
    let bank = world.key("bank", Role::Node);
    let site = Site::validator(&world).knowing(&bank.public(), &"/ip4/127.0.0.1/tcp/9".parse().unwrap());
    let node = site.start().await;
    let port = site.raw.network.listen[0].rsplit('/').next().unwrap().to_owned();
    let door = format!("127.0.0.1:{port}").parse().unwrap();
    let _silent: Vec<_> = (2..12).flat_map(|last| silent_from([127, 0, 0, last], door, 16)).collect();
    let member = Peer::new(&bank, &site.key.public(), site.peer_address()).await;
    assert!(member.is_connected());
    node.assert_goes_on(&world, 1).await;
    node.stop();
}

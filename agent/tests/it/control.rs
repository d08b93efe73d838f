//! The control socket: one person at the host, or anything that gets hold of the socket.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved};
use crate::support::eventually;
use crate::support::node::World;
use agent::control::{Answer, Request, ask};
use agent::data::DataDir;
use ledger::receipt::Outcome;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

struct Running {
    endpoint: Endpoint,
    agent: Child,
}

impl Running {
    async fn new(endpoint: Endpoint) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config"]).arg(endpoint.config_path()).stderr(Stdio::null()).kill_on_drop(true);
        let running = Self { agent: command.spawn().unwrap(), endpoint };
        eventually("the control socket", async || running.ask(&Request::Status {}).await).await;
        running
    }

    async fn ask(&self, request: &Request) -> Option<Answer> {
        ask(&DataDir::at(self.endpoint.data()), request).await.unwrap()
    }

    /// Sends bytes as they are; whatever comes back until the end.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.endpoint.data().join(DataDir::CONTROL)).await.unwrap();
        // The agent may answer, and close, before it has read everything.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }
}

#[tokio::test]
async fn garbage_gets_an_answer_and_changes_nothing() {
    let world = World::new();
    let node = world.node().await;
    let running = Running::new(Endpoint::new(&world, &[&node], "")).await;
    let too_long = format!("{{\"apply\":{{\"patch\":\"{}\"}}}}\n", "a".repeat(3 * 1024 * 1024));
    for (garbage, evidence) in [
        (&b"\n"[..], "not a request"),
        (b"", "not a request"),
        (b"hello\n", "not a request"),
        (b"\xff\xfe\x00\n", "not a request"),
        (b"{\"status\":{},\"apply\":{}}\n", "not a request"),
        (b"{\"status\":{\"more\":1}}\n", "unknown field"),
        (b"{\"reboot\":{}}\n", "unknown variant"),
        (b"{\"apply\":{\"patch\":\"zz\"}}\n", "not a patch id"),
        (b"{\"apply\":{\"patch\":\"\"}}\n", "not a patch id"),
        (b"{\"apply\":{\"patch\":\"00\",\"proof\":\"not hexadecimal\"}}\n", "proof"),
        (b"{\"apply\":{\"patch\":\"00\"}}\n", "no node knows"),
    ] {
        let answer = running.raw(garbage).await;
        assert!(answer.contains("\"error\"") && answer.contains(evidence), "{garbage:?}: {answer}");
    }
    let answer = running.raw(too_long.as_bytes()).await;
    assert!(answer.is_empty() || answer.contains("a line of more than"), "{answer}");
    assert!(running.raw(&vec![b'['; 200_000]).await.contains("\"error\""), "deeply nested");
    assert!(matches!(running.ask(&Request::Status {}).await, Some(Answer::Status(_))), "and it still answers");
    assert!(running.endpoint.installed().is_none());
}

#[tokio::test]
async fn the_socket_is_the_owners_and_connections_are_few() {
    let world = World::new();
    let node = world.node().await;
    let running = Running::new(Endpoint::new(&world, &[&node], "")).await;
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(running.endpoint.data()), 0o700);
    assert_eq!(mode(running.endpoint.data().join(DataDir::CONTROL)), 0o600);
    // Somebody connects and says nothing; somebody else is answered.
    let path = running.endpoint.data().join(DataDir::CONTROL);
    let _silent = UnixStream::connect(&path).await.unwrap();
    let answer = running.ask(&Request::Status {}).await;
    assert!(matches!(answer, Some(Answer::Status(status)) if status.running));
}

#[tokio::test]
async fn a_running_agent_applies_what_it_is_asked_to() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "[policy]\npaused = true");
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let patch = approved(&world, 2, tree_of("1.0.2"), |_| {});
    let running = Running::new(endpoint).await;
    let request = Request::Apply { patch: patch.to_string()[..10].to_owned(), proof: None };
    let answer = running.ask(&request).await.unwrap();
    let Answer::Verdict(settled) = answer else { panic!("{answer:?}") };
    assert_eq!((settled.patch, settled.outcome), (patch, Outcome::Refused), "paused, also for those who ask");

    let mut running = running;
    running.agent.kill().await.unwrap();
    let Running { endpoint, .. } = running;
    endpoint.configure("");
    std::fs::write(
        endpoint.config_path(),
        std::fs::read_to_string(endpoint.config_path()).unwrap().replace("paused = true", "paused = false"),
    )
    .unwrap();
    let running = Running::new(endpoint).await;
    // From a file: the same checks.
    let proof = world.ledger().proof(patch).unwrap().bytes();
    let request = Request::Apply { patch: patch.to_string(), proof: Some(hex::encode(proof)) };
    match running.ask(&request).await.unwrap() {
        Answer::Verdict(settled) => assert!(
            settled.outcome == Outcome::Applied || running.endpoint.version().as_deref() == Some("1.0.2"),
            "{settled}"
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(running.endpoint.version().as_deref(), Some("1.0.2"));
}

//! The control socket: one person at the host, or anything that gets hold of the socket.

use crate::support::archive::tree_of;
use crate::support::endpoint::{Endpoint, PROGRAM, approved};
use crate::support::node::World;
use crate::support::{PATIENCE, eventually};
use agent::control::{Answer, Request, ask};
use agent::data::DataDir;
use agent::services::Phase;
use ledger::receipt::Outcome;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};

/// A service that counts as started long after every test is over.
const SLOW_START: &str = "[services.widget]\ncommand = [\"{tree}/bin/serve\"]\nready_wait_ms = 600000";

struct Running {
    endpoint: Endpoint,
    agent: Child,
}

impl Running {
    async fn new(endpoint: Endpoint) -> Self {
        let running = Self::begun(endpoint);
        eventually("the control socket", async || running.ask(&Request::Status {}).await).await;
        running
    }

    /// Started, and nothing more is known.
    fn begun(endpoint: Endpoint) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config"]).arg(endpoint.config_path()).stderr(Stdio::null()).kill_on_drop(true);
        Self { agent: command.spawn().unwrap(), endpoint }
    }

    /// Asks it to stop, as an operating system does; whether it ended well.
    async fn stop(mut self) -> bool {
        let pid = i32::try_from(self.agent.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, self.agent.wait()).await.unwrap().unwrap().success()
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
    let request = Request::Apply { patch: patch.to_string()[..10].to_owned(), proof: None, now: false };
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
    // The ledger stands still meanwhile: a proof that is older than what was seen would be refused.
    node.behave(|manners| manners.no_submit = Some("mempool-full"));
    let running = Running::new(endpoint).await;
    // From a file: the same checks.
    let proof = world.ledger().proof(patch).unwrap().bytes();
    let request = Request::Apply { patch: patch.to_string(), proof: Some(hex::encode(proof)), now: false };
    match running.ask(&request).await.unwrap() {
        Answer::Verdict(settled) => assert!(
            settled.outcome == Outcome::Applied || running.endpoint.version().as_deref() == Some("1.0.2"),
            "{settled}"
        ),
        Answer::NoAttempt(no_attempt) => assert!(no_attempt.is_well(), "the agent was quicker by itself"),
        other => panic!("{other:?}"),
    }
    assert_eq!(running.endpoint.version().as_deref(), Some("1.0.2"));
}

#[tokio::test]
async fn the_socket_is_there_before_anything_slow_and_stopping_waits_for_nothing_slow() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], SLOW_START);
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let running = Running::begun(endpoint);
    let path = running.endpoint.data().join(DataDir::CONTROL);
    // Connected while the agent still waits for its service: the connection is kept until it is served.
    let asking = eventually("the socket", async || UnixStream::connect(&path).await.ok()).await;
    assert!(running.stop().await);
    drop(asking);
}

#[tokio::test]
async fn an_agent_that_runs_ends_well_when_it_is_told_to() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], &SLOW_START.replace("600000", "1"));
    endpoint.adopt("1.0.1", 1, &tree_of("1.0.1"));
    let running = Running::new(endpoint).await;
    let service = eventually("the service", async || match running.ask(&Request::Status {}).await {
        Some(Answer::Status(status)) => status.services.into_iter().find(|service| service.phase == Phase::Running),
        _ => None,
    });
    let pid = service.await.pid.unwrap();
    // Somebody who says nothing does not hold it up.
    let _silent = UnixStream::connect(running.endpoint.data().join(DataDir::CONTROL)).await.unwrap();
    assert!(running.stop().await);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')), "{stat}");
}

#[tokio::test]
async fn an_agent_that_has_only_just_taken_its_lock_is_waited_for() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    // The lock is held, and what a dead agent left answers nobody.
    let path = endpoint.data().join(DataDir::CONTROL);
    let held = endpoint.open();
    drop(UnixListener::bind(&path).unwrap());
    let mut command = Command::new(PROGRAM);
    command.args(["apply", &patch.to_string(), "--config"]).arg(endpoint.config_path()).kill_on_drop(true);
    let apply = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let (stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut stream = BufReader::new(stream);
    // What is not read when a socket closes is told to the other side as an error.
    let mut request = String::new();
    stream.read_line(&mut request).await.unwrap();
    assert!(request.contains(&patch.to_string()), "{request}");
    let verdict = format!(
        r#"{{"verdict":{{"run":1,"patch":"{patch}","from_version":"","to_version":"1.0.1","outcome":"applied",
        "reason":null,"health":"passed"}}}}"#
    );
    stream.write_all(verdict.replace('\n', "").as_bytes()).await.unwrap();
    stream.write_all(b"\n").await.unwrap();
    drop(stream);
    let output = tokio::time::timeout(PATIENCE, apply.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("applied"));
    drop(held);
}

#[tokio::test]
async fn who_asks_at_once_after_the_agent_was_started_gets_a_verdict() {
    let world = World::new();
    let node = world.node().await;
    let endpoint = Endpoint::new(&world, &[&node], "");
    let patch = approved(&world, 1, tree_of("1"), |_| {});
    let running = Running::begun(endpoint);
    let mut command = Command::new(PROGRAM);
    command.args(["apply", &patch.to_string(), "--config"]).arg(running.endpoint.config_path());
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    // The agent may have been quicker by itself; then there is nothing left to apply.
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("applied") || said.contains("installed already (1.0.1)"), "{said} {:?}", output.stderr);
    assert_eq!(running.endpoint.version().as_deref(), Some("1.0.1"));
}

//! A node's directory, and the process that runs in it.

use super::world::World;
use super::{LEFT_FREE_BYTES, PATIENCE, wait_for};
use devnet::ports::free_port;
use keyring::KeyFile;
use ledger::bounded::Name;
use ledger::key::{PublicKey, SecretKey};
use ledger::state::record::Role;
use ledger::transaction::VerifiedTransaction;
use libp2p::Multiaddr;
use node::config::{RawConfig, RawPeer};
use node::init::{NewNode, init};
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetStatusRequest, GetStatusResponse, Position, SubmitRequest, SubmitResponse, TransactionState};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::{Scenario, VENDOR};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-node");

/// How peers are spoken to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Tcp,
    Quic,
}

/// A node's directory: keys of the scenario, certificates, configuration.
pub(crate) struct Site {
    directory: TempDir,
    pub(crate) key: SecretKey,
    pub(crate) raw: RawConfig,
    pub(crate) url: String,
}

impl Site {
    /// The vendor's node: it alone finalises.
    pub(crate) fn validator(world: &World) -> Self {
        Self::validating(world, VENDOR, 0)
    }

    /// An organisation's node, with the validating key at this place of the scenario.
    pub(crate) fn validating(world: &World, organisation: &str, place: usize) -> Self {
        let mut site = Self::observer(world, organisation);
        site.write_key("validator.key", "validator", &world.scenario.validators()[place]);
        site.raw.validator_key = Some(site.path("validator.key"));
        site.configured()
    }

    /// A node that does not vote.
    pub(crate) fn observer(world: &World, organisation: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let grpc = format!("127.0.0.1:{}", free_port().unwrap());
        let new = NewNode {
            directory: directory.path().join("node"),
            organisation: Name::new(organisation).unwrap(),
            validator: false,
            listen: vec![format!("/ip4/127.0.0.1/tcp/{}", free_port().unwrap()).parse().unwrap()],
            grpc: grpc.parse().unwrap(),
            hosts: vec!["127.0.0.1".to_owned()],
            seal: None,
        };
        init(&new).unwrap();
        let mut raw = RawConfig::load(&new.directory.join("node.toml")).unwrap();
        raw.artifacts.left_free_bytes_max = LEFT_FREE_BYTES;
        let key = world.key(organisation, Role::Node);
        let site = Self { directory, key, raw, url: format!("https://{grpc}") };
        site.write_key("node.key", "node", &site.key);
        fs::write(site.path("genesis.trust"), world.scenario.genesis().genesis.bytes()).unwrap();
        site.configured()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("node").join(name)
    }

    /// The directory around it, for what a test needs besides.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("node.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.raw.data_dir.clone()
    }

    pub(crate) fn write_key(&self, name: &str, role: &str, key: &SecretKey) {
        let organisation = Some(Name::new(self.raw.organisation.clone()).unwrap());
        let key = KeyFile::of(role.parse().unwrap(), organisation, key.clone());
        fs::write(self.path(name), key.plain().as_bytes()).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes the configuration as it is in `raw` now.
    pub(crate) fn configured(self) -> Self {
        fs::write(self.config(), toml::to_string(&self.raw).unwrap()).unwrap();
        self
    }

    pub(crate) fn speaking(mut self, transport: Transport) -> Self {
        let port = free_port().unwrap();
        self.raw.network.listen = vec![match transport {
            Transport::Tcp => format!("/ip4/127.0.0.1/tcp/{port}"),
            Transport::Quic => format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
        }];
        self.configured()
    }

    pub(crate) fn peer_address(&self) -> Multiaddr {
        self.raw.network.listen[0].parse().unwrap()
    }

    /// Adds a peer to stay connected with.
    pub(crate) fn knowing(mut self, key: &PublicKey, address: &Multiaddr) -> Self {
        self.raw.network.peers.push(RawPeer { key: key.to_string(), address: address.to_string() });
        self.configured()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config"]).arg(self.config());
        command
    }

    /// Runs it to its end, which must come by itself.
    pub(crate) fn run_to_end(&self) -> Output {
        end_of(self.command())
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&self) -> Node {
        self.start_as(self.command()).await
    }

    /// The same, of a validator whose chain was laid down by a test: its guard knows nothing of that.
    pub(crate) async fn start_with_given_chain(&self) -> Node {
        let mut command = self.command();
        command.arg("--accept-lost-guard");
        self.start_as(command).await
    }

    /// The same, with the program started in another way.
    pub(crate) async fn start_as(&self, command: Command) -> Node {
        let mut node = self.launch(command);
        let (url, ca) = (self.url.clone(), self.path("ca.pem"));
        node.channel = Some(
            wait_for("a node that serves", async || {
                assert!(node.is_running(), "the node ended: {}", node.log());
                channel(&url, &ca).await.ok()
            })
            .await,
        );
        node
    }

    /// Starts it and does not wait.
    pub(crate) fn launch(&self, mut command: Command) -> Node {
        let log = self.path("log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let before = file.metadata().unwrap().len();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        command.env("RUST_LOG", "info,libp2p=warn");
        let child = command.spawn().unwrap();
        Node { child, log, before, channel: None }
    }

    pub(crate) fn fsck(&self) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(["fsck", "--config"]).arg(self.config());
        end_of(command)
    }

    /// That the chain of the stopped node is what it must be.
    pub(crate) fn assert_sound(&self) {
        let output = self.fsck();
        assert!(output.status.success(), "{output:?}");
    }
}

/// Runs a command that ends by itself; one that does not is killed, and the test with it.
pub(crate) fn end_of(mut command: Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    ended.recv_timeout(PATIENCE).map(Result::unwrap).unwrap_or_else(|_| {
        let _ = kill_process(pid, Signal::KILL);
        panic!("{command:?} does not end")
    })
}

/// A connection.
pub(crate) async fn channel(url: &str, ca: &Path) -> Result<Channel, tonic::transport::Error> {
    proto::install_tls_provider();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca).unwrap()));
    Endpoint::from_shared(url.to_owned())?.tls_config(tls)?.timeout(PATIENCE).connect().await
}

/// A connection from another address of this machine, whichever of its addresses the node is called by.
pub(crate) async fn channel_from(url: &str, ca: &Path, address: &str) -> Result<Channel, tonic::transport::Error> {
    proto::install_tls_provider();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca).unwrap()));
    let tls = tls.domain_name("127.0.0.1");
    let endpoint = Endpoint::from_shared(url.to_owned())?.local_address(Some(address.parse().unwrap()));
    endpoint.tls_config(tls)?.timeout(PATIENCE).connect().await
}

/// A connection whose answers come when they are read, and not before.
pub(crate) async fn narrow_channel(url: &str, ca: &Path) -> Result<Channel, tonic::transport::Error> {
    proto::install_tls_provider();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca).unwrap()));
    let endpoint = Endpoint::from_shared(url.to_owned())?.tls_config(tls)?.timeout(PATIENCE);
    endpoint.initial_stream_window_size(1).connect().await
}

/// A running node. Dropping it kills it.
pub(crate) struct Node {
    child: Child,
    log: PathBuf,
    /// Length of the log when it started.
    before: u64,
    channel: Option<Channel>,
}

impl Node {
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone().expect("it was waited for")
    }

    pub(crate) fn ledger(&self) -> LedgerClient<Channel> {
        LedgerClient::new(self.channel()).max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn artifacts(&self) -> ArtifactsClient<Channel> {
        ArtifactsClient::new(self.channel()).max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it said since it was started.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(usize::try_from(self.before).unwrap()..).unwrap_or_default()).into_owned()
    }

    /// Waits until its log has a line with all these words.
    pub(crate) async fn await_log(&self, words: &[&str]) {
        wait_for(&format!("a line with {words:?} in the log"), async || {
            let log = self.log();
            log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        })
        .await;
    }

    pub(crate) async fn status(&self) -> GetStatusResponse {
        self.ledger().get_status(GetStatusRequest {}).await.unwrap().into_inner()
    }

    pub(crate) async fn submit(&self, transaction: &[u8], wait_ms: u64) -> Result<SubmitResponse, tonic::Status> {
        let request = SubmitRequest { transaction: transaction.to_vec(), wait_ms };
        Ok(self.ledger().submit(request).await?.into_inner())
    }

    /// Submits what must be finalised; where it was.
    pub(crate) async fn finalise(&self, transaction: &VerifiedTransaction) -> Position {
        let answer = self.submit(transaction.bytes(), 60_000).await.unwrap();
        assert_eq!(answer.state(), TransactionState::Finalised);
        answer.position.unwrap()
    }

    /// That it goes on: one more transaction is finalised.
    pub(crate) async fn assert_goes_on(&self, world: &World, number: u64) {
        self.finalise(&world.enroll(number)).await;
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the node does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, and sees that it does so in peace.
    pub(crate) fn stop(mut self) -> String {
        self.terminate();
        let status = self.ended();
        let log = self.log();
        assert!(status.success() && !log.contains("panicked"), "{status}: {log}");
        log
    }

    /// As a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Memory it holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scenario of another ledger.
pub(crate) fn another_ledger() -> Scenario {
    Scenario::with_validators(0xFFFF, 1)
}

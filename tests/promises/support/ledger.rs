//! A ledger raised for one test, gone with it.

use super::namespaces::Net;
use super::storage::{SlowDisk, copy};
use super::wait_for;
use devnet::layout::{Agent, Devnet, Node};
use devnet::raise::{self, Plan, RaiseError, SITE};
use devnet::{client, processes};
use proto::v1::GetStatusResponse;
use proto::v1::ledger_client::LedgerClient;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::Channel;

/// Nodes that vote: two vendors, two approvers.
pub(crate) const VALIDATORS: [&str; 4] = ["vendor-a", "approver-a", "vendor-b", "approver-b"];
/// All nodes.
pub(crate) const NODES: [&str; 5] = ["vendor-a", "approver-a", "vendor-b", "approver-b", SITE];
/// How often raising is tried: between two programs somebody else may take a port.
const TRIES: usize = 3;
/// How long a status is waited for; a node that is down answers at once.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// A ledger. Dropping it ends its processes.
pub(crate) struct Ledger {
    pub(crate) devnet: Devnet,
    /// What a node is started through, where that is more than its own program.
    starters: BTreeMap<String, Vec<String>>,
    directory: TempDir,
}

impl Ledger {
    /// Four validators and the site's node, all connected.
    pub(crate) async fn raise() -> Self {
        for program in ["countersign", "countersign-node", "countersign-agent", "countersign-devnet"] {
            let path = processes::program(program);
            assert!(path.exists(), "{} is not built: `cargo build --workspace --bins` does it", path.display());
        }
        for _ in 1..TRIES {
            match Self::try_to_raise().await {
                Ok(ledger) => return ledger,
                Err(RaiseError::Ended { last_words, .. }) => println!("once more: {last_words}"),
                Err(error) => panic!("{error}"),
            }
        }
        Self::try_to_raise().await.unwrap()
    }

    async fn try_to_raise() -> Result<Self, RaiseError> {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("ledger");
        match raise::up(&plan(&dir, Vec::new()), &mut |_| {}).await {
            Ok(devnet) => Ok(Self { devnet, starters: BTreeMap::new(), directory }),
            Err(error) => {
                if let Ok(mut devnet) = Devnet::load(&dir) {
                    end(&mut devnet);
                }
                Err(error)
            }
        }
    }

    /// The same, every node in a namespace of its own.
    pub(crate) async fn raise_in(net: &Net) -> Self {
        let ledger = Self::make_in(net);
        ledger.begin().await
    }

    /// The same, and whatever nodes say to each other passes through relays.
    pub(crate) async fn raise_behind_relays(net: &mut Net) -> Self {
        let ledger = Self::make_in(net);
        let nodes = &ledger.devnet.nodes;
        for (place, node) in nodes.iter().enumerate() {
            let others: Vec<&Node> = nodes.iter().filter(|other| other.name != node.name).collect();
            let targets: Vec<SocketAddr> = others.iter().map(|other| socket_address(&other.peer_address)).collect();
            let relays = net.open_relays(place, &targets);
            let mut config = fs::read_to_string(&node.config).unwrap();
            for (other, relay) in others.iter().zip(relays) {
                let address = format!("/ip4/{}/tcp/{}", relay.ip(), relay.port());
                assert!(config.contains(&other.peer_address), "{} does not know {}", node.name, other.name);
                config = config.replace(&other.peer_address, &address);
            }
            fs::write(&node.config, config).unwrap();
        }
        ledger.begin().await
    }

    fn make_in(net: &Net) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(&directory.path().join("ledger"), net.addresses());
        let devnet = raise::make(&plan, &mut |_| {}).unwrap();
        let starters = devnet.nodes.iter().zip(&net.hosts).map(|(node, host)| (node.name.clone(), host.starter()));
        Self { starters: starters.collect(), devnet, directory }
    }

    async fn begin(mut self) -> Self {
        for name in NODES {
            self.start(name);
        }
        raise::await_ready(&self.devnet).await.unwrap();
        self
    }

    /// The directory around it, for what a test needs besides.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.devnet.node(name).unwrap()
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        self.devnet.nodes.iter_mut().find(|node| node.name == name).unwrap()
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self, name: &str) {
        let node = self.node_mut(name);
        processes::stop(node.pid.take(), &node.config, true);
    }

    pub(crate) fn stop(&mut self, name: &str) {
        let node = self.node_mut(name);
        processes::stop(node.pid.take(), &node.config, false);
    }

    pub(crate) fn start(&mut self, name: &str) {
        let starter = self.starters.get(name).cloned().unwrap_or_default();
        processes::start_node_through(self.node_mut(name), &starter).unwrap();
    }

    /// Starts a node anew on a disk of its own that can be made slow; `None` where there are none, and it goes on as it was.
    pub(crate) fn move_to_a_slow_disk(&mut self, name: &str) -> Option<SlowDisk> {
        self.stop(name);
        let data = self.node(name).data_dir.clone();
        let kept = self.beside("kept");
        fs::rename(&data, &kept).unwrap();
        fs::create_dir(&data).unwrap();
        let disk = SlowDisk::over(&data);
        copy(&kept, &data);
        self.start(name);
        disk
    }

    /// It does nothing any more, and is there.
    pub(crate) fn freeze(&self, name: &str) {
        kill_process(self.pid(name), Signal::STOP).unwrap();
    }

    /// It goes on where it was.
    pub(crate) fn thaw(&self, name: &str) {
        kill_process(self.pid(name), Signal::CONT).unwrap();
    }

    fn pid(&self, name: &str) -> Pid {
        assert!(self.is_running(name), "{name} ended: {}", self.last_words(name));
        let pid = self.node(name).pid.and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Pid::from_raw).expect("it runs")
    }

    /// Bytes of memory it has in use.
    pub(crate) fn resident_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid(name))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        1_024 * kilobytes
    }

    /// Where peers find it.
    pub(crate) fn peer_address(&self, name: &str) -> SocketAddr {
        socket_address(&self.node(name).peer_address)
    }

    pub(crate) fn is_running(&self, name: &str) -> bool {
        let node = self.node(name);
        processes::is_running(node.pid, &node.config)
    }

    /// What it logged.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(&self.node(name).log).unwrap_or_default()
    }

    pub(crate) async fn connect(&self, name: &str) -> LedgerClient<Channel> {
        let (url, ca) = (self.node(name).grpc.clone(), self.devnet.ca.clone());
        wait_for(&format!("a connection to {name}"), async || client::connect(&url, &ca).await.ok()).await
    }

    /// Where a node stands; `None` when it does not answer.
    pub(crate) async fn status(&self, name: &str) -> Option<GetStatusResponse> {
        let asked = client::status(&self.node(name).grpc, &self.devnet.ca);
        tokio::time::timeout(STATUS_TIMEOUT, asked).await.ok()?.ok()
    }

    /// Where everybody stands, and whom each is connected with: for a test that fails.
    pub(crate) async fn standing(&self) -> String {
        let mut lines = String::new();
        for node in &self.devnet.nodes {
            let name = &node.name;
            let line = match self.status(name).await {
                None => "does not answer".to_owned(),
                Some(status) => {
                    let peers: Vec<_> =
                        status.peers.iter().map(|peer| format!("{} ({})", peer.organisation, peer.height)).collect();
                    format!("height {}, {} pending, peers {}", status.height, status.pending, peers.join(", "))
                }
            };
            lines += &format!("{name}: {line}\n");
        }
        lines
    }

    pub(crate) async fn height(&self, name: &str) -> u64 {
        wait_for(&format!("the height of {name}"), async || self.status(name).await.map(|status| status.height)).await
    }

    /// Waits until a node has this height.
    pub(crate) async fn await_height(&self, name: &str, height: u64) {
        wait_for(&format!("{name} at height {height}"), async || {
            assert!(self.is_running(name), "{name} ended: {}", self.last_words(name));
            self.status(name).await.filter(|status| status.height >= height).map(drop)
        })
        .await;
    }

    /// The end of its log.
    pub(crate) fn last_words(&self, name: &str) -> String {
        let log = self.log(name);
        let lines: Vec<_> = log.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Waits until a node has ended by itself.
    pub(crate) async fn await_end(&self, name: &str) {
        wait_for(&format!("the end of {name}"), async || (!self.is_running(name)).then_some(())).await;
    }

    /// Arguments that tell the command line where to ask, and as whom.
    pub(crate) fn as_client(&self, node: &str, key: Option<(&str, &str)>) -> Vec<String> {
        let mut arguments = vec!["--node".to_owned(), self.node(node).grpc.clone()];
        arguments.extend(["--ca".to_owned(), self.devnet.ca.display().to_string()]);
        arguments.extend(["--genesis".to_owned(), self.devnet.genesis.display().to_string()]);
        if let Some((organisation, role)) = key {
            let key = self.devnet.key(organisation, role).unwrap();
            arguments.extend(["--key".to_owned(), key.file.display().to_string()]);
        }
        arguments
    }

    /// Runs the command line, whatever comes of it.
    pub(crate) fn countersign(&self, command: &[&str], who: &[String]) -> Output {
        let arguments: Vec<&str> = command.iter().copied().chain(who.iter().map(String::as_str)).collect();
        processes::output("countersign", &arguments).unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn must(&self, command: &[&str], who: &[String]) -> String {
        let output = self.countersign(command, who);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Adds an agent that follows the vendor's product, and starts it.
    pub(crate) fn add_agent(&mut self, name: &str, more: &str) -> Agent {
        raise::add_agent(&mut self.devnet, name, more).unwrap();
        self.agent(name).clone()
    }

    pub(crate) fn agent(&self, name: &str) -> &Agent {
        self.devnet.agents.iter().find(|agent| agent.name == name).unwrap()
    }

    pub(crate) fn kill_agent(&mut self, name: &str) {
        let agent = self.devnet.agents.iter_mut().find(|agent| agent.name == name).unwrap();
        processes::stop(agent.pid.take(), &agent.config, true);
    }

    pub(crate) fn start_agent(&mut self, name: &str) {
        let agent = self.devnet.agents.iter_mut().find(|agent| agent.name == name).unwrap();
        processes::start_agent(agent).unwrap();
    }
}

fn plan(dir: &Path, addresses: Vec<Ipv4Addr>) -> Plan {
    Plan {
        dir: dir.to_owned(),
        validators: VALIDATORS.len(),
        agents: 0,
        subscriptions: Vec::new(),
        heartbeat_ms: 500,
        seal_ms: 50,
        addresses,
    }
}

/// `/ip4/10.77.0.1/tcp/7000` as everybody else writes it.
fn socket_address(multiaddress: &str) -> SocketAddr {
    let parts: Vec<&str> = multiaddress.split('/').collect();
    let ["", "ip4", address, "tcp", port] = parts[..] else { panic!("{multiaddress} is none of ours") };
    format!("{address}:{port}").parse().unwrap()
}

/// Ends every process, the fast way: nothing of it is looked at any more.
fn end(devnet: &mut Devnet) {
    for agent in &mut devnet.agents {
        // Asked first: it ends its services with it.
        processes::stop(agent.pid.take(), &agent.config, false);
    }
    for node in &mut devnet.nodes {
        processes::stop(node.pid.take(), &node.config, true);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.devnet.nodes {
                println!("--- {}, last words:\n{}", node.name, self.last_words(&node.name));
            }
        }
        end(&mut self.devnet);
    }
}

//! Raising a devnet with the programs people use: `countersign key new`, `countersign-node init`,
//! `countersign init`, and so on. Nothing here reaches around them.

use crate::client;
use crate::layout::{Agent, Devnet, Key, Node, VERSION};
use crate::ports::free_port;
use crate::processes::{self, ToolError, run};
use proto::v1::GetStatusResponse;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long nodes may take to find each other.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How often they are asked.
const READY_INTERVAL: Duration = Duration::from_millis(50);
/// The organisation whose hosts run agents.
pub const SITE: &str = "site";
/// Organisations there always are, whether their nodes vote or not.
const ORGANISATIONS_MIN: usize = 4;
/// Most validators: one organisation each.
pub const VALIDATORS_MAX: usize = 26;
/// What its nodes leave free of the disk: a ledger to try out does not grow, and works on a disk that is nearly full.
const LEFT_FREE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What to raise.
pub struct Plan {
    /// Where; must not exist or be empty.
    pub dir: PathBuf,
    /// Nodes that vote.
    pub validators: usize,
    /// Agents behind the site's node.
    pub agents: usize,
    /// Products the agents follow.
    pub subscriptions: Vec<String>,
    /// At least one block in this time.
    pub heartbeat_ms: u64,
    /// How long a block with transactions waits for the block that makes them provable.
    pub seal_ms: u64,
    /// Where nodes listen, in their order; whoever has no address here is on loopback.
    pub addresses: Vec<Ipv4Addr>,
}

/// Why a devnet did not come up.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// There is something already.
    #[error(
        "{} is not empty; a devnet there is started again with `countersign-devnet start --dir`, or ended with \
         `down --dir` and removed by you",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// Numbers that make no ledger.
    #[error("{0}")]
    Plan(String),
    /// A program.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The operating system.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// A node ended instead of running.
    #[error("node {name} ended at once: {last_words}; see {}", log.display())]
    Ended {
        /// Which.
        name: String,
        /// The last line of its log.
        last_words: String,
        /// Its log.
        log: PathBuf,
    },
    /// The nodes did not find each other.
    #[error("node {name} is not ready after {} s; see {}", READY_PATIENCE.as_secs(), log.display())]
    NotReady {
        /// Which.
        name: String,
        /// Its log.
        log: PathBuf,
    },
}

impl RaiseError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotEmpty(_) => "choose another directory with --dir".to_owned(),
            Self::Plan(_) => "`countersign-devnet up --help` says what is possible".to_owned(),
            Self::Tool(error) => error.hint().to_owned(),
            Self::Io { .. } => "can you write there, and is there room on the disk?".to_owned(),
            Self::Ended { log, .. } => format!("the end of {} says why", log.display()),
            Self::NotReady { .. } => {
                "is this machine very busy? Its log says what it waits for; fewer --validators need less".to_owned()
            }
        }
    }
}

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> RaiseError {
    let what = what.into();
    move |source| RaiseError::Io { what, source }
}

/// `vendor-a, approver-a, vendor-b, approver-b, vendor-c, …`
fn member_name(place: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(place / 2).unwrap_or(25).min(25));
    let kind = if place.is_multiple_of(2) { "vendor" } else { "approver" };
    format!("{kind}-{letter}")
}

/// Raises the ledger: keys, genesis, nodes, agents. Everything runs when this returns.
///
/// # Errors
/// [`RaiseError`].
pub async fn up(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Devnet, RaiseError> {
    let mut devnet = make(plan, say)?;
    say(&format!("starting {} nodes", devnet.nodes.len()));
    // Written down after each: whoever is interrupted leaves nobody behind.
    for place in 0..devnet.nodes.len() {
        processes::start_node(&mut devnet.nodes[place]).map_err(io_error("cannot start countersign-node"))?;
        devnet.save().map_err(io_error("cannot write devnet.json"))?;
    }
    await_ready(&devnet).await?;
    for number in 1..=plan.agents {
        let name = format!("agent-{number}");
        say(&format!("enrolling {name}"));
        add_agent(&mut devnet, &name, &agent_subscriptions(&plan.subscriptions))?;
    }
    Ok(devnet)
}

/// Directories of a devnet.
const PARTS: [&str; 4] = ["keys", "nodes", "agents", "logs"];

/// Makes everything that nodes need, and starts none of them: all of it, or nothing.
///
/// # Errors
/// [`RaiseError`].
pub fn make(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Devnet, RaiseError> {
    if plan.validators == 0 || plan.validators > VALIDATORS_MAX {
        return Err(RaiseError::Plan(format!("a ledger needs 1 to {VALIDATORS_MAX} validators")));
    }
    if fs::read_dir(&plan.dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(RaiseError::NotEmpty(plan.dir.clone()));
    }
    let made = lay_out(plan, say);
    if made.is_err() {
        // Half of it could neither be run nor be ended. What cannot be removed is named when it is in the way.
        PARTS.iter().for_each(|part| drop(fs::remove_dir_all(plan.dir.join(part))));
        ["ca.pem", "genesis.toml", "genesis.trust"].iter().for_each(|file| drop(fs::remove_file(plan.dir.join(file))));
    }
    made
}

fn lay_out(plan: &Plan, say: &mut dyn FnMut(&str)) -> Result<Devnet, RaiseError> {
    for part in PARTS {
        fs::create_dir_all(plan.dir.join(part)).map_err(io_error(format!("cannot make {}", plan.dir.display())))?;
    }
    let dir = plan.dir.canonicalize().map_err(io_error("cannot resolve the directory"))?;

    let members: Vec<String> = (0..plan.validators.max(ORGANISATIONS_MIN)).map(member_name).collect();
    say("making keys and certificates");
    let keys = make_keys(&dir, &members)?;
    let mut nodes = Vec::new();
    let organisations = members.iter().map(String::as_str).take(plan.validators).map(|name| (name, true));
    for (place, (organisation, validator)) in organisations.chain([(SITE, false)]).enumerate() {
        let address = plan.addresses.get(place).copied().unwrap_or(Ipv4Addr::LOCALHOST);
        nodes.push(make_node(&dir, organisation, validator, address)?);
    }
    let ca = join_roots(&dir, &nodes)?;
    let (genesis, chain_id) = make_genesis(plan, &dir, &members, &keys, &nodes)?;
    introduce(&nodes, &genesis)?;

    let nodes = nodes.into_iter().map(|made| made.node).collect();
    Ok(Devnet { version: VERSION, dir, chain_id, genesis, ca, nodes, agents: Vec::new(), keys })
}

/// What an organisation of this name does on the ledger.
pub(crate) fn work_of(organisation: &str) -> &'static str {
    if organisation.starts_with("vendor") { "publisher" } else { "approver" }
}

fn make_keys(dir: &Path, members: &[String]) -> Result<Vec<Key>, RaiseError> {
    let mut keys = Vec::new();
    let everybody = members.iter().map(|name| (name.as_str(), work_of(name))).chain([(SITE, "operator")]);
    // Every organisation has a voice besides.
    for (organisation, role) in everybody.flat_map(|(name, role)| [(name, role), (name, "governor")]) {
        let file = dir.join("keys").join(format!("{organisation}-{role}.key"));
        keys.push(make_key(&file, organisation, role)?);
    }
    Ok(keys)
}

/// Makes a key file.
pub(crate) fn make_key(file: &Path, organisation: &str, role: &str) -> Result<Key, RaiseError> {
    let path = file.display().to_string();
    run("countersign", &["key", "new", "--role", role, "--organisation", organisation, "--out", &path])?;
    let (organisation, role, file) = (organisation.to_owned(), role.to_owned(), file.to_owned());
    Ok(Key { organisation, role, public_key: public_key(&file)?, file })
}

/// The public half of the key in a file.
pub(crate) fn public_key(file: &Path) -> Result<String, RaiseError> {
    let shown = run("countersign", &["key", "show", &file.display().to_string(), "-o", "json"])?;
    json_field(&shown, "public_key")
}

fn json_field(text: &str, field: &str) -> Result<String, RaiseError> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| RaiseError::Plan(format!("unexpected answer {text:?}: {error}")))?;
    let found = value.get(field).and_then(serde_json::Value::as_str);
    found.map(str::to_owned).ok_or_else(|| RaiseError::Plan(format!("answer {text:?} has no {field}")))
}

pub(crate) struct MadeNode {
    pub(crate) node: Node,
    pub(crate) validator_key: Option<String>,
}

pub(crate) fn make_node(
    dir: &Path,
    organisation: &str,
    validator: bool,
    address: Ipv4Addr,
) -> Result<MadeNode, RaiseError> {
    let directory = dir.join("nodes").join(organisation);
    let port = || free_port().map_err(io_error("cannot find a free port"));
    let (peer, grpc) = (port()?, port()?);
    let peer_address = format!("/ip4/{address}/tcp/{peer}");
    let (path, grpc_address) = (directory.display().to_string(), format!("{address}:{grpc}"));
    let host = address.to_string();
    let mut arguments = vec!["init", "--dir", &path, "--organisation", organisation];
    arguments.extend(["--listen", &peer_address, "--grpc", &grpc_address, "--host", "localhost", "--host", &host]);
    if validator {
        arguments.push("--validator");
    }
    let printed = run("countersign-node", &arguments)?;
    let made: toml::Table =
        printed.parse().map_err(|error| RaiseError::Plan(format!("unexpected answer {printed:?}: {error}")))?;
    let key = |name: &str| made.get(name).and_then(toml::Value::as_str).map(str::to_owned);
    let node = Node {
        name: organisation.to_owned(),
        organisation: organisation.to_owned(),
        validator,
        grpc: format!("https://{grpc_address}"),
        peer_address,
        node_key: key("node").ok_or_else(|| RaiseError::Plan(format!("answer {printed:?} has no node key")))?,
        node_key_file: directory.join("node.key"),
        validator_key_file: validator.then(|| directory.join("validator.key")),
        config: directory.join("node.toml"),
        data_dir: directory.join("data"),
        log: dir.join("logs").join(format!("{organisation}.log")),
        pid: None,
    };
    add_to_configuration(&node, &format!("\n[artifacts]\nleft_free_bytes_max = {LEFT_FREE_BYTES_MAX}\n"))?;
    if organisation == SITE {
        // It lets hosts in that were invited.
        let key = dir.join("keys").join(format!("{SITE}-operator.key"));
        add_to_configuration(&node, &format!("\n[enrolment]\noperator_key = {:?}\n", key.display().to_string()))?;
    }
    Ok(MadeNode { node, validator_key: key("validator") })
}

fn join_roots(dir: &Path, nodes: &[MadeNode]) -> Result<PathBuf, RaiseError> {
    let mut roots = String::new();
    for made in nodes {
        let path = made.node.config.with_file_name("ca.pem");
        roots += &fs::read_to_string(&path).map_err(io_error(format!("cannot read {}", path.display())))?;
    }
    let ca = dir.join("ca.pem");
    fs::write(&ca, roots).map_err(io_error("cannot write ca.pem"))?;
    Ok(ca)
}

/// Writes the description of the ledger and has the genesis file made from it.
fn make_genesis(
    plan: &Plan,
    dir: &Path,
    members: &[String],
    keys: &[Key],
    nodes: &[MadeNode],
) -> Result<(PathBuf, String), RaiseError> {
    let mut spec = format!(
        "name = \"devnet\"\n\n[parameters]\nheartbeat_ms = {}\nseal_ms = {}\n",
        plan.heartbeat_ms, plan.seal_ms
    );
    for organisation in members.iter().map(String::as_str).chain([SITE]) {
        let namespaces = if organisation.starts_with("vendor") { format!("\"{organisation}\"") } else { String::new() };
        let made = nodes.iter().find(|made| made.node.organisation == organisation);
        let mut entries: Vec<String> = Vec::new();
        for key in keys.iter().filter(|key| key.organisation == organisation) {
            entries.push(format!("{{ role = \"{}\", public_key = \"{}\" }}", key.role, key.public_key));
        }
        if let Some(made) = made {
            entries.push(format!("{{ role = \"node\", public_key = \"{}\" }}", made.node.node_key));
        }
        if let Some(validator) = made.and_then(|made| made.validator_key.as_ref()) {
            entries.push(format!("{{ role = \"validator\", public_key = \"{validator}\" }}"));
        }
        let _ = write!(
            spec,
            "\n[[organisation]]\nname = \"{organisation}\"\nnamespaces = [{namespaces}]\nkeys = [\n  {},\n]\n",
            entries.join(",\n  ")
        );
    }
    for made in nodes {
        if let Some(validator) = &made.validator_key {
            let organisation = &made.node.organisation;
            let _ = write!(spec, "\n[[validator]]\norganisation = \"{organisation}\"\npublic_key = \"{validator}\"\n");
        }
    }
    let approvers: Vec<_> =
        members.iter().filter(|name| name.starts_with("approver")).map(|name| format!("\"{name}\"")).collect();
    let _ = write!(
        spec,
        "\n[[rule]]\nname = \"two-approvers\"\napprovers = [{}]\napprovals = 2\norganisations = 2\n\
         rejections = 1\nrecalls = 1\n",
        approvers.join(", ")
    );
    let path = dir.join("genesis.toml");
    fs::write(&path, spec).map_err(io_error("cannot write genesis.toml"))?;
    let genesis = dir.join("genesis.trust");
    let (spec, out) = (path.display().to_string(), genesis.display().to_string());
    let made = run("countersign", &["init", "--spec", &spec, "--out", &out, "-o", "json"])?;
    let chain_id = json_field(&made, "chain_id")?;
    Ok((genesis, chain_id))
}

/// Gives every node the genesis file and the others' addresses.
fn introduce(nodes: &[MadeNode], genesis: &Path) -> Result<(), RaiseError> {
    let all: Vec<Node> = nodes.iter().map(|made| made.node.clone()).collect();
    all.iter().try_for_each(|node| introduce_one(node, &all, genesis))
}

/// Tells a node of its ledger, and of the others.
pub(crate) fn introduce_one(node: &Node, others: &[Node], genesis: &Path) -> Result<(), RaiseError> {
    let directory = node.config.parent().unwrap_or(Path::new("."));
    fs::copy(genesis, directory.join("genesis.trust")).map_err(io_error("cannot copy the genesis file"))?;
    others.iter().filter(|other| other.name != node.name).try_for_each(|other| tell_of(node, other))
}

/// Tells a node of another: it connects to it from its next start on.
pub(crate) fn tell_of(node: &Node, other: &Node) -> Result<(), RaiseError> {
    let Node { name, node_key, peer_address, .. } = other;
    let peer = format!("\n[[network.peers]] # {name}\nkey = \"{node_key}\"\naddress = \"{peer_address}\"\n");
    add_to_configuration(node, &peer)
}

fn add_to_configuration(node: &Node, text: &str) -> Result<(), RaiseError> {
    let config = fs::read_to_string(&node.config).map_err(io_error("cannot read node.toml"))?;
    fs::write(&node.config, config + text).map_err(io_error("cannot write node.toml"))
}

/// Waits until every node answers and sees every other.
///
/// # Errors
/// [`RaiseError::Ended`], [`RaiseError::NotReady`].
pub async fn await_ready(devnet: &Devnet) -> Result<(), RaiseError> {
    let deadline = Instant::now() + READY_PATIENCE;
    // One that ended is the reason that the others wait.
    for node in &devnet.nodes {
        await_status(node, &devnet.ca, deadline, |_| true).await?;
    }
    for node in &devnet.nodes {
        await_status(node, &devnet.ca, deadline, |status| {
            status.peers.len() + 1 == devnet.nodes.len() && status.height > 0
        })
        .await?;
    }
    Ok(())
}

/// Waits until a node answers clients.
///
/// # Errors
/// [`RaiseError::Ended`], [`RaiseError::NotReady`].
pub async fn await_serving(node: &Node, ca: &Path) -> Result<(), RaiseError> {
    await_status(node, ca, Instant::now() + READY_PATIENCE, |_| true).await
}

async fn await_status(
    node: &Node,
    ca: &Path,
    deadline: Instant,
    is_wanted: impl Fn(&GetStatusResponse) -> bool,
) -> Result<(), RaiseError> {
    loop {
        if client::status(&node.grpc, ca).await.is_ok_and(|status| is_wanted(&status)) {
            return Ok(());
        }
        if !processes::is_running(node.pid, &node.config) {
            let (name, log) = (node.name.clone(), node.log.clone());
            return Err(RaiseError::Ended { name, last_words: processes::last_words(&log), log });
        }
        if Instant::now() > deadline {
            return Err(RaiseError::NotReady { name: node.name.clone(), log: node.log.clone() });
        }
        tokio::time::sleep(READY_INTERVAL).await;
    }
}

/// `[[subscriptions]]` blocks for an agent's configuration.
#[must_use]
pub fn agent_subscriptions(products: &[String]) -> String {
    let mut text = String::new();
    for product in products {
        let (product, channel) = product.split_once(':').unwrap_or((product, "stable"));
        let _ = write!(text, "\n[[subscriptions]]\nproduct = \"{product}\"\nchannel = \"{channel}\"\n");
    }
    text
}

/// Makes an agent's directory, enrols its key with the site's operator, starts it. `more` is appended
/// to its configuration file.
///
/// # Errors
/// [`RaiseError`].
pub fn add_agent(devnet: &mut Devnet, name: &str, more: &str) -> Result<(), RaiseError> {
    let mut agent = make_agent(devnet, name, more)?;
    processes::start_agent(&mut agent).map_err(io_error("cannot start countersign-agent"))?;
    devnet.agents.push(agent);
    devnet.save().map_err(io_error("cannot write devnet.json"))
}

/// Makes and enrols an agent without starting it. It follows the site's node and another one.
///
/// # Errors
/// [`RaiseError`].
pub fn make_agent(devnet: &Devnet, name: &str, more: &str) -> Result<Agent, RaiseError> {
    let site = devnet.node(SITE).ok_or_else(no_site)?;
    let second = devnet.nodes.iter().find(|node| node.name != SITE).unwrap_or(site);
    make_agent_of(devnet, name, &[&site.grpc, &second.grpc], more)
}

/// Makes and enrols an agent that follows these nodes, without starting it.
///
/// # Errors
/// [`RaiseError`].
pub fn make_agent_of(devnet: &Devnet, name: &str, nodes: &[&str], more: &str) -> Result<Agent, RaiseError> {
    let directory = devnet.dir.join("agents").join(name);
    let site = devnet.node(SITE).ok_or_else(no_site)?;
    let operator = devnet.key(SITE, "operator").ok_or_else(|| RaiseError::Plan("no operator key".to_owned()))?;
    let path = directory.display().to_string();
    let (ca, genesis) = (devnet.ca.display().to_string(), devnet.genesis.display().to_string());
    let mut arguments = vec!["init", "--dir", &path, "--name", name, "--ca", &ca, "--genesis", &genesis];
    arguments.extend(nodes.iter().flat_map(|node| ["--node", node]));
    let key = run("countersign-agent", &arguments)?;
    let config = directory.join("agent.toml");
    let mut text = fs::read_to_string(&config).map_err(io_error("cannot read agent.toml"))?;
    text += more;
    fs::write(&config, text).map_err(io_error("cannot write agent.toml"))?;
    run(
        "countersign",
        &[
            "endpoint",
            "enroll",
            &key,
            "--name",
            name,
            "--group",
            "devnet",
            "--node",
            &site.grpc,
            "--ca",
            &ca,
            "--genesis",
            &genesis,
            "--key",
            &operator.file.display().to_string(),
        ],
    )?;
    let log = devnet.dir.join("logs").join(format!("{name}.log"));
    let (key_file, data_dir) = (directory.join("endpoint.key"), directory.join("data"));
    Ok(Agent { name: name.to_owned(), key, key_file, config, data_dir, log, pid: None })
}

fn no_site() -> RaiseError {
    RaiseError::Plan("this devnet has no site node".to_owned())
}

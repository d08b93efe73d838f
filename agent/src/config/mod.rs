//! The configuration: text, then raw, then parsed. What is parsed is believed everywhere else.

mod error;
mod health;
mod installers;
mod inventory;
pub mod own_program;
mod raw;
mod reboot;
mod schedule;
mod sources;
pub mod template;

pub use error::{ConfigError, NotToml};
pub use health::Health;
pub use installers::{Containers, Debian, FileSet, Images, Installers, RPM_DATABASE_DEFAULT, Rpm, Scripts};
pub use inventory::{Inventory, Part};
pub use own_program::OwnProgram;
pub use reboot::Reboot;
pub use sources::{ArtifactSource, Cache, MirrorAddress, SOURCES_MAX, SourcePlace, check_mirror};

use crate::files;
use crate::parameters::{self, Parameters};
use keyring::SecretPlace;
use ledger::bounded::{Name, Product};
use ledger::limits;
use ledger::patch::Label;
use policy::{Commands, Pause, Policy, Subscription};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest configuration file.
pub const CONFIG_BYTES_MAX: usize = 256 * 1024;
/// Nodes one agent follows.
pub const NODES_MAX: usize = 16;
/// What the address of a node looks like.
const NODE_EXAMPLE: &str = "https://ledger-a.example:7400";
/// Subscriptions of one agent.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// Services of one agent: a manifest cannot name more.
pub const SERVICES_MAX: usize = limits::SELECTOR_VALUES_MAX;
/// How long a service may take to end by itself: the agent ends in a minute, whatever it runs.
const STOP_TIMEOUT_MS_MAX: u64 = 45_000;
/// How long a service may have to stay up to count as started.
const READY_WAIT_MS_MAX: u64 = 10 * 60 * 1000;
/// Most memory a host may give to deltas.
const DELTA_MEMORY_MB_MAX: u64 = 4096;
/// Parameters of one host.
pub const PARAMETERS_MAX: usize = 64;

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the agent keeps everything.
    pub data_dir: PathBuf,
    /// The endpoint's key file.
    pub key: PathBuf,
    /// Where the secret is that opens it, if it is sealed.
    pub unseal: Option<SecretPlace>,
    /// How the ledger is followed.
    pub ledger: Ledger,
    /// What people call the host.
    pub name: Name,
    /// Its labels.
    pub labels: BTreeSet<Label>,
    /// Its hardware ids.
    pub hardware: BTreeSet<Name>,
    /// House law.
    pub policy: Policy,
    /// How patient downloads are.
    pub download: Download,
    /// Where artifacts come from, in this order.
    pub sources: Vec<ArtifactSource>,
    /// What is given to other hosts of the site, if anything.
    pub cache: Option<Cache>,
    /// Values for `{name}`.
    pub parameters: Parameters,
    /// Services the agent keeps running.
    pub services: Vec<Service>,
    /// What each kind of installer may do.
    pub installers: Installers,
    /// What is asked after every update.
    pub health: Health,
    /// How this host is restarted.
    pub reboot: Reboot,
    /// How this agent updates itself, if it does.
    pub own_program: Option<OwnProgram>,
    /// What it says of itself, if anything.
    pub inventory: Option<Inventory>,
    raw: raw::Raw,
}

/// How the ledger is followed.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// `https://` addresses of nodes; none on a host that is patched out of somebody's hands.
    pub nodes: Vec<String>,
    /// PEM file with the roots the nodes' certificates lead to; there is one where there are nodes.
    pub ca: Option<PathBuf>,
    /// The genesis file: the trust root.
    pub genesis: PathBuf,
    /// Name the nodes' certificates carry, when it is not the host of their address.
    pub server_name: Option<String>,
    /// How old a header may be.
    pub max_age_ms: u64,
    /// How often to ask when nothing is heard.
    pub poll_interval: Duration,
    /// By how much to stray from that, so that a fleet does not ask in step.
    pub poll_jitter_percent: u64,
}

/// When a source of an artifact is left for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Download {
    /// Slower than this is too slow.
    pub minimum_bytes_per_s: u64,
    /// Over how long that is measured.
    pub patience: Duration,
    /// Longer than this, over all sources, is too long.
    pub deadline: Duration,
    /// All downloads together take no more than this; without, as much as comes.
    pub bytes_per_s_max: Option<u64>,
    /// Most memory for making a payload out of a delta; 0: none is.
    pub delta_bytes_max: u64,
}

/// A service as the configuration describes it; `{name}`s are not replaced yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, as manifests call it.
    pub name: Name,
    /// Whose tree it runs from.
    pub of: Subscription,
    /// Program and arguments; of a container, nothing means those of its image.
    pub command: Vec<String>,
    /// The systemd unit that it is, instead: the agent has it restarted and watches it.
    pub unit: Option<String>,
    /// Whether it runs in a container, from an image.
    pub container: bool,
    /// Environment; nothing else is in it but `PATH` and `LANG`, or what the image says.
    pub environment: BTreeMap<String, String>,
    /// How long it may take to end by itself.
    pub stop_timeout: Duration,
    /// How long it must stay up to count as started.
    pub ready_wait: Duration,
}

impl Config {
    /// Reads and checks a configuration file. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// [`ConfigError`] names the first thing that is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = files::read(path, CONFIG_BYTES_MAX)?;
        let syntax = |detail: String| ConfigError::Syntax { path: path.to_owned(), source: NotToml(detail) };
        let text = String::from_utf8(bytes).map_err(|_| syntax("not UTF-8 text".to_owned()))?;
        let raw: raw::Raw = toml::from_str(&text).map_err(|error| syntax(error.to_string().trim_end().to_owned()))?;
        let base = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
        parse(raw, &base.unwrap_or_default()).map_err(|Wrong { field, problem }| ConfigError::Field {
            path: path.to_owned(),
            field,
            problem,
        })
    }

    /// The configuration in force as TOML: defaults filled in, paths absolute.
    #[must_use]
    pub fn toml(&self) -> String {
        toml::to_string(&self.raw).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    /// What the host follows.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.policy.subscriptions.iter()
    }
}

/// A field and what is wrong with it.
struct Wrong {
    field: String,
    problem: String,
}

fn wrong<T>(field: impl Into<String>, problem: impl ToString) -> Result<T, Wrong> {
    Err(Wrong { field: field.into(), problem: problem.to_string() })
}

fn parse(mut raw: raw::Raw, base: &Path) -> Result<Config, Wrong> {
    let optional = [raw.ledger.ca.as_mut(), raw.ledger.genesis.as_mut()].into_iter().flatten();
    for path in optional.chain([&mut raw.data_dir, &mut raw.key]) {
        *path = base.join(&*path);
    }
    raw.unseal = raw.unseal.take().map(|place| place.below(base));
    let mut subscriptions = parse_subscriptions(&raw.subscriptions)?;
    let health = health::parse(&raw.health)?;
    let own_program = own_program::parse(raw.own.as_ref(), health.soak)?;
    subscriptions.extend(own_program.iter().map(|own| own.of.clone()));
    let sources = sources::parse(&mut raw.sources, base, !raw.ledger.nodes.is_empty())?;
    let (restart, reboot) = reboot::parse(&raw.reboot)?;
    let restart_within_ms = u64::try_from(reboot.deadline.as_millis()).ok();
    let ledger = parse_ledger(&raw.ledger, !sources.is_empty())?;
    let installers = installers::parse(&raw.installers)?;
    let secret = match &raw.unseal {
        Some(SecretPlace::File(file)) => Some(&**file),
        _ => None,
    };
    let own = [Some(base), Some(&*raw.key), Some(&*ledger.genesis), ledger.ca.as_deref(), secret];
    installers.keep_off(&raw.data_dir, own.into_iter().flatten())?;
    Ok(Config {
        data_dir: raw.data_dir.clone(),
        key: raw.key.clone(),
        unseal: raw.unseal.clone(),
        inventory: inventory::parse(&raw.inventory, &ledger.nodes)?,
        ledger,
        sources,
        cache: sources::parse_cache(raw.cache.as_ref())?,
        name: name("host.name", &raw.host.name)?,
        labels: parse_labels(&raw.host.labels)?,
        hardware: names("host.hardware", &raw.host.hardware)?,
        download: parse_download(&raw.download)?,
        parameters: parse_parameters(&raw.parameters)?,
        services: parse_services(&raw.services, &subscriptions)?,
        installers,
        reboot,
        own_program,
        policy: Policy {
            subscriptions,
            pause: parse_pause(&raw.policy)?,
            schedule: schedule::parse(&raw.schedule, &raw.windows)?,
            restart,
            restart_within_ms,
            commands: if health.manifest_commands { Commands::Run } else { Commands::Refused },
        },
        health,
        raw,
    })
}

fn parse_ledger(raw: &raw::Ledger, has_sources: bool) -> Result<Ledger, Wrong> {
    if raw.nodes.is_empty() && !has_sources {
        let problem = "none: at least one is needed, and two are wise; or none where [[sources]] has all artifacts and \
                       people bring the proofs";
        return wrong("ledger.nodes", problem);
    }
    check_nodes(&raw.nodes).or_else(|problem| wrong("ledger.nodes", problem))?;
    if raw.ca.is_none() && !raw.nodes.is_empty() {
        return wrong("ledger.ca", "missing: the nodes' TLS roots, a PEM file");
    }
    let Some(genesis) = raw.genesis.clone() else {
        return wrong("ledger.genesis", "missing: the genesis file, from somebody you trust");
    };
    if raw.max_age_ms == 0 {
        return wrong("ledger.max_age_ms", "nothing is that fresh");
    }
    if raw.poll_interval_ms == 0 {
        return wrong("ledger.poll_interval_ms", "must be at least 1");
    }
    if raw.poll_jitter_percent > 100 {
        return wrong("ledger.poll_jitter_percent", "must be at most 100");
    }
    Ok(Ledger {
        nodes: raw.nodes.iter().map(|node| node.trim_end_matches('/').to_owned()).collect(),
        ca: raw.ca.clone(),
        genesis,
        server_name: raw.server_name.clone(),
        max_age_ms: raw.max_age_ms,
        poll_interval: Duration::from_millis(raw.poll_interval_ms),
        poll_jitter_percent: raw.poll_jitter_percent,
    })
}

/// Whether these can be the addresses of nodes; that there is none may be wrong elsewhere.
///
/// # Errors
/// What is wrong with one, with an example.
pub fn check_nodes(nodes: &[String]) -> Result<(), String> {
    if nodes.len() > NODES_MAX {
        return Err(format!("{} nodes, {NODES_MAX} at most", nodes.len()));
    }
    nodes.iter().try_for_each(|node| check_node(node))
}

fn check_node(node: &str) -> Result<(), String> {
    if !node.starts_with("https://") {
        return Err(format!("{node:?} must begin with https://, as in {NODE_EXAMPLE}: the agent speaks TLS only"));
    }
    let is_one = |uri: tonic::transport::Uri| {
        // What stands where a port would, and is none, is not told otherwise.
        let named = uri.authority().map_or("", |authority| authority.as_str());
        let has_port = named.rsplit(']').next().is_some_and(|end| end.contains(':'));
        uri.host().is_some_and(|host| !host.is_empty()) && has_port == uri.port_u16().is_some()
    };
    match node.parse().is_ok_and(is_one) {
        true => Ok(()),
        false => Err(format!("{node:?} is no address: one looks like {NODE_EXAMPLE}")),
    }
}

fn parse_pause(raw: &raw::Policy) -> Result<Option<Pause>, Wrong> {
    match (raw.paused, raw.paused_until_ms) {
        (false, Some(_)) => wrong("policy.paused_until_ms", "set, but policy.paused is false"),
        (false, None) => Ok(None),
        (true, until_ms) => {
            let reason = raw.reason.clone().unwrap_or_else(|| "by this host's configuration".to_owned());
            Ok(Some(Pause { reason, until_ms }))
        }
    }
}

fn parse_download(raw: &raw::Download) -> Result<Download, Wrong> {
    let raw::Download { minimum_bytes_per_s, patience_ms, deadline_ms, bytes_per_s_max, delta_memory_mb } = *raw;
    if minimum_bytes_per_s == 0 || patience_ms == 0 || deadline_ms == 0 || bytes_per_s_max == Some(0) {
        return wrong("download", "every value must be at least 1: a source may hang");
    }
    if delta_memory_mb > DELTA_MEMORY_MB_MAX {
        return wrong("download.delta_memory_mb", format!("must be at most {DELTA_MEMORY_MB_MAX}"));
    }
    let (patience, deadline) = (Duration::from_millis(patience_ms), Duration::from_millis(deadline_ms));
    let delta_bytes_max = delta_memory_mb * 1024 * 1024;
    Ok(Download { minimum_bytes_per_s, patience, deadline, bytes_per_s_max, delta_bytes_max })
}

fn parse_labels(raw: &BTreeMap<String, String>) -> Result<BTreeSet<Label>, Wrong> {
    if raw.len() > limits::SELECTOR_VALUES_MAX {
        return wrong("host.labels", format!("{} labels, {} at most", raw.len(), limits::SELECTOR_VALUES_MAX));
    }
    let label = |(key, value): (&String, &String)| {
        Ok(Label { key: name("host.labels", key)?, value: name(&format!("host.labels.{key}"), value)? })
    };
    raw.iter().map(label).collect()
}

fn parse_parameters(raw: &BTreeMap<String, raw::Scalar>) -> Result<Parameters, Wrong> {
    if raw.len() > PARAMETERS_MAX {
        return wrong("parameters", format!("{} parameters, {PARAMETERS_MAX} at most", raw.len()));
    }
    if let Some(name) = raw.keys().find(|name| !parameters::is_name(name)) {
        return wrong("parameters", format!("{name:?} is no name: a lower-case letter, then those, digits, _ and -"));
    }
    if raw.contains_key(parameters::TREE) {
        return wrong("parameters.tree", "{tree} is the installed tree, not a parameter");
    }
    Ok(Parameters::new(raw.iter().map(|(name, value)| (name.clone(), value.text())).collect()))
}

fn parse_subscriptions(raw: &[raw::Subscription]) -> Result<BTreeSet<Subscription>, Wrong> {
    if raw.len() > SUBSCRIPTIONS_MAX {
        return wrong("subscriptions", format!("{} subscriptions, {SUBSCRIPTIONS_MAX} at most", raw.len()));
    }
    let mut subscriptions = BTreeSet::new();
    for (place, raw) in raw.iter().enumerate() {
        let field = |part| format!("subscriptions[{place}].{part}");
        let subscription = Subscription {
            product: product(&field("product"), &raw.product)?,
            channel: name(&field("channel"), &raw.channel)?,
        };
        if !subscriptions.insert(subscription) {
            return wrong(format!("subscriptions[{place}]"), "occurs twice");
        }
    }
    Ok(subscriptions)
}

fn parse_services(
    raw: &BTreeMap<String, raw::Service>,
    subscriptions: &BTreeSet<Subscription>,
) -> Result<Vec<Service>, Wrong> {
    if raw.len() > SERVICES_MAX {
        return wrong("services", format!("{} services, {SERVICES_MAX} at most", raw.len()));
    }
    let parse = |(key, raw): (&String, &raw::Service)| {
        let field = |part: &str| format!("services.{key}.{part}");
        if raw.unit.is_some() && (!raw.command.is_empty() || raw.container || !raw.environment.is_empty()) {
            return wrong(field("unit"), "systemd runs it: command, container and environment are the unit's to say");
        }
        if let Some(unit) = raw.unit.as_deref().filter(|unit| !health::is_unit(unit)) {
            return wrong(field("unit"), format!("{unit:?} is no unit"));
        }
        let names_none = raw.command.first().map_or(!raw.container && raw.unit.is_none(), String::is_empty);
        if names_none {
            return wrong(field("command"), "names no program");
        }
        if let Some(variable) = raw.environment.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return wrong(field("environment"), format!("{variable:?} is no variable"));
        }
        for (part, ms, ms_max) in [
            ("stop_timeout_ms", raw.stop_timeout_ms, STOP_TIMEOUT_MS_MAX),
            ("ready_wait_ms", raw.ready_wait_ms, READY_WAIT_MS_MAX),
        ] {
            if ms > ms_max {
                return wrong(field(part), format!("{ms}, {ms_max} at most"));
            }
        }
        Ok(Service {
            name: name(&format!("services.{key}"), key)?,
            of: parse_owner(raw, subscriptions, &field)?,
            command: raw.command.clone(),
            unit: raw.unit.clone(),
            container: raw.container,
            environment: raw.environment.clone(),
            stop_timeout: Duration::from_millis(raw.stop_timeout_ms),
            ready_wait: Duration::from_millis(raw.ready_wait_ms),
        })
    };
    raw.iter().map(parse).collect()
}

/// Whose tree a service runs from: what it says, as far as it says it, must fit exactly one
/// subscription.
fn parse_owner(
    raw: &raw::Service,
    subscriptions: &BTreeSet<Subscription>,
    field: &dyn Fn(&str) -> String,
) -> Result<Subscription, Wrong> {
    let wanted = raw.product.as_deref().map(|text| product(&field("product"), text)).transpose()?;
    let channel = raw.channel.as_deref().map(|text| name(&field("channel"), text)).transpose()?;
    let mut fitting = subscriptions.iter().filter(|subscription| {
        wanted.as_ref().is_none_or(|product| *product == subscription.product)
            && channel.as_ref().is_none_or(|channel| *channel == subscription.channel)
    });
    match (fitting.next(), fitting.next()) {
        (Some(subscription), None) => Ok(subscription.clone()),
        (None, _) => wrong(field("product"), "this host subscribes to no such product and channel"),
        (Some(_), Some(_)) => wrong(field("product"), "fits more than one subscription: name product and channel"),
    }
}

fn name(field: &str, text: &str) -> Result<Name, Wrong> {
    Name::new(text).or_else(|error| wrong(field, error))
}

fn names(field: &str, texts: &[String]) -> Result<BTreeSet<Name>, Wrong> {
    if texts.len() > limits::SELECTOR_VALUES_MAX {
        return wrong(field, format!("{} values, {} at most", texts.len(), limits::SELECTOR_VALUES_MAX));
    }
    texts.iter().map(|text| name(field, text)).collect()
}

fn product(field: &str, text: &str) -> Result<Product, Wrong> {
    Product::new(text).or_else(|error| wrong(field, error))
}

//! The configuration file: text, then raw, then parsed. Unknown fields are errors.

use crate::inventories::InventoryLimits;
use keyring::{KeyFileError, KeyRole, SecretPlace, Stored};
use ledger::bounded::Name;
use ledger::id::ParseIdError;
use ledger::key::{PublicKey, SecretKey};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Far too long to be what it should be.
    #[error("{} is longer than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, an unknown field, a field missing, a value of the wrong kind.
    #[error("{} is no configuration of a node", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// A value that is none.
    #[error("{}: {field}: {detail}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// The file as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// The member this node belongs to.
    pub organisation: String,
    /// Trust root; relative paths are relative to the configuration file.
    pub genesis: PathBuf,
    /// Chain, journal and artifacts live below it.
    pub data_dir: PathBuf,
    /// Key this node is known by to its peers.
    pub node_key: PathBuf,
    /// Validating key; leave out for a node that only observes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validator_key: Option<PathBuf>,
    /// Where the secret is that opens this node's keys, if they are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseal: Option<SecretPlace>,
    /// Peers.
    pub network: RawNetwork,
    /// Clients.
    pub grpc: RawGrpc,
    /// What of the chain is kept.
    #[serde(default)]
    pub chain: RawChain,
    /// Consensus timeouts.
    #[serde(default)]
    pub consensus: RawConsensus,
    /// Bounds of the pool of waiting transactions.
    #[serde(default)]
    pub mempool: RawMempool,
    /// Bounds of the stored artifacts.
    #[serde(default)]
    pub artifacts: RawArtifacts,
    /// Bounds of what hosts say is on them.
    #[serde(default)]
    pub inventories: RawInventories,
    /// Letting invited hosts in; leave out for a node that enrols nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<RawEnrolment>,
}

/// `[enrolment]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEnrolment {
    /// Key of an operator of this organisation, in whose name hosts are enrolled that were invited.
    pub operator_key: PathBuf,
}

/// `[chain]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawChain {
    /// Forget receipts that are older than so many days, 30 at least; leave out to keep all. Everything else
    /// is kept in any case, and what endpoints last did is in the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipts_days: Option<u32>,
}

/// Days a receipt is kept at least: as long as a transaction may live.
pub const RECEIPTS_DAYS_MIN: u32 = 30;

/// `[network]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawNetwork {
    /// Multiaddresses to listen on: `/ip4/0.0.0.0/tcp/7000`, `/ip4/0.0.0.0/udp/7000/quic-v1`.
    pub listen: Vec<String>,
    /// Members' nodes to stay connected with.
    #[serde(default)]
    pub peers: Vec<RawPeer>,
}

/// `[[network.peers]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPeer {
    /// Its node key, 64 hexadecimal digits.
    pub key: String,
    /// Its multiaddress.
    pub address: String,
}

/// `[grpc]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGrpc {
    /// Where clients are served.
    pub listen: String,
    /// PEM certificate chain.
    pub certificate: PathBuf,
    /// PEM private key.
    pub private_key: PathBuf,
    /// Longest that whoever asks for the newest head is told to wait before he asks again, milliseconds: the more ask,
    /// the longer.
    #[serde(default = "ask_again_ms_max")]
    pub ask_again_ms_max: u64,
}

fn ask_again_ms_max() -> u64 {
    crate::grpc::ASK_AGAIN_MS_MAX
}

/// `[consensus]`, milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConsensus {
    /// How long a proposal is waited for.
    pub propose_ms: u64,
    /// So much longer in each further round.
    pub propose_step_ms: u64,
    /// How long the last third of votes is waited for.
    pub vote_ms: u64,
    /// So much longer in each further round.
    pub vote_step_ms: u64,
    /// How long before votes are sent again.
    pub rebroadcast_ms: u64,
    /// No timeout is ever longer.
    pub cap_ms: u64,
    /// Under load, how long a height waits after the one before began, so that blocks fill.
    pub batch_ms: u64,
    /// Transactions this node puts into a block of its own at most. Validators execute a block before
    /// they vote, so a larger block is a longer wait for everybody in it.
    pub block_transactions: usize,
}

impl Default for RawConsensus {
    fn default() -> Self {
        let timeouts = consensus::Timeouts::default();
        Self {
            propose_ms: timeouts.propose_ms,
            propose_step_ms: timeouts.propose_step_ms,
            vote_ms: timeouts.vote_ms,
            vote_step_ms: timeouts.vote_step_ms,
            rebroadcast_ms: timeouts.rebroadcast_ms,
            cap_ms: timeouts.cap_ms,
            batch_ms: 20,
            block_transactions: 1_000,
        }
    }
}

/// `[mempool]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMempool {
    /// Transactions that may wait.
    pub transactions_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
    /// Transactions of one organisation that may wait.
    pub per_organisation_max: usize,
    /// Their bytes.
    pub per_organisation_bytes_max: usize,
    /// Transactions of one organisation in a block of this node's, while another has fewer than this to say: more
    /// of them make the others wait, fewer make it slow beside them.
    pub share_max: usize,
}

impl Default for RawMempool {
    fn default() -> Self {
        let limits = consensus::member::MempoolLimits::default();
        Self {
            transactions_max: limits.transactions_max,
            bytes_max: limits.bytes_max,
            per_organisation_max: limits.per_organisation_max,
            per_organisation_bytes_max: limits.per_organisation_bytes_max,
            share_max: limits.share_max,
        }
    }
}

/// `[artifacts]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawArtifacts {
    /// Bytes of artifacts this node stores.
    pub bytes_max: u64,
    /// Bytes of artifacts of one organisation.
    pub per_organisation_bytes_max: u64,
    /// Bytes of the disk that are left free for the chain: a sixteenth of it, and no more than this.
    pub left_free_bytes_max: u64,
}

impl Default for RawArtifacts {
    fn default() -> Self {
        let limits = crate::artifacts::ArtifactLimits::default();
        Self {
            bytes_max: limits.bytes_max,
            per_organisation_bytes_max: limits.per_organisation_bytes_max,
            left_free_bytes_max: limits.left_free_bytes_max,
        }
    }
}

/// `[inventories]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawInventories {
    /// Bytes of all endpoints' inventories.
    pub bytes_max: u64,
    /// Bytes of those of one endpoint.
    pub per_endpoint_bytes_max: u64,
    /// How many of one endpoint are kept.
    pub history_max: usize,
}

impl Default for RawInventories {
    fn default() -> Self {
        let InventoryLimits { bytes_max, per_endpoint_bytes_max, history_max } = InventoryLimits::default();
        Self { bytes_max, per_endpoint_bytes_max, history_max }
    }
}

/// Most inventories of one endpoint that may be kept: as many as fit one answer.
pub const INVENTORY_HISTORY_MAX: usize = 1_000;

/// A peer to stay connected with.
#[derive(Clone, Debug)]
pub struct PeerAddress {
    /// Its node key.
    pub key: PublicKey,
    /// Where it is.
    pub address: Multiaddr,
}

impl PeerAddress {
    /// The IP address it begins with, as those of the transports we have do.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        ip(&self.address)
    }
}

/// The IP address a multiaddress begins with.
#[must_use]
pub fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
        Some(Protocol::Ip6(ip)) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// The configuration, believed.
pub struct Config {
    /// As written, paths made absolute.
    pub raw: RawConfig,
    /// The member.
    pub organisation: Name,
    /// Peers to stay connected with.
    pub peers: Vec<PeerAddress>,
    /// Where peers find this node.
    pub listen: Vec<Multiaddr>,
    /// Where clients are served.
    pub grpc_listen: SocketAddr,
    /// Identity.
    pub node_key: SecretKey,
    /// Validating key.
    pub validator_key: Option<SecretKey>,
    /// Key in whose name invited hosts are enrolled.
    pub operator_key: Option<SecretKey>,
    /// Whether to vote at once, whatever the signing guard lacks.
    pub accept_lost_guard: bool,
}

/// Reads a text file that should be small.
///
/// # Errors
/// [`ConfigError::Read`] or [`ConfigError::TooLarge`].
pub fn read_text(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(read)
}

impl RawConfig {
    /// Reads a configuration file; relative paths in it become relative to the file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path)?;
        let mut raw: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        // Whole paths: what is printed of them means the same wherever it is read again.
        let whole = std::path::absolute(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let base = whole.parent().unwrap_or(Path::new("/"));
        let files = [&mut raw.genesis, &mut raw.data_dir, &mut raw.node_key];
        let more = [&mut raw.grpc.certificate, &mut raw.grpc.private_key];
        let operator = raw.enrolment.as_mut().map(|enrolment| &mut enrolment.operator_key);
        for file in files.into_iter().chain(more).chain(raw.validator_key.as_mut()).chain(operator) {
            *file = base.join(&file);
        }
        raw.unseal = raw.unseal.take().map(|place| place.below(base));
        raw.check_numbers(path)?;
        Ok(raw)
    }

    fn check_numbers(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |field, detail| Err(ConfigError::Value { path: path.to_owned(), field, detail });
        if self.chain.receipts_days.is_some_and(|days| days < RECEIPTS_DAYS_MIN) {
            let detail = format!("at least {RECEIPTS_DAYS_MIN}: as long as a transaction may live");
            return wrong("chain.receipts_days", detail);
        }
        if !(1..=INVENTORY_HISTORY_MAX).contains(&self.inventories.history_max) {
            return wrong("inventories.history_max", format!("1 to {INVENTORY_HISTORY_MAX}"));
        }
        Ok(())
    }

    /// Parses every value and loads the keys.
    ///
    /// # Errors
    /// [`ConfigError`] names file and field.
    pub fn parse(self, path: &Path) -> Result<Config, ConfigError> {
        let wrong = |field, detail: &dyn ToString| ConfigError::Value {
            path: path.to_owned(),
            field,
            detail: detail.to_string(),
        };
        self.check_numbers(path)?;
        let organisation = Name::new(self.organisation.clone()).map_err(|error| wrong("organisation", &error))?;
        let peers = self.network.peers.iter().map(|peer| {
            Ok(PeerAddress {
                key: peer.key.parse().map_err(|error: ParseIdError| wrong("network.peers.key", &error))?,
                address: peer
                    .address
                    .parse()
                    .map_err(|error: libp2p::multiaddr::Error| wrong("network.peers.address", &error))?,
            })
        });
        let peers = peers.collect::<Result<_, ConfigError>>()?;
        let listen = self.network.listen.iter();
        let listen = listen.map(|address| listen_address(address).map_err(|error| wrong("network.listen", &error)));
        let listen = listen.collect::<Result<_, ConfigError>>()?;
        let grpc_listen = self.grpc.listen.parse().map_err(|error: std::net::AddrParseError| {
            wrong("grpc.listen", &format!("{error}, want 127.0.0.1:7100"))
        })?;
        let unseal = self.unseal.as_ref();
        let node_key = load_key(&self.node_key, KeyRole::Node, unseal)?;
        let load = |path: Option<&PathBuf>, role| path.map(|path| load_key(path, role, unseal)).transpose();
        let validator_key = load(self.validator_key.as_ref(), KeyRole::Validator)?;
        let operator_key = load(self.enrolment.as_ref().map(|enrolment| &enrolment.operator_key), KeyRole::Operator)?;
        let accept_lost_guard = false;
        Ok(Config {
            organisation,
            peers,
            listen,
            grpc_listen,
            node_key,
            validator_key,
            operator_key,
            accept_lost_guard,
            raw: self,
        })
    }
}

/// An address to listen on for peers: one of this host, and TCP, or QUIC over UDP.
///
/// # Errors
/// Why it is none, with an example.
pub fn listen_address(text: &str) -> Result<Multiaddr, String> {
    let address: Multiaddr =
        text.parse().map_err(|error| format!("{text:?} is no multiaddress ({error}): {LISTEN}"))?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    match parts[..] {
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)]
        | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1] => Ok(address),
        _ => Err(format!("{text:?} cannot be listened on: {LISTEN}")),
    }
}

/// What an address to listen on looks like.
const LISTEN: &str = "want /ip4/0.0.0.0/tcp/7000 or /ip6/::/udp/7000/quic-v1";

/// Loads a key, and opens it if it is sealed.
///
/// # Errors
/// [`ConfigError::Key`].
pub fn load_key(path: &Path, role: KeyRole, unseal: Option<&SecretPlace>) -> Result<SecretKey, ConfigError> {
    let secret = || {
        let place = unseal.ok_or_else(|| KeyFileError::Sealed { path: path.to_owned() })?;
        place.secret().map_err(|source| KeyFileError::Secret { path: path.to_owned(), source })
    };
    Ok(Stored::read(path)?.needs(role)?.open(secret)?.secret)
}

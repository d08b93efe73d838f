//! What a devnet is made of, as it stands in `DIR/devnet.json`: the one file outside scripts need.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file.
pub const FILE_NAME: &str = "devnet.json";
/// Version of its format.
pub const VERSION: u32 = 1;

/// A whole ledger on one machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Devnet {
    /// [`VERSION`].
    pub version: u32,
    /// The directory, absolute.
    pub dir: PathBuf,
    /// Chain id, 64 hexadecimal digits.
    pub chain_id: String,
    /// The genesis file: trust root of agents and auditors.
    pub genesis: PathBuf,
    /// PEM roots of all nodes' TLS certificates.
    pub ca: PathBuf,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Agents.
    pub agents: Vec<Agent>,
    /// Key files by organisation and role.
    pub keys: Vec<Key>,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// What people call it: its organisation's name.
    pub name: String,
    /// Its organisation.
    pub organisation: String,
    /// Whether it votes.
    pub validator: bool,
    /// Where clients are served: `https://127.0.0.1:PORT`.
    pub grpc: String,
    /// Where peers find it.
    pub peer_address: String,
    /// Its node key, 64 hexadecimal digits.
    pub node_key: String,
    /// The file of that key.
    pub node_key_file: PathBuf,
    /// The file of its validating key, if it votes.
    pub validator_key_file: Option<PathBuf>,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its data.
    pub data_dir: PathBuf,
    /// What it logs.
    pub log: PathBuf,
    /// Its process, while it runs.
    pub pid: Option<u32>,
}

/// An agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Agent {
    /// What people call the host.
    pub name: String,
    /// Its endpoint key, 64 hexadecimal digits.
    pub key: String,
    /// The file of that key.
    pub key_file: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its data.
    pub data_dir: PathBuf,
    /// What it logs.
    pub log: PathBuf,
    /// Its process, while it runs.
    pub pid: Option<u32>,
}

/// A key file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Key {
    /// Whose.
    pub organisation: String,
    /// What for: `publisher`, `approver`, `operator`, `governor`.
    pub role: String,
    /// The public key, 64 hexadecimal digits.
    pub public_key: String,
    /// The file.
    pub file: PathBuf,
}

impl Devnet {
    /// Reads `DIR/devnet.json`.
    ///
    /// # Errors
    /// What the operating system or the parser says.
    pub fn load(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE_NAME);
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let text = fs::read_to_string(&path).map_err(about)?;
        serde_json::from_str(&text).map_err(io::Error::other).map_err(about)
    }

    /// Writes `DIR/devnet.json`, whole or not at all.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn save(&self) -> io::Result<()> {
        let path = self.dir.join(FILE_NAME);
        let partial = path.with_extension("json.partial");
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        fs::write(&partial, text + "\n")?;
        fs::rename(partial, path)
    }

    /// The key file of an organisation's role.
    #[must_use]
    pub fn key(&self, organisation: &str, role: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.organisation == organisation && key.role == role)
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The first approver organisations, the first vendor, the site: what `up` made.
    #[must_use]
    pub fn organisations_with(&self, role: &str) -> Vec<&str> {
        self.keys.iter().filter(|key| key.role == role).map(|key| key.organisation.as_str()).collect()
    }
}

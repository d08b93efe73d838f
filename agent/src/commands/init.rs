//! `init`: a key and a configuration for a new host.

use super::new_host::{CONFIG, NewHost, SealWith, check_is_new};
use crate::failure::{Failure, USAGE};
use agent::config::{SOURCES_MAX, check_mirror, check_nodes};
use clap::Args;
use ledger::bounded::Name;
use ledger::genesis::Genesis;
use ledger::key::PublicKey;
use ledger::limits;
use serde::Serialize;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use terminal::Answer;

/// Largest file of TLS roots.
const CA_BYTES_MAX: usize = 256 * 1024;

/// Make a key and a configuration for this host; print the public key, which an operator enrols.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  countersign-agent init --dir /etc/countersign --name edge-1 \\
      --node https://ledger-a.example:7400 --ca roots.pem --genesis genesis
  # prints the public key; then, by an operator:
  countersign endpoint enroll PUBLIC_KEY --name edge-1 --group servers
  # a host without a network, patched out of somebody's hands:
  countersign-agent init --dir /etc/countersign --name edge-2 \\
      --artifacts /media/stick --genesis genesis

JSON: {\"public_key\"}
All of it is made, or nothing: what cannot be brought to its end takes away again what it made.")]
pub(super) struct Init {
    /// Where key and configuration go; data goes into `data` beneath.
    #[arg(long)]
    dir: PathBuf,
    /// What people call this host.
    #[arg(long)]
    name: Name,
    /// A node to follow, as https://HOST:PORT; give two or more.
    #[arg(long = "node", value_name = "URL")]
    nodes: Vec<String>,
    /// A web server to take artifacts from before the nodes are asked
    #[arg(long = "mirror", value_name = "URL")]
    mirrors: Vec<String>,
    /// A directory to take artifacts from before anybody else is asked. A host with such a source needs no node:
    /// people bring the proofs.
    #[arg(long = "artifacts", value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// The roots of the nodes' TLS certificates, PEM. Copied.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The genesis file, from somebody you trust. Copied.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    #[command(flatten)]
    seal: SealWith,
}

/// What was made.
#[derive(Serialize)]
struct Initialised {
    /// The public half of the host's key.
    public_key: PublicKey,
}

impl Init {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        check_is_new(&self.dir)?;
        self.check_nodes()?;
        let genesis = self.genesis.as_deref().map(|path| read(path, limits::BLOCK_BYTES_MAX)).transpose()?;
        if let (Some(bytes), Some(path)) = (&genesis, &self.genesis) {
            let block = Genesis::parse(bytes).map_err(|error| {
                let text = format!("{} is no genesis file: {error}", path.display());
                Failure::new(text, None, USAGE)
            })?;
            tracing::info!(ledger = %block.genesis.name, chain = %block.chain_id, "trust root");
        }
        let ca = self.ca.as_deref().map(|path| read(path, CA_BYTES_MAX)).transpose()?;
        if let Some(path) = self.ca.as_deref().filter(|_| !ca.as_deref().is_none_or(proto::are_certificates)) {
            let text = format!("{} has no certificates in PEM in it, or something else", path.display());
            let hint = "--ca takes the ca.pem that `countersign-node init` wrote for each node, one after the other";
            return Err(Failure::new(text, Some(hint.to_owned()), USAGE).called("no-certificate"));
        }
        // What was typed is meant from here; what stands in the file is meant from there.
        let from_here = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let directories: Vec<_> = self.directories.iter().map(from_here).collect();

        let seal = self.seal.sealing()?;
        let host = NewHost {
            dir: &self.dir,
            name: &self.name,
            nodes: &self.nodes,
            mirrors: &self.mirrors,
            directories: &directories,
            ca,
            genesis,
            seal: seal.as_ref(),
        };
        let (made, secret) = host.make()?;
        made.keep();
        let config = self.dir.join(CONFIG);
        tracing::info!(config = %config.display(), "written; enrol the public key, then subscribe to something");
        let public_key = secret.public();
        Ok(Answer::new(public_key.to_string(), &Initialised { public_key }))
    }

    fn check_nodes(&self) -> Result<(), Failure> {
        let wrong = |problem: String| Failure::new(format!("--node: {problem}"), None, USAGE);
        check_nodes(&self.nodes).map_err(wrong)?;
        // One that is asked twice is no second source: it could lie alone.
        let bare = |node: &String| node.trim_end_matches('/').to_owned();
        let twice = (1..self.nodes.len())
            .find(|place| self.nodes[..*place].iter().any(|other| bare(other) == bare(&self.nodes[*place])));
        if let Some(place) = twice {
            return Err(wrong(format!("{:?} twice: two sources are two nodes", self.nodes[place])));
        }
        let wrong = |problem: String| Failure::new(format!("--mirror: {problem}"), None, USAGE);
        self.mirrors.iter().try_for_each(|mirror| check_mirror(mirror).map(drop)).map_err(wrong)?;
        let sources = self.mirrors.len() + self.directories.len();
        match sources > SOURCES_MAX {
            true => Err(Failure::new(format!("{sources} sources, {SOURCES_MAX} at most"), None, USAGE)),
            false => Ok(()),
        }
    }
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::new(format!("{}: {error}", path.display()), None, USAGE))?;
    match bytes.len() > bytes_max {
        true => Err(Failure::new(format!("{}: more than {bytes_max} bytes", path.display()), None, USAGE)),
        false => Ok(bytes),
    }
}

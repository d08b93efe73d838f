//! `init`: a key and a configuration for a new host.

use super::print;
use crate::failure::{Failure, NO_VERDICT, OK, USAGE};
use agent::config::template::Template;
use agent::key;
use clap::Args;
use ledger::bounded::Name;
use ledger::genesis::Genesis;
use ledger::limits;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Largest file of TLS roots.
const CA_BYTES_MAX: usize = 256 * 1024;

/// Make a key and a configuration for this host; print the public key, which an operator enrols.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  countersign-agent init --dir /etc/countersign --name edge-1 \\
      --node https://ledger-a.example:7400 --ca roots.pem --genesis genesis
  # prints the public key; then, by an operator:
  countersign endpoint enroll PUBLIC_KEY --name edge-1 --group servers")]
pub(super) struct Init {
    /// Where key and configuration go; data goes into `data` beneath.
    #[arg(long)]
    dir: PathBuf,
    /// What people call this host.
    #[arg(long)]
    name: Name,
    /// A node to follow (https://…); give two or more.
    #[arg(long = "node", value_name = "URL")]
    nodes: Vec<String>,
    /// The roots of the nodes' TLS certificates, PEM. Copied.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The genesis file, from somebody you trust. Copied.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let config = self.dir.join("agent.toml");
        if config.exists() {
            let hint = "remove it, or choose another --dir".to_owned();
            return Err(Failure::new(format!("{} is there already", config.display()), Some(hint), USAGE));
        }
        let genesis = self.genesis.as_deref().map(|path| read(path, limits::BLOCK_BYTES_MAX)).transpose()?;
        if let (Some(bytes), Some(path)) = (&genesis, &self.genesis) {
            let block = Genesis::parse(bytes).map_err(|error| {
                let text = format!("{} is no genesis file: {error}", path.display());
                Failure::new(text, None, USAGE)
            })?;
            tracing::info!(ledger = %block.genesis.name, chain = %block.chain_id, "trust root");
        }
        let ca = self.ca.as_deref().map(|path| read(path, CA_BYTES_MAX)).transpose()?;

        let failed = |error: std::io::Error| failure(&self.dir, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(failed)?;
        let secret = key::generate()?;
        key::write(&self.dir.join("endpoint.key"), &secret)?;
        let genesis = genesis.map(|bytes| self.copy("genesis", &bytes)).transpose()?;
        let ca = ca.map(|bytes| self.copy("ca.pem", &bytes)).transpose()?;
        let nodes = &self.nodes;
        let template = Template { name: self.name.as_str(), nodes, ca: ca.as_deref(), genesis: genesis.as_deref() };
        self.copy("agent.toml", template.text().as_bytes())?;
        tracing::info!(config = %config.display(), "written; enrol the public key, then subscribe to something");
        print(&secret.public().to_string())?;
        Ok(OK.into())
    }

    /// Writes a file of the directory; its name, relative to it.
    fn copy(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        let mut options = OpenOptions::new();
        let written = options
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(|error| failure(&path, &error))?;
        Ok(PathBuf::from(name))
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

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()), None, NO_VERDICT)
}

//! `init`: a key and a configuration for a new host.

use crate::failure::{Failure, USAGE};
use agent::config::template::Template;
use agent::config::{SOURCES_MAX, check_mirror, check_nodes};
use agent::key::{self, KeyError};
use agent::{FileError, files};
use clap::Args;
use ledger::bounded::Name;
use ledger::genesis::Genesis;
use ledger::key::PublicKey;
use ledger::limits;
use serde::Serialize;
use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use terminal::Answer;

/// Largest file of TLS roots.
const CA_BYTES_MAX: usize = 256 * 1024;
/// The host's key.
const KEY: &str = "endpoint.key";
/// The configuration.
const CONFIG: &str = "agent.toml";

/// Make a key and a configuration for this host; print the public key, which an operator enrols.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  countersign-agent init --dir /etc/countersign --name edge-1 \\
      --node https://ledger-a.example:7400 --ca roots.pem --genesis genesis
  # prints the public key; then, by an operator:
  countersign endpoint enroll PUBLIC_KEY --name edge-1 --group servers
  # a host without a network, patched out of somebody's hands:
  countersign-agent init --dir /etc/countersign --name edge-2 --artifacts /media/stick --genesis genesis

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
}

/// What was made.
#[derive(Serialize)]
struct Initialised {
    /// The public half of the host's key.
    public_key: PublicKey,
}

impl Init {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        self.check_is_new()?;
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

        let mut made = Made::in_directory(&self.dir)?;
        let secret = key::generate()?;
        made.file(KEY, |path| key::write(path, &secret))?;
        let genesis = genesis.map(|bytes| made.copy("genesis", &bytes)).transpose()?;
        let ca = ca.map(|bytes| made.copy("ca.pem", &bytes)).transpose()?;
        let nodes = &self.nodes;
        let template = Template {
            name: self.name.as_str(),
            nodes,
            ca: ca.as_deref(),
            genesis: genesis.as_deref(),
            mirrors: &self.mirrors,
            directories: &directories,
        };
        made.copy(CONFIG, template.text().as_bytes())?;
        made.keep();
        let config = self.dir.join(CONFIG);
        tracing::info!(config = %config.display(), "written; enrol the public key, then subscribe to something");
        let public_key = secret.public();
        Ok(Answer::new(public_key.to_string(), &Initialised { public_key }))
    }

    /// Neither a configuration nor a key is there: another host's, or those of an `init` whose end nobody saw.
    fn check_is_new(&self) -> Result<(), Failure> {
        let there = |name: &str| Some(self.dir.join(name)).filter(|path| fs::symlink_metadata(path).is_ok());
        let is_there = |path: &Path, hint: &str| {
            Err(Failure::new(format!("{} is there already", path.display()), Some(hint.to_owned()), USAGE))
        };
        if let Some(config) = there(CONFIG) {
            return is_there(&config, "remove it, or choose another --dir");
        }
        match there(KEY) {
            Some(key) => is_there(
                &key,
                "choose another --dir; or remove it, if it is left of an `init` that was interrupted and its public \
                 key was enrolled nowhere",
            ),
            None => Ok(()),
        }
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

/// What was made of the directory so far. Unless it is kept it is taken away again: a host with half of it could
/// neither be used nor be made anew.
struct Made<'a> {
    directory: &'a Path,
    /// The directory itself was made.
    is_new: bool,
    files: Vec<PathBuf>,
}

impl<'a> Made<'a> {
    fn in_directory(directory: &'a Path) -> Result<Self, Failure> {
        let is_new = !directory.exists();
        let made = DirBuilder::new().recursive(true).mode(files::PRIVATE_DIR_MODE).create(directory);
        made.map_err(|source| failed(FileError { act: "create", path: directory.to_owned(), source }))?;
        Ok(Self { directory, is_new, files: Vec::new() })
    }

    /// Makes a file of the directory.
    fn file<E>(&mut self, name: &str, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), Failure>
    where
        KeyError: From<E>,
    {
        let path = self.directory.join(name);
        write(&path).map_err(|error| match KeyError::from(error) {
            KeyError::File(error) => failed(error),
            error => error.into(),
        })?;
        self.files.push(path);
        Ok(())
    }

    /// Makes a file of the directory that anybody may read; its name. One that is there already and says the same
    /// stays as it is.
    fn copy(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        if !fs::File::open(&path).is_ok_and(|file| is_same(file, bytes).unwrap_or(false)) {
            self.file(name, |path| files::create_new(path, bytes, files::PUBLIC_FILE_MODE))?;
        }
        Ok(PathBuf::from(name))
    }

    fn keep(mut self) {
        self.files.clear();
        self.is_new = false;
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for path in &self.files {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "left behind");
            }
        }
        if self.is_new {
            // Somebody may have put something there meanwhile: that is his.
            let _ = fs::remove_dir(self.directory);
        }
    }
}

fn is_same(file: fs::File, bytes: &[u8]) -> io::Result<bool> {
    let mut there = Vec::new();
    file.take(bytes.len() as u64 + 1).read_to_end(&mut there)?;
    Ok(there == bytes)
}

fn failed(error: FileError) -> Failure {
    let hint = match error.source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on that disk; nothing was left behind",
        io::ErrorKind::AlreadyExists => "move it away, or choose another --dir",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "choose a --dir you may write to",
        _ => "nothing was left behind",
    };
    Failure::from(error).with_hint(hint)
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

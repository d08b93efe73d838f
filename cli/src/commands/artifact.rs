//! `countersign artifact`: artifacts to where hosts can fetch them.

use super::subject::signed_patch;
use super::wait_for;
use crate::connection::{Connection, NodeError, parse_prefix};
use crate::failure::Failure;
use crate::files;
use crate::options::Global;
use crate::pack::read_packed;
use crate::shelf::Shelf;
use crate::tables::facts;
use clap::{Args, Subcommand};
use ledger::id::PatchId;
use ledger::patch::{Artifact, PatchManifest};
use proto::v1::{FetchRequest, FetchResponse};
use serde::Serialize;
use std::io::{self, Read};
use std::path::PathBuf;
use terminal::{Answer, note};
use tokio::sync::mpsc;

/// Messages between the socket and the checking thread.
const MESSAGES_MAX: usize = 2;

/// Copy artifacts to where hosts can fetch them.
#[derive(Debug, Subcommand)]
pub enum ArtifactCommand {
    /// Copy the artifacts of a patch into a directory that is a mirror, or is carried to hosts
    Export(Export),
}

/// Export the artifacts of a patch.
#[derive(Debug, Args)]
#[command(after_help = "\
The directory is laid out as mirrors are: XX/BLAKE3 with XX/BLAKE3.tree beside it, XX being the first two digits. Serve \
it by any web server, and hosts take its address as a source of kind \"mirror\"; or carry it to them, and they take it \
as one of kind \"directory\". Nobody has to trust it. What is there already stays.
JSON: {\"patch\", \"directory\", \"artifacts\": [{\"name\", \"size\", \"blake3\", \"copied\"}]}

Examples:
  countersign artifact export 3fa9 --out /srv/mirror
  countersign artifact export --packed redis-10 --out /media/stick")]
pub struct Export {
    /// The patch, or the beginning of its id; its artifacts are fetched from the node
    #[arg(value_name = "PATCH", value_parser = parse_prefix, required_unless_present = "packed")]
    patch: Option<String>,
    /// What `countersign patch pack` made, instead of a node
    #[arg(long, value_name = "DIR", conflicts_with = "patch")]
    packed: Option<PathBuf>,
    /// The directory; made where there is none
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Serialize)]
struct ExportView<'a> {
    patch: PatchId,
    directory: String,
    artifacts: Vec<ExportedView<'a>>,
}

#[derive(Serialize)]
struct ExportedView<'a> {
    name: &'a str,
    size: u64,
    blake3: String,
    copied: bool,
}

impl ArtifactCommand {
    pub(super) fn run(&self, global: &Global) -> Result<Answer, Failure> {
        match self {
            Self::Export(export) => wait_for(export.run(global)),
        }
    }
}

impl Export {
    async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let shelf = Shelf(&self.out);
        let missing = |manifest: &PatchManifest| -> Vec<Artifact> {
            manifest.artifacts.iter().filter(|artifact| !shelf.has(artifact)).cloned().collect()
        };
        let (manifest, copied) = match (&self.packed, &self.patch) {
            (Some(packed), _) => {
                let packed = read_packed(packed)?;
                let missing = missing(&packed.manifest);
                for artifact in &missing {
                    shelf.take_plain(artifact, files::open(&packed.artifact(&artifact.blake3), "artifact")?)?;
                }
                (packed.manifest, missing)
            }
            (None, named) => {
                let trust = global.trust()?;
                let mut connection = Connection::open(global, trust.as_ref()).await?;
                let id = connection.resolve_patch(named.as_deref().unwrap_or_default()).await?;
                let patch = connection.patch(id).await?;
                let manifest = signed_patch(&patch, id, &connection.chain_id)?.manifest().clone();
                let missing = missing(&manifest);
                for artifact in &missing {
                    self.fetch(&mut connection, artifact).await?;
                }
                (manifest, missing)
            }
        };
        Ok(self.answer(&manifest, &copied))
    }

    async fn fetch(&self, connection: &mut Connection, artifact: &Artifact) -> Result<(), Failure> {
        note(&format!("{}: fetching {} bytes", artifact.name, artifact.size));
        let request = FetchRequest { blake3: artifact.blake3.0.to_vec(), size: artifact.size, offset: 0, length: 0 };
        let mut stream = connection.artifacts.fetch(request).await.map_err(NodeError::from)?.into_inner();
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let mut broken = None;
        let reader = Messages { messages, message: io::Cursor::default() };
        let (directory, wanted) = (self.out.clone(), artifact.clone());
        let taking = tokio::task::spawn_blocking(move || Shelf(&directory).take_checked(&wanted, reader));
        loop {
            match stream.message().await {
                Ok(Some(FetchResponse { data })) => {
                    // Whoever checks has everything, or has seen enough.
                    if sender.send(data).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(status) => {
                    broken = Some(status);
                    break;
                }
            }
        }
        drop(sender);
        let taken = taking.await.map_err(|error| Failure::Runtime(io::Error::other(error)))?;
        // Where the node broke off, that is what there is to say; what came of it is only the echo.
        match (taken, broken) {
            (Err(_), Some(status)) => Err(NodeError::from(status).into()),
            (taken, _) => Ok(taken?),
        }
    }

    fn answer(&self, manifest: &PatchManifest, copied: &[Artifact]) -> Answer {
        let was_copied = |artifact: &Artifact| copied.iter().any(|copied| copied.blake3 == artifact.blake3);
        let artifacts = manifest.artifacts.iter().map(|artifact| ExportedView {
            name: artifact.name.as_str(),
            size: artifact.size,
            blake3: artifact.blake3.to_string(),
            copied: was_copied(artifact),
        });
        let view = ExportView {
            patch: manifest.id(),
            directory: self.out.display().to_string(),
            artifacts: artifacts.collect(),
        };
        let mut rows = vec![("patch", view.patch.to_string()), ("directory", view.directory.clone())];
        rows.extend(view.artifacts.iter().map(|artifact| {
            let did = if artifact.copied { "copied" } else { "was there" };
            (did, format!("{}, {} bytes", artifact.name, artifact.size))
        }));
        Answer::new(facts(&rows), &view)
    }
}

/// Reads what comes out of a channel.
struct Messages {
    messages: mpsc::Receiver<Vec<u8>>,
    message: io::Cursor<Vec<u8>>,
}

impl Read for Messages {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.message.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.messages.blocking_recv() {
                Some(message) => self.message = io::Cursor::new(message),
                None => return Ok(0),
            }
        }
    }
}

//! `countersign patch publish`: artifacts to the node, the patch into the ledger.

use super::deliver::deliver;
use crate::connection::{Connection, NodeError};
use crate::failure::Failure;
use crate::files::{self, FileError};
use crate::options::{Global, Signing};
use crate::pack::read_packed;
use crate::sign::{SignedPatch, Signer};
use crate::submit;
use crate::tables::short;
use crate::view::signed_patch_text;
use clap::Args;
use keyring::KeyRole;
use ledger::artifact::SignedUploadGrant;
use ledger::encoding::encode;
use ledger::patch::Artifact;
use ledger::transaction::Payload;
use proto::v1::upload_request::Part;
use proto::v1::{StatRequest, UploadRequest};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use terminal::{Answer, note};

/// Payload bytes of one upload message.
const UPLOAD_BYTES: usize = 256 * 1024;

/// Publish a patch.
#[derive(Debug, Args)]
#[command(after_help = "\
Signs the patch and asks the node whether it may be published, uploads the artifacts the node does not have yet, and \
waits until the patch is finalised. What is signed is shown first; when it is refused, nothing is uploaded. With --offline nothing is uploaded: FILE holds the signed transaction and FILE.BLAKE3.grant, for each \
artifact, the leave to upload it; `countersign submit FILE --artifacts DIR` does both later.
JSON: {\"patch\", \"transaction\", \"position\": {\"height\", \"index\", \"time_ms\"}}, or \"file\" with --offline

Example:
  countersign patch publish redis-10 --key vendor.key")]
pub struct Publish {
    /// What `countersign patch pack` made
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    signing: Signing,
}

impl Publish {
    pub(super) async fn run(&self, global: &Global) -> Result<Answer, Failure> {
        let signer = Signer::new(global, &self.signing, &[KeyRole::Publisher])?;
        let packed = read_packed(&self.directory)?;
        let manifest = packed.manifest.clone();
        let transaction = signer.sign(Payload::Publish { manifest })?;
        let patch = SignedPatch::of(transaction.clone(), packed.manifest.id()).expect("it was just signed");
        note(&format!("This is what is published:\n{}", signed_patch_text(&patch, Some(&signer.trust))));
        let mut connection = match self.signing.offline {
            true => None,
            false => Some(Connection::open(global, Some(&signer.trust)).await?),
        };
        if let Some(connection) = &mut connection {
            submit::check(connection, &transaction).await?;
        }
        for artifact in packed.manifest.artifacts.iter() {
            let grant = signer.grant(artifact);
            match (&mut connection, &self.signing.out) {
                (Some(connection), _) => {
                    upload(connection, artifact, &packed.artifact(&artifact.blake3), &grant).await?;
                }
                (None, Some(out)) => {
                    files::write_new(&grant_path(out, artifact), &encode(&grant), files::PUBLIC_MODE)?;
                }
                (None, None) => {}
            }
        }
        let delivered = deliver(connection.as_mut(), &self.signing, &transaction).await?;
        if delivered.file.is_some() {
            note("The artifacts are not uploaded: `countersign submit FILE --artifacts DIR` does that, too.");
        }
        Ok(delivered.answer("published"))
    }
}

/// Where the leave to upload an artifact is written beside a transaction that is only signed.
pub(super) fn grant_path(transaction: &Path, artifact: &Artifact) -> PathBuf {
    let mut name = transaction.as_os_str().to_owned();
    name.push(format!(".{}.grant", short(&artifact.blake3)));
    name.into()
}

/// Uploads an artifact unless the node has it.
pub(super) async fn upload(
    connection: &mut Connection,
    artifact: &Artifact,
    path: &Path,
    grant: &SignedUploadGrant,
) -> Result<(), Failure> {
    if has(connection, artifact).await? {
        note(&format!("{}: the node has it", artifact.name));
        return Ok(());
    }
    note(&format!("{}: uploading {} bytes", artifact.name, artifact.size));
    let failed = Arc::new(Mutex::new(None));
    let parts = Parts {
        grant: Some(encode(grant)),
        file: files::open(path, "artifact")?,
        left: artifact.size,
        failed: Arc::clone(&failed),
        progress: Progress::new(artifact, Instant::now()),
    };
    let answer = connection.artifacts.upload(tokio_stream::iter(parts)).await;
    // When our own disk failed the stream was cut short; the node's refusal is only the echo.
    if let Some(source) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(FileError::Read { what: "artifact", path: path.to_owned(), source }.into());
    }
    let answer = answer.map_err(NodeError::from)?.into_inner();
    if answer.blake3 != artifact.blake3.as_bytes() || answer.size != artifact.size {
        return Err(NodeError::Unbelievable(format!("it stored something else than {}", artifact.name)).into());
    }
    Ok(())
}

/// Whether the node has all of an artifact.
pub(super) async fn has(connection: &mut Connection, artifact: &Artifact) -> Result<bool, NodeError> {
    let request = StatRequest { blake3: artifact.blake3.as_bytes().to_vec() };
    match connection.artifacts.stat(request).await {
        Ok(answer) => Ok(answer.into_inner().complete),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
        Err(status) => Err(status.into()),
    }
}

/// The messages of one upload: the grant, then the payload in order.
struct Parts {
    grant: Option<Vec<u8>>,
    file: File,
    left: u64,
    failed: Arc<Mutex<Option<io::Error>>>,
    progress: Progress,
}

/// How often is told how far an upload is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How far an upload is, for the person who waits.
struct Progress {
    name: String,
    size: u64,
    told: Instant,
}

impl Progress {
    fn new(artifact: &Artifact, now: Instant) -> Self {
        Self { name: artifact.name.to_string(), size: artifact.size, told: now }
    }

    /// A line, when it is time for one.
    fn line(&mut self, left: u64, now: Instant) -> Option<String> {
        if now.saturating_duration_since(self.told) < PROGRESS_INTERVAL {
            return None;
        }
        self.told = now;
        let sent = self.size.saturating_sub(left);
        let percent = u128::from(sent) * 100 / u128::from(self.size.max(1));
        Some(format!("{}: {sent} of {} bytes sent, {percent} %", self.name, self.size))
    }
}

impl Iterator for Parts {
    type Item = UploadRequest;

    fn next(&mut self) -> Option<UploadRequest> {
        if let Some(grant) = self.grant.take() {
            return Some(UploadRequest { part: Some(Part::Grant(grant)) });
        }
        if self.left == 0 {
            return None;
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(UPLOAD_BYTES);
        let mut data = vec![0; length];
        match self.file.read_exact(&mut data) {
            Ok(()) => {
                self.left -= length as u64;
                if let Some(line) = self.progress.line(self.left, Instant::now()) {
                    note(&line);
                }
                Some(UploadRequest { part: Some(Part::Data(data)) })
            }
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_an_upload_is_is_told_every_few_seconds() {
        let start = Instant::now();
        let mut progress = Progress { name: "redis.tar".to_owned(), size: 300, told: start };
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(progress.line(299, after(4)), None);
        assert_eq!(progress.line(200, after(5)).as_deref(), Some("redis.tar: 100 of 300 bytes sent, 33 %"));
        assert_eq!(progress.line(199, after(9)), None);
        assert_eq!(progress.line(0, after(10)).as_deref(), Some("redis.tar: 300 of 300 bytes sent, 100 %"));
    }
}

//! The `Artifacts` service.

use super::refusal::Refused;
use super::{Services, bytes32, wall_ms};
use crate::artifacts::{self, Incoming, pieces};
use ledger::artifact::SignedUploadGrant;
use ledger::id::Digest;
use ledger::state::StateView as _;
use ledger::state::record::{KeyStatus, Role};
use proto::v1::{
    FetchRequest, FetchResponse, StatRequest, StatResponse, UploadRequest, UploadResponse, artifacts_server,
    upload_request::Part,
};
use std::io::Write as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

/// Payload bytes of one upload message.
const UPLOAD_PIECE_BYTES_MAX: usize = 256 * 1024;
/// How long an uploader may be silent.
const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(30);

#[tonic::async_trait]
impl artifacts_server::Artifacts for Services {
    async fn stat(&self, request: Request<StatRequest>) -> Result<Response<StatResponse>, Status> {
        let blake3 = Digest(bytes32("blake3", &request.into_inner().blake3)?);
        let size = self.artifacts.size(&blake3).map_err(Refused::from)?;
        Ok(Response::new(StatResponse { complete: size.is_some(), size: size.unwrap_or(0) }))
    }

    type FetchStream = ReceiverStream<Result<FetchResponse, Status>>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let FetchRequest { blake3, size, offset, length } = request.into_inner();
        let blake3 = Digest(bytes32("blake3", &blake3)?);
        let have = self.artifacts.size(&blake3).map_err(Refused::from)?;
        let Some(have) = have else { return Err(Refused::from(artifacts::ArtifactError::Absent(blake3)).into()) };
        if have != size {
            let error = artifacts::ArtifactError::Length { blake3, expected: size, actual: have };
            return Err(Refused::from(error).into());
        }
        let Some(transfer) = self.artifacts.transfer_to_client() else {
            let message = format!("{} transfers are under way, no more are begun now", artifacts::TRANSFERS_MAX);
            return Err(Refused::busy(message).into());
        };
        let (mut writer, mut pieces) = pieces();
        let store = self.artifacts.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            let _transfer = transfer;
            store.encode(&blake3, offset, length, &mut writer)?;
            Ok::<_, artifacts::ArtifactError>(writer.flush()?)
        });
        let (answers, stream) = mpsc::channel(2);
        tokio::spawn(async move {
            while let Some(data) = pieces.recv().await {
                // A client that went away, or takes nothing, needs no more.
                let taken = timeout(artifacts::SILENCE_MAX, answers.send(Ok(FetchResponse { data }))).await;
                if !matches!(taken, Ok(Ok(()))) {
                    return;
                }
            }
            let error = match encoding.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => Refused::from(error),
                Err(_) => Refused::stopping(),
            };
            // A client that went away needs no error.
            let _ = answers.send(Err(error.into())).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Result<Response<UploadResponse>, Status> {
        let mut messages = request.into_inner();
        let first = next(&mut messages).await?;
        let Some(UploadRequest { part: Some(Part::Grant(grant)) }) = first else {
            return Err(Refused::invalid("grant", "the first message must be the upload grant").into());
        };
        let mut incoming = self.admit_upload(&grant)?;
        let (blake3, size) = (incoming.blake3(), incoming.size());
        if self.artifacts.size(&blake3).map_err(Refused::from)? == Some(size) {
            return Ok(Response::new(UploadResponse { blake3: blake3.0.to_vec(), size }));
        }
        while let Some(message) = next(&mut messages).await? {
            let Some(Part::Data(data)) = message.part else {
                return Err(Refused::invalid("grant", "only one grant per upload").into());
            };
            if data.len() > UPLOAD_PIECE_BYTES_MAX {
                let message = format!("a piece of {} bytes, at most {UPLOAD_PIECE_BYTES_MAX}", data.len());
                return Err(Refused::invalid("size", message).into());
            }
            incoming.write(&data).map_err(Refused::from)?;
        }
        let store = self.artifacts.clone();
        let kept = tokio::task::spawn_blocking(move || store.keep(incoming)).await;
        kept.map_err(|_| Refused::stopping())?.map_err(Refused::from)?;
        Ok(Response::new(UploadResponse { blake3: blake3.0.to_vec(), size }))
    }
}

async fn next(messages: &mut Streaming<UploadRequest>) -> Result<Option<UploadRequest>, Status> {
    match timeout(UPLOAD_SILENCE_MAX, messages.next()).await {
        Ok(message) => message.transpose(),
        Err(_) => Err(Refused::new(Code::DeadlineExceeded, "slow", "the upload fell silent", "upload again").into()),
    }
}

impl Services {
    /// Only an active publisher's key opens the door, and only for what its grant says.
    fn admit_upload(&self, grant: &[u8]) -> Result<Incoming, Refused> {
        let grant = SignedUploadGrant::verify_bytes(grant, &self.chain_id, wall_ms())?;
        let owner = self.store.key_owner(grant.publisher).map_err(Refused::internal)?;
        if owner.is_none_or(|owner| owner.role != Role::Publisher || owner.status != KeyStatus::Active) {
            let message = format!("key {} is no active publisher's", grant.publisher);
            return Err(Refused::new(Code::PermissionDenied, "wrong-role", message, "sign with a publisher's key"));
        }
        if !artifacts::is_storable(grant.size) {
            return Err(Refused::invalid("size", format!("an artifact of {} bytes", grant.size)));
        }
        Ok(self.artifacts.receive(grant.blake3, grant.size)?)
    }
}

//! The artifact service of the double.

use super::{Answer, Double, NoStream, bytes32, now_ms, refused};
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::encode_ranges_validated;
use bao_tree::{BlockSize, ChunkRanges};
use ledger::artifact::SignedUploadGrant;
use ledger::id::Digest;
use proto::v1::artifacts_server::Artifacts;
use proto::v1::upload_request::Part;
use proto::v1::{FetchRequest, FetchResponse, StatRequest, StatResponse, UploadRequest, UploadResponse};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Streaming};

#[tonic::async_trait]
impl Artifacts for Double {
    async fn stat(&self, request: Request<StatRequest>) -> Answer<StatResponse> {
        let blake3 = bytes32(&request.into_inner().blake3)?;
        let size = self.lock().artifacts.get(&blake3).map(|payload| payload.len() as u64);
        Ok(Response::new(StatResponse { complete: size.is_some(), size: size.unwrap_or(0) }))
    }

    type FetchStream = NoStream<FetchResponse>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Answer<Self::FetchStream> {
        let blake3 = bytes32(&request.into_inner().blake3)?;
        let found = self.lock().artifacts.get(&blake3).cloned();
        let payload = found.ok_or_else(|| refused("artifact-unavailable", "not here"))?;
        let tree = PreOrderMemOutboard::create(&payload, BlockSize::from_chunk_log(4));
        let mut encoded = Vec::new();
        encode_ranges_validated(payload.as_slice(), &tree, &ChunkRanges::all(), &mut encoded).unwrap();
        let pieces: Vec<_> = encoded.chunks(20_000).map(|data| Ok(FetchResponse { data: data.to_vec() })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Answer<UploadResponse> {
        let mut messages = request.into_inner();
        let (mut grant, mut payload) = (None, Vec::new());
        while let Some(message) = messages.next().await {
            match message?.part {
                Some(Part::Grant(bytes)) if grant.is_none() => {
                    let chain = self.lock().ledger.scenario.chain_id();
                    let checked = SignedUploadGrant::verify_bytes(&bytes, &chain, now_ms());
                    grant = Some(checked.map_err(|error| refused("grant", error))?);
                }
                Some(Part::Data(data)) if data.len() <= 256 * 1024 => payload.extend(data),
                _ => return Err(refused("malformed", "a message out of order or too large")),
            }
        }
        let grant = grant.ok_or_else(|| refused("grant", "no grant"))?;
        if Digest::blake3(&payload) != grant.blake3 || payload.len() as u64 != grant.size {
            return Err(refused("artifact-digest", "not what the grant says"));
        }
        let mut shared = self.lock();
        shared.manners.uploads += 1;
        shared.artifacts.insert(grant.blake3.0, payload);
        Ok(Response::new(UploadResponse { blake3: grant.blake3.0.to_vec(), size: grant.size }))
    }
}

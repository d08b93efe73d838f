//! The `Ledger` service: what each call does.

use super::admission::ALREADY_FINALISED;
use super::connections::Client;
use super::refusal::Refused;
use super::{Services, bytes32, convictions, membership, patches, views};
use crate::desk::{Outcome, Place};
use crate::origin::Origin;
use crate::proof;
use futures::StreamExt as _;
use ledger::encoding::encode;
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::state::StateView as _;
use proto::v1::{self, TransactionState, ledger_server};
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

/// How long a client may wait for finality in one call.
const WAIT_MS_MAX: u64 = 60_000;
/// Transactions of one stream verified together.
const STREAM_BATCH_MAX: usize = 128;

type Answer<T> = Result<Response<T>, Status>;
type AnswerStream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ledger_server::Ledger for Services {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        Ok(Response::new(views::status(self)?))
    }

    async fn get_genesis(&self, _: Request<v1::GetGenesisRequest>) -> Answer<v1::GetGenesisResponse> {
        Ok(Response::new(v1::GetGenesisResponse { genesis: self.store.genesis_bytes().to_vec() }))
    }

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        let origin = Client::origin_of(Client::of(request.extensions()));
        let v1::SubmitRequest { transaction, wait_ms } = request.into_inner();
        Ok(Response::new(self.take_in(origin, transaction, wait_ms).await?))
    }

    type SubmitStreamStream = AnswerStream<v1::SubmitStreamResponse>;

    async fn submit_stream(&self, request: Request<Streaming<v1::SubmitRequest>>) -> Answer<Self::SubmitStreamStream> {
        let (services, intake) = (self.clone(), self.intake.clone());
        let origin = Client::origin_of(Client::of(request.extensions()));
        let transactions = request.into_inner().map(move |request| {
            let transaction = request?.transaction;
            let held = intake.take(origin, transaction.len())?;
            Ok::<_, Status>((transaction, held))
        });
        let answers = transactions.ready_chunks(STREAM_BATCH_MAX).then(move |batch| {
            let services = services.clone();
            async move {
                let batch: Vec<_> = batch.into_iter().collect::<Result<_, _>>()?;
                let (transactions, _held): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                services.submit_batch(origin, transactions).await
            }
        });
        let answers = answers.flat_map(|batch| {
            futures::stream::iter(match batch {
                Ok(answers) => answers.into_iter().map(Ok).collect(),
                Err(status) => vec![Err(status)],
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn check(&self, request: Request<v1::CheckRequest>) -> Answer<v1::CheckResponse> {
        let origin = Client::origin_of(Client::of(request.extensions()));
        let welcome = self.welcome_one(origin, request.into_inner().transaction).await?;
        self.judge(&welcome.transaction)?;
        Ok(Response::new(v1::CheckResponse { id: welcome.transaction.id().0.to_vec() }))
    }

    async fn get_transaction(&self, request: Request<v1::GetTransactionRequest>) -> Answer<v1::GetTransactionResponse> {
        let id = TransactionId(bytes32("id", &request.into_inner().id)?);
        let pending = self.desk.is_pending(&id);
        let view = self.store.view();
        let located = view.transaction(&id).map_err(Refused::internal)?;
        let answer = match located {
            Some(located) => v1::GetTransactionResponse {
                state: TransactionState::Finalised.into(),
                position: Some(v1::Position { height: located.height, index: located.index, time_ms: located.time_ms }),
                transaction: located.bytes,
                inclusion: proof::include(&view, located.index)
                    .map_err(Refused::internal)?
                    .map(|inclusion| encode(&inclusion))
                    .unwrap_or_default(),
            },
            None if pending => {
                v1::GetTransactionResponse { state: TransactionState::Pending.into(), ..Default::default() }
            }
            None => v1::GetTransactionResponse::default(),
        };
        Ok(Response::new(answer))
    }

    async fn get_head(&self, _: Request<v1::GetHeadRequest>) -> Answer<v1::Head> {
        let head = views::head(self)?;
        Ok(Response::new(v1::Head { poll_after_ms: self.followers.asked(head.poll_after_ms), ..head }))
    }

    type WatchHeadsStream = AnswerStream<v1::Head>;

    async fn watch_heads(&self, request: Request<v1::WatchHeadsRequest>) -> Answer<Self::WatchHeadsStream> {
        let place = self.followers.place(Client::origin_of(Client::of(request.extensions())))?;
        let services = self.clone();
        let heads = WatchStream::new(self.desk.watch_head());
        Ok(Response::new(Box::pin(heads.map(move |_| {
            let _held = &place;
            Ok(views::head(&services)?)
        }))))
    }

    async fn get_block(&self, request: Request<v1::GetBlockRequest>) -> Answer<v1::GetBlockResponse> {
        let height = request.into_inner().height;
        let block = self.store.block(height).map_err(Refused::internal)?;
        let (block, certificate) = block.ok_or_else(|| Refused::not_found(format!("no block {height} here")))?;
        let certificate = certificate.map(|certificate| encode(&certificate)).unwrap_or_default();
        Ok(Response::new(v1::GetBlockResponse { block, certificate }))
    }

    async fn list_blocks(&self, request: Request<v1::ListBlocksRequest>) -> Answer<v1::ListBlocksResponse> {
        Ok(Response::new(views::blocks(self, &request.into_inner())?))
    }

    async fn get_epochs(&self, request: Request<v1::GetEpochsRequest>) -> Answer<v1::GetEpochsResponse> {
        Ok(Response::new(membership::epochs(self, request.into_inner().from_height)?))
    }

    async fn list_members(&self, _: Request<v1::ListMembersRequest>) -> Answer<v1::ListMembersResponse> {
        Ok(Response::new(membership::members(self)?))
    }

    async fn get_proposal(&self, request: Request<v1::GetProposalRequest>) -> Answer<v1::Proposal> {
        let id = TransactionId(bytes32("id", &request.into_inner().id)?);
        let record = self.store.proposal(id).map_err(Refused::internal)?;
        let record = record.ok_or_else(|| Refused::not_found(format!("there is no proposal {id}")))?;
        Ok(Response::new(membership::proposal(self, id, &record)?))
    }

    async fn list_proposals(&self, request: Request<v1::ListProposalsRequest>) -> Answer<v1::ListProposalsResponse> {
        Ok(Response::new(membership::proposals(self, &request.into_inner())?))
    }

    async fn list_convictions(
        &self,
        request: Request<v1::ListConvictionsRequest>,
    ) -> Answer<v1::ListConvictionsResponse> {
        Ok(Response::new(convictions::convictions(self, &request.into_inner())?))
    }

    async fn get_patch(&self, request: Request<v1::GetPatchRequest>) -> Answer<v1::Patch> {
        let id = PatchId(bytes32("id", &request.into_inner().id)?);
        let record = self.store.patch(id).map_err(Refused::internal)?;
        let record = record.ok_or_else(|| Refused::not_found(format!("patch {id} is not published")))?;
        Ok(Response::new(patches::patch(self, id, &record)?))
    }

    async fn list_patches(&self, request: Request<v1::ListPatchesRequest>) -> Answer<v1::ListPatchesResponse> {
        Ok(Response::new(patches::patches(self, &request.into_inner())?))
    }

    async fn list_endpoints(&self, request: Request<v1::ListEndpointsRequest>) -> Answer<v1::ListEndpointsResponse> {
        Ok(Response::new(views::endpoints(self, &request.into_inner())?))
    }

    async fn list_receipts(&self, request: Request<v1::ListReceiptsRequest>) -> Answer<v1::ListReceiptsResponse> {
        Ok(Response::new(views::receipts(self, &request.into_inner())?))
    }

    type GetSnapshotStream = AnswerStream<v1::SnapshotPart>;

    async fn get_snapshot(&self, request: Request<v1::GetSnapshotRequest>) -> Answer<Self::GetSnapshotStream> {
        let origin = Client::origin_of(Client::of(request.extensions()));
        Ok(Response::new(Box::pin(self.snapshots.stream(self.store.clone(), origin)?)))
    }

    async fn get_proof(&self, request: Request<v1::GetProofRequest>) -> Answer<v1::GetProofResponse> {
        let id = PatchId(bytes32("patch", &request.into_inner().patch)?);
        let proof = proof::assemble(&self.store.view(), id).map_err(Refused::from)?;
        Ok(Response::new(v1::GetProofResponse { proof }))
    }
}

impl Services {
    /// Takes in one transaction, and waits until it is final, at most so long.
    pub(super) async fn take_in(
        &self,
        origin: Origin,
        transaction: Vec<u8>,
        wait_ms: u64,
    ) -> Result<v1::SubmitResponse, Refused> {
        // Until it was offered: from then on it is the pool's.
        let held = self.intake.take(origin, transaction.len())?;
        let welcome = self.welcome_one(origin, transaction).await?;
        let id = welcome.transaction.id();
        if let Some(place) = self.finalised(&id)? {
            return Ok(submitted(id, Some(place)));
        }
        let finality = if wait_ms > 0 { self.desk.await_finality(id) } else { None };
        let admitted = self.offer(vec![welcome]).await?.pop().unwrap_or_else(|| Err(Refused::stopping()));
        drop(held);
        if let Err(refused) = admitted {
            drop(finality);
            // It may have been finalised between the look and the offer.
            let place = if refused.refusal.check == ALREADY_FINALISED { self.finalised(&id)? } else { None };
            return match place {
                Some(place) => Ok(submitted(id, Some(place))),
                None => Err(refused),
            };
        }
        let Some(mut finality) = finality else { return Ok(submitted(id, None)) };
        let wait = Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        let outcome: Option<Outcome> = match tokio::time::timeout(wait, finality.outcome()).await {
            Ok(outcome) => Some(outcome.ok_or_else(Refused::stopping)?),
            Err(_) => None,
        };
        match outcome.transpose() {
            Ok(place) => Ok(submitted(id, place)),
            Err(rejection) => Err(rejection.into()),
        }
    }
}

fn submitted(id: TransactionId, place: Option<Place>) -> v1::SubmitResponse {
    let state = if place.is_some() { TransactionState::Finalised } else { TransactionState::Pending };
    v1::SubmitResponse { id: id.0.to_vec(), state: state.into(), position: place.map(position) }
}

fn position(place: Place) -> v1::Position {
    v1::Position { height: place.height, index: place.index, time_ms: place.time_ms }
}

/// A key from a request.
pub(super) fn key(field: &str, bytes: &[u8]) -> Result<Option<PublicKey>, Refused> {
    if bytes.is_empty() { Ok(None) } else { Ok(Some(PublicKey(bytes32(field, bytes)?))) }
}

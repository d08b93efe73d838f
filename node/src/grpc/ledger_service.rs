//! The `Ledger` service: what each call does.

use super::connections::Client;
use super::refusal::Refused;
use super::{Services, bytes32, convictions, membership, patches, views, wall_ms};
use crate::desk::{Asked, Outcome, Place};
use crate::proof;
use consensus::member::{Event, NoRoom};
use futures::StreamExt as _;
use ledger::bounded::Name;
use ledger::encoding::encode;
use ledger::id::{PatchId, TransactionId};
use ledger::key::PublicKey;
use ledger::state::{ApplyError, BlockContext, State, StateView as _};
use ledger::transaction::{SignedTransaction, VerifiedTransaction};
use proto::v1::{self, TransactionState, ledger_server};
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

/// How long a client may wait for finality in one call.
const WAIT_MS_MAX: u64 = 60_000;
/// The check of a transaction that came too late to be admitted because it is final already.
const ALREADY_FINALISED: &str = "already-finalised";
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
        // Until it was offered: from then on it is the pool's.
        let held = self.intake.take(origin, transaction.len())?;
        let transaction = match self.verify(vec![transaction]).await?.pop() {
            Some(verified) => verified?,
            None => return Err(Refused::stopping().into()),
        };
        let id = transaction.id();
        if let Some(place) = self.finalised(&id)? {
            return Ok(Response::new(submitted(id, Some(place))));
        }
        let finality = if wait_ms > 0 { self.desk.await_finality(id) } else { None };
        let admitted = self.offer(vec![transaction]).await?.pop().unwrap_or_else(|| Err(Refused::stopping()));
        drop(held);
        if let Err(refused) = admitted {
            drop(finality);
            // It may have been finalised between the look and the offer.
            let place = if refused.refusal.check == ALREADY_FINALISED { self.finalised(&id)? } else { None };
            return match place {
                Some(place) => Ok(Response::new(submitted(id, Some(place)))),
                None => Err(refused.into()),
            };
        }
        let Some(mut finality) = finality else { return Ok(Response::new(submitted(id, None))) };
        let wait = Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        let outcome: Option<Outcome> = match tokio::time::timeout(wait, finality.outcome()).await {
            Ok(outcome) => Some(outcome.ok_or_else(Refused::stopping)?),
            Err(_) => None,
        };
        match outcome.transpose() {
            Ok(place) => Ok(Response::new(submitted(id, place))),
            Err(rejection) => Err(Refused::from(rejection).into()),
        }
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
                services.submit_batch(transactions).await
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
        let transaction = match self.verify(vec![request.into_inner().transaction]).await?.pop() {
            Some(verified) => verified?,
            None => return Err(Refused::stopping().into()),
        };
        self.judge(&transaction)?;
        Ok(Response::new(v1::CheckResponse { id: transaction.id().0.to_vec() }))
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
        Ok(Response::new(views::head(self)?))
    }

    type WatchHeadsStream = AnswerStream<v1::Head>;

    async fn watch_heads(&self, _: Request<v1::WatchHeadsRequest>) -> Answer<Self::WatchHeadsStream> {
        let services = self.clone();
        let heads = WatchStream::new(self.desk.watch_head());
        Ok(Response::new(Box::pin(heads.map(move |_| Ok(views::head(&services)?)))))
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
    /// Parses and verifies. What there is no room for is refused unread, by whose it claims to be:
    /// under load, a signature costs more than anything else.
    async fn verify(&self, transactions: Vec<Vec<u8>>) -> Result<Vec<Result<VerifiedTransaction, Refused>>, Refused> {
        let crowd = self.desk.crowd();
        let mut room = Vec::with_capacity(transactions.len());
        let mut welcome = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            let owner = if crowd.organisations.is_empty() { None } else { self.claimed_owner(&transaction)? };
            // What is known already needs no room: whoever asks again is answered for it.
            room.push(match crowd.room_for(owner.as_ref()) {
                Err(_) if self.is_known(&transaction)? => Ok(()),
                room => room,
            });
            if room.last().is_some_and(Result::is_ok) {
                welcome.push(transaction);
            }
        }
        let mut verified = self.verifier.each(welcome).await.map_err(|_| Refused::stopping())?.into_iter();
        let verdict = |room: Result<(), NoRoom>| {
            room?;
            let verdict = verified.next().ok_or_else(Refused::stopping)?;
            Ok(verdict?)
        };
        Ok(room.into_iter().map(verdict).collect())
    }

    /// What the rules say of a transaction as the state is now.
    fn judge(&self, transaction: &VerifiedTransaction) -> Result<(), Refused> {
        let view = self.store.view();
        let header = view.tip().map_err(Refused::internal)?.header;
        let (height, history_size) = (header.height + 1, header.history_size_after());
        let block = BlockContext { height, time_ms: wall_ms().max(header.time_ms + 1), history_size };
        match State::begin(&view, block).check(transaction) {
            Ok(()) => Ok(()),
            Err(ApplyError::Rejected(rejection)) => Err(rejection.into()),
            Err(ApplyError::Storage(error)) => Err(Refused::internal(error)),
        }
    }

    fn is_known(&self, transaction: &[u8]) -> Result<bool, Refused> {
        let Some(id) = SignedTransaction::claimed_id(transaction) else { return Ok(false) };
        Ok(self.desk.is_pending(&id) || self.finalised(&id)?.is_some())
    }

    /// The organisation whose signature bytes claim to have.
    fn claimed_owner(&self, transaction: &[u8]) -> Result<Option<Name>, Refused> {
        let Some(signer) = SignedTransaction::claimed_signer(transaction) else { return Ok(None) };
        if let Some(owner) = self.store.key_owner(signer).map_err(Refused::internal)? {
            return Ok(Some(owner.organisation));
        }
        let endpoint = self.store.endpoint(signer).map_err(Refused::internal)?;
        Ok(endpoint.map(|endpoint| endpoint.organisation))
    }

    /// Offers to the core; one answer each.
    async fn offer(&self, transactions: Vec<VerifiedTransaction>) -> Result<Vec<Result<(), Refused>>, Refused> {
        let asked: Vec<_> = transactions.iter().map(|_| self.desk.ticket()).collect();
        let offers = transactions.into_iter().zip(asked.iter().map(Asked::ticket)).collect();
        self.events.send(Event::Offered(offers)).await.map_err(|_| Refused::stopping())?;
        let mut results = Vec::with_capacity(asked.len());
        for asked in asked {
            results.push(asked.answer().await.map_or_else(|| Err(Refused::stopping()), |it| it.map_err(Refused::from)));
        }
        Ok(results)
    }

    async fn submit_batch(&self, transactions: Vec<Vec<u8>>) -> Result<Vec<v1::SubmitStreamResponse>, Status> {
        let verified = self.verify(transactions).await?;
        let good = verified.iter().filter_map(|verified| verified.as_ref().ok().cloned()).collect();
        let mut admitted = self.offer(good).await?.into_iter();
        let answers = verified.into_iter().map(|verified| {
            let (id, result) = match verified {
                Ok(transaction) => {
                    let result = admitted.next().unwrap_or_else(|| Err(Refused::stopping()));
                    let is_final = |refused: &Refused| refused.refusal.check == ALREADY_FINALISED;
                    (
                        transaction.id().0.to_vec(),
                        result.or_else(|refused| if is_final(&refused) { Ok(()) } else { Err(refused) }),
                    )
                }
                Err(refused) => (Vec::new(), Err(refused)),
            };
            v1::SubmitStreamResponse { id, refusal: result.err().map(|refused| refused.refusal) }
        });
        Ok(answers.collect())
    }

    fn finalised(&self, id: &TransactionId) -> Result<Option<Place>, Refused> {
        let located = self.store.transaction(id).map_err(Refused::internal)?;
        Ok(located.map(|located| Place { height: located.height, index: located.index, time_ms: located.time_ms }))
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

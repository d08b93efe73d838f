//! A stand-in for a node: the services an agent uses, honest or as dishonest as a test wants.

use super::ledger::Ledger;
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::encode_ranges_validated;
use bao_tree::{BlockSize, ChunkNum, ChunkRanges};
use ledger::block::Header;
use ledger::encoding::encode;
use ledger::id::{Digest, PatchId, TransactionId};
use ledger::state::storage::StateStorage as _;
use ledger::state::{Rejection, StateView as _};
use ledger::transaction::{Payload, SignedTransaction};
use proto::v1::{self, artifacts_server, ledger_server};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tests::Scenario;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

/// How a node serves artifacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Artifacts {
    /// As it should.
    #[default]
    Honest,
    /// It has none.
    Missing,
    /// One bit is wrong in the byte at this place of the artifact.
    FlipAt(usize),
    /// It has a shorter one under this digest.
    Shorter,
    /// The stream ends after so many bytes.
    EndsAfter(usize),
    /// The stream breaks after so many bytes.
    BreaksAfter(usize),
    /// So many bytes, and then nothing more happens.
    HangsAfter(usize),
    /// Everything, and then zeros for ever.
    Endless,
    /// A byte now and then.
    Dripping,
}

/// How a node behaves. Honest, unless a test says otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manners {
    pub(crate) artifacts: Artifacts,
    /// The vendor recalls this patch while its artifact is fetched.
    pub(crate) recalled_meanwhile: Option<PatchId>,
    /// Given instead of any proof.
    pub(crate) proof: Option<Vec<u8>>,
    /// Asked for a proof, it says nothing.
    pub(crate) silent: bool,
    /// No stream of heads: the agent has to ask.
    pub(crate) no_watch: bool,
    /// Has no place for a stream of heads.
    pub(crate) no_place: bool,
    /// Heads are those of so many blocks ago.
    pub(crate) behind: usize,
    /// Transactions are not taken, with this check.
    pub(crate) no_submit: Option<&'static str>,
    /// When it would like to be asked again by whoever it refuses; after a moment, if nothing is said here.
    pub(crate) retry_after_ms: Option<u64>,
    /// Says of every transaction that it is final, and throws it away.
    pub(crate) swallows: bool,
    /// Lists patches that do not stand approved as if they did.
    pub(crate) lists_all_as_approved: bool,
    /// So many empty entries in whatever it lists, and no last page.
    pub(crate) lists_empty: usize,
    /// Says that the host has written so many receipts more of each patch than it has.
    pub(crate) more_attempts: u32,
    /// Says of every patch that this transaction recalled it.
    pub(crate) recall_shown: Option<TransactionId>,
}

/// What a node was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AskedOfIt {
    /// Changes of the validators asked for.
    pub(crate) epochs: usize,
    /// Lists of patches asked for.
    pub(crate) lists: u64,
    /// Newest heads asked for.
    pub(crate) heads: u64,
    /// Streams of heads begun.
    pub(crate) streams: u64,
    /// Offsets of artifacts.
    pub(crate) fetches: Vec<u64>,
    /// Proofs asked for.
    pub(crate) proofs: u64,
    /// Transactions that were to be taken.
    pub(crate) submits: u64,
    /// Bytes of artifact streams sent.
    pub(crate) sent: u64,
}

/// What all nodes of a test share.
pub(crate) struct World {
    pub(crate) ledger: Mutex<Ledger>,
    artifacts: Mutex<BTreeMap<Digest, Vec<u8>>>,
    pub(crate) ca_pem: String,
    identity: Identity,
    grown: watch::Sender<u64>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_cert = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Arc::new(Self {
            ledger: Mutex::new(Ledger::new(1)),
            artifacts: Mutex::default(),
            ca_pem: ca_cert.pem(),
            identity: Identity::from_pem(certificate.pem(), key.serialize_pem()),
            grown: watch::channel(0).0,
        })
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// The newest header, and what makes certificates for others.
    pub(crate) fn tip(&self) -> (Header, Scenario) {
        let ledger = self.ledger();
        (ledger.tip.header.clone(), ledger.scenario.clone())
    }

    /// Stores an artifact on every node.
    pub(crate) fn store(&self, bytes: Vec<u8>) {
        self.artifacts.lock().unwrap().insert(Digest::blake3(&bytes), bytes);
    }

    /// Does something with the ledger, and tells who watches.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let changed = change(&mut self.ledger());
        let height = self.ledger().tip.header.height;
        self.grown.send_replace(height);
        changed
    }

    /// Receipts that are final, in order.
    pub(crate) fn receipts(&self) -> Vec<ledger::receipt::Receipt> {
        let ledger = self.ledger();
        let receipt = |payload: &Payload| match payload {
            Payload::Receipt { receipt } => Some(receipt.clone()),
            _ => None,
        };
        ledger.transactions.iter().filter_map(|transaction| receipt(transaction.payload())).collect()
    }

    /// Starts a node on a free port.
    pub(crate) async fn node(self: &Arc<Self>) -> Node {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_nodelay(Some(true));
        let port = incoming.local_addr().unwrap().port();
        let node = Node {
            address: format!("https://127.0.0.1:{port}"),
            key: Digest::blake3(&port.to_le_bytes()),
            world: self.clone(),
            manners: Arc::default(),
            asked: Arc::default(),
        };
        proto::install_tls_provider();
        let tls = ServerTlsConfig::new().identity(self.identity.clone());
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(ledger_server::LedgerServer::new(node.clone()))
            .add_service(artifacts_server::ArtifactsServer::new(node.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        node
    }
}

/// One node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) address: String,
    /// Who it is, wherever it is asked.
    key: Digest,
    world: Arc<World>,
    manners: Arc<Mutex<Manners>>,
    asked: Arc<Mutex<AskedOfIt>>,
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Node {
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.manners.lock().unwrap());
    }

    /// The same node, said to be somewhere else.
    pub(crate) fn at(&self, address: std::net::SocketAddr) -> Self {
        self.called(&address.to_string())
    }

    /// The same node under another name.
    pub(crate) fn called(&self, address: &str) -> Self {
        Self { address: format!("https://{address}"), ..self.clone() }
    }

    pub(crate) fn asked(&self) -> AskedOfIt {
        self.asked.lock().unwrap().clone()
    }

    fn manners(&self) -> Manners {
        self.manners.lock().unwrap().clone()
    }

    fn head(&self) -> v1::Head {
        let (ledger, behind) = (self.world.ledger(), self.manners().behind);
        let Some((header, certificate)) = ledger.heads.iter().rev().nth(behind) else { return v1::Head::default() };
        v1::Head {
            height: header.height,
            hash: header.hash().0.to_vec(),
            header: encode(header),
            certificate: encode(certificate),
            poll_after_ms: 50,
        }
    }

    fn patch(&self, id: PatchId) -> Option<v1::Patch> {
        let record = self.world.ledger().record(id)?;
        let as_approved = self.manners().lists_all_as_approved;
        Some(v1::Patch {
            id: id.0.to_vec(),
            product: record.product.to_string(),
            channel: record.channel.to_string(),
            version: record.version.to_string(),
            release: record.release,
            standing: if as_approved { "approved".to_owned() } else { record.standing.to_string() },
            ..Default::default()
        })
    }
}

/// When a node would like to be asked again whose manners say nothing else.
const RETRY_AFTER_MS: u64 = 20;

fn refused(code: Code, check: &str, message: impl ToString) -> Status {
    refused_until(code, check, message, RETRY_AFTER_MS)
}

fn refused_until(code: Code, check: &str, message: impl ToString, retry_after_ms: u64) -> Status {
    let (check, message) = (check.to_owned(), message.to_string());
    proto::refuse(code, &v1::Refusal { check, message, hint: String::new(), retry_after_ms })
}

fn check_word(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::AlreadyFinalised(_) => "already-finalised",
        Rejection::AttemptOutOfOrder { .. } => "attempt",
        Rejection::Expired { .. } => "expired",
        Rejection::ExpiresTooLate { .. } => "expires-too-late",
        Rejection::UnknownKey(_) => "unknown-key",
        Rejection::UnknownPatch(_) => "unknown-patch",
        _ => "state",
    }
}

/// Changes of the validators in one answer: few, so that agents have to ask again.
const EPOCHS_PER_ANSWER: usize = 2;

#[tonic::async_trait]
impl ledger_server::Ledger for Node {
    async fn get_head(&self, _: Request<v1::GetHeadRequest>) -> Answer<v1::Head> {
        self.asked.lock().unwrap().heads += 1;
        Ok(Response::new(self.head()))
    }

    type WatchHeadsStream = Answers<v1::Head>;

    async fn watch_heads(&self, _: Request<v1::WatchHeadsRequest>) -> Answer<Self::WatchHeadsStream> {
        if self.manners().no_watch {
            return Err(Status::unimplemented("no stream"));
        }
        if self.manners().no_place {
            return Err(refused(Code::Unavailable, "followers", "no place for one more stream"));
        }
        self.asked.lock().unwrap().streams += 1;
        let node = self.clone();
        Ok(Response::new(Box::pin(WatchStream::new(self.world.grown.subscribe()).map(move |_| Ok(node.head())))))
    }

    async fn list_convictions(&self, _: Request<v1::ListConvictionsRequest>) -> Answer<v1::ListConvictionsResponse> {
        Err(Status::unimplemented("not asked for by agents"))
    }

    async fn list_patches(&self, request: Request<v1::ListPatchesRequest>) -> Answer<v1::ListPatchesResponse> {
        let request = request.into_inner();
        self.asked.lock().unwrap().lists += 1;
        if let empty @ 1.. = self.manners().lists_empty {
            let patches = vec![v1::Patch::default(); empty];
            return Ok(Response::new(v1::ListPatchesResponse { patches, next_page_token: "more".to_owned() }));
        }
        let known = self.world.ledger().patches.clone();
        let patches = known.into_iter().rev().filter_map(|id| self.patch(id)).filter(|patch| {
            (request.product.is_empty() || patch.product == request.product)
                && (request.standing.is_empty() || patch.standing == request.standing)
                && hex::encode(&patch.id).starts_with(&request.id_prefix)
        });
        let patches = patches.take(request.page_size as usize).collect();
        Ok(Response::new(v1::ListPatchesResponse { patches, next_page_token: String::new() }))
    }

    async fn get_proof(&self, request: Request<v1::GetProofRequest>) -> Answer<v1::GetProofResponse> {
        self.asked.lock().unwrap().proofs += 1;
        if self.manners().silent {
            std::future::pending::<()>().await;
        }
        if let Some(proof) = self.manners().proof {
            return Ok(Response::new(v1::GetProofResponse { proof }));
        }
        let patch = PatchId(request.into_inner().patch.try_into().unwrap());
        let ledger = self.world.ledger();
        if ledger.record(patch).is_none() {
            return Err(refused(Code::NotFound, "not-found", "no such patch"));
        }
        match ledger.proof(patch) {
            Some(proof) => Ok(Response::new(v1::GetProofResponse { proof: proof.bytes() })),
            None => Err(refused(Code::Unavailable, "not-yet-provable", "the next block proves it")),
        }
    }

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        self.asked.lock().unwrap().submits += 1;
        if let Manners { no_submit: Some(check), retry_after_ms, .. } = self.manners() {
            let again_ms = retry_after_ms.unwrap_or(RETRY_AFTER_MS);
            return Err(refused_until(Code::ResourceExhausted, check, "not now", again_ms));
        }
        let bytes = request.into_inner().transaction;
        if self.manners().swallows {
            let state = v1::TransactionState::Finalised.into();
            return Ok(Response::new(v1::SubmitResponse { id: vec![0; 32], state, position: None }));
        }
        let chain_id = self.world.ledger().scenario.chain_id();
        let transaction = SignedTransaction::verify_bytes(&bytes, &chain_id)
            .map_err(|error| refused(Code::InvalidArgument, "signature", error))?;
        let id = transaction.id();
        let rejections = self.world.change(|ledger| {
            ledger.offer(transaction);
            ledger.block()
        });
        match rejections.first() {
            Some(rejection) => Err(refused(Code::FailedPrecondition, check_word(rejection), rejection)),
            None => {
                let state = v1::TransactionState::Finalised.into();
                Ok(Response::new(v1::SubmitResponse { id: id.0.to_vec(), state, position: None }))
            }
        }
    }

    async fn get_transaction(&self, request: Request<v1::GetTransactionRequest>) -> Answer<v1::GetTransactionResponse> {
        let id = TransactionId(request.into_inner().id.try_into().unwrap());
        if !self.world.ledger().storage.is_finalised(&id).unwrap() || self.manners().swallows {
            return Ok(Response::new(v1::GetTransactionResponse::default()));
        }
        let known = self.world.ledger().include(id);
        let inclusion = known.unwrap_or_else(|| {
            self.world.change(|ledger| {
                ledger.block();
                ledger.include(id).expect("the next block proves it")
            })
        });
        let state = v1::TransactionState::Finalised.into();
        let transaction = self.world.ledger().bytes_of(id).unwrap();
        let inclusion = encode(&inclusion);
        Ok(Response::new(v1::GetTransactionResponse { state, transaction, inclusion, ..Default::default() }))
    }

    async fn list_receipts(&self, request: Request<v1::ListReceiptsRequest>) -> Answer<v1::ListReceiptsResponse> {
        if let empty @ 1.. = self.manners().lists_empty {
            let receipts = vec![v1::Receipt::default(); empty];
            return Ok(Response::new(v1::ListReceiptsResponse { receipts, next_page_token: "more".to_owned() }));
        }
        let v1::ListReceiptsRequest { patch, endpoint, .. } = request.into_inner();
        let endpoint_key = ledger::key::PublicKey(endpoint.clone().try_into().unwrap());
        let id = PatchId(patch.clone().try_into().unwrap());
        let record = self.world.ledger().storage.receipt(endpoint_key, id).unwrap();
        let (known, more) = (record.map_or(0, |record| record.attempt), self.manners().more_attempts);
        let last = self.world.ledger().receipt_of(endpoint_key, id).map(|id| id.0.to_vec()).unwrap_or_default();
        let attempt = known + more;
        let receipt = v1::Receipt { endpoint, patch, attempt, transaction_id: last, ..Default::default() };
        let receipts = Some(receipt).filter(|_| attempt > 0);
        let receipts = receipts.into_iter().collect();
        Ok(Response::new(v1::ListReceiptsResponse { receipts, next_page_token: String::new() }))
    }

    async fn get_epochs(&self, request: Request<v1::GetEpochsRequest>) -> Answer<v1::GetEpochsResponse> {
        self.asked.lock().unwrap().epochs += 1;
        if let empty @ 1.. = self.manners().lists_empty {
            return Ok(Response::new(v1::GetEpochsResponse { links: vec![Vec::new(); empty] }));
        }
        let from = request.into_inner().from_height;
        let epochs = self.world.ledger().epochs.clone();
        let later = epochs.iter().filter(|link| link.header.height >= from).take(EPOCHS_PER_ANSWER);
        Ok(Response::new(v1::GetEpochsResponse { links: later.map(encode).collect() }))
    }

    async fn list_members(&self, _: Request<v1::ListMembersRequest>) -> Answer<v1::ListMembersResponse> {
        Err(Status::unimplemented("not asked by agents"))
    }

    async fn get_proposal(&self, _: Request<v1::GetProposalRequest>) -> Answer<v1::Proposal> {
        Err(Status::unimplemented("not asked by agents"))
    }

    async fn list_proposals(&self, _: Request<v1::ListProposalsRequest>) -> Answer<v1::ListProposalsResponse> {
        Err(Status::unimplemented("not asked by agents"))
    }

    type GetSnapshotStream = Answers<v1::SnapshotPart>;

    async fn get_snapshot(&self, _: Request<v1::GetSnapshotRequest>) -> Answer<Self::GetSnapshotStream> {
        Err(Status::unimplemented("not asked by agents"))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        let peers = vec![v1::Peer::default(); self.manners().lists_empty];
        Ok(Response::new(v1::GetStatusResponse { node_key: self.key.0.to_vec(), peers, ..Default::default() }))
    }

    async fn get_genesis(&self, _: Request<v1::GetGenesisRequest>) -> Answer<v1::GetGenesisResponse> {
        Err(Status::unimplemented("an agent that asks a node for its trust root trusts the node"))
    }

    type SubmitStreamStream = Answers<v1::SubmitStreamResponse>;

    async fn check(&self, request: Request<v1::CheckRequest>) -> Answer<v1::CheckResponse> {
        if let Some(check) = self.manners().no_submit {
            return Err(refused(Code::ResourceExhausted, check, "not now"));
        }
        let chain_id = self.world.ledger().scenario.chain_id();
        let transaction = SignedTransaction::verify_bytes(&request.into_inner().transaction, &chain_id)
            .map_err(|error| refused(Code::InvalidArgument, "signature", error))?;
        let id = transaction.id();
        match self.world.ledger().judge(transaction) {
            Some(rejection) => Err(refused(Code::FailedPrecondition, check_word(&rejection), rejection)),
            None => Ok(Response::new(v1::CheckResponse { id: id.0.to_vec() })),
        }
    }

    async fn submit_stream(&self, _: Request<tonic::Streaming<v1::SubmitRequest>>) -> Answer<Self::SubmitStreamStream> {
        Err(Status::unimplemented("not asked by agents"))
    }

    async fn get_block(&self, _: Request<v1::GetBlockRequest>) -> Answer<v1::GetBlockResponse> {
        Err(Status::unimplemented("not asked by agents"))
    }

    async fn list_blocks(&self, _: Request<v1::ListBlocksRequest>) -> Answer<v1::ListBlocksResponse> {
        Err(Status::unimplemented("not asked by agents"))
    }

    async fn get_patch(&self, request: Request<v1::GetPatchRequest>) -> Answer<v1::Patch> {
        let id = PatchId(request.into_inner().id.try_into().unwrap());
        let patch = self.patch(id).ok_or_else(|| refused(Code::NotFound, "not-found", "no such patch"))?;
        let recalled = match self.manners().recall_shown {
            Some(another) => Some(another),
            None => self.world.ledger().recall_of(id),
        };
        let recall = |transaction: TransactionId| v1::PatchVerdict {
            transaction_id: transaction.0.to_vec(),
            note: "whatever a node says".to_owned(),
            ..Default::default()
        };
        Ok(Response::new(v1::Patch { recall: recalled.map(recall), ..patch }))
    }

    async fn list_endpoints(&self, _: Request<v1::ListEndpointsRequest>) -> Answer<v1::ListEndpointsResponse> {
        Err(Status::unimplemented("not asked by agents"))
    }
}

/// Bytes of one message of an artifact stream.
const PIECE_BYTES: usize = 20_000;

/// The self-checking form of an artifact from `offset` on.
fn encoded(bytes: &[u8], offset: u64) -> Vec<u8> {
    let outboard = PreOrderMemOutboard::create(bytes, BlockSize::from_chunk_log(4));
    let ranges = ChunkRanges::from(ChunkNum(offset / 1024)..ChunkNum((bytes.len() as u64).div_ceil(1024)));
    let mut encoded = Vec::new();
    encode_ranges_validated(bytes, &outboard, &ranges, &mut encoded).unwrap();
    encoded
}

#[tonic::async_trait]
impl artifacts_server::Artifacts for Node {
    type FetchStream = Answers<v1::FetchResponse>;

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Answer<Self::FetchStream> {
        let v1::FetchRequest { blake3, offset, .. } = request.into_inner();
        let blake3 = Digest(blake3.try_into().unwrap());
        self.asked.lock().unwrap().fetches.push(offset);
        if let Some(patch) = self.manners().recalled_meanwhile {
            self.behave(|manners| manners.recalled_meanwhile = None);
            self.world.change(|ledger| {
                ledger.recall(patch);
                ledger.settle();
            });
        }
        let manners = self.manners().artifacts;
        let stored = self.world.artifacts.lock().unwrap().get(&blake3).cloned();
        let Some(bytes) = stored.filter(|_| manners != Artifacts::Missing) else {
            return Err(refused(Code::NotFound, "artifact-unavailable", "not here"));
        };
        if manners == Artifacts::Shorter {
            return Err(refused(Code::InvalidArgument, "artifact-length", "mine is shorter"));
        }
        let mut encoded = encoded(&bytes, offset);
        let (mut breaks, mut hangs, mut endless) = (false, false, false);
        let (mut pause, mut piece) = (Duration::ZERO, PIECE_BYTES);
        match manners {
            Artifacts::FlipAt(place) => {
                // The byte in the stream is the one in the artifact, and what follows it.
                let rest = &bytes[place..(place + 64).min(bytes.len())];
                let found = encoded.windows(rest.len()).position(|window| window == rest).unwrap();
                encoded[found] ^= 1;
            }
            Artifacts::EndsAfter(count) => encoded.truncate(count),
            Artifacts::BreaksAfter(count) => {
                encoded.truncate(count);
                breaks = true;
            }
            Artifacts::HangsAfter(count) => {
                encoded.truncate(count);
                hangs = true;
            }
            Artifacts::Endless => endless = true,
            Artifacts::Dripping => (pause, piece) = (Duration::from_millis(50), 1),
            Artifacts::Honest | Artifacts::Missing | Artifacts::Shorter => {}
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let asked = self.asked.clone();
        tokio::spawn(async move {
            let pieces = encoded.chunks(piece).map(<[u8]>::to_vec).collect::<Vec<_>>();
            let zeros = std::iter::repeat_with(|| vec![0; PIECE_BYTES]).take_while(|_| endless);
            for data in pieces.into_iter().chain(zeros) {
                tokio::time::sleep(pause).await;
                asked.lock().unwrap().sent += data.len() as u64;
                if sender.send(Ok(v1::FetchResponse { data })).await.is_err() {
                    return;
                }
            }
            if hangs {
                sender.closed().await;
            }
            if breaks {
                let _ = sender.send(Err(Status::unavailable("gone"))).await;
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }

    async fn stat(&self, _: Request<v1::StatRequest>) -> Answer<v1::StatResponse> {
        Err(Status::unimplemented("not asked by agents"))
    }

    async fn upload(&self, _: Request<tonic::Streaming<v1::UploadRequest>>) -> Answer<v1::UploadResponse> {
        Err(Status::unimplemented("not asked by agents"))
    }
}

//! A compromised node: it presents the certificate of a real one, passes everything on to it, and lies where it
//! is told to.

use super::error::AttackError;
use super::stage::head_of;
use crate::client;
use crate::layout::Devnet;
use ledger::encoding::encode;
use ledger::proof::ProofBundle;
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::artifacts_server::{Artifacts, ArtifactsServer};
use proto::v1::ledger_client::LedgerClient;
use proto::v1::ledger_server::{Ledger, LedgerServer};
use proto::v1::*;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

/// How long a slow node takes for a byte.
const DRIP: Duration = Duration::from_secs(1);
/// Bytes an endless node sends at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// How a node serves artifacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Serves {
    /// As the real node does.
    #[default]
    Honestly,
    /// With one bit of this byte of the stream turned over.
    Altered(u64),
    /// What belongs to it, and then zeros for ever.
    WithoutEnd,
    /// Zeros for ever.
    Nonsense,
    /// A byte a second.
    Dripping,
    /// Not at all.
    Nothing,
}

/// How a node behaves. Honest, unless a drill says otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Manners {
    /// How it serves artifacts.
    pub(super) serves: Serves,
    /// The head it has, whatever has happened since.
    pub(super) head: Option<Head>,
    /// The proof it gives, whatever was asked for.
    pub(super) proof: Option<Vec<u8>>,
    /// How the validators changed, whatever was asked for: encoded epoch links.
    pub(super) epochs: Option<Vec<Vec<u8>>>,
    /// Lists no patches: who wants one has to ask for it.
    pub(super) lists_nothing: bool,
    /// Takes no transactions, as a node without room.
    pub(super) takes_nothing: bool,
}

/// A compromised node. It is gone when this is.
pub(super) struct Relay {
    /// Where it is.
    pub(super) url: String,
    manners: Arc<Mutex<Manners>>,
    fetches: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Relay {
    /// Takes the place of a node, on a port of its own.
    pub(super) async fn before(devnet: &Devnet, name: &str) -> Result<Self, AttackError> {
        let node = devnet.node(name).ok_or_else(|| AttackError::Stage(format!("no node {name}")))?;
        let read = |file: &str| {
            let path = node.config.with_file_name(file);
            fs::read(&path).map_err(AttackError::io(format!("cannot read {}", path.display())))
        };
        let identity = Identity::from_pem(read("tls.pem")?, read("tls.key")?);
        let channel = client::channel(&node.grpc, &devnet.ca).await?;
        let failed = |what: &str| AttackError::io(what.to_owned());

        let (manners, fetches, sent) = <(Arc<Mutex<Manners>>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let passing = Passing {
            ledger: LedgerClient::new(channel.clone())
                .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(proto::MESSAGE_BYTES_MAX),
            artifacts: ArtifactsClient::new(channel),
            manners: manners.clone(),
            fetches: fetches.clone(),
            sent: sent.clone(),
        };
        let incoming =
            TcpIncoming::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(failed("cannot listen"))?;
        let incoming = incoming.with_nodelay(Some(true));
        let address = incoming.local_addr().map_err(failed("cannot tell where it listens"))?;
        let server = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .map_err(|error| AttackError::Stage(format!("the node's certificate is not usable: {error}")))?
            .add_service(LedgerServer::new(passing.clone()))
            .add_service(ArtifactsServer::new(passing));
        let serving = tokio::spawn(async move {
            // When it ends, whoever asks hears that nobody is there.
            let _ = server.serve_with_incoming(incoming).await;
        });
        Ok(Self { url: format!("https://{address}"), manners, fetches, sent, serving })
    }

    /// From now on it behaves otherwise.
    pub(super) fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.manners.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// From now on it knows what a proof says and nothing newer. It lists nothing: whoever follows it is to try when asked,
    /// and not before.
    pub(super) fn shows(&self, proof: &ProofBundle) {
        self.behave(|manners| {
            (manners.head, manners.proof, manners.lists_nothing) = (Some(head_of(proof)), Some(proof.bytes()), true);
            manners.epochs = Some(proof.epochs.iter().map(encode).collect());
        });
    }

    /// From now on it is honest about the ledger; it still lists nothing.
    pub(super) fn comes_clean(&self) {
        self.behave(|manners| (manners.head, manners.proof, manners.epochs) = (None, None, None));
    }

    /// How often it was asked for an artifact.
    pub(super) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// Bytes of artifacts it sent while it lied.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Passing {
    ledger: LedgerClient<Channel>,
    artifacts: ArtifactsClient<Channel>,
    manners: Arc<Mutex<Manners>>,
    fetches: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Passing {
    fn manners(&self) -> Manners {
        self.manners.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The whole service: calls that are passed on as they are, and those that stand in the braces.
macro_rules! passes_on {
    ($($call:ident: $request:ty => $answer:ty,)* { $($own:tt)* }) => {
        #[tonic::async_trait]
        impl Ledger for Passing {
            $(async fn $call(&self, request: Request<$request>) -> Answer<$answer> {
                self.ledger.clone().$call(request.into_inner()).await
            })*
            $($own)*
        }
    };
}

passes_on! {
    get_status: GetStatusRequest => GetStatusResponse,
    get_genesis: GetGenesisRequest => GetGenesisResponse,
    check: CheckRequest => CheckResponse,
    get_transaction: GetTransactionRequest => GetTransactionResponse,
    get_block: GetBlockRequest => GetBlockResponse,
    list_blocks: ListBlocksRequest => ListBlocksResponse,
    list_members: ListMembersRequest => ListMembersResponse,
    get_proposal: GetProposalRequest => Proposal,
    list_proposals: ListProposalsRequest => ListProposalsResponse,
    list_convictions: ListConvictionsRequest => ListConvictionsResponse,
    get_patch: GetPatchRequest => Patch,
    list_endpoints: ListEndpointsRequest => ListEndpointsResponse,
    list_receipts: ListReceiptsRequest => ListReceiptsResponse,
    {
        type SubmitStreamStream = Streaming<SubmitStreamResponse>;

        async fn submit_stream(&self, asked: Request<Streaming<SubmitRequest>>) -> Answer<Self::SubmitStreamStream> {
            self.ledger.clone().submit_stream(asked.into_inner().filter_map(Result::ok)).await
        }

        type GetSnapshotStream = Streaming<SnapshotPart>;

        async fn get_snapshot(&self, asked: Request<GetSnapshotRequest>) -> Answer<Self::GetSnapshotStream> {
            self.ledger.clone().get_snapshot(asked.into_inner()).await
        }

        async fn submit(&self, asked: Request<SubmitRequest>) -> Answer<SubmitResponse> {
            match self.manners().takes_nothing {
                true => Err(Status::unavailable("no room")),
                false => self.ledger.clone().submit(asked.into_inner()).await,
            }
        }

        async fn get_epochs(&self, asked: Request<GetEpochsRequest>) -> Answer<GetEpochsResponse> {
            match self.manners().epochs {
                Some(links) => Ok(Response::new(GetEpochsResponse { links })),
                None => self.ledger.clone().get_epochs(asked.into_inner()).await,
            }
        }

        async fn get_head(&self, asked: Request<GetHeadRequest>) -> Answer<Head> {
            match self.manners().head {
                Some(head) => Ok(Response::new(head)),
                None => self.ledger.clone().get_head(asked.into_inner()).await,
            }
        }

        type WatchHeadsStream = Answers<Head>;

        /// What was true when it was asked: whoever watches hears of a change of manners at the next head.
        async fn watch_heads(&self, asked: Request<WatchHeadsRequest>) -> Answer<Self::WatchHeadsStream> {
            let heads = self.ledger.clone().watch_heads(asked.into_inner()).await?.into_inner();
            let manners = self.manners.clone();
            let heads = heads.map(move |head| {
                let kept = manners.lock().unwrap_or_else(PoisonError::into_inner).head.clone();
                head.map(|head| kept.unwrap_or(head))
            });
            Ok(Response::new(Box::pin(heads)))
        }

        async fn list_patches(&self, asked: Request<ListPatchesRequest>) -> Answer<ListPatchesResponse> {
            match self.manners().lists_nothing {
                true => Ok(Response::new(ListPatchesResponse::default())),
                false => self.ledger.clone().list_patches(asked.into_inner()).await,
            }
        }

        async fn get_proof(&self, asked: Request<GetProofRequest>) -> Answer<GetProofResponse> {
            match self.manners().proof {
                Some(proof) => Ok(Response::new(GetProofResponse { proof })),
                None => self.ledger.clone().get_proof(asked.into_inner()).await,
            }
        }
    }
}

#[tonic::async_trait]
impl Artifacts for Passing {
    async fn stat(&self, asked: Request<StatRequest>) -> Answer<StatResponse> {
        self.artifacts.clone().stat(asked.into_inner()).await
    }

    async fn upload(&self, asked: Request<Streaming<UploadRequest>>) -> Answer<UploadResponse> {
        self.artifacts.clone().upload(asked.into_inner().filter_map(Result::ok)).await
    }

    type FetchStream = Answers<FetchResponse>;

    async fn fetch(&self, asked: Request<FetchRequest>) -> Answer<Self::FetchStream> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        if self.manners().serves == Serves::Nothing {
            return Err(Status::not_found("not here"));
        }
        let honest = self.artifacts.clone().fetch(asked.into_inner()).await?.into_inner();
        let serves = self.manners().serves;
        if serves == Serves::Honestly {
            return Ok(Response::new(Box::pin(honest)));
        }
        // One piece at a time: what is sent is what is taken, and what lies in buffers on the way.
        let (pieces, answer) = mpsc::channel(1);
        let lie = Lie { serves, pieces, sent: self.sent.clone() };
        tokio::spawn(lie.tell(honest));
        Ok(Response::new(Box::pin(ReceiverStream::new(answer))))
    }
}

/// A stream of an artifact that is not as it should be.
struct Lie {
    serves: Serves,
    pieces: mpsc::Sender<Result<FetchResponse, Status>>,
    sent: Arc<AtomicU64>,
}

impl Lie {
    /// Until whoever asked has enough of it.
    async fn tell(self, mut honest: Streaming<FetchResponse>) {
        let mut place = 0;
        while self.serves != Serves::Nonsense
            && let Some(Ok(FetchResponse { mut data })) = honest.next().await
        {
            match self.serves {
                Serves::Dripping => {
                    for byte in data {
                        tokio::time::sleep(DRIP).await;
                        if !self.send(vec![byte]).await {
                            return;
                        }
                    }
                    continue;
                }
                Serves::Altered(at) => {
                    let within = at.checked_sub(place).and_then(|at| usize::try_from(at).ok());
                    if let Some(byte) = within.and_then(|at| data.get_mut(at)) {
                        *byte ^= 1;
                    }
                }
                Serves::Honestly | Serves::WithoutEnd | Serves::Nonsense | Serves::Nothing => {}
            }
            place += data.len() as u64;
            if !self.send(data).await {
                return;
            }
        }
        while matches!(self.serves, Serves::WithoutEnd | Serves::Nonsense) && self.send(vec![0; PIECE_BYTES]).await {}
    }

    /// False when nobody listens any more.
    async fn send(&self, data: Vec<u8>) -> bool {
        self.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.pieces.send(Ok(FetchResponse { data })).await.is_ok()
    }
}

//! A node's double: the two services over loopback, the rules and proofs of a real ledger behind them,
//! and on demand every way in which a node can fail or lie.

use crate::fixture::LedgerInMemory;
use crate::hands::Hands;
use ledger::artifact::SignedUploadGrant;
use ledger::encoding::encode;
use ledger::id::{Digest, PatchId, TransactionId};
use ledger::state::StateView as _;
use ledger::state::record::{PatchRecord, Position, Role};
use ledger::transaction::{Payload, SignedTransaction, VerifiedTransaction};
use proto::v1::artifacts_server::{Artifacts, ArtifactsServer};
use proto::v1::ledger_server::{Ledger, LedgerServer};
use proto::v1::upload_request::Part;
use proto::v1::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use tests::Scenario;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

/// Elements of one page at most, whatever is asked for: so that pages must be followed.
const PAGE_MAX: usize = 2;

/// What goes wrong with the next submission.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// No room now.
    Busy,
    /// Taken, but the answer is lost.
    AnswerLost,
    /// Lost before it was taken.
    RequestLost,
    /// Taken, finalised only when asked about it later.
    Slow,
}

/// In what way the node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It shows another patch's publishing transaction.
    OtherPatch,
    /// It shows a publishing transaction that nobody signed so.
    Altered,
    /// It says to be of another chain.
    OtherChain,
    /// Its pages never end.
    Endless,
    /// It answers for another transaction.
    OtherTransaction,
    /// Its titles act on terminals.
    Hostile,
}

#[derive(Default)]
struct Manners {
    faults: VecDeque<Fault>,
    lie: Option<Lie>,
    slow: Vec<VerifiedTransaction>,
    provable_after: u32,
    submissions: u32,
    uploads: u32,
}

/// What the services share.
struct Shared {
    ledger: LedgerInMemory,
    endpoints: BTreeSet<ledger::key::PublicKey>,
    receipts: Vec<Receipt>,
    artifacts: BTreeMap<[u8; 32], Vec<u8>>,
    manners: Manners,
}

/// A running double.
pub(crate) struct Node {
    shared: Arc<Mutex<Shared>>,
    address: String,
    pem: Option<String>,
    /// Keeps the servers running.
    _runtime: Runtime,
}

impl Node {
    /// A node of a fresh ledger.
    pub(crate) fn start() -> Self {
        Self::serve(None)
    }

    /// The same over TLS, with a certificate of its own making.
    pub(crate) fn start_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self::serve(Some((made.cert.pem(), made.signing_key.serialize_pem())))
    }

    fn serve(tls: Option<(String, String)>) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            ledger: LedgerInMemory::new(Scenario::new(7)),
            endpoints: BTreeSet::new(),
            receipts: Vec::new(),
            artifacts: BTreeMap::new(),
            manners: Manners::default(),
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = Double(Arc::clone(&shared));
        let mut server = Server::builder();
        if let Some((certificate, key)) = &tls {
            server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key))).unwrap();
        }
        let router = server
            .add_service(LedgerServer::new(service.clone()).max_decoding_message_size(proto::MESSAGE_BYTES_MAX))
            .add_service(ArtifactsServer::new(service).max_decoding_message_size(proto::MESSAGE_BYTES_MAX));
        runtime.spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let pem = tls.map(|(certificate, _)| certificate);
        Self { shared, address: format!("{scheme}://localhost:{port}"), pem, _runtime: runtime }
    }

    /// Hands that know this node and its ledger, with a key file for every role: `vendor.key`,
    /// `operator.key` and `bank.key`, `clinic.key`, `depot.key` of approvers.
    pub(crate) fn hands(&self) -> Hands {
        let hands = Hands::new().with("COUNTERSIGN_NODE", &self.address).with("COUNTERSIGN_GENESIS", "genesis");
        let hands = match &self.pem {
            Some(_) => hands.with("COUNTERSIGN_CA", "ca.pem"),
            None => hands,
        };
        hands.write("ca.pem", self.pem.clone().unwrap_or_default());
        let shared = self.shared();
        hands.write("genesis", shared.ledger.trust_root());
        let scenario = &shared.ledger.scenario;
        hands.write_key("vendor.key", "publisher", "acme", &scenario.key("acme", Role::Publisher));
        hands.write_key("operator.key", "operator", "bank", &scenario.key("bank", Role::Operator));
        for organisation in tests::APPROVERS {
            let key = scenario.key(organisation, Role::Approver);
            hands.write_key(&format!("{organisation}.key"), "approver", organisation, &key);
        }
        hands
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    pub(crate) fn will(&self, faults: &[Fault]) {
        self.shared().manners.faults.extend(faults);
    }

    pub(crate) fn lie(&self, lie: Lie) {
        self.shared().manners.lie = Some(lie);
    }

    /// The next proofs are not there yet.
    pub(crate) fn prove_later(&self, times: u32) {
        self.shared().manners.provable_after = times;
    }

    pub(crate) fn submissions(&self) -> u32 {
        self.shared().manners.submissions
    }

    pub(crate) fn uploads(&self) -> u32 {
        self.shared().manners.uploads
    }

    pub(crate) fn artifact(&self, blake3: &str) -> Option<Vec<u8>> {
        let blake3: Digest = blake3.parse().unwrap();
        self.shared().artifacts.get(&blake3.0).cloned()
    }

    /// How many transactions are finalised.
    pub(crate) fn finalised(&self) -> usize {
        self.shared().ledger.log.len()
    }

    /// Signs and finalises something behind the command's back.
    pub(crate) fn record(&self, organisation: &str, role: Role, payload: Payload) {
        let mut shared = self.shared();
        let key = shared.ledger.scenario.key(organisation, role);
        let nonce = shared.ledger.log.len() as u64;
        let transaction = shared.ledger.scenario.transaction(&key, nonce, now_ms(), payload);
        shared.finalise(transaction).unwrap();
    }

    /// Publishes these releases of the scenario's one product.
    pub(crate) fn publish(&self, releases: impl IntoIterator<Item = u64>) -> Vec<PatchId> {
        let publish = |release| {
            let manifest = self.shared().ledger.scenario.manifest(release);
            let id = manifest.id();
            self.record("acme", Role::Publisher, Payload::Publish { manifest });
            id
        };
        releases.into_iter().map(publish).collect()
    }

    /// An endpoint of the scenario writes a receipt.
    pub(crate) fn receipt(&self, endpoint: u64, receipt: ledger::receipt::Receipt) {
        let mut shared = self.shared();
        let key = shared.ledger.scenario.endpoint(endpoint);
        let nonce = shared.ledger.log.len() as u64;
        let transaction = shared.ledger.scenario.transaction(&key, nonce, now_ms(), Payload::Receipt { receipt });
        shared.finalise(transaction).unwrap();
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn refusal(check: &str, message: impl ToString, retry_after_ms: u64) -> Refusal {
    Refusal { check: check.to_owned(), message: message.to_string(), hint: format!("about {check}"), retry_after_ms }
}

fn refused(check: &str, message: impl ToString) -> Status {
    proto::refuse(Code::FailedPrecondition, &refusal(check, message, 0))
}

fn not_found(what: &str) -> Status {
    proto::refuse(Code::NotFound, &refusal("not-found", format!("no such {what}"), 0))
}

fn bytes32(bytes: &[u8]) -> Result<[u8; 32], Status> {
    bytes.try_into().map_err(|_| refused("malformed", "not 32 bytes"))
}

impl Shared {
    fn finalise(&mut self, transaction: VerifiedTransaction) -> Result<(), Status> {
        let time_ms = now_ms();
        self.ledger.check(&transaction, time_ms).map_err(|rejection| refused("rule", rejection))?;
        match transaction.payload() {
            Payload::Enroll { endpoint, .. } => {
                self.endpoints.insert(*endpoint);
            }
            Payload::Receipt { receipt } => self.receipts.push(self.receipt(&transaction, receipt)),
            _ => {}
        }
        self.ledger.finalise(vec![transaction], time_ms);
        Ok(())
    }

    fn position(&self, id: &TransactionId) -> Option<proto::v1::Position> {
        let index = self.ledger.log.iter().position(|(known, ..)| known.id() == *id)?;
        Some(self.position_at(index as u64))
    }

    fn position_at(&self, index: u64) -> proto::v1::Position {
        let (_, height, time_ms) = &self.ledger.log[usize::try_from(index).unwrap()];
        proto::v1::Position { height: *height, index, time_ms: *time_ms }
    }

    fn receipt(&self, transaction: &VerifiedTransaction, receipt: &ledger::receipt::Receipt) -> Receipt {
        let reason = receipt.reason.as_ref();
        Receipt {
            endpoint: transaction.signer().0.to_vec(),
            endpoint_name: self.ledger.storage.endpoint(transaction.signer()).unwrap().unwrap().name.to_string(),
            patch: receipt.patch.0.to_vec(),
            attempt: receipt.attempt,
            outcome: receipt.outcome.to_string(),
            reason: reason.map(|reason| reason.code.to_string()).unwrap_or_default(),
            detail: reason.map(|reason| reason.detail.to_string()).unwrap_or_default(),
            health: "passed".to_owned(),
            from_version: receipt.from_version.to_string(),
            to_version: receipt.to_version.to_string(),
            ended_at_ms: receipt.ended_at_ms,
            position: None,
            transaction_id: transaction.id().0.to_vec(),
        }
    }

    /// Patches, newest first.
    fn patches(&self) -> Vec<(PatchId, PatchRecord)> {
        let published = self.ledger.log.iter().rev().filter_map(|(known, ..)| match known.payload() {
            Payload::Publish { manifest } => Some(manifest.id()),
            _ => None,
        });
        published.map(|id| (id, self.ledger.storage.patch(id).unwrap().unwrap())).collect()
    }

    fn patch(&self, id: PatchId, record: &PatchRecord) -> Patch {
        let at = |position: Position| self.position_at(position.index);
        let rules = self.ledger.storage.approval_rules().unwrap().unwrap();
        let rule = rules.rule_for(&record.product, record.class, record.severity).unwrap();
        let count = rule.count(&record.organisation, &record.opinions());
        let published = self.ledger.log[usize::try_from(record.published.index).unwrap()].0.clone();
        let Payload::Publish { manifest } = published.payload() else { panic!("patches are published") };
        let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
        for receipt in self.receipts.iter().filter(|receipt| receipt.patch == id.0) {
            *outcomes.entry(receipt.outcome.clone()).or_default() += 1;
        }
        let mut publish_transaction = published.bytes().to_vec();
        match self.manners.lie {
            Some(Lie::OtherPatch) => publish_transaction = self.ledger.log[0].0.bytes().to_vec(),
            Some(Lie::Altered) => {
                // The last letter of the version, where a signature should notice.
                let version = record.version.as_str().as_bytes();
                let place = publish_transaction.windows(version.len()).position(|bytes| bytes == version).unwrap();
                publish_transaction[place + version.len() - 1] ^= 1;
            }
            _ => {}
        }
        let title = match self.manners.lie {
            Some(Lie::Hostile) => "\u{1b}[2J\u{202e}gnp.\u{7}\u{9b}31m".to_owned(),
            _ => manifest.title.to_string(),
        };
        Patch {
            id: id.0.to_vec(),
            product: record.product.to_string(),
            channel: record.channel.to_string(),
            version: record.version.to_string(),
            release: record.release,
            class: "security".to_owned(),
            severity: "important".to_owned(),
            title,
            organisation: record.organisation.to_string(),
            standing: record.standing.to_string(),
            count: count.to_string(),
            verdicts: record
                .verdicts
                .iter()
                .map(|verdict| PatchVerdict {
                    key: verdict.key.0.to_vec(),
                    organisation: verdict.organisation.to_string(),
                    decision: verdict.decision.to_string(),
                    position: Some(at(verdict.position)),
                })
                .collect(),
            missing: count.missing.iter().map(ToString::to_string).collect(),
            published: Some(at(record.published)),
            approved: record.approved.map(at),
            recalled: record.recalled.map(at),
            publish_transaction,
            outcomes: outcomes.into_iter().map(|(outcome, count)| OutcomeCount { outcome, count }).collect(),
        }
    }

    /// One page of a list, and the token of the next.
    fn page<T>(&self, all: Vec<T>, size: u32, token: &str) -> (Vec<T>, String) {
        let start: usize = token.parse().unwrap_or(0);
        let end = (start + (size as usize).min(PAGE_MAX)).min(all.len());
        if self.manners.lie == Some(Lie::Endless) {
            return (Vec::new(), "again".to_owned());
        }
        let next = if end < all.len() { end.to_string() } else { String::new() };
        (all.into_iter().skip(start).take(end - start).collect(), next)
    }
}

#[derive(Clone)]
struct Double(Arc<Mutex<Shared>>);

type Answer<T> = Result<Response<T>, Status>;
type NoStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Double {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap()
    }
}

#[tonic::async_trait]
impl Ledger for Double {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        let shared = self.lock();
        let mut chain_id = shared.ledger.scenario.chain_id().0.to_vec();
        if shared.manners.lie == Some(Lie::OtherChain) {
            chain_id[0] ^= 1;
        }
        let peer = |organisation: &str| Peer {
            node_key: shared.ledger.scenario.key(organisation, Role::Node).public().0.to_vec(),
            organisation: organisation.to_owned(),
            address: "127.0.0.1:7001".to_owned(),
            height: 12,
        };
        Ok(Response::new(GetStatusResponse {
            version: "0.1.0".to_owned(),
            chain_id,
            ledger_name: "harness".to_owned(),
            organisation: "bank".to_owned(),
            node_key: shared.ledger.scenario.key("bank", Role::Node).public().0.to_vec(),
            validator: true,
            height: shared.ledger.tip.header.height,
            head_time_ms: shared.ledger.tip.header.time_ms,
            transactions: shared.ledger.log.len() as u64,
            pending: 0,
            peers: vec![peer("acme"), peer("clinic")],
            finality_p50_ms: 41.5,
            finality_p99_ms: 120.0,
        }))
    }

    async fn get_genesis(&self, _: Request<GetGenesisRequest>) -> Answer<GetGenesisResponse> {
        Ok(Response::new(GetGenesisResponse { genesis: self.lock().ledger.trust_root() }))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Answer<SubmitResponse> {
        let mut shared = self.lock();
        shared.manners.submissions += 1;
        let chain = shared.ledger.scenario.chain_id();
        let transaction = SignedTransaction::verify_bytes(&request.into_inner().transaction, &chain)
            .map_err(|error| refused("signature", error))?;
        let id = transaction.id();
        let fault = shared.manners.faults.pop_front();
        match fault {
            Some(Fault::Busy) => {
                return Err(proto::refuse(Code::ResourceExhausted, &refusal("mempool-full", "no room", 1)));
            }
            Some(Fault::RequestLost) => return Err(Status::unknown("connection reset")),
            Some(Fault::Slow) => shared.manners.slow.push(transaction),
            _ if shared.position(&id).is_none() => shared.finalise(transaction)?,
            _ => {}
        }
        if matches!(fault, Some(Fault::AnswerLost)) {
            return Err(Status::unknown("connection reset"));
        }
        let position = shared.position(&id);
        let state = if position.is_some() { TransactionState::Finalised } else { TransactionState::Pending };
        let mut id = id.0.to_vec();
        if shared.manners.lie == Some(Lie::OtherTransaction) {
            id[0] ^= 1;
        }
        Ok(Response::new(SubmitResponse { id, state: state.into(), position }))
    }

    type SubmitStreamStream = NoStream<SubmitStreamResponse>;

    async fn submit_stream(&self, _: Request<Streaming<SubmitRequest>>) -> Answer<Self::SubmitStreamStream> {
        Err(Status::unimplemented("not for hands"))
    }

    async fn get_transaction(&self, request: Request<GetTransactionRequest>) -> Answer<GetTransactionResponse> {
        let mut shared = self.lock();
        let id = TransactionId(bytes32(&request.into_inner().id)?);
        let Some(position) = shared.position(&id) else {
            // Known, not final: it will be when it is asked about again.
            let slow = std::mem::take(&mut shared.manners.slow);
            let known = slow.iter().any(|transaction| transaction.id() == id);
            for transaction in slow {
                shared.finalise(transaction)?;
            }
            let state = if known { TransactionState::Pending } else { TransactionState::Unknown };
            return Ok(Response::new(GetTransactionResponse { state: state.into(), ..Default::default() }));
        };
        let transaction = shared.ledger.log[usize::try_from(position.index).unwrap()].0.bytes().to_vec();
        let state = TransactionState::Finalised.into();
        Ok(Response::new(GetTransactionResponse { state, position: Some(position), transaction }))
    }

    async fn get_head(&self, _: Request<GetHeadRequest>) -> Answer<Head> {
        Err(Status::unimplemented("not for hands"))
    }

    type WatchHeadsStream = NoStream<Head>;

    async fn watch_heads(&self, _: Request<WatchHeadsRequest>) -> Answer<Self::WatchHeadsStream> {
        Err(Status::unimplemented("not for hands"))
    }

    async fn get_block(&self, request: Request<GetBlockRequest>) -> Answer<GetBlockResponse> {
        let shared = self.lock();
        let height = request.into_inner().height;
        if height == 0 {
            let header = shared.ledger.scenario.genesis().header.clone();
            let block = ledger::block::Block { header, transactions: Default::default() };
            return Ok(Response::new(GetBlockResponse { block: encode(&block), certificate: Vec::new() }));
        }
        let place = usize::try_from(height - 1).unwrap();
        let (executed, certificate) = shared.ledger.blocks.get(place).ok_or_else(|| not_found("block"))?;
        let mut block = encode(&executed.block);
        if shared.manners.lie == Some(Lie::Altered) {
            // A byte of the state root: nothing but the certificate can tell.
            let root = executed.block.header.state_root.0;
            let place = block.windows(32).position(|bytes| bytes == root).unwrap();
            block[place] ^= 1;
        }
        Ok(Response::new(GetBlockResponse { block, certificate: encode(certificate) }))
    }

    async fn list_blocks(&self, request: Request<ListBlocksRequest>) -> Answer<ListBlocksResponse> {
        let shared = self.lock();
        let ListBlocksRequest { from_height, page_size } = request.into_inner();
        let from = if from_height == 0 { shared.ledger.tip.header.height } else { from_height };
        let size = u64::from(page_size).min(PAGE_MAX as u64);
        let heights = (from.saturating_sub(size) + 1..=from).rev().filter(|height| *height > 0);
        let summary = |height: u64| {
            let (executed, certificate) = &shared.ledger.blocks[usize::try_from(height - 1).unwrap()];
            let header = &executed.block.header;
            BlockSummary {
                height,
                hash: header.hash().0.to_vec(),
                time_ms: header.time_ms,
                transactions: header.tx_count,
                round: certificate.round,
                proposer_organisation: "acme".to_owned(),
                signers: 3,
            }
        };
        let next_height = match shared.manners.lie {
            Some(Lie::Endless) => from + 1,
            _ => from.saturating_sub(size),
        };
        Ok(Response::new(ListBlocksResponse { blocks: heights.map(summary).collect(), next_height }))
    }

    async fn get_patch(&self, request: Request<GetPatchRequest>) -> Answer<Patch> {
        let shared = self.lock();
        let id = PatchId(bytes32(&request.into_inner().id)?);
        let record = shared.ledger.storage.patch(id).unwrap().ok_or_else(|| not_found("patch"))?;
        Ok(Response::new(shared.patch(id, &record)))
    }

    async fn list_patches(&self, request: Request<ListPatchesRequest>) -> Answer<ListPatchesResponse> {
        let shared = self.lock();
        let ListPatchesRequest { product, standing, id_prefix, page_size, page_token } = request.into_inner();
        let mut patches = shared.patches();
        patches.retain(|(id, record)| {
            (product.is_empty() || record.product.as_str() == product)
                && (standing.is_empty() || record.standing.to_string() == standing)
                && id.to_string().starts_with(&id_prefix)
        });
        let patches = patches.iter().map(|(id, record)| shared.patch(*id, record)).collect();
        let (patches, next_page_token) = shared.page(patches, page_size, &page_token);
        Ok(Response::new(ListPatchesResponse { patches, next_page_token }))
    }

    async fn list_endpoints(&self, request: Request<ListEndpointsRequest>) -> Answer<ListEndpointsResponse> {
        let shared = self.lock();
        let ListEndpointsRequest { organisation, page_size, page_token } = request.into_inner();
        let endpoints = shared.endpoints.iter().map(|key| {
            let record = shared.ledger.storage.endpoint(*key).unwrap().unwrap();
            Endpoint {
                key: key.0.to_vec(),
                name: record.name.to_string(),
                group: record.group.to_string(),
                organisation: record.organisation.to_string(),
                labels: record.labels.iter().map(|label| (label.key.to_string(), label.value.to_string())).collect(),
                status: format!("{:?}", record.status).to_lowercase(),
                enrolled: Some(shared.position_at(record.enrolled.index)),
                last_receipt: shared.receipts.iter().rev().find(|receipt| receipt.endpoint == key.0).cloned(),
            }
        });
        let endpoints = endpoints.filter(|known| organisation.is_empty() || known.organisation == organisation);
        let (endpoints, next_page_token) = shared.page(endpoints.collect(), page_size, &page_token);
        Ok(Response::new(ListEndpointsResponse { endpoints, next_page_token }))
    }

    async fn list_receipts(&self, request: Request<ListReceiptsRequest>) -> Answer<ListReceiptsResponse> {
        let shared = self.lock();
        let ListReceiptsRequest { patch, endpoint, page_size, page_token } = request.into_inner();
        let asked = |receipt: &&Receipt| {
            (patch.is_empty() || receipt.patch == patch) && (endpoint.is_empty() || receipt.endpoint == endpoint)
        };
        let receipts = shared.receipts.iter().rev().filter(asked).cloned().collect();
        let (receipts, next_page_token) = shared.page(receipts, page_size, &page_token);
        Ok(Response::new(ListReceiptsResponse { receipts, next_page_token }))
    }

    async fn get_proof(&self, request: Request<GetProofRequest>) -> Answer<GetProofResponse> {
        let mut shared = self.lock();
        let id = PatchId(bytes32(&request.into_inner().patch)?);
        if shared.manners.provable_after > 0 {
            shared.manners.provable_after -= 1;
            return Err(proto::refuse(Code::Unavailable, &refusal("not-yet-provable", "wait", 1)));
        }
        let id = match shared.manners.lie {
            Some(Lie::OtherPatch) => shared.patches().last().unwrap().0,
            _ => id,
        };
        shared.ledger.storage.patch(id).unwrap().ok_or_else(|| not_found("patch"))?;
        Ok(Response::new(GetProofResponse { proof: shared.ledger.prove(id).bytes() }))
    }
}

#[tonic::async_trait]
impl Artifacts for Double {
    async fn stat(&self, request: Request<StatRequest>) -> Answer<StatResponse> {
        let blake3 = bytes32(&request.into_inner().blake3)?;
        let size = self.lock().artifacts.get(&blake3).map(|payload| payload.len() as u64);
        Ok(Response::new(StatResponse { complete: size.is_some(), size: size.unwrap_or(0) }))
    }

    type FetchStream = NoStream<FetchResponse>;

    async fn fetch(&self, _: Request<FetchRequest>) -> Answer<Self::FetchStream> {
        Err(Status::unimplemented("not for hands"))
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

//! A node's double: the two services over loopback, the rules and proofs of a real ledger behind them,
//! and on demand every way in which a node can fail or lie.

mod artifact_service;
mod governance;
mod ledger_service;
mod shared;

use crate::fixture::LedgerInMemory;
use crate::hands::Hands;
use ledger::id::{Digest, PatchId};
use ledger::snapshot::{SNAPSHOT_VERSION, SnapshotPart};
use ledger::state::StateView as _;
use ledger::state::record::Role;
use ledger::transaction::{Payload, VerifiedTransaction};
use proto::v1::artifacts_server::ArtifactsServer;
use proto::v1::ledger_server::LedgerServer;
use proto::v1::{Receipt, Refusal};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use tests::Scenario;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Response, Status};

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
    /// It shows another proposal than the one that was signed.
    OtherProposal,
    /// It shows the proposal asked for with another's transaction.
    OtherProposing,
    /// It shows something that nobody proposed.
    NotAProposal,
    /// It leaves out the first change of the validators.
    EpochMissing,
    /// It leaves out the newest change of the validators.
    NewestEpochMissing,
    /// It shows an epoch link that a quorum did not sign.
    EpochForged,
    /// It says that somebody else was convicted than the evidence says.
    OtherCulprit,
}

#[derive(Default)]
struct Manners {
    /// The height below which it keeps no blocks.
    floor: u64,
    faults: VecDeque<Fault>,
    lie: Option<Lie>,
    slow: Vec<VerifiedTransaction>,
    provable_after: u32,
    submissions: u32,
    uploads: u32,
    /// It sees only itself of the validators.
    lonely: bool,
    /// Parts of its snapshot, and whether the last of them comes again for ever.
    snapshot: (Vec<Vec<u8>>, bool),
    /// It does not know the call that asks for the rules.
    cannot_check: bool,
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
        Self::serve(None, LedgerInMemory::new(Scenario::new(7)))
    }

    /// Another node, with the history of this one so far.
    pub(crate) fn another(&self) -> Self {
        Self::serve(None, self.shared().ledger.clone())
    }

    /// From now on blocks are decided in this round, and signed by those at these places of the set.
    pub(crate) fn decided(&self, round: u32, signers: &[usize]) {
        let mut shared = self.shared();
        (shared.ledger.round, shared.ledger.signers) = (round, Some(signers.to_vec()));
    }

    /// The keys at these places of the genesis set.
    pub(crate) fn validators(&self, places: &[usize]) -> Vec<ledger::key::PublicKey> {
        let shared = self.shared();
        let set = shared.ledger.scenario.genesis().genesis.validators.clone();
        places.iter().map(|place| set.validators()[*place].key).collect()
    }

    /// Its newest height.
    pub(crate) fn height(&self) -> u64 {
        self.shared().ledger.tip.header.height
    }

    /// The same over TLS, with a certificate of its own making.
    pub(crate) fn start_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ledger = LedgerInMemory::new(Scenario::new(7));
        Self::serve(Some((made.cert.pem(), made.signing_key.serialize_pem())), ledger)
    }

    fn serve(tls: Option<(String, String)>, ledger: LedgerInMemory) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            ledger,
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
            proto::install_tls_provider();
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
    /// `operator.key`, `bank.key`, `clinic.key`, `depot.key` of approvers, and `acme-governor.key` and so
    /// on of every organisation.
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
        for organisation in tests::ORGANISATIONS {
            let key = scenario.key(organisation, Role::Governor);
            hands.write_key(&format!("{organisation}-governor.key"), "governor", organisation, &key);
        }
        hands.write_key("node.key", "node", "bank", &scenario.key("bank", Role::Node));
        hands.write_key("operator.key", "operator", "bank", &scenario.key("bank", Role::Operator));
        for organisation in tests::APPROVERS {
            let key = scenario.key(organisation, Role::Approver);
            hands.write_key(&format!("{organisation}.key"), "approver", organisation, &key);
        }
        hands
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
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

    /// What it sends as its snapshot, and whether the last part comes again for ever.
    pub(crate) fn sends(&self, parts: &[SnapshotPart], for_ever: bool) {
        let frame = |part| {
            let part = ledger::encoding::encode(part);
            [&u32::try_from(part.len()).unwrap().to_le_bytes()[..], &part].concat()
        };
        self.shared().manners.snapshot = (parts.iter().map(frame).collect(), for_ever);
    }

    /// How a snapshot of its newest block begins.
    pub(crate) fn beginning(&self) -> SnapshotPart {
        let shared = self.shared();
        let (block, certificate) = shared.ledger.blocks.last().expect("something is final");
        let before = shared.ledger.scenario.genesis().header.clone();
        let header = block.block.header.clone();
        SnapshotPart::Begin { version: SNAPSHOT_VERSION, header, certificate: certificate.clone(), before }
    }

    /// From now on it sees no other validators.
    pub(crate) fn is_left_alone(&self) {
        self.shared().manners.lonely = true;
    }

    /// It is asked once for what the rules say, and does not know the call.
    pub(crate) fn cannot_check(&self) {
        self.shared().manners.cannot_check = true;
    }

    /// It forgets the blocks below a height.
    pub(crate) fn forgets_below(&self, height: u64) {
        self.shared().manners.floor = height;
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

    /// From now on the node has something else under this digest.
    pub(crate) fn spoil(&self, blake3: &str) {
        let blake3: ledger::id::Digest = blake3.parse().unwrap();
        let mut shared = self.shared();
        let payload = shared.artifacts.get_mut(&blake3.0).unwrap();
        let middle = payload.len() / 2;
        payload[middle] ^= 1;
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

    /// The validators change so many times.
    pub(crate) fn rotate(&self, times: usize) {
        let mut shared = self.shared();
        for _ in 0..times {
            shared.ledger.rotate(now_ms());
        }
    }

    /// What the ledger knows of a proposal.
    pub(crate) fn proposal(&self, id: &str) -> ledger::governance::ProposalRecord {
        self.shared().ledger.storage.proposal(id.parse().unwrap()).unwrap().expect("it was proposed")
    }

    /// What the ledger's state says.
    pub(crate) fn state<T>(&self, ask: impl FnOnce(&ledger::state::storage::MemoryStorage) -> T) -> T {
        ask(&self.shared().ledger.storage)
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

#[derive(Clone)]
struct Double(Arc<Mutex<Shared>>);

type Answer<T> = Result<Response<T>, Status>;
type NoStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Double {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap()
    }
}

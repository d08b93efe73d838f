//! The nodes an agent asks: what it sends, how long it waits, what it takes. Nothing that comes from
//! here is believed; it is checked by whoever asked.

use crate::config;
use crate::files::{self, FileError};
use ledger::encoding::decode;
use ledger::id::{Digest, PatchId, TransactionId};
use ledger::inclusion::InclusionProof;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::proof::EpochLink;
use policy::Subscription;
use proto::MESSAGE_BYTES_MAX;
use proto::Message;
use proto::lean::{self, Lean};
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::enrolment_client::EnrolmentClient;
use proto::v1::inventories_client::InventoriesClient;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{self, TransactionState};
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status, Streaming};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take that answers at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node may take for all pages of a list.
const LISTING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a node may keep a submitted transaction before it answers.
const SUBMIT_WAIT: Duration = Duration::from_secs(10);
/// How long enrolling a host may take: as long as a node waits for its turn, and for finality.
const JOIN_TIMEOUT: Duration = Duration::from_secs(25);
/// How often a quiet connection is tried, so that a dead one is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long the other side may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest file of TLS roots.
const CA_BYTES_MAX: usize = 256 * 1024;
/// Bytes on their way at one time, per connection and stream: an artifact must not fill memory.
const WINDOW_BYTES: u32 = 256 * 1024;
/// Pages of receipts looked through for one number.
const RECEIPT_PAGES_MAX: usize = 50;
/// Pages of patches looked through for one product: of each of theirs, an id and a number are kept.
const PATCH_PAGES_MAX: usize = 50;

/// Pages of endpoints looked through for one that is called the same.
const ENDPOINT_PAGES_MAX: usize = 20;

/// A call that did not give an answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{node}: {call}: {cause}")]
pub struct CallError {
    /// Which node.
    pub node: String,
    /// Which call.
    pub call: &'static str,
    /// What happened.
    pub cause: CallCause,
}

/// What happened to a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallCause {
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// No connection, or it broke.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// The node said no.
    #[error("refused: {check}: {message}")]
    Refused {
        /// The check, a stable word.
        check: String,
        /// What it saw.
        message: String,
        /// When to try again; 0 when the node does not say.
        retry_after_ms: u64,
    },
    /// An answer that is none.
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
}

impl CallError {
    /// The check that refused the call, if one did.
    #[must_use]
    pub fn check(&self) -> Option<&str> {
        match &self.cause {
            CallCause::Refused { check, .. } => Some(check),
            _ => None,
        }
    }

    /// Whether the node says nothing at all.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self.cause, CallCause::TimedOut | CallCause::Unreachable(_))
    }

    /// How long the node asks to be left alone, when it says "later".
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.cause {
            CallCause::Refused { retry_after_ms, .. } if *retry_after_ms > 0 => {
                Some(Duration::from_millis(*retry_after_ms))
            }
            _ => None,
        }
    }
}

/// Why the nodes cannot even be named.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The roots cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// They are none.
    #[error("{} has no certificates in PEM in it, or something else", .0.display())]
    NoRoots(PathBuf),
    /// An address or the roots are not usable.
    #[error("{node}: not usable with these TLS roots")]
    Tls {
        /// Which node.
        node: String,
        /// What the TLS library says.
        #[source]
        source: tonic::transport::Error,
    },
}

/// One node.
#[derive(Clone, Debug)]
pub struct Source {
    node: String,
    channel: Channel,
    ledger: LedgerClient<Channel>,
    artifacts: ArtifactsClient<Channel>,
    enrolment: EnrolmentClient<Channel>,
    inventories: InventoriesClient<Channel>,
}

/// A patch that a node lists as approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its release counter.
    pub release: u64,
    /// Its id.
    pub patch: PatchId,
}

/// All nodes of the configuration, in its order. Connections are made when they are needed.
#[derive(Clone, Debug)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Prepares the connections.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn new(config: &config::Ledger) -> Result<Self, SourceError> {
        let roots = match &config.ca {
            Some(ca) => files::read(ca, CA_BYTES_MAX)?,
            None => Vec::new(),
        };
        if let Some(ca) = config.ca.as_ref().filter(|_| !proto::are_certificates(&roots)) {
            return Err(SourceError::NoRoots(ca.clone()));
        }
        Self::with_roots(&config.nodes, config.server_name.as_deref(), &roots)
    }

    /// The same of nodes that no configuration names yet.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn with_roots(nodes: &[String], server_name: Option<&str>, roots: &[u8]) -> Result<Self, SourceError> {
        let roots = Certificate::from_pem(roots);
        let source = |node: &String| {
            proto::install_tls_provider();
            let mut tls = ClientTlsConfig::new().ca_certificate(roots.clone());
            if let Some(name) = server_name {
                tls = tls.domain_name(name);
            }
            let unusable = |source| SourceError::Tls { node: node.clone(), source };
            let endpoint = Endpoint::from_shared(node.clone()).map_err(unusable)?;
            let endpoint = endpoint
                .tls_config(tls)
                .map_err(unusable)?
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .tcp_keepalive(Some(KEEPALIVE_INTERVAL))
                .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES);
            let channel = endpoint.connect_lazy();
            let ledger = LedgerClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            let enrolment = EnrolmentClient::new(channel.clone());
            let inventories = InventoriesClient::new(channel.clone());
            let artifacts = ArtifactsClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
            Ok(Source { node: node.clone(), channel, ledger, artifacts, enrolment, inventories })
        };
        nodes.iter().map(source).collect::<Result<_, _>>().map(Self)
    }

    /// The nodes, in the configuration's order.
    #[must_use]
    pub fn all(&self) -> &[Source] {
        &self.0
    }

    /// The nodes, beginning with one of them.
    pub fn from(&self, first: usize) -> impl Iterator<Item = &Source> {
        let count = self.0.len().max(1);
        (0..self.0.len()).map(move |place| &self.0[(first + place) % count])
    }
}

impl Source {
    /// Its address.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The genesis file, as it says.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn genesis(&self) -> Result<Vec<u8>, CallError> {
        let mut client = self.ledger.clone();
        let asked = client.get_genesis(v1::GetGenesisRequest {});
        Ok(self.call("GetGenesis", CALL_TIMEOUT, asked).await?.genesis)
    }

    /// Has this host enrolled, by an invitation.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn join(&self, request: v1::JoinRequest) -> Result<v1::JoinResponse, CallError> {
        let mut client = self.enrolment.clone();
        self.call("Join", JOIN_TIMEOUT, client.join(request)).await
    }

    /// The endpoints that this node lists, as far as it is asked: views, and proof of nothing.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn endpoints(&self) -> Result<Vec<v1::Endpoint>, CallError> {
        self.within(LISTING_TIMEOUT, "ListEndpoints", async {
            let (mut endpoints, mut page_token) = (Vec::new(), String::new());
            for _ in 0..ENDPOINT_PAGES_MAX {
                let request = v1::ListEndpointsRequest { page_token, ..Default::default() };
                let mut client = self.ledger.clone();
                let answer = self.call("ListEndpoints", CALL_TIMEOUT, client.list_endpoints(request)).await?;
                endpoints.extend(answer.endpoints);
                page_token = answer.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            Ok(endpoints)
        })
        .await
    }

    /// Says what is on this host.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn report(&self, request: v1::ReportRequest) -> Result<v1::ReportResponse, CallError> {
        let mut client = self.inventories.clone();
        self.call("Report", CALL_TIMEOUT, client.report(request)).await
    }

    /// The newest head.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn head(&self) -> Result<v1::Head, CallError> {
        let mut client = self.ledger.clone();
        self.call("GetHead", CALL_TIMEOUT, client.get_head(v1::GetHeadRequest {})).await
    }

    /// Heads as they come.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn watch(&self) -> Result<Streaming<v1::Head>, CallError> {
        let mut client = self.ledger.clone();
        self.call("WatchHeads", CALL_TIMEOUT, client.watch_heads(v1::WatchHeadsRequest {})).await
    }

    /// Approved patches of a subscription, newest first, until one is not newer than what is installed: views, and
    /// proof of nothing.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn approved(&self, of: &Subscription, installed: u64) -> Result<Vec<Listed>, CallError> {
        self.within(LISTING_TIMEOUT, "ListPatches", self.approved_on_all_pages(of, installed)).await
    }

    async fn approved_on_all_pages(&self, of: &Subscription, installed: u64) -> Result<Vec<Listed>, CallError> {
        let (mut patches, mut page_token) = (Vec::new(), String::new());
        for _ in 0..PATCH_PAGES_MAX {
            let request = v1::ListPatchesRequest {
                product: of.product.to_string(),
                standing: "approved".to_owned(),
                page_size: lean::PATCHES_PER_PAGE,
                page_token,
                ..Default::default()
            };
            let answer = self.patches(request).await?;
            page_token = answer.next_page_token;
            let fits = |patch: &&lean::ListedPatch| {
                patch.product == of.product.as_str()
                    && patch.channel == of.channel.as_str()
                    && patch.standing == "approved"
            };
            let listed = |patch: &lean::ListedPatch| Some(Listed { release: patch.release, patch: patch_id(patch)? });
            let known = patches.len();
            patches.extend(answer.patches.iter().filter(fits).filter_map(listed));
            if page_token.is_empty() || patches[known..].iter().any(|listed| listed.release <= installed) {
                break;
            }
        }
        Ok(patches)
    }

    /// Patches whose id begins so, at most two: enough to see that there is one, or more than one.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn named(&self, id_prefix: &str) -> Result<Vec<PatchId>, CallError> {
        let id_prefix = id_prefix.to_owned();
        let request = v1::ListPatchesRequest { id_prefix, page_size: 2, ..Default::default() };
        Ok(self.patches(request).await?.patches.iter().filter_map(patch_id).collect())
    }

    /// Changes of the validator set in headers of this height or above, the oldest first. What does not
    /// parse is left out: it proves nothing.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn epochs(&self, from_height: u64) -> Result<Vec<EpochLink>, CallError> {
        let answer: lean::Epochs = self.lean("GetEpochs", v1::GetEpochsRequest { from_height }).await?;
        Ok(answer.links.iter().filter_map(|link| decode(link).ok()).collect())
    }

    async fn patches(&self, request: v1::ListPatchesRequest) -> Result<lean::Patches, CallError> {
        self.lean("ListPatches", request).await
    }

    /// Asks for what repeats something: what a node puts into one message, not all of it may become memory here.
    async fn lean<A: Lean>(&self, call: &'static str, question: impl Message + 'static) -> Result<A, CallError> {
        self.call(call, CALL_TIMEOUT, lean::call(self.channel.clone(), question)).await
    }

    /// The proof file of a patch.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn proof(&self, patch: PatchId) -> Result<Vec<u8>, CallError> {
        let mut client = self.ledger.clone();
        let request = v1::GetProofRequest { patch: patch.0.to_vec() };
        Ok(self.call("GetProof", CALL_TIMEOUT, client.get_proof(request)).await?.proof)
    }

    /// A range of an artifact in its self-checking form, from `offset` to the end.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn fetch(
        &self,
        blake3: Digest,
        size: u64,
        offset: u64,
    ) -> Result<Streaming<v1::FetchResponse>, CallError> {
        let mut client = self.artifacts.clone();
        let request = v1::FetchRequest { blake3: blake3.0.to_vec(), size, offset, length: 0 };
        self.call("Fetch", CALL_TIMEOUT, client.fetch(request)).await
    }

    /// What this node says the rules say of a signed transaction; it takes nothing.
    ///
    /// # Errors
    /// [`CallError`], with the check that would refuse it.
    pub async fn check(&self, transaction: Vec<u8>) -> Result<(), CallError> {
        let mut client = self.ledger.clone();
        self.call("Check", CALL_TIMEOUT, client.check(v1::CheckRequest { transaction })).await.map(drop)
    }

    /// The key this node says its peers know it by.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn node_key(&self) -> Result<Vec<u8>, CallError> {
        let answer: lean::NodeKey = self.lean("GetStatus", v1::GetStatusRequest {}).await?;
        Ok(answer.node_key)
    }

    /// Offers a transaction and waits a while for it to be final; whether it is.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn submit(&self, transaction: Vec<u8>) -> Result<bool, CallError> {
        if transaction.len() > limits::TRANSACTION_BYTES_MAX {
            return Err(self.error("Submit", CallCause::Malformed("the transaction is too large to send")));
        }
        let mut client = self.ledger.clone();
        let wait_ms = u64::try_from(SUBMIT_WAIT.as_millis()).unwrap_or(u64::MAX);
        let request = v1::SubmitRequest { transaction, wait_ms };
        let answer = self.call("Submit", SUBMIT_WAIT + CALL_TIMEOUT, client.submit(request)).await?;
        Ok(answer.state() == TransactionState::Finalised)
    }

    /// What this node has to prove that a transaction is final; `None` where it does not say that it is, or
    /// the next block is not there yet.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn inclusion(&self, id: TransactionId) -> Result<Option<InclusionProof>, CallError> {
        self.transaction(id).await.map(|(_, inclusion)| inclusion)
    }

    /// A transaction as this node has it, empty where it has none, and what it has to prove that it is final.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn transaction(&self, id: TransactionId) -> Result<(Vec<u8>, Option<InclusionProof>), CallError> {
        let mut client = self.ledger.clone();
        let request = v1::GetTransactionRequest { id: id.0.to_vec() };
        let answer = self.call("GetTransaction", CALL_TIMEOUT, client.get_transaction(request)).await?;
        let inclusion = Some(&answer.inclusion).filter(|inclusion| !inclusion.is_empty());
        let malformed = |_| self.error("GetTransaction", CallCause::Malformed("no proof that it is final"));
        let inclusion = inclusion.map(|inclusion| decode(inclusion)).transpose().map_err(malformed)?;
        Ok((answer.transaction, inclusion))
    }

    /// The transaction that recalled a patch, by this node's word; `None` where it knows of none.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn recall(&self, patch: PatchId) -> Result<Option<TransactionId>, CallError> {
        let answer: lean::Recalled = self.lean("GetPatch", v1::GetPatchRequest { id: patch.0.to_vec() }).await?;
        Ok(answer.recall.and_then(|recall| id(&recall.transaction_id)).map(TransactionId))
    }

    /// The newest receipt that this endpoint wrote for a patch, by this node's word: its number, and the transaction.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn last_attempt(
        &self,
        endpoint: PublicKey,
        patch: PatchId,
    ) -> Result<Option<(u32, TransactionId)>, CallError> {
        self.within(LISTING_TIMEOUT, "ListReceipts", self.last_attempt_on_all_pages(endpoint, patch)).await
    }

    async fn last_attempt_on_all_pages(
        &self,
        endpoint: PublicKey,
        patch: PatchId,
    ) -> Result<Option<(u32, TransactionId)>, CallError> {
        let (mut page_token, mut last) = (String::new(), None);
        // A node filters by endpoint and then by patch, so pages may be empty; they end all the same.
        for _ in 0..RECEIPT_PAGES_MAX {
            let request = v1::ListReceiptsRequest {
                patch: patch.0.to_vec(),
                endpoint: endpoint.0.to_vec(),
                page_size: lean::RECEIPTS_PER_PAGE,
                page_token,
            };
            let answer: lean::Receipts = self.lean("ListReceipts", request).await?;
            let wanted =
                answer.receipts.iter().filter(|receipt| receipt.patch == patch.0 && receipt.endpoint == endpoint.0);
            let named =
                wanted.filter_map(|receipt| Some((receipt.attempt, TransactionId(id(&receipt.transaction_id)?))));
            last = named.max().max(last);
            page_token = answer.next_page_token;
            if last.is_some() || page_token.is_empty() {
                break;
            }
        }
        Ok(last)
    }

    /// What is asked of this node in more than one call, and no longer than this.
    pub(crate) async fn within<T>(
        &self,
        timeout: Duration,
        call: &'static str,
        asked: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| Err(self.error(call, CallCause::TimedOut)))
    }

    async fn call<T>(
        &self,
        call: &'static str,
        timeout: Duration,
        answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.failed(call, &status)),
            Err(_) => Err(self.error(call, CallCause::TimedOut)),
        }
    }

    /// Translates what a call or a stream ended with.
    pub(crate) fn failed(&self, call: &'static str, status: &Status) -> CallError {
        let refused =
            |check: String, message: String, retry_after_ms| CallCause::Refused { check, message, retry_after_ms };
        let cause = match (proto::refusal(status), status.code()) {
            (Some(refusal), _) => refused(refusal.check, refusal.message, refusal.retry_after_ms),
            (None, Code::DeadlineExceeded) => CallCause::TimedOut,
            (None, Code::OutOfRange) if status.message() == lean::TOO_MANY => CallCause::Malformed(lean::TOO_MANY),
            (None, Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal) => {
                CallCause::Unreachable(reason(status))
            }
            (None, code) => refused(format!("{code:?}").to_lowercase(), status.message().to_owned(), 0),
        };
        self.error(call, cause)
    }

    pub(crate) fn error(&self, call: &'static str, cause: CallCause) -> CallError {
        CallError { node: self.node.clone(), call, cause }
    }
}

/// The innermost cause: "transport error" alone helps nobody.
fn reason(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match std::ptr::addr_eq(cause, status) {
        true => status.message().to_owned(),
        false => cause.to_string(),
    }
}

fn patch_id(listed: &lean::ListedPatch) -> Option<PatchId> {
    id(&listed.id).map(PatchId)
}

/// 32 bytes from an answer.
pub(crate) fn id(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

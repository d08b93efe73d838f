//! The way to a node, and what its refusals mean. What a node says is believed only as far as it can be
//! checked.

use crate::failure::Failure;
use crate::files::{self, FileError};
use crate::options::Global;
use crate::sign::{NotThePatch, NotTheProposal};
use crate::terminal::escape;
use crate::trust::Trust;
use ledger::id::{ChainId, PatchId, TransactionId};
use ledger::proof::EpochError;
use proto::v1::artifacts_client::ArtifactsClient;
use proto::v1::ledger_client::LedgerClient;
use proto::v1::{GetStatusRequest, GetStatusResponse, ListPatchesRequest, Patch};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

/// Largest file of root certificates.
const CA_BYTES_MAX: usize = 1024 * 1024;
/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one call to the ledger service may take; longer than any wait it is asked for.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a silent peer is asked whether it is there, and how long it has to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Shortest patch prefix a node is asked about.
const PREFIX_DIGITS_MIN: usize = 4;

/// What a node, or the way to it, said no to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nobody said which node.
    #[error("no node given")]
    NoNode,
    /// The address is none.
    #[error("{url:?} is not the address of a node: {detail}")]
    BadAddress {
        /// The address.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The root certificates.
    #[error("no root certificates for {url}")]
    NoCa {
        /// The address.
        url: String,
    },
    /// Their file.
    #[error(transparent)]
    Ca(#[from] FileError),
    /// Nobody answered.
    #[error("cannot reach the node at {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The connection or the node failed under way.
    #[error("the node failed: {code:?}: {message}")]
    Failed {
        /// gRPC's word.
        code: Code,
        /// The node's sentence.
        message: String,
    },
    /// The node refused.
    #[error("refused by check {check}: {message}")]
    Refused {
        /// The check, a stable word.
        check: String,
        /// What it saw.
        message: String,
        /// What to do about it.
        hint: String,
        /// When to try again, if that helps.
        retry_after_ms: Option<u64>,
    },
    /// The node is of another ledger.
    #[error("refused by check chain-id: the node is of chain {actual}, the trust root is {expected}")]
    WrongChain {
        /// The node's chain.
        actual: String,
        /// The chain trusted.
        expected: ChainId,
    },
    /// An answer that contradicts itself or what was asked.
    #[error("the node's answer cannot be believed: {0}")]
    Unbelievable(String),
    /// What the node shows as the vendor's signed patch is not.
    #[error("refused by check signature: what the node shows as patch {asked} is not")]
    NotThePatch {
        /// The patch asked for.
        asked: PatchId,
        /// Why.
        source: NotThePatch,
    },
    /// What the node shows as a governor's signed proposal is not.
    #[error("refused by check signature: what the node shows as proposal {asked} is not")]
    NotTheProposal {
        /// The proposal asked for.
        asked: TransactionId,
        /// Why.
        source: NotTheProposal,
    },
    /// The chain of validator sets is broken.
    #[error("refused by check epoch-chain: the header at height {height}")]
    EpochChain {
        /// Height of the header that is to prove the next step.
        height: u64,
        /// What is wrong with it.
        source: EpochError,
    },
    /// No id begins so.
    #[error("no {what} begins with {prefix}")]
    NoneBeginsWith {
        /// Patch or endpoint.
        what: &'static str,
        /// What was typed.
        prefix: String,
    },
    /// Several ids begin so.
    #[error("several {what} begin with {prefix}: {}", among.join(", "))]
    SeveralBeginWith {
        /// Patches or endpoints.
        what: &'static str,
        /// What was typed.
        prefix: String,
        /// Some of them.
        among: Vec<String>,
    },
}

impl NodeError {
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::WrongChain { .. }
                | Self::Unbelievable(_)
                | Self::NotThePatch { .. }
                | Self::NotTheProposal { .. }
                | Self::EpochChain { .. }
                | Self::NoneBeginsWith { .. }
                | Self::SeveralBeginWith { .. }
        )
    }

    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { hint, .. } => return Some(hint.clone()),
            Self::Ca(error) => return error.hint(),
            Self::NoNode => "say which with --node URL or COUNTERSIGN_NODE, for instance https://127.0.0.1:7101",
            Self::BadAddress { .. } => "an address looks like https://node.example:7101",
            Self::NoCa { .. } => "give the PEM file with the node's root with --ca FILE or COUNTERSIGN_CA",
            Self::Unreachable { .. } => "is the node running, and is its certificate from the roots given with --ca?",
            Self::WrongChain { .. } => "compare your genesis file with the one the node's organisation has",
            Self::Unbelievable(_)
            | Self::NotThePatch { .. }
            | Self::NotTheProposal { .. }
            | Self::EpochChain { .. } => "do not sign anything this node shows; ask another organisation's node",
            Self::SeveralBeginWith { .. } => "type more of it",
            Self::Failed { .. } | Self::NoneBeginsWith { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// A refusal as a value, or a failure of the connection.
impl From<Status> for NodeError {
    fn from(status: Status) -> Self {
        if let Some(refusal) = proto::refusal(&status) {
            let retry_after_ms =
                matches!(status.code(), Code::ResourceExhausted | Code::Unavailable).then_some(refusal.retry_after_ms);
            let (check, message, hint) = (refusal.check, refusal.message, refusal.hint);
            return Self::Refused { check, message, hint, retry_after_ms };
        }
        let message = status.message().to_owned();
        let check = match status.code() {
            Code::NotFound => "not-found",
            Code::InvalidArgument => "invalid-argument",
            Code::PermissionDenied => "permission-denied",
            Code::Unauthenticated => "unauthenticated",
            Code::FailedPrecondition => "failed-precondition",
            code => return Self::Failed { code, message },
        };
        Self::Refused { check: check.to_owned(), message, hint: String::new(), retry_after_ms: None }
    }
}

/// A node that answers, of the ledger that is trusted.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its ledger service.
    pub ledger: LedgerClient<Channel>,
    /// Its artifact service.
    pub artifacts: ArtifactsClient<Channel>,
    /// What it said of itself when the connection was made.
    pub status: GetStatusResponse,
    /// The chain: the trust root's when there is one, the node's word otherwise.
    pub chain_id: ChainId,
}

impl Connection {
    /// Connects to the node given, and makes sure that it is of the ledger trusted.
    ///
    /// # Errors
    /// [`Failure::Node`].
    pub async fn open(global: &Global, trust: Option<&Trust>) -> Result<Self, Failure> {
        let url = global.node.as_deref().ok_or(NodeError::NoNode)?;
        let endpoint = endpoint(url, global.ca.as_ref())?;
        let unreachable = |source| NodeError::Unreachable { url: url.to_owned(), source };
        let channel = endpoint.clone().timeout(CALL_TIMEOUT).connect().await.map_err(unreachable)?;
        let mut ledger = LedgerClient::new(channel)
            .max_decoding_message_size(proto::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(proto::MESSAGE_BYTES_MAX);
        // A large artifact takes as long as it takes; keep-alive notices a dead peer.
        let artifacts = ArtifactsClient::new(endpoint.connect_lazy());
        let status = ledger.get_status(GetStatusRequest {}).await.map_err(NodeError::from)?.into_inner();
        let claimed = ChainId(id(&status.chain_id, "chain id")?);
        match trust.map(Trust::chain_id) {
            Some(expected) if expected != claimed => {
                Err(NodeError::WrongChain { actual: claimed.to_string(), expected }.into())
            }
            _ => Ok(Self { ledger, artifacts, status, chain_id: claimed }),
        }
    }

    /// The one patch whose id is this, or begins so.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn resolve_patch(&mut self, text: &str) -> Result<PatchId, NodeError> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let request = ListPatchesRequest { id_prefix: text.to_owned(), page_size: 5, ..Default::default() };
        let found = self.ledger.list_patches(request).await?.into_inner().patches;
        let ids = found.iter().map(|patch| id(&patch.id, "patch id").map(PatchId)).collect::<Result<Vec<_>, _>>()?;
        only("patch", "patches", text, &ids)
    }

    /// What the node says of a patch.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn patch(&mut self, patch: PatchId) -> Result<Patch, NodeError> {
        let request = proto::v1::GetPatchRequest { id: patch.as_bytes().to_vec() };
        let answer = self.ledger.get_patch(request).await?.into_inner();
        if answer.id != patch.as_bytes() {
            return Err(NodeError::Unbelievable(format!("asked for patch {patch}, it speaks of another")));
        }
        Ok(answer)
    }
}

/// The one id that begins with what was typed.
pub(crate) fn only<T: Copy + ToString>(
    one: &'static str,
    many: &'static str,
    prefix: &str,
    ids: &[T],
) -> Result<T, NodeError> {
    let prefix = prefix.to_owned();
    let matching: Vec<&T> = ids.iter().filter(|id| id.to_string().starts_with(&prefix)).collect();
    match matching.as_slice() {
        [] => Err(NodeError::NoneBeginsWith { what: one, prefix }),
        [id] => Ok(**id),
        several => {
            let among = several.iter().take(5).map(|id| crate::terminal::short(*id)).collect();
            Err(NodeError::SeveralBeginWith { what: many, prefix, among })
        }
    }
}

/// What a person typed for an id: hexadecimal digits, all 64 or enough to tell it from others.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_prefix(text: &str) -> Result<String, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || text.len() > 64 || text.len() < PREFIX_DIGITS_MIN {
        return Err(format!("expected {PREFIX_DIGITS_MIN} to 64 hexadecimal digits"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Thirty-two bytes from a node.
pub(crate) fn id(bytes: &[u8], what: &str) -> Result<[u8; 32], NodeError> {
    bytes.try_into().map_err(|_| NodeError::Unbelievable(format!("a {what} of {} bytes", bytes.len())))
}

fn endpoint(url: &str, ca: Option<&PathBuf>) -> Result<Endpoint, NodeError> {
    let bad = |detail: &str| NodeError::BadAddress { url: url.to_owned(), detail: escape(detail) };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| bad("not a URL"))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    match endpoint.uri().scheme_str() {
        Some("https") => {
            let ca = ca.ok_or_else(|| NodeError::NoCa { url: url.to_owned() })?;
            let roots = Certificate::from_pem(files::read(ca, "root certificates", CA_BYTES_MAX)?);
            proto::install_tls_provider();
            let tls = ClientTlsConfig::new().ca_certificate(roots);
            endpoint.tls_config(tls).map_err(|source| NodeError::Unreachable { url: url.to_owned(), source })
        }
        Some("http") if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) => Ok(endpoint),
        Some("http") => Err(bad("plain http is for this machine itself only")),
        _ => Err(bad("neither https nor http")),
    }
}

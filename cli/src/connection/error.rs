//! What a node, or the way to it, said no to, and what to do about it.

use crate::files::FileError;
use crate::sign::{NotThePatch, NotTheProposal};
use ledger::id::{ChainId, PatchId, TransactionId};
use ledger::proof::EpochError;
use std::path::PathBuf;
use tonic::{Code, Status};

/// What a node, or the way to it, said no to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The root certificates have none among them.
    #[error("{} has no certificate in it", ca.display())]
    NoCertificate {
        /// Their file.
        ca: PathBuf,
    },
    /// The node's certificate is from somebody else.
    #[error("the certificate of {url} is not from the roots in {}", ca.display())]
    OtherRoots {
        /// The address.
        url: String,
        /// The file of the roots.
        ca: PathBuf,
    },
    /// The node's certificate is good, for another address.
    #[error("the certificate of {url} is for another address")]
    OtherName {
        /// The address.
        url: String,
        /// What the certificate says.
        source: tonic::transport::Error,
    },
    /// The node's certificate is not valid now.
    #[error("the certificate of {url} is not valid at this machine's time")]
    OtherTime {
        /// The address.
        url: String,
        /// What the certificate says.
        source: tonic::transport::Error,
    },
    /// What listens there speaks something else.
    #[error("{url} does not speak TLS")]
    NotTls {
        /// The address.
        url: String,
    },
    /// What listens there wants TLS.
    #[error("{url} speaks TLS, and was asked without")]
    OnlyTls {
        /// The address.
        url: String,
    },
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
    /// No endpoint is called so.
    #[error("no endpoint is called {0}")]
    NoEndpoint(String),
    /// Several endpoints are called so.
    #[error("several endpoints are called {name}: {}", among.join(", "))]
    SeveralEndpoints {
        /// What was typed.
        name: String,
        /// Some of their keys.
        among: Vec<String>,
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
                | Self::NoEndpoint(_)
                | Self::SeveralEndpoints { .. }
        )
    }

    /// A stable word for programs: the check, where there is one.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused { check, .. } => check,
            Self::BadAddress { .. } => "address",
            Self::NoCa { .. } => "no-roots",
            Self::Ca(_) => "file",
            Self::NoCertificate { .. } => "no-certificate",
            Self::OtherRoots { .. } | Self::OtherName { .. } | Self::OtherTime { .. } => "node-certificate",
            Self::NotTls { .. } => "not-tls",
            Self::OnlyTls { .. } => "only-tls",
            Self::Unreachable { .. } => "unreachable",
            Self::Failed { .. } => "failed",
            Self::WrongChain { .. } => "chain-id",
            Self::Unbelievable(_) => "unbelievable",
            Self::NotThePatch { .. } | Self::NotTheProposal { .. } => "signature",
            Self::EpochChain { .. } => "epoch-chain",
            Self::NoneBeginsWith { .. } | Self::NoEndpoint(_) => "not-found",
            Self::SeveralBeginWith { .. } | Self::SeveralEndpoints { .. } => "ambiguous",
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { hint, .. } => return Some(hint.clone()),
            Self::Ca(error) => return error.hint(),
            Self::BadAddress { .. } => "an address looks like https://node.example:7101",
            Self::NoCa { .. } => "give the PEM file with the node's root with --ca FILE or COUNTERSIGN_CA",
            Self::NoCertificate { .. } => {
                "--ca takes PEM text with BEGIN CERTIFICATE: the ca.pem that `countersign-node init` wrote for the node"
            }
            Self::OtherRoots { .. } => {
                "every node has roots of its own: give the ca.pem of this very node with --ca FILE or COUNTERSIGN_CA"
            }
            Self::OtherName { .. } => {
                "ask it by an address its certificate is for: `countersign-node init --host` said which"
            }
            Self::OtherTime { .. } => "set this machine's clock, or have the node's operator make a new certificate",
            Self::NotTls { .. } => {
                "give the address clients use: `listen` of [grpc] in the node's configuration, not that of its peers"
            }
            Self::OnlyTls { .. } => {
                "write https:// instead of http://, and give the node's ca.pem with --ca FILE or COUNTERSIGN_CA"
            }
            Self::Unreachable { .. } => "is the node running, and is this the address clients use?",
            Self::Failed { .. } => "try again, or ask another node with --node",
            Self::WrongChain { .. } => "compare your genesis file with the one the node's organisation has",
            Self::Unbelievable(_)
            | Self::NotThePatch { .. }
            | Self::NotTheProposal { .. }
            | Self::EpochChain { .. } => "do not sign anything this node shows; ask another organisation's node",
            Self::NoneBeginsWith { .. } | Self::NoEndpoint(_) => {
                "`countersign get` lists what there is; a node that is behind may not have it yet"
            }
            Self::SeveralBeginWith { .. } => "type more of it",
            Self::SeveralEndpoints { .. } => "give the beginning of the key",
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

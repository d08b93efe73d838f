//! Refusals: every refused call names the check, says what it saw and what to do about it.

use crate::artifacts::{ArtifactError, NoPlace};
use crate::desk::NoClaim;
use crate::proof::AssemblyError;
use consensus::member::{NoRoom, OfferError};
use ledger::artifact::GrantError;
use ledger::encoding::DecodeError;
use ledger::state::Rejection;
use ledger::transaction::TransactionError;
use proto::v1::Refusal;
use std::io;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::{Code, Status};

/// When to try again after "no room".
const RETRY_AFTER_MS: u64 = 200;
/// When to try again after "no room on the disk" or "too many transfers": people or time must help.
const RETRY_MUCH_LATER_MS: u64 = 10_000;

/// A refusal and the gRPC code it travels under.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) code: Code,
    pub(super) refusal: Refusal,
}

impl Refused {
    pub(super) fn new(code: Code, check: &str, message: impl ToString, hint: &str) -> Self {
        let hint = if hint.is_empty() { usual_hint(check) } else { hint };
        let refusal =
            Refusal { check: check.to_owned(), message: message.to_string(), hint: hint.to_owned(), retry_after_ms: 0 };
        Self { code, refusal }
    }

    pub(super) fn retry_after(mut self, retry_after_ms: u64) -> Self {
        self.refusal.retry_after_ms = retry_after_ms;
        self
    }

    /// Whether it is one that a little patience mends.
    pub(super) fn is_for_want_of_room(&self) -> bool {
        self.code == Code::ResourceExhausted && self.refusal.retry_after_ms == RETRY_AFTER_MS
    }

    pub(super) fn not_found(what: impl ToString) -> Self {
        Self::new(Code::NotFound, "not-found", what, "")
    }

    pub(super) fn invalid(check: &str, message: impl ToString) -> Self {
        Self::new(Code::InvalidArgument, check, message, "")
    }

    pub(super) fn internal(error: impl ToString) -> Self {
        Self::new(
            Code::Internal,
            "storage",
            error,
            "see the node's log; run `countersign-node fsck` when it is stopped",
        )
    }

    pub(super) fn busy(message: impl ToString) -> Self {
        let hint = "ask another node, or try again after retry_after_ms";
        Self::new(Code::ResourceExhausted, "quota", message, hint).retry_after(RETRY_MUCH_LATER_MS)
    }

    pub(super) fn slow(message: impl ToString) -> Self {
        Self::new(Code::DeadlineExceeded, "slow", message, "try again over a faster way")
    }

    pub(super) fn stopping() -> Self {
        Self::new(Code::Unavailable, "stopping", "the node is stopping", "ask another node").retry_after(1_000)
    }
}

/// What to do about a check, where the call has nothing better to say.
fn usual_hint(check: &str) -> &'static str {
    match check {
        "page-token" => "pass on next_page_token of the answer before, as it is",
        "not-found" => "compare the id or height; a node that is behind may not have it yet",
        "malformed" => "see the field's comment in ledger.proto: ids, keys and digests are 32 bytes",
        "grant" => "the signed grant is the first message, and no other",
        "size" => "see docs/protocol.md, section 11",
        "artifact-length" => "the manifest says the exact size",
        "artifact-digest" => "the bytes are not those of the digest: read them again from where they come from",
        "artifact-unavailable" => "ask another node, or try again later: artifacts travel apart from blocks",
        "range" => "begin at a multiple of 16384 before the end of the artifact",
        _ => "",
    }
}

impl From<NoRoom> for Refused {
    fn from(no_room: NoRoom) -> Self {
        let check = match no_room {
            NoRoom::Full { .. } | NoRoom::FullOfBytes { .. } => "mempool-full",
            NoRoom::Quota { .. }
            | NoRoom::QuotaOfBytes { .. }
            | NoRoom::QuotaOfKey { .. }
            | NoRoom::QuotaOfKeyOfBytes { .. }
            | NoRoom::QuotaOfLong { .. } => "quota",
        };
        Self::new(Code::ResourceExhausted, check, no_room, "try again after retry_after_ms").retry_after(RETRY_AFTER_MS)
    }
}

impl From<NoClaim> for Refused {
    fn from(no_claim: NoClaim) -> Self {
        match no_claim {
            NoClaim::NoRoom(no_room) => no_room.into(),
            // As any other want of room.
            no_claim => Self::busy(no_claim).retry_after(RETRY_AFTER_MS),
        }
    }
}

/// What the transport says of bytes that are no message becomes a refusal like any other.
pub(super) fn named(response: http::Response<Body>) -> http::Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() == Code::Internal && status.message().starts_with(NO_MESSAGE) => {
            Status::from(Refused::invalid("malformed", status.message())).into_http()
        }
        _ => response,
    }
}

/// How prost begins what it says of bytes that are no message.
const NO_MESSAGE: &str = "failed to decode Protobuf message";

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        proto::refuse(refused.code, &refused.refusal)
    }
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        let check = error.check();
        Self::new(Code::InvalidArgument, check, error, "send exactly the bytes docs/protocol.md describes")
    }
}

impl From<TransactionError> for Refused {
    fn from(error: TransactionError) -> Self {
        let (check, hint) = match error {
            TransactionError::Decode(error) => return error.into(),
            TransactionError::Version(_) => ("version", "this node speaks protocol version 1"),
            TransactionError::WrongChain { .. } => ("chain-id", "sign for the chain id that GetStatus names"),
            TransactionError::Signature(_) => ("signature", "sign tag, chain id and body, see docs/protocol.md"),
            TransactionError::Evidence(_) => ("evidence", "docs/protocol.md 9.5 says what convicts"),
        };
        Self::new(Code::InvalidArgument, check, error, hint)
    }
}

impl From<GrantError> for Refused {
    fn from(error: GrantError) -> Self {
        let check = match error {
            GrantError::Decode(error) => return error.into(),
            GrantError::WrongChain(_) => "chain-id",
            GrantError::Expired { .. } => "expired",
            GrantError::Signature(_) => "signature",
        };
        Self::new(Code::InvalidArgument, check, error, "sign a new upload grant")
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        let (code, check, hint) = words(&rejection);
        Self::new(code, check, rejection, hint)
    }
}

/// Code, stable word and hint of each rejection.
fn words(rejection: &Rejection) -> (Code, &'static str, &'static str) {
    use Rejection as R;
    let denied = Code::PermissionDenied;
    let state = Code::FailedPrecondition;
    match rejection {
        R::AlreadyFinalised(_) => (Code::AlreadyExists, "already-finalised", "GetTransaction says where"),
        R::Expired { .. } => (state, "expired", "sign it again with a later expiry"),
        R::ExpiresTooLate { .. } => (Code::InvalidArgument, "expires-too-late", "30 days ahead at most"),
        R::UnknownKey(_) => (denied, "unknown-key", "only members' and enrolled endpoints' keys may sign"),
        R::KeyNotActive { .. } => (
            denied,
            "key-not-active",
            "it is retired or revoked, for ever: nothing that is signed with it now is taken",
        ),
        R::WrongRole { .. } => (denied, "wrong-role", "a key has one use: sign with a key of the role named"),
        R::NamespaceNotOwned { .. } => (denied, "namespace", "publish in a namespace your organisation owns"),
        R::Manifest(_) => (Code::InvalidArgument, "manifest", "correct the manifest"),
        R::AlreadyPublished(_) => (Code::AlreadyExists, "already-published", "this very manifest is on the ledger"),
        R::ReleaseOutOfStep { .. } => (state, "release", "use a release counter in the range named"),
        R::NoApprovalRule(_) => (state, "no-approval-rule", "nobody could ever approve it"),
        R::UnknownPatch(_) => (state, "unknown-patch", "publish it first"),
        R::Recalled(_) => (state, "recalled", "a recall is final: publish a new release"),
        R::NotAnApprover { .. } => (denied, "not-an-approver", "an organisation the rule names must decide"),
        R::VerdictUnchanged { .. } => (Code::AlreadyExists, "verdict-unchanged", "a verdict counts once"),
        R::TooManyProposals { .. } | R::TooManyProposalsOfKey { .. } => (
            state,
            "too-many-proposals",
            "wait until one has passed, was refused or closed a day ago; put changes together",
        ),
        R::TooManyVerdicts(_) => (state, "too-many-verdicts", "64 keys have spoken on it: publish a new release"),
        R::NotAKey(_) => (Code::InvalidArgument, "not-a-key", "make a key with `countersign key new`"),
        R::LabelTwice(_) => (Code::InvalidArgument, "labels", "give one value of each label"),
        R::KeyInUse(_) => (Code::AlreadyExists, "key-in-use", "make a new key"),
        R::UnknownEndpoint(_) => (state, "unknown-endpoint", "enrol it first"),
        R::NotYourEndpoint { .. } => (denied, "not-your-endpoint", "its own organisation's operator must do this"),
        R::AttemptOutOfOrder { .. } => (state, "attempt", "number receipts 1, 2, 3 … per patch"),
        R::NeverApproved { .. } => (state, "never-approved", "an unapproved patch can only be refused"),
        R::Proposal(_) => (Code::InvalidArgument, "proposal", "correct the proposal"),
        R::Change(_) => (state, "change", "correct the change named: all take place, or none"),
        R::UnknownProposal(_) => (state, "unknown-proposal", "ListProposals names them"),
        R::ProposalClosed { .. } => {
            (state, "proposal-closed", "it is over: GetProposal says how; what did not pass can be proposed again")
        }
        R::BallotUnchanged { .. } => (Code::AlreadyExists, "ballot-unchanged", "an organisation has one voice"),
        R::NoValidatorNamed(_) => {
            (Code::InvalidArgument, "evidence", "only keys that are or were members' validating keys are convicted")
        }
        R::AlreadyConvicted { .. } => (Code::AlreadyExists, "already-convicted", "ListConvictions has it"),
        R::ReasonMismatch(_) => (Code::InvalidArgument, "reason", "name a reason unless the outcome is applied"),
    }
}

impl From<OfferError> for Refused {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::Rejected(rejection) => rejection.into(),
            OfferError::NoRoom(no_room) => no_room.into(),
        }
    }
}

impl From<NoPlace> for Refused {
    fn from(no_place: NoPlace) -> Self {
        Self::busy(no_place)
    }
}

impl From<ArtifactError> for Refused {
    fn from(error: ArtifactError) -> Self {
        let (code, check) = match &error {
            ArtifactError::Absent(_) => (Code::NotFound, "artifact-unavailable"),
            ArtifactError::Digest { .. } | ArtifactError::Forged(_) => (Code::InvalidArgument, "artifact-digest"),
            ArtifactError::Length { .. } => (Code::InvalidArgument, "artifact-length"),
            ArtifactError::Range { .. } => (Code::OutOfRange, "range"),
            ArtifactError::Quota { .. } => return no_room("quota", &error, "ask the node's operator for more room"),
            ArtifactError::Full { .. } | ArtifactError::DiskFull { .. } => {
                return no_room("disk-full", &error, "ask another node, or try again when there is room");
            }
            ArtifactError::Slow(_) | ArtifactError::Broken(_) => {
                let hint = "go on from where it stopped, when the line is better";
                return Self::new(Code::DeadlineExceeded, "slow", error, hint);
            }
            ArtifactError::Damaged { .. } => {
                tracing::warn!(%error, "an artifact cannot be served: remove its file, and the next start fetches it");
                return Self::new(Code::Internal, "storage", error, "ask another node");
            }
            ArtifactError::Io(error) => return disk(error),
        };
        Self::new(code, check, error, "")
    }
}

/// What a client is told when an artifact has no room, and a person in the log.
fn no_room(check: &str, error: &ArtifactError, hint: &str) -> Refused {
    tracing::warn!(%error, "an artifact was refused");
    Refused::new(Code::ResourceExhausted, check, error, hint).retry_after(RETRY_MUCH_LATER_MS)
}

/// What a client is told of a disk: the kind of error, not where on this machine it is.
fn disk(error: &io::Error) -> Refused {
    tracing::warn!(%error, "an artifact cannot be read or written");
    match error.kind() {
        io::ErrorKind::StorageFull => {
            let hint = "ask another node, or try again when there is room";
            let refused = Refused::new(Code::ResourceExhausted, "disk-full", "no room on the node's disk", hint);
            refused.retry_after(RETRY_MUCH_LATER_MS)
        }
        kind => Refused::internal(format!("an artifact cannot be read or written: {kind}")),
    }
}

impl From<AssemblyError> for Refused {
    fn from(error: AssemblyError) -> Self {
        match &error {
            AssemblyError::UnknownPatch(_) => Self::not_found(error),
            AssemblyError::NotYet { .. } => {
                Self::new(Code::Unavailable, "not-yet-provable", error, "try again after retry_after_ms")
                    .retry_after(RETRY_AFTER_MS)
            }
            AssemblyError::TooManyEpochs | AssemblyError::TooLarge { .. } => {
                let hint = "GetBlock, GetEpochs and GetTransaction have the parts";
                Self::new(Code::FailedPrecondition, "proof-size", error, hint)
            }
            AssemblyError::Storage(_) => Self::internal(error),
        }
    }
}

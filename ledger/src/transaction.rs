//! Transactions: what a key asks the ledger to record.

use crate::block::PROTOCOL_VERSION;
use crate::bounded::{Name, Notes, Sentence, SortedList};
use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::evidence::{Evidence, EvidenceError};
use crate::governance::{Choice, Proposal};
use crate::id::{ChainId, Digest, PatchId, TransactionId, context, derive};
use crate::key::{PublicKey, Purpose, SecretKey, Signature, SignatureError};
use crate::limits;
use crate::patch::{Label, PatchManifest};
use crate::receipt::Receipt;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A verdict on a patch, as an approver signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The patch.
    pub patch: PatchId,
    /// BLAKE3 of the evidence looked at; zero when there was none to keep.
    pub evidence: Digest,
    /// Why, for people.
    pub note: Notes,
}

/// What an approver, or whoever recalls, gives people to understand it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grounds<'a> {
    /// The note of a verdict, the reason of a recall; may be empty.
    pub note: &'a str,
    /// BLAKE3 of the evidence looked at, when there was some to keep.
    pub evidence: Option<Digest>,
}

impl Verdict {
    /// Why, and by what.
    #[must_use]
    pub fn grounds(&self) -> Grounds<'_> {
        let evidence = (self.evidence != Digest::ZERO).then_some(self.evidence);
        Grounds { note: self.note.as_str(), evidence }
    }
}

/// What is asked for. New kinds are added at the end: the number of a kind never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// 0, by a publisher: a patch exists.
    Publish {
        /// The patch.
        manifest: PatchManifest,
    },
    /// 1, by an approver: it may be applied.
    Approve {
        /// On what, and why.
        verdict: Verdict,
        /// Counts for the emergency rule too.
        urgent: bool,
    },
    /// 2, by an approver: it must not be applied.
    Reject {
        /// On what, and why.
        verdict: Verdict,
    },
    /// 3, by an approver: not yet.
    Hold {
        /// On what, and why.
        verdict: Verdict,
    },
    /// 4, by the vendor, or by approvers as the rule says: must not be applied any more.
    Recall {
        /// The patch.
        patch: PatchId,
        /// Why, for people.
        reason: Sentence,
    },
    /// 5, by an operator: an endpoint belongs to the operator's organisation.
    Enroll {
        /// The endpoint's key: it signs receipts and nothing else.
        endpoint: PublicKey,
        /// What people call the host.
        name: Name,
        /// Its group.
        group: Name,
        /// Its labels.
        labels: SortedList<Label, { limits::SELECTOR_VALUES_MAX }>,
    },
    /// 6, by an operator: an endpoint is gone, its key speaks no more.
    Retire {
        /// The endpoint's key.
        endpoint: PublicKey,
    },
    /// 7, by an endpoint: what happened.
    Receipt {
        /// What it says.
        receipt: Receipt,
    },
    /// 8, by a governor: membership or law shall change. Counts as its organisation's ballot for it.
    Propose {
        /// What shall change.
        proposal: Proposal,
    },
    /// 9, by a governor: its organisation's ballot.
    Ballot {
        /// The transaction that proposed it.
        proposal: TransactionId,
        /// What the organisation says.
        choice: Choice,
    },
    /// 10, by a node: validators signed two things where they may sign one. The evidence speaks for itself,
    /// so it does not matter whose node brings it.
    Accuse {
        /// What they signed.
        evidence: Evidence,
    },
}

impl Payload {
    /// What people call this kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Approve { .. } => "approve",
            Self::Reject { .. } => "reject",
            Self::Hold { .. } => "hold",
            Self::Recall { .. } => "recall",
            Self::Enroll { .. } => "enroll",
            Self::Retire { .. } => "retire",
            Self::Receipt { .. } => "receipt",
            Self::Propose { .. } => "propose",
            Self::Ballot { .. } => "ballot",
            Self::Accuse { .. } => "accuse",
        }
    }

    /// The same in a sentence, with its article.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "a publication",
            Self::Approve { .. } => "an approval",
            Self::Reject { .. } => "a rejection",
            Self::Hold { .. } => "a hold",
            Self::Recall { .. } => "a recall",
            Self::Enroll { .. } => "an enrolment",
            Self::Retire { .. } => "a retirement",
            Self::Receipt { .. } => "a receipt",
            Self::Propose { .. } => "a proposal",
            Self::Ballot { .. } => "a ballot",
            Self::Accuse { .. } => "an accusation",
        }
    }

    /// The grounds of a verdict or a recall.
    #[must_use]
    pub fn grounds(&self) -> Option<Grounds<'_>> {
        match self {
            Self::Approve { verdict, .. } | Self::Reject { verdict } | Self::Hold { verdict } => {
                Some(verdict.grounds())
            }
            Self::Recall { reason, .. } => Some(Grounds { note: reason.as_str(), evidence: None }),
            _ => None,
        }
    }

    /// What it takes to look at it, in ordinary transactions: 1, and one for each signature in an accusation's evidence
    /// and each change of a proposal. As it says itself, nothing checked; so it can be known before anything is.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Accuse { evidence } => 1 + evidence.signature_count(),
            Self::Propose { proposal } => 1 + proposal.changes.len(),
            _ => 1,
        }
    }

    /// The patch it is about, if it is about one.
    #[must_use]
    pub fn patch(&self) -> Option<PatchId> {
        match self {
            Self::Publish { manifest } => Some(manifest.id()),
            Self::Approve { verdict, .. } | Self::Reject { verdict } | Self::Hold { verdict } => Some(verdict.patch),
            Self::Recall { patch, .. } => Some(*patch),
            Self::Receipt { receipt } => Some(receipt.patch),
            Self::Enroll { .. }
            | Self::Retire { .. }
            | Self::Propose { .. }
            | Self::Ballot { .. }
            | Self::Accuse { .. } => None,
        }
    }
}

/// The body of a transaction: intent, not yet signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// [`PROTOCOL_VERSION`].
    pub version: u16,
    /// The ledger it is for.
    pub chain_id: ChainId,
    /// Whose signature stands under it.
    pub signer: PublicKey,
    /// Any number: makes two equal intents two transactions.
    pub nonce: u64,
    /// From this block time on it is void; at most 30 days ahead.
    pub expires_at_ms: u64,
    /// What is asked for.
    pub payload: Payload,
}

impl Transaction {
    /// Signs. The signer field is set to the key's public half.
    #[must_use]
    pub fn sign(mut self, key: &SecretKey) -> SignedTransaction {
        self.signer = key.public();
        let signature = key.sign(Purpose::Transaction, &self.chain_id, &encode(&self));
        SignedTransaction { transaction: self, signature }
    }
}

/// A transaction and a signature, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// The body.
    pub transaction: Transaction,
    /// Over `tag ‖ 0 ‖ chain id ‖ encoded body`.
    pub signature: Signature,
}

impl Canonical for SignedTransaction {
    const NAME: &'static str = "transaction";
    const LIMIT: Limit = Limit::Transaction;
}

/// Why a transaction is refused before anybody looks at the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Not bytes of a transaction.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of a later or unknown format.
    #[error("transaction has version {0}, this ledger speaks {PROTOCOL_VERSION}")]
    Version(u16),
    /// For another ledger.
    #[error("transaction is for chain {actual}, this is {expected}")]
    WrongChain {
        /// Chain in the transaction.
        actual: ChainId,
        /// This chain.
        expected: ChainId,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// An accusation whose evidence proves nothing.
    #[error("accusation: {0}")]
    Evidence(#[from] EvidenceError),
}

/// Length of the signature at the end of an encoded signed transaction.
const SIGNATURE_BYTES: usize = 64;

/// Where the signer stands in an encoding: after the version and the chain id.
const SIGNER_OFFSET: usize = 2 + 32;

/// Where the number of the payload's kind does: after the signer, the nonce and the expiry.
const KIND_OFFSET: usize = SIGNER_OFFSET + 32 + 8 + 8;

/// The kinds that may weigh more than 1 ([`Payload::weight`]).
const HEAVY_KINDS: [u32; 2] = [8, 10];

impl SignedTransaction {
    /// Parses and verifies bytes from outside: the only way they become believed.
    ///
    /// # Errors
    /// [`TransactionError`] names the first check that failed.
    pub fn verify_bytes(bytes: &[u8], chain: &ChainId) -> Result<VerifiedTransaction, TransactionError> {
        let signed: Self = decode(bytes)?;
        signed.verify_encoded(bytes, chain)
    }

    /// Verifies a parsed transaction.
    ///
    /// # Errors
    /// [`TransactionError`] names the first check that failed.
    pub fn verify(self, chain: &ChainId) -> Result<VerifiedTransaction, TransactionError> {
        let bytes = encode(&self);
        if bytes.len() > limits::TRANSACTION_BYTES_MAX {
            let limit = limits::TRANSACTION_BYTES_MAX;
            return Err(DecodeError::TooLarge { name: Self::NAME, actual: bytes.len(), limit }.into());
        }
        self.verify_encoded(&bytes, chain)
    }

    /// Whose signature an encoding claims to have: from its place alone, nothing checked. For refusing
    /// early; never for letting anything in.
    #[must_use]
    pub fn claimed_signer(bytes: &[u8]) -> Option<PublicKey> {
        let signer = bytes.get(SIGNER_OFFSET..)?.first_chunk()?;
        Some(PublicKey(*signer))
    }

    /// The id an encoding would have if it were one and were right: nothing checked. For looking up what is
    /// known already; never for letting anything in.
    #[must_use]
    pub fn claimed_id(bytes: &[u8]) -> Option<TransactionId> {
        let body = bytes.get(..bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        Some(TransactionId(derive(&context::TRANSACTION_ID, body)))
    }

    /// An encoding of a kind that may weigh more than 1, parsed and nothing else.
    #[must_use]
    pub fn claimed_heavy(bytes: &[u8]) -> Option<Self> {
        let kind = u32::from_le_bytes(*bytes.get(KIND_OFFSET..)?.first_chunk()?);
        if HEAVY_KINDS.contains(&kind) { decode(bytes).ok() } else { None }
    }

    /// What it takes to look at an encoding ([`Payload::weight`]), nothing checked. What is none is refused before
    /// anything that takes long.
    #[must_use]
    pub fn claimed_weight(bytes: &[u8]) -> usize {
        Self::claimed_heavy(bytes).map_or(1, |signed| signed.transaction.payload.weight())
    }

    fn verify_encoded(self, bytes: &[u8], chain: &ChainId) -> Result<VerifiedTransaction, TransactionError> {
        let body = &bytes[..bytes.len() - SIGNATURE_BYTES];
        let transaction = &self.transaction;
        if transaction.version != PROTOCOL_VERSION {
            return Err(TransactionError::Version(transaction.version));
        }
        if transaction.chain_id != *chain {
            return Err(TransactionError::WrongChain { actual: transaction.chain_id, expected: *chain });
        }
        transaction.signer.verify(Purpose::Transaction, chain, body, &self.signature)?;
        // Here, with the other signatures, and not where the rules are: it needs no state, and may cost as
        // much as hundreds of transactions.
        if let Payload::Accuse { evidence } = &transaction.payload {
            evidence.check(chain)?;
        }
        let id = TransactionId(derive(&context::TRANSACTION_ID, body));
        Ok(VerifiedTransaction(Arc::new(Verified { signed: self, id, bytes: bytes.into() })))
    }
}

#[derive(Debug)]
struct Verified {
    signed: SignedTransaction,
    id: TransactionId,
    bytes: Box<[u8]>,
}

/// A transaction whose structure and signatures were checked, once; the evidence of an accusation, too. Made only by
/// [`SignedTransaction::verify`] and [`SignedTransaction::verify_bytes`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifiedTransaction(Arc<Verified>);

impl VerifiedTransaction {
    /// Hash of the unsigned body.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        self.0.id
    }

    /// The signed bytes: leaf data of both trees.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// With its signature.
    #[must_use]
    pub fn signed(&self) -> &SignedTransaction {
        &self.0.signed
    }

    /// The body.
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        &self.0.signed.transaction
    }

    /// What is asked for.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.0.signed.transaction.payload
    }

    /// Who asks.
    #[must_use]
    pub fn signer(&self) -> PublicKey {
        self.0.signed.transaction.signer
    }
}

impl PartialEq for VerifiedTransaction {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for VerifiedTransaction {}

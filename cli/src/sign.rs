//! Signing: the right key, for the right ledger, and what is signed shown first.

use crate::failure::Failure;
use crate::options::{Global, Need, Signing};
use crate::time;
use crate::trust::Trust;
use keyring::{KeyFile, KeyRole};
use ledger::artifact::{SignedUploadGrant, UploadGrant};
use ledger::block::PROTOCOL_VERSION;
use ledger::encoding::{DecodeError, decode};
use ledger::governance::Proposal;
use ledger::id::{ChainId, PatchId, TransactionId};
use ledger::limits;
use ledger::moment::Span;
use ledger::patch::{Artifact, PatchManifest};
use ledger::transaction::{Payload, SignedTransaction, Transaction, TransactionError, VerifiedTransaction};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key has another use.
    #[error("this needs a key with role {needed}, the key file's role is {actual}")]
    WrongRole {
        /// The roles that may.
        needed: String,
        /// The key's role.
        actual: KeyRole,
    },
    /// It would be void before anybody could see it.
    #[error("a transaction that expires after 0s is void before it can be finalised")]
    ExpiresAtOnce,
    /// It would expire too late.
    #[error("a transaction may expire at most {} from now", Span(limits::EXPIRY_AHEAD_MS_MAX))]
    ExpiresTooLate,
    /// What was signed is no transaction anybody would take.
    #[error("the signed transaction does not hold")]
    Transaction(#[from] TransactionError),
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

impl SignError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::WrongRole { .. } => Some("a key has one use: give the key made for this one with --key".to_owned()),
            Self::ExpiresAtOnce => Some("give it time with --expires; 1h if not given".to_owned()),
            Self::ExpiresTooLate => Some("give less with --expires; 1h if not given".to_owned()),
            Self::Transaction(TransactionError::Decode(_)) => Some("shorten the notes".to_owned()),
            Self::Transaction(_) | Self::Randomness(_) => None,
        }
    }
}

/// A key and the ledger it signs for.
#[derive(Debug)]
pub struct Signer {
    /// The key.
    pub key: KeyFile,
    /// The ledger.
    pub trust: Trust,
    expires_at_ms: u64,
}

impl Signer {
    /// The key and trust root given, when the key may do this at all.
    ///
    /// # Errors
    /// [`Failure`] when one is missing, wrong, or made for something else.
    pub fn new(global: &Global, signing: &Signing, needed: &[KeyRole]) -> Result<Self, Failure> {
        let needs = [Need::Key, Need::Genesis, Need::Node];
        global.need(if signing.offline { &needs[..2] } else { &needs })?;
        let key = global.key_needed(needed)?;
        let trust = global.trust_needed()?;
        if signing.expires == 0 {
            return Err(SignError::ExpiresAtOnce.into());
        }
        if signing.expires > limits::EXPIRY_AHEAD_MS_MAX {
            return Err(SignError::ExpiresTooLate.into());
        }
        Ok(Self { key, trust, expires_at_ms: time::now_ms().saturating_add(signing.expires) })
    }

    /// Signs a transaction, and checks it as everybody else will.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, payload: Payload) -> Result<VerifiedTransaction, SignError> {
        let transaction = Transaction {
            version: PROTOCOL_VERSION,
            chain_id: self.trust.chain_id(),
            signer: self.key.public.public_key,
            nonce: nonce()?,
            expires_at_ms: self.expires_at_ms,
            payload,
        };
        Ok(transaction.sign(&self.key.secret).verify(&self.trust.chain_id())?)
    }

    /// Leave for a node to store one artifact.
    #[must_use]
    pub fn grant(&self, artifact: &Artifact) -> SignedUploadGrant {
        let grant = UploadGrant {
            chain_id: self.trust.chain_id(),
            publisher: self.key.public.public_key,
            blake3: artifact.blake3,
            size: artifact.size,
            expires_at_ms: self.expires_at_ms,
        };
        grant.sign(&self.key.secret)
    }
}

/// A number that nobody has used.
pub(crate) fn nonce() -> Result<u64, SignError> {
    use rand::TryRng as _;
    rand::rngs::SysRng.try_next_u64().map_err(|error| SignError::Randomness(error.to_string()))
}

/// A patch as its vendor signed it: taken from the publishing transaction, whose signature and patch id
/// were checked here and not by a node.
#[derive(Clone, Debug)]
pub struct SignedPatch {
    /// Its id.
    pub id: PatchId,
    /// The publishing transaction.
    pub transaction: VerifiedTransaction,
    manifest: PatchManifest,
}

/// What somebody showed as the publishing transaction of a patch is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotThePatch {
    /// It is no verified transaction of this ledger.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// It publishes nothing.
    #[error("the publishing transaction is of kind {0}")]
    NotAPublish(&'static str),
    /// It publishes something else.
    #[error("the publishing transaction is of patch {actual}, asked was {asked}")]
    OtherPatch {
        /// The patch in the transaction.
        actual: PatchId,
        /// The patch asked for.
        asked: PatchId,
    },
}

impl SignedPatch {
    /// Checks bytes somebody showed as the publishing transaction of `asked`.
    ///
    /// # Errors
    /// [`NotThePatch`].
    pub fn verify_bytes(bytes: &[u8], asked: PatchId, chain: &ChainId) -> Result<Self, NotThePatch> {
        Self::of(SignedTransaction::verify_bytes(bytes, chain)?, asked)
    }

    /// Checks what a verified transaction publishes.
    ///
    /// # Errors
    /// [`NotThePatch`].
    pub fn of(transaction: VerifiedTransaction, asked: PatchId) -> Result<Self, NotThePatch> {
        let Payload::Publish { manifest } = transaction.payload() else {
            return Err(NotThePatch::NotAPublish(transaction.payload().kind()));
        };
        let actual = manifest.id();
        if actual != asked {
            return Err(NotThePatch::OtherPatch { actual, asked });
        }
        let manifest = manifest.clone();
        Ok(Self { id: actual, transaction, manifest })
    }

    /// What the vendor signed.
    #[must_use]
    pub fn manifest(&self) -> &PatchManifest {
        &self.manifest
    }

    /// Whose signature it is: the organisation as far as the trust root knows the key.
    #[must_use]
    pub fn vendor(&self, trust: Option<&Trust>) -> String {
        let key = self.transaction.signer();
        match trust.map(|trust| trust.owner(&key)) {
            Some(Some((organisation, member))) => format!("{organisation} ({} key {key})", member.role),
            Some(None) => format!("key {key}, not in the trust root"),
            None => format!("key {key}"),
        }
    }
}

/// A proposal as its governor signed it: taken from the transaction that proposed it, whose signature and
/// id were checked here and not by a node.
#[derive(Clone, Debug)]
pub struct SignedProposal {
    /// Its id: that of the transaction.
    pub id: TransactionId,
    /// The transaction that proposed it.
    pub transaction: VerifiedTransaction,
    proposal: Proposal,
}

/// What somebody showed as a proposal is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTheProposal {
    /// The transaction is no verified one of this ledger.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The transaction proposes nothing.
    #[error("the transaction that proposed it is of kind {0}")]
    NotAPropose(&'static str),
    /// The transaction is another.
    #[error("the transaction shown is {actual}")]
    OtherTransaction {
        /// Its id.
        actual: TransactionId,
    },
    /// What is shown beside the transaction is no proposal.
    #[error(transparent)]
    Proposal(#[from] DecodeError),
    /// What is shown beside the transaction is something else.
    #[error("it is not what the transaction that proposed it says")]
    Different,
}

impl SignedProposal {
    /// Checks bytes somebody showed as the transaction that proposed something.
    ///
    /// # Errors
    /// [`NotTheProposal`].
    pub fn verify_bytes(bytes: &[u8], chain: &ChainId) -> Result<Self, NotTheProposal> {
        Self::of(SignedTransaction::verify_bytes(bytes, chain)?)
    }

    /// Takes what a verified transaction proposes.
    ///
    /// # Errors
    /// [`NotTheProposal::NotAPropose`].
    pub fn of(transaction: VerifiedTransaction) -> Result<Self, NotTheProposal> {
        let Payload::Propose { proposal } = transaction.payload() else {
            return Err(NotTheProposal::NotAPropose(transaction.payload().kind()));
        };
        let proposal = proposal.clone();
        Ok(Self { id: transaction.id(), transaction, proposal })
    }

    /// Checks that it is the one asked for, and what somebody shows as its content.
    ///
    /// # Errors
    /// [`NotTheProposal`].
    pub fn check(&self, asked: TransactionId, shown: &[u8]) -> Result<(), NotTheProposal> {
        if self.id != asked {
            return Err(NotTheProposal::OtherTransaction { actual: self.id });
        }
        if decode::<Proposal>(shown)? != self.proposal {
            return Err(NotTheProposal::Different);
        }
        Ok(())
    }

    /// What the governor signed.
    #[must_use]
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }
}

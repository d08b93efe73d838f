//! The proof file: everything an endpoint, an auditor or a court needs to believe that a patch is
//! published, approved and not withdrawn, checked offline against a genesis file.
//!
//! [`ProofBundle::verify`] is the only way to a [`FinalizedPatch`]. The order of its checks is that of
//! docs/protocol.md §6; each has its own error.

use crate::approval::{ApprovalRules, Count, Decision, Standing};
use crate::block::{Header, PROTOCOL_VERSION};
use crate::bounded::{List, Name};
use crate::certificate::{Certificate, CertificateError, FinalizedHeader};
use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::genesis::{Genesis, GenesisError};
use crate::history;
use crate::id::{ChainId, Digest, PatchId};
use crate::key::PublicKey;
use crate::limits;
use crate::merkle::PathError;
use crate::patch::PatchManifest;
use crate::receipt::ReasonCode;
use crate::state::record::{
    Halt, Halts, KeyStatus, Organisation, PatchRecord, Record, RecordKey, Role, VerdictRecord, record_as,
};
use crate::state::tree::{StateProof, StateProofError};
use crate::transaction::{Payload, SignedTransaction, TransactionError, VerifiedTransaction};
use crate::validators::{ValidatorSet, ValidatorSetError};
use serde::{Deserialize, Serialize};

/// Version of the proof file format.
pub const PROOF_VERSION: u16 = 1;

/// One step of the chain of validator sets: a header, certified by the set before, that names the set
/// after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochLink {
    /// The epoch header: its two validator hashes differ.
    pub header: Header,
    /// By the set before.
    pub certificate: Certificate,
    /// The set after.
    pub validators: ValidatorSet,
}

/// A transaction with its place in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenTransaction {
    /// The transaction, with its signature.
    pub transaction: SignedTransaction,
    /// Index of its leaf.
    pub index: u64,
    /// Siblings, lowest first.
    pub path: List<Digest, { limits::HISTORY_PATH_MAX }>,
}

/// State proofs, all at the bundle's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenState {
    /// Of the patch record.
    pub patch: StateProof,
    /// Of the approval rules.
    pub rules: StateProof,
    /// Of the halts in force.
    pub halts: StateProof,
    /// Of the vendor and every approver's organisation, ascending by name.
    pub organisations: List<(Name, StateProof), { limits::VERDICTS_PER_PATCH_MAX }>,
}

/// The contents of a proof file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofBundle {
    /// [`PROOF_VERSION`].
    pub version: u16,
    /// The ledger it speaks about.
    pub chain_id: ChainId,
    /// From the genesis set to the set that certifies `header`; empty while the set never changed.
    pub epochs: List<EpochLink, { limits::EPOCHS_MAX }>,
    /// A recent header.
    pub header: Header,
    /// Its certificate.
    pub certificate: Certificate,
    /// The publishing transaction.
    pub publish: ProvenTransaction,
    /// Approving transactions, ascending by index.
    pub approvals: List<ProvenTransaction, { limits::VERDICTS_PER_PATCH_MAX }>,
    /// What the state says, at `header`.
    pub state: ProvenState,
}

impl Canonical for ProofBundle {
    const NAME: &'static str = "proof file";
    const LIMIT: Limit = Limit::Proof;
}

/// What a verifier starts from: the genesis file it was given by somebody it trusts.
#[derive(Clone, Debug)]
pub struct TrustRoot {
    chain_id: ChainId,
    validators: ValidatorSet,
    name: Name,
}

impl TrustRoot {
    /// From the bytes of a genesis file.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn parse(genesis: &[u8]) -> Result<Self, GenesisError> {
        let block = Genesis::parse(genesis)?;
        Ok(Self { chain_id: block.chain_id, validators: block.genesis.validators, name: block.genesis.name })
    }

    /// The ledger trusted.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }
}

/// What a verifier knows of time and of what it saw before. All values: this room has no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostClock {
    /// The host's clock.
    pub now_ms: u64,
    /// How old a header may be.
    pub max_age_ms: u64,
    /// Time of the newest header ever verified here: the clock is never believed to be before it.
    pub floor_ms: u64,
    /// Height of the highest header ever verified here.
    pub height_seen: u64,
}

/// How old a header may be if nobody says otherwise: one day.
pub const MAX_AGE_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;

/// Why a proof does not prove, one error per check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Size, or parse.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of a later or unknown format.
    #[error("proof file has version {0}, this verifier speaks {PROOF_VERSION}")]
    Version(u16),
    /// A header of a later or unknown format: what its fields mean is not ours to guess.
    #[error("header {height} has version {version}, this verifier speaks {PROTOCOL_VERSION}")]
    HeaderVersion {
        /// Height of the header.
        height: u64,
        /// Its version.
        version: u16,
    },
    /// Of another ledger.
    #[error("proof is about chain {actual}, the trust root is {expected}")]
    WrongChain {
        /// Chain of the proof.
        actual: ChainId,
        /// Chain trusted.
        expected: ChainId,
    },
    /// The chain of validator sets is broken.
    #[error("epoch link {link}: {problem}")]
    EpochChain {
        /// Which link.
        link: usize,
        /// What is wrong with it.
        problem: EpochError,
    },
    /// No quorum signed the header.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The header is too old.
    #[error("header {height} is {age_ms} ms old, at most {max_age_ms} ms allowed")]
    Stale {
        /// Height of the header.
        height: u64,
        /// Its age.
        age_ms: u64,
        /// The age allowed.
        max_age_ms: u64,
    },
    /// The header is ahead of the host's clock.
    #[error("header {height} is {ahead_ms} ms ahead of this host's clock")]
    ClockBehind {
        /// Height of the header.
        height: u64,
        /// How far ahead.
        ahead_ms: u64,
    },
    /// The host saw a higher header before.
    #[error("header has height {height}, this host has already seen {seen}")]
    HeightBelowSeen {
        /// Height of the header.
        height: u64,
        /// Height seen.
        seen: u64,
    },
    /// A transaction is not in the history.
    #[error("{what}: {error}")]
    Inclusion {
        /// Which transaction.
        what: String,
        /// What does not fit.
        error: PathError,
    },
    /// A transaction's signature, chain or version does not hold.
    #[error("{what}: {error}")]
    Signature {
        /// Which transaction.
        what: String,
        /// What does not hold.
        error: TransactionError,
    },
    /// A state proof does not hold.
    #[error("state proof of {what}: {error}")]
    StateProof {
        /// Which record.
        what: String,
        /// What does not hold.
        error: StateProofError,
    },
    /// The state has no such record, or another kind of record.
    #[error("state has no {what}")]
    NoRecord {
        /// Which record.
        what: String,
    },
    /// Transactions and records do not speak of the same thing.
    #[error("authority: {0}")]
    Authority(AuthorityError),
    /// No rule is for the patch.
    #[error("no approval rule is for this patch")]
    NoApprovalRule,
    /// Approvals are missing.
    #[error("approval missing under rule {rule}: {count}")]
    ApprovalMissing {
        /// The rule.
        rule: Name,
        /// The arithmetic.
        count: Box<Count>,
    },
    /// Approvers rejected it.
    #[error("rejected under rule {rule}: {count}")]
    Rejected {
        /// The rule.
        rule: Name,
        /// The arithmetic.
        count: Box<Count>,
    },
    /// An approver holds it back.
    #[error("held under rule {rule}: {count}")]
    Held {
        /// The rule.
        rule: Name,
        /// The arithmetic.
        count: Box<Count>,
    },
    /// It was withdrawn.
    #[error("recalled at height {height}")]
    Recalled {
        /// Where.
        height: u64,
    },
    /// A halt is in force.
    #[error("halted since height {}: {}", .0.since.height, .0.reason)]
    Halted(Box<Halt>),
}

/// What is wrong with a link of the epoch chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// Its certificate does not hold under the set before.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The set given is not the one its header names.
    #[error("the validator set given is not the one its header names")]
    WrongSet,
    /// The set given is none.
    #[error(transparent)]
    Set(#[from] ValidatorSetError),
    /// Heights do not grow.
    #[error("height {height} after {before}")]
    NotAscending {
        /// Its height.
        height: u64,
        /// The height before.
        before: u64,
    },
    /// It is of another chain.
    #[error("header of chain {0}")]
    WrongChain(ChainId),
    /// Its header changes nothing, so it has no place in the chain.
    #[error("the header at height {0} does not change the validator set")]
    NoChange(u64),
}

/// How transactions and records contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The first transaction publishes nothing.
    #[error("the publishing transaction is a {0}")]
    NotAPublish(&'static str),
    /// An approval that is none, or is for another patch.
    #[error("the approval at {index} is a {kind} or for another patch")]
    NotAnApproval {
        /// Index of its leaf.
        index: u64,
        /// What it is.
        kind: &'static str,
    },
    /// The patch record was made by another transaction.
    #[error("the patch record says published at {recorded} by {key}, the transaction is at {index}")]
    OtherPublish {
        /// Index in the record.
        recorded: u64,
        /// Key in the record.
        key: PublicKey,
        /// Index of the transaction.
        index: u64,
    },
    /// The patch record knows no such verdict.
    #[error("the patch record has no such verdict by {key} at {index}")]
    OtherVerdict {
        /// The approver.
        key: PublicKey,
        /// Index of the transaction.
        index: u64,
    },
    /// The key is not its organisation's, or has another role, or speaks no more.
    #[error("key {key} is no {needed} key of {organisation}, or was revoked")]
    KeyWithoutRole {
        /// The key.
        key: PublicKey,
        /// The organisation.
        organisation: Name,
        /// The role needed.
        needed: Role,
    },
    /// The vendor does not own the namespace.
    #[error("{organisation} does not own namespace {namespace}")]
    NamespaceNotOwned {
        /// The vendor.
        organisation: Name,
        /// The namespace.
        namespace: Name,
    },
}

impl ProofError {
    /// The check that said no, as receipts and people name it.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Decode(DecodeError::TooLarge { .. }) => ReasonCode::ProofSize,
            Self::Decode(_) | Self::Version(_) | Self::HeaderVersion { .. } => ReasonCode::ProofMalformed,
            Self::WrongChain { .. } => ReasonCode::ChainId,
            Self::EpochChain { .. } => ReasonCode::EpochChain,
            Self::Certificate(_) => ReasonCode::Certificate,
            Self::Stale { .. } => ReasonCode::Stale,
            Self::ClockBehind { .. } => ReasonCode::ClockBehind,
            Self::HeightBelowSeen { .. } => ReasonCode::HeightBelowSeen,
            Self::Inclusion { .. } => ReasonCode::Inclusion,
            Self::Signature { .. } => ReasonCode::Signature,
            Self::StateProof { .. } | Self::NoRecord { .. } => ReasonCode::StateProof,
            Self::Authority(_) => ReasonCode::Authority,
            Self::NoApprovalRule | Self::ApprovalMissing { .. } => ReasonCode::ApprovalRule,
            Self::Rejected { .. } => ReasonCode::Rejected,
            Self::Held { .. } => ReasonCode::Held,
            Self::Recalled { .. } => ReasonCode::Recalled,
            Self::Halted(_) => ReasonCode::Halted,
        }
    }
}

/// A patch that is proven: published by its vendor, approved by rule, not withdrawn, not halted, at a
/// fresh and final header. Made only by [`ProofBundle::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalizedPatch {
    id: PatchId,
    manifest: PatchManifest,
    record: PatchRecord,
    header: FinalizedHeader,
    count: Count,
    rule: Name,
}

impl FinalizedPatch {
    /// The patch.
    #[must_use]
    pub fn id(&self) -> PatchId {
        self.id
    }

    /// What the vendor signed.
    #[must_use]
    pub fn manifest(&self) -> &PatchManifest {
        &self.manifest
    }

    /// What the ledger knows of it.
    #[must_use]
    pub fn record(&self) -> &PatchRecord {
        &self.record
    }

    /// The header everything was proven at.
    #[must_use]
    pub fn header(&self) -> &FinalizedHeader {
        &self.header
    }

    /// The arithmetic of its approval.
    #[must_use]
    pub fn count(&self) -> &Count {
        &self.count
    }

    /// The rule it was approved under.
    #[must_use]
    pub fn rule(&self) -> &Name {
        &self.rule
    }
}

impl ProofBundle {
    /// The bytes of the proof file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Parses a proof file.
    ///
    /// # Errors
    /// [`ProofError`] of the first check, the file's form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        let bundle: Self = decode(bytes)?;
        bundle.check_form()?;
        Ok(bundle)
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`ProofError`] names the first check that failed.
    pub fn verify(&self, trust: &TrustRoot, clock: HostClock) -> Result<FinalizedPatch, ProofError> {
        self.check_form()?;
        let validators = self.follow_epochs(trust)?;
        let header = self.certificate.verify(&self.header, &trust.chain_id, validators)?;
        clock.check(&self.header)?;

        let included = self.check_inclusion(&trust.chain_id)?;
        let facts = self.check_state(&included)?;
        let count = facts.check_authority(&included)?;
        facts.check_standing(&count)?;

        let Facts { id, manifest, patch, rule, .. } = facts;
        Ok(FinalizedPatch { id, manifest: manifest.clone(), record: patch, header, count, rule })
    }

    /// What the types alone do not say: versions known, lists in the one order they may have.
    fn check_form(&self) -> Result<(), ProofError> {
        if self.version != PROOF_VERSION {
            return Err(ProofError::Version(self.version));
        }
        let headers = self.epochs.iter().map(|epoch| &epoch.header).chain([&self.header]);
        if let Some(header) = headers.into_iter().find(|header| header.version != PROTOCOL_VERSION) {
            return Err(ProofError::HeaderVersion { height: header.height, version: header.version });
        }
        let in_order = self.approvals.is_sorted_by(|a, b| a.index < b.index)
            && self.state.organisations.is_sorted_by(|(a, _), (b, _)| a < b);
        if in_order { Ok(()) } else { Err(DecodeError::NotCanonical { name: Self::NAME }.into()) }
    }

    /// Follows the chain of validator sets from the trust root to the set that certifies the header.
    fn follow_epochs<'a>(&'a self, trust: &'a TrustRoot) -> Result<&'a ValidatorSet, ProofError> {
        let (actual, expected) = (self.chain_id, trust.chain_id);
        if actual != expected || self.header.chain_id != expected {
            let actual = if actual == expected { self.header.chain_id } else { actual };
            return Err(ProofError::WrongChain { actual, expected });
        }
        let (mut validators, mut before) = (&trust.validators, 0);
        for (link, epoch) in self.epochs.iter().enumerate() {
            epoch.check(&expected, validators, before).map_err(|problem| ProofError::EpochChain { link, problem })?;
            (validators, before) = (&epoch.validators, epoch.header.height);
        }
        if self.header.height <= before {
            let problem = EpochError::NotAscending { height: self.header.height, before };
            return Err(ProofError::EpochChain { link: self.epochs.len(), problem });
        }
        Ok(validators)
    }

    /// Every transaction is in the history at the header, and its signature holds.
    fn check_inclusion(&self, chain: &ChainId) -> Result<Included, ProofError> {
        let publish = self.publish.check("publish".to_owned(), &self.header, chain)?;
        let approvals = self.approvals.iter().enumerate().map(|(place, approval)| {
            let transaction = approval.check(format!("approval {place}"), &self.header, chain)?;
            Ok((approval.index, transaction))
        });
        let approvals = approvals.collect::<Result<_, ProofError>>()?;
        Ok(Included { publish, publish_index: self.publish.index, approvals })
    }

    /// Every record is in the state at the header.
    fn check_state<'a>(&self, included: &'a Included) -> Result<Facts<'a>, ProofError> {
        let Payload::Publish { manifest } = included.publish.payload() else {
            return Err(ProofError::Authority(AuthorityError::NotAPublish(included.publish.payload().kind())));
        };
        let id = manifest.id();
        let root = &self.header.state_root;
        let missing = |what: &str| ProofError::NoRecord { what: what.to_owned() };
        let patch = prove(&self.state.patch, root, &RecordKey::Patch(id), "patch")?;
        let patch = record_as!(patch, Patch).ok_or_else(|| missing("patch"))?;
        let rules = prove(&self.state.rules, root, &RecordKey::ApprovalRules, "approval rules")?;
        let rules: ApprovalRules = record_as!(rules, ApprovalRules).ok_or_else(|| missing("approval rules"))?;
        let halts = prove(&self.state.halts, root, &RecordKey::Halts, "halts")?;
        let halts = record_as!(halts, Halts).ok_or_else(|| missing("halts"))?;
        let organisations = self.state.organisations.iter().map(|(name, proof)| {
            let what = format!("organisation {name}");
            let record = prove(proof, root, &RecordKey::Organisation(name.clone()), &what)?;
            record_as!(record, Organisation).ok_or_else(|| missing(&what))
        });
        let organisations = organisations.collect::<Result<_, _>>()?;
        let rule = rules.rule_for(&manifest.product, manifest.class, manifest.severity);
        let rule = rule.ok_or(ProofError::NoApprovalRule)?.name.clone();
        Ok(Facts { id, manifest, patch, rules, rule, halts, organisations })
    }
}

impl EpochLink {
    fn check(&self, chain: &ChainId, validators: &ValidatorSet, before: u64) -> Result<(), EpochError> {
        if self.header.chain_id != *chain {
            return Err(EpochError::WrongChain(self.header.chain_id));
        }
        if self.header.height <= before {
            return Err(EpochError::NotAscending { height: self.header.height, before });
        }
        if self.header.validators_hash == self.header.next_validators_hash {
            return Err(EpochError::NoChange(self.header.height));
        }
        self.certificate.verify(&self.header, chain, validators)?;
        self.validators.check()?;
        if self.validators.hash() != self.header.next_validators_hash {
            return Err(EpochError::WrongSet);
        }
        Ok(())
    }
}

impl HostClock {
    /// A verifier without memory: an auditor's, say.
    #[must_use]
    pub fn at(now_ms: u64) -> Self {
        Self { now_ms, max_age_ms: MAX_AGE_MS_DEFAULT, floor_ms: 0, height_seen: 0 }
    }

    fn check(&self, header: &Header) -> Result<(), ProofError> {
        let height = header.height;
        if height < self.height_seen {
            return Err(ProofError::HeightBelowSeen { height, seen: self.height_seen });
        }
        let now_ms = self.now_ms.max(self.floor_ms);
        let ahead_ms = header.time_ms.saturating_sub(now_ms);
        if ahead_ms > limits::CLOCK_AHEAD_MS_MAX {
            return Err(ProofError::ClockBehind { height, ahead_ms });
        }
        let age_ms = now_ms.saturating_sub(header.time_ms);
        if age_ms > self.max_age_ms {
            return Err(ProofError::Stale { height, age_ms, max_age_ms: self.max_age_ms });
        }
        Ok(())
    }
}

impl ProvenTransaction {
    fn check(&self, what: String, header: &Header, chain: &ChainId) -> Result<VerifiedTransaction, ProofError> {
        let bytes = encode(&self.transaction);
        history::verify(&header.history_root, header.history_size, self.index, &bytes, &self.path)
            .map_err(|error| ProofError::Inclusion { what: what.clone(), error })?;
        self.transaction.clone().verify(chain).map_err(|error| ProofError::Signature { what, error })
    }
}

fn prove(proof: &StateProof, root: &Digest, key: &RecordKey, what: &str) -> Result<Option<Record>, ProofError> {
    let bytes = proof
        .verify(root, &key.state_key())
        .map_err(|error| ProofError::StateProof { what: what.to_owned(), error })?;
    Ok(bytes.map(decode).transpose()?)
}

/// Transactions that are in the history.
struct Included {
    publish: VerifiedTransaction,
    publish_index: u64,
    approvals: Vec<(u64, VerifiedTransaction)>,
}

/// Records that are in the state.
struct Facts<'a> {
    id: PatchId,
    manifest: &'a PatchManifest,
    patch: PatchRecord,
    rules: ApprovalRules,
    rule: Name,
    halts: Halts,
    organisations: Vec<Organisation>,
}

impl Facts<'_> {
    /// Every signature is by a key that may give it, and the approvals shown are counted by the rule.
    fn check_authority(&self, included: &Included) -> Result<Count, ProofError> {
        let authority = |error| Err(ProofError::Authority(error));
        let (patch, vendor) = (&self.patch, &self.patch.organisation);
        if patch.published.index != included.publish_index || patch.publisher != included.publish.signer() {
            let (recorded, key, index) = (patch.published.index, patch.publisher, included.publish_index);
            return authority(AuthorityError::OtherPublish { recorded, key, index });
        }
        let organisation = self.check_key(&patch.publisher, vendor, Role::Publisher)?;
        let namespace = self.manifest.product.namespace();
        if !organisation.namespaces.contains(&namespace) {
            return authority(AuthorityError::NamespaceNotOwned { organisation: vendor.clone(), namespace });
        }
        let mut shown = Vec::new();
        for (index, approval) in &included.approvals {
            let verdict = self.check_approval(*index, approval)?;
            self.check_key(&verdict.key, &verdict.organisation, Role::Approver)?;
            shown.push(verdict.opinion());
        }
        // What speaks against the patch is taken from the record; what speaks for it must be shown.
        let approving = |decision| matches!(decision, Decision::Approve | Decision::ApproveUrgently);
        shown.extend(patch.opinions().into_iter().filter(|opinion| !approving(opinion.decision)));
        let rule = self.rules.rule_for(&self.manifest.product, self.manifest.class, self.manifest.severity);
        Ok(rule.ok_or(ProofError::NoApprovalRule)?.count(vendor, &shown))
    }

    fn check_approval(&self, index: u64, approval: &VerifiedTransaction) -> Result<&VerdictRecord, ProofError> {
        let decision = match approval.payload() {
            Payload::Approve { verdict, urgent: false } if verdict.patch == self.id => Decision::Approve,
            Payload::Approve { verdict, urgent: true } if verdict.patch == self.id => Decision::ApproveUrgently,
            other => {
                let kind = other.kind();
                return Err(ProofError::Authority(AuthorityError::NotAnApproval { index, kind }));
            }
        };
        let key = approval.signer();
        let recorded = self
            .patch
            .verdicts
            .iter()
            .find(|verdict| verdict.key == key && verdict.decision == decision && verdict.position.index == index);
        recorded.ok_or(ProofError::Authority(AuthorityError::OtherVerdict { key, index }))
    }

    /// The key is its organisation's for this role. A retired key's old signatures still count, a
    /// revoked one's do not.
    fn check_key(&self, key: &PublicKey, organisation: &Name, needed: Role) -> Result<&Organisation, ProofError> {
        let found = self.organisations.iter().find(|known| known.name == *organisation);
        let may = |known: &&Organisation| {
            known.key(key).is_some_and(|member| member.role == needed && member.status != KeyStatus::Revoked)
        };
        found.filter(may).ok_or_else(|| {
            let organisation = organisation.clone();
            ProofError::Authority(AuthorityError::KeyWithoutRole { key: *key, organisation, needed })
        })
    }

    fn check_standing(&self, count: &Count) -> Result<(), ProofError> {
        let (rule, count) = (self.rule.clone(), Box::new(count.clone()));
        if let Some(position) = self.patch.recalled {
            return Err(ProofError::Recalled { height: position.height });
        }
        match count.standing {
            Standing::Approved => {}
            Standing::Pending => return Err(ProofError::ApprovalMissing { rule, count }),
            Standing::Rejected => return Err(ProofError::Rejected { rule, count }),
            Standing::Held => return Err(ProofError::Held { rule, count }),
            Standing::Recalled => return Err(ProofError::Recalled { height: self.patch.published.height }),
        }
        match self.halts.stopping(&self.patch.organisation, &self.manifest.product) {
            Some(halt) => Err(ProofError::Halted(Box::new(halt.clone()))),
            None => Ok(()),
        }
    }
}

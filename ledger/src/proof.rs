//! The proof file: everything an endpoint, an auditor or a court needs to believe that a patch is
//! published, approved and not withdrawn, checked offline against a genesis file.
//!
//! [`ProofBundle::verify`] is the only way to a [`FinalizedPatch`]. The order of its checks is that of
//! docs/protocol.md §6; each has its own error.

mod error;
mod facts;

pub use error::{AuthorityError, EpochError, ProofError};

use crate::approval::{ApprovalRules, Count};
use crate::block::{Header, PROTOCOL_VERSION};
use crate::bounded::{List, Name};
use crate::certificate::{Certificate, FinalizedHeader};
use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::genesis::{Genesis, GenesisError};
use crate::history;
use crate::id::{ChainId, Digest, PatchId};
use crate::limits;
use crate::patch::PatchManifest;
use crate::state::record::{PatchRecord, Position, Record, RecordKey, record_as};
use crate::state::tree::StateProof;
use crate::transaction::{Payload, SignedTransaction, VerifiedTransaction};
use crate::validators::ValidatorSet;
use facts::{Facts, Included};
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

    /// The set that certifies the first blocks.
    #[must_use]
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }
}

/// A change of the validators that was proven here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSeen {
    /// Height of its header: the set is in force above it.
    pub above: u64,
    /// Hash of that set.
    pub validators_hash: Digest,
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
    /// The newest change of the validators ever verified here: nobody who was replaced by then speaks for what came after.
    pub change_seen: Option<ChangeSeen>,
}

/// How old a header may be if nobody says otherwise: one day.
pub const MAX_AGE_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;

/// A patch that is proven: published by its vendor, approved by rule, not withdrawn, not halted, at a
/// fresh and final header. Made only by [`ProofBundle::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalizedPatch {
    id: PatchId,
    manifest: PatchManifest,
    record: PatchRecord,
    header: FinalizedHeader,
    epochs: Vec<EpochLink>,
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

    /// The changes of the validators that lead to that header.
    #[must_use]
    pub fn epochs(&self) -> &[EpochLink] {
        &self.epochs
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
        let header = self.finalized_header(trust, clock)?;
        let included = self.check_inclusion(&trust.chain_id)?;
        let facts = self.check_state(&included)?;
        let count = facts.check_authority(&included)?;
        facts.check_standing(&count)?;

        let Facts { id, manifest, patch, rule, .. } = facts;
        let epochs = self.epochs.to_vec();
        Ok(FinalizedPatch { id, manifest: manifest.clone(), record: patch, header, epochs, count, rule })
    }

    /// The header of this proof, certified by those whose turn it was and fresh, whatever the proof says of a patch: what is
    /// refused because of a newer header is not taken at an older one.
    ///
    /// # Errors
    /// [`ProofError`] names the first check that failed.
    pub fn finalized_header(&self, trust: &TrustRoot, clock: HostClock) -> Result<FinalizedHeader, ProofError> {
        self.check_form()?;
        let validators = self.follow_epochs(trust, clock.change_seen)?;
        let header = self.certificate.verify(&self.header, &trust.chain_id, validators)?;
        clock.check(&self.header)?;
        Ok(header)
    }

    /// Where the patch was withdrawn, if it was, by its record at this header. For whoever runs it already:
    /// that it was withdrawn is final, whatever became since of those who published and approved it, so they
    /// are not asked for (docs/protocol.md, sentence 6.21).
    ///
    /// # Errors
    /// [`ProofError`] names the first check that failed: then nothing can be told.
    pub fn recalled(&self, trust: &TrustRoot, clock: HostClock) -> Result<Option<Position>, ProofError> {
        self.finalized_header(trust, clock)?;
        let Payload::Publish { manifest } = &self.publish.transaction.transaction.payload else {
            return Err(ProofError::Authority(AuthorityError::NotAPublish(
                self.publish.transaction.transaction.payload.kind(),
            )));
        };
        // The id is a hash of the manifest, so whose record this is needs no signature.
        let (root, key) = (&self.header.state_root, RecordKey::Patch(manifest.id()));
        let patch = prove(&self.state.patch, root, &key, "patch")?;
        let patch = record_as!(patch, Patch).ok_or_else(|| ProofError::NoRecord { what: "patch".to_owned() })?;
        Ok(patch.recalled)
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

    /// Follows the chain of validator sets from the trust root to the set that certifies the header, through the change that
    /// was seen before.
    fn follow_epochs<'a>(
        &'a self,
        trust: &'a TrustRoot,
        seen: Option<ChangeSeen>,
    ) -> Result<&'a ValidatorSet, ProofError> {
        let (actual, expected) = (self.chain_id, trust.chain_id);
        if actual != expected || self.header.chain_id != expected {
            let actual = if actual == expected { self.header.chain_id } else { actual };
            return Err(ProofError::WrongChain { actual, expected });
        }
        let (validators, before) = follow_epochs(&expected, &trust.validators, 0, &self.epochs)
            .map_err(|(link, problem)| ProofError::EpochChain { link, problem })?;
        if self.header.height <= before {
            let problem = EpochError::NotAscending { height: self.header.height, before };
            return Err(ProofError::EpochChain { link: self.epochs.len(), problem });
        }
        // A header from before that change is judged by its height.
        if let Some(seen) = seen.filter(|seen| self.header.height > seen.above)
            && !self.epochs.iter().any(|epoch| seen.is(epoch))
        {
            let problem = EpochError::PastSeen { above: seen.above };
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

/// Follows changes of the validator set on from a set that was in force after height `before`: the last
/// set, and the height after which it is.
///
/// # Errors
/// Which link does not hold, and why.
pub fn follow_epochs<'a>(
    chain: &ChainId,
    validators: &'a ValidatorSet,
    before: u64,
    epochs: &'a [EpochLink],
) -> Result<(&'a ValidatorSet, u64), (usize, EpochError)> {
    let (mut validators, mut before) = (validators, before);
    for (link, epoch) in epochs.iter().enumerate() {
        epoch.check(chain, validators, before).map_err(|problem| (link, problem))?;
        (validators, before) = (&epoch.validators, epoch.header.height);
    }
    Ok((validators, before))
}

impl Canonical for EpochLink {
    const NAME: &'static str = "epoch link";
    const LIMIT: Limit = Limit::Message;
}

impl EpochLink {
    /// Whether it leads on from a set of validators that was in force after height `before`.
    ///
    /// # Errors
    /// [`EpochError`] names the first check that failed.
    pub fn check(&self, chain: &ChainId, validators: &ValidatorSet, before: u64) -> Result<(), EpochError> {
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

impl ChangeSeen {
    /// The change that a link shows.
    #[must_use]
    pub fn of(link: &EpochLink) -> Self {
        Self { above: link.header.height, validators_hash: link.header.next_validators_hash }
    }

    /// Whether a link shows this very change.
    #[must_use]
    pub fn is(&self, link: &EpochLink) -> bool {
        *self == Self::of(link)
    }
}

impl HostClock {
    /// A verifier without memory: an auditor's, say.
    #[must_use]
    pub fn at(now_ms: u64) -> Self {
        Self { now_ms, max_age_ms: MAX_AGE_MS_DEFAULT, floor_ms: 0, height_seen: 0, change_seen: None }
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

//! The rules: what each kind of transaction needs and does.

use super::record::{
    EndpointRecord, KeyOwner, KeyStatus, PatchRecord, Position, ProductRecord, ReceiptRecord, Record, RecordKey, Role,
    VerdictRecord,
};
use super::storage::{StateStorage, StorageError};
use super::{State, StateView as _};
use crate::approval::{ApprovalRule, Decision, Standing};
use crate::bounded::{List, Name, Product};
use crate::governance::{Choice, ImpossibleChange, ProposalError, ProposalStanding};
use crate::id::{PatchId, TransactionId};
use crate::key::PublicKey;
use crate::limits;
use crate::patch::{ManifestError, PatchManifest};
use crate::receipt::{Outcome, Receipt};
use crate::transaction::{Payload, VerifiedTransaction};

/// Why a transaction is not for this state. Values, not strings: the evidence is inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It was finalised before. For ever.
    #[error("transaction {0} is already finalised")]
    AlreadyFinalised(TransactionId),
    /// Its time is over.
    #[error("transaction expired at {expires_at_ms}, block time is {time_ms}")]
    Expired {
        /// When it expired.
        expires_at_ms: u64,
        /// Time of the block.
        time_ms: u64,
    },
    /// It wants to stay valid for too long.
    #[error(
        "transaction expires at {expires_at_ms}, more than {} days after block time {time_ms}",
        limits::EXPIRY_AHEAD_MS_MAX / 86_400_000
    )]
    ExpiresTooLate {
        /// When it would expire.
        expires_at_ms: u64,
        /// Time of the block.
        time_ms: u64,
    },
    /// Nobody knows the key.
    #[error("key {0} belongs to no member and no endpoint of this ledger")]
    UnknownKey(PublicKey),
    /// The key speaks no more.
    #[error("key {key} is {status:?}")]
    KeyNotActive {
        /// The key.
        key: PublicKey,
        /// What became of it.
        status: KeyStatus,
    },
    /// The key may not do this.
    #[error("a {kind} needs a key with role {needed}, {key} has role {actual}")]
    WrongRole {
        /// The kind of transaction.
        kind: &'static str,
        /// The key.
        key: PublicKey,
        /// The role needed.
        needed: &'static str,
        /// The role it has.
        actual: String,
    },
    /// The namespace is another organisation's, or nobody's.
    #[error("organisation {organisation} does not own namespace {namespace}")]
    NamespaceNotOwned {
        /// The signer's organisation.
        organisation: Name,
        /// The namespace.
        namespace: Name,
    },
    /// The manifest breaks a rule of its own.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// This very patch is published.
    #[error("patch {0} is already published")]
    AlreadyPublished(PatchId),
    /// The release counter does not grow, or jumps.
    #[error("release {release} of {product} must be above {latest} and at most {} above it", limits::RELEASE_STEP_MAX)]
    ReleaseOutOfStep {
        /// The product.
        product: Product,
        /// The release offered.
        release: u64,
        /// The newest release.
        latest: u64,
    },
    /// No approval rule is for the patch, so nobody could ever approve it.
    #[error("no approval rule is for {0}")]
    NoApprovalRule(Product),
    /// Nobody published it.
    #[error("patch {0} is not published")]
    UnknownPatch(PatchId),
    /// It was withdrawn; nothing more can be said about it.
    #[error("patch {0} is recalled")]
    Recalled(PatchId),
    /// The organisation's opinion does not count for this patch.
    #[error("organisation {organisation} is not an approver of patch {patch} (vendor {vendor})")]
    NotAnApprover {
        /// The signer's organisation.
        organisation: Name,
        /// The patch.
        patch: PatchId,
        /// The patch's vendor.
        vendor: Name,
    },
    /// The same key said the same before.
    #[error("key {key} has already said {decision} on patch {patch}")]
    VerdictUnchanged {
        /// The key.
        key: PublicKey,
        /// The patch.
        patch: PatchId,
        /// What it said.
        decision: Decision,
    },
    /// Too many approvers spoke.
    #[error("patch {patch} has {limit} verdicts, the most there can be", patch = .0, limit = limits::VERDICTS_PER_PATCH_MAX)]
    TooManyVerdicts(PatchId),
    /// The key is in use.
    #[error("key {0} is already in use")]
    KeyInUse(PublicKey),
    /// No such endpoint.
    #[error("endpoint {0} is not enrolled")]
    UnknownEndpoint(PublicKey),
    /// Another organisation's endpoint.
    #[error("endpoint {endpoint} belongs to {owner}, not to {organisation}")]
    NotYourEndpoint {
        /// The endpoint.
        endpoint: PublicKey,
        /// Its organisation.
        owner: Name,
        /// The signer's organisation.
        organisation: Name,
    },
    /// The receipt is not the next one.
    #[error("receipt {actual} of endpoint {endpoint} for patch {patch}: the next is {expected}")]
    AttemptOutOfOrder {
        /// The endpoint.
        endpoint: PublicKey,
        /// The patch.
        patch: PatchId,
        /// The number it has.
        actual: u32,
        /// The number it must have.
        expected: u32,
    },
    /// Only a patch that stands approved can have been applied.
    #[error("receipt says {outcome}, but patch {patch} was never approved")]
    NeverApproved {
        /// What the receipt says.
        outcome: Outcome,
        /// The patch.
        patch: PatchId,
    },
    /// What is wrong with a proposal whatever the state.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// One of its changes is not possible.
    #[error(transparent)]
    Change(#[from] ImpossibleChange),
    /// Nobody proposed it.
    #[error("there is no proposal {0}")]
    UnknownProposal(TransactionId),
    /// Nobody can vote on it any more.
    #[error("proposal {proposal} is {standing} and closed at {closes_at_ms}, block time is {time_ms}")]
    ProposalClosed {
        /// The proposal.
        proposal: TransactionId,
        /// How it stands.
        standing: ProposalStanding,
        /// When it closed, or would.
        closes_at_ms: u64,
        /// Time of the block.
        time_ms: u64,
    },
    /// The organisation said the same before.
    #[error("{organisation} is {choice} this proposal already")]
    BallotUnchanged {
        /// The organisation.
        organisation: Name,
        /// What it said.
        choice: Choice,
    },
    /// Every outcome but `Applied` has a reason, and `Applied` has none.
    #[error("a receipt names a reason exactly when it does not say applied; this one says {0}")]
    ReasonMismatch(Outcome),
}

/// Why [`State::apply`] did not apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The rules forbid it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The disk failed; no verdict.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Records one transaction writes.
pub(super) type Written = Vec<(RecordKey, Record)>;

impl<S: StateStorage> State<'_, S> {
    pub(super) fn judge(&self, transaction: &VerifiedTransaction, position: Position) -> Result<Written, ApplyError> {
        self.check_lifetime(transaction)?;
        let signer = transaction.signer();
        let owner = |role| self.member(signer, transaction.payload().kind(), role);
        match transaction.payload() {
            Payload::Publish { manifest } => self.publish(manifest, signer, &owner(Role::Publisher)?, position),
            Payload::Approve { verdict, urgent } => {
                let decision = if *urgent { Decision::ApproveUrgently } else { Decision::Approve };
                self.verdict(verdict.patch, decision, signer, &owner(Role::Approver)?, position)
            }
            Payload::Reject { verdict } => {
                self.verdict(verdict.patch, Decision::Reject, signer, &owner(Role::Approver)?, position)
            }
            Payload::Hold { verdict } => {
                self.verdict(verdict.patch, Decision::Hold, signer, &owner(Role::Approver)?, position)
            }
            Payload::Recall { patch, .. } => self.recall(*patch, signer, position),
            Payload::Enroll { endpoint, name, group, labels } => {
                let organisation = owner(Role::Operator)?.organisation;
                self.enroll(
                    *endpoint,
                    EndpointRecord {
                        organisation,
                        name: name.clone(),
                        group: group.clone(),
                        labels: labels.clone(),
                        status: KeyStatus::Active,
                        enrolled: position,
                    },
                )
            }
            Payload::Retire { endpoint } => self.retire(*endpoint, &owner(Role::Operator)?),
            Payload::Receipt { receipt } => self.take_receipt(receipt, signer, position),
            Payload::Propose { proposal } => {
                self.propose(transaction.id(), proposal, signer, &owner(Role::Governor)?, position)
            }
            Payload::Ballot { proposal, choice } => {
                self.ballot(*proposal, *choice, signer, &owner(Role::Governor)?, position)
            }
        }
    }

    fn check_lifetime(&self, transaction: &VerifiedTransaction) -> Result<(), ApplyError> {
        let id = transaction.id();
        if self.seen.contains(&id) || self.storage.is_finalised(&id)? {
            return Err(Rejection::AlreadyFinalised(id).into());
        }
        let (expires_at_ms, time_ms) = (transaction.transaction().expires_at_ms, self.block.time_ms);
        if expires_at_ms <= time_ms {
            return Err(Rejection::Expired { expires_at_ms, time_ms }.into());
        }
        if expires_at_ms - time_ms > limits::EXPIRY_AHEAD_MS_MAX {
            return Err(Rejection::ExpiresTooLate { expires_at_ms, time_ms }.into());
        }
        Ok(())
    }

    /// The owner of a member's key that is active and has this role.
    fn member(&self, key: PublicKey, kind: &'static str, role: Role) -> Result<KeyOwner, ApplyError> {
        let Some(owner) = self.key_owner(key)? else {
            // An endpoint's key is known, it just has another use: say that.
            let actual = match self.endpoint(key)? {
                Some(_) => "endpoint".to_owned(),
                None => return Err(Rejection::UnknownKey(key).into()),
            };
            return Err(Rejection::WrongRole { kind, key, needed: role.name(), actual }.into());
        };
        if owner.role != role {
            let actual = owner.role.to_string();
            return Err(Rejection::WrongRole { kind, key, needed: role.name(), actual }.into());
        }
        if owner.status != KeyStatus::Active {
            return Err(Rejection::KeyNotActive { key, status: owner.status }.into());
        }
        Ok(owner)
    }

    fn publish(
        &self,
        manifest: &PatchManifest,
        publisher: PublicKey,
        owner: &KeyOwner,
        position: Position,
    ) -> Result<Written, ApplyError> {
        manifest.check().map_err(Rejection::Manifest)?;
        let vendor = &owner.organisation;
        let namespace = manifest.product.namespace();
        let owns = self.organisation(vendor)?.is_some_and(|organisation| organisation.namespaces.contains(&namespace));
        if !owns {
            return Err(Rejection::NamespaceNotOwned { organisation: vendor.clone(), namespace }.into());
        }
        let patch = manifest.id();
        if self.patch(patch)?.is_some() {
            return Err(Rejection::AlreadyPublished(patch).into());
        }
        let latest = self.product(&manifest.product, &manifest.channel)?.map_or(0, |record| record.release);
        if manifest.release <= latest || manifest.release - latest > limits::RELEASE_STEP_MAX {
            let (product, release) = (manifest.product.clone(), manifest.release);
            return Err(Rejection::ReleaseOutOfStep { product, release, latest }.into());
        }
        let rules = self.approval_rules()?.unwrap_or_default();
        let Some(rule) = rules.rule_for(&manifest.product, manifest.class, manifest.severity) else {
            return Err(Rejection::NoApprovalRule(manifest.product.clone()).into());
        };
        let record = PatchRecord {
            product: manifest.product.clone(),
            channel: manifest.channel.clone(),
            version: manifest.version.clone(),
            release: manifest.release,
            class: manifest.class,
            severity: manifest.severity,
            organisation: vendor.clone(),
            publisher,
            published: position,
            verdicts: List::default(),
            approved: None,
            recalled: None,
            standing: rule.count(vendor, &[]).standing,
        };
        let key = RecordKey::Product(manifest.product.clone(), manifest.channel.clone());
        Ok(vec![
            (key, Record::Product(ProductRecord { release: manifest.release, patch })),
            (RecordKey::Patch(patch), Record::Patch(record)),
        ])
    }

    fn verdict(
        &self,
        id: PatchId,
        decision: Decision,
        key: PublicKey,
        owner: &KeyOwner,
        position: Position,
    ) -> Result<Written, ApplyError> {
        let mut patch = self.open_patch(id)?;
        let rule = self.rule_for(&patch)?;
        let organisation = owner.organisation.clone();
        if !rule.counts(&organisation, &patch.organisation) {
            return Err(Rejection::NotAnApprover { organisation, patch: id, vendor: patch.organisation }.into());
        }
        let mut verdicts = patch.verdicts.into_vec();
        // Who speaks for an organisation now speaks in the place of its keys that speak no more.
        let mut silent = Vec::new();
        for earlier in verdicts.iter().filter(|earlier| earlier.organisation == organisation && earlier.key != key) {
            let active = self.key_owner(earlier.key)?.is_some_and(|owner| owner.status == KeyStatus::Active);
            silent.extend((!active).then_some(earlier.key));
        }
        verdicts.retain(|earlier| !silent.contains(&earlier.key));
        let verdict = VerdictRecord { key, organisation, decision, position };
        match verdicts.iter_mut().find(|earlier| earlier.key == key) {
            Some(earlier) if earlier.decision == decision => {
                return Err(Rejection::VerdictUnchanged { key, patch: id, decision }.into());
            }
            Some(earlier) => *earlier = verdict,
            None => verdicts.push(verdict),
        }
        patch.verdicts = List::new(verdicts).map_err(|_| Rejection::TooManyVerdicts(id))?;
        patch.standing = super::count_now(self, &patch)?.map_or(Standing::Pending, |count| count.standing);
        match patch.standing {
            Standing::Recalled => patch.recalled = Some(position),
            Standing::Approved if patch.approved.is_none() => patch.approved = Some(position),
            _ => {}
        }
        Ok(vec![(RecordKey::Patch(id), Record::Patch(patch))])
    }

    /// The vendor's recall withdraws at once; an approver's is a verdict that the rule counts.
    fn recall(&self, id: PatchId, key: PublicKey, position: Position) -> Result<Written, ApplyError> {
        let mut patch = self.open_patch(id)?;
        match self.key_owner(key)? {
            Some(owner) if owner.role == Role::Approver => {
                self.verdict(id, Decision::Recall, key, &self.member(key, "recall", Role::Approver)?, position)
            }
            _ => {
                let owner = self.member(key, "recall", Role::Publisher)?;
                if owner.organisation != patch.organisation {
                    let (organisation, vendor) = (owner.organisation, patch.organisation);
                    return Err(Rejection::NotAnApprover { organisation, patch: id, vendor }.into());
                }
                patch.recalled = Some(position);
                patch.standing = Standing::Recalled;
                Ok(vec![(RecordKey::Patch(id), Record::Patch(patch))])
            }
        }
    }

    fn enroll(&self, endpoint: PublicKey, record: EndpointRecord) -> Result<Written, ApplyError> {
        if self.key_owner(endpoint)?.is_some() || self.endpoint(endpoint)?.is_some() {
            return Err(Rejection::KeyInUse(endpoint).into());
        }
        Ok(vec![(RecordKey::Endpoint(endpoint), Record::Endpoint(record))])
    }

    fn retire(&self, endpoint: PublicKey, owner: &KeyOwner) -> Result<Written, ApplyError> {
        let mut record = self.endpoint(endpoint)?.ok_or(Rejection::UnknownEndpoint(endpoint))?;
        if record.organisation != owner.organisation {
            let (owner, organisation) = (record.organisation, owner.organisation.clone());
            return Err(Rejection::NotYourEndpoint { endpoint, owner, organisation }.into());
        }
        if record.status != KeyStatus::Active {
            return Err(Rejection::KeyNotActive { key: endpoint, status: record.status }.into());
        }
        record.status = KeyStatus::Retired;
        Ok(vec![(RecordKey::Endpoint(endpoint), Record::Endpoint(record))])
    }

    fn take_receipt(&self, receipt: &Receipt, endpoint: PublicKey, position: Position) -> Result<Written, ApplyError> {
        let Some(record) = self.endpoint(endpoint)? else {
            return Err(match self.key_owner(endpoint)? {
                Some(owner) => Rejection::WrongRole {
                    kind: "receipt",
                    key: endpoint,
                    needed: "endpoint",
                    actual: owner.role.to_string(),
                },
                None => Rejection::UnknownKey(endpoint),
            }
            .into());
        };
        if record.status != KeyStatus::Active {
            return Err(Rejection::KeyNotActive { key: endpoint, status: record.status }.into());
        }
        let patch = self.patch(receipt.patch)?.ok_or(Rejection::UnknownPatch(receipt.patch))?;
        if (receipt.outcome == Outcome::Applied) == receipt.reason.is_some() {
            return Err(Rejection::ReasonMismatch(receipt.outcome).into());
        }
        let touched_the_host = matches!(receipt.outcome, Outcome::Applied | Outcome::RolledBack | Outcome::Failed);
        // Not its standing now: it may have been held, rejected or recalled after it was applied.
        // And where the law was relaxed since, nobody may have spoken under the new one.
        let may_be_applied = patch.approved.is_some()
            || super::count_now(self, &patch)?.is_some_and(|count| count.standing == Standing::Approved);
        if touched_the_host && !may_be_applied {
            return Err(Rejection::NeverApproved { outcome: receipt.outcome, patch: receipt.patch }.into());
        }
        let expected = self.receipt(endpoint, receipt.patch)?.map_or(0, |record| record.attempt).saturating_add(1);
        if receipt.attempt != expected {
            let (patch, actual) = (receipt.patch, receipt.attempt);
            return Err(Rejection::AttemptOutOfOrder { endpoint, patch, actual, expected }.into());
        }
        let record = ReceiptRecord {
            attempt: receipt.attempt,
            outcome: receipt.outcome,
            reason: receipt.reason.as_ref().map(|reason| reason.code),
            position,
        };
        Ok(vec![(RecordKey::Receipt(endpoint, receipt.patch), Record::Receipt(record))])
    }

    /// A patch about which something can still be said.
    fn open_patch(&self, id: PatchId) -> Result<PatchRecord, ApplyError> {
        let patch = self.patch(id)?.ok_or(Rejection::UnknownPatch(id))?;
        if patch.recalled.is_some() {
            return Err(Rejection::Recalled(id).into());
        }
        Ok(patch)
    }

    fn rule_for(&self, patch: &PatchRecord) -> Result<ApprovalRule, ApplyError> {
        let rules = self.approval_rules()?.unwrap_or_default();
        let rule = rules.rule_for(&patch.product, patch.class, patch.severity);
        rule.cloned().ok_or_else(|| Rejection::NoApprovalRule(patch.product.clone()).into())
    }
}

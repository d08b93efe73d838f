//! The rules: what each kind of transaction needs and does.

use super::record::{
    EndpointRecord, KeyOwner, KeyStatus, PatchRecord, Position, ProductRecord, ReceiptRecord, Record, RecordKey, Role,
    VerdictRecord,
};
use super::rejection::{ApplyError, Rejection};
use super::storage::StateStorage;
use super::{State, StateView};
use crate::approval::{ApprovalRule, Decision, Standing};
use crate::bounded::List;
use crate::id::PatchId;
use crate::key::PublicKey;
use crate::limits;
use crate::patch::PatchManifest;
use crate::receipt::{Outcome, Receipt};
use crate::transaction::{Payload, Transaction, VerifiedTransaction};

/// Records one transaction writes.
pub(super) type Written = Vec<(RecordKey, Record)>;

/// Whether the signer of an accusation may bring one: all that the rules can say of it before its evidence is checked,
/// which takes as long as hundreds of transactions. Of other transactions it says nothing.
///
/// # Errors
/// As [`State::apply`].
pub fn may_accuse(records: &impl StateView, transaction: &Transaction) -> Result<(), ApplyError> {
    match transaction.payload {
        Payload::Accuse { .. } => member(records, transaction.signer, transaction.payload.kind(), Role::Node).map(drop),
        _ => Ok(()),
    }
}

fn member(records: &impl StateView, key: PublicKey, kind: &'static str, role: Role) -> Result<KeyOwner, ApplyError> {
    let Some(owner) = records.key_owner(key)? else {
        // An endpoint's key is known, it just has another use: say that.
        let actual = match records.endpoint(key)? {
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
            Payload::Accuse { evidence } => {
                owner(Role::Node)?;
                self.accuse(evidence, position)
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
        member(self, key, kind, role)
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
            Some(owner) if owner.role != Role::Publisher => {
                let (needed, actual) = ("publisher or approver", owner.role.to_string());
                Err(Rejection::WrongRole { kind: "recall", key, needed, actual }.into())
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
        if !endpoint.can_sign() {
            return Err(Rejection::NotAKey(endpoint).into());
        }
        if self.key_owner(endpoint)?.is_some() || self.endpoint(endpoint)?.is_some() {
            return Err(Rejection::KeyInUse(endpoint).into());
        }
        let labels = record.labels.iter().zip(record.labels.iter().skip(1));
        if let Some((label, _)) = labels.into_iter().find(|(one, next)| one.key == next.key) {
            return Err(Rejection::LabelTwice(label.key.clone()).into());
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

//! What transactions and records say together: who signed with what authority, and how the patch stands.

use super::{AuthorityError, ProofError};
use crate::approval::{ApprovalRules, Count, Decision, Standing};
use crate::bounded::Name;
use crate::id::PatchId;
use crate::key::PublicKey;
use crate::patch::PatchManifest;
use crate::state::record::{Halts, KeyStatus, Organisation, PatchRecord, Role, VerdictRecord};
use crate::transaction::{Payload, VerifiedTransaction};

/// Transactions that are in the history.
pub(super) struct Included {
    pub(super) publish: VerifiedTransaction,
    pub(super) publish_index: u64,
    pub(super) approvals: Vec<(u64, VerifiedTransaction)>,
}

/// Records that are in the state.
pub(super) struct Facts<'a> {
    pub(super) id: PatchId,
    pub(super) manifest: &'a PatchManifest,
    pub(super) patch: PatchRecord,
    pub(super) rules: ApprovalRules,
    pub(super) rule: Name,
    pub(super) halts: Halts,
    pub(super) organisations: Vec<Organisation>,
}

impl Facts<'_> {
    /// Every signature is by a key that may give it, and the approvals shown are counted by the rule.
    pub(super) fn check_authority(&self, included: &Included) -> Result<Count, ProofError> {
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
        // But nothing a revoked key signed counts, as far as its organisation is shown.
        let revoked = |verdict: &VerdictRecord| {
            let organisation = self.organisations.iter().find(|known| known.name == verdict.organisation);
            let member = organisation.and_then(|known| known.key(&verdict.key));
            Ok::<_, ProofError>(member.is_some_and(|member| member.status == KeyStatus::Revoked))
        };
        shown.extend(patch.opinions(revoked)?.into_iter().filter(|opinion| !approving(opinion.decision)));
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

    pub(super) fn check_standing(&self, count: &Count) -> Result<(), ProofError> {
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

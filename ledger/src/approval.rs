//! The approval rule: common law, in the state, enforced by every node and checked by every endpoint.

use crate::bounded::{List, Name, Product, SortedList};
use crate::key::PublicKey;
use crate::limits;
use crate::patch::{Class, Severity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// `approvals` approvals from at least `organisations` distinct organisations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Quorum {
    /// k: distinct keys.
    pub approvals: u16,
    /// m: distinct organisations.
    pub organisations: u16,
}

/// Who must agree before a patch may be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRule {
    /// What people call it.
    pub name: Name,
    /// Namespaces it is for; empty means all.
    pub namespaces: SortedList<Name, { limits::SELECTOR_VALUES_MAX }>,
    /// Classes it is for; empty means all.
    pub classes: SortedList<Class, 8>,
    /// Severities it is for; empty means all.
    pub severities: SortedList<Severity, 8>,
    /// Organisations whose approvals count; empty means every organisation. The vendor's own never
    /// count.
    pub approvers: SortedList<Name, { limits::SELECTOR_VALUES_MAX }>,
    /// What is needed.
    pub quorum: Quorum,
    /// What is enough when every approval counted was given as an emergency one.
    pub emergency: Option<Quorum>,
    /// How many organisations' rejections block the patch.
    pub rejections: u16,
    /// How many approver organisations' recalls withdraw it; the vendor's own recall always does.
    pub recalls: u16,
}

/// The rules in force; the first that is for a patch decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRules(pub List<ApprovalRule, { limits::APPROVAL_RULES_MAX }>);

/// What an approver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Go.
    Approve,
    /// Go, and it is urgent enough for the emergency rule.
    ApproveUrgently,
    /// No.
    Reject,
    /// Not yet.
    Hold,
    /// Withdraw it.
    Recall,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approve => "approve",
            Self::ApproveUrgently => "approve-urgently",
            Self::Reject => "reject",
            Self::Hold => "hold",
            Self::Recall => "recall",
        })
    }
}

/// A decision as far as a rule looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// The approver's key.
    pub key: PublicKey,
    /// Its organisation.
    pub organisation: Name,
    /// What it said last.
    pub decision: Decision,
}

/// Where a patch stands under its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Approvals are missing.
    Pending,
    /// Enough approvals, nothing against it.
    Approved,
    /// Rejected by rule.
    Rejected,
    /// Held back by an approver.
    Held,
    /// Withdrawn. Final.
    Recalled,
}

impl Standing {
    /// Every standing, in the order of the encoding.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Rejected, Self::Held, Self::Recalled];
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Held => "held",
            Self::Recalled => "recalled",
        })
    }
}

/// The arithmetic behind a standing, for people and for refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// What the rule asks for.
    pub needed: Quorum,
    /// Distinct approving keys that count.
    pub approvals: usize,
    /// Organisations that approved.
    pub approved_by: BTreeSet<Name>,
    /// Organisations the rule names that have not approved. Empty when the rule names none.
    pub missing: BTreeSet<Name>,
    /// Organisations that rejected.
    pub rejected_by: BTreeSet<Name>,
    /// Organisations that hold it back.
    pub held_by: BTreeSet<Name>,
    /// Approver organisations that recalled it.
    pub recalled_by: BTreeSet<Name>,
    /// The result.
    pub standing: Standing,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |set: &BTreeSet<Name>| set.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        write!(
            f,
            "{} of {} approvals from {} of {} organisations",
            self.approvals,
            self.needed.approvals,
            self.approved_by.len(),
            self.needed.organisations
        )?;
        if !self.approved_by.is_empty() {
            write!(f, "; approved by {}", names(&self.approved_by))?;
        }
        if !self.missing.is_empty() {
            write!(f, "; missing {}", names(&self.missing))?;
        }
        if !self.rejected_by.is_empty() {
            write!(f, "; rejected by {}", names(&self.rejected_by))?;
        }
        if !self.held_by.is_empty() {
            write!(f, "; held by {}", names(&self.held_by))?;
        }
        Ok(())
    }
}

impl ApprovalRules {
    /// The rule for a patch: the first that is for it.
    #[must_use]
    pub fn rule_for(&self, product: &Product, class: Class, severity: Severity) -> Option<&ApprovalRule> {
        self.0.iter().find(|rule| rule.is_for(product, class, severity))
    }
}

impl ApprovalRule {
    /// Whether the rule is for this patch.
    #[must_use]
    pub fn is_for(&self, product: &Product, class: Class, severity: Severity) -> bool {
        (self.namespaces.is_empty() || self.namespaces.contains(&product.namespace()))
            && (self.classes.is_empty() || self.classes.contains(&class))
            && (self.severities.is_empty() || self.severities.contains(&severity))
    }

    /// Whether the rule asks for anything at all, and for nothing impossible.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let named =
            |organisations: u16| self.approvers.is_empty() || usize::from(organisations) <= self.approvers.len();
        let asks = |quorum: &Quorum| {
            quorum.organisations >= 1 && quorum.approvals >= quorum.organisations && named(quorum.organisations)
        };
        asks(&self.quorum) && self.emergency.as_ref().is_none_or(asks)
    }

    /// Whether an organisation's opinion on a patch of `vendor` counts.
    #[must_use]
    pub fn counts(&self, organisation: &Name, vendor: &Name) -> bool {
        organisation != vendor && (self.approvers.is_empty() || self.approvers.contains(organisation))
    }

    /// Counts opinions, one per key. Duplicates of a key must have been replaced before; keys of one
    /// organisation count towards `approvals` each but towards `organisations` once.
    #[must_use]
    pub fn count(&self, vendor: &Name, opinions: &[Opinion]) -> Count {
        let counted: Vec<&Opinion> =
            opinions.iter().filter(|opinion| self.counts(&opinion.organisation, vendor)).collect();
        let by = |wanted: &[Decision]| -> Vec<&&Opinion> {
            counted.iter().filter(|opinion| wanted.contains(&opinion.decision)).collect()
        };
        let organisations =
            |of: &[&&Opinion]| -> BTreeSet<Name> { of.iter().map(|opinion| opinion.organisation.clone()).collect() };

        let approving = by(&[Decision::Approve, Decision::ApproveUrgently]);
        let urgent = by(&[Decision::ApproveUrgently]);
        let rejected_by = organisations(&by(&[Decision::Reject]));
        let held_by = organisations(&by(&[Decision::Hold]));
        let recalled_by = organisations(&by(&[Decision::Recall]));
        let approved_by = organisations(&approving);

        let reached = |quorum: &Quorum, of: &[&&Opinion]| {
            let distinct: BTreeSet<_> = of.iter().map(|opinion| opinion.key).collect();
            distinct.len() >= usize::from(quorum.approvals)
                && organisations(of).len() >= usize::from(quorum.organisations)
        };
        let approved = reached(&self.quorum, &approving)
            || self.emergency.as_ref().is_some_and(|emergency| reached(emergency, &urgent));
        let standing = if self.recalls > 0 && recalled_by.len() >= usize::from(self.recalls) {
            Standing::Recalled
        } else if self.rejections > 0 && rejected_by.len() >= usize::from(self.rejections) {
            Standing::Rejected
        } else if !held_by.is_empty() {
            Standing::Held
        } else if approved {
            Standing::Approved
        } else {
            Standing::Pending
        };
        let missing = self
            .approvers
            .iter()
            .filter(|organisation| *organisation != vendor && !approved_by.contains(*organisation))
            .cloned()
            .collect();
        Count {
            needed: self.quorum,
            approvals: approving.iter().map(|opinion| opinion.key).collect::<BTreeSet<_>>().len(),
            approved_by,
            missing,
            rejected_by,
            held_by,
            recalled_by,
            standing,
        }
    }
}

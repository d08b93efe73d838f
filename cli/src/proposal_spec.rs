//! From a description people write to the proposal a governor signs.

use crate::description::{
    self, Description, KeySpec, Kind, OrganisationSpec, RuleSpec, SpecError, ValidatorSpec, validators,
};
use crate::trust::Trust;
use keyring::{KeyRole, PublicPart};
use ledger::approval::ApprovalRules;
use ledger::bounded::{List, Name, Notes};
use ledger::governance::{Change, ChangeError, ImpossibleChange, Proposal};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::state::record::Parameters;
use ledger::validators::ValidatorSet;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A proposal with everything in it, explained.
pub const EXAMPLE: &str = include_str!("proposal_example.toml");

/// One day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The longest time for ballots, in days.
const CLOSES_IN_DAYS_MAX: u64 = limits::EXPIRY_AHEAD_MS_MAX / DAY_MS;
/// The longest time for ballots is counted from the time of a block, and the newest one may be as old as
/// the longest heartbeat.
const CLOSES_IN_MS_MAX: u64 = limits::EXPIRY_AHEAD_MS_MAX - limits::PARAMETER_MS_MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    note: Notes,
    #[serde(default = "a_week")]
    closes_in_days: u64,
    #[serde(default)]
    change: Vec<ChangeSpec>,
}

const fn a_week() -> u64 {
    7
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum ChangeSpec {
    AddOrganisation(OrganisationSpec),
    RemoveOrganisation {
        name: Name,
    },
    AddKey {
        organisation: Name,
        role: Option<KeyRole>,
        public_key: Option<PublicKey>,
        key_file: Option<PathBuf>,
    },
    RotateKey {
        old: Option<PublicKey>,
        old_key_file: Option<PathBuf>,
        new: Option<PublicKey>,
        new_key_file: Option<PathBuf>,
    },
    RetireKey {
        public_key: Option<PublicKey>,
        key_file: Option<PathBuf>,
    },
    RevokeKey {
        public_key: Option<PublicKey>,
        key_file: Option<PathBuf>,
    },
    AddNamespace {
        organisation: Name,
        namespace: Name,
    },
    RemoveNamespace {
        organisation: Name,
        namespace: Name,
    },
    SetValidators {
        validator: Vec<ValidatorSpec>,
    },
    SetApprovalRules {
        rule: Vec<RuleSpec>,
    },
    SetParameters {
        heartbeat_ms: u64,
        seal_ms: u64,
    },
}

/// Reads the proposal a description asks for, closing as many days after `now_ms` as it says, and checks
/// what the ledger will check whatever its state. Key files are looked for beside the description.
///
/// # Errors
/// [`SpecError`] names the first thing that is wrong.
pub fn read(path: &Path, trust: &Trust, now_ms: u64) -> Result<Proposal, SpecError> {
    let (description, spec) = Description::read::<Spec>(path, Kind::Proposal)?;
    if !(1..=CLOSES_IN_DAYS_MAX).contains(&spec.closes_in_days) {
        return Err(SpecError::ClosesInDays { actual: spec.closes_in_days, max: CLOSES_IN_DAYS_MAX });
    }
    let mut changes = Vec::new();
    for (place, change) in spec.change.iter().enumerate() {
        let change = change.read(description, trust, format!("change {place}"))?;
        if let Some(error) = never_possible(&change) {
            return Err(ImpossibleChange { place, kind: change.kind(), error }.into());
        }
        changes.push(change);
    }
    let changes = List::new(changes).map_err(|error| SpecError::Bound { place: "change".to_owned(), error })?;
    let closes_at_ms = now_ms.saturating_add((spec.closes_in_days * DAY_MS).min(CLOSES_IN_MS_MAX));
    let proposal = Proposal { changes, note: spec.note, closes_at_ms };
    proposal.check(now_ms)?;
    Ok(proposal)
}

impl ChangeSpec {
    fn read(&self, description: Description, trust: &Trust, place: String) -> Result<Change, SpecError> {
        let key = |key: &Option<PublicKey>, file: &Option<PathBuf>| {
            Named::read(description, &place, ("public_key", key), ("key_file", file)).map(|named| named.key)
        };
        Ok(match self {
            Self::AddOrganisation(member) => Change::AddOrganisation { organisation: member.read(description, &[])? },
            Self::RemoveOrganisation { name } => Change::RemoveOrganisation { name: name.clone() },
            Self::AddKey { organisation, role, public_key, key_file } => {
                let spec = KeySpec { role: *role, public_key: *public_key, key_file: key_file.clone() };
                let (role, key) = spec.read_member(description, place, organisation)?;
                Change::AddKey { organisation: organisation.clone(), key, role }
            }
            Self::RotateKey { old, old_key_file, new, new_key_file } => {
                let old = Named::read(description, &place, ("old", old), ("old_key_file", old_key_file))?;
                let new = Named::read(description, &place, ("new", new), ("new_key_file", new_key_file))?;
                let (was, is) = (old.made_for.or_else(|| owner(trust, &old.key)), new.made_for);
                match (was, is) {
                    (Some(old), Some(new)) if old != new => return Err(SpecError::OtherUse { place, old, new }),
                    _ => Change::RotateKey { old: old.key, new: new.key },
                }
            }
            Self::RetireKey { public_key, key_file } => Change::RetireKey { key: key(public_key, key_file)? },
            Self::RevokeKey { public_key, key_file } => Change::RevokeKey { key: key(public_key, key_file)? },
            Self::AddNamespace { organisation, namespace } => {
                Change::AddNamespace { organisation: organisation.clone(), namespace: namespace.clone() }
            }
            Self::RemoveNamespace { organisation, namespace } => {
                Change::RemoveNamespace { organisation: organisation.clone(), namespace: namespace.clone() }
            }
            Self::SetValidators { validator } => {
                Change::SetValidators { validators: ValidatorSet::new(validators(validator, description)?)? }
            }
            Self::SetApprovalRules { rule } => {
                let rules = rule.iter().map(RuleSpec::read).collect::<Result<Vec<_>, _>>()?;
                let rules = List::new(rules).map_err(|error| SpecError::Bound { place: "rule".to_owned(), error })?;
                Change::SetApprovalRules { rules: ApprovalRules(rules) }
            }
            Self::SetParameters { heartbeat_ms, seal_ms } => {
                Change::SetParameters { parameters: description::parameters(*heartbeat_ms, *seal_ms)? }
            }
        })
    }
}

/// A member's key that is named alone: the ledger knows whose it is, and what for.
struct Named {
    key: PublicKey,
    /// What its file says it is for.
    made_for: Option<String>,
}

impl Named {
    fn read(
        description: Description,
        place: &str,
        (written, key): (&'static str, &Option<PublicKey>),
        (file, path): (&'static str, &Option<PathBuf>),
    ) -> Result<Self, SpecError> {
        match (key, path) {
            (Some(key), None) => Ok(Self { key: *key, made_for: None }),
            (None, Some(path)) => {
                let PublicPart { role, organisation, public_key } = description.key_file(path)?;
                match (role.member_role(), organisation) {
                    (Some(role), Some(owner)) => {
                        Ok(Self { key: public_key, made_for: Some(format!("{role} of {owner}")) })
                    }
                    _ => Err(SpecError::Role { place: place.to_owned(), role }),
                }
            }
            _ => Err(description.ambiguous(place.to_owned(), file, written)),
        }
    }
}

/// Whose a key is and what for, as far as the trust root knows: that never changes.
fn owner(trust: &Trust, key: &PublicKey) -> Option<String> {
    trust.owner(key).map(|(organisation, member)| format!("{} of {organisation}", member.role))
}

/// Why the ledger would refuse a change in every state.
fn never_possible(change: &Change) -> Option<ChangeError> {
    match change {
        Change::SetApprovalRules { rules } => {
            let unsound = rules.0.iter().find(|rule| !rule.is_sound())?;
            Some(ChangeError::UnsoundRule(unsound.name.clone()))
        }
        Change::SetParameters { parameters: Parameters { heartbeat_ms, seal_ms } } => {
            let outside = |number: &u64| !(1..=limits::PARAMETER_MS_MAX).contains(number);
            let numbers = [("heartbeat_ms", heartbeat_ms), ("seal_ms", seal_ms)];
            let (name, _) = numbers.into_iter().find(|(_, number)| outside(number))?;
            Some(ChangeError::Parameter(name))
        }
        _ => None,
    }
}

//! What people describe in TOML: the parts that the description of a new ledger and a proposal to change
//! one have in common.

mod error;

pub use error::{Kind, SpecError};

use crate::files;
use keyring::{KeyRole, PublicPart};
use ledger::approval::{ApprovalRule, Quorum};
use ledger::bounded::{Name, SortedList};
use ledger::key::PublicKey;
use ledger::patch::{Class, Severity};
use ledger::state::record::{KeyStatus, MemberKey, Organisation, Parameters, Role};
use ledger::validators::Validator;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Largest description.
pub const SPEC_BYTES_MAX: usize = 1024 * 1024;
/// Shortest heartbeat: below it the chain would be nothing but heartbeats.
pub const HEARTBEAT_MS_MIN: u64 = 100;

/// A description that is being read: key files are looked for beside it.
#[derive(Clone, Copy)]
pub(crate) struct Description<'a> {
    path: &'a Path,
    kind: Kind,
}

impl<'a> Description<'a> {
    /// Reads the file as far as its format goes.
    pub(crate) fn read<T: DeserializeOwned>(path: &'a Path, kind: Kind) -> Result<(Self, T), SpecError> {
        let text = files::read_text(path, kind.name(), SPEC_BYTES_MAX)?;
        let format = |source| SpecError::Format { path: path.to_owned(), kind, source: Box::new(source) };
        Ok((Self { path, kind }, toml::from_str(&text).map_err(format)?))
    }

    /// What a key file it names says of its key.
    pub(crate) fn key_file(&self, file: &Path) -> Result<PublicPart, SpecError> {
        Ok(PublicPart::read(&files::directory_of(self.path).join(file))?)
    }

    /// A key that is given in no way, or in two.
    pub(crate) fn ambiguous(&self, place: String, file: &'static str, written: &'static str) -> SpecError {
        SpecError::KeyAmbiguous { place, file, written, kind: self.kind }
    }
}

/// A member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrganisationSpec {
    pub(crate) name: Name,
    #[serde(default)]
    namespaces: Vec<Name>,
    #[serde(default)]
    keys: Vec<KeySpec>,
}

/// A key of a member: from a key file, or written out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeySpec {
    pub(crate) role: Option<KeyRole>,
    pub(crate) public_key: Option<PublicKey>,
    pub(crate) key_file: Option<PathBuf>,
}

/// A validator: its organisation and its key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidatorSpec {
    organisation: Name,
    public_key: Option<PublicKey>,
    key_file: Option<PathBuf>,
}

/// An approval rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleSpec {
    name: Name,
    #[serde(default)]
    namespaces: Vec<Name>,
    #[serde(default)]
    classes: Vec<Class>,
    #[serde(default)]
    severities: Vec<Severity>,
    #[serde(default)]
    approvers: Vec<Name>,
    approvals: u16,
    organisations: u16,
    #[serde(default = "one")]
    rejections: u16,
    #[serde(default = "one")]
    recalls: u16,
    emergency: Option<QuorumSpec>,
}

/// What is enough in an emergency.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuorumSpec {
    approvals: u16,
    organisations: u16,
}

const fn one() -> u16 {
    1
}

/// Parameters as far as people's descriptions are held to more than the ledger's own bounds.
pub(crate) fn parameters(heartbeat_ms: u64, seal_ms: u64) -> Result<Parameters, SpecError> {
    if heartbeat_ms < HEARTBEAT_MS_MIN {
        return Err(SpecError::Heartbeat(heartbeat_ms));
    }
    Ok(Parameters { heartbeat_ms, seal_ms })
}

/// Validators in the order they are described.
pub(crate) fn validators(specs: &[ValidatorSpec], description: Description) -> Result<Vec<Validator>, SpecError> {
    let validators = specs.iter().map(|spec| {
        let place = format!("validator of {}", spec.organisation);
        let key = KeySpec {
            role: spec.public_key.map(|_| KeyRole::Validator),
            public_key: spec.public_key,
            key_file: spec.key_file.clone(),
        };
        let (role, key) = key.read(description, place.clone(), &spec.organisation)?;
        match role {
            KeyRole::Validator => Ok(Validator { key, organisation: spec.organisation.clone() }),
            role => Err(SpecError::Role { place, role }),
        }
    });
    validators.collect()
}

impl OrganisationSpec {
    /// The member, with its keys among these validators.
    pub(crate) fn read(&self, description: Description, validators: &[Validator]) -> Result<Organisation, SpecError> {
        let place = format!("organisation {}", self.name);
        let mut keys = Vec::new();
        for spec in &self.keys {
            let (role, key) = spec.read_member(description, place.clone(), &self.name)?;
            keys.push(MemberKey { key, role, status: KeyStatus::Active });
        }
        // A validator is a key of its organisation; nobody should have to write it twice.
        let validating = validators.iter().filter(|validator| validator.organisation == self.name);
        for key in validating.map(|validator| validator.key) {
            if !keys.iter().any(|member| member.key == key) {
                keys.push(MemberKey { key, role: Role::Validator, status: KeyStatus::Active });
            }
        }
        Ok(Organisation {
            name: self.name.clone(),
            namespaces: sorted(&format!("namespaces of {}", self.name), self.namespaces.clone())?,
            keys: sorted(&format!("keys of {}", self.name), keys)?,
        })
    }
}

impl KeySpec {
    /// A key of a member, with the role it has there.
    pub(crate) fn read_member(
        &self,
        description: Description,
        place: String,
        owner: &Name,
    ) -> Result<(Role, PublicKey), SpecError> {
        let (role, key) = self.read(description, place.clone(), owner)?;
        Ok((role.member_role().ok_or(SpecError::Role { place, role })?, key))
    }

    fn read(&self, description: Description, place: String, owner: &Name) -> Result<(KeyRole, PublicKey), SpecError> {
        match (self.role, self.public_key, &self.key_file) {
            (Some(role), Some(key), None) => Ok((role, key)),
            (role, None, Some(file)) => {
                let public = description.key_file(file)?;
                if public.organisation.as_ref() != Some(owner) {
                    return Err(SpecError::StrangeKey { place, path: file.clone(), actual: public.organisation });
                }
                match role {
                    Some(role) if role != public.role => Err(SpecError::Role { place, role: public.role }),
                    _ => Ok((public.role, public.public_key)),
                }
            }
            _ => Err(description.ambiguous(place, "key_file", "public_key with its role")),
        }
    }
}

impl RuleSpec {
    /// The rule; whether it is sound is the ledger's to say.
    pub(crate) fn read(&self) -> Result<ApprovalRule, SpecError> {
        let place = |list: &str| format!("rule {}: {list}", self.name);
        let emergency = self.emergency.as_ref();
        Ok(ApprovalRule {
            name: self.name.clone(),
            namespaces: sorted(&place("namespaces"), self.namespaces.clone())?,
            classes: sorted(&place("classes"), self.classes.clone())?,
            severities: sorted(&place("severities"), self.severities.clone())?,
            approvers: sorted(&place("approvers"), self.approvers.clone())?,
            quorum: Quorum { approvals: self.approvals, organisations: self.organisations },
            emergency: emergency
                .map(|quorum| Quorum { approvals: quorum.approvals, organisations: quorum.organisations }),
            rejections: self.rejections,
            recalls: self.recalls,
        })
    }
}

/// A list without an order of its own.
pub(crate) fn sorted<T: Ord, const MAX: usize>(place: &str, elements: Vec<T>) -> Result<SortedList<T, MAX>, SpecError> {
    SortedList::new(elements).map_err(|error| SpecError::Bound { place: place.to_owned(), error })
}

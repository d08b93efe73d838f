//! From a description people write to the genesis file everybody holds.

use crate::files::{self, FileError};
use crate::key_file::{KeyFileError, KeyRole, PublicPart};
use crate::time;
use ledger::approval::{ApprovalRule, Quorum};
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::{BoundError, List, Name, SortedList};
use ledger::genesis::{Genesis, GenesisBlock, GenesisError};
use ledger::key::PublicKey;
use ledger::patch::{Class, Severity};
use ledger::state::record::{KeyStatus, MemberKey, Organisation, Parameters, Role};
use ledger::validators::{Validator, ValidatorSet, ValidatorSetError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Largest description.
pub const SPEC_BYTES_MAX: usize = 1024 * 1024;
/// Shortest heartbeat: below it the chain would be nothing but heartbeats.
pub const HEARTBEAT_MS_MIN: u64 = 100;
/// A description with everything in it, explained.
pub const EXAMPLE: &str = include_str!("genesis_example.toml");

/// What is wrong with a description.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not the format.
    #[error("{} is no genesis description", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// What the parser says.
        source: Box<toml::de::Error>,
    },
    /// A key file it names.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A key without a way to know it.
    #[error("{place}: give either key_file, or public_key with its role")]
    KeyAmbiguous {
        /// Of whom.
        place: String,
    },
    /// A key file of another organisation.
    #[error("{place}: {} is a key of {}", path.display(), actual.as_ref().map_or("nobody", Name::as_str))]
    StrangeKey {
        /// Of whom.
        place: String,
        /// The key file.
        path: PathBuf,
        /// Whose it is.
        actual: Option<Name>,
    },
    /// A key with a role that no member has.
    #[error("{place}: a key with role {role} does not belong here")]
    Role {
        /// Of whom.
        place: String,
        /// The role.
        role: KeyRole,
    },
    /// A validator of an organisation that is not described.
    #[error("validator of {0}: no organisation has that name")]
    UnknownOrganisation(Name),
    /// A list that is too long.
    #[error("{place}: {error}")]
    Bound {
        /// Which list.
        place: String,
        /// How long it may be.
        error: BoundError,
    },
    /// The heartbeat is too short.
    #[error("heartbeat_ms is {0}, at least {HEARTBEAT_MS_MIN} is needed")]
    Heartbeat(u64),
    /// The validators make no set.
    #[error(transparent)]
    Validators(#[from] ValidatorSetError),
    /// The ledger refuses it.
    #[error("the ledger refuses this genesis")]
    Genesis(#[from] GenesisError),
}

impl SpecError {
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self, Self::File(_) | Self::Format { .. } | Self::Key(_))
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Format { .. } | Self::KeyAmbiguous { .. } => {
                Some("`countersign init --example` prints a description with everything in it".to_owned())
            }
            Self::Role { role: KeyRole::Endpoint, .. } => {
                Some("endpoints are enrolled later: `countersign endpoint enroll`".to_owned())
            }
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    name: Name,
    time_ms: Option<u64>,
    #[serde(default)]
    parameters: ParametersSpec,
    #[serde(default)]
    organisation: Vec<OrganisationSpec>,
    #[serde(default)]
    validator: Vec<ValidatorSpec>,
    #[serde(default)]
    rule: Vec<RuleSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ParametersSpec {
    heartbeat_ms: u64,
    seal_ms: u64,
}

impl Default for ParametersSpec {
    fn default() -> Self {
        Self { heartbeat_ms: 60_000, seal_ms: 200 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrganisationSpec {
    name: Name,
    #[serde(default)]
    namespaces: Vec<Name>,
    #[serde(default)]
    keys: Vec<KeySpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySpec {
    role: Option<KeyRole>,
    public_key: Option<PublicKey>,
    key_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorSpec {
    organisation: Name,
    public_key: Option<PublicKey>,
    key_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuorumSpec {
    approvals: u16,
    organisations: u16,
}

const fn one() -> u16 {
    1
}

/// Builds the genesis a description asks for. Key files are looked for beside the description; a time
/// that is not given is now.
///
/// # Errors
/// [`SpecError`] names the first thing that is wrong.
pub fn build(path: &Path) -> Result<GenesisBlock, SpecError> {
    let text = files::read_text(path, "genesis description", SPEC_BYTES_MAX)?;
    let spec: Spec = toml::from_str(&text)
        .map_err(|source| SpecError::Format { path: path.to_owned(), source: Box::new(source) })?;
    let beside = files::directory_of(path);

    let validators = validators(&spec.validator, beside)?;
    let known = |validator: &Validator| spec.organisation.iter().any(|known| known.name == validator.organisation);
    if let Some(stranger) = validators.iter().find(|validator| !known(validator)) {
        return Err(SpecError::UnknownOrganisation(stranger.organisation.clone()));
    }
    let organisations = spec.organisation.iter().map(|organisation| organisation.read(beside, &validators));
    let organisations = organisations.collect::<Result<Vec<_>, _>>()?;
    if spec.parameters.heartbeat_ms < HEARTBEAT_MS_MIN {
        return Err(SpecError::Heartbeat(spec.parameters.heartbeat_ms));
    }
    let parameters = Parameters { heartbeat_ms: spec.parameters.heartbeat_ms, seal_ms: spec.parameters.seal_ms };
    let rules = spec.rule.iter().map(RuleSpec::read).collect::<Result<Vec<_>, _>>()?;
    let genesis = Genesis {
        version: PROTOCOL_VERSION,
        name: spec.name,
        time_ms: spec.time_ms.unwrap_or_else(time::now_ms),
        parameters,
        organisations: sorted("organisation", organisations)?,
        validators: ValidatorSet::new(validators)?,
        rules: List::new(rules).map_err(|error| SpecError::Bound { place: "rule".to_owned(), error })?,
    };
    Ok(genesis.build()?)
}

fn validators(specs: &[ValidatorSpec], beside: &Path) -> Result<Vec<Validator>, SpecError> {
    let validators = specs.iter().map(|spec| {
        let place = format!("validator of {}", spec.organisation);
        let key = KeySpec {
            role: spec.public_key.map(|_| KeyRole::Validator),
            public_key: spec.public_key,
            key_file: spec.key_file.clone(),
        };
        let (role, key) = key.read(beside, place.clone(), &spec.organisation)?;
        match role {
            KeyRole::Validator => Ok(Validator { key, organisation: spec.organisation.clone() }),
            role => Err(SpecError::Role { place, role }),
        }
    });
    validators.collect()
}

impl OrganisationSpec {
    fn read(&self, beside: &Path, validators: &[Validator]) -> Result<Organisation, SpecError> {
        let place = format!("organisation {}", self.name);
        let mut keys = Vec::new();
        for spec in &self.keys {
            let (role, key) = spec.read(beside, place.clone(), &self.name)?;
            let Some(role) = role.member_role() else { return Err(SpecError::Role { place, role }) };
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
    fn read(&self, beside: &Path, place: String, owner: &Name) -> Result<(KeyRole, PublicKey), SpecError> {
        match (self.role, self.public_key, &self.key_file) {
            (Some(role), Some(key), None) => Ok((role, key)),
            (role, None, Some(file)) => {
                let public = PublicPart::read(&beside.join(file))?;
                if public.organisation.as_ref() != Some(owner) {
                    return Err(SpecError::StrangeKey { place, path: file.clone(), actual: public.organisation });
                }
                match role {
                    Some(role) if role != public.role => Err(SpecError::Role { place, role: public.role }),
                    _ => Ok((public.role, public.public_key)),
                }
            }
            _ => Err(SpecError::KeyAmbiguous { place }),
        }
    }
}

impl RuleSpec {
    fn read(&self) -> Result<ApprovalRule, SpecError> {
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

fn sorted<T: Ord, const MAX: usize>(place: &str, elements: Vec<T>) -> Result<SortedList<T, MAX>, SpecError> {
    SortedList::new(elements).map_err(|error| SpecError::Bound { place: place.to_owned(), error })
}

//! From a description people write to the genesis file everybody holds.

use crate::description::{
    self, Description, Kind, OrganisationSpec, RuleSpec, SpecError, ValidatorSpec, sorted, validators,
};
use crate::time;
use ledger::block::PROTOCOL_VERSION;
use ledger::bounded::{List, Name};
use ledger::genesis::{Genesis, GenesisBlock};
use ledger::validators::{Validator, ValidatorSet};
use serde::Deserialize;
use std::path::Path;

/// A description with everything in it, explained.
pub const EXAMPLE: &str = include_str!("genesis_example.toml");

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

/// Builds the genesis a description asks for. Key files are looked for beside the description; a time
/// that is not given is now.
///
/// # Errors
/// [`SpecError`] names the first thing that is wrong.
pub fn build(path: &Path) -> Result<GenesisBlock, SpecError> {
    let (description, spec) = Description::read::<Spec>(path, Kind::Genesis)?;
    let validators = validators(&spec.validator, description)?;
    let known = |validator: &Validator| spec.organisation.iter().any(|known| known.name == validator.organisation);
    if let Some(stranger) = validators.iter().find(|validator| !known(validator)) {
        return Err(SpecError::UnknownOrganisation(stranger.organisation.clone()));
    }
    let organisations = spec.organisation.iter().map(|organisation| organisation.read(description, &validators));
    let organisations = organisations.collect::<Result<Vec<_>, _>>()?;
    let parameters = description::parameters(spec.parameters.heartbeat_ms, spec.parameters.seal_ms)?;
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

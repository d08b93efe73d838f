//! Genesis: what a ledger starts from, and what everybody who trusts it holds.

use crate::approval::{ApprovalRule, ApprovalRules};
use crate::block::{Header, PROTOCOL_VERSION};
use crate::bounded::{List, Name, SortedList};
use crate::encoding::{Canonical, DecodeError, Limit, decode, encode};
use crate::history;
use crate::id::{BlockHash, ChainId, Digest, context, derive};
use crate::key::PublicKey;
use crate::limits;
use crate::merkle;
use crate::state::record::{Halts, KeyOwner, Members, Organisation, Parameters, Record, RecordKey, UpcomingValidators};
use crate::state::record::{KeyStatus, Role};
use crate::state::storage::{MemoryStorage, StorageError};
use crate::state::tree::TreeUpdate;
use crate::state::{BlockContext, State};
use crate::validators::{ValidatorSet, ValidatorSetError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The genesis file. Its hash is the chain id; the file itself is the trust root that endpoints and
/// auditors hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// [`PROTOCOL_VERSION`].
    pub version: u16,
    /// What people call the ledger.
    pub name: Name,
    /// Time of the genesis header.
    pub time_ms: u64,
    /// Numbers all nodes agree on.
    pub parameters: Parameters,
    /// The first members, ascending by name.
    pub organisations: SortedList<Organisation, { limits::ORGANISATIONS_MAX }>,
    /// The first validators.
    pub validators: ValidatorSet,
    /// The first approval rules; the first that is for a patch decides.
    pub rules: List<ApprovalRule, { limits::APPROVAL_RULES_MAX }>,
}

impl Canonical for Genesis {
    const NAME: &'static str = "genesis file";
    const LIMIT: Limit = Limit::Block;
}

/// Why a genesis is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Not bytes of a genesis.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of a later or unknown format.
    #[error("genesis has version {0}, this program speaks {PROTOCOL_VERSION}")]
    Version(u16),
    /// The validators do not make a set.
    #[error(transparent)]
    Validators(#[from] ValidatorSetError),
    /// One name, two organisations.
    #[error("organisation {0} occurs twice")]
    DuplicateOrganisation(Name),
    /// One key, two uses.
    #[error("key {0} occurs twice")]
    DuplicateKey(PublicKey),
    /// One namespace, two owners.
    #[error("namespace {0} has two owners")]
    DuplicateNamespace(Name),
    /// A validator that is no validating key of its organisation.
    #[error("validator {key} is not an active validating key of organisation {organisation}")]
    StrangeValidator {
        /// The key.
        key: PublicKey,
        /// The organisation it names.
        organisation: Name,
    },
    /// A rule that asks for nothing, or for more organisations than approvals or approvers.
    #[error(
        "approval rule {0} must ask for at least one organisation, as many approvals as organisations, \
         and no more organisations than it names"
    )]
    UnsoundRule(Name),
    /// A record that would be too large to read back.
    #[error("record does not fit: {0}")]
    Record(DecodeError),
    /// The state could not be built.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A genesis that was checked, and what follows from it.
#[derive(Clone, Debug)]
pub struct GenesisBlock {
    /// The genesis.
    pub genesis: Genesis,
    /// Its hash.
    pub chain_id: ChainId,
    /// The header at height 0. It has no certificate: it is the trust root.
    pub header: Header,
    /// The first state.
    pub state: TreeUpdate,
}

impl Genesis {
    /// The bytes of the genesis file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Parses and builds from the bytes of a genesis file.
    ///
    /// # Errors
    /// [`GenesisError`] names the first rule broken.
    pub fn parse(bytes: &[u8]) -> Result<GenesisBlock, GenesisError> {
        decode::<Self>(bytes)?.build()
    }

    /// Checks the genesis and derives chain id, first header and first state.
    ///
    /// # Errors
    /// [`GenesisError`] names the first rule broken.
    pub fn build(self) -> Result<GenesisBlock, GenesisError> {
        self.check()?;
        let chain_id = ChainId(derive(&context::CHAIN_ID, &self.bytes()));
        let storage = MemoryStorage::default();
        let mut state = State::begin(&storage, BlockContext { height: 0, time_ms: self.time_ms, history_size: 0 });
        for (key, record) in self.records() {
            decode::<Record>(&encode(&record)).map_err(GenesisError::Record)?;
            state.put(key, record);
        }
        let state = state.finish(None)?;
        let header = Header {
            version: PROTOCOL_VERSION,
            chain_id,
            height: 0,
            time_ms: self.time_ms,
            parent: BlockHash::ZERO,
            tx_root: merkle::root(std::iter::empty()),
            tx_count: 0,
            history_root: history::empty_root(),
            history_size: 0,
            state_root: state.root,
            validators_hash: self.validators.hash(),
            next_validators_hash: self.validators.hash(),
            proposer: PublicKey([0; 32]),
        };
        Ok(GenesisBlock { genesis: self, chain_id, header, state })
    }

    fn members(&self) -> Members {
        let names = self.organisations.iter().map(|organisation| organisation.name.clone()).collect();
        Members(SortedList::new(names).expect("as many names as organisations, which are within the same bound"))
    }

    fn records(&self) -> Vec<(RecordKey, Record)> {
        let upcoming = UpcomingValidators { next: self.validators.clone(), after_next: self.validators.clone() };
        let mut records = vec![
            (RecordKey::Parameters, Record::Parameters(self.parameters.clone())),
            (RecordKey::Validators, Record::Validators(upcoming)),
            (RecordKey::ApprovalRules, Record::ApprovalRules(ApprovalRules(self.rules.clone()))),
            (RecordKey::Halts, Record::Halts(Halts::default())),
            (RecordKey::Members, Record::Members(self.members())),
        ];
        for organisation in self.organisations.iter() {
            let name = &organisation.name;
            records.push((RecordKey::Organisation(name.clone()), Record::Organisation(organisation.clone())));
            records.extend(organisation.keys.iter().map(|member| {
                let owner = KeyOwner { organisation: name.clone(), role: member.role, status: member.status };
                (RecordKey::Key(member.key), Record::Key(owner))
            }));
        }
        records
    }

    fn check(&self) -> Result<(), GenesisError> {
        if self.version != PROTOCOL_VERSION {
            return Err(GenesisError::Version(self.version));
        }
        self.validators.check()?;
        let (mut names, mut keys, mut namespaces) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for organisation in self.organisations.iter() {
            if !names.insert(&organisation.name) {
                return Err(GenesisError::DuplicateOrganisation(organisation.name.clone()));
            }
            if let Some(member) = organisation.keys.iter().find(|member| !keys.insert(member.key)) {
                return Err(GenesisError::DuplicateKey(member.key));
            }
            if let Some(name) = organisation.namespaces.iter().find(|name| !namespaces.insert(*name)) {
                return Err(GenesisError::DuplicateNamespace(name.clone()));
            }
        }
        for validator in self.validators.validators() {
            let known = self.organisations.iter().any(|organisation| {
                organisation.name == validator.organisation
                    && organisation
                        .key(&validator.key)
                        .is_some_and(|member| member.role == Role::Validator && member.status == KeyStatus::Active)
            });
            if !known {
                let (key, organisation) = (validator.key, validator.organisation.clone());
                return Err(GenesisError::StrangeValidator { key, organisation });
            }
        }
        match self.rules.iter().find(|rule| !rule.is_sound()) {
            Some(rule) => Err(GenesisError::UnsoundRule(rule.name.clone())),
            None => Ok(()),
        }
    }
}

impl GenesisBlock {
    /// The digest people compare when they exchange trust roots.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.chain_id.0)
    }
}

//! The trust root: the genesis file a person was given by somebody they trust.

use crate::files::{self, FileError};
use crate::kinds::kind_of;
use crate::tables::{facts, table};
use crate::time;
use ledger::approval::{ApprovalRule, Quorum};
use ledger::block::Header;
use ledger::bounded::Name;
use ledger::genesis::{Genesis, GenesisBlock, GenesisError};
use ledger::id::ChainId;
use ledger::key::PublicKey;
use ledger::limits;
use ledger::proof::TrustRoot;
use ledger::state::record::MemberKey;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Why a file is no trust root.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a genesis.
    #[error("{} is no trust root", path.display())]
    Genesis {
        /// Where.
        path: PathBuf,
        /// Why.
        source: GenesisError,
    },
}

impl TrustError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Genesis { path, source } => {
                let is = match source {
                    GenesisError::Decode(_) => kind_of(path).map(|kind| format!("; this file is {kind}")),
                    _ => None,
                };
                let is = is.unwrap_or_default();
                Some(format!("a trust root is the file `countersign init` wrote, byte for byte{is}"))
            }
        }
    }
}

/// A trust root that was read and checked.
#[derive(Clone, Debug)]
pub struct Trust {
    bytes: Vec<u8>,
    block: GenesisBlock,
    root: TrustRoot,
}

impl Trust {
    /// Reads and checks a genesis file.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let bytes = files::read(path, "trust root", limits::BLOCK_BYTES_MAX)?;
        Self::parse(bytes).map_err(|source| TrustError::Genesis { path: path.to_owned(), source })
    }

    /// From the bytes of a genesis file.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, GenesisError> {
        let (block, root) = (Genesis::parse(&bytes)?, TrustRoot::parse(&bytes)?);
        Ok(Self { bytes, block, root })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The ledger trusted.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.block.chain_id
    }

    /// What the ledger starts from.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.block.genesis
    }

    /// The header it starts from; nobody signed it.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.block.header
    }

    /// As the verifier takes it.
    #[must_use]
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// Whose a key is, as far as the trust root knows.
    #[must_use]
    pub fn owner(&self, key: &PublicKey) -> Option<(&Name, &MemberKey)> {
        self.genesis().organisations.iter().find_map(|known| known.key(key).map(|member| (&known.name, member)))
    }
}

/// A genesis file for programs.
#[derive(Serialize)]
pub struct TrustView<'a> {
    /// The hash of the file: what people compare.
    pub chain_id: ChainId,
    /// Everything in it.
    pub genesis: &'a Genesis,
}

impl<'a> TrustView<'a> {
    /// The view of a trust root.
    #[must_use]
    pub fn new(trust: &'a Trust) -> Self {
        Self { chain_id: trust.chain_id(), genesis: trust.genesis() }
    }

    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let genesis = self.genesis;
        let validators = genesis.validators.len();
        let mut text = facts(&[
            ("chain id", self.chain_id.to_string()),
            ("ledger", genesis.name.to_string()),
            ("since", time::show(genesis.time_ms)),
            ("heartbeat", time::show_duration(genesis.parameters.heartbeat_ms)),
            ("seal", time::show_duration(genesis.parameters.seal_ms)),
            ("validators", format!("{validators}, a quorum is {}", genesis.validators.quorum())),
        ]);
        text.push_str("\nOrganisations\n");
        text.push_str(&table(&["ORGANISATION", "NAMESPACES", "ROLE", "KEY"], &organisation_rows(genesis)));
        text.push_str("\nApproval rules: the first that is for a patch decides\n");
        let rules: Vec<_> = genesis.rules.iter().map(rule_row).collect();
        let headings =
            ["RULE", "NAMESPACES", "CLASSES", "SEVERITIES", "APPROVERS", "NEEDS", "EMERGENCY", "REJECTIONS", "RECALLS"];
        text.push_str(&table(&headings, &rules));
        text
    }
}

fn organisation_rows(genesis: &Genesis) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for organisation in genesis.organisations.iter() {
        let mut start = vec![organisation.name.to_string(), list(&organisation.namespaces, "none")];
        if organisation.keys.is_empty() {
            rows.push([start.as_slice(), &["none".to_owned(), String::new()]].concat());
            continue;
        }
        for member in organisation.keys.iter() {
            rows.push([start.as_slice(), &[member.role.to_string(), member.key.to_string()]].concat());
            start = vec![String::new(), String::new()];
        }
    }
    rows
}

fn rule_row(rule: &ApprovalRule) -> Vec<String> {
    vec![
        rule.name.to_string(),
        list(&rule.namespaces, "all"),
        words(&rule.classes),
        words(&rule.severities),
        list(&rule.approvers, "all but the vendor"),
        needs(&rule.quorum),
        rule.emergency.as_ref().map_or_else(|| "none".to_owned(), needs),
        rule.rejections.to_string(),
        rule.recalls.to_string(),
    ]
}

pub(crate) fn needs(quorum: &Quorum) -> String {
    format!("{} from {}", quorum.approvals, quorum.organisations)
}

pub(crate) fn list(names: &[Name], none: &str) -> String {
    let names: Vec<_> = names.iter().map(Name::as_str).collect();
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}

/// Values that have a word in JSON, as that word.
pub(crate) fn words<T: Serialize>(values: &[T]) -> String {
    let words: Vec<_> = values.iter().map(word).collect();
    if words.is_empty() { "all".to_owned() } else { words.join(", ") }
}

/// The word a value without fields has in JSON.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

//! A member's chain in memory that survives the member: commits are atomic, and disks fill up.

use consensus::member::Chain;
use ledger::block::Block;
use ledger::certificate::Certificate;
use ledger::encoding::{decode, encode};
use ledger::evidence::CertifiedHeader;
use ledger::execution::{ExecutedBlock, Tip};
use ledger::genesis::GenesisBlock;
use ledger::history::{self, HistoryStorage};
use ledger::id::{Digest, TransactionId};
use ledger::proof::EpochLink;
use ledger::state::record::{Record, RecordKey};
use ledger::state::storage::{MemoryStorage, StateStorage, StorageError};
use ledger::state::tree::TreeHead;
use ledger::state::{StateKey, StateView as _};
use ledger::transaction::VerifiedTransaction;
use ledger::validators::ValidatorSet;
use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Power goes at the next commit: before the block is there, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    GoesBefore,
    GoesAfter,
}

/// What is on disk.
#[derive(Clone)]
pub(crate) struct Vault {
    pub(crate) memory: MemoryStorage,
    pub(crate) tip: Tip,
    /// Finalised blocks; height `n` is at place `n - 1`.
    pub(crate) blocks: Vec<(Vec<u8>, Certificate)>,
    /// Transactions by place in the history.
    pub(crate) leaves: Vec<Vec<u8>>,
    /// Changes of the validators, the oldest first.
    pub(crate) links: Vec<EpochLink>,
    genesis_set: ValidatorSet,
    /// No room: nothing can be written.
    pub(crate) full: bool,
    pub(crate) power: Option<Power>,
    /// It has gone.
    pub(crate) power_went: bool,
    /// A flaw: what it says of these records, whatever the ledger has.
    pub(crate) lies: BTreeMap<StateKey, Option<Record>>,
    /// A flaw: it does not know what is final.
    pub(crate) forgets_finality: bool,
}

impl Vault {
    pub(crate) fn new(genesis: &GenesisBlock) -> Self {
        let mut memory = MemoryStorage::default();
        memory.write_state(&genesis.state);
        let tree = TreeHead { version: genesis.state.version, root: genesis.state.root };
        Self {
            memory,
            tip: Tip { header: genesis.header.clone(), tree, history_root: history::empty_root() },
            blocks: Vec::new(),
            leaves: Vec::new(),
            links: Vec::new(),
            genesis_set: genesis.genesis.validators.clone(),
            full: false,
            power: None,
            power_went: false,
            lies: BTreeMap::new(),
            forgets_finality: false,
        }
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(crate) fn block(&self, height: u64) -> Option<(Block, Certificate)> {
        let place = usize::try_from(height.checked_sub(1)?).ok()?;
        let (block, certificate) = self.blocks.get(place)?;
        Some((decode(block).expect("only blocks are written"), certificate.clone()))
    }

    /// The set that certifies a height, as far as is known here.
    pub(crate) fn set_of(&self, height: u64) -> &ValidatorSet {
        let link = self.links.iter().rev().find(|link| link.header.height < height);
        link.map_or(&self.genesis_set, |link| &link.validators)
    }

    /// The changes of the validators that lead to a height.
    pub(crate) fn links_before(&self, height: u64) -> Vec<EpochLink> {
        self.links.iter().filter(|link| link.header.height < height).cloned().collect()
    }

    /// From now on it says this of a record.
    pub(crate) fn lie(&mut self, about: &RecordKey, lie: Option<Record>) {
        self.lies.insert(about.state_key(), lie);
    }

    /// Takes a block in, whatever it is.
    pub(crate) fn write(&mut self, executed: &ExecutedBlock, certificate: &Certificate) {
        self.memory.write_state(&executed.state);
        self.memory.write_finalised(executed.transactions.iter().map(VerifiedTransaction::id));
        self.memory.write_history(&executed.history);
        self.leaves.extend(executed.transactions.iter().map(|transaction| transaction.bytes().to_vec()));
        self.tip = executed.tip();
        let header = &executed.block.header;
        if header.validators_hash != header.next_validators_hash {
            let upcoming = self.memory.upcoming_validators().expect("memory does not fail");
            let validators = upcoming.expect("a chain has validators from its genesis on").next;
            self.links.push(EpochLink { header: header.clone(), certificate: certificate.clone(), validators });
        }
        self.blocks.push((encode(&executed.block), certificate.clone()));
    }
}

/// The member's end of it.
#[derive(Clone)]
pub(crate) struct SharedVault(pub(crate) Rc<RefCell<Vault>>);

impl SharedVault {
    pub(crate) fn look(&self) -> Ref<'_, Vault> {
        self.0.borrow()
    }
}

impl StateStorage for SharedVault {
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError> {
        let vault = self.look();
        match vault.lies.get(key) {
            Some(lie) => Ok(lie.as_ref().map(encode)),
            None => vault.memory.record(key),
        }
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.look().memory.tree_node(key)
    }

    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError> {
        Ok(!self.look().forgets_finality && self.look().memory.is_finalised(id)?)
    }
}

impl HistoryStorage for SharedVault {
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError> {
        self.look().memory.history_hash(index)
    }
}

impl Chain for SharedVault {
    fn tip(&self) -> Tip {
        self.look().tip.clone()
    }

    fn commit(&mut self, executed: &ExecutedBlock, certificate: &Certificate) -> Result<(), StorageError> {
        let mut vault = self.0.borrow_mut();
        if vault.full {
            return Err(StorageError::new("simulated disk", "no space left"));
        }
        let power = vault.power.take();
        vault.power_went = power.is_some();
        if power != Some(Power::GoesBefore) {
            vault.write(executed, certificate);
        }
        match power {
            None => Ok(()),
            Some(power) => Err(StorageError::new("simulated disk", format!("power {power:?}"))),
        }
    }

    fn certified(&self, height: u64) -> Result<Option<CertifiedHeader>, StorageError> {
        let place = height.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        let vault = self.look();
        let Some((block, certificate)) = place.and_then(|place| vault.blocks.get(place)) else { return Ok(None) };
        let block: Block = decode(block).map_err(|error| StorageError::new("simulated disk", error.to_string()))?;
        Ok(Some(CertifiedHeader { header: block.header, certificate: certificate.clone() }))
    }
}

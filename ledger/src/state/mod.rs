//! The state machine: pure, deterministic, the same on every node.
//!
//! [`State::apply`] takes a verified transaction and says what changes, or why nothing does. It knows
//! no clock (block time is a value), no disk (records come through [`storage::StateStorage`]) and not
//! how blocks are agreed on.

mod accuse;
mod apply;
mod govern;
pub mod record;
mod rejection;
pub mod root;
pub mod storage;
pub mod tree;

pub use apply::may_accuse;
pub use record::{Record, RecordKey, StateKey};
pub use rejection::{ApplyError, Rejection};

use crate::approval::{ApprovalRules, Count};
use crate::encoding::{decode, encode};
use crate::governance::{CountedProposals, ProposalRecord};
use crate::id::{PatchId, TransactionId};
use crate::key::PublicKey;
use crate::transaction::VerifiedTransaction;
use record::{
    ConvictionRecord, EndpointRecord, Halts, KeyOwner, Members, Organisation, Parameters, PatchRecord, Position,
    ProductRecord, ReceiptRecord, UpcomingValidators, record_as,
};
use std::collections::{BTreeMap, BTreeSet};
use storage::{StateStorage, StorageError};
use tree::{TreeHead, TreeUpdate};

/// Where in the chain a block's transactions take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// Height of the block.
    pub height: u64,
    /// Time of the block.
    pub time_ms: u64,
    /// Transactions in the history before it.
    pub history_size: u64,
}

/// The newest state with the changes of the block being executed laid over it.
pub struct State<'a, S> {
    storage: &'a S,
    block: BlockContext,
    applied: u64,
    seen: BTreeSet<TransactionId>,
    changed: BTreeMap<RecordKey, Record>,
}

impl<'a, S: StateStorage> State<'a, S> {
    /// Begins a block over the newest state.
    #[must_use]
    pub fn begin(storage: &'a S, block: BlockContext) -> Self {
        Self { storage, block, applied: 0, seen: BTreeSet::new(), changed: BTreeMap::new() }
    }

    /// Executes one transaction. A rejected one changes nothing.
    ///
    /// # Errors
    /// [`ApplyError::Rejected`] says which rule forbids it; [`ApplyError::Storage`] that the disk
    /// failed, which is no verdict.
    pub fn apply(&mut self, transaction: &VerifiedTransaction) -> Result<(), ApplyError> {
        let position = Position { height: self.block.height, index: self.block.history_size + self.applied };
        let change = self.judge(transaction, position)?;
        self.changed.extend(change);
        self.seen.insert(transaction.id());
        self.applied += 1;
        Ok(())
    }

    /// What [`State::apply`] would say, without changing anything: for admission.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn check(&self, transaction: &VerifiedTransaction) -> Result<(), ApplyError> {
        let position = Position { height: self.block.height, index: self.block.history_size + self.applied };
        self.judge(transaction, position).map(|_| ())
    }

    /// Ends the block: what to write, and the root it gives.
    ///
    /// # Errors
    /// [`StorageError`] when the tree cannot be read.
    pub fn finish(mut self, head: Option<TreeHead>) -> Result<TreeUpdate, StorageError> {
        self.pass_on_validators()?;
        let records = self.changed.iter().map(|(key, record)| (key.state_key(), encode(record))).collect();
        tree::update(self.storage, head, records)
    }

    /// Sentence 3.14: after a block, the set that was for the height after it is for the next one.
    fn pass_on_validators(&mut self) -> Result<(), StorageError> {
        let before = self.storage.upcoming_validators()?;
        let after = self.after_this_block()?;
        if let Some(after) = after.filter(|after| before.as_ref() != Some(after)) {
            self.put(RecordKey::Validators, Record::Validators(after));
        }
        Ok(())
    }

    /// The sets as they stand after this block, as far as it is executed.
    fn after_this_block(&self) -> Result<Option<UpcomingValidators>, StorageError> {
        match record_as!(self.changed.get(&RecordKey::Validators).cloned(), Validators) {
            Some(changed) => Ok(Some(changed)),
            None => Ok(self.storage.upcoming_validators()?.map(UpcomingValidators::one_block_later)),
        }
    }

    /// Puts a record in place without asking: genesis only.
    pub(crate) fn put(&mut self, key: RecordKey, record: Record) {
        self.changed.insert(key, record);
    }
}

/// Reads a record from the newest state.
///
/// # Errors
/// [`StorageError`] when the disk says no or the bytes are no record.
pub fn read<S: StateStorage>(storage: &S, key: &RecordKey) -> Result<Option<Record>, StorageError> {
    let Some(bytes) = storage.record(&key.state_key())? else { return Ok(None) };
    decode(&bytes).map(Some).map_err(|error| StorageError::new("state records", format!("{key:?}: {error}")))
}

/// Anything that can look up a record.
pub trait Records {
    /// The record under a key.
    ///
    /// # Errors
    /// [`StorageError`] when the disk says no or the bytes are no record.
    fn record_of(&self, key: &RecordKey) -> Result<Option<Record>, StorageError>;
}

impl<S: StateStorage> Records for S {
    fn record_of(&self, key: &RecordKey) -> Result<Option<Record>, StorageError> {
        read(self, key)
    }
}

impl<S: StateStorage> Records for State<'_, S> {
    fn record_of(&self, key: &RecordKey) -> Result<Option<Record>, StorageError> {
        match self.changed.get(key) {
            Some(record) => Ok(Some(record.clone())),
            None => read(self.storage, key),
        }
    }
}

/// Makes a typed reader per kind of record, over anything that can look one up.
macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $variant:ident($record:ty) = $key:expr;)*) => {
        /// Typed views of the state: for the rules, and for programs that show or judge it.
        pub trait StateView: Records {
            $($(#[$doc])*
            ///
            /// # Errors
            /// [`StorageError`] when the disk says no or the bytes are no record.
            fn $name(&self, $($argument: $type),*) -> Result<Option<$record>, StorageError> {
                Ok(record_as!(self.record_of(&$key)?, $variant))
            })*
        }

        impl<R: Records> StateView for R {}
    };
}

/// Where a patch stands now: its verdicts as far as their keys are not revoked, counted by the rule in
/// force. `None` when no rule is for it.
///
/// # Errors
/// [`StorageError`] when the disk says no or the bytes are no record.
pub fn count_now(records: &impl Records, patch: &record::PatchRecord) -> Result<Option<Count>, StorageError> {
    let rules = records.approval_rules()?.unwrap_or_default();
    let Some(rule) = rules.rule_for(&patch.product, patch.class, patch.severity) else { return Ok(None) };
    let opinions = patch.opinions(|verdict| {
        let owner = records.key_owner(verdict.key)?;
        Ok::<_, StorageError>(owner.is_some_and(|owner| owner.status == record::KeyStatus::Revoked))
    })?;
    Ok(Some(rule.count(&patch.organisation, &opinions)))
}

readers! {
    /// The numbers all nodes agree on.
    parameters() -> Parameters(Parameters) = RecordKey::Parameters;
    /// The validator sets of the next two heights.
    upcoming_validators() -> Validators(UpcomingValidators) = RecordKey::Validators;
    /// The approval rules in force.
    approval_rules() -> ApprovalRules(ApprovalRules) = RecordKey::ApprovalRules;
    /// The halts in force.
    halts() -> Halts(Halts) = RecordKey::Halts;
    /// An organisation.
    organisation(name: &crate::bounded::Name) -> Organisation(Organisation) = RecordKey::Organisation(name.clone());
    /// Whose key a key is.
    key_owner(key: PublicKey) -> Key(KeyOwner) = RecordKey::Key(key);
    /// The newest release of a product and channel.
    product(product: &crate::bounded::Product, channel: &crate::bounded::Name) -> Product(ProductRecord)
        = RecordKey::Product(product.clone(), channel.clone());
    /// A patch.
    patch(id: PatchId) -> Patch(PatchRecord) = RecordKey::Patch(id);
    /// An endpoint.
    endpoint(key: PublicKey) -> Endpoint(EndpointRecord) = RecordKey::Endpoint(key);
    /// An endpoint's newest receipt for a patch.
    receipt(endpoint: PublicKey, patch: PatchId) -> Receipt(ReceiptRecord) = RecordKey::Receipt(endpoint, patch);
    /// The names of all members.
    members() -> Members(Members) = RecordKey::Members;
    /// A proposal, by the transaction that proposed it.
    proposal(id: TransactionId) -> Proposal(ProposalRecord) = RecordKey::Proposal(id);
    /// The proposals of an organisation that count, or did when it proposed last.
    counted_proposals(organisation: &crate::bounded::Name) -> CountedProposals(CountedProposals)
        = RecordKey::CountedProposals(organisation.clone());
    /// What a validating key is convicted of.
    conviction(key: PublicKey) -> Conviction(ConvictionRecord) = RecordKey::Conviction(key);
}

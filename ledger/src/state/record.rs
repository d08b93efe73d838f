//! Records: what the state is made of, and under which key each stands.

mod conviction;
mod member;

pub use conviction::{ConvictionRecord, RecordedOffence};
pub use member::{KeyOwner, KeyStatus, MemberKey, Members, Organisation, Role};

use crate::approval::{ApprovalRules, Decision, Opinion, Standing};
use crate::bounded::{List, Name, Product, Sentence, SortedList, Version};
use crate::encoding::{Canonical, Limit, encode};
use crate::governance::{CountedProposals, ProposalRecord};
use crate::id::{Digest, PatchId, TransactionId, context, derive};
use crate::key::PublicKey;
use crate::limits;
use crate::patch::{Class, Label, Severity};
use crate::receipt::{Outcome, ReasonCode};
use crate::validators::ValidatorSet;
use serde::{Deserialize, Serialize};

/// Where a transaction was finalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Height of its block.
    pub height: u64,
    /// Index of its leaf in the history.
    pub index: u64,
}

/// An approver's newest verdict on a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// Who.
    pub key: PublicKey,
    /// Of which organisation.
    pub organisation: Name,
    /// What.
    pub decision: Decision,
    /// Where it was finalised.
    pub position: Position,
}

impl VerdictRecord {
    /// As far as a rule looks at it.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        Opinion { key: self.key, organisation: self.organisation.clone(), decision: self.decision }
    }
}

/// What is known of a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchRecord {
    /// Its product.
    pub product: Product,
    /// Its channel.
    pub channel: Name,
    /// The version it brings.
    pub version: Version,
    /// Its release counter.
    pub release: u64,
    /// What it claims to be.
    pub class: Class,
    /// How urgent it claims to be.
    pub severity: Severity,
    /// The vendor.
    pub organisation: Name,
    /// The key that published it.
    pub publisher: PublicKey,
    /// Where it was published.
    pub published: Position,
    /// One verdict per approver key, in the order of their first.
    pub verdicts: List<VerdictRecord, { limits::VERDICTS_PER_PATCH_MAX }>,
    /// Where it first stood approved.
    pub approved: Option<Position>,
    /// Where it was withdrawn.
    pub recalled: Option<Position>,
    /// Where it stands under its rule.
    pub standing: Standing,
}

impl PatchRecord {
    /// The verdicts as far as a rule looks at them, but for those of revoked keys: nothing these signed
    /// counts.
    ///
    /// # Errors
    /// What `revoked` says.
    pub fn opinions<E>(&self, mut revoked: impl FnMut(&VerdictRecord) -> Result<bool, E>) -> Result<Vec<Opinion>, E> {
        let counted = self.verdicts.iter().filter_map(|verdict| match revoked(verdict) {
            Ok(true) => None,
            Ok(false) => Some(Ok(verdict.opinion())),
            Err(error) => Some(Err(error)),
        });
        counted.collect()
    }
}

/// The newest release of a product and channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRecord {
    /// Highest release counter published.
    pub release: u64,
    /// The patch that has it.
    pub patch: PatchId,
}

/// What a halt stops.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltScope {
    /// Every patch.
    Everything,
    /// Every patch of one vendor.
    Organisation(Name),
    /// Every patch of one product.
    Product(Product),
    /// One rollout.
    Rollout(Digest),
}

/// A halt in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Halt {
    /// What it stops.
    pub scope: HaltScope,
    /// Who called it.
    pub by: PublicKey,
    /// Since when.
    pub since: Position,
    /// Why.
    pub reason: Sentence,
}

/// All halts in force, in one record, so that one proof shows that nothing else is halted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halts(pub SortedList<Halt, { limits::HALTS_MAX }>);

impl Halts {
    /// The first halt that stops patches of this vendor and product.
    #[must_use]
    pub fn stopping(&self, organisation: &Name, product: &Product) -> Option<&Halt> {
        self.0.iter().find(|halt| match &halt.scope {
            HaltScope::Everything => true,
            HaltScope::Organisation(halted) => halted == organisation,
            HaltScope::Product(halted) => halted == product,
            HaltScope::Rollout(_) => false,
        })
    }
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// The organisation that enrolled it.
    pub organisation: Name,
    /// What people call the host.
    pub name: Name,
    /// Its group.
    pub group: Name,
    /// Its labels.
    pub labels: SortedList<Label, { limits::SELECTOR_VALUES_MAX }>,
    /// Whether its key speaks.
    pub status: KeyStatus,
    /// Where it was enrolled.
    pub enrolled: Position,
}

/// An endpoint's newest receipt for a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRecord {
    /// Number of the receipt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Which check said no.
    pub reason: Option<ReasonCode>,
    /// Where it was finalised.
    pub position: Position,
}

/// Numbers all nodes must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// At least one block in this time, so that freshness can be proven.
    pub heartbeat_ms: u64,
    /// How long a block with transactions waits for the block that makes them provable.
    pub seal_ms: u64,
}

/// The validator sets the next blocks are certified by: block h fixes the set of h + 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpcomingValidators {
    /// For the next height.
    pub next: ValidatorSet,
    /// For the height after it.
    pub after_next: ValidatorSet,
}

impl UpcomingValidators {
    /// The same sets seen from one block later, if that block changes nothing.
    #[must_use]
    pub fn one_block_later(self) -> Self {
        Self { next: self.after_next.clone(), after_next: self.after_next }
    }
}

/// What a record is about: its name in the state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordKey {
    /// [`Parameters`].
    Parameters,
    /// [`UpcomingValidators`].
    Validators,
    /// [`ApprovalRules`].
    ApprovalRules,
    /// [`Halts`].
    Halts,
    /// [`Organisation`] by name.
    Organisation(Name),
    /// [`KeyOwner`] by key.
    Key(PublicKey),
    /// [`ProductRecord`] by product and channel.
    Product(Product, Name),
    /// [`PatchRecord`] by id.
    Patch(PatchId),
    /// [`EndpointRecord`] by key.
    Endpoint(PublicKey),
    /// [`ReceiptRecord`] by endpoint and patch.
    Receipt(PublicKey, PatchId),
    /// [`Members`].
    Members,
    /// [`ProposalRecord`] by the transaction that proposed it.
    Proposal(TransactionId),
    /// [`ConvictionRecord`] by the validating key. That there is none proves that the key was never convicted.
    Conviction(PublicKey),
    /// [`CountedProposals`] by organisation.
    CountedProposals(Name),
}

crate::id::id!(
    /// A key of the state tree.
    ///
    /// The first four bits are the kind of record, so that the few records of law (rules, halts,
    /// organisations) have short paths however many endpoints and receipts there are; the other 252 bits
    /// are a hash.
    StateKey
);

impl StateKey {
    /// Bit `place` of the key, most significant first.
    #[must_use]
    pub fn bit(&self, place: usize) -> bool {
        self.0[place / 8] >> (7 - place % 8) & 1 == 1
    }
}

impl RecordKey {
    /// The number of the kind: the first four bits of the state key.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Parameters | Self::Validators | Self::ApprovalRules | Self::Halts | Self::Members => 0,
            Self::Organisation(_) => 1,
            Self::Key(_) => 2,
            Self::Product(..) => 3,
            Self::Patch(_) => 4,
            Self::Endpoint(_) => 5,
            Self::Receipt(..) => 6,
            Self::Proposal(_) => 7,
            Self::Conviction(_) => 8,
            Self::CountedProposals(_) => 9,
        }
    }

    /// `derive_key("countersign/v1/state-key", encoding)` with the first four bits replaced by the
    /// kind.
    #[must_use]
    pub fn state_key(&self) -> StateKey {
        let mut key = derive(&context::STATE_KEY, &encode(self));
        key[0] = self.kind() << 4 | key[0] & 0x0f;
        StateKey(key)
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Under [`RecordKey::Parameters`].
    Parameters(Parameters),
    /// Under [`RecordKey::Validators`].
    Validators(UpcomingValidators),
    /// Under [`RecordKey::ApprovalRules`].
    ApprovalRules(ApprovalRules),
    /// Under [`RecordKey::Halts`].
    Halts(Halts),
    /// Under [`RecordKey::Organisation`].
    Organisation(Organisation),
    /// Under [`RecordKey::Key`].
    Key(KeyOwner),
    /// Under [`RecordKey::Product`].
    Product(ProductRecord),
    /// Under [`RecordKey::Patch`].
    Patch(PatchRecord),
    /// Under [`RecordKey::Endpoint`].
    Endpoint(EndpointRecord),
    /// Under [`RecordKey::Receipt`].
    Receipt(ReceiptRecord),
    /// Under [`RecordKey::Members`].
    Members(Members),
    /// Under [`RecordKey::Proposal`].
    Proposal(ProposalRecord),
    /// Under [`RecordKey::Conviction`].
    Conviction(ConvictionRecord),
    /// Under [`RecordKey::CountedProposals`].
    CountedProposals(CountedProposals),
}

impl Canonical for Record {
    const NAME: &'static str = "state record";
    const LIMIT: Limit = Limit::Message;
}

/// Takes a record apart by the variant its key promises: `record_as!(value, Patch)` is
/// `Option<PatchRecord>`.
macro_rules! record_as {
    ($record:expr, $variant:ident) => {
        match $record {
            Some($crate::state::record::Record::$variant(inner)) => Some(inner),
            _ => None,
        }
    };
}
pub(crate) use record_as;

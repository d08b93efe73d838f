//! Who takes part.

use ledger::approval::{ApprovalRule, Quorum};
use ledger::block::{Header, PROTOCOL_VERSION};
use ledger::bounded::{List, Name, Product, Sentence, SortedList, Version};
use ledger::certificate::{Certificate, VoteBody};
use ledger::genesis::{Genesis, GenesisBlock};
use ledger::governance::{Change, Choice, Proposal};
use ledger::id::{ChainId, Digest};
use ledger::key::{PublicKey, Purpose, SecretKey};
use ledger::patch::{Artifact, Class, InstallerKind, PatchManifest, PayloadEncoding, Reboot, Severity};
use ledger::state::record::{KeyStatus, MemberKey, Organisation, Parameters, Role};
use ledger::transaction::{Payload, SignedTransaction, Transaction, VerifiedTransaction};
use ledger::validators::{Validator, ValidatorSet};

/// The vendor; it owns the namespace of its own name.
pub const VENDOR: &str = "acme";
/// Those whose approvals count.
pub const APPROVERS: [&str; 3] = ["bank", "clinic", "depot"];
/// All organisations.
pub const ORGANISATIONS: [&str; 4] = [VENDOR, APPROVERS[0], APPROVERS[1], APPROVERS[2]];

/// Time of the genesis header: 2026-01-01.
const GENESIS_MS: u64 = 1_767_225_600_000;
/// How long transactions of the harness stay valid.
const EXPIRY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long proposals of the harness stay open.
const PROPOSAL_MS: u64 = 60 * 60 * 1000;

/// Four organisations, each with an operator, an approver, a node, a governor and its share of the
/// validators; the first is the vendor and publishes. Two approvals from two organisations approve.
#[derive(Clone, Debug)]
pub struct Scenario {
    seed: u64,
    genesis: GenesisBlock,
    validators: Vec<SecretKey>,
}

impl Scenario {
    /// With four validators, one of each organisation.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_validators(seed, ORGANISATIONS.len())
    }

    /// With `count` validators, dealt to the organisations in turn.
    ///
    /// # Panics
    /// When there are none, or more than the ledger allows.
    #[must_use]
    pub fn with_validators(seed: u64, count: usize) -> Self {
        let dealt: Vec<(&str, SecretKey)> = (0..count)
            .map(|place| (ORGANISATIONS[place % ORGANISATIONS.len()], secret(seed, &format!("validator {place}"))))
            .collect();
        let genesis = genesis(seed, &dealt).build().expect("the harness's genesis obeys the rules of genesis");
        Self { seed, genesis, validators: dealt.into_iter().map(|(_, key)| key).collect() }
    }

    /// The genesis.
    #[must_use]
    pub fn genesis(&self) -> &GenesisBlock {
        &self.genesis
    }

    /// The ledger's id.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.genesis.chain_id
    }

    /// The validators' keys.
    #[must_use]
    pub fn validators(&self) -> &[SecretKey] {
        &self.validators
    }

    /// The key of an organisation for a role; not for [`Role::Validator`], see
    /// [`Scenario::validators`].
    #[must_use]
    pub fn key(&self, organisation: &str, role: Role) -> SecretKey {
        secret(self.seed, &format!("{organisation} {role}"))
    }

    /// The `number`th change of the validators: the oldest key that has no successor yet gets one.
    #[must_use]
    pub fn rotation(&self, number: usize) -> Change {
        let old = self.validating_keys(number)[number].public();
        Change::RotateKey { old, new: self.successor(number).public() }
    }

    /// Every key that is or was a validator's after so many changes, the newest at the end.
    #[must_use]
    pub fn validating_keys(&self, changes: usize) -> Vec<SecretKey> {
        let successors = (0..changes).map(|number| self.successor(number));
        self.validators.iter().cloned().chain(successors).collect()
    }

    fn successor(&self, number: usize) -> SecretKey {
        secret(self.seed, &format!("validator successor {number}"))
    }

    /// Three of the four organisations agree on changes: the transactions, the proposal first.
    ///
    /// # Panics
    /// When there are more changes than a proposal may have.
    #[must_use]
    pub fn agreed(&self, nonce: u64, time_ms: u64, changes: Vec<Change>) -> Vec<VerifiedTransaction> {
        let proposal = Proposal {
            changes: List::new(changes).expect("a test changes a few things"),
            note: ledger::bounded::Text::cut("Proposed by the harness."),
            closes_at_ms: time_ms + PROPOSAL_MS,
        };
        let governor = |organisation: &str| self.key(organisation, Role::Governor);
        let proposed = self.transaction(&governor(VENDOR), nonce, time_ms, Payload::Propose { proposal });
        let ballot = Payload::Ballot { proposal: proposed.id(), choice: Choice::For };
        let ballots: Vec<_> = APPROVERS[..2]
            .iter()
            .map(|organisation| self.transaction(&governor(organisation), nonce, time_ms, ballot.clone()))
            .collect();
        std::iter::once(proposed).chain(ballots).collect()
    }

    /// The key of an endpoint.
    #[must_use]
    pub fn endpoint(&self, number: u64) -> SecretKey {
        secret(self.seed, &format!("endpoint {number}"))
    }

    /// A patch of the vendor's one product; every field of its manifest follows from `release`.
    #[must_use]
    pub fn manifest(&self, release: u64) -> PatchManifest {
        let payload = format!("payload {release}");
        PatchManifest {
            product: product("acme/widget"),
            channel: name("stable"),
            version: version(&format!("1.0.{release}")),
            release,
            class: Class::Security,
            severity: Severity::Important,
            advisories: SortedList::default(),
            title: sentence(&format!("widget 1.0.{release}")),
            notes: ledger::bounded::Text::cut("Made by the harness."),
            targets: List::default(),
            depends: SortedList::default(),
            conflicts: SortedList::default(),
            supersedes: SortedList::default(),
            installer: InstallerKind::DirectoryTree,
            artifacts: List::new(vec![Artifact {
                name: name("tree.tar"),
                size: payload.len() as u64,
                blake3: Digest::blake3(payload.as_bytes()),
                sha256: Digest::ZERO,
                encoding: PayloadEncoding::Identity,
                delta_from: None,
            }])
            .expect("one artifact is within the bound"),
            services: SortedList::default(),
            health: List::default(),
            reboot: Reboot::Never,
        }
    }

    /// A signed and verified transaction, valid for a day after `time_ms`.
    ///
    /// # Panics
    /// When the payload makes a transaction larger than allowed, or is an accusation that proves nothing.
    #[must_use]
    pub fn transaction(&self, key: &SecretKey, nonce: u64, time_ms: u64, payload: Payload) -> VerifiedTransaction {
        let signed = self.signed(key, nonce, time_ms, payload);
        signed.verify(&self.chain_id()).expect("just signed, for this chain")
    }

    /// A transaction that is only signed, valid for a day after `time_ms`.
    #[must_use]
    pub fn signed(&self, key: &SecretKey, nonce: u64, time_ms: u64, payload: Payload) -> SignedTransaction {
        let body = Transaction {
            version: PROTOCOL_VERSION,
            chain_id: self.chain_id(),
            signer: key.public(),
            nonce,
            expires_at_ms: time_ms + EXPIRY_MS,
            payload,
        };
        body.sign(key)
    }

    /// The certificate all validators give a header, in round 0.
    #[must_use]
    pub fn certificate(&self, header: &Header) -> Certificate {
        self.certificate_by(header, &self.validators)
    }

    /// The certificate some validators give a header, in round 0; of strangers' signatures nothing is
    /// kept.
    #[must_use]
    pub fn certificate_by(&self, header: &Header, signers: &[SecretKey]) -> Certificate {
        self.certificate_under(header, signers, &self.genesis.genesis.validators)
    }

    /// The same under another set than the first.
    #[must_use]
    pub fn certificate_under(&self, header: &Header, signers: &[SecretKey], set: &ValidatorSet) -> Certificate {
        let block = header.hash();
        let body = VoteBody { height: header.height, round: 0, block: Some(block) }.bytes();
        let signed = |key: &SecretKey| (key.public(), key.sign(Purpose::Precommit, &self.chain_id(), &body));
        let precommits: Vec<_> = signers.iter().map(signed).collect();
        Certificate::assemble(header.height, 0, block, &precommits, set)
    }

    /// The validator that would propose height `height` if they took turns: for tests that only need
    /// one.
    #[must_use]
    pub fn proposer(&self, height: u64) -> PublicKey {
        let place = height % self.validators.len() as u64;
        self.validators[usize::try_from(place).unwrap_or(0)].public()
    }
}

fn genesis(seed: u64, validators: &[(&str, SecretKey)]) -> Genesis {
    let organisations = ORGANISATIONS.iter().map(|organisation| member(seed, organisation, validators)).collect();
    let set =
        validators.iter().map(|(organisation, key)| Validator { key: key.public(), organisation: name(organisation) });
    Genesis {
        version: PROTOCOL_VERSION,
        name: name("harness"),
        time_ms: GENESIS_MS,
        parameters: Parameters { heartbeat_ms: 60_000, seal_ms: 20 },
        organisations: SortedList::new(organisations).expect("four organisations are within the bound"),
        validators: ValidatorSet::new(set.collect()).expect("between one validator and the most there can be"),
        rules: List::new(vec![rule()]).expect("one rule is within the bound"),
    }
}

fn member(seed: u64, organisation: &str, validators: &[(&str, SecretKey)]) -> Organisation {
    let mut roles = vec![Role::Approver, Role::Operator, Role::Node, Role::Governor];
    if organisation == VENDOR {
        roles.push(Role::Publisher);
    }
    let entry = |key: &SecretKey, role| MemberKey { key: key.public(), role, status: KeyStatus::Active };
    let mut keys: Vec<MemberKey> =
        roles.into_iter().map(|role| entry(&secret(seed, &format!("{organisation} {role}")), role)).collect();
    let own = validators.iter().filter(|(owner, _)| *owner == organisation);
    keys.extend(own.map(|(_, key)| entry(key, Role::Validator)));
    Organisation {
        name: name(organisation),
        namespaces: SortedList::new(vec![name(organisation)]).expect("one namespace is within the bound"),
        keys: SortedList::new(keys).expect("an organisation's share of the validators is within the bound"),
    }
}

fn rule() -> ApprovalRule {
    ApprovalRule {
        name: name("default"),
        namespaces: SortedList::default(),
        classes: SortedList::default(),
        severities: SortedList::default(),
        approvers: SortedList::new(APPROVERS.iter().map(|approver| name(approver)).collect())
            .expect("three approvers are within the bound"),
        quorum: Quorum { approvals: 2, organisations: 2 },
        emergency: Some(Quorum { approvals: 1, organisations: 1 }),
        rejections: 1,
        recalls: 2,
    }
}

/// A secret key for a test: nobody trusts anything signed with it.
fn secret(seed: u64, purpose: &str) -> SecretKey {
    let mut material = seed.to_le_bytes().to_vec();
    material.extend_from_slice(purpose.as_bytes());
    SecretKey::from_seed(&Digest::blake3(&material).0)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("the harness uses names only where names go")
}

pub(crate) fn version(text: &str) -> Version {
    Version::new(text).expect("the harness uses short versions")
}

pub(crate) fn sentence(text: &str) -> Sentence {
    Sentence::cut(text)
}

fn product(text: &str) -> Product {
    Product::new(text).expect("the harness uses namespace/name")
}

//! Who takes part, and what they submit: one genesis and one script of signed transactions for all
//! seeds, so that keys are made and things are signed once.

use ledger::bounded::{List, Name, SortedList, Text, Version};
use ledger::genesis::GenesisBlock;
use ledger::governance::{Change, Choice, Proposal};
use ledger::id::{ChainId, Digest, PatchId, TransactionId};
use ledger::key::SecretKey;
use ledger::receipt::{Health, Outcome, Receipt};
use ledger::state::record::{KeyStatus, MemberKey, Parameters, Role};
use ledger::transaction::{Payload, SignedTransaction, Transaction, Verdict, VerifiedTransaction};
use ledger::validators::{Validator, ValidatorSet};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use tests::{APPROVERS, ORGANISATIONS, Scenario, VENDOR};

const RELEASES: u64 = 5;
const ENDPOINTS: u64 = 3;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// One node, and the validating key of its organisation if it validates.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) node: SecretKey,
    pub(crate) validator: Option<SecretKey>,
}

/// A transaction somebody submits once those it builds on are final.
pub(crate) struct Job {
    pub(crate) transaction: VerifiedTransaction,
    pub(crate) needs: Vec<TransactionId>,
}

impl Job {
    /// Whether a governor speaks.
    pub(crate) fn governs(&self) -> bool {
        matches!(self.transaction.payload(), Payload::Propose { .. } | Payload::Ballot { .. })
    }
}

pub(crate) struct Cast {
    pub(crate) genesis: GenesisBlock,
    pub(crate) validators: Vec<Person>,
    /// Of each validator's organisation, one node more: for a twin.
    pub(crate) twins: Vec<Person>,
    pub(crate) observers: Vec<Person>,
    pub(crate) jobs: Vec<Job>,
    /// Transactions no rule allows at any time.
    pub(crate) forbidden: Vec<VerifiedTransaction>,
    /// A job's transaction, and the same signed once more with another signature that holds too.
    pub(crate) signed_twice: Vec<(VerifiedTransaction, VerifiedTransaction)>,
    /// The governors retire the node key of the first validator: one proposes, two are for it.
    pub(crate) farewell: Vec<VerifiedTransaction>,
    pub(crate) patches: Vec<PatchId>,
}

impl Cast {
    pub(crate) fn of(validators: usize) -> &'static Self {
        static FOUR: OnceLock<Cast> = OnceLock::new();
        static SEVEN: OnceLock<Cast> = OnceLock::new();
        match validators {
            4 => FOUR.get_or_init(|| Self::new(4, 4)),
            7 => SEVEN.get_or_init(|| Self::new(7, 7)),
            other => unreachable!("no cast of {other}"),
        }
    }

    /// Seven that could validate. Four do at first; then governors decide, again and again.
    pub(crate) fn moving() -> &'static Self {
        static MOVING: OnceLock<Cast> = OnceLock::new();
        MOVING.get_or_init(|| Self::new(7, 4))
    }

    /// So many with validating keys, of whom the first so many are in the genesis set.
    fn new(count: usize, first: usize) -> Self {
        let scenario = Scenario::with_validators(1, count);
        let organisation = |place: usize| ORGANISATIONS[place % ORGANISATIONS.len()];
        let node = |what: &str, place: usize| secret(&format!("{what} {place}"));
        let validating = |what: &str| -> Vec<Person> {
            let keys = scenario.validators().iter().enumerate();
            keys.map(|(place, key)| Person { node: node(what, place), validator: Some(key.clone()) }).collect()
        };
        let observers: Vec<Person> =
            (0..2).map(|place| Person { node: node("observer", place), validator: None }).collect();
        let (validators, twins) = (validating("validator"), validating("twin"));
        let mut genesis = scenario.genesis().genesis.clone();
        genesis.parameters = Parameters { heartbeat_ms: 2_000, seal_ms: 20 };
        let mut organisations = genesis.organisations.into_vec();
        for member in &mut organisations {
            let mut keys = std::mem::take(&mut member.keys).into_vec();
            for people in [&validators, &twins, &observers] {
                let ours = people.iter().enumerate().filter(|(place, _)| organisation(*place) == member.name.as_str());
                keys.extend(ours.map(|(_, person)| MemberKey {
                    key: person.node.public(),
                    role: Role::Node,
                    status: KeyStatus::Active,
                }));
            }
            member.keys = SortedList::new(keys).unwrap();
        }
        genesis.organisations = SortedList::new(organisations).unwrap();
        if first < count {
            let validators = genesis.validators.validators();
            let place = |key| scenario.validators().iter().position(|one| one.public() == key);
            let kept = validators.iter().filter(|one| place(one.key).is_some_and(|place| place < first));
            genesis.validators = ValidatorSet::new(kept.cloned().collect()).unwrap();
        }
        let genesis = genesis.build().expect("more nodes do not make a genesis unsound");
        let mut script = Script { scenario: &scenario, genesis: &genesis, nonce: 0 };
        let (mut jobs, patches) = script.jobs();
        if first < count {
            jobs.extend(script.moves());
        }
        let forbidden = script.forbidden(&patches);
        let operator = scenario.key(APPROVERS[0], Role::Operator);
        let signed_twice = (0..2).map(|number| script.signed_twice(&operator, ENDPOINTS + number)).collect();
        let farewell = script.decision(Change::RetireKey { key: validators[0].node.public() });
        Self { validators, twins, observers, jobs, forbidden, signed_twice, farewell, patches, genesis }
    }

    /// So many endpoints nobody has spoken of, enrolled by one operator.
    pub(crate) fn enrolments(&self, count: u64) -> Vec<VerifiedTransaction> {
        let scenario = Scenario::with_validators(1, self.validators.len());
        let operator = scenario.key(APPROVERS[0], Role::Operator);
        let mut script = Script { scenario: &scenario, genesis: &self.genesis, nonce: 1_000_000 };
        (100..100 + count).map(|number| script.sign(&operator, DAY_MS, enroll(&scenario, number))).collect()
    }

    pub(crate) fn chain_id(&self) -> ChainId {
        self.genesis.chain_id
    }

    /// The set of the first heights.
    pub(crate) fn set(&self) -> &ValidatorSet {
        &self.genesis.genesis.validators
    }

    /// Everything that may ever be finalised.
    pub(crate) fn allowed(&self) -> BTreeSet<TransactionId> {
        let jobs = self.jobs.iter().map(|job| job.transaction.id());
        let twice = self.signed_twice.iter().map(|(one, _)| one.id());
        jobs.chain(twice).chain(self.farewell.iter().map(VerifiedTransaction::id)).collect()
    }
}

struct Script<'a> {
    scenario: &'a Scenario,
    genesis: &'a GenesisBlock,
    nonce: u64,
}

impl Script<'_> {
    fn body(&mut self, key: &SecretKey, valid_ms: u64, payload: Payload) -> Transaction {
        self.nonce += 1;
        Transaction {
            version: ledger::block::PROTOCOL_VERSION,
            chain_id: self.genesis.chain_id,
            signer: key.public(),
            nonce: self.nonce,
            expires_at_ms: self.genesis.header.time_ms + valid_ms,
            payload,
        }
    }

    fn sign(&mut self, key: &SecretKey, valid_ms: u64, payload: Payload) -> VerifiedTransaction {
        self.body(key, valid_ms, payload).sign(key).verify(&self.genesis.chain_id).expect("just signed")
    }

    /// Endpoints enrol; releases follow each other, are approved twice, and applied everywhere.
    fn jobs(&mut self) -> (Vec<Job>, Vec<PatchId>) {
        let (mut jobs, mut patches, mut enrolled) = (Vec::new(), Vec::new(), Vec::new());
        let operator = self.scenario.key(APPROVERS[0], Role::Operator);
        for number in 0..ENDPOINTS {
            let transaction = self.sign(&operator, DAY_MS, enroll(self.scenario, number));
            enrolled.push(transaction.id());
            jobs.push(Job { transaction, needs: Vec::new() });
        }
        let mut published: Vec<TransactionId> = Vec::new();
        for release in 1..=RELEASES {
            let manifest = self.scenario.manifest(release);
            let patch = manifest.id();
            patches.push(patch);
            let publisher = self.scenario.key(VENDOR, Role::Publisher);
            let publish = self.sign(&publisher, DAY_MS, Payload::Publish { manifest });
            let needs = published.last().copied().into_iter().collect();
            published.push(publish.id());
            let mut before = vec![publish.id()];
            jobs.push(Job { transaction: publish.clone(), needs });
            for approver in &APPROVERS[..2] {
                let key = self.scenario.key(approver, Role::Approver);
                let transaction = self.sign(&key, DAY_MS, approve(patch));
                before.push(transaction.id());
                jobs.push(Job { transaction, needs: vec![publish.id()] });
            }
            for number in 0..ENDPOINTS {
                let key = self.scenario.endpoint(number);
                let transaction = self.sign(&key, DAY_MS, receipt(patch, 1));
                let endpoint = enrolled[usize::try_from(number).unwrap()];
                jobs.push(Job { transaction, needs: before.iter().copied().chain([endpoint]).collect() });
            }
        }
        (jobs, patches)
    }

    /// Governors change who validates, one proposal after the other: more, fewer, others; and two whose keys
    /// are retired and revoked.
    fn moves(&mut self) -> Vec<Job> {
        let key = |place: usize| self.scenario.validators()[place].public();
        let set = |places: &[usize]| {
            let validator = |place: &usize| {
                let organisation = Name::new(ORGANISATIONS[place % ORGANISATIONS.len()]).unwrap();
                Validator { key: key(*place), organisation }
            };
            Change::SetValidators { validators: ValidatorSet::new(places.iter().map(validator).collect()).unwrap() }
        };
        let changes = vec![
            set(&[0, 1, 2, 3, 4, 5, 6]),
            set(&[2, 3, 4, 5, 6]),
            set(&[0, 1, 2, 5]),
            Change::RetireKey { key: key(3) },
            set(&[0, 1, 2, 4, 5, 6]),
            Change::RevokeKey { key: key(6) },
            set(&[1, 2, 4, 5]),
        ];
        let (mut jobs, mut before) = (Vec::new(), Vec::new());
        for change in changes {
            let decision = self.decision(change);
            let (proposed, ballots) = (decision[0].id(), decision[1..].iter().map(VerifiedTransaction::id).collect());
            let mut needs = std::mem::replace(&mut before, ballots);
            for transaction in decision {
                jobs.push(Job { transaction, needs: std::mem::replace(&mut needs, vec![proposed]) });
            }
        }
        jobs
    }

    /// A proposal of one change, and the ballots after which it has passed.
    fn decision(&mut self, change: Change) -> Vec<VerifiedTransaction> {
        let proposal = Proposal {
            changes: List::new(vec![change]).unwrap(),
            note: Text::cut("Others shall finalise."),
            closes_at_ms: self.genesis.header.time_ms + DAY_MS,
        };
        let governor = |organisation: &str| self.scenario.key(organisation, Role::Governor);
        let keys = [governor(VENDOR), governor(APPROVERS[0]), governor(APPROVERS[1])];
        let proposed = self.sign(&keys[0], DAY_MS, Payload::Propose { proposal });
        let ballot = Payload::Ballot { proposal: proposed.id(), choice: Choice::For };
        let ballots = keys[1..].iter().map(|key| self.sign(key, DAY_MS, ballot.clone())).collect::<Vec<_>>();
        std::iter::once(proposed).chain(ballots).collect()
    }

    /// Of a stranger, expired, of the wrong role, out of order, for too long.
    fn forbidden(&mut self, patches: &[PatchId]) -> Vec<VerifiedTransaction> {
        let stranger = secret("stranger");
        let vendors = self.scenario.key(VENDOR, Role::Approver);
        let endpoint = self.scenario.endpoint(0);
        let bank = self.scenario.key(APPROVERS[2], Role::Approver);
        let operator = self.scenario.key(APPROVERS[1], Role::Operator);
        vec![
            self.sign(&stranger, DAY_MS, Payload::Publish { manifest: self.scenario.manifest(1) }),
            self.sign(&vendors, DAY_MS, approve(patches[0])),
            self.sign(&endpoint, DAY_MS, receipt(patches[0], 99)),
            self.sign(&bank, 1, approve(patches[0])),
            self.sign(&bank, 40 * DAY_MS, approve(patches[0])),
            self.sign(&operator, DAY_MS, Payload::Publish { manifest: self.scenario.manifest(1) }),
        ]
    }

    fn signed_twice(&mut self, key: &SecretKey, endpoint: u64) -> (VerifiedTransaction, VerifiedTransaction) {
        let one = self.sign(key, DAY_MS, enroll(self.scenario, endpoint));
        let message = ledger::key::Purpose::Transaction
            .message(&self.genesis.chain_id, &ledger::encoding::encode(one.transaction()));
        let signature = other_signature(key, &message);
        let other = SignedTransaction { signature, ..one.signed().clone() };
        (one, other.verify(&self.genesis.chain_id).expect("another nonce, and still the key's signature"))
    }
}

/// A second signature of the same message: the key's owner may choose the nonce as it likes
/// (RFC 8032 §5.1.6 makes it from the key, and nobody can see whether it did).
fn other_signature(key: &SecretKey, message: &[u8]) -> ledger::key::Signature {
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
    use curve25519_dalek::scalar::{Scalar, clamp_integer};
    use sha2::{Digest as _, Sha512};
    let expanded = Sha512::digest(*key.seed());
    let secret = Scalar::from_bytes_mod_order(clamp_integer(expanded[..32].try_into().unwrap()));
    let nonce = Scalar::from_bytes_mod_order_wide(&Sha512::digest(message).into());
    let point = (nonce * ED25519_BASEPOINT_POINT).compress();
    let challenge = Sha512::new().chain_update(point.as_bytes()).chain_update(key.public().0).chain_update(message);
    let challenge = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(point.as_bytes());
    signature[32..].copy_from_slice((nonce + challenge * secret).as_bytes());
    ledger::key::Signature(signature)
}

fn enroll(scenario: &Scenario, number: u64) -> Payload {
    Payload::Enroll {
        endpoint: scenario.endpoint(number).public(),
        name: Name::new(format!("host-{number}")).unwrap(),
        group: Name::new("servers").unwrap(),
        labels: SortedList::default(),
    }
}

fn approve(patch: PatchId) -> Payload {
    let verdict = Verdict { patch, evidence: Digest::ZERO, note: Text::cut("Looked at.") };
    Payload::Approve { verdict, urgent: false }
}

fn receipt(patch: PatchId, attempt: u32) -> Payload {
    let receipt = Receipt {
        patch,
        rollout: None,
        attempt,
        from_version: Version::new("1.0.0").unwrap(),
        to_version: Version::new("1.0.1").unwrap(),
        outcome: Outcome::Applied,
        reason: None,
        health: Health::Passed,
        log_digest: Digest::ZERO,
        ended_at_ms: 0,
    };
    Payload::Receipt { receipt }
}

/// A key nobody trusts outside of a test.
pub(crate) fn secret(purpose: &str) -> SecretKey {
    SecretKey::from_seed(&Digest::blake3(purpose.as_bytes()).0)
}

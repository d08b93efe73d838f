//! Four organisations, two vendors, five endpoints to be: enough for every rule to have somebody who
//! keeps it and somebody who breaks it.

use super::samples::names;
use super::{key, name};
use ledger::approval::{ApprovalRule, Quorum};
use ledger::block::{Block, Header};
use ledger::bounded::{List, SortedList};
use ledger::certificate::{Certificate, VoteBody};
use ledger::execution::{self, Tip};
use ledger::genesis::{Genesis, GenesisBlock};
use ledger::id::ChainId;
use ledger::key::{PublicKey, Purpose, SecretKey};
use ledger::patch::{Class, Severity};
use ledger::proof::TrustRoot;
use ledger::state::record::{KeyStatus, MemberKey, Organisation, Parameters, Record, RecordKey, Role};
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, TreeHead};
use ledger::state::{ApplyError, BlockContext, Rejection, State};
use ledger::transaction::{Payload, SignedTransaction, Transaction, VerifiedTransaction};
use ledger::validators::{Validator, ValidatorSet};

/// When the test ledger begins: 2023-11-14T22:13:20Z.
pub const GENESIS_MS: u64 = 1_700_000_000_000;
/// From one block to the next.
pub const BLOCK_MS: u64 = 1_000;
/// The organisations that run a validator.
pub const VALIDATORS: [&str; 4] = ["acme", "north", "south", "west"];

const ROLES: [Role; 5] = [Role::Publisher, Role::Approver, Role::Operator, Role::Node, Role::Validator];

/// An organisation with one key per role, called `<organisation>/<role>`.
pub fn organisation(called: &str, more: &[(&str, Role, KeyStatus)]) -> Organisation {
    let one = |role: &Role| (role.name(), *role, KeyStatus::Active);
    let keys = ROLES.iter().map(one).chain(more.iter().copied());
    let keys =
        keys.map(|(word, role, status)| MemberKey { key: key(&format!("{called}/{word}")).public(), role, status });
    let namespaces = if matches!(called, "acme" | "globex") { names(&[called]) } else { SortedList::default() };
    Organisation { name: name(called), namespaces, keys: SortedList::new(keys.collect()).unwrap() }
}

/// The rules of the test ledger: firmware needs all three approvers; content has no rule at all; the
/// rest needs two of three, or one who says it is urgent.
pub fn rules() -> Vec<ApprovalRule> {
    let approvers = names(&["north", "south", "west"]);
    let firmware = ApprovalRule {
        name: name("firmware"),
        namespaces: SortedList::default(),
        classes: SortedList::new(vec![Class::Firmware]).unwrap(),
        severities: SortedList::default(),
        approvers: approvers.clone(),
        quorum: Quorum { approvals: 3, organisations: 3 },
        emergency: None,
        rejections: 1,
        recalls: 2,
    };
    let standard = ApprovalRule {
        name: name("standard"),
        namespaces: names(&["acme", "globex"]),
        classes: SortedList::new(vec![Class::Security, Class::Bugfix, Class::Performance, Class::Feature]).unwrap(),
        severities: SortedList::new(vec![Severity::Low, Severity::Moderate, Severity::Important, Severity::Critical])
            .unwrap(),
        approvers,
        quorum: Quorum { approvals: 2, organisations: 2 },
        emergency: Some(Quorum { approvals: 1, organisations: 1 }),
        rejections: 2,
        recalls: 2,
    };
    vec![firmware, standard]
}

/// The keys of the validators of these organisations as a set.
pub fn validator_set(organisations: &[&str]) -> ValidatorSet {
    let validator = |organisation: &&str| Validator {
        key: key(&format!("{organisation}/validator")).public(),
        organisation: name(organisation),
    };
    ValidatorSet::new(organisations.iter().map(validator).collect()).unwrap()
}

/// The genesis of the test ledger.
pub fn genesis() -> Genesis {
    let organisations = vec![
        organisation(
            "acme",
            &[
                ("retired publisher", Role::Publisher, KeyStatus::Retired),
                ("revoked publisher", Role::Publisher, KeyStatus::Revoked),
                ("governor", Role::Governor, KeyStatus::Active),
            ],
        ),
        organisation("globex", &[]),
        organisation(
            "north",
            &[("second approver", Role::Approver, KeyStatus::Active), ("governor", Role::Governor, KeyStatus::Active)],
        ),
        organisation("south", &[("retired approver", Role::Approver, KeyStatus::Retired)]),
        organisation("west", &[("revoked approver", Role::Approver, KeyStatus::Revoked)]),
    ];
    Genesis {
        version: 1,
        name: name("test-ledger"),
        time_ms: GENESIS_MS,
        parameters: Parameters { heartbeat_ms: 60_000, seal_ms: 200 },
        organisations: SortedList::new(organisations).unwrap(),
        validators: validator_set(&VALIDATORS),
        rules: List::new(rules()).unwrap(),
    }
}

/// A ledger with its newest end.
#[derive(Clone)]
pub struct World {
    pub genesis: GenesisBlock,
    pub storage: MemoryStorage,
    pub tip: Tip,
    /// Every finalised transaction: index is the place in the history.
    pub log: Vec<SignedTransaction>,
    /// Every block after genesis.
    pub blocks: Vec<Block>,
    /// The validator set.
    pub validators: Vec<&'static str>,
    /// Those of them who sign certificates.
    pub signers: Vec<&'static str>,
    nonce: u64,
    /// How much later than usual the next block is made.
    waited_ms: u64,
}

impl World {
    /// The test ledger at its genesis.
    pub fn new() -> Self {
        Self::from(genesis())
    }

    pub fn from(genesis: Genesis) -> Self {
        let genesis = genesis.build().expect("test genesis is sound");
        let mut storage = MemoryStorage::default();
        storage.write_state(&genesis.state);
        let tree = TreeHead { version: genesis.state.version, root: genesis.state.root };
        let tip = Tip { header: genesis.header.clone(), tree, history_root: ledger::history::empty_root() };
        let (validators, signers) = (VALIDATORS.to_vec(), VALIDATORS.to_vec());
        Self { genesis, storage, tip, log: Vec::new(), blocks: Vec::new(), validators, signers, nonce: 0, waited_ms: 0 }
    }

    pub fn chain(&self) -> ChainId {
        self.genesis.chain_id
    }

    pub fn trust(&self) -> TrustRoot {
        TrustRoot::parse(&self.genesis.genesis.bytes()).expect("test genesis is sound")
    }

    /// Time of the next block.
    pub fn next_ms(&self) -> u64 {
        self.tip.header.time_ms + BLOCK_MS + self.waited_ms
    }

    /// The next block is made so much later.
    pub fn wait(&mut self, milliseconds: u64) {
        self.waited_ms += milliseconds;
    }

    /// An unsigned body that expires in an hour.
    pub fn body(&mut self, payload: Payload) -> Transaction {
        self.nonce += 1;
        Transaction {
            version: 1,
            chain_id: self.chain(),
            signer: PublicKey([0; 32]),
            nonce: self.nonce,
            expires_at_ms: self.next_ms() + 3_600_000,
            payload,
        }
    }

    /// A transaction signed by the key called so.
    pub fn transaction(&mut self, signer: &str, payload: Payload) -> VerifiedTransaction {
        self.body(payload).sign(&key(signer)).verify(&self.chain()).expect("signed by its own signer")
    }

    /// What the rules say to a transaction in the next block.
    pub fn judge(&self, transaction: &VerifiedTransaction) -> Result<(), Rejection> {
        let block = BlockContext {
            height: self.tip.header.height + 1,
            time_ms: self.next_ms(),
            history_size: self.tip.header.history_size_after(),
        };
        State::begin(&self.storage, block).check(transaction).map_err(|error| match error {
            ApplyError::Rejected(rejection) => rejection,
            ApplyError::Storage(error) => panic!("memory does not fail: {error}"),
        })
    }

    /// Makes the next block of these transactions, which all must be accepted.
    pub fn block(&mut self, transactions: Vec<VerifiedTransaction>) {
        let dropped = self.propose(transactions);
        assert!(dropped.is_empty(), "all transactions are accepted: {dropped:?}");
    }

    /// Makes the next block of those of these transactions that are accepted.
    pub fn propose(&mut self, candidates: Vec<VerifiedTransaction>) -> Vec<execution::Dropped> {
        let proposer = key(&format!("{}/validator", self.validators[0])).public();
        let (executed, dropped) =
            execution::propose(&self.storage, &self.tip, candidates, self.next_ms(), proposer).unwrap();
        self.storage.write_state(&executed.state);
        self.storage.write_history(&executed.history);
        self.storage.write_finalised(executed.transactions.iter().map(VerifiedTransaction::id));
        self.log.extend(executed.transactions.iter().map(|transaction| transaction.signed().clone()));
        self.tip = executed.tip();
        self.waited_ms = 0;
        self.blocks.push(executed.block);
        dropped
    }

    /// One transaction, one block.
    pub fn say(&mut self, signer: &str, payload: Payload) {
        let transaction = self.transaction(signer, payload);
        self.block(vec![transaction]);
    }

    /// The same transaction, refused by the rules.
    pub fn refuse(&mut self, signer: &str, payload: Payload) -> Rejection {
        let transaction = self.transaction(signer, payload);
        self.judge(&transaction).expect_err("the rules forbid it")
    }

    /// Puts a record into the state without asking, and a header over it: what a quorum of traitors,
    /// or law that is not made yet, could do.
    pub fn impose(&mut self, record_key: &RecordKey, record: &Record) {
        self.put(record_key, record);
        let root = self.tip.tree.root;
        self.block(Vec::new());
        assert_eq!(self.tip.header.state_root, root);
    }

    /// Puts a record into the state without asking, and no header over it.
    pub fn put(&mut self, record_key: &RecordKey, record: &Record) {
        let records = vec![(record_key.state_key(), ledger::encoding::encode(record))];
        let update = tree::update(&self.storage, Some(self.tip.tree), records).unwrap();
        self.storage.write_state(&update);
        self.tip.tree = TreeHead { version: update.version, root: update.root };
    }

    /// The signatures of these organisations' validators under a header.
    pub fn certify(&self, header: &Header, organisations: &[&str], set: &ValidatorSet) -> Certificate {
        let keys: Vec<SecretKey> = organisations.iter().map(|who| key(&format!("{who}/validator"))).collect();
        certify(header, 0, &keys, set)
    }
}

/// A certificate for a header by these keys.
pub fn certify(header: &Header, round: u32, keys: &[SecretKey], set: &ValidatorSet) -> Certificate {
    let body = VoteBody { height: header.height, round, block: Some(header.hash()) }.bytes();
    let sign = |key: &SecretKey| (key.public(), key.sign(Purpose::Precommit, &header.chain_id, &body));
    let precommits: Vec<_> = keys.iter().map(sign).collect();
    Certificate::assemble(header.height, round, header.hash(), &precommits, set)
}

//! A small ledger in memory, and proof files of it.

use ledger::approval::Decision;
use ledger::block::Header;
use ledger::bounded::{List, Name};
use ledger::certificate::{Certificate, VoteBody};
use ledger::execution::{self, ExecutedBlock, Tip};
use ledger::governance::Change;
use ledger::history;
use ledger::id::{PatchId, TransactionId};
use ledger::key::{Purpose, SecretKey};
use ledger::proof::{EpochLink, PROOF_VERSION, ProofBundle, ProvenState, ProvenTransaction};
use ledger::state::record::RecordKey;
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, TreeHead};
use ledger::state::{ApplyError, BlockContext, Rejection, State, StateView as _};
use ledger::transaction::VerifiedTransaction;
use ledger::validators::ValidatorSet;
use std::collections::BTreeSet;
use tests::Scenario;

/// A ledger whose blocks are final at once: the rules and the proofs are real, agreement is not.
#[derive(Clone)]
pub(crate) struct LedgerInMemory {
    pub(crate) scenario: Scenario,
    pub(crate) storage: MemoryStorage,
    pub(crate) tip: Tip,
    /// All blocks after genesis.
    pub(crate) blocks: Vec<(ExecutedBlock, Certificate)>,
    /// Behind each of them the set of the height after it.
    sets: Vec<ValidatorSet>,
    /// Every key that is or was a validator's.
    validating: Vec<SecretKey>,
    /// Places in the set of those who sign; the first quorum if nobody says.
    pub(crate) signers: Option<Vec<usize>>,
    /// The round blocks are decided in.
    pub(crate) round: u32,
    /// All transactions, with the height and time of their block.
    pub(crate) log: Vec<(VerifiedTransaction, u64, u64)>,
}

impl LedgerInMemory {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let genesis = scenario.genesis();
        let mut storage = MemoryStorage::default();
        storage.write_state(&genesis.state);
        let tip = Tip {
            header: genesis.header.clone(),
            tree: TreeHead { version: genesis.state.version, root: genesis.state.root },
            history_root: history::empty_root(),
        };
        let validating = scenario.validators().to_vec();
        Self {
            scenario,
            storage,
            tip,
            blocks: Vec::new(),
            sets: Vec::new(),
            validating,
            signers: None,
            round: 0,
            log: Vec::new(),
        }
    }

    pub(crate) fn trust_root(&self) -> Vec<u8> {
        self.scenario.genesis().genesis.bytes()
    }

    /// What the rules say, asked for a block at this time.
    pub(crate) fn check(&self, transaction: &VerifiedTransaction, time_ms: u64) -> Result<(), Rejection> {
        let header = &self.tip.header;
        let (height, history_size) = (header.height + 1, header.history_size_after());
        let state = State::begin(&self.storage, BlockContext { height, time_ms, history_size });
        match state.check(transaction) {
            Ok(()) => Ok(()),
            Err(ApplyError::Rejected(rejection)) => Err(rejection),
            Err(ApplyError::Storage(error)) => panic!("{error}"),
        }
    }

    /// The next block, and an empty one that makes its transactions provable.
    pub(crate) fn finalise(&mut self, transactions: Vec<VerifiedTransaction>, time_ms: u64) {
        self.block(transactions, time_ms);
        self.block(Vec::new(), time_ms);
    }

    fn block(&mut self, transactions: Vec<VerifiedTransaction>, time_ms: u64) {
        let proposer = self.scenario.proposer(self.tip.header.height + 1);
        let (block, dropped) = execution::propose(&self.storage, &self.tip, transactions, time_ms, proposer)
            .expect("memory does not fail");
        assert!(dropped.is_empty(), "{}", dropped[0].1);
        let header = &block.block.header;
        // A quorum and not everybody, so that "3 of 4" can be told from "all".
        let set = self.validators_of_next();
        let places = self.signers.clone().unwrap_or_else(|| (0..set.quorum()).collect());
        let signs = |key: &&SecretKey| places.iter().any(|place| set.validators()[*place].key == key.public());
        let body = VoteBody { height: header.height, round: self.round, block: Some(header.hash()) }.bytes();
        let chain = self.scenario.chain_id();
        let sign = |key: &SecretKey| (key.public(), key.sign(Purpose::Precommit, &chain, &body));
        let precommits: Vec<_> = self.validating.iter().filter(signs).map(sign).collect();
        let certificate = Certificate::assemble(header.height, self.round, header.hash(), &precommits, &set);
        self.storage.write_state(&block.state);
        self.storage.write_history(&block.history);
        self.storage.write_finalised(block.transactions.iter().map(VerifiedTransaction::id));
        self.log.extend(block.transactions.iter().map(|known| (known.clone(), header.height, header.time_ms)));
        self.tip = block.tip();
        self.sets.push(self.validators_of_next());
        self.blocks.push((block, certificate));
    }

    /// The set of the height after the tip.
    fn validators_of_next(&self) -> ValidatorSet {
        self.storage.upcoming_validators().unwrap().unwrap().next
    }

    /// Three of the four organisations agree on changes; gives the name of the proposal.
    pub(crate) fn agree(&mut self, changes: Vec<Change>, time_ms: u64) -> TransactionId {
        let agreed = self.scenario.agreed(self.log.len() as u64, time_ms, changes);
        let proposal = agreed[0].id();
        self.finalise(agreed, time_ms);
        proposal
    }

    /// The validators change: the oldest key that has no successor yet gets one, which is in force at the
    /// new tip.
    pub(crate) fn rotate(&mut self, time_ms: u64) {
        let rotations = self.validating.len() - self.scenario.validators().len();
        let change = self.scenario.rotation(rotations);
        self.validating = self.scenario.validating_keys(rotations + 1);
        self.agree(vec![change], time_ms);
        self.block(Vec::new(), time_ms);
    }

    /// How the set of validators changed, in blocks of this height and above.
    pub(crate) fn epochs(&self, from_height: u64) -> Vec<EpochLink> {
        let blocks = self.blocks.iter().zip(&self.sets);
        let links = blocks.map(|((block, certificate), after)| EpochLink {
            header: block.block.header.clone(),
            certificate: certificate.clone(),
            validators: after.clone(),
        });
        let changes = |header: &Header| header.validators_hash != header.next_validators_hash;
        links.filter(|link| link.header.height >= from_height && changes(&link.header)).collect()
    }

    /// The proof file of a patch at the tip.
    pub(crate) fn prove(&self, id: PatchId) -> ProofBundle {
        let record = self.storage.patch(id).unwrap().expect("a published patch");
        let approving = |decision| matches!(decision, Decision::Approve | Decision::ApproveUrgently);
        let approvals: Vec<_> = record.verdicts.iter().filter(|verdict| approving(verdict.decision)).collect();
        let mut organisations: BTreeSet<Name> = approvals.iter().map(|verdict| verdict.organisation.clone()).collect();
        organisations.insert(record.organisation.clone());
        let mut indices: Vec<u64> = approvals.iter().map(|verdict| verdict.position.index).collect();
        indices.sort_unstable();
        let mut epochs = self.epochs(1);
        epochs.retain(|link| link.header.height < self.tip.header.height);
        let state = |key: RecordKey| tree::prove(&self.storage, self.tip.tree, &key.state_key()).unwrap();
        let organisations =
            organisations.into_iter().map(|name| (name.clone(), state(RecordKey::Organisation(name)))).collect();
        ProofBundle {
            version: PROOF_VERSION,
            chain_id: self.scenario.chain_id(),
            epochs: List::new(epochs).unwrap(),
            header: self.tip.header.clone(),
            certificate: self.blocks.last().expect("a block after genesis").1.clone(),
            publish: self.proven(record.published.index),
            approvals: List::new(indices.into_iter().map(|index| self.proven(index)).collect()).unwrap(),
            state: ProvenState {
                patch: state(RecordKey::Patch(id)),
                rules: state(RecordKey::ApprovalRules),
                halts: state(RecordKey::Halts),
                organisations: List::new(organisations).unwrap(),
            },
        }
    }

    fn proven(&self, index: u64) -> ProvenTransaction {
        let path = history::prove(&self.storage, self.tip.header.history_size, index).unwrap();
        let transaction = self.log[usize::try_from(index).unwrap()].0.signed().clone();
        ProvenTransaction { transaction, index, path: List::new(path).unwrap() }
    }
}

//! A small ledger in memory, and proof files of it.

use ledger::approval::Decision;
use ledger::bounded::{List, Name};
use ledger::certificate::Certificate;
use ledger::execution::{self, ExecutedBlock, Tip};
use ledger::history;
use ledger::id::PatchId;
use ledger::proof::{PROOF_VERSION, ProofBundle, ProvenState, ProvenTransaction};
use ledger::state::record::RecordKey;
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, TreeHead};
use ledger::state::{ApplyError, BlockContext, Rejection, State, StateView as _};
use ledger::transaction::VerifiedTransaction;
use std::collections::BTreeSet;
use tests::Scenario;

/// A ledger whose blocks are final at once: the rules and the proofs are real, agreement is not.
pub(crate) struct LedgerInMemory {
    pub(crate) scenario: Scenario,
    pub(crate) storage: MemoryStorage,
    pub(crate) tip: Tip,
    /// All blocks after genesis.
    pub(crate) blocks: Vec<(ExecutedBlock, Certificate)>,
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
        Self { scenario, storage, tip, blocks: Vec::new(), log: Vec::new() }
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
        let certificate = self.scenario.certificate_by(header, &self.scenario.validators()[..3]);
        self.storage.write_state(&block.state);
        self.storage.write_history(&block.history);
        self.storage.write_finalised(block.transactions.iter().map(VerifiedTransaction::id));
        self.log.extend(block.transactions.iter().map(|known| (known.clone(), header.height, header.time_ms)));
        self.tip = block.tip();
        self.blocks.push((block, certificate));
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
        let state = |key: RecordKey| tree::prove(&self.storage, self.tip.tree, &key.state_key()).unwrap();
        let organisations =
            organisations.into_iter().map(|name| (name.clone(), state(RecordKey::Organisation(name)))).collect();
        ProofBundle {
            version: PROOF_VERSION,
            chain_id: self.scenario.chain_id(),
            epochs: List::default(),
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

//! A ledger that grows when it is told to, in this machine's time.

use agent::clock::now_ms;
use ledger::block::Header;
use ledger::bounded::{List, Name, SortedList};
use ledger::certificate::Certificate;
use ledger::encoding::encode;
use ledger::execution::{self, ExecutedBlock, Tip};
use ledger::history;
use ledger::id::{Digest, PatchId, TransactionId};
use ledger::inclusion::InclusionProof;
use ledger::key::{PublicKey, SecretKey};
use ledger::patch::PatchManifest;
use ledger::proof::{EpochLink, PROOF_VERSION, ProofBundle, ProvenState, ProvenTransaction};
use ledger::state::record::{PatchRecord, Role};
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::{self, TreeHead};
use ledger::state::{Record, RecordKey, StateView as _};
use ledger::transaction::{Payload, Verdict, VerifiedTransaction};
use ledger::validators::ValidatorSet;
use std::collections::BTreeSet;
use tests::{Scenario, VENDOR};

/// The chain, and all that was finalised on it.
pub(crate) struct Ledger {
    pub(crate) scenario: Scenario,
    pub(crate) storage: MemoryStorage,
    pub(crate) tip: Tip,
    pub(crate) heads: Vec<(Header, Certificate)>,
    pub(crate) transactions: Vec<VerifiedTransaction>,
    pub(crate) patches: Vec<PatchId>,
    pending: Vec<VerifiedTransaction>,
    forced: Vec<(RecordKey, Record)>,
    nonce: u64,
    /// How often a validator got a new key.
    rotations: usize,
    /// How the set of validators changed.
    pub(crate) epochs: Vec<EpochLink>,
    /// How far the ledger's clock is from this machine's.
    pub(crate) ahead_ms: i64,
}

impl Ledger {
    pub(crate) fn new(seed: u64) -> Self {
        let scenario = Scenario::new(seed);
        let genesis = scenario.genesis();
        let mut storage = MemoryStorage::default();
        storage.write_state(&genesis.state);
        let tip = Tip {
            header: genesis.header.clone(),
            tree: TreeHead { version: genesis.state.version, root: genesis.state.root },
            history_root: history::empty_root(),
        };
        let (heads, transactions, patches) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            scenario,
            storage,
            tip,
            heads,
            transactions,
            patches,
            pending: Vec::new(),
            forced: Vec::new(),
            nonce: 0,
            rotations: 0,
            epochs: Vec::new(),
            ahead_ms: 0,
        }
    }

    fn now_ms(&self) -> u64 {
        now_ms().saturating_add_signed(self.ahead_ms)
    }

    pub(crate) fn add(&mut self, key: &SecretKey, payload: Payload) {
        self.nonce += 1;
        let time_ms = self.tip.header.time_ms.max(self.now_ms());
        let transaction = self.scenario.transaction(key, self.nonce, time_ms, payload);
        self.pending.push(transaction);
    }

    pub(crate) fn publish(&mut self, manifest: PatchManifest) -> PatchId {
        let patch = manifest.id();
        self.patches.push(patch);
        self.add(&self.scenario.key(VENDOR, Role::Publisher), Payload::Publish { manifest });
        patch
    }

    fn verdict(patch: PatchId) -> Verdict {
        Verdict { patch, evidence: Digest::ZERO, note: ledger::bounded::Text::cut("looked at") }
    }

    pub(crate) fn approve(&mut self, organisation: &str, patch: PatchId) {
        let key = self.scenario.key(organisation, Role::Approver);
        self.add(&key, Payload::Approve { verdict: Self::verdict(patch), urgent: false });
    }

    pub(crate) fn reject(&mut self, organisation: &str, patch: PatchId) {
        let key = self.scenario.key(organisation, Role::Approver);
        self.add(&key, Payload::Reject { verdict: Self::verdict(patch) });
    }

    pub(crate) fn hold(&mut self, organisation: &str, patch: PatchId) {
        let key = self.scenario.key(organisation, Role::Approver);
        self.add(&key, Payload::Hold { verdict: Self::verdict(patch) });
    }

    pub(crate) fn recall(&mut self, patch: PatchId) {
        let reason = ledger::bounded::Sentence::cut("it eats data");
        self.add(&self.scenario.key(VENDOR, Role::Publisher), Payload::Recall { patch, reason });
    }

    pub(crate) fn enroll(&mut self, endpoint: PublicKey) {
        let (name, group) = (Name::new("host").unwrap(), Name::new("servers").unwrap());
        let payload = Payload::Enroll { endpoint, name, group, labels: SortedList::default() };
        self.add(&self.scenario.key("bank", Role::Operator), payload);
    }

    /// A validator gets a new key: the set changes two blocks after the next.
    pub(crate) fn rotate_validator(&mut self) {
        self.nonce += 1;
        let (time_ms, change) = (self.now_ms(), self.scenario.rotation(self.rotations));
        self.pending.extend(self.scenario.agreed(self.nonce, time_ms, vec![change]));
        self.rotations += 1;
    }

    fn next_validators(&self) -> ValidatorSet {
        self.storage.upcoming_validators().unwrap().unwrap().next
    }

    /// Puts a record into the next block's state that no transaction could.
    pub(crate) fn force(&mut self, key: RecordKey, record: Record) {
        self.forced.push((key, record));
    }

    /// Takes a transaction from outside, as a node would: verified, judged, and in the next block.
    pub(crate) fn offer(&mut self, transaction: VerifiedTransaction) {
        self.pending.push(transaction);
    }

    /// What the rules say of a transaction now; it is not taken.
    pub(crate) fn judge(&self, transaction: VerifiedTransaction) -> Option<ledger::state::Rejection> {
        let (time_ms, proposer) = (self.now_ms(), self.scenario.proposer(self.tip.header.height + 1));
        let proposed = execution::propose(&self.storage, &self.tip, vec![transaction], time_ms, proposer);
        proposed.expect("memory does not fail").1.into_iter().next().map(|(_, rejection)| rejection)
    }

    /// The next block, with all that waits; what the rules forbid is given back.
    pub(crate) fn block(&mut self) -> Vec<ledger::state::Rejection> {
        let time_ms = self.now_ms();
        let candidates = std::mem::take(&mut self.pending);
        let proposer = self.scenario.proposer(self.tip.header.height + 1);
        let proposed = execution::propose(&self.storage, &self.tip, candidates, time_ms, proposer);
        let (executed, dropped) = proposed.expect("memory does not fail");
        self.take(executed);
        dropped.into_iter().map(|(_, rejection)| rejection).collect()
    }

    fn take(&mut self, executed: ExecutedBlock) {
        let set = self.next_validators();
        self.storage.write_state(&executed.state);
        self.storage.write_finalised(executed.transactions.iter().map(VerifiedTransaction::id));
        self.storage.write_history(&executed.history);
        self.tip = executed.tip();
        self.transactions.extend(executed.transactions);
        if !self.forced.is_empty() {
            let forced = std::mem::take(&mut self.forced);
            let records = forced.iter().map(|(key, record)| (key.state_key(), encode(record))).collect();
            let update = tree::update(&self.storage, Some(self.tip.tree), records).expect("memory does not fail");
            self.storage.write_state(&update);
            self.tip.tree = TreeHead { version: update.version, root: update.root };
            self.tip.header.state_root = update.root;
        }
        let (header, keys) = (self.tip.header.clone(), self.scenario.validating_keys(self.rotations));
        let certificate = self.scenario.certificate_under(&header, &keys, &set);
        if header.validators_hash != header.next_validators_hash {
            let (header, certificate, validators) = (header.clone(), certificate.clone(), self.next_validators());
            self.epochs.push(EpochLink { header, certificate, validators });
        }
        self.heads.push((header, certificate));
    }

    /// Two blocks: what waits is final, and provable.
    pub(crate) fn settle(&mut self) {
        let dropped = self.block();
        assert!(dropped.is_empty(), "the rules refuse: {dropped:?}");
        self.block();
    }

    /// A patch that two organisations approved, provable.
    pub(crate) fn approved(&mut self, manifest: PatchManifest) -> PatchId {
        let patch = self.publish(manifest);
        self.block();
        self.approve("bank", patch);
        self.approve("clinic", patch);
        self.settle();
        patch
    }

    pub(crate) fn record(&self, patch: PatchId) -> Option<PatchRecord> {
        self.storage.patch(patch).unwrap()
    }

    /// The proof that a transaction is final, at the newest header; `None` while it is not provable.
    pub(crate) fn include(&self, id: TransactionId) -> Option<InclusionProof> {
        let index = self.transactions.iter().position(|transaction| transaction.id() == id)? as u64;
        let (header, certificate) = self.heads.last().cloned()?;
        if index >= header.history_size {
            return None;
        }
        let path = List::new(history::prove(&self.storage, header.history_size, index).unwrap()).unwrap();
        Some(InclusionProof { header, certificate, index, path })
    }

    /// A final transaction, as it was signed.
    pub(crate) fn bytes_of(&self, id: TransactionId) -> Option<Vec<u8>> {
        let transaction = self.transactions.iter().find(|transaction| transaction.id() == id)?;
        Some(encode(transaction.signed()))
    }

    /// The newest receipt of an endpoint about a patch.
    pub(crate) fn receipt_of(&self, endpoint: PublicKey, patch: PatchId) -> Option<TransactionId> {
        let is_it = |transaction: &&VerifiedTransaction| match transaction.payload() {
            Payload::Receipt { receipt } => transaction.signer() == endpoint && receipt.patch == patch,
            _ => false,
        };
        self.transactions.iter().rev().find(is_it).map(VerifiedTransaction::id)
    }

    /// The transaction that recalled a patch.
    pub(crate) fn recall_of(&self, patch: PatchId) -> Option<TransactionId> {
        let at = self.record(patch)?.recalled?;
        Some(self.transactions[usize::try_from(at.index).unwrap()].id())
    }

    /// The proof of a patch at the newest header; `None` while it is not provable.
    pub(crate) fn proof(&self, patch: PatchId) -> Option<ProofBundle> {
        let record = self.record(patch)?;
        let (header, certificate) = self.heads.last().cloned()?;
        let approving = |transaction: &VerifiedTransaction| matches!(transaction.payload(), Payload::Approve { .. });
        let mut approvals: Vec<u64> = record.verdicts.iter().map(|verdict| verdict.position.index).collect();
        approvals.retain(|index| approving(&self.transactions[usize::try_from(*index).unwrap()]));
        approvals.sort_unstable();
        if approvals.iter().chain([&record.published.index]).any(|index| *index >= header.history_size) {
            return None;
        }
        let proven = |index: u64| ProvenTransaction {
            transaction: self.transactions[usize::try_from(index).unwrap()].signed().clone(),
            index,
            path: List::new(history::prove(&self.storage, header.history_size, index).unwrap()).unwrap(),
        };
        let prove = |key: RecordKey| tree::prove(&self.storage, self.tip.tree, &key.state_key()).unwrap();
        let epochs = self.epochs.iter().filter(|link| link.header.height < header.height).cloned().collect();
        let approvers = record.verdicts.iter().map(|verdict| verdict.organisation.clone());
        let organisations: BTreeSet<Name> = approvers.chain([record.organisation.clone()]).collect();
        let organisations = organisations.into_iter().map(|name| (name.clone(), prove(RecordKey::Organisation(name))));
        Some(ProofBundle {
            version: PROOF_VERSION,
            chain_id: header.chain_id,
            epochs: List::new(epochs).unwrap(),
            publish: proven(record.published.index),
            approvals: List::new(approvals.into_iter().map(proven).collect()).unwrap(),
            state: ProvenState {
                patch: prove(RecordKey::Patch(patch)),
                rules: prove(RecordKey::ApprovalRules),
                halts: prove(RecordKey::Halts),
                organisations: List::new(organisations.collect()).unwrap(),
            },
            header,
            certificate,
        })
    }
}

//! Proof files of the test ledger, honest and otherwise.

use super::world::{World, validator_set};
use ledger::bounded::{List, Name};
use ledger::history;
use ledger::id::PatchId;
use ledger::proof::{HostClock, ProofBundle, ProvenState, ProvenTransaction};
use ledger::state::StateView as _;
use ledger::state::record::{PatchRecord, RecordKey};
use ledger::state::tree::{self, StateProof};
use std::collections::BTreeSet;

impl World {
    /// The proof file of a patch at the tip.
    pub fn prove(&self, patch: PatchId) -> ProofBundle {
        let record = self.storage.patch(patch).unwrap().expect("a published patch");
        let approvals = record.verdicts.iter().filter(|verdict| is_approval(verdict)).map(|v| v.position.index);
        self.prove_with(patch, &record, approvals.collect())
    }

    /// The proof file of a patch at the tip, with the transactions at these indices as approvals.
    pub fn prove_with(&self, patch: PatchId, record: &PatchRecord, mut approvals: Vec<u64>) -> ProofBundle {
        approvals.sort_unstable();
        let mut organisations: BTreeSet<Name> =
            record.verdicts.iter().map(|verdict| verdict.organisation.clone()).collect();
        organisations.insert(record.organisation.clone());
        let organisations = organisations.into_iter().map(|name| {
            let proof = self.prove_record(&RecordKey::Organisation(name.clone()));
            (name, proof)
        });
        let header = self.tip.header.clone();
        let set = validator_set(&self.validators);
        ProofBundle {
            version: ledger::proof::PROOF_VERSION,
            chain_id: self.chain(),
            epochs: List::default(),
            certificate: self.certify(&header, &self.signers, &set),
            publish: self.prove_transaction(record.published.index),
            approvals: List::new(approvals.into_iter().map(|index| self.prove_transaction(index)).collect()).unwrap(),
            state: ProvenState {
                patch: self.prove_record(&RecordKey::Patch(patch)),
                rules: self.prove_record(&RecordKey::ApprovalRules),
                halts: self.prove_record(&RecordKey::Halts),
                organisations: List::new(organisations.collect()).unwrap(),
            },
            header,
        }
    }

    /// A transaction with its path at the tip. Out of the history, the path is one of nowhere.
    pub fn prove_transaction(&self, index: u64) -> ProvenTransaction {
        let size = self.tip.header.history_size;
        let path = history::prove(&self.storage, size, index).unwrap_or_default();
        let transaction = self.log[usize::try_from(index).unwrap()].clone();
        ProvenTransaction { transaction, index, path: List::new(path).unwrap() }
    }

    /// A state proof at the tip.
    pub fn prove_record(&self, key: &RecordKey) -> StateProof {
        tree::prove(&self.storage, self.tip.tree, &key.state_key()).unwrap()
    }

    /// The clock of a host at the time of the tip.
    pub fn clock(&self) -> HostClock {
        HostClock::at(self.tip.header.time_ms)
    }

    /// Signs the bundle's header again after it was altered: what only a quorum can do.
    pub fn recertify(&self, bundle: &mut ProofBundle) {
        let set = validator_set(&self.validators);
        bundle.header.validators_hash = set.hash();
        bundle.certificate = self.certify(&bundle.header, &self.signers, &set);
    }
}

fn is_approval(verdict: &ledger::state::record::VerdictRecord) -> bool {
    use ledger::approval::Decision;
    matches!(verdict.decision, Decision::Approve | Decision::ApproveUrgently)
}

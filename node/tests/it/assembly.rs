//! Putting proof files together: what is left out, and what there is no proof file for.

use ledger::block::Header;
use ledger::bounded::Name;
use ledger::certificate::Certificate;
use ledger::governance::Change;
use ledger::history::HistoryStorage;
use ledger::id::{Digest, PatchId, TransactionId};
use ledger::key::SecretKey;
use ledger::limits;
use ledger::proof::{EpochLink, HostClock, ProofBundle, TrustRoot};
use ledger::state::StateKey;
use ledger::state::record::Role;
use ledger::state::storage::{StateStorage, StorageError};
use ledger::state::tree::TreeHead;
use ledger::validators::{Validator, ValidatorSet};
use node::proof::{AssemblyError, ProofSource, assemble};
use tests::{APPROVERS, Chain, Finalised};

/// A chain in memory with its blocks kept, and links of epochs as a test wants them.
struct Kept {
    chain: Chain,
    blocks: Vec<Finalised>,
    links: Vec<EpochLink>,
}

impl Kept {
    /// One patch that all three approvers approved, at a header that proves it.
    fn with_an_approved_patch(seed: u64) -> (Self, PatchId) {
        let mut kept = Self { chain: Chain::new(seed), blocks: Vec::new(), links: Vec::new() };
        let patch = kept.chain.publish();
        kept.finalise();
        for approver in APPROVERS {
            kept.chain.approve(approver, patch);
        }
        kept.finalise();
        kept.finalise();
        (kept, patch)
    }

    fn finalise(&mut self) {
        self.blocks.push(self.chain.finalise());
    }

    fn verified(&self, file: &[u8]) -> ProofBundle {
        let trust = TrustRoot::parse(&self.chain.scenario().genesis().genesis.bytes()).unwrap();
        let bundle = ProofBundle::parse(file).unwrap();
        let clock = HostClock::at(bundle.header.time_ms);
        bundle.clone().verify(&trust, clock).unwrap();
        bundle
    }
}

impl StateStorage for Kept {
    fn record(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StorageError> {
        self.chain.storage().record(key)
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.chain.storage().tree_node(key)
    }

    fn is_finalised(&self, id: &TransactionId) -> Result<bool, StorageError> {
        self.chain.storage().is_finalised(id)
    }
}

impl HistoryStorage for Kept {
    fn history_hash(&self, index: u64) -> Result<Option<Digest>, StorageError> {
        self.chain.storage().history_hash(index)
    }
}

impl ProofSource for Kept {
    fn head(&self) -> Result<Option<(Header, Certificate, TreeHead)>, StorageError> {
        let newest = self.blocks.last();
        Ok(newest.map(|block| (self.chain.tip().header.clone(), block.certificate.clone(), self.chain.tip().tree)))
    }

    fn epochs_before(&self, _: &Header) -> Result<Vec<EpochLink>, StorageError> {
        Ok(self.links.clone())
    }

    fn transaction_bytes(&self, index: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let mut all = self.blocks.iter().flat_map(|block| &block.executed.transactions);
        Ok(all.nth(usize::try_from(index).unwrap()).map(|transaction| transaction.bytes().to_vec()))
    }
}

#[test]
fn an_approval_of_a_key_revoked_since_is_left_out_and_the_others_still_prove_the_patch() {
    let (mut kept, patch) = Kept::with_an_approved_patch(71);
    let approvers = |bundle: &ProofBundle| {
        bundle.approvals.iter().map(|approval| approval.transaction.transaction.signer).collect::<Vec<_>>()
    };
    let revoked = kept.chain.scenario().key(APPROVERS[0], Role::Approver).public();
    let before = kept.verified(&assemble(&kept, patch).unwrap());
    assert_eq!((approvers(&before).len(), approvers(&before).contains(&revoked)), (3, true));

    kept.chain.govern(vec![Change::RevokeKey { key: revoked }]);
    kept.finalise();
    let after = kept.verified(&assemble(&kept, patch).unwrap());
    assert_eq!((approvers(&after).len(), approvers(&after).contains(&revoked)), (2, false));
}

#[test]
fn what_is_not_published_or_not_yet_under_a_header_has_no_proof_file() {
    let (mut kept, patch) = Kept::with_an_approved_patch(72);
    let unknown = PatchId([9; 32]);
    assert!(matches!(assemble(&kept, unknown), Err(AssemblyError::UnknownPatch(id)) if id == unknown));
    let next = kept.chain.publish();
    kept.finalise();
    assert!(matches!(assemble(&kept, next), Err(AssemblyError::NotYet { patch }) if patch == next));
    assert!(assemble(&kept, patch).is_ok());
    kept.finalise();
    assert!(assemble(&kept, next).is_ok());
}

#[test]
fn more_changes_of_validators_than_a_file_shows_are_refused_by_name_and_never_cut_off() {
    let (mut kept, patch) = Kept::with_an_approved_patch(73);
    let small = link(&kept, 1);
    kept.links = vec![small.clone(); limits::EPOCHS_MAX];
    let file = assemble(&kept, patch).unwrap();
    assert_eq!(ProofBundle::parse(&file).unwrap().epochs.len(), limits::EPOCHS_MAX);
    kept.links.push(small);
    assert!(matches!(assemble(&kept, patch), Err(AssemblyError::TooManyEpochs)));
}

#[test]
fn a_file_that_would_be_larger_than_a_verifier_reads_is_refused_by_name() {
    let (mut kept, patch) = Kept::with_an_approved_patch(74);
    kept.links = vec![link(&kept, limits::VALIDATORS_MAX); limits::EPOCHS_MAX];
    match assemble(&kept, patch) {
        Err(AssemblyError::TooLarge { patch: of, bytes }) => assert!(of == patch && bytes > limits::PROOF_BYTES_MAX),
        other => panic!("{other:?}"),
    }
}

/// A link to a set of so many validators. That it is forged is the verifier's affair.
fn link(kept: &Kept, validators: usize) -> EpochLink {
    let of = |number| Validator {
        key: SecretKey::from_seed(&[u8::try_from(number).unwrap(); 32]).public(),
        organisation: Name::new("an-organisation-with-a-long-name").unwrap(),
    };
    EpochLink {
        header: kept.blocks[0].executed.block.header.clone(),
        certificate: kept.blocks[0].certificate.clone(),
        validators: ValidatorSet::new((0..validators).map(of).collect()).unwrap(),
    }
}

//! What they did.

use crate::dice::Dice;
use crate::scenario::{APPROVERS, Scenario, VENDOR, name, sentence, version};
use ledger::bounded::SortedList;
use ledger::certificate::{Certificate, VoteBody};
use ledger::evidence::Evidence;
use ledger::execution::{self, ExecutedBlock, Tip};
use ledger::governance::Change;
use ledger::history;
use ledger::id::{BlockHash, Digest, PatchId};
use ledger::key::SecretKey;
use ledger::receipt::{Health, Outcome, Reason, ReasonCode, Receipt};
use ledger::state::StateView as _;
use ledger::state::record::Role;
use ledger::state::storage::MemoryStorage;
use ledger::state::tree::TreeHead;
use ledger::transaction::{Payload, Verdict, VerifiedTransaction};
use ledger::validators::ValidatorSet;
use ledger::vote::{SignedVote, VoteKind};
use std::collections::BTreeMap;

/// Time between blocks.
const BLOCK_INTERVAL_MS: u64 = 100;
/// Seeded blocks between two changes of the validators, about.
const BLOCKS_PER_ROTATION: u64 = 12;

/// A block, executed, and the certificate that makes it final.
#[derive(Clone, Debug)]
pub struct Finalised {
    /// The block and all that follows from it.
    pub executed: ExecutedBlock,
    /// Signed by all validators.
    pub certificate: Certificate,
}

/// A growing chain in memory. Transactions wait in it until [`Chain::finalise`] makes the block.
#[derive(Clone, Debug)]
pub struct Chain {
    scenario: Scenario,
    dice: Dice,
    storage: MemoryStorage,
    tip: Tip,
    nonce: u64,
    pending: Vec<VerifiedTransaction>,
    /// Releases by patch, in order of publication, with the approvers that have spoken.
    patches: Vec<(PatchId, usize)>,
    endpoints: u64,
    attempts: BTreeMap<(u64, PatchId), u32>,
    /// How often a validator got a new key.
    rotations: usize,
}

impl Chain {
    /// A chain of the default scenario that has only its genesis.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::of(Scenario::new(seed), seed)
    }

    /// A chain of a scenario; `seed` decides what [`Chain::finalise_seeded`] does.
    #[must_use]
    pub fn of(scenario: Scenario, seed: u64) -> Self {
        let genesis = scenario.genesis();
        let mut storage = MemoryStorage::default();
        storage.write_state(&genesis.state);
        let tip = Tip {
            header: genesis.header.clone(),
            tree: TreeHead { version: genesis.state.version, root: genesis.state.root },
            history_root: history::empty_root(),
        };
        Self {
            dice: Dice::new(seed),
            storage,
            tip,
            rotations: 0,
            scenario,
            nonce: 0,
            pending: Vec::new(),
            patches: Vec::new(),
            endpoints: 0,
            attempts: BTreeMap::new(),
        }
    }

    /// Who takes part.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The state and history, as they must be.
    #[must_use]
    pub fn storage(&self) -> &MemoryStorage {
        &self.storage
    }

    /// The newest end.
    #[must_use]
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Patches published so far, the next block's included, oldest first.
    pub fn patches(&self) -> impl Iterator<Item = PatchId> + '_ {
        self.patches.iter().map(|(patch, _)| *patch)
    }

    /// Endpoints enrolled so far, the next block's included: numbers 0 to this.
    #[must_use]
    pub fn endpoints(&self) -> u64 {
        self.endpoints
    }

    /// Adds any transaction to the next block.
    pub fn add(&mut self, key: &SecretKey, payload: Payload) -> VerifiedTransaction {
        self.nonce += 1;
        let transaction = self.scenario.transaction(key, self.nonce, self.tip.header.time_ms, payload);
        self.pending.push(transaction.clone());
        transaction
    }

    /// The vendor publishes its next release.
    pub fn publish(&mut self) -> PatchId {
        let manifest = self.scenario.manifest(self.patches.len() as u64 + 1);
        let patch = manifest.id();
        self.patches.push((patch, 0));
        self.add(&self.scenario.key(VENDOR, Role::Publisher), Payload::Publish { manifest });
        patch
    }

    /// An organisation's approver approves.
    pub fn approve(&mut self, organisation: &str, patch: PatchId) {
        let evidence = Digest::blake3(organisation.as_bytes());
        let verdict = Verdict { patch, evidence, note: ledger::bounded::Text::cut("Looked at by the harness.") };
        self.add(&self.scenario.key(organisation, Role::Approver), Payload::Approve { verdict, urgent: false });
    }

    /// The first approver's organisation enrols the next endpoint; gives its number.
    pub fn enroll(&mut self) -> u64 {
        let number = self.endpoints;
        self.endpoints += 1;
        let endpoint = self.scenario.endpoint(number).public();
        let (host, group) = (name(&format!("host-{number}")), name("servers"));
        let payload = Payload::Enroll { endpoint, name: host, group, labels: SortedList::default() };
        self.add(&self.scenario.key(APPROVERS[0], Role::Operator), payload);
        number
    }

    /// An endpoint writes its next receipt for a patch. `Applied`, `RolledBack` and `Failed` need a patch
    /// that was approved in an earlier place of the chain.
    pub fn receipt(&mut self, endpoint: u64, patch: PatchId, outcome: Outcome) -> VerifiedTransaction {
        let attempt = self.attempts.entry((endpoint, patch)).or_insert(0);
        *attempt += 1;
        let failed = Reason { code: ReasonCode::HealthFailed, detail: sentence("probe 0 timed out") };
        let receipt = Receipt {
            patch,
            rollout: None,
            attempt: *attempt,
            from_version: version("1.0.0"),
            to_version: version("1.0.1"),
            outcome,
            reason: (outcome != Outcome::Applied).then_some(failed),
            health: if outcome == Outcome::Applied { Health::Passed } else { Health::NotRun },
            log_digest: Digest::blake3(&self.nonce.to_le_bytes()),
            ended_at_ms: self.tip.header.time_ms,
        };
        self.add(&self.scenario.endpoint(endpoint), Payload::Receipt { receipt })
    }

    /// A validator signed two precommits of this height, and the first approver's node brings them.
    pub fn accuse(&mut self, place: usize, height: u64) -> VerifiedTransaction {
        let chain = self.scenario.chain_id();
        let vote = |block: &[u8]| {
            let body = VoteBody { height, round: 0, block: Some(BlockHash(Digest::blake3(block).0)) };
            SignedVote::sign(VoteKind::Precommit, body, &self.scenario.validators()[place], &chain)
        };
        let evidence = Evidence::Votes(vote(b"one"), vote(b"other"));
        self.add(&self.scenario.key(APPROVERS[0], Role::Node), Payload::Accuse { evidence })
    }

    /// Three of the four organisations agree on changes: they take place in the next block.
    pub fn govern(&mut self, changes: Vec<Change>) {
        self.nonce += 1;
        self.pending.extend(self.scenario.agreed(self.nonce, self.tip.header.time_ms, changes));
    }

    /// The oldest validating key that has no successor yet gets one: the validators change two blocks
    /// after the next.
    pub fn rotate_validator(&mut self) {
        self.govern(vec![self.scenario.rotation(self.rotations)]);
        self.rotations += 1;
    }

    /// The set that certifies the next block.
    fn next_validators(&self) -> ValidatorSet {
        let upcoming = self.storage.upcoming_validators().expect("memory does not fail");
        upcoming.expect("a chain has validators from its genesis on").next
    }

    /// Makes the next block of all transactions that wait, and takes it in.
    ///
    /// # Panics
    /// When the rules refuse one of them: a scenario that is wrong should not look like a block that is
    /// short.
    pub fn finalise(&mut self) -> Finalised {
        self.finalise_after(BLOCK_INTERVAL_MS)
    }

    /// Nothing happens for so long; then comes a block, of what waits.
    ///
    /// # Panics
    /// As [`Chain::finalise`]: what waits may expire.
    pub fn rest(&mut self, rest_ms: u64) -> Finalised {
        self.finalise_after(rest_ms)
    }

    fn finalise_after(&mut self, after_ms: u64) -> Finalised {
        let candidates = std::mem::take(&mut self.pending);
        let time_ms = self.tip.header.time_ms + after_ms;
        let proposer = self.scenario.proposer(self.tip.header.height + 1);
        let offered = candidates.len();
        let proposed = execution::propose(&self.storage, &self.tip, candidates, time_ms, proposer);
        let (executed, dropped) = proposed.expect("memory does not fail");
        assert!(dropped.is_empty(), "the rules refuse {:?}: {}", dropped[0].0.id(), dropped[0].1);
        assert_eq!(executed.transactions.len(), offered, "all waiting transactions fit into one block");
        let header = &executed.block.header;
        let keys = self.scenario.validating_keys(self.rotations);
        let certificate = self.scenario.certificate_under(header, &keys, &self.next_validators());
        self.take(&executed);
        Finalised { executed, certificate }
    }

    /// Makes a block of up to `most` transactions of all kinds, as the seed has it: empty blocks,
    /// publications, approvals, enrolments and receipts of every outcome; and now and then a validator
    /// gets a new key.
    pub fn finalise_seeded(&mut self, most: usize) -> Finalised {
        let known = (self.patches.clone(), self.endpoints);
        if self.dice.below(BLOCKS_PER_ROTATION) == 0 {
            self.rotate_validator();
        }
        for _ in 0..self.dice.below(most as u64 + 1) {
            match self.dice.below(10) {
                0 => {
                    self.publish();
                }
                1 | 2 => self.approve_next(known.0.len()),
                3 | 4 => {
                    self.enroll();
                }
                _ => self.seeded_receipt(&known.0, known.1),
            }
        }
        self.finalise()
    }

    /// The next approver speaks on the oldest patch, among the first `known`, that still needs one.
    fn approve_next(&mut self, known: usize) {
        let open = self.patches[..known].iter_mut().find(|(_, spoken)| *spoken < APPROVERS.len());
        if let Some((patch, spoken)) = open {
            let (patch, organisation) = (*patch, APPROVERS[*spoken]);
            *spoken += 1;
            self.approve(organisation, patch);
        }
    }

    fn seeded_receipt(&mut self, patches: &[(PatchId, usize)], endpoints: u64) {
        let Some((patch, spoken)) = self.dice.pick(patches).copied() else { return };
        if endpoints == 0 {
            return;
        }
        let endpoint = self.dice.below(endpoints);
        // Two approvals in earlier blocks: it stands approved.
        let outcomes: &[Outcome] = if spoken >= 2 {
            &[Outcome::Applied, Outcome::Applied, Outcome::RolledBack, Outcome::Failed, Outcome::Refused]
        } else {
            &[Outcome::Refused, Outcome::NotApplicable]
        };
        let outcome = self.dice.pick(outcomes).copied().unwrap_or(Outcome::Refused);
        self.receipt(endpoint, patch, outcome);
    }

    fn take(&mut self, executed: &ExecutedBlock) {
        self.storage.write_state(&executed.state);
        self.storage.write_finalised(executed.transactions.iter().map(VerifiedTransaction::id));
        self.storage.write_history(&executed.history);
        self.tip = executed.tip();
    }
}

//! Who there is, and transactions of theirs.

use super::now_ms;
use ledger::artifact::{PayloadDigests, PayloadHasher, UploadGrant};
use ledger::bounded::{List, Name, SortedList, Text};
use ledger::encoding::encode;
use ledger::id::{Digest, PatchId};
use ledger::key::SecretKey;
use ledger::patch::PatchManifest;
use ledger::receipt::{Health, Outcome, Reason, ReasonCode, Receipt};
use ledger::state::record::Role;
use ledger::transaction::{Payload, Verdict, VerifiedTransaction};
use std::sync::atomic::{AtomicU64, Ordering};
use tests::{Scenario, VENDOR};

/// A ledger whose one validator is the vendor's, or with one of each organisation.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    nonce: AtomicU64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self { scenario: Scenario::with_validators(seed, 1), nonce: AtomicU64::new(0) }
    }

    /// With four validators, one of each organisation.
    pub(crate) fn of_four(seed: u64) -> Self {
        Self { scenario: Scenario::new(seed), nonce: AtomicU64::new(0) }
    }

    /// Signed now, good for a day.
    pub(crate) fn sign(&self, key: &SecretKey, payload: Payload) -> VerifiedTransaction {
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        self.scenario.transaction(key, nonce, now_ms(), payload)
    }

    /// The same, of what may prove nothing: its bytes.
    pub(crate) fn signed(&self, key: &SecretKey, payload: Payload) -> Vec<u8> {
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        encode(&self.scenario.signed(key, nonce, now_ms(), payload))
    }

    pub(crate) fn key(&self, organisation: &str, role: Role) -> SecretKey {
        self.scenario.key(organisation, role)
    }

    pub(crate) fn publish(&self, manifest: PatchManifest) -> VerifiedTransaction {
        self.sign(&self.key(VENDOR, Role::Publisher), Payload::Publish { manifest })
    }

    pub(crate) fn approve(&self, organisation: &str, patch: PatchId) -> VerifiedTransaction {
        let verdict = Verdict { patch, evidence: Digest::ZERO, note: Text::cut("") };
        self.sign(&self.key(organisation, Role::Approver), Payload::Approve { verdict, urgent: false })
    }

    /// The bank's operator enrols an endpoint.
    pub(crate) fn enroll(&self, number: u64) -> VerifiedTransaction {
        let endpoint = self.scenario.endpoint(number).public();
        let (name, group) = (Name::new(format!("host-{number}")).unwrap(), Name::new("servers").unwrap());
        let payload = Payload::Enroll { endpoint, name, group, labels: SortedList::default() };
        self.sign(&self.key("bank", Role::Operator), payload)
    }

    /// A receipt, as the rules want it: with a reason unless it says applied.
    pub(crate) fn receipt(patch: PatchId, attempt: u32, outcome: Outcome) -> Receipt {
        let reason = Reason { code: ReasonCode::Policy, detail: Text::cut("not today") };
        Receipt {
            patch,
            rollout: None,
            attempt,
            from_version: Text::cut("1.0.0"),
            to_version: Text::cut("1.0.1"),
            outcome,
            reason: (outcome != Outcome::Applied).then_some(reason),
            health: Health::NotRun,
            log_digest: Digest::ZERO,
            ended_at_ms: now_ms(),
        }
    }

    /// A release whose one artifact is this payload.
    pub(crate) fn manifest_of(&self, release: u64, payload: &[u8]) -> PatchManifest {
        let mut manifest = self.scenario.manifest(release);
        let mut artifacts = manifest.artifacts.to_vec();
        let digests = digests(payload);
        (artifacts[0].size, artifacts[0].blake3, artifacts[0].sha256) = (digests.size, digests.blake3, digests.sha256);
        manifest.artifacts = List::new(artifacts).unwrap();
        manifest
    }

    /// The vendor's leave to upload this payload, not yet signed.
    pub(crate) fn grant(&self, payload: &[u8]) -> UploadGrant {
        let PayloadDigests { size, blake3, .. } = digests(payload);
        UploadGrant {
            chain_id: self.scenario.chain_id(),
            publisher: self.publisher().public(),
            blake3,
            size,
            expires_at_ms: now_ms() + 3_600_000,
        }
    }

    /// … and signed.
    pub(crate) fn granted(&self, payload: &[u8]) -> Vec<u8> {
        encode(&self.grant(payload).sign(&self.publisher()))
    }

    pub(crate) fn publisher(&self) -> SecretKey {
        self.key(VENDOR, Role::Publisher)
    }
}

/// What a payload is called by.
pub(crate) fn digests(payload: &[u8]) -> PayloadDigests {
    let mut hasher = PayloadHasher::default();
    hasher.update(payload);
    hasher.finish()
}

/// Bytes that repeat for the same seed, and do not compress.
pub(crate) fn payload(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = tests::Dice::new(seed);
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| dice.roll().to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

//! Accusations: evidence against validators is kept until it is on the ledger, whatever happens meanwhile.
//!
//! Evidence speaks for itself, so every node that has some brings it in, under its own node key; the rules
//! take the first and refuse the others. What the ledger has not recorded yet survives a restart.

use super::{Action, Chain, Fatal, Member, OfferError, Source};
use crate::Evidence;
use ledger::block::PROTOCOL_VERSION;
use ledger::evidence::{Charge, Offence};
use ledger::id::TransactionId;
use ledger::key::{PublicKey, SecretKey};
use ledger::limits;
use ledger::state::StateView as _;
use ledger::state::storage::StorageError;
use ledger::transaction::{Payload, Transaction, VerifiedTransaction};

/// Pieces of evidence kept against one key: the ledger wants few, and who signs much twice must take no room
/// from what others did.
const KEPT_PER_KEY_MAX: usize = 2;
/// Pieces of evidence kept at all.
pub const EVIDENCE_KEPT_MAX: usize = KEPT_PER_KEY_MAX * limits::VALIDATORS_MAX;
/// How long an accusation may wait; then another is signed.
const ACCUSATION_MS: u64 = 60 * 60 * 1000;

struct Kept {
    evidence: Evidence,
    charge: Charge,
    /// The accusation that was signed last.
    offered: Option<TransactionId>,
}

/// Evidence that the ledger has not recorded yet.
pub(super) struct Accusations {
    node: SecretKey,
    kept: Vec<Kept>,
}

impl Accusations {
    /// With what was kept before a restart.
    pub(super) fn new(node: SecretKey, evidence: Vec<Evidence>) -> Self {
        let mut accusations = Self { node, kept: Vec::new() };
        for evidence in evidence {
            if let Ok(charge) = evidence.charge() {
                accusations.keep(evidence, charge);
            }
        }
        accusations
    }

    /// Whether it was taken: there is room for it, and it says something new.
    fn keep(&mut self, evidence: Evidence, charge: Charge) -> bool {
        let kept_of = |key: &PublicKey| self.kept.iter().filter(|kept| kept.charge.keys.contains(key)).count();
        let has_room = charge.keys.iter().any(|key| kept_of(key) < KEPT_PER_KEY_MAX);
        let taken = has_room && self.is_new(&charge) && self.kept.len() < EVIDENCE_KEPT_MAX;
        if taken {
            self.kept.push(Kept { evidence, charge, offered: None });
        }
        taken
    }

    /// Whether nothing kept says the same.
    pub(super) fn is_new(&self, charge: &Charge) -> bool {
        !self.kept.iter().any(|kept| kept.charge == *charge)
    }

    fn action(&self) -> Action {
        Action::KeepEvidence(self.kept.iter().map(|kept| kept.evidence.clone()).collect())
    }
}

impl<C: Chain> Member<C> {
    /// The replica has caught somebody.
    pub(super) fn caught(&mut self, evidence: Evidence) -> Result<(), Fatal> {
        self.actions.push(Action::Evidence(evidence.clone()));
        let Ok(charge) = evidence.charge() else { return Ok(()) };
        if self.is_convicted(&charge)? || !self.accusations.keep(evidence, charge) {
            return Ok(());
        }
        self.actions.push(self.accusations.action());
        self.accuse()?;
        self.wake_for_transactions()
    }

    /// Forgets what is on the ledger, and signs again what neither is nor waits.
    pub(super) fn accuse(&mut self) -> Result<(), Fatal> {
        let mut left = Vec::new();
        let before = self.accusations.kept.len();
        let (mut fresh, mut has_room) = (Vec::new(), true);
        for mut kept in std::mem::take(&mut self.accusations.kept) {
            if self.is_convicted(&kept.charge)? {
                continue;
            }
            if has_room
                && !kept.offered.is_some_and(|id| self.mempool.contains(&id))
                && let Some(transaction) = self.accusation(&kept.evidence)
            {
                kept.offered = Some(transaction.id());
                // No room, or no right to it yet: it is tried again after the next block.
                match self.admit(&transaction, Source::Client)? {
                    Ok(()) => fresh.push(transaction),
                    Err(OfferError::NoRoom(_)) => has_room = false,
                    Err(_) => {}
                }
            }
            left.push(kept);
        }
        self.accusations.kept = left;
        if self.accusations.kept.len() != before {
            self.actions.push(self.accusations.action());
        }
        self.pass_on(&fresh);
        Ok(())
    }

    /// Whether another accusation of this would be refused, because all of it is on the ledger.
    fn is_convicted(&self, charge: &Charge) -> Result<bool, StorageError> {
        for key in &charge.keys {
            if !self.is_recorded(*key, &charge.offence)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_recorded(&self, key: PublicKey, offence: &Offence) -> Result<bool, StorageError> {
        Ok(self.chain.conviction(key)?.is_some_and(|record| record.covers(offence)))
    }

    fn accusation(&self, evidence: &Evidence) -> Option<VerifiedTransaction> {
        let now_ms = self.now.wall_ms.max(self.chain.tip().header.time_ms);
        let transaction = Transaction {
            version: PROTOCOL_VERSION,
            chain_id: self.chain_id,
            signer: self.accusations.node.public(),
            nonce: now_ms,
            expires_at_ms: now_ms + ACCUSATION_MS,
            payload: Payload::Accuse { evidence: evidence.clone() },
        };
        // Never fails: it was signed here, and evidence is far smaller than a transaction may be.
        transaction.sign(&self.accusations.node).verify(&self.chain_id).ok()
    }

    /// Pieces of evidence that the ledger has not recorded yet.
    #[must_use]
    pub fn evidence_kept(&self) -> usize {
        self.accusations.kept.len()
    }
}

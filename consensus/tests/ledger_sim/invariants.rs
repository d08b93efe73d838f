//! What must hold of whole members after every event, whatever happened before. Each is a sentence.

use super::cast::Cast;
use super::vault::{SharedVault, Vault};
use crate::judge;
use crate::sim::invariants as voting;
use consensus::member::{Member, MempoolLimits, OWN_PLACES_BYTES_MAX, OWN_PLACES_MAX};
use consensus::{Evidence, Message};
use ledger::block::Block;
use ledger::certificate::Certificate;
use ledger::encoding::encode;
use ledger::evidence::Offence;
use ledger::execution;
use ledger::id::{BlockHash, TransactionId};
use ledger::key::PublicKey;
use ledger::limits;
use ledger::state::{Rejection, StateView as _};
use ledger::transaction::{Payload, VerifiedTransaction};
use std::collections::{BTreeMap, BTreeSet};

/// Bodies and executed candidates a member may hold for one height.
const BODIES_MAX: usize = 32;
const CANDIDATES_MAX: usize = 16;
/// Bounds of the pools of the simulation.
pub(crate) const POOL: MempoolLimits = MempoolLimits {
    transactions_max: 48,
    bytes_max: 64 * 1024,
    per_organisation_max: 40,
    per_organisation_bytes_max: 48 * 1024,
    share_max: 16,
};
/// A pool without bounds.
pub(crate) const ENDLESS: MempoolLimits = MempoolLimits {
    transactions_max: usize::MAX,
    bytes_max: usize::MAX,
    per_organisation_max: usize::MAX,
    per_organisation_bytes_max: usize::MAX,
    share_max: usize::MAX,
};
/// How far an honest clock may be from the true time.
pub(crate) const CLOCK_SKEW_MS_MAX: u64 = 2_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error(transparent)]
    Voting(#[from] voting::Violation),
    #[error("agreement: height {height} is {one} for one and {other} for another")]
    Fork { height: u64, one: BlockHash, other: BlockHash },
    #[error("the certificate of height {height} does not verify: {detail}")]
    Certificate { height: u64, detail: String },
    #[error("block {height}, executed again, does not give its roots: {detail}")]
    Roots { height: u64, detail: String },
    #[error("block {height} has the time {ahead_ms} ms ahead of everybody's clock")]
    TimeAhead { height: u64, ahead_ms: u64 },
    #[error("member {member} said that height {height} is final, and does not have it any more")]
    FinalisedLost { member: usize, height: u64 },
    #[error("transaction {id} is final in height {first} and again in {again}")]
    FinalisedTwice { id: TransactionId, first: u64, again: u64 },
    #[error("transaction {id}, which the rules forbid, is final in height {height}")]
    Forbidden { id: TransactionId, height: u64 },
    #[error("{key} is convicted in height {first} and again in {again} of the same thing")]
    ConvictedTwice { key: PublicKey, first: u64, again: u64 },
    #[error("an accusation in height {height} convicts nobody: {detail}")]
    BadAccusation { height: u64, detail: String },
    #[error("member {member} dropped transaction {id}, which is valid: {rejection}")]
    ValidDropped { member: usize, id: TransactionId, rejection: Rejection },
    #[error("honest {by} disconnected honest {peer}: {why}")]
    HonestDisconnected { by: usize, peer: usize, why: String },
    #[error("the light client accepted {accepted} in height {height}, the chain has {chain}")]
    LightClient { height: u64, accepted: BlockHash, chain: BlockHash },
    #[error(
        "the light client accepted {accepted} in height {height}, and {decided} is the highest that anybody honest has"
    )]
    LightClientAhead { height: u64, accepted: BlockHash, decided: u64 },
    #[error("the light client cannot be shown what is true: {0}")]
    Unprovable(String),
    #[error("memory of member {member}: {what}")]
    Memory { member: usize, what: String },
    #[error("height {height} took round {round} although nothing went wrong")]
    RoundWasted { height: u64, round: u32 },
    #[error("no progress: {0}")]
    NoProgress(String),
    #[error("alarm at honest {member}: {what}")]
    Alarm { member: usize, what: String },
    #[error("the guard of honest {member}, whose log was whole, had to step in: {what}")]
    GuardSteppedIn { member: usize, what: String },
}

pub(crate) struct Watch {
    pub(crate) voting: voting::Invariants,
    pub(crate) violations: Vec<Violation>,
    pub(crate) alarms: u64,
    /// Nothing goes wrong in this run: every height is decided in round 0.
    pub(crate) calm: bool,
    cast: &'static Cast,
    allowed: BTreeSet<TransactionId>,
    /// A chain of our own, from genesis: everything final is executed again here.
    pub(crate) auditor: Vault,
    agreed: BTreeMap<u64, BlockHash>,
    certificates: BTreeSet<Vec<u8>>,
    pub(crate) finalised: BTreeMap<TransactionId, u64>,
    /// Where the ledger convicted whom of what.
    pub(crate) convicted: BTreeMap<(PublicKey, Offence), u64>,
    /// What each member said was final.
    answered: BTreeMap<(usize, u64), BlockHash>,
    accepted: BTreeMap<u64, BTreeSet<BlockHash>>,
}

impl Watch {
    pub(crate) fn new(cast: &'static Cast) -> Self {
        Self {
            voting: voting::Invariants::of(cast.chain_id()),
            violations: Vec::new(),
            alarms: 0,
            calm: false,
            cast,
            allowed: cast.allowed(),
            auditor: Vault::new(&cast.genesis),
            agreed: BTreeMap::new(),
            certificates: BTreeSet::new(),
            finalised: BTreeMap::new(),
            convicted: BTreeMap::new(),
            answered: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
    }

    pub(crate) fn found_something(&self) -> bool {
        !self.violations.is_empty() || !self.voting.violations.is_empty()
    }

    /// Everything found, in one list.
    pub(crate) fn all(&self) -> Vec<Violation> {
        self.violations.iter().cloned().chain(self.voting.violations.iter().cloned().map(Violation::from)).collect()
    }

    /// An honest member has written a block.
    pub(crate) fn no_two_honest_members_have_different_blocks_at_a_height(
        &mut self,
        block: &Block,
        certificate: &Certificate,
        transactions: Vec<VerifiedTransaction>,
        true_ms: u64,
    ) {
        let (height, other) = (block.header.height, block.header.hash());
        let one = *self.agreed.entry(height).or_insert(other);
        if one != other {
            self.violations.push(Violation::Fork { height, one, other });
        }
        self.every_certificate_passes_the_independent_verifier(block, certificate);
        if self.auditor.height() + 1 == height && one == other {
            self.no_block_is_ahead_of_everybodys_clock(block, true_ms);
            self.nothing_is_finalised_twice(height, &transactions);
            self.state_roots_derive_again(block, certificate, transactions);
            self.the_light_client_accepts_only_what_is_in_the_chain(height);
        }
    }

    fn every_certificate_passes_the_independent_verifier(&mut self, block: &Block, certificate: &Certificate) {
        if !self.certificates.insert(encode(certificate)) {
            return;
        }
        let (height, round) = (block.header.height, certificate.round);
        if let Err(error) = certificate.verify(&block.header, &self.cast.chain_id(), self.auditor.set_of(height)) {
            self.violations.push(Violation::Certificate { height, detail: error.to_string() });
        } else if !judge::is_final(certificate, &self.cast.chain_id(), self.auditor.set_of(height)) {
            let detail = "a second judge does not believe it".to_owned();
            self.violations.push(Violation::Certificate { height, detail });
        }
        if self.calm && round > 0 {
            self.violations.push(Violation::RoundWasted { height, round });
        }
    }

    fn no_block_is_ahead_of_everybodys_clock(&mut self, block: &Block, true_ms: u64) {
        let (height, time_ms) = (block.header.height, block.header.time_ms);
        let ahead_ms = time_ms.saturating_sub(true_ms + limits::CLOCK_AHEAD_MS_MAX + CLOCK_SKEW_MS_MAX);
        if ahead_ms > 0 {
            self.violations.push(Violation::TimeAhead { height, ahead_ms });
        }
    }

    fn nothing_is_finalised_twice(&mut self, height: u64, transactions: &[VerifiedTransaction]) {
        for transaction in transactions {
            let id = transaction.id();
            if let Some(first) = self.finalised.insert(id, height) {
                self.violations.push(Violation::FinalisedTwice { id, first, again: height });
            }
            if let Payload::Accuse { evidence } = transaction.payload() {
                self.the_ledger_convicts_only_keys_that_did_it_and_once(evidence, height);
            } else if !self.allowed.contains(&id) {
                self.violations.push(Violation::Forbidden { id, height });
            }
        }
    }

    pub(crate) fn the_ledger_convicts_only_keys_that_did_it_and_once(&mut self, evidence: &Evidence, height: u64) {
        self.evidence_names_only_who_did_it(evidence);
        match evidence.check(&self.cast.chain_id()) {
            Err(error) => self.violations.push(Violation::BadAccusation { height, detail: error.to_string() }),
            Ok(charge) => charge.keys.into_iter().for_each(|key| {
                if let Some(first) = self.convicted.insert((key, charge.offence), height) {
                    self.violations.push(Violation::ConvictedTwice { key, first, again: height });
                }
            }),
        }
    }

    /// Whether the ledger knows of an offence, or of so many of this key that it wants to know of no more.
    pub(crate) fn is_on_the_ledger(&self, key: PublicKey, offence: &Offence) -> bool {
        let record = self.auditor.memory.conviction(key).expect("memory does not fail");
        record.is_some_and(|record| record.covers(offence))
    }

    /// Keys an honest member has caught, and the ledger has convicted of nothing yet.
    pub(crate) fn unconvicted(&self) -> Vec<PublicKey> {
        let convicted = |key: &PublicKey| self.auditor.memory.conviction(*key).expect("memory does not fail").is_some();
        self.voting.accused.iter().copied().filter(|key| !convicted(key)).collect()
    }

    fn state_roots_derive_again(
        &mut self,
        block: &Block,
        certificate: &Certificate,
        transactions: Vec<VerifiedTransaction>,
    ) {
        let tip = self.auditor.tip.clone();
        match execution::execute(&self.auditor.memory, &tip, block.clone(), transactions) {
            Ok(executed) => self.auditor.write(&executed, certificate),
            Err(error) => {
                let height = block.header.height;
                self.violations.push(Violation::Roots { height, detail: error.to_string() });
            }
        }
    }

    /// A member tells its clients that a block is final.
    pub(crate) fn answered(&mut self, member: usize, block: &Block) {
        self.answered.insert((member, block.header.height), block.header.hash());
    }

    pub(crate) fn nothing_answered_as_finalised_is_ever_missing(&mut self, member: usize, vault: &Vault) {
        for ((_, height), hash) in self.answered.range((member, 0)..=(member, u64::MAX)) {
            if vault.block(*height).is_none_or(|(block, _)| block.header.hash() != *hash) {
                self.violations.push(Violation::FinalisedLost { member, height: *height });
                return;
            }
        }
    }

    /// What was answered by a machine whose disk is gone is on the others' disks.
    pub(crate) fn nothing_is_asked_of_a_lost_disk(&mut self, member: usize) {
        self.answered.retain(|(of, _), _| *of != member);
    }

    pub(crate) fn no_honest_validator_signs_two_things(&mut self, message: &Message) {
        self.voting.no_honest_validator_signs_two_things(message);
    }

    pub(crate) fn evidence_names_only_who_did_it(&mut self, evidence: &Evidence) {
        self.voting.evidence_names_only_who_did_it(evidence);
    }

    pub(crate) fn nothing_an_honest_member_sends_gets_it_disconnected(&mut self, by: usize, peer: usize, why: String) {
        self.violations.push(Violation::HonestDisconnected { by, peer, why });
    }

    pub(crate) fn nothing_valid_is_dropped(&mut self, member: usize, id: TransactionId, rejection: Rejection) {
        // Who is behind may not know yet that it is final.
        let is_final = matches!(rejection, Rejection::AlreadyFinalised(_)) || self.finalised.contains_key(&id);
        if self.allowed.contains(&id) && !is_final {
            self.violations.push(Violation::ValidDropped { member, id, rejection });
        }
    }

    pub(crate) fn memory_stays_bounded(&mut self, place: usize, member: &Member<SharedVault>) {
        let (pool, (bodies, candidates)) = (member.mempool(), member.work_in_progress());
        let mut hold = |held: usize, most: usize, what: &str| {
            if held > most {
                let what = format!("{held} {what}, at most {most}");
                self.violations.push(Violation::Memory { member: place, what });
            }
        };
        // Whoever waits in a pool that is short has places of his own there.
        let own = pool.crowd().organisations.len();
        hold(pool.len(), POOL.transactions_max + own * OWN_PLACES_MAX, "transactions");
        hold(pool.bytes(), POOL.bytes_max + own * OWN_PLACES_BYTES_MAX, "bytes of transactions");
        hold(bodies, BODIES_MAX, "bodies");
        hold(candidates, CANDIDATES_MAX, "executed candidates");
        member.kept().iter().for_each(|kept| hold(kept.count, kept.most, kept.what));
    }

    /// The light client believes a header.
    pub(crate) fn accepted(&mut self, height: u64, hash: BlockHash) {
        self.accepted.entry(height).or_default().insert(hash);
        self.the_light_client_accepts_nothing_far_above_the_chain(height, hash);
        self.the_light_client_accepts_only_what_is_in_the_chain(height);
    }

    /// A certificate has signatures of honest members, who sign for no height before they have written the one below it.
    fn the_light_client_accepts_nothing_far_above_the_chain(&mut self, height: u64, accepted: BlockHash) {
        let decided = self.decided();
        if height > decided + 1 {
            self.violations.push(Violation::LightClientAhead { height, accepted, decided });
        }
    }

    /// The highest block an honest member ever had.
    fn decided(&self) -> u64 {
        self.agreed.last_key_value().map_or(0, |(height, _)| *height)
    }

    /// Whether every header that the light client believes could be compared.
    pub(crate) fn everything_accepted_is_decided(&self) -> bool {
        self.accepted.last_key_value().is_none_or(|(height, _)| *height <= self.decided())
    }

    /// A header may be shown before any honest member has written it; it is compared when one has.
    fn the_light_client_accepts_only_what_is_in_the_chain(&mut self, height: u64) {
        let (Some(chain), Some(accepted)) = (self.agreed.get(&height), self.accepted.get(&height)) else { return };
        if let Some(wrong) = accepted.iter().find(|hash| *hash != chain) {
            self.violations.push(Violation::LightClient { height, accepted: *wrong, chain: *chain });
        }
    }

    /// What it said is in the log, with everything that led to it; so the core says it again, and nothing else.
    pub(crate) fn the_guard_never_steps_in_where_the_log_is_whole(&mut self, member: usize, what: &str) {
        if what.starts_with("refused to sign") || what.starts_with("refused to prevote") {
            self.violations.push(Violation::GuardSteppedIn { member, what: what.to_owned() });
        }
    }

    pub(crate) fn nobody_gives_up_while_its_disk_works(&mut self, member: usize, why: &str) {
        self.violations.push(Violation::Alarm { member, what: format!("it gave up: {why}") });
    }

    /// Alarms that mean a bug, whatever happened.
    pub(crate) fn no_alarm_is_a_bug(&mut self, member: usize, what: &str) {
        self.alarms += 1;
        let of_bugs = ["broke off", "does not check", "calls it invalid", "changed from valid", "cannot build"];
        if of_bugs.iter().any(|words| what.contains(words)) {
            self.violations.push(Violation::Alarm { member, what: what.to_owned() });
        }
    }
}

//! The verifier of certificates. The attacker has every honest signature he can think of, for whatever height,
//! round, block and purpose, and puts them where he likes; a second judge says what each attempt is worth.

use crate::choices::Choices;
use crate::judge;
use crate::parts::CertificateParts;
use ledger::block::Header;
use ledger::bounded::Name;
use ledger::certificate::{Certificate, VoteBody};
use ledger::id::{BlockHash, ChainId, Digest};
use ledger::key::{PublicKey, Purpose, SecretKey, Signature};
use ledger::validators::{Validator, ValidatorSet};
use tests::Scenario;

/// Sets of these sizes: the usual, one where two thirds are no round number, and one with two bytes of bitmap.
const SIZES: [usize; 3] = [4, 7, 9];
/// What an attacker does in one attempt.
const DEEDS_MAX: usize = 24;
/// Points of small order (1.17, 3): under some of them a careless verifier accepts anything.
const WEAK: [[u8; 32]; 2] =
    [[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0; 32]];

/// What an honest validator signed: who, what for, and what.
type Said = (PublicKey, Purpose, VoteBody);

/// One attempt.
struct Attempt {
    chain: ChainId,
    header: Header,
    keys: Vec<SecretKey>,
    set: ValidatorSet,
    parts: CertificateParts,
    said: Vec<Said>,
    pool: Vec<Signature>,
}

thread_local! {
    static SCENARIOS: Vec<Scenario> = SIZES.iter().map(|size| Scenario::with_validators(3, *size)).collect();
}

/// Runs one attempt and compares both judges.
pub fn verify(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut attempt = SCENARIOS.with(|all| Attempt::begin(&all[choices.below(all.len())]));
    for _ in 0..DEEDS_MAX {
        if !choices.any() {
            break;
        }
        attempt.alter(&mut choices);
    }
    attempt.judge();
}

impl Attempt {
    /// A header at some height, with nothing said about it.
    fn begin(scenario: &Scenario) -> Self {
        let header = Header { height: 5, ..scenario.genesis().header.clone() };
        let set = scenario.genesis().genesis.validators.clone();
        let block = header.hash();
        let signers = vec![0; set.len().div_ceil(8)];
        let parts = CertificateParts { height: 5, round: 0, block, signers, signatures: Vec::new() };
        let keys = scenario.validators().to_vec();
        Self { chain: scenario.chain_id(), header, keys, set, parts, said: Vec::new(), pool: Vec::new() }
    }

    fn alter(&mut self, choices: &mut Choices<'_>) {
        match choices.below(8) {
            0 | 1 => self.quorum_or_less(choices),
            2 | 3 => self.hear(choices),
            4 => self.alter_header(choices),
            5 => self.alter_set(choices),
            6 => self.parts.block = self.header.hash(),
            _ => self.parts.alter(choices, &self.pool),
        }
    }

    /// An honest certificate by some of the validators.
    fn quorum_or_less(&mut self, choices: &mut Choices<'_>) {
        let (mask, round) = (choices.byte(), u32::from(choices.byte() % 4));
        let body = VoteBody { height: self.header.height, round, block: Some(self.header.hash()) };
        let signing: Vec<usize> = (0..self.keys.len()).filter(|place| mask >> (place % 8) & 1 == 0).collect();
        let precommits: Vec<_> =
            signing.into_iter().map(|place| self.sign(place, Purpose::Precommit, body, self.chain)).collect();
        let height = self.header.height;
        self.parts =
            CertificateParts::of(&Certificate::assemble(height, round, self.header.hash(), &precommits, &self.set));
    }

    /// One honest signature under something, for the pool or in the place of one that is there.
    fn hear(&mut self, choices: &mut Choices<'_>) {
        let purposes = [Purpose::Precommit, Purpose::Prevote, Purpose::Proposal, Purpose::Transaction, Purpose::Upload];
        let blocks = [Some(self.parts.block), Some(self.header.hash()), Some(BlockHash::ZERO), None];
        let (who, purpose) = (choices.below(self.keys.len()), purposes[choices.below(5)]);
        let block = blocks[choices.below(4)];
        let height = if choices.yes() { choices.number(self.parts.height) } else { self.parts.height };
        let round = if choices.yes() { u32::from(choices.byte()) } else { self.parts.round };
        let chain = if choices.yes() { ChainId([choices.byte(); 32]) } else { self.chain };
        let (_, signature) = self.sign(who, purpose, VoteBody { height, round, block }, chain);
        match choices.below(4) {
            0 => self.pool.push(signature),
            // What a careless verifier takes for the signature of a key of small order, of anything.
            1 => {
                let place = choices.below(self.parts.signatures.len() + 1);
                let anything = std::array::from_fn(|byte| WEAK[0].get(byte).copied().unwrap_or(0));
                self.parts.signatures.insert(place, Signature(anything));
            }
            2 => self.parts.signatures.push(signature),
            _ => {
                let place = choices.below(self.parts.signatures.len());
                self.parts.signatures.get_mut(place).map(|old| *old = signature).unwrap_or_default();
            }
        }
    }

    fn alter_header(&mut self, choices: &mut Choices<'_>) {
        match choices.below(6) {
            0 => self.header.height = choices.number(self.header.height),
            1 => self.header.time_ms = choices.number(self.header.time_ms),
            2 => self.header.chain_id = ChainId([choices.byte(); 32]),
            3 => self.header.validators_hash = self.set.hash(),
            4 => self.header.state_root = Digest([choices.byte(); 32]),
            _ => self.header.version = u16::from(choices.byte()),
        }
    }

    /// Another set is the one in force. Keys nobody has, and keys that are none, may be in it.
    fn alter_set(&mut self, choices: &mut Choices<'_>) {
        let mut validators = self.set.validators().to_vec();
        let place = choices.below(validators.len());
        let stranger = |key| Validator { key, organisation: Name::new("stranger").expect("a name") };
        match choices.below(4) {
            0 => drop(validators.remove(place)),
            1 => validators.push(stranger(PublicKey(WEAK[choices.below(2)]))),
            2 => validators[place] = stranger(PublicKey([choices.byte(); 32])),
            _ => {
                let key = SecretKey::from_seed(&[choices.byte(); 32]);
                validators.push(stranger(key.public()));
                self.keys.push(key);
            }
        }
        if let Ok(set) = ValidatorSet::new(validators) {
            self.set = set;
        }
        if choices.yes() {
            self.header.validators_hash = self.set.hash();
        }
    }

    fn sign(&mut self, who: usize, purpose: Purpose, body: VoteBody, chain: ChainId) -> (PublicKey, Signature) {
        let key = &self.keys[who];
        if chain == self.chain {
            self.said.push((key.public(), purpose, body));
        }
        (key.public(), key.sign(purpose, &chain, &body.bytes()))
    }

    /// What one judge believes the other must believe, and it must have been said.
    fn judge(&self) {
        let validators: Vec<judge::Validator> = self
            .set
            .validators()
            .iter()
            .map(|validator| (validator.key.0, validator.organisation.as_str().to_owned()))
            .collect();
        let expected = judge::signers(&self.parts, &self.header, &self.chain, &validators);
        let Some(certificate) = self.parts.certificate() else {
            return assert_eq!(expected, None, "what the second judge believes comes through the door");
        };
        let verdict = certificate.verify(&self.header, &self.chain, &self.set);
        if let Err(refusal) = &verdict {
            crate::doors::is_a_sentence(&refusal.to_string());
        }
        assert_eq!(verdict.is_ok(), expected.is_some(), "two judges, two verdicts: {verdict:?}, {expected:?}");
        let Some(signers) = expected else { return };
        let body = VoteBody { height: self.header.height, round: self.parts.round, block: Some(self.header.hash()) };
        let organised = signers.iter().map(|place| self.set.validators()[*place].key);
        let mut distinct: Vec<PublicKey> = organised.collect();
        distinct.sort();
        distinct.dedup();
        assert!(3 * distinct.len() > 2 * self.set.len(), "{} of {} made it final", distinct.len(), self.set.len());
        for key in distinct {
            assert!(self.said.contains(&(key, Purpose::Precommit, body)), "{key} never said so: a forgery");
        }
    }
}

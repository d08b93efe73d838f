//! Validators in the wrong hands: headers that a quorum signed, and that were never true.

use super::error::AttackError;
use super::forge;
use super::stage::Stage;
use ledger::block::Header;
use ledger::bounded::List;
use ledger::certificate::{Certificate, VoteBody};
use ledger::genesis::Genesis;
use ledger::id::ChainId;
use ledger::key::{PublicKey, Purpose, SecretKey};
use ledger::proof::{EpochLink, ProofBundle};
use ledger::validators::{Validator, ValidatorSet};
use rand::RngExt as _;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

/// Which of them, counted in the order of the set.
pub(super) type Signers = Range<usize>;

/// A set of validators, and the secret key of each.
pub(super) struct Validators {
    chain: ChainId,
    /// The set.
    pub(super) set: ValidatorSet,
    keys: Vec<SecretKey>,
}

impl Stage {
    /// The keys of all validators, who know nothing of it: the ledger goes on beside what is signed with them here.
    pub(super) fn steal_validators(&self) -> Result<Validators, AttackError> {
        let path = &self.devnet.genesis;
        let genesis = fs::read(path).map_err(AttackError::io(format!("cannot read {}", path.display())))?;
        let no_genesis = |error| AttackError::Stage(format!("{} is no genesis file: {error}", path.display()));
        let genesis = Genesis::parse(&genesis).map_err(no_genesis)?;
        let files = self.devnet.nodes.iter().filter_map(|node| node.validator_key_file.as_ref());
        let keys = files.map(|file| Ok(forge::steal(file)?.0)).collect::<Result<_, AttackError>>()?;
        Validators { chain: genesis.chain_id, set: genesis.genesis.validators, keys }.in_order()
    }
}

impl Validators {
    /// As many others, whom nobody made validators.
    pub(super) fn strangers(&self) -> Result<Self, AttackError> {
        let keys: Vec<_> = self.keys.iter().map(|_| SecretKey::from_seed(&rand::rng().random())).collect();
        let organisations = self.set.validators().iter().map(|validator| validator.organisation.clone());
        let validators = keys.iter().zip(organisations);
        let validators = validators.map(|(key, organisation)| Validator { key: key.public(), organisation }).collect();
        let set = ValidatorSet::new(validators).map_err(|error| AttackError::Stage(format!("no set: {error}")))?;
        Self { chain: self.chain, set, keys }.in_order()
    }

    /// A key for each of the set, in its order.
    fn in_order(mut self) -> Result<Self, AttackError> {
        self.keys.sort_by_key(SecretKey::public);
        let of_the_set = self.set.validators().iter().map(|validator| validator.key);
        match self.keys.iter().map(SecretKey::public).eq(of_the_set) {
            true => Ok(self),
            false => Err(AttackError::Stage("the keys are not those of the validators".to_owned())),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Signers {
        0..self.keys.len()
    }

    /// What some of them sign.
    pub(super) fn certificate(&self, header: &Header, round: u32, signers: Signers) -> Certificate {
        let block = header.hash();
        let body = VoteBody { height: header.height, round, block: Some(block) }.bytes();
        let some = self.keys.iter().take(signers.end).skip(signers.start);
        let signed = some.map(|key| (key.public(), key.sign(Purpose::Precommit, &self.chain, &body)));
        Certificate::assemble(header.height, round, block, &signed.collect::<Vec<_>>(), &self.set)
    }

    /// A proof with another header, which all of them sign.
    pub(super) fn proof(&self, of: &ProofBundle, change: impl FnOnce(&mut Header)) -> ProofBundle {
        let mut proof = of.clone();
        change(&mut proof.header);
        proof.certificate = self.certificate(&proof.header, of.certificate.round, self.all());
        proof
    }

    /// Whose signatures a certificate has.
    pub(super) fn signers(&self, certificate: &Certificate) -> BTreeSet<PublicKey> {
        let signers = certificate.signers(&self.set).unwrap_or_default();
        signers.into_iter().map(|(key, _)| key).collect()
    }

    /// The word of all of them that others come after them, in the header above another.
    pub(super) fn hand_over(&self, to: &Self, after: &Header) -> EpochLink {
        let header = Header {
            height: after.height + 1,
            time_ms: after.time_ms + 1,
            validators_hash: self.set.hash(),
            next_validators_hash: to.set.hash(),
            ..after.clone()
        };
        EpochLink { certificate: self.certificate(&header, 0, self.all()), validators: to.set.clone(), header }
    }

    /// A proof by a header of theirs, above those links that lead to them.
    pub(super) fn proof_behind(&self, of: &ProofBundle, links: Vec<EpochLink>) -> Result<ProofBundle, AttackError> {
        let above = links.last().map_or(of.header.height, |link| link.header.height);
        let too_many = |error| AttackError::Stage(format!("too many changes of validators: {error}"));
        let behind = ProofBundle { epochs: List::new(links).map_err(too_many)?, ..of.clone() };
        let hash = self.set.hash();
        Ok(self.proof(&behind, |header| {
            header.height = above + 1;
            (header.validators_hash, header.next_validators_hash) = (hash, hash);
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::bounded::Name;

    /// Four validators of one organisation.
    fn four(seed: u8) -> Validators {
        let keys: Vec<_> = (0..4).map(|place| SecretKey::from_seed(&[seed + place; 32])).collect();
        let organisation = Name::new("bank").unwrap();
        let validator = |key: &SecretKey| Validator { key: key.public(), organisation: organisation.clone() };
        let set = ValidatorSet::new(keys.iter().map(validator).collect()).unwrap();
        Validators { chain: ChainId([7; 32]), set, keys }.in_order().unwrap()
    }

    fn header(of: &Validators) -> Header {
        let hash = of.set.hash();
        let zero = ledger::id::Digest::ZERO;
        Header {
            version: 1,
            chain_id: of.chain,
            height: 5,
            time_ms: 5,
            parent: ledger::id::BlockHash::ZERO,
            tx_root: zero,
            tx_count: 0,
            history_root: zero,
            history_size: 0,
            state_root: zero,
            validators_hash: hash,
            next_validators_hash: hash,
            proposer: of.keys[0].public(),
        }
    }

    /// A drill shows nothing if what it forges is refused for being badly forged.
    #[test]
    fn what_a_quorum_signs_here_holds_and_what_fewer_or_strangers_sign_does_not() {
        let (ours, strangers) = (four(1), four(1).strangers().unwrap());
        let header = header(&ours);
        let holds = |certificate: Certificate| certificate.verify(&header, &ours.chain, &ours.set).is_ok();
        assert!(holds(ours.certificate(&header, 0, ours.all())) && holds(ours.certificate(&header, 3, 1..4)));
        assert!(!holds(ours.certificate(&header, 0, 0..2)) && !holds(strangers.certificate(&header, 0, 0..4)));
        let three = ours.signers(&ours.certificate(&header, 0, 1..4));
        assert!(three.len() == 3 && !three.contains(&ours.keys[0].public()));
    }

    #[test]
    fn a_set_hands_over_to_another_and_strangers_only_say_so() {
        let (ours, strangers) = (four(1), four(1).strangers().unwrap());
        let header = header(&ours);
        let link = ours.hand_over(&strangers, &header);
        assert_eq!(link.check(&ours.chain, &ours.set, header.height), Ok(()));
        let usurped = EpochLink { certificate: strangers.certificate(&link.header, 0, strangers.all()), ..link };
        assert!(usurped.check(&ours.chain, &ours.set, header.height).is_err());
    }

    #[test]
    fn keys_of_others_are_not_taken_for_those_of_a_set() {
        let Validators { chain, set, mut keys } = four(1);
        keys[0] = SecretKey::from_seed(&[99; 32]);
        assert!(matches!(Validators { chain, set, keys }.in_order(), Err(AttackError::Stage(_))));
    }
}

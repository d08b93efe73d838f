//! Evidence. Some validators lie and sign anything; honest ones sign one thing in each place, and say it again
//! when they are asked again. Whatever is made of that: nobody honest is ever convicted, and a liar only of
//! what he signed.

use crate::choices::Choices;
use crate::doors::is_a_sentence;
use crate::parts::CertificateParts;
use ledger::block::Header;
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::{decode, encode};
use ledger::evidence::{CertifiedHeader, Evidence, OffenceKind, TwoCertificates};
use ledger::id::{BlockHash, ChainId, Digest};
use ledger::key::{PublicKey, SecretKey};
use ledger::vote::{ProposalBody, SignedProposal, SignedVote, VoteKind};
use std::collections::{BTreeMap, BTreeSet};
use tests::Scenario;

/// Validators.
const VALIDATORS: usize = 7;
/// What is altered afterwards, without a key.
const DEEDS_MAX: usize = 4;

thread_local! {
    static SCENARIO: Scenario = Scenario::with_validators(5, VALIDATORS);
}

/// A place where one thing may be signed.
type Place = (PublicKey, OffenceKind, u64, u32);

/// Everybody's keys, and what was signed with them.
struct Signers<'a> {
    scenario: &'a Scenario,
    liars: u8,
    votes: BTreeMap<(usize, VoteKind, u64, u32), Option<BlockHash>>,
    proposals: BTreeMap<(usize, u64, u32), ProposalBody>,
    said: BTreeMap<Place, BTreeSet<Vec<u8>>>,
}

/// Runs one attempt to convict somebody.
pub fn verify(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    SCENARIO.with(|scenario| {
        let liars = choices.byte();
        let said = BTreeMap::new();
        let mut signers = Signers { scenario, liars, votes: BTreeMap::new(), proposals: BTreeMap::new(), said };
        let evidence = signers.accuse(&mut choices);
        let mut file = encode(&evidence);
        for _ in 0..DEEDS_MAX {
            if choices.any() {
                let place = choices.below(file.len());
                file[place] ^= choices.byte();
            }
        }
        for evidence in [Some(evidence), decode(&file).ok()].into_iter().flatten() {
            signers.judge(&evidence);
        }
    });
}

impl Signers<'_> {
    fn chain(&self) -> ChainId {
        self.scenario.chain_id()
    }

    fn key(&self, who: usize) -> &SecretKey {
        &self.scenario.validators()[who]
    }

    fn lies(&self, who: usize) -> bool {
        self.liars >> who & 1 == 1
    }

    fn hear(&mut self, who: usize, kind: OffenceKind, height: u64, round: u32, body: Vec<u8>) {
        let place = (self.key(who).public(), kind, height, round);
        self.said.entry(place).or_default().insert(body);
    }

    fn vote(&mut self, who: usize, kind: VoteKind, mut body: VoteBody) -> SignedVote {
        if !self.lies(who) {
            body.block = *self.votes.entry((who, kind, body.height, body.round)).or_insert(body.block);
        }
        self.hear(who, kind.into(), body.height, body.round, body.bytes());
        SignedVote::sign(kind, body, self.key(who), &self.chain())
    }

    fn proposal(&mut self, who: usize, mut body: ProposalBody) -> SignedProposal {
        if !self.lies(who) {
            body = *self.proposals.entry((who, body.height, body.round)).or_insert(body);
        }
        self.hear(who, OffenceKind::Proposal, body.height, body.round, body.bytes());
        SignedProposal::sign(body, self.key(who), &self.chain())
    }

    /// Two things somebody might have signed.
    fn accuse(&mut self, choices: &mut Choices<'_>) -> Evidence {
        match choices.below(3) {
            0 => {
                let mut one = || {
                    let kind = if choices.yes() { VoteKind::Precommit } else { VoteKind::Prevote };
                    let block = choices.yes().then(|| BlockHash([choices.byte() % 3; 32]));
                    let (height, round) = (u64::from(choices.byte() % 2), u32::from(choices.byte() % 2));
                    self.vote(choices.below(VALIDATORS), kind, VoteBody { height, round, block })
                };
                Evidence::Votes(one(), one())
            }
            1 => {
                let mut one = || {
                    let pol_round = choices.yes().then_some(0);
                    let block = BlockHash([choices.byte() % 3; 32]);
                    let (height, round) = (u64::from(choices.byte() % 2), u32::from(choices.byte() % 2));
                    self.proposal(choices.below(VALIDATORS), ProposalBody { height, round, pol_round, block })
                };
                Evidence::Proposals(one(), one())
            }
            _ => {
                let (one, other) = (self.certified(choices), self.certified(choices));
                let validators = self.scenario.genesis().genesis.validators.clone();
                Evidence::Certificates(Box::new(TwoCertificates { validators, one, other }))
            }
        }
    }

    /// A header, and who could be brought to precommit it.
    fn certified(&mut self, choices: &mut Choices<'_>) -> CertifiedHeader {
        let (height, round) = (5 + u64::from(choices.byte() % 2), u32::from(choices.byte() % 2));
        let state_root = Digest([choices.byte() % 3; 32]);
        let header = Header { height, state_root, ..self.scenario.genesis().header.clone() };
        let (absent, block) = (choices.byte(), Some(header.hash()));
        let mut precommits = Vec::new();
        for who in (0..VALIDATORS).filter(|who| absent >> who & 1 == 0) {
            let vote = self.vote(who, VoteKind::Precommit, VoteBody { height, round, block });
            precommits.push((vote.voter, vote.signature));
        }
        let set = &self.scenario.genesis().genesis.validators;
        let mut parts = CertificateParts::of(&Certificate::assemble(height, round, header.hash(), &precommits, set));
        // Who signed something else is no use to the accuser: left out, or kept in the hope that nobody looks.
        if choices.yes() {
            let honest = |(_, (key, signature)): &(usize, &(PublicKey, _))| {
                let body = VoteBody { height, round, block }.bytes();
                key.verify(ledger::key::Purpose::Precommit, &self.chain(), &body, signature).is_ok()
            };
            let good: Vec<_> = precommits.iter().enumerate().filter(honest).map(|(_, signed)| *signed).collect();
            parts = CertificateParts::of(&Certificate::assemble(height, round, header.hash(), &good, set));
        }
        if choices.yes() {
            parts.alter(choices, &precommits.iter().map(|(_, signature)| *signature).collect::<Vec<_>>());
        }
        let certificate = parts.certificate();
        let certificate =
            certificate.unwrap_or_else(|| Certificate::assemble(height, round, header.hash(), &precommits, set));
        CertifiedHeader { header, certificate }
    }

    fn judge(&self, evidence: &Evidence) {
        let charge = match evidence.check(&self.chain()) {
            Ok(charge) => charge,
            Err(refusal) => return is_a_sentence(&refusal.to_string()),
        };
        assert!(!charge.keys.is_empty(), "nobody is convicted");
        for key in &charge.keys {
            let who = self.scenario.validators().iter().position(|known| known.public() == *key);
            let who = who.expect("a stranger is convicted");
            assert!(self.lies(who), "an honest validator is convicted of {}", charge.offence);
            let offence = charge.offence;
            let said = self.said.get(&(*key, offence.kind, offence.height, offence.round));
            assert!(said.is_some_and(|said| said.len() > 1), "{key} is convicted of what it did not do");
        }
    }
}

//! What must hold after every event, whatever happened before. Each is a sentence.

use super::block::Block;
use crate::judge;
use crate::shadow::Differs;
use consensus::{Alarm, Evidence, Kept, Message, ProposalBody, Refusal, SignedProposal, SignedVote, VoteKind};
use ledger::certificate::{Certificate, VoteBody};
use ledger::encoding::encode;
use ledger::id::{BlockHash, ChainId};
use ledger::key::PublicKey;
use ledger::validators::ValidatorSet;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("agreement: height {height} is {one} for one and {other} for another")]
    Agreement { height: u64, one: BlockHash, other: BlockHash },
    #[error("certificate of height {height}: {detail}")]
    Certificate { height: u64, detail: String },
    #[error("{key} signed twice in height {height}, round {round} ({what})")]
    DoubleSign { key: PublicKey, height: u64, round: u32, what: &'static str },
    #[error("evidence against an honest key {0}")]
    HonestAccused(PublicKey),
    #[error("evidence that does not check: {0}")]
    BadEvidence(String),
    #[error("honest {from} was refused: {why}")]
    HonestRefused { from: PublicKey, why: Refusal },
    #[error("memory: {0} {1}, at most {2}")]
    Memory(usize, &'static str, usize),
    #[error("height {height} has a block that is bad, or does not follow the one before it")]
    BadBlock { height: u64 },
    #[error(transparent)]
    Differs(#[from] Differs),
    #[error("no progress: {0}")]
    NoProgress(String),
    #[error("alarm: {0}")]
    Alarm(String),
}

pub(crate) struct Invariants {
    chain: ChainId,
    pub(crate) honest: BTreeSet<PublicKey>,
    decided: BTreeMap<u64, BlockHash>,
    /// Those that were looked at twice.
    certificates: BTreeSet<Vec<u8>>,
    votes: BTreeMap<(PublicKey, u64, u32, VoteKind), VoteBody>,
    proposals: BTreeMap<(PublicKey, u64, u32), ProposalBody>,
    pub(crate) accused: BTreeSet<PublicKey>,
    /// How often liars have signed one thing and then another.
    pub(crate) contradicted: BTreeMap<PublicKey, u64>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) alarms: Vec<Alarm>,
}

impl Invariants {
    pub(crate) fn of(chain: ChainId) -> Self {
        Self {
            chain,
            honest: BTreeSet::new(),
            decided: BTreeMap::new(),
            certificates: BTreeSet::new(),
            votes: BTreeMap::new(),
            proposals: BTreeMap::new(),
            accused: BTreeSet::new(),
            contradicted: BTreeMap::new(),
            violations: Vec::new(),
            alarms: Vec::new(),
        }
    }

    pub(crate) fn no_two_honest_replicas_decide_differently(&mut self, certificate: &Certificate) {
        let height = certificate.height;
        let one = *self.decided.entry(height).or_insert(certificate.block);
        if one != certificate.block {
            self.violations.push(Violation::Agreement { height, one, other: certificate.block });
        }
    }

    pub(crate) fn every_certificate_passes_the_check(&mut self, certificate: &Certificate, validators: &ValidatorSet) {
        if let Err(error) = certificate.check(&self.chain, validators) {
            self.violations.push(Violation::Certificate { height: certificate.height, detail: error.to_string() });
        } else if self.certificates.insert(encode(certificate))
            && !judge::is_final(certificate, &self.chain, validators)
        {
            let detail = "a second judge does not believe it".to_owned();
            self.violations.push(Violation::Certificate { height: certificate.height, detail });
        }
    }

    pub(crate) fn no_honest_validator_signs_two_things(&mut self, message: &Message) {
        match message {
            Message::Vote(vote) => self.one_vote(vote),
            Message::Proposal(proposal) => self.one_proposal(proposal),
            Message::Polka(polka) => polka.votes().for_each(|vote| self.one_vote(&vote)),
            Message::Skip(skip) => skip.votes().for_each(|vote| self.one_vote(&vote)),
            Message::WantProposal { .. } | Message::Decided(_) => {}
        }
    }

    /// What a member says that runs twice, or forgets. (What others make of their members' words is not looked at.)
    pub(crate) fn contradictions_of_liars_are_counted(&mut self, message: &Message) {
        let (author, contradicts) = match message {
            Message::Vote(SignedVote { kind, body, voter, .. }) => {
                let first = self.votes.entry((*voter, body.height, body.round, *kind)).or_insert(*body);
                (*voter, first != body)
            }
            Message::Proposal(SignedProposal { body, proposer, .. }) => {
                let first = self.proposals.entry((*proposer, body.height, body.round)).or_insert(*body);
                (*proposer, first != body)
            }
            _ => return,
        };
        *self.contradicted.entry(author).or_default() += u64::from(contradicts);
    }

    fn one_vote(&mut self, vote: &SignedVote) {
        let VoteBody { height, round, .. } = vote.body;
        if self.honest.contains(&vote.voter) {
            let first = *self.votes.entry((vote.voter, height, round, vote.kind)).or_insert(vote.body);
            if first != vote.body {
                let what = if vote.kind == VoteKind::Prevote { "prevote" } else { "precommit" };
                self.violations.push(Violation::DoubleSign { key: vote.voter, height, round, what });
            }
        }
    }

    fn one_proposal(&mut self, proposal: &SignedProposal) {
        let ProposalBody { height, round, .. } = proposal.body;
        if self.honest.contains(&proposal.proposer) {
            let first = *self.proposals.entry((proposal.proposer, height, round)).or_insert(proposal.body);
            if first != proposal.body {
                let key = proposal.proposer;
                self.violations.push(Violation::DoubleSign { key, height, round, what: "proposal" });
            }
        }
    }

    pub(crate) fn memory_stays_bounded(&mut self, kept: Vec<Kept>) {
        let over = kept.into_iter().find(|kept| !kept.is_bounded());
        self.violations.extend(over.map(|Kept { what, count, most }| Violation::Memory(count, what, most)));
    }

    /// An honest host has written a block behind another.
    pub(crate) fn no_bad_block_is_decided(&mut self, block: &Block, before: BlockHash) {
        if !block.good || block.parent != before {
            self.violations.push(Violation::BadBlock { height: block.height });
        }
    }

    /// A node may well cut off whoever sends something that is refused.
    pub(crate) fn nothing_an_honest_replica_sends_is_refused(&mut self, from: PublicKey, why: Refusal) {
        if self.honest.contains(&from) {
            self.violations.push(Violation::HonestRefused { from, why });
        }
    }

    pub(crate) fn evidence_names_only_who_did_it(&mut self, evidence: &Evidence) {
        match evidence.check(&self.chain) {
            Err(error) => self.violations.push(Violation::BadEvidence(error.to_string())),
            Ok(charge) => charge.keys.into_iter().for_each(|accused| {
                if self.honest.contains(&accused) {
                    self.violations.push(Violation::HonestAccused(accused));
                } else {
                    self.accused.insert(accused);
                }
            }),
        }
    }
}
